// The screen Locks on a real cluster: what it shows of others' locks, and locks that tabs hold.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { join } from 'node:path';
import { artefacts, axe, FAULTS, launch, live, noSidewaysScroll, open } from './browser.mjs';
import { startCluster } from './cluster.mjs';
import { eventually } from './node.mjs';

/** Hand-overs between two tabs. */
const HAND_OVERS = 50;
/** TTL of a short claim that the form offers, milliseconds. */
const SHORT_MS = 5_000;
/** A claim ends this long after its TTL at the latest, when there is a leader. */
const GRACE_MS = 3_500;
/** Longest wait until a lock that was given back is free, far below its TTL. */
const RELEASED_WITHIN_MS = 10_000;

let cluster;
let node;
let browser;

before(async () => {
  [cluster, browser] = await Promise.all([startCluster(), launch()]);
  // The page's node follows, so that its claims are forwarded, and it can be cut off.
  const leader = await cluster.waitForLeader();
  node = cluster.nodes.find(({ id }) => id !== leader);
});

after(async () => {
  await browser?.close();
  await cluster?.stop();
});

const named = (name) => `/api/locks?name=${encodeURIComponent(name)}`;
const api = (method, target, body) => cluster.api(method, target, body);
const lock = (name) => api('GET', named(name));
const claim = (name, owner, ttl_ms = 60_000) => api('POST', named(name), { owner, ttl_ms });
const release = (name, { session }) => api('DELETE', `${named(name)}&session=${session}`);
const breakIt = (name) => api('DELETE', `${named(name)}&force=true`);

/** Waits in a queue; the answer is the refusal with the place. */
async function queue(name, owner, ttl_ms = 60_000) {
  const body = JSON.stringify({ owner, ttl_ms, wait_ms: 1 });
  const headers = { 'content-type': 'application/json', accept: 'application/json' };
  const answer = await fetch(cluster.node(await cluster.leader()).url + named(name), { method: 'POST', body, headers });
  assert.equal(answer.status, 423);
  return (await answer.json()).lock;
}

async function locksPage(query = '', options = {}) {
  const opened = await open(browser, `${node.url}/ui/locks${query}`, options);
  await live(opened.page);
  return opened;
}

const row = (page, name) => page.locator(`[data-testid="lock-row"][data-lock=${JSON.stringify(name)}]`);
const mine = (page, name, standing = '') =>
  page.locator(`[data-testid="claim"][data-lock=${JSON.stringify(name)}]${standing && `[data-standing="${standing}"]`}`);

/** What a browser says of a claim that must wait. */
const LOCKED = /status of 423/;

/** Claims a lock by the form. */
async function take(page, name, { ttl = SHORT_MS, who = 'Ada' } = {}) {
  await page.getByTestId('lock-name').fill(name);
  await page.getByTestId('lock-who').fill(who);
  await page.getByTestId('lock-ttl').selectOption(String(ttl));
  await page.getByTestId('lock-take').click();
}

test('LK-1 a lock is shown with its holder, its token and the time left, and its token never goes back', async () => {
  const held = await claim('shown/1', 'job-7');
  await queue('shown/1', 'job-8');
  const { page, complaints, close } = await locksPage();
  await row(page, 'shown/1').waitFor();
  const { holder } = await lock('shown/1');
  const shown = await row(page, 'shown/1').textContent();
  for (const part of ['job-7', holder.session, holder.node]) assert.ok(shown.includes(part), `${part} in ${shown}`);
  assert.equal(await row(page, 'shown/1').getAttribute('data-token'), String(held.token));
  assert.equal((await row(page, 'shown/1').locator('.lk-token').textContent()).replaceAll(',', ''), String(held.token));
  assert.match(await row(page, 'shown/1').locator('.lk-ttl').textContent(), /^(\d+ s|1 m 0 s)$/);
  assert.equal(await row(page, 'shown/1').locator('.lk-waits').textContent(), '1');

  const bar = row(page, 'shown/1').locator('.lk-bar > span');
  const width = () => bar.evaluate((element) => element.getBoundingClientRect().width);
  const whole = await width();
  await eventually('the bar drains', async () => (await width()) < whole);

  await page.evaluate(() => {
    globalThis.tokens = [];
    const look = () => {
      const token = document.querySelector('[data-lock="shown/1"]')?.dataset.token;
      if (token && globalThis.tokens.at(-1) !== Number(token)) globalThis.tokens.push(Number(token));
    };
    look();
    new MutationObserver(look).observe(document.body, { subtree: true, attributes: true, childList: true });
  });
  let last;
  for (let round = 0; round < 10; round += 1) {
    await breakIt('shown/1').catch(() => {});
    last = (await lock('shown/1')).holder ?? (await claim('shown/1', `job-${round}`));
  }
  await page.waitForFunction((token) => globalThis.tokens.at(-1) === token, last.token);
  const tokens = await page.evaluate(() => globalThis.tokens);
  assert.deepEqual(tokens, tokens.toSorted((a, b) => a - b));
  assert.deepEqual(complaints, []);
  await close();
});

