// A page that asks other members itself: what its policy and their answers let it do, in a browser.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launch, open } from './browser.mjs';
import { startCluster } from './cluster.mjs';
import { eventually, startNode } from './node.mjs';

let cluster;
let stranger;
let browser;

before(async () => {
  [cluster, stranger, browser] = await Promise.all([startCluster(), startNode('stranger'), launch()]);
  await cluster.api('PUT', '/api/keys/a', 'value');
});

after(async () => {
  await browser?.close();
  await Promise.all([cluster?.stop(), stranger?.stop()]);
});

/** Asks from within a page; `refused` when the browser gives it no answer. */
const ask = (page, url, options) =>
  page.evaluate(
    async ([url, options]) => {
      try {
        const answer = await fetch(url, options);
        const header = (name) => answer.headers.get(name);
        return {
          status: answer.status,
          body: await answer.text(),
          servedBy: header('conclave-served-by'),
          level: header('conclave-consistency'),
          etag: header('etag'),
          timing: header('server-timing'),
        };
      } catch {
        return 'refused';
      }
    },
    [url, options],
  );

/** A page of a node, by a name of this machine. Its own requests are not what is tested. */
async function pageOf(node, host = 'localhost') {
  const { page, close } = await open(browser, `http://${host}:${node.port}/ui/`);
  return { page, close };
}

test('LAB-6 a page reads of every member at every level, and sees who answered', async () => {
  for (const host of ['localhost', '127.0.0.1']) {
    const { page, close } = await pageOf(cluster.nodes[0], host);
    for (const node of cluster.nodes) {
      for (const level of ['stale', 'default', 'consistent']) {
        // With a header of its own, so that the browser asks first whether it may.
        const headers = { 'conclave-client': 'dashboard' };
        const read = await ask(page, `${node.url}/api/keys/a?level=${level}`, { headers });
        assert.deepEqual([read.status, read.body, read.level], [200, 'value', level], `${host} ${node.id}`);
        assert.ok(read.servedBy && read.etag && read.timing, JSON.stringify(read));
      }
      const status = await ask(page, `${node.url}/api/status`);
      assert.equal(JSON.parse(status.body).node, node.id);
      const absent = await ask(page, `${node.url}/api/keys/absent?level=stale`);
      assert.equal(absent.status, 404);
    }
    await close();
  }
});

test('a page reads of a member that its own node cannot reach', async () => {
  const { page, close } = await pageOf(cluster.nodes[0]);
  cluster.cut('node0');
  try {
    for (const id of ['node1', 'node2']) {
      const status = await ask(page, `${cluster.node(id).url}/api/status`);
      assert.equal(JSON.parse(status.body).node, id);
    }
  } finally {
    cluster.heal();
  }
  await cluster.waitForLeader();
  await close();
});

test('a page writes to no other member', async () => {
  const [own, other] = cluster.nodes;
  const { page, close } = await pageOf(own);
  for (const method of ['PUT', 'DELETE']) {
    assert.equal(await ask(page, `${other.url}/api/keys/crossed`, { method, body: 'value' }), 'refused', method);
  }
  assert.equal((await ask(page, '/api/keys/crossed?level=consistent')).status, 404);
  await close();
});

test('a page asks nobody who is no member, and is told nothing by a cluster that is not its own', async () => {
  const { page, close } = await pageOf(cluster.nodes[0]);
  const asked = [];
  page.on('request', (request) => asked.push(request.url()));
  assert.equal(await ask(page, `${stranger.url}/api/status`), 'refused');
  assert.deepEqual(asked.filter((url) => url.startsWith(stranger.url)), [], 'the policy stops it');
  await close();
  // Without a policy of its own it is the answer that the browser keeps from the page.
  const plain = await open(browser, `${stranger.url}/livez`);
  assert.equal(await ask(plain.page, `${cluster.nodes[0].url}/api/status`), 'refused');
  await plain.close();
});

test('a page that is opened again may ask a member that joined meanwhile', async () => {
  const { page, close } = await pageOf(stranger);
  const joined = await startNode('joined', ['-join', `localhost:${stranger.port}`]);
  try {
    const probe = `${joined.url}/api/status`;
    assert.equal(await ask(page, probe), 'refused', 'it has the policy that it came with');
    await eventually('a page that may', async () => {
      await page.reload();
      return (await ask(page, probe)).status === 200;
    });
  } finally {
    await joined.stop();
  }
  await close();
});
