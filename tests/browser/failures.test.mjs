// What the dashboard says when things go wrong: on one cluster of three, whose nodes are killed, frozen
// and cut off, and whose answers are replaced.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { FAULTS, artefacts, axe, eachLook, launch, live, noSidewaysScroll, open, readBar } from './browser.mjs';
import { startCluster } from './cluster.mjs';
import { eventually } from './node.mjs';

/** Longest wait for what a page is to show, on a busy machine. */
const SHOWN_WITHIN_MS = 20_000;

let cluster;
let browser;

before(async () => {
  cluster = await startCluster();
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await cluster?.stop();
});

/** What closes the pages of a test, also of one that failed. */
let closing = [];

afterEach(async () => {
  for (const close of closing) await close();
  closing = [];
});

async function openPage(url, options) {
  const opened = await open(browser, url, options);
  closing.push(opened.close);
  return opened;
}

/** Opens a page of a node and waits until it hears it. */
async function openAt(id, path = '/ui/', options = {}) {
  const opened = await openPage(cluster.node(id).url + path, options);
  await live(opened.page);
  // A page that is loaded anew has lost this.
  await opened.page.evaluate(() => (globalThis.isSame = true));
  return opened;
}

const isSame = (page) => page.evaluate(() => globalThis.isSame === true);
const bar = (page, kind) => page.waitForSelector(`[data-testid="bar"][data-kind="${kind}"]`, { timeout: SHOWN_WITHIN_MS });
const noBar = (page) => page.waitForSelector('[data-testid="bar"]', { state: 'detached', timeout: SHOWN_WITHIN_MS });
const barText = (page) => page.getByTestId('bar-text').textContent();
const stream = (page, state) => page.waitForSelector(`body[data-stream="${state}"]`, { timeout: SHOWN_WITHIN_MS });

async function aFollower() {
  const leader = await cluster.waitForLeader();
  const others = cluster.ids.filter((id) => id !== leader);
  for (const id of others) await cluster.caughtUp(id);
  return { leader, follower: others[0], other: others[1] };
}

/** Makes a page take itself for hidden, or for seen again. */
const setHidden = (page, hidden) =>
  page.evaluate((hidden) => {
    Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
    document.dispatchEvent(new Event('visibilitychange'));
  }, hidden);

test('F-1 a node that is cut off says so, how old its copy is, and where to look instead', async () => {
  const { follower, leader, other } = await aFollower();
  const { page, complaints } = await openAt(follower, '/ui/events?prefix=a%2F');
  cluster.cut(follower);
  try {
    await bar(page, 'cut-off');
    const said = await barText(page);
    assert.match(said, new RegExp(`^${follower} is cut off from the quorum\\. You see its own copy, applied up to [\\d,]+, `));
    assert.match(said, /Writes are off\.$/);
    const old = (text) => Number(/([\d.]+) s old/.exec(text)?.[1]);
    await eventually('the age ticks', async () => old(await barText(page)) > old(said) + 1);
    await eventually('the status line says how old it is', async () =>
      /^Stale \d/.test(await page.getByTestId('connection').textContent()));
    for (const id of [leader, other]) {
      const link = page.locator(`[data-testid="bar-node"][data-node="${id}"][data-reachable="true"]`);
      await link.waitFor();
      assert.equal(await link.getAttribute('href'), `${cluster.node(id).url}/ui/events?prefix=a%2F`);
    }
    await page.screenshot({ path: join(artefacts, 'failures-cut-off.png') });
  } finally {
    cluster.heal();
  }
  await noBar(page);
  assert.ok(await isSame(page));
  assert.deepEqual(complaints, []);
});

test('F-2 without a majority anywhere the page says that no node can commit, and stays', async () => {
  const { follower } = await aFollower();
  const { page, complaints } = await openAt(follower, '/ui/nodes');
  for (const id of cluster.ids) cluster.cut(id);
  try {
    await bar(page, 'no-quorum');
    assert.match(await barText(page), /^No node can commit: 3 of 3 voters answer this browser, and none of them has a majority\./);
    assert.equal(await page.locator('[data-testid="bar-node"][data-reachable="true"]').count(), 2);
    assert.equal(await page.locator('main h1').textContent(), 'Nodes');
  } finally {
    cluster.heal();
  }
  await noBar(page);
  assert.deepEqual(complaints, []);
});

