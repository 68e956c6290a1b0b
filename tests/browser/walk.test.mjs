// The failure walk: one page of one node, and everything that can happen to that node while
// somebody looks at it. The page is never loaded again, and loses nothing of what was written.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { join } from 'node:path';
import { artefacts, FAULTS, launch, live, open, readBar } from './browser.mjs';
import { startCluster } from './cluster.mjs';
import { eventually } from './node.mjs';

const WRITES = 500;
const SCREENS = ['overview', 'nodes', 'keys', 'locks', 'events', 'lab', 'metrics'];
/** A page shows a leader within this time of its node's knowing it, milliseconds. */
const SHOWN_WITHIN_MS = 1_000;
/** Longest wait for a write while leaders come and go. */
const WRITTEN_WITHIN_MS = 20_000;

let cluster;
let browser;

before(async () => {
  [cluster, browser] = await Promise.all([startCluster(), launch()]);
});

after(async () => {
  await browser?.close();
  await cluster?.stop();
});

/** Writes `walk/0000` and so on, each until it is acknowledged, under an id of its own. */
function startWriter(via) {
  let written = 0;
  let wanted = 0;
  let failed;
  const write = async (n) => {
    const name = String(n).padStart(4, '0');
    const headers = { 'idempotency-key': `walk-${name}` };
    await eventually(`write ${n}`, async () => {
      const signal = AbortSignal.timeout(5_000);
      const answer = await fetch(`${via()}/api/keys/walk/${name}`, { method: 'PUT', body: name, headers, signal });
      return answer.ok;
    }, WRITTEN_WITHIN_MS);
  };
  const run = (async () => {
    while (written < WRITES && !failed) {
      if (written < wanted) {
        await write(written).catch((error) => (failed = error));
        written += 1;
      } else {
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    }
  })();
  return {
    /** Writes up to this many in all, and waits for them. */
    async upTo(count) {
      wanted = count;
      await eventually(`${count} writes`, () => {
        if (failed) throw failed;
        return written >= count;
      }, 60_000);
    },
    /** Writes up to this many in all, while the test goes on. */
    begin: (count) => (wanted = count),
    end: () => {
      failed ??= new Error('the test has ended');
      return run;
    },
  };
}

/** Waits until the page says that this node leads; returns how long after its node knew, milliseconds. */
async function showsLeader(page, node, leader) {
  const knows = (async () => {
    await eventually(`${node.id} knows ${leader}`, async () => (await cluster.status(node.id)).leader === leader);
    return performance.now();
  })();
  const shows = (async () => {
    await live(page, leader);
    return performance.now();
  })();
  const [known, shown] = await Promise.all([knows, shows]);
  return shown - known;
}

/** Goes through all screens by the navigation; none may be blank. */
async function everyScreen(page) {
  for (const screen of SCREENS) {
    await page.evaluate((screen) => document.querySelector(`[data-testid="nav-${screen}"]`).click(), screen);
    await page.waitForFunction((screen) => {
      const main = document.querySelector('main');
      return location.pathname.endsWith(screen === 'overview' ? '/ui/' : screen) && main.querySelector('h1') && main.innerText.length > 60;
    }, screen);
  }
}

test('a page lives through a killed leader, a cut, a refused stream and a hidden tab, and shows 500 writes once each', async () => {
  const first = await cluster.waitForLeader();
  const node = cluster.nodes.find(({ id }) => id !== first);
  const { page, complaints, close } = await open(browser, `${node.url}/ui/events`, { allow: FAULTS });
  await live(page, first);
  await page.evaluate(() => (globalThis.isTheSamePage = true));
  // Others than the page's node take the writes, and never one that is down.
  let down;
  const writer = startWriter(() => cluster.nodes.find(({ id }) => id !== node.id && id !== down).url);
  try {
    await writer.upTo(50);

    // The leader is killed.
    down = first;
    writer.begin(150);
    await cluster.kill(first);
    const second = await cluster.waitForLeader({ not: first });
    const late = await showsLeader(page, node, second);
    console.log(`the new leader was shown ${late.toFixed(0)} ms after the node knew it`);
    assert.ok(late <= SHOWN_WITHIN_MS, `shown ${late} ms after it was known`);
    await writer.upTo(150);
    await cluster.start(first);
    down = undefined;

    // The page's node may lead by now; the walk goes on where it follows.
    if ((await cluster.waitForLeader()) === node.id) {
      await cluster.api('POST', '/api/cluster/transfer', { to: first });
      await cluster.waitForLeader({ not: node.id });
    }

    // The node is cut off from the others.
    cluster.cut(node.id);
    writer.begin(250);
    await page.getByTestId('bar').waitFor();
    await page.waitForFunction(() => /cut off|cannot/i.test(document.querySelector('[data-testid="bar-text"]').textContent));
    await page.waitForFunction(() => /\d+ s/.test(document.querySelector('[data-testid="bar"]').textContent));
    await eventually('links to the nodes that the browser reaches', async () => (await page.getByTestId('bar-node').count()) === 2);
    const target = await page.getByTestId('bar-node').first().getAttribute('href');
    assert.match(target, /^http:\/\/localhost:\d+\/ui\/events/);
    await everyScreen(page);
    await page.evaluate(() => document.querySelector('[data-testid="nav-locks"]').click());
    await page.getByTestId('lock-take').waitFor();
    assert.equal(await page.getByTestId('lock-take').isDisabled(), true, 'writes are off');
    assert.ok(await page.getByTestId('lock-take').getAttribute('title'), 'with the reason');
    await page.screenshot({ path: join(artefacts, 'walk-cut-off.png') });
    await writer.upTo(250);
    await readBar(page);

    // The cut is healed.
    cluster.heal();
    await page.getByTestId('caught-up').waitFor();
    assert.match(await page.getByTestId('caught-up').textContent(), /caught up [\d,]+ entries in/);
    const { revision: healedAt } = await cluster.status(await cluster.waitForLeader());
    await page.waitForFunction((revision) => Number(document.body.dataset.revision) >= revision, healedAt);
    await page.getByTestId('bar').waitFor({ state: 'detached' });
    await page.evaluate(() => document.querySelector('[data-testid="nav-events"]').click());

    // The stream breaks, and is refused twice.
    let refused = 0;
    await page.route('**/api/events*', (route) => {
      refused += 1;
      return refused <= 2 ? route.fulfill({ status: 503, body: 'not now' }) : route.fallback();
    });
    node.freeze();
    writer.begin(350);
    await page.waitForSelector('body[data-stream="reconnecting"]');
    node.thaw();
    await live(page);
    await page.unroute('**/api/events*');
    assert.ok(refused > 2, `${refused} attempts`);
    await writer.upTo(350);

    // The tab is hidden, and shown again.
    const hide = (isHidden) =>
      page.evaluate((isHidden) => {
        Object.defineProperty(document, 'hidden', { configurable: true, get: () => isHidden });
        Object.defineProperty(document, 'visibilityState', { configurable: true, get: () => (isHidden ? 'hidden' : 'visible') });
        document.dispatchEvent(new Event('visibilitychange'));
      }, isHidden);
    await hide(true);
    await page.waitForSelector('body[data-stream="paused"]');
    await writer.upTo(450);
    await hide(false);
    await live(page);
    await writer.upTo(WRITES);

    // All that was written is there, once each and in order.
    const { revision } = await cluster.status(await cluster.waitForLeader());
    await page.waitForFunction((revision) => Number(document.body.dataset.revision) >= revision, revision);
    const read = async () => {
      const [download] = await Promise.all([page.waitForEvent('download'), page.getByTestId('events-export').click()]);
      const lines = (await readFile(await download.path(), 'utf8')).trim().split('\n');
      return lines.map((line) => JSON.parse(line)).filter(({ key }) => key?.startsWith('walk/'));
    };
    const seen = await eventually('all writes', async () => {
      const events = await read();
      return events.length >= WRITES && events;
    });
    const names = seen.map(({ key }) => key);
    assert.deepEqual(names, Array.from({ length: WRITES }, (_, n) => `walk/${String(n).padStart(4, '0')}`));
    const revisions = seen.map(({ revision }) => revision);
    assert.deepEqual(revisions, revisions.toSorted((a, b) => a - b));
    assert.equal(await page.evaluate(() => globalThis.isTheSamePage), true, 'never loaded again');
    assert.deepEqual(complaints, []);
  } finally {
    await writer.end();
    await close();
  }
});
