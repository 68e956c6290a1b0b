// What is on every screen of the dashboard: the status line, and what it says of the node, the stream
// and the dashboard itself.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { artefacts, axe, eachLook, launch, live, noSidewaysScroll, open } from './browser.mjs';
import { call, eventually, startNode } from './node.mjs';

const SCREENS = ['', 'nodes', 'keys', 'locks', 'events', 'lab', 'metrics'];
/** Tabs that must load at once. */
const TABS = 8;
/** Longest time that one of them takes on a quiet machine, milliseconds. */
const TABS_WITHIN_MS = 2_000;
/** Times that they are opened, at most. */
const TRIES = 3;

let node;
let browser;
let closing = [];

before(async () => {
  node = await startNode('node0');
  browser = await launch();
});

afterEach(async () => {
  for (const close of closing) await close();
  closing = [];
});

after(async () => {
  await browser?.close();
  await node?.stop();
});

async function openPage(url, options) {
  const opened = await open(browser, url, options);
  closing.push(opened.close);
  return opened;
}

test('G-1 the status line is on every screen and says who answers, what it is and how it is heard', async () => {
  const { page, complaints } = await openPage('about:blank');
  for (const screen of SCREENS) {
    await page.goto(`${node.url}/ui/${screen}`);
    await live(page, 'node0');
    const line = page.getByTestId('status-line');
    assert.equal((await line.boundingBox()).height, 40 - 1, screen);
    assert.equal(await line.getByTestId('node-name').textContent(), 'node0');
    assert.equal(await line.getByTestId('node-role').textContent(), 'leader');
    assert.equal(await line.getByTestId('leader').textContent(), 'node0');
    assert.equal(await line.getByTestId('connection').textContent(), 'Live');
    const { term } = await call(node, 'GET', '/api/status');
    assert.equal(await line.getByTestId('term').textContent(), String(term));
    assert.equal(await page.getByTestId('bar').count(), 0);
  }
  assert.deepEqual(complaints, []);
});

test('G-1 a write shows on an open page within a heartbeat', async () => {
  const { page, complaints } = await openPage(`${node.url}/ui/`);
  await live(page, 'node0');
  const { revision } = await call(node, 'PUT', '/api/keys/shell', 'value');
  await page.waitForFunction((revision) => Number(document.body.dataset.revision) >= revision, revision);
  await eventually('the commit index follows', async () => {
    const shown = await page.getByTestId('status-line').getByTestId('commit').textContent();
    return Number(shown.replaceAll(',', '')) >= revision;
  });
  assert.deepEqual(complaints, []);
});

test('G-1 a page whose stream is slow to open is in no trouble', async () => {
  const { page, complaints } = await openPage('about:blank');
  let open;
  const held = new Promise((resolve) => (open = resolve));
  await page.route('**/api/events?*', (route) => held.then(() => route.continue()));
  await page.goto(`${node.url}/ui/`);
  await page.getByTestId('node-name').getByText('node0').waitFor();
  // Longer than a break may last unseen.
  await page.waitForFunction((until) => performance.now() > until, await page.evaluate(() => performance.now() + 1_200));
  assert.equal(await page.getByTestId('bar').count(), 0);
  open();
  await live(page, 'node0');
  // Recovery would be told with the second word of the node.
  const { revision } = await call(node, 'PUT', '/api/keys/slow', 'value');
  const commit = page.getByTestId('status-line').getByTestId('commit');
  await eventually('heartbeats', async () => Number((await commit.textContent()).replaceAll(',', '')) >= revision);
  assert.equal(await page.getByTestId('caught-up').textContent(), '');
  await page.unrouteAll({ behavior: 'ignoreErrors' });
  assert.deepEqual(complaints, []);
});

test('G-6 a mistake in the program leaves a message and a way to begin anew', async () => {
  const { page } = await openPage(`${node.url}/ui/`);
  await live(page, 'node0');
  await page.evaluate(() => {
    const make = document.createElement;
    document.createElement = function (tag) {
      if (tag === 'div') throw new Error('no such element');
      return make.call(this, tag);
    };
  });
  await page.getByTestId('nav-keys').click();
  const stopped = page.getByTestId('stopped');
  await stopped.waitFor();
  assert.equal(await stopped.locator('h1').textContent(), 'The dashboard stopped');
  assert.match(await stopped.locator('pre').textContent(), /a valid tag: .*no such element.*\.rs:\d+/s);
  await page.screenshot({ path: join(artefacts, 'shell-stopped.png') });
  await stopped.getByRole('button', { name: 'Reload the dashboard' }).click();
  await live(page, 'node0');
  assert.equal(await page.locator('main h1').textContent(), 'Keys');
});

