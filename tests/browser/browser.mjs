// Opens pages in Debian's Chromium and keeps what the browser complains about.
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { serveFrom } from './dist.mjs';

// The sandbox needs rights that a container's root has not; the rest keeps the browser off the
// network.
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** Where screenshots go: CONCLAVE_ARTEFACTS, or a temporary folder. */
export const artefacts = process.env.CONCLAVE_ARTEFACTS ?? mkdtempSync(join(tmpdir(), 'conclave-shots-'));
mkdirSync(artefacts, { recursive: true });

/** A name that the browser takes for a host elsewhere. It is this machine. */
export const ELSEWHERE = 'conclave.test';

/** What a browser says of a node that is down, frozen or cut off, and of one without a leader. */
export const FAULTS = [
  /net::ERR_(ABORTED|CONNECTION_\w+|EMPTY_RESPONSE|INCOMPLETE_CHUNKED_ENCODING|TIMED_OUT|SOCKET_NOT_CONNECTED)/,
  /the server responded with a status of 50[34]/,
];

/**
 * Starts the browser. With CONCLAVE_UI_DIST the pages of every context come from that folder (see
 * `dist.mjs`), except of a `plain` one, in which nothing stands between the browser and the node.
 */
export async function launch() {
  const executablePath = process.env.CONCLAVE_CHROMIUM ?? '/usr/bin/chromium';
  const args = [...FLAGS, `--host-resolver-rules=MAP ${ELSEWHERE} 127.0.0.1`];
  const browser = await chromium.launch({ executablePath, headless: true, args });
  const folder = process.env.CONCLAVE_UI_DIST;
  const newContext = browser.newContext.bind(browser);
  browser.newContext = async ({ plain, ...options } = {}) => {
    const context = await newContext(options);
    if (folder && !plain) await serveFrom(context, folder);
    return context;
  };
  return browser;
}

/**
 * Opens a page in a fresh profile. `complaints` fills with errors of the console and the page, without
 * those that match a pattern of `allow`. The other options are those of a context.
 */
export async function open(browser, url, { allow = [], ...options } = {}) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const allowed = [...allow];
  const complaints = [];
  const complain = (text) => {
    if (!allowed.some((pattern) => pattern.test(text))) complaints.push(text);
  };
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complain(message.text());
  });
  page.on('pageerror', (error) => complain(String(error)));
  page.on('requestfailed', (request) => {
    const why = request.failure()?.errorText;
    // A page that wants other news ends one stream and opens the next.
    if (why === 'net::ERR_ABORTED' && request.url().includes('/api/events')) return;
    complain(`${request.url()}: ${why}`);
  });
  await page.goto(url);
  return {
    page,
    complaints,
    /** Allows complaints from now on: `allow(...FAULTS)` before a fault. */
    allow: (...patterns) => allowed.push(...patterns),
    close: () => context.close(),
  };
}

/** Waits until the page of the dashboard hears its node; with a name also that this node leads. */
export function live(page, leader) {
  const leads = leader ? `[data-leader="${leader}"]` : '';
  return page.waitForSelector(`body[data-stream="live"]${leads}`);
}

/**
 * Waits until the bar of a page that is cut off has been there long enough to be read: the end of
 * trouble that is over in a moment is not worth a word.
 */
export function readBar(page) {
  return page.waitForFunction(() => {
    const said = document.querySelector('[data-testid="bar-text"]')?.textContent;
    return Number(/([\d.]+) s old/.exec(said)?.[1]) >= 6;
  });
}

const AXE = createRequire(import.meta.url).resolve('axe-core/axe.min.js');

/**
 * Returns the rules of accessibility that the page breaks, each with its elements. The page must have
 * been opened with `bypassCSP`: its policy would refuse the checker.
 */
export async function axe(page) {
  if (!(await page.evaluate(() => 'axe' in globalThis))) await page.evaluate(readFileSync(AXE, 'utf8'));
  // A colour that is on its way from one theme to the other is neither's, and a text of a dialog that
  // is fading in is neither there nor not. What goes on for ever has no end to be brought to.
  await page.evaluate(() => {
    for (const animation of document.getAnimations()) {
      if (Number.isFinite(animation.effect.getComputedTiming().endTime)) animation.finish();
    }
  });
  // Only what is wrong is wanted, and no rule in use reads style sheets or media by itself.
  const options = { resultTypes: ['violations'], preload: false };
  const { violations } = await page.evaluate((options) => globalThis.axe.run(options), options);
  return violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)]);
}

/** Calls `look` with a name for each of these widths of the window, in either theme. */
export async function eachLook(page, sizes, look) {
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    for (const [width, height] of sizes) {
      await page.setViewportSize({ width, height });
      await look(`${colorScheme}-${width}`);
    }
  }
}

/** Asserts that the page is not wider than its window. */
export async function noSidewaysScroll(page) {
  const [width, content, wide] = await page.evaluate(() => {
    // A text may be wider than its element.
    const isWide = (element) => {
      const { left, right } = element.getBoundingClientRect();
      return Math.max(right, left + element.scrollWidth) > innerWidth + 0.5;
    };
    const wide = [...document.body.querySelectorAll('*')].filter(isWide);
    const names = wide.slice(-5).map((element) => element.cloneNode(false).outerHTML);
    return [innerWidth, document.documentElement.scrollWidth, names];
  });
  assert.ok(content <= width, `${content} px of content in ${width} px; too wide:\n${wide.join('\n')}`);
}

/**
 * Watches for tasks of more than 50 ms, in which the page answers nobody. Returns what asks for their
 * lengths so far, milliseconds.
 */
export async function longTasks(page) {
  await page.evaluate(() => {
    globalThis.longTasks = [];
    const note = (list) => globalThis.longTasks.push(...list.getEntries().map(({ duration }) => duration));
    globalThis.longTaskObserver = new PerformanceObserver(note);
    globalThis.longTaskObserver.observe({ type: 'longtask' });
  });
  return () => page.evaluate(() => globalThis.longTasks);
}