test('LK-2 a lock opens its queue, and a hand-over moves it one step and is said', async () => {
  const holder = await claim('queue', 'first');
  const { session } = await queue('queue', 'second');
  await queue('queue', 'third');
  const { page, complaints, close } = await locksPage();
  await row(page, 'queue').getByRole('link').click();
  const panel = page.getByTestId('lock-queue');
  await panel.waitFor();
  assert.equal(new URL(page.url()).searchParams.get('lock'), 'queue');
  const waiters = panel.getByTestId('lock-waiter');
  await page.waitForFunction(() => document.querySelectorAll('[data-testid="lock-waiter"]').length === 2);
  assert.match(await waiters.first().textContent(), /^1second, node\d/);
  assert.equal(await waiters.first().getAttribute('data-session'), session);

  await release('queue', holder);
  await page.waitForFunction(() => document.querySelectorAll('[data-testid="lock-waiter"]').length === 1);
  const { token } = await lock('queue');
  const said = panel.getByTestId('lock-handed');
  await page.waitForFunction((e) => e.textContent !== '', await said.elementHandle());
  assert.equal((await said.textContent()).replaceAll(',', ''), `queue passed from first to second token ${token}.`);
  assert.match(await panel.getByTestId('queue-holder').textContent(), /^second, through node\d$/);
  await breakIt('queue');
  await breakIt('queue');
  assert.deepEqual(complaints, []);
  await close();
});

test('LK-3 a tab takes a lock, renews it, says so on every screen, and can leave a line', async () => {
  const { page, complaints, close } = await locksPage('', { allow: [LOCKED] });
  await take(page, 'tab/own');
  await mine(page, 'tab/own', 'held').waitFor();
  const { holder, token } = await lock('tab/own');
  assert.equal(holder.owner, 'dashboard - Ada');
  assert.equal(await mine(page, 'tab/own').getAttribute('data-token'), String(token));
  await page.waitForFunction(() => document.title === '\u26bf Locks · Conclave');

  await page.getByTestId('nav-events').click();
  await page.waitForFunction(() => document.title === '\u26bf Events · Conclave');
  let lowest = SHORT_MS;
  await eventually('a renewal', async () => {
    const { ttl_ms } = await lock('tab/own');
    lowest = Math.min(lowest, ttl_ms);
    return ttl_ms > lowest + 500;
  });
  assert.equal((await lock('tab/own')).token, token);
  await page.getByTestId('nav-locks').click();
  await mine(page, 'tab/own', 'held').waitFor();

  await claim('tab/line', 'somebody');
  await queue('tab/line', 'second');
  await queue('tab/line', 'third');
  await take(page, 'tab/line');
  await mine(page, 'tab/line', 'waiting').waitFor();
  assert.match(await mine(page, 'tab/line').textContent(), /you are 3rd in line/);
  assert.equal((await lock('tab/line')).next.length, 3);
  await mine(page, 'tab/line').getByTestId('lock-leave').click();
  await eventually('it has left', async () => (await lock('tab/line')).next.length === 2);
  await mine(page, 'tab/line', 'over').waitFor();
  assert.deepEqual(complaints, []);
  await close();
});

test('LK-3 locks of any name are taken and given back', async () => {
  const { page, complaints, close } = await locksPage();
  for (const name of ['a/../b', '..', '<img src=x onerror=alert(1)>', 'it\'s "100%" + ключ', '?name=x&force=true']) {
    await take(page, name);
    await mine(page, name, 'held').waitFor();
    await row(page, name).waitFor();
    assert.equal((await lock(name)).holder.owner, 'dashboard - Ada', name);
    await mine(page, name).getByTestId('lock-release').click();
    await mine(page, name, 'over').waitFor();
    await eventually(`${name} is free`, async () => (await lock(name)).holder === null);
  }
  assert.deepEqual(complaints, []);
  await close();
});

