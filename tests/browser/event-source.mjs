// A page's own `EventSource`: opened by the browser, and what it told the page.
import { open } from './browser.mjs';
import { eventually } from './node.mjs';

/** Longest wait for an event that is due. */
export const WITHIN_MS = 15_000;

/** Opens a plain page of a node, from which scripts reach its API without another origin. */
export const plainPage = (browser, node) => open(browser, `${node.url}/livez`, { plain: true });

/**
 * Opens an `EventSource` in a page. What it dispatches for the named types is kept in the page, so
 * that nothing is lost between two looks.
 */
export async function listen(page, address, types) {
  const number = await page.evaluate(
    ([address, types]) => {
      globalThis.sources ??= [];
      const seen = [];
      const source = new EventSource(address);
      for (const type of types) {
        source.addEventListener(type, ({ data, lastEventId }) => {
          seen.push({ type, id: lastEventId, data: JSON.parse(data) });
        });
      }
      // Types that the test does not name must not come, nor an event without a type.
      source.onmessage = ({ data }) => seen.push({ type: 'message', data });
      const counts = { open: 0, error: 0 };
      source.onopen = () => (counts.open += 1);
      source.onerror = () => (counts.error += 1);
      return globalThis.sources.push({ source, seen, counts }) - 1;
    },
    [address, types],
  );

  const stream = {
    seen: () => page.evaluate((n) => globalThis.sources[n].seen, number),
    /** How often it opened and failed, and its `readyState`: 0 connecting, 1 open, 2 given up. */
    state: () =>
      page.evaluate((n) => {
        const { source, counts } = globalThis.sources[n];
        return { ...counts, readyState: source.readyState };
      }, number),
    close: () => page.evaluate((n) => globalThis.sources[n].source.close(), number),
    /** Waits for the first event of a type for which `matches` holds. */
    async first(type, matches = () => true, withinMs = WITHIN_MS) {
      let last = [];
      const find = async () => {
        last = await stream.seen();
        return last.find((event) => event.type === type && matches(event.data, event));
      };
      try {
        return await eventually(`event ${type}`, find, withinMs);
      } catch (error) {
        const state = JSON.stringify(await stream.state());
        throw new Error(`${error.message}; ${state}, and came:\n${last.map((e) => JSON.stringify(e)).join('\n')}`);
      }
    },
  };
  return stream;
}
