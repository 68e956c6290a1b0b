// `/api/events` read by a browser's plain `EventSource`, without a line of ours in between.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launch } from './browser.mjs';
import { listen, plainPage } from './event-source.mjs';
import { call, eventually, startNode } from './node.mjs';

const CHANGES = ['put', 'delete', 'expire', 'lock', 'member'];
const OBSERVATIONS = ['hello', 'leader', 'hb', 'progress', 'lagged', 'reset', 'synced'];
const ALL = [...CHANGES, ...OBSERVATIONS];

const nodes = [];
let browser;

before(async () => {
  nodes.push(await startNode('node0'));
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await Promise.all(nodes.map((node) => node.stop()));
});

/** Asserts that an id stands on the last message of each revision only, and that revisions rise. */
function assertIds(seen) {
  const changes = seen.filter(({ type }) => CHANGES.includes(type));
  const revisions = changes.map(({ data }) => data.revision);
  assert.deepEqual(revisions, revisions.toSorted((a, b) => a - b), 'changes come in the order of revisions');
  let id = '';
  seen.forEach((event, at) => {
    // An event without an id leaves the browser's last one as it is.
    const last = changes.findLast(({ data }) => data.revision === event.data.revision);
    const carries = event === last || ['progress', 'synced'].includes(event.type);
    if (carries) assert.equal(event.id, String(event.data.revision), `id of event ${at}: ${JSON.stringify(event)}`);
    else assert.equal(event.id, id, `event ${at} has no id of its own: ${JSON.stringify(event)}`);
    id = event.id;
  });
}

test('every kind of event reaches an EventSource', async () => {
  const [node] = nodes;
  const { page, close } = await plainPage(browser, node);
  const stream = await listen(page, '/api/events?heartbeat=true', ALL);
  const { data: hello } = await stream.first('hello');
  assert.equal(hello.node, 'node0');
  assert.equal(hello.leader, 'node0');

  const { revision } = await call(node, 'PUT', '/api/keys/events/a', 'grüße');
  const put = await stream.first('put', ({ key }) => key === 'events/a');
  assert.equal(put.id, String(revision));
  assert.equal(put.data.record.value, 'grüße');
  assert.equal(put.data.previous, null);

  await call(node, 'PUT', '/api/keys/events/b', 'b');
  await call(node, 'DELETE', '/api/keys/events/?recursive=true');
  const gone = await stream.first('delete', ({ key }) => key === 'events/b');
  assert.equal(gone.data.record, null);
  assert.equal(gone.data.previous.value, 'b');

  await call(node, 'PUT', '/api/keys/events/short?ttl=1s', 'lives briefly');
  const claim = await call(node, 'POST', '/api/locks/events', { owner: 'a' });
  const lock = await stream.first('lock', ({ change }) => change === 'granted');
  assert.equal(lock.data.token, claim.token);
  assert.equal(lock.data.owner, 'a');
  const expired = await stream.first('expire', ({ key }) => key === 'events/short');
  assert.equal(expired.data.previous.value, 'lives briefly');

  nodes.push(await startNode('node1', ['-join', `localhost:${node.port}`]));
  const joined = ({ changes }) => changes.some(({ node, change }) => node === 'node1' && change === 'promoted');
  const member = await stream.first('member', joined);
  assert.deepEqual(member.data.members.map(({ node }) => node), ['node0', 'node1']);
  await call(node, 'POST', '/api/cluster/transfer', {});
  await stream.first('leader', ({ leader }) => leader === 'node1');

  const beat = await stream.first('hb', ({ cluster }) => cluster.members.length === 2);
  assert.equal(beat.data.status.node, 'node0');
  const { data: progress } = await stream.first('progress');
  assert.ok(progress.revision >= member.data.revision, JSON.stringify(progress));

  const seen = await stream.seen();
  assertIds(seen);
  const { open, error } = await stream.state();
  assert.deepEqual({ open, error }, { open: 1, error: 0 }, 'one connection carried all of it');
  await close();
});