test('LK-4 a tab that is cut off says loudly that it no longer holds its lock, and which token is current', async () => {
  const { page, allow, complaints, close } = await locksPage();
  await take(page, 'lost');
  await mine(page, 'lost', 'held').waitFor();
  const { token } = await lock('lost');
  // The lost claim's renewal is refused, which the page expects and the console tells.
  allow(...FAULTS, /the server responded with a status of 409/);
  await eventually('another node leads', async () => {
    if ((await cluster.leader()) !== node.id) return true;
    await api('POST', '/api/cluster/transfer', {});
    return false;
  });
  cluster.cut(node.id);
  const cutAt = Date.now();
  try {
    await page.getByTestId('lock-lost').waitFor();
    assert.equal(await mine(page, 'lost', 'held').count(), 0);
    assert.ok(Date.now() - cutAt <= SHORT_MS + 1_000, 'not held longer than its TTL');
    assert.match(await page.title(), /^Locks/);
    assert.match(await page.getByTestId('lock-lost').textContent(), /You no longer hold lost \(expired .* ago\)/);
    const newer = await eventually('the lock is free for others', () => claim('lost', 'other').catch(() => {}));
    assert.ok(newer.token > token);
    cluster.heal();
    const said = new RegExp(`Token ${token} is stale, ${newer.token} is current\\.`);
    await page.waitForFunction(
      ([e, said]) => new RegExp(said).test(e.textContent.replaceAll(',', '').replace('stale ', 'stale, ')),
      [await page.getByTestId('lock-lost').elementHandle(), said.source],
    );
  } finally {
    cluster.heal();
  }
  await page.getByTestId('nav-keys').click();
  await page.getByTestId('lock-lost').waitFor();
  await page.screenshot({ path: join(artefacts, 'locks-lost.png') });
  await breakIt('lost');
  await live(page, await cluster.waitForLeader());
  assert.deepEqual(complaints, []);
  await close();
});

test('LK-5 a lock is given back by the button, by leaving the page, and by its TTL', async () => {
  const crashed = await locksPage();
  await take(crashed.page, 'crashed');
  await mine(crashed.page, 'crashed', 'held').waitFor();
  // The renderer dies at once, as with a crash of the browser: nothing is sent any more.
  const crash = crashed.page.waitForEvent('crash');
  crashed.page.goto('chrome://crash').catch(() => {});
  await crash;
  assert.notEqual((await lock('crashed')).holder, null);
  // It is asked for while the others are given back.
  const ended = eventually('ended by its TTL', async () => (await lock('crashed')).holder === null, SHORT_MS + GRACE_MS);

  const { page, allow, complaints, close } = await locksPage();
  await take(page, 'back', { ttl: 60_000 });
  await mine(page, 'back', 'held').waitFor();
  await mine(page, 'back').getByTestId('lock-release').click();
  assert.equal(await mine(page, 'back', 'held').count(), 0, 'it is not said to be held from the click on');
  await eventually('released by the button', async () => (await lock('back')).holder === null, RELEASED_WITHIN_MS);

  await take(page, 'back', { ttl: 60_000 });
  await mine(page, 'back', 'held').waitFor();
  // What the page was asking for ends with it.
  allow(...FAULTS);
  await page.goto('about:blank');
  await eventually('released by leaving', async () => (await lock('back')).holder === null, RELEASED_WITHIN_MS);
  assert.deepEqual(complaints, []);
  await close();

  await ended;
  await crashed.close();
});

test('LK-6 a lock is broken with its name typed, and the answer has the old and the new token', async () => {
  const { token } = await claim('force', 'victim');
  await queue('force', 'heir');
  const { page, complaints, close } = await locksPage('?lock=force');
  await page.getByTestId('lock-force').click();
  const dialog = page.getByTestId('dialog').filter({ visible: true });
  assert.match(await dialog.textContent(), /victim is not told.*Only the token protects/);
  assert.ok(await page.getByTestId('confirm').isDisabled(), 'without its name nothing is broken');
  await page.getByTestId('force-name').fill('for');
  await page.getByTestId('force-name').press('Enter');
  assert.ok(await page.getByTestId('confirm').isDisabled());
  assert.equal((await lock('force')).token, token);
  await page.getByTestId('force-name').fill('force');
  await page.getByTestId('confirm').click();
  const result = page.getByTestId('force-result');
  await page.waitForFunction((e) => /no longer counts/.test(e.textContent), await result.elementHandle());
  const now = await lock('force');
  assert.ok(now.token > token);
  const said = `Token ${token} no longer counts. Token ${now.token} is current held by heir.`;
  assert.equal((await result.textContent()).replaceAll(',', ''), said);
  await page.getByTestId('cancel').click();
  await breakIt('force');
  assert.deepEqual(complaints, []);
  await close();
});

