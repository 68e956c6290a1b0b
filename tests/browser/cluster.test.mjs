// The cluster that other tests break: cuts cut, and what is healed is whole again.
import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { startCluster } from './cluster.mjs';
import { eventually } from './node.mjs';

let cluster;
let leader;
let follower;

before(async () => {
  const begun = Date.now();
  cluster = await startCluster();
  console.log(`three nodes formed a cluster in ${Date.now() - begun} ms`);
});

beforeEach(async () => {
  leader = await cluster.waitForLeader();
  follower = cluster.ids.find((id) => id !== leader);
});

after(() => cluster?.stop());

const valueOf = async (id, key) => {
  const answer = await fetch(`${cluster.node(id).url}/api/keys/${key}?level=stale`);
  return answer.ok ? answer.text() : undefined;
};

test('a follower that is cut off knows no leader, and catches up when it is healed', async () => {
  cluster.cut(follower);
  await eventually(`${follower} has lost its leader`, async () => (await cluster.status(follower)).leader === null);
  assert.equal(await cluster.leader(), leader, 'the others go on under the same leader');
  await cluster.api('PUT', '/api/keys/cut', 'written meanwhile', leader);
  assert.equal(await valueOf(leader, 'cut'), 'written meanwhile');
  assert.equal(await valueOf(follower, 'cut'), undefined);
  const { term } = await cluster.status(leader);

  cluster.heal();
  await cluster.caughtUp(follower);
  assert.equal(await valueOf(follower, 'cut'), 'written meanwhile');
  const healed = await cluster.status(leader);
  assert.deepEqual([healed.role, healed.term], ['leader', term], 'it has disturbed nobody');
});

test('a leader that is cut off is replaced, and follows when it is healed', async () => {
  cluster.cut(leader);
  const next = await cluster.waitForLeader({ not: leader });
  await cluster.api('PUT', '/api/keys/replaced', next);
  cluster.heal();
  await eventually('it follows', async () => (await cluster.status(leader)).leader === next);
  await cluster.caughtUp(leader);
  assert.equal(await valueOf(leader, 'replaced'), next);
});

test('a cut between two nodes leaves each its link to the third', async () => {
  const [one, other] = cluster.ids.filter((id) => id !== leader);
  cluster.cut(one, other);
  await cluster.api('PUT', '/api/keys/pair', 'of followers', one);
  await cluster.caughtUp(other);
  assert.equal(await cluster.leader(), leader);
  cluster.heal();
});

test('a leader that is killed is replaced, and comes back', async () => {
  await cluster.kill(leader);
  const next = await cluster.waitForLeader({ not: leader });
  await cluster.api('PUT', '/api/keys/killed', next);
  await cluster.start(leader);
  await cluster.caughtUp(leader);
  assert.equal(await valueOf(leader, 'killed'), next);
});

test('a leader that is frozen is replaced, and follows when it thaws', async () => {
  cluster.freeze(leader);
  const next = await cluster.waitForLeader({ not: leader });
  cluster.thaw(leader);
  await eventually('it follows', async () => (await cluster.status(leader)).leader === next);
});