test('F-3 when the partition heals, the page says once what was caught up, without a reload', async () => {
  const { follower, other } = await aFollower();
  const { page, complaints } = await openAt(follower);
  const { page: elsewhere } = await openAt(other);
  cluster.cut(follower);
  const writes = 40;
  try {
    await bar(page, 'cut-off');
    for (let n = 0; n < writes; n += 1) await cluster.api('PUT', `/api/keys/f3/${n}`, 'value');
    await readBar(page);
  } finally {
    cluster.heal();
  }
  const news = page.getByTestId('caught-up');
  await news.waitFor({ timeout: SHOWN_WITHIN_MS });
  const said = /caught up (\d+) entries in (<?[\d.]+) s\.$/.exec(await news.textContent());
  assert.ok(said && Number(said[1]) >= writes, `said ${await news.textContent()}`);
  assert.equal(await page.getByTestId('bar').count(), 0);
  const { revision } = await cluster.status(await cluster.waitForLeader());
  await page.waitForFunction((revision) => Number(document.body.dataset.revision) >= revision, revision);
  assert.equal(await elsewhere.getByTestId('caught-up').textContent(), '', 'a node that was never in trouble');
  await news.waitFor({ state: 'hidden', timeout: SHOWN_WITHIN_MS });
  assert.ok(await isSame(page));
  assert.deepEqual(complaints, []);
});

test('F-4 another leader is shown at once and announced once; the page stays as it was', async () => {
  const { leader, follower } = await aFollower();
  const { page, complaints } = await openAt(follower, '/ui/events?prefix=kept');
  await live(page, leader);
  await page.evaluate(() => {
    globalThis.said = [];
    const announcer = document.querySelector('[data-testid=announcer]');
    const note = () => globalThis.said.push(announcer.textContent);
    new MutationObserver(note).observe(announcer, { characterData: true, subtree: true, childList: true });
  });
  await cluster.api('POST', '/api/cluster/transfer', {}, leader);
  const next = await cluster.waitForLeader({ not: leader });
  await live(page, next);
  assert.equal(await page.getByTestId('leader').textContent(), next);
  const { term } = await cluster.status(next);
  await eventually('it is announced', async () => (await page.evaluate(() => globalThis.said)).length > 0);
  assert.deepEqual(await page.evaluate(() => globalThis.said), [`${next} leads, term ${term} (was ${leader}).`]);
  assert.equal(await page.getByTestId('bar').count(), 0);
  assert.equal(new URL(page.url()).search, '?prefix=kept');
  assert.ok(await isSame(page));
  assert.deepEqual(complaints, []);
});

test('F-5 a leader that is cut off is shown as unconfirmed, and since when', async () => {
  const { leader } = await aFollower();
  const { page, complaints } = await openAt(leader);
  cluster.cut(leader);
  try {
    await eventually('it is unconfirmed', async () =>
      /^unconfirmed [2-9]/.test(await page.getByTestId('unconfirmed').textContent()));
    const mark = page.locator('.fact.led .mark');
    assert.equal(await mark.getAttribute('data-role'), 'unconfirmed');
    await bar(page, 'cut-off');
  } finally {
    cluster.heal();
  }
  await noBar(page);
  assert.deepEqual(complaints, []);
});

test('F-6 a node that is killed is said to be lost, tried again, and had back at once on demand', async () => {
  const { follower, leader } = await aFollower();
  const { page, complaints, allow } = await openAt(follower);
  allow(...FAULTS);
  await cluster.kill(follower);
  try {
    await bar(page, 'lost');
    assert.match(await barText(page), new RegExp(`^${follower} does not answer\\. You see its state, applied up to`));
    await eventually('attempts are counted', async () =>
      /^Reconnecting \([3-9]\)/.test(await page.getByTestId('connection').textContent()));
    await page.locator(`[data-testid="bar-node"][data-node="${leader}"][data-reachable="true"]`).waitFor();
    await page.screenshot({ path: join(artefacts, 'failures-lost.png') });
  } finally {
    await cluster.start(follower);
  }
  const asked = Date.now();
  // It may be back by itself meanwhile.
  await page.getByTestId('bar-retry').click({ timeout: 500 }).catch(() => {});
  await live(page);
  assert.ok(Date.now() - asked < 3_000, `back after ${Date.now() - asked} ms`);
  await noBar(page);
  assert.deepEqual(complaints, []);
});

