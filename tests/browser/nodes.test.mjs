// The screen Nodes against a cluster of real nodes: two sources of evidence, and real changes of members.
import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { join } from 'node:path';
import { artefacts, axe, eachLook, FAULTS, launch, live, noSidewaysScroll, open } from './browser.mjs';
import { startCluster } from './cluster.mjs';
import { eventually, makeNode } from './node.mjs';
import { freePort } from './ports.mjs';

/** Longest time for a page to see what a node knows, and for a probe to be repeated. */
const SEEN_WITHIN_MS = 15_000;

/**
 * What a browser says of a node that has just started: until it knows the members, their pages may not
 * read its answers.
 */
const STARTING = [/blocked by CORS policy/, /net::ERR_FAILED/];

let cluster;
let browser;
let leader;
let followers;
/** A node that takes another's name. */
let second;

before(async () => {
  [cluster, browser] = await Promise.all([startCluster(), launch()]);
  for (let n = 0; n < 5; n += 1) await cluster.api('PUT', `/api/keys/a${n}`, 'value');
});

beforeEach(async () => {
  leader = await cluster.waitForLeader();
  followers = cluster.ids.filter((id) => id !== leader);
});

after(async () => {
  await browser?.close();
  await Promise.all([cluster?.stop(), second?.stop()]);
});

/** Opens the screen of a node and waits until every member has answered this browser. */
async function screen(id, { query = '', ...options } = {}) {
  const opened = await open(browser, `${cluster.node(id).url}/ui/nodes${query}`, options);
  await live(opened.page);
  await opened.page.waitForFunction(() => {
    const rows = [...document.querySelectorAll('[data-testid="node-row"]')];
    return rows.length >= 2 && rows.every((row) => row.dataset.probe !== 'unknown');
  });
  return opened;
}

const row = (page, id) => page.locator(`[data-testid="node-row"][data-node="${id}"]`);
const note = (page, id) => page.locator(`tbody:has([data-node="${id}"]) [data-testid="node-note"]`);
const says = (locator, pattern) =>
  eventually(`${pattern}`, async () => {
    const text = await locator.textContent({ timeout: 1_000 });
    if (pattern.test(text)) return true;
    throw new Error(`it says: ${text}`);
  }, SEEN_WITHIN_MS);
const has = (locator, name, value) =>
  eventually(`${name}=${value}`, async () => {
    const now = await locator.getAttribute(name, { timeout: 1_000 });
    if (now === value) return true;
    throw new Error(`it is ${now}`);
  }, SEEN_WITHIN_MS);

test('ND-1 every member has a row with its part, log, addresses and its own dashboard', async () => {
  const { page, complaints, close } = await screen(followers[0]);
  assert.equal(await page.getByTestId('node-row').count(), 3);
  for (const id of cluster.ids) {
    const status = await cluster.status(id);
    const { http, raft } = status.members.find(({ node }) => node === id);
    await has(row(page, id), 'data-role', status.role);
    await has(row(page, id), 'data-reachable', 'true');
    const part = row(page, id).getByTestId('node-part');
    await says(part, id === leader ? /^Leader$/ : /^Follower$/);
    const text = await row(page, id).textContent();
    for (const said of [`voter, id ${status.id}`, http, raft, status.version]) assert.ok(text.includes(said), `${said} in ${text}`);
    await says(row(page, id).getByTestId('node-applied'), new RegExp(`^${status.applied_index}0 behind`));
    await says(row(page, id), /\d(\.\d)? ms, <?\d/);
    const link = row(page, id).getByTestId('node-dashboard');
    assert.equal(await link.getAttribute('href'), `http://${http}/ui/nodes`);
  }
  await says(row(page, followers[1]), /<?0\.\d s ago/);
  await page.screenshot({ path: join(artefacts, 'nodes-light.png') });
  assert.deepEqual(complaints, []);
  await close();
});

