// Locks that a page's `EventSource` holds, and what a browser does that must take none.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { ELSEWHERE, launch } from './browser.mjs';
import { listen, plainPage } from './event-source.mjs';
import { call, eventually, startNode } from './node.mjs';

const EVENTS = ['granted', 'not_granted', 'ping', 'lost'];
/** Between the end of a connection and the next one's grant; the test looks every 50 ms. */
const RELEASED_WITHIN_MS = 2_000;

const nodes = [];
let node;
let browser;

before(async () => {
  node = await startNode('node0');
  nodes.push(node);
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await Promise.all(nodes.map((node) => node.stop()));
});

const address = (name) => `${node.url}/api/locks/${name}`;
const lock = (name) => call(node, 'GET', `/api/locks/${name}`);

/** What the node knows of a lock that nobody holds and nobody waits for. */
async function assertFree(name, after) {
  const { holder, token, next } = await lock(name);
  assert.deepEqual({ holder, token, next }, { holder: null, token: null, next: [] }, after);
}

test('an EventSource holds a lock as long as its page is open', async () => {
  const [first, second] = [await plainPage(browser, node), await plainPage(browser, node)];
  const holds = await listen(first.page, '/api/locks/held?owner=first', EVENTS);
  const { data: granted } = await holds.first('granted');
  assert.equal(granted.name, 'held');
  const waits = await listen(second.page, '/api/locks/held?owner=second', EVENTS);
  const { data: queued } = await waits.first('not_granted');
  assert.equal(queued.locked_by, 'first');
  assert.equal(queued.position, 1);
  const shown = await lock('held');
  assert.equal(shown.holder.owner, 'first');
  assert.equal(shown.token, granted.token);
  assert.deepEqual(shown.next.map(({ owner }) => owner), ['second']);
  for (const stream of [holds, waits]) {
    const { data: ping } = await stream.first('ping');
    assert.ok(Math.abs(ping.now_ms - Date.now()) < 10_000, JSON.stringify(ping));
  }

  const closed = Date.now();
  await first.close();
  const { data: next } = await waits.first('granted', () => true, RELEASED_WITHIN_MS);
  console.log(`the page was closed ${Date.now() - closed} ms before the next one was granted its lock`);
  assert.ok(next.token > granted.token, `${next.token} after ${granted.token}`);
  await waits.close();
  await eventually('the lock is free', async () => (await lock('held')).holder === null, RELEASED_WITHIN_MS);
  assert.deepEqual((await waits.seen()).filter(({ type }) => type === 'lost'), []);
  await second.close();
});

test('a page that waits in the queue leaves it when it is closed', async () => {
  const { token } = await call(node, 'POST', '/api/locks/queue', { owner: 'somebody', ttl_ms: 60_000 });
  const { page, close } = await plainPage(browser, node);
  const waits = await listen(page, '/api/locks/queue', EVENTS);
  await waits.first('not_granted');
  assert.equal((await lock('queue')).next.length, 1);
  await page.goto('about:blank');
  await eventually('the queue is empty', async () => (await lock('queue')).next.length === 0, RELEASED_WITHIN_MS);
  assert.equal((await lock('queue')).token, token);
  await close();
});

test('a lock that is broken is lost, and the EventSource queues for it again', async () => {
  const { page, close } = await plainPage(browser, node);
  const stream = await listen(page, '/api/locks/broken', EVENTS);
  const { data: before } = await stream.first('granted');
  await call(node, 'DELETE', '/api/locks/broken?force=true');
  const { data: lost } = await stream.first('lost');
  assert.equal(lost.session, before.session);
  const { data: again } = await stream.first('granted', ({ token }) => token > before.token);
  assert.notEqual(again.session, before.session);
  await close();
});