test('F-6 a frozen node is lost after five silent seconds', async () => {
  const { follower } = await aFollower();
  const { page, allow, complaints } = await openAt(follower);
  allow(...FAULTS);
  cluster.freeze(follower);
  try {
    await stream(page, 'reconnecting');
    await eventually('the silence is counted', async () =>
      /^no answer for ([5-9]|\d\d)/.test(await page.getByTestId('silence').textContent()));
    await bar(page, 'lost');
  } finally {
    cluster.thaw(follower);
  }
  await live(page);
  await noBar(page);
  await eventually('silence is over', async () => (await page.getByTestId('silence').textContent()) === '');
  assert.deepEqual(complaints, []);
});

test('F-6 a browser without a network says so, and is back as soon as it has one', async () => {
  const { follower } = await aFollower();
  const { page, allow, complaints } = await openAt(follower);
  allow(...FAULTS, /ERR_INTERNET_DISCONNECTED/);
  await page.context().setOffline(true);
  // What is open already goes on; its node ends it.
  await cluster.kill(follower);
  await stream(page, 'offline');
  await bar(page, 'no-network');
  await cluster.start(follower);
  await page.context().setOffline(false);
  await live(page);
  await noBar(page);
  assert.deepEqual(complaints, []);
});

test('F-7 five hundred writes over three lost streams are there once each and in order', async () => {
  const { follower, other } = await aFollower();
  const { page, allow, complaints } = await openAt(follower, '/ui/events?prefix=f7%2F');
  allow(...FAULTS);
  const written = [];
  const write = async (upTo) => {
    while (written.length < upTo) {
      const { revision } = await cluster.api('PUT', `/api/keys/f7/${written.length}`, 'value', other);
      written.push(revision);
    }
  };
  for (let drop = 1; drop <= 3; drop += 1) {
    const writing = write(drop * 125);
    await cluster.kill(follower);
    await writing;
    await write(drop * 125 + 40);
    await cluster.start(follower);
    await live(page);
  }
  await write(500);
  await page.waitForFunction((revision) => Number(document.body.dataset.revision) >= revision, written.at(-1));
  const read = async () => {
    const [file] = await Promise.all([page.waitForEvent('download'), page.getByTestId('events-export').click()]);
    const lines = (await readFile(await file.path(), 'utf8')).trim().split('\n');
    return lines.map((line) => JSON.parse(line)).filter(({ key }) => key?.startsWith('f7/'));
  };
  const seen = await eventually('all writes', async () => {
    const events = await read();
    return events.length >= written.length && events;
  });
  assert.deepEqual(seen.map(({ revision }) => revision), written);
  assert.ok(await isSame(page));
  assert.deepEqual(complaints, []);
});

test('F-8 an answer that is no stream ends nothing: the page asks again from where it was', async () => {
  const { follower } = await aFollower();
  const { page, allow, complaints } = await openAt(follower);
  allow(...FAULTS);
  const asked = [];
  await page.route('**/api/events?*', (route) => {
    asked.push(new URL(route.request().url()).searchParams.get('since'));
    return asked.length % 2
      ? route.fulfill({ status: 503, contentType: 'application/problem+json', body: '{}' })
      : route.fulfill({ status: 200, contentType: 'text/html', body: '<p>a proxy</p>' });
  });
  await cluster.kill(follower);
  await cluster.start(follower);
  await bar(page, 'refused');
  await eventually('several attempts', () => asked.length >= 3);
  assert.match(await barText(page), new RegExp(`^${follower} answers (503|200) and no events\\.`));
  assert.ok(asked.every((since) => since && since === asked[0]), `since: ${asked}`);
  await page.unroute('**/api/events?*');
  await live(page);
  await noBar(page);
  assert.deepEqual(complaints, []);
});

test('F-9 when its place is no longer kept, the stream goes on from the oldest that is', async () => {
  const { follower } = await aFollower();
  const { page, allow, complaints } = await openAt(follower);
  allow(...FAULTS, /status of 410/);
  const asked = [];
  const oldest = (await cluster.status(follower)).revision + 1_000;
  await page.route('**/api/events?*', (route) => {
    asked.push(new URL(route.request().url()).searchParams.get('since'));
    if (asked.length > 1) return route.continue();
    const problem = { type: 'urn:conclave:error:revision_gone', title: 'Gone', status: 410, detail: '', code: 'revision_gone', applied: 'no', oldest };
    return route.fulfill({ status: 410, contentType: 'application/problem+json', body: JSON.stringify(problem) });
  });
  await cluster.kill(follower);
  await cluster.start(follower);
  await eventually('it asks again', () => asked.length >= 2);
  assert.equal(asked[1], String(oldest - 1));
  await live(page);
  assert.deepEqual(complaints, []);
});