test('ND-2 a member that only the browser hears is shown as what it says, and the row says so', async () => {
  const [cutOff] = followers;
  const { page, complaints, allow, close } = await screen(leader);
  allow(...FAULTS);
  cluster.cut(cutOff);
  try {
    await has(row(page, cutOff), 'data-heard', 'false');
    await has(row(page, cutOff), 'data-probe', 'true');
    await says(note(page, cutOff), new RegExp(`${leader} cannot hear ${cutOff}; your browser can\\.`));
    await has(row(page, cutOff), 'data-reachable', 'true');
    await has(row(page, followers[1]), 'data-heard', 'true');
    for (let n = 0; n < 3; n += 1) await cluster.api('PUT', '/api/keys/while-cut', 'value', leader);
    await says(row(page, cutOff).getByTestId('node-applied'), /[3-9] behind, <?\d+(\.\d)? s/);
    await page.screenshot({ path: join(artefacts, 'nodes-cut.png') });
  } finally {
    cluster.heal();
  }
  await cluster.caughtUp(cutOff);
  await has(row(page, cutOff), 'data-heard', 'true');
  await eventually('the note goes', () => note(page, cutOff).isHidden(), SEEN_WITHIN_MS);
  assert.deepEqual(complaints, []);
  await close();
});

test('F-2 a page of a node without leader shows what the others say of themselves, and changes nothing', async () => {
  const [served] = followers;
  const { page, complaints, allow, close } = await screen(served, { query: `?node=${leader}` });
  allow(...FAULTS);
  cluster.cut(served);
  try {
    for (const id of [leader, followers[1]]) {
      await has(row(page, id), 'data-heard', 'false');
      await has(row(page, id), 'data-probe', 'true');
    }
    await has(row(page, leader), 'data-role', 'leader');
    await says(note(page, leader), new RegExp(`${served} cannot hear ${leader}; your browser can\\.`));
    await says(page.getByTestId('done-by'), new RegExp(`${served} knows no leader`));
    for (const id of ['member-add', 'member-remove', 'member-step-down']) {
      assert.equal(await page.getByTestId(id).isDisabled(), true, id);
      assert.match(await page.getByTestId(id).getAttribute('title'), /\w/, 'the reason is said');
    }
  } finally {
    cluster.heal();
  }
  await cluster.caughtUp(served);
  await eventually('changes can be made again', () => page.getByTestId('member-add').isEnabled(), SEEN_WITHIN_MS);
  assert.deepEqual(complaints, []);
  await close();
});

test('ND-2 a member that the browser cannot reach is still what its node hears', async () => {
  const [served, hidden] = followers;
  const { page, allow, close } = await screen(served);
  allow(...FAULTS, /ERR_FAILED/);
  await page.route(`${cluster.node(hidden).url}/**`, (route) => route.abort());
  await has(row(page, hidden), 'data-probe', 'false');
  await has(row(page, hidden), 'data-heard', 'true');
  await has(row(page, hidden), 'data-role', 'follower');
  await says(note(page, hidden), new RegExp(`${served} hears ${hidden}; your browser cannot reach it at localhost:`));
  await close();
});

test('F-12 a node whose clock is off is marked on its row', async () => {
  const [served, late] = followers;
  const { page, complaints, close } = await screen(served, { allow: FAULTS });
  await page.route(`${cluster.node(late).url}/api/status`, async (route) => {
    const answer = await route.fetch();
    const status = await answer.json();
    await route.fulfill({ response: answer, json: { ...status, now_ms: status.now_ms - 9_000 } });
  });
  await page.reload();
  await says(note(page, late), new RegExp(`The clock of ${late} is [89](\\.\\d)? s behind the others`));
  assert.equal(await note(page, served).isHidden(), true);
  assert.deepEqual(complaints, []);
  await close();
});