test(`LK-7 of two tabs never both hold, in ${HAND_OVERS} hand-overs, and tokens rise`, async () => {
  const tabs = [await locksPage('', { allow: [LOCKED] }), await locksPage('', { allow: [LOCKED] })];
  for (const { page } of tabs) {
    await page.evaluate(() => {
      globalThis.spans = [];
      const look = () => {
        const held = document.querySelector('[data-testid="claim"][data-lock="contended"][data-standing="held"]');
        const now = performance.timeOrigin + performance.now();
        const last = globalThis.spans.at(-1);
        if (held && !(last && last.until === undefined)) globalThis.spans.push({ from: now, token: Number(held.dataset.token) });
        else if (!held && last && last.until === undefined) last.until = now;
      };
      new MutationObserver(look).observe(document.body, { subtree: true, attributes: true, childList: true });
    });
  }
  let [holder, waiter] = tabs;
  await take(holder.page, 'contended', { ttl: 60_000 });
  await mine(holder.page, 'contended', 'held').waitFor();
  for (let round = 0; round < HAND_OVERS; round += 1) {
    await take(waiter.page, 'contended', { ttl: 60_000 });
    await mine(waiter.page, 'contended', 'waiting').waitFor();
    // A click of the browser waits for frames; this one does not.
    await mine(holder.page, 'contended').getByTestId('lock-release').evaluate((button) => button.click());
    await mine(waiter.page, 'contended', 'held').waitFor();
    [holder, waiter] = [waiter, holder];
  }
  const spans = (await Promise.all(tabs.map(({ page }) => page.evaluate(() => globalThis.spans)))).flat();
  spans.sort((a, b) => a.from - b.from);
  assert.equal(spans.length, HAND_OVERS + 1);
  for (const [at, span] of spans.slice(1).entries()) {
    const before = spans[at];
    assert.ok(before.until <= span.from, `two hold: ${JSON.stringify([before, span])}`);
    assert.ok(before.token < span.token, `tokens rise: ${JSON.stringify([before, span])}`);
  }
  for (const { complaints, close } of tabs) {
    assert.deepEqual(complaints, []);
    await close();
  }
});

test('LK-8 the shown command works with this lock and its token, and not with the token before', async () => {
  const old = await claim('guard/1', 'before');
  await breakIt('guard/1');
  const { token } = await claim('guard/1', 'now');
  const { page, complaints, close } = await locksPage('?lock=guard%2F1');
  const snippet = page.getByTestId('lock-snippet');
  await page.waitForFunction((e) => /token=\d/.test(e.textContent), await snippet.elementHandle());
  const text = await snippet.textContent();
  assert.ok(text.includes(`${node.url}/api/keys/`), text);
  const [, guard] = /-H 'Conclave-Lock: ([^']+)'/.exec(text);
  assert.equal(guard, `guard%2F1;token=${token}`);
  const put = (lock) => fetch(`${node.url}/api/keys/guarded`, { method: 'PUT', body: 'v', headers: { 'conclave-lock': lock } });
  assert.equal((await put(guard)).status, 201);
  assert.equal((await put(guard.replace(String(token), String(old.token)))).status, 412);
  await breakIt('guard/1');
  assert.deepEqual(complaints, []);
  await close();
});

test('G-7 MO the screen breaks no rule of accessibility and fits a desk and a telephone', async () => {
  await claim('jobs/nightly', 'job-7');
  await queue('jobs/nightly', 'job-8');
  await claim('backup', 'host-12');
  // The policy would refuse the checker itself; every other test runs under it.
  const { page, close } = await locksPage('?lock=jobs%2Fnightly', { bypassCSP: true });
  await take(page, 'mine', { ttl: 60_000 });
  await mine(page, 'mine', 'held').waitFor();
  await row(page, 'mine').waitFor();
  for (const colorScheme of ['light', 'dark']) {
    for (const [width, height] of [[1280, 800], [360, 740]]) {
      await page.emulateMedia({ colorScheme });
      await page.setViewportSize({ width, height });
      await noSidewaysScroll(page);
      assert.deepEqual(await axe(page), [], `${colorScheme} ${width}`);
      await page.screenshot({ path: join(artefacts, `locks-${colorScheme}-${width}.png`), fullPage: true });
    }
  }
  await close();
});