test('an EventSource whose node is killed resumes without loss and without repeats', async () => {
  const node = await startNode('alone');
  nodes.push(node);
  const { page, close } = await plainPage(browser, node);
  const requests = [];
  page.on('request', async (request) => {
    if (request.url().includes('/api/events')) requests.push((await request.allHeaders())['last-event-id']);
  });
  const stream = await listen(page, '/api/events?prefix=resumed/', ALL);
  await stream.first('hello');
  const written = [];
  const write = async (count) => {
    for (let n = 0; n < count; n += 1) {
      const key = `resumed/${written.length}`;
      const { revision } = await call(node, 'PUT', `/api/keys/${key}`, 'value');
      written.push([key, revision]);
    }
  };
  for (let round = 1; round <= 3; round += 1) {
    // The first of these it may or may not have been told when the node dies.
    await write(20);
    await node.kill();
    await node.start();
    // The browser waits a second before it connects again: these it must get from the past.
    await write(20);
    await stream.first('put', ({ key }) => key === written.at(-1)[0]);
    const { open } = await stream.state();
    assert.equal(open, round + 1, 'it connects once after each kill');
  }
  const puts = (await stream.seen()).filter(({ type }) => type === 'put');
  assert.deepEqual(puts.map(({ data }) => [data.key, data.revision]), written);
  assert.equal(requests[0], undefined);
  const resumedFrom = new Set(requests.slice(1));
  assert.ok(resumedFrom.size >= 3 && !resumedFrom.has(undefined), `Last-Event-ID: ${requests}`);
  await close();
});

test('what is no longer kept is told as the state, when the page asks for that', async () => {
  // A node in memory keeps changes of a few dozen MiB at most.
  const node = await startNode('forgetful', ['-inmem']);
  nodes.push(node);
  await call(node, 'PUT', '/api/keys/reset/kept', 'since long ago');
  await call(node, 'POST', '/api/locks/reset%2Flock', { owner: 'a' });
  const large = 'x'.repeat(1 << 20);
  const isForgotten = async () => {
    await call(node, 'PUT', '/api/keys/large', large);
    return (await call(node, 'GET', '/api/status')).oldest_revision > 4;
  };
  await eventually('the first changes are forgotten', isForgotten, 30_000);
  const { page, close } = await plainPage(browser, node);

  const refused = await listen(page, '/api/events?since=1', ALL);
  await eventually('410 ends it', async () => (await refused.state()).readyState === 2);
  assert.deepEqual(await refused.seen(), []);

  const stream = await listen(page, '/api/events?since=1&prefix=reset/&on_compacted=snapshot', ALL);
  const { data: synced, id } = await stream.first('synced');
  assert.equal(id, String(synced.revision));
  const told = await stream.seen();
  assert.deepEqual(told.map(({ type }) => type), ['hello', 'reset', 'put', 'lock', 'synced']);
  const [, reset, put, lock] = told;
  assert.ok(reset.data.oldest > 4, JSON.stringify(reset));
  assert.deepEqual([put.data.key, put.data.record.value, put.data.snapshot], ['reset/kept', 'since long ago', true]);
  assert.deepEqual([lock.data.lock, lock.data.owner, lock.data.snapshot], ['reset/lock', 'a', true]);
  assert.ok(told.slice(0, 4).every((event) => event.id === ''), 'nobody can resume from within a state');
  await call(node, 'PUT', '/api/keys/reset/after', 'it');
  await stream.first('put', ({ key }) => key === 'reset/after');
  await close();
});

test('a page of another origin reads nothing of the stream', async () => {
  const [node] = nodes;
  const { page, close } = await plainPage(browser, { url: `http://127.0.0.1:${node.port}` });
  const stream = await listen(page, `${node.url}/api/events`, ALL);
  await eventually('the browser gives up', async () => (await stream.state()).readyState === 2);
  assert.deepEqual(await stream.seen(), []);
  await close();
});