test('ND-3 the details of a node have its facts, its log, its changes and its raw status', async () => {
  const { page, complaints, close } = await screen(followers[0]);
  await row(page, leader).getByTestId('node-open').click();
  await page.waitForURL(`**/ui/nodes?node=${leader}`);
  const detail = page.getByTestId('node-detail');
  const status = await cluster.status(leader);
  const facts = await detail.getByTestId('node-facts').textContent();
  for (const said of [status.state_hash.hash, status.cluster_id, status.env]) assert.ok(facts.includes(said), `${said} in ${facts}`);
  await says(detail.getByTestId('node-position'), /It has applied every entry/);
  assert.ok((await detail.locator('[data-part="applied"]').count()) > 0);
  await says(detail.getByTestId('node-marks'), new RegExp(`leader of term ${status.term} is ${leader}`));
  await detail.getByTestId('node-raw').locator('summary').click();
  const raw = JSON.parse(await detail.getByTestId('node-raw').locator('pre').textContent());
  assert.deepEqual([raw.node, raw.id], [leader, status.id]);
  await detail.getByTestId('raw-copy').click();
  await says(detail.getByTestId('raw-copy'), /^Copied$/);
  await page.screenshot({ path: join(artefacts, 'nodes-detail.png'), fullPage: true });

  await page.reload();
  await page.getByTestId('node-detail').waitFor();
  await page.goBack();
  await page.getByTestId('node-detail').waitFor({ state: 'detached' });
  assert.deepEqual(complaints.filter((text) => !/ERR_ABORTED/.test(text)), []);
  await close();
});

test('ND-4 a leader steps down and another voter is made to lead, from a page of any node', async () => {
  const [served, chosen] = followers;
  const { page, complaints, allow, close } = await screen(served, { query: `?node=${leader}` });
  allow(...FAULTS);
  await says(page.getByTestId('done-by'), new RegExp(`Done by the leader ${leader}; ${served} passes it on`));
  await page.getByTestId('member-step-down').click();
  await page.getByTestId('confirm').click();
  const next = await cluster.waitForLeader({ not: leader });
  await says(page.getByTestId('toast').last(), new RegExp(`${next} leads`));
  await has(row(page, next), 'data-role', 'leader');
  await has(row(page, leader), 'data-role', 'follower');
  await says(page.getByTestId('node-changes'), /Became follower in term/);

  const other = next === chosen ? leader : chosen;
  await row(page, other).getByTestId('node-open').click();
  await page.getByTestId('member-hand').click();
  await page.getByTestId('confirm').click();
  await eventually(`${other} leads`, async () => (await cluster.leader()) === other, SEEN_WITHIN_MS);
  await has(row(page, other), 'data-role', 'leader');
  await says(page.getByTestId('node-changes'), /Became leader in term/);
  assert.deepEqual(complaints, []);
  await close();
});

test('ND-6 a dead node keeps its row and its last figures, and blanks nobody', async () => {
  const [dead] = followers;
  const { page, complaints, allow, close } = await screen(leader);
  allow(...FAULTS, ...STARTING);
  const applied = (await cluster.status(dead)).applied_index;
  await cluster.kill(dead);
  try {
    await has(row(page, dead), 'data-reachable', 'false');
    await has(row(page, dead), 'data-role', 'unreachable');
    await says(note(page, dead), /Its figures are \d.* old\./);
    assert.match(await row(page, dead).getByTestId('node-applied').textContent(), new RegExp(`^${applied}`));
    assert.equal(await page.getByTestId('node-row').count(), 3);
    for (const id of [leader, followers[1]]) await has(row(page, id), 'data-reachable', 'true');

    // With one dead, another one can only be removed by force, and only the reader can say so.
    await row(page, followers[1]).getByTestId('node-open').click();
    await page.getByTestId('member-remove').click();
    await says(page.getByTestId('plan-refusal'), new RegExp(`Without ${followers[1]} no majority would answer`));
    await says(page.getByTestId('plan-after'), /1 of 2 voters answer: no quorum/);
    await page.getByTestId('member-name').fill(followers[1]);
    assert.equal(await page.getByTestId('confirm').isDisabled(), true);
    await page.getByTestId('member-force').check();
    assert.equal(await page.getByTestId('confirm').isEnabled(), true);
    await page.screenshot({ path: join(artefacts, 'nodes-force.png') });
    await page.getByTestId('cancel').click();
    await page.getByTestId('confirm').waitFor({ state: 'detached' });
    assert.equal((await cluster.status(leader)).members.length, 3);
  } finally {
    await cluster.start(dead);
  }
  await has(row(page, dead), 'data-reachable', 'true');
  assert.deepEqual(complaints, []);
  await close();
});