/** What a page can do with a lock's address that is no claim. Each returns when it is over. */
const LOOKS = {
  fetch: (page, url) => page.evaluate((url) => fetch(url, { mode: 'no-cors' }).then((a) => a.text()), url),
  'fetch of anything': (page, url) =>
    page.evaluate((url) => fetch(url, { mode: 'no-cors', headers: { accept: '*/*' } }).then((a) => a.text()), url),
  'image tag': (page, url) => element(page, 'img', { src: url }),
  'script tag': (page, url) => element(page, 'script', { src: url }),
  'link prefetch': (page, url) => element(page, 'link', { rel: 'prefetch', href: url }),
  'link preload': (page, url) => element(page, 'link', { rel: 'preload', as: 'fetch', href: url }),
  frame: (page, url) => element(page, 'iframe', { src: url }),
  navigation: async (page, url) => {
    const from = page.url();
    await page.goto(url);
    await page.goto(from);
  },
};

/** Returns a look-up of the status of an address' newest answer, whatever the page gets to see of it. */
async function answers(page) {
  const devtools = await page.context().newCDPSession(page);
  // The two events of a request come in any order.
  const [urls, statuses] = [new Map(), new Map()];
  devtools.on('Network.requestWillBeSent', ({ requestId, request }) => urls.set(requestId, request.url));
  devtools.on('Network.responseReceived', ({ requestId, response }) => statuses.set(requestId, response.status));
  devtools.on('Network.responseReceivedExtraInfo', ({ requestId, statusCode }) => statuses.set(requestId, statusCode));
  await devtools.send('Network.enable');
  return (url) => {
    const ids = [...urls.keys()].filter((id) => urls.get(id) === url && statuses.has(id));
    return statuses.get(ids.at(-1));
  };
}

/** Adds an element to the page and waits until it has loaded or failed. */
function element(page, name, attributes) {
  return page.evaluate(
    ([name, attributes]) =>
      new Promise((resolve) => {
        const element = Object.assign(document.createElement(name), attributes);
        element.onload = element.onerror = () => resolve();
        document.body.append(element);
      }),
    [name, attributes],
  );
}

/** Does all of [`LOOKS`] in a page, each with a lock of its own at `url(name)`, and asserts that none is taken. */
async function assertLooksTakeNone(page, prefix, url) {
  const taken = [];
  const statusOf = await answers(page);
  for (const [what, look] of Object.entries(LOOKS)) {
    const name = `${prefix}-${what.replaceAll(' ', '-')}`;
    // A claim's answer does not end, so what waits for its end must not hold up the test.
    const over = look(page, url(name)).catch((error) => error);
    await eventually(`${what}: an answer`, () => statusOf(url(name)));
    const { token } = await lock(name);
    if (token !== null) {
      taken.push(what);
      await page.reload({ waitUntil: 'commit' });
    }
    await over;
  }
  assert.deepEqual(taken, [], 'these took the lock');
}

test('a fetch, an image, a script, a prefetch, a frame or a visit takes no lock', async () => {
  const { page, close } = await plainPage(browser, node);
  await assertLooksTakeNone(page, 'looked', address);
  await close();
});

test('a page of another site takes no lock by looking', async () => {
  const { page, close } = await plainPage(browser, { url: `http://127.0.0.1:${node.port}` });
  await assertLooksTakeNone(page, 'foreign', address);
  await close();
});

test('a browser that names no Fetch Metadata takes no lock by looking', async () => {
  // Chromium sends Sec-Fetch-* to trustworthy origins only: not over plain HTTP to another host.
  const elsewhere = `http://${ELSEWHERE}:${node.port}`;
  const { page, close } = await plainPage(browser, { url: elsewhere });
  await assertLooksTakeNone(page, 'plain', (name) => `${elsewhere}/api/locks/${name}`);
  await close();
});

test('an EventSource of another origin is refused a lock', async () => {
  const stranger = await startNode('stranger');
  nodes.push(stranger);
  const origins = [
    // The same site, and a cluster of its own.
    stranger.url,
    // Another site.
    `http://127.0.0.1:${node.port}`,
    `http://${ELSEWHERE}:${node.port}`,
  ];
  for (const [at, origin] of origins.entries()) {
    const { page, close } = await plainPage(browser, { url: origin });
    const statusOf = await answers(page);
    const url = address(`crossed-${at}`);
    const stream = await listen(page, url, EVENTS);
    await eventually('the browser gives up', async () => (await stream.state()).readyState === 2);
    assert.deepEqual(await stream.seen(), []);
    assert.equal(statusOf(url), 403, origin);
    await assertFree(`crossed-${at}`, origin);
    await close();
  }
});