test('F-10 a hidden tab lets its stream go, and resumes it when it is seen', async () => {
  const { follower } = await aFollower();
  const { page, complaints } = await openAt(follower);
  const watchers = async () => (await cluster.status(follower)).watchers;
  await eventually('one stream', async () => (await watchers()) === 1);
  await setHidden(page, true);
  await stream(page, 'paused');
  await eventually('no stream', async () => (await watchers()) === 0);
  assert.equal(await page.getByTestId('connection').textContent(), 'Paused');
  assert.equal(await page.getByTestId('bar').count(), 0);
  const { revision } = await cluster.api('PUT', '/api/keys/f10', 'written meanwhile');
  const asked = page.waitForRequest(/\/api\/events\?.*since=\d+/);
  await setHidden(page, false);
  await asked;
  await live(page);
  await page.waitForFunction((revision) => Number(document.body.dataset.revision) >= revision, revision);

  // The back/forward cache keeps no page that listens; one that returns listens again.
  await page.evaluate(() => dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true })));
  await stream(page, 'paused');
  await page.evaluate(() => dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true })));
  await live(page);
  assert.deepEqual(complaints, []);
});

test('F-11 a page whose files are gone says how to get the new version', async () => {
  const { follower } = await aFollower();
  const { page, allow } = await openPage('about:blank');
  allow(/404/, /wasm/i);
  await page.route(/\.wasm$/, (route) => route.fulfill({ status: 404, contentType: 'application/problem+json', body: '{}' }));
  await page.goto(`${cluster.node(follower).url}/ui/`);
  await page.getByText('reload the page to get the new version').waitFor({ timeout: SHOWN_WITHIN_MS });
});

test("F-12 ages are counted by the node's clock, whatever the browser's says", async () => {
  const { follower } = await aFollower();
  const { page, complaints } = await openPage('about:blank');
  await page.addInitScript(() => {
    const now = Date.now.bind(Date);
    Date.now = () => now() - 3_600_000;
  });
  await page.goto(`${cluster.node(follower).url}/ui/`);
  await live(page);
  cluster.cut(follower);
  try {
    await bar(page, 'cut-off');
    const said = await barText(page);
    const [, old] = /([\d.]+) s old/.exec(said) ?? [];
    assert.ok(Number(old) < 20, said);
  } finally {
    cluster.heal();
  }
  await noBar(page);
  assert.deepEqual(complaints, []);
});

test('F-14 without JavaScript or WebAssembly the page says what it needs', async () => {
  const { follower } = await aFollower();
  const { url } = cluster.node(follower);
  const still = await openPage(`${url}/ui/`, { javaScriptEnabled: false });
  assert.match(await still.page.locator('noscript p').innerText(), /^JavaScript is off\. /);
  assert.equal(await still.page.locator('noscript a').getAttribute('href'), '/api/status');

  const { page, allow } = await openPage('about:blank');
  allow(/WebAssembly/);
  await page.addInitScript(() => delete globalThis.WebAssembly);
  await page.goto(`${url}/ui/`);
  await page.getByText('The dashboard needs JavaScript and WebAssembly').waitFor({ timeout: SHOWN_WITHIN_MS });
});

test('the bar breaks no rule of accessibility and fits a telephone, in both themes', async () => {
  const { follower } = await aFollower();
  const { page } = await openAt(follower, '/ui/', { bypassCSP: true });
  cluster.cut(follower);
  try {
    await bar(page, 'cut-off');
    await page.getByTestId('bar-node').first().waitFor();
    await eachLook(page, [[1280, 800], [360, 740]], async (name) => {
      assert.deepEqual(await axe(page), [], name);
      await noSidewaysScroll(page);
      assert.equal(await page.getByTestId('bar').count(), 1);
      await page.screenshot({ path: join(artefacts, `failures-bar-${name}.png`) });
    });
  } finally {
    cluster.heal();
  }
});