test('ND-4 ND-5 a voter is removed by its name, and another directory takes its place', async () => {
  const [served, gone] = followers;
  const { page, complaints, allow, close } = await screen(served, { query: `?node=${gone}` });
  allow(...FAULTS, ...STARTING, /status of 409/);
  const { id: oldId } = await cluster.status(gone);
  await page.getByTestId('member-remove').click();
  await says(page.getByTestId('plan-before'), /3 of 3 voters answer, 1 can fail/);
  await says(page.getByTestId('plan-after'), /2 of 2 voters answer, none can fail/);
  await says(page.getByTestId('plan-text'), new RegExp(`removing .${gone}.`));
  const confirm = page.getByTestId('confirm');
  assert.equal(await confirm.isDisabled(), true, 'before the name is typed');
  await page.getByTestId('member-name').fill(gone.slice(0, -1));
  assert.equal(await confirm.isDisabled(), true, 'half a name is none');
  await page.getByTestId('member-name').fill(gone);
  await page.screenshot({ path: join(artefacts, 'nodes-remove.png') });
  await confirm.click();
  await says(page.getByTestId('toast').last(), new RegExp(`${gone} was removed: 2 of 2 voters`));
  await eventually('it is no member', async () => (await cluster.status(leader)).members.length === 2, SEEN_WITHIN_MS);
  await row(page, gone).waitFor({ state: 'detached' });
  await says(page.getByTestId('node-gone'), /is no member/);

  // Its address is taken by a node with an empty directory, which waits to be joined.
  await cluster.kill(gone);
  const ports = { http: cluster.node(gone).port, raft: await freePort() };
  second = makeNode(gone, ports, ['-join', `localhost:${await freePort()}`]);
  const add = async (raft) => {
    await page.getByTestId('member-add').click();
    await page.getByTestId('add-name').fill(gone);
    await page.getByTestId('add-http').fill(`localhost:${ports.http}`);
    await page.getByTestId('add-raft').fill(`localhost:${raft}`);
    await page.getByTestId('confirm').click();
  };
  await add(ports.raft);
  await says(page.getByTestId('member-problem'), /\w/);
  await page.screenshot({ path: join(artefacts, 'nodes-add.png') });
  await page.getByTestId('cancel').click();
  await page.getByTestId('add-name').waitFor({ state: 'detached' });

  second.spawn();
  await eventually('it waits', async () => (await (await fetch(`${second.url}/api/cluster/here`)).json()).waiting_for, SEEN_WITHIN_MS);
  await add(ports.raft);
  await says(page.getByTestId('toast').last(), new RegExp(`${gone} was added`));
  await eventually('it votes', async () => (await cluster.status(leader)).members.filter(({ voter }) => voter).length === 3, SEEN_WITHIN_MS);
  await says(note(page, gone), new RegExp(`It replaced id ${oldId}`));
  assert.equal(await page.getByTestId('node-row').count(), 3, 'one row for both ids');
  await says(row(page, gone), /voter, id/);
  await has(row(page, gone), 'data-probe', 'true');
  assert.deepEqual(complaints, []);
  await close();
});

test('G-7 MO the screen breaks no rule of accessibility and fits a telephone, in both themes', async () => {
  const { page, close } = await screen(leader, { query: `?node=${leader}`, bypassCSP: true, allow: FAULTS });
  await page.getByTestId('node-detail').waitFor();
  const looks = (check) => eachLook(page, [[1280, 800], [360, 740]], check);
  await looks(async (look) => {
    await noSidewaysScroll(page);
    assert.deepEqual(await axe(page), [], look);
    await page.screenshot({ path: join(artefacts, `nodes-${look}.png`), fullPage: true });
  });
  await page.getByTestId('member-remove').click();
  await page.getByTestId('plan-text').waitFor();
  await looks(async (look) => assert.deepEqual(await axe(page), [], `${look}, dialog`));
  await close();
});