test('G-8 eight tabs at once all load, and the one that is looked at listens', async () => {
  const context = await browser.newContext();
  closing.push(() => context.close());
  // A browser opens them behind the first one; this one takes every page for a visible one.
  await context.addInitScript(() => {
    Object.defineProperty(document, 'hidden', { value: globalThis.name !== 'looked at', configurable: true });
  });
  const load = async () => {
    const page = await context.newPage();
    const began = Date.now();
    await page.goto(`${node.url}/ui/`);
    await page.locator('main h1').waitFor();
    await page.getByTestId('node-name').getByText('node0').waitFor();
    return [page, Date.now() - began];
  };
  const [, alone] = await load();
  let tabs;
  // The machine may be busy with another file: the quickest time counts.
  for (let tries = 1; tries <= TRIES; tries += 1) {
    tabs = await Promise.all(Array.from({ length: TABS }, load));
    const slowest = Math.max(...tabs.map(([, took]) => took));
    const said = `the slowest of ${TABS} tabs took ${slowest} ms, one alone ${alone} ms`;
    console.log(said);
    // The aim is for a quiet machine; on a busy one all of them may take what one after another would.
    if (slowest < TABS_WITHIN_MS + TABS * alone) break;
    assert.notEqual(tries, TRIES, said);
    await Promise.all(tabs.map(([page]) => page.close()));
  }
  const states = await Promise.all(tabs.map(([page]) => page.getAttribute('body', 'data-stream')));
  assert.deepEqual([...new Set(states)], ['paused']);
  for (const [page] of [tabs[0], tabs.at(-1)]) {
    await page.evaluate(() => {
      Object.defineProperty(document, 'hidden', { value: false });
      document.dispatchEvent(new Event('visibilitychange'));
    });
    await live(page, 'node0');
  }
});

test('G-9 another dashboard than this one is offered quietly', async () => {
  const { page, complaints, allow } = await openPage('about:blank');
  let asked = 0;
  await page.route('**/api/status', async (route) => {
    asked += 1;
    const answer = await route.fetch();
    return route.fulfill({ response: answer, json: { ...(await answer.json()), ui_build: 'an earlier one' } });
  });
  // The first look must come before the stream's first word.
  await page.route('**/api/events?*', async (route) => {
    await eventually('the first look', () => page.evaluate(() => document.body.dataset.leader === 'node0'));
    return route.continue();
  });
  await page.goto(`${node.url}/ui/`);
  const news = page.getByTestId('newer');
  await news.waitFor();
  assert.ok(asked >= 1);
  assert.equal(await news.locator('p').textContent(), 'node0 now serves another dashboard than this one.');
  await page.unroute('**/api/status');
  await page.unroute('**/api/events?*');
  // What is on its way is broken off.
  allow(/ERR_ABORTED/);
  await news.getByRole('button', { name: 'Reload' }).click();
  await live(page, 'node0');
  assert.ok(await news.isHidden());
  assert.deepEqual(complaints, []);
});

test('G-10 a read-only node says so, and writes are off with the reason', async () => {
  const reader = await startNode('reader', ['-read-only']);
  closing.push(() => reader.stop());
  const { page, complaints } = await openPage(`${reader.url}/ui/`);
  await live(page, 'reader');
  assert.equal(await page.getByTestId('node-role').textContent(), 'leader, read-only');
  // Nothing is hidden: what writes is there, off, and says why.
  for (const [screen, control] of [['locks', 'lock-take'], ['keys', 'key-new']]) {
    await page.getByTestId(`nav-${screen}`).click();
    await page.getByTestId(control).waitFor();
    assert.equal(await page.getByTestId(control).isDisabled(), true, control);
    assert.match(await page.getByTestId(control).getAttribute('title'), /read-only/, control);
  }
  assert.deepEqual(complaints, []);
});

test('G-11 numbers are grouped', async () => {
  const { page, complaints } = await openPage('about:blank');
  await page.route('**/api/status', async (route) => {
    const answer = await route.fetch();
    return route.fulfill({ response: answer, json: { ...(await answer.json()), commit_index: 48_211 } });
  });
  await page.route('**/api/events?*', () => {});
  await page.goto(`${node.url}/ui/`);
  await page.getByTestId('status-line').getByText('48,211', { exact: true }).waitFor();
  await page.unrouteAll({ behavior: 'ignoreErrors' });
  assert.deepEqual(complaints, []);
});

test('G-11 an age ticks by the node\'s clock, and hovering it gives the exact time', async () => {
  await call(node, 'PUT', '/api/keys/aged', 'value');
  const { page, complaints } = await openPage(`${node.url}/ui/keys?key=aged&past=open`);
  const age = page.getByTestId('history-row').locator('time');
  await age.waitFor();
  const exact = await age.getAttribute('title');
  assert.match(exact, /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}$/);
  const first = await age.textContent();
  assert.match(first, /^[<\d].* ago$/);
  await page.waitForFunction(([age, first]) => age.textContent !== first, [await age.elementHandle(), first]);
  assert.equal(await age.getAttribute('title'), exact, 'the moment stays');
  assert.deepEqual(complaints, []);
});

test('G-7 MO the status line breaks no rule of accessibility and fits a telephone, in both themes', async () => {
  const { page } = await openPage(`${node.url}/ui/lab`, { bypassCSP: true });
  await live(page, 'node0');
  await eachLook(page, [[1280, 800], [800, 600], [360, 740]], async (name) => {
    assert.deepEqual(await axe(page), [], name);
    await noSidewaysScroll(page);
    await page.screenshot({ path: join(artefacts, `shell-${name}.png`) });
  });
});
