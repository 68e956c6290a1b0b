// The screen Overview on a real cluster of three, and on a real node without keys.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { join } from 'node:path';
import { FAULTS, artefacts, axe, launch, live, noSidewaysScroll, open } from './browser.mjs';
import { startCluster } from './cluster.mjs';
import { call, eventually, startNode } from './node.mjs';

const DESK = { width: 1280, height: 900 };
const TELEPHONE = { width: 360, height: 740 };
const THEMES = ['light', 'dark'];

let browser;
let cluster;

before(async () => {
  [browser, cluster] = await Promise.all([launch(), startCluster()]);
  for (let n = 0; n < 40; n += 1) await cluster.api('PUT', `/api/keys/jobs/${n}`, `attempt ${n}`);
});

after(async () => {
  await browser?.close();
  await cluster?.stop();
});

/** Opens the screen at a node and waits until it shows its members. */
async function overview(id, { query = '', ...options } = {}) {
  const opened = await open(browser, `${cluster.node(id).url}/ui/${query}`, { viewport: DESK, ...options });
  await live(opened.page);
  await opened.page.locator('[data-testid="node-row"]').nth(2).waitFor({ state: 'attached' });
  return opened;
}

/** The leader, and the others. */
async function roles() {
  const leader = await cluster.waitForLeader();
  return [leader, ...cluster.ids.filter((id) => id !== leader)];
}

/** The text of an element of the screen; the status line above it has some of the same names. */
const text = (page, id) => page.locator('.overview').getByTestId(id).textContent();
/** Waits until the text of an element matches. */
const says = (page, id, pattern) =>
  eventually(`${id} says ${pattern}`, async () => {
    const said = await text(page, id);
    if (pattern.test(said)) return said;
    throw new Error(said);
  });
const seat = (page, id) => page.locator(`[data-testid="seat"][data-node="${id}"]`);
const ribbonRow = (page, id) => page.locator(`[data-testid="ribbon-row"][data-node="${id}"]`);
const chord = (page, id) => page.locator(`[data-testid="chord"][data-node="${id}"]`);
const beats = async (page, id) => Number(await chord(page, id).getAttribute('data-beats'));
const hasRole = (page, id, role) => page.waitForSelector(`[data-testid="seat"][data-node="${id}"][data-role="${role}"]`);
const write = (n, via) => cluster.api('PUT', `/api/keys/jobs/${n}`, 'again', via);

test('OV-1 the first sentence says what the cluster can lose', async () => {
  const [leader] = await roles();
  for (const id of cluster.ids) {
    const { page, complaints, close } = await overview(id);
    await says(page, 'headline', /^All 3 voters healthy\. 1 can fail\.$/);
    assert.equal(await page.getByTestId('headline').getAttribute('data-tone'), 'calm');
    await hasRole(page, leader, 'leader');
    assert.deepEqual(complaints, []);
    await close();
  }
});

test('OV-2 seats stand in the order of names, and each acknowledgement is one tick on its chord', async () => {
  const [leader, shown, other] = await roles();
  const { page, complaints, close } = await overview(shown);
  await hasRole(page, leader, 'leader');
  const names = await page.getByTestId('seat').evaluateAll((seats) => seats.map(({ dataset }) => dataset.node));
  assert.deepEqual(names, cluster.ids);
  assert.equal(await page.getByTestId('seal').getAttribute('data-shown'), 'true');
  assert.equal(await page.getByTestId('chord').count(), 2, 'chords from the leader only');
  const before = await beats(page, other);
  await eventually('two more ticks', async () => (await beats(page, other)) >= before + 2);
  const animation = await chord(page, other).locator('rect').evaluate((tick) => getComputedStyle(tick).animationName);
  assert.match(animation, /^ov-beat-(odd|even)$/);
  // At most four a second: a sample of this node's heartbeats.
  const [from, begun] = [await beats(page, other), Date.now()];
  await eventually('one more tick', async () => (await beats(page, other)) > from);
  const ticks = (await beats(page, other)) - from;
  assert.ok(ticks <= 1 + (4 * (Date.now() - begun)) / 1_000, `${ticks} ticks in ${Date.now() - begun} ms`);
  assert.deepEqual(complaints, []);
  await close();
});

test('OV-2 a reader who wants no motion gets none', async () => {
  const [, shown, other] = await roles();
  const { page, close } = await overview(shown, { reducedMotion: 'reduce' });
  await eventually('a tick', async () => (await beats(page, other)) > 0);
  const style = (locator, name) => locator.evaluate((element, name) => getComputedStyle(element)[name], name);
  assert.equal(await style(chord(page, other).locator('rect'), 'animationName'), 'none');
  assert.equal(await style(page.getByTestId('seal'), 'transitionDuration'), '0s');
  await close();
});

test('OV-2 OV-3 OV-5 a follower that is cut off: its ticks stop, its lag grows, it falls off the ribbon', async () => {
  const [leader, shown, cut] = await roles();
  const { page, allow, complaints, close } = await overview(shown);
  await hasRole(page, cut, 'follower');
  await eventually('a whole row', async () => {
    const head = await ribbonRow(page, leader).getAttribute('data-stored');
    return head === (await ribbonRow(page, cut).getAttribute('data-stored'));
  });
  allow(...FAULTS);
  cluster.cut(cut);
  try {
    for (let n = 0; n < 30; n += 1) await write(n, leader);
    await hasRole(page, cut, 'unreachable');
    await says(page, 'headline', /^2 of 3 voters healthy\. No more can fail\.$/);
    assert.equal(await page.getByTestId('headline').getAttribute('data-tone'), 'warn');
    const lag = () => seat(page, cut).locator('.ov-arc').getAttribute('data-lag');
    await eventually('a lag of 30', async () => Number(await lag()) >= 30);
    const arc = seat(page, cut).locator('.ov-arc');
    const share = Number((await arc.getAttribute('stroke-dasharray')).split(' ')[0]);
    const expected = (Math.log10(Number(await lag()) + 1) / 3) * 100;
    assert.ok(Math.abs(share - expected) < 2, `${share} is the logarithm's ${expected}`);
    assert.match(await seat(page, cut).getByTestId('lag').textContent(), /^\d+ behind$/);
    assert.match(await seat(page, cut).locator('.ov-label-role').textContent(), /^Unreachable \d/);

    const stopped = await beats(page, cut);
    const going = await beats(page, shown);
    await eventually('the others go on', async () => (await beats(page, shown)) >= going + 2);
    assert.equal(await beats(page, cut), stopped, 'no tick without an acknowledgement');

    const width = (part) => ribbonRow(page, cut).locator(part).evaluate((run) => run.getBoundingClientRect().width);
    assert.ok((await width('.ov-missing')) >= 30, 'what it misses is hatched');
    const early = Number(await ribbonRow(page, cut).getAttribute('data-stored'));
    const writer = async (first) => {
      for (let n = 0; n < 75; n += 1) await write((first + n) % 60, leader);
    };
    await Promise.all([0, 100, 200, 300].map(writer));
    await eventually('it has left the ribbon', async () => {
      const stored = Number(await ribbonRow(page, cut).getAttribute('data-stored'));
      if (stored === 0) return true;
      throw new Error(`${stored} columns of ${early}`);
    });
    await eventually('5 s old', async () => (await seat(page, cut).getAttribute('data-age')) !== null);
    await page.screenshot({ path: join(artefacts, 'overview-cut-follower.png') });
  } finally {
    cluster.heal();
  }
  await hasRole(page, cut, 'follower');
  await eventually('it has caught up', async () => {
    const head = await ribbonRow(page, leader).getAttribute('data-applied');
    return head === '256' && head === (await ribbonRow(page, cut).getAttribute('data-applied'));
  });
  await says(page, 'headline', /^All 3 voters healthy/);
  assert.deepEqual(complaints, []);
  await close();
});

test('OV-4 the centre says term, commit index, rate, and since when the leader leads', async () => {
  const [leader, shown] = await roles();
  const { page, complaints, close } = await overview(shown);
  const { term } = await cluster.status(leader);
  await says(page, 'term', new RegExp(`^${term}$`));
  await says(page, 'reign', new RegExp(`^${leader} leads for (over )?[<\\d]`));
  await says(page, 'rate', /^0 writes\/s$/);
  const writing = (async () => {
    for (let n = 0; n < 150; n += 1) await write(n % 60, leader);
  })();
  await says(page, 'rate', /^(\d+\.\d|[1-9][\d,]*) writes\/s$/);
  await writing;
  const { commit_index: commit } = await cluster.status(leader);
  await says(page, 'commit', new RegExp(`^${commit.toLocaleString('en')} committed$`));
  assert.deepEqual(complaints, []);
  await close();
});

test('OV-5 a column names its index and its event, and leads to it', async () => {
  const [leader, shown] = await roles();
  const { page, complaints, close } = await overview(shown);
  await page.waitForFunction(() => document.querySelectorAll('[data-testid="ribbon-row"]').length === 3);
  const { revision } = await write('pointed', leader);
  await eventually('its column', async () => (await ribbonRow(page, leader).getAttribute('data-last')) === String(revision));
  const track = ribbonRow(page, leader).locator('.ov-track');
  const { width, height } = await track.boundingBox();
  assert.equal(width % 256, 0, 'whole pixels per column');
  const stored = Number(await ribbonRow(page, leader).getAttribute('data-stored'));
  const position = { x: (stored - 0.5) * (width / 256), y: height / 2 };
  await track.hover({ position });
  await says(page, 'readout', new RegExp(`^${revision.toLocaleString('en')}: put jobs/pointed$`));
  await track.click({ position });
  await page.waitForURL(`**/ui/events?since=${revision - 1}`);
  assert.deepEqual(complaints, []);
  await close();
});

test('OV-7 the last eight events and four figures stand at the side', async () => {
  const [leader, shown] = await roles();
  const { page, complaints, close } = await overview(shown);
  const revisions = [];
  for (let n = 0; n < 10; n += 1) revisions.push((await write(`seen-${n}`, leader)).revision);
  await eventually('the newest eight', async () => {
    const said = await page.locator('[data-testid="recent-row"] .ov-event-what').allTextContents();
    const wanted = Array.from({ length: 8 }, (_, at) => `jobs/seen-${9 - at}`);
    assert.deepEqual(said, wanted);
    return true;
  });
  const newest = page.getByTestId('recent-row').first();
  assert.match(await newest.textContent(), new RegExp(`^${revisions.at(-1).toLocaleString('en')}put`));
  assert.equal(await newest.locator('a').getAttribute('href'), '/ui/keys?key=jobs%2Fseen-9');
  await page.getByTestId('nav-keys').click();
  await page.getByTestId('nav-overview').click();
  await page.getByTestId('recent-row').nth(7).waitFor();
  assert.equal(await page.getByTestId('spark').count(), 4);
  for (const series of ['applied_per_s', 'watchers']) {
    const figure = page.locator(`[data-testid="spark"][data-series="${series}"]`);
    await eventually(`a line of ${series}`, async () => /^M/.test(await figure.locator('path').getAttribute('d')));
    assert.match(await figure.locator('.ov-figure-now').textContent(), /^\d/);
  }
  assert.deepEqual(complaints, []);
  await close();
});

test('OV-8 the same facts stand in a table, and the picture has words', async () => {
  const [leader, shown] = await roles();
  const { page, complaints, close } = await overview(shown);
  await hasRole(page, leader, 'leader');
  const words = await page.getByTestId('round-table').getAttribute('aria-label');
  assert.match(words, /All 3 voters healthy\. 1 can fail\./);
  for (const id of cluster.ids) assert.match(words, new RegExp(`^${id}: (Leader|Follower), applied \\d`, 'm'));

  await page.getByTestId('view-as-table').click();
  await page.waitForURL('**/ui/?view=table');
  assert.ok(!(await page.getByTestId('round-table').isVisible()));
  const rows = page.getByTestId('node-row');
  const facts = await rows.evaluateAll((rows) => rows.map(({ dataset: { node, role, reachable } }) => [node, role, reachable]));
  assert.deepEqual(facts, cluster.ids.map((id) => [id, id === leader ? 'leader' : 'follower', 'true']));
  const { applied_index: applied } = await cluster.status(leader);
  await eventually('the applied index', async () =>
    (await rows.first().locator('[data-label="Applied"]').textContent()) === applied.toLocaleString('en'));
  await page.reload();
  await page.locator('.ov-members').waitFor();
  assert.equal(await page.getByTestId('view-as-table').getAttribute('aria-pressed'), 'true', 'it is in the address');
  await page.screenshot({ path: join(artefacts, 'overview-table.png') });
  assert.deepEqual(complaints, []);
  await close();
});

/** Waits until no mark and no text of the picture overlaps another, give or take the room round letters. */
async function noOverlap(page, width) {
  const picture = page.locator('.ov-seat .ov-mark, .ov-label text, .ov-centre text');
  await eventually(`no overlap at ${width} px`, async () => {
    const all = await picture.evaluateAll((all) =>
      all.map((element) => [element.textContent || 'a mark', element.getBoundingClientRect().toJSON()]));
    const shown = all.filter(([, box]) => box.width > 0);
    assert.ok(shown.length > 0);
    for (const [at, [name, a]] of shown.entries()) {
      for (const [other, b] of shown.slice(at + 1)) {
        const isApart = a.right <= b.left + 1 || b.right <= a.left + 1 || a.bottom <= b.top + 3 || b.bottom <= a.top + 3;
        if (!isApart) throw new Error(`${name} and ${other}`);
      }
    }
    return true;
  }, 5_000);
}

test('OV-9 at any width nothing overlaps and nothing scrolls sideways', async () => {
  const [, shown] = await roles();
  const { page, close } = await overview(shown);
  for (const width of [360, 639, 640, 768, 1024, 1280, 1920, 2560]) {
    await page.setViewportSize({ width, height: 900 });
    await noSidewaysScroll(page);
    const isPicture = width >= 640;
    await eventually(`${width} px drawn`, async () => (await page.getByTestId('round-table').isVisible()) === isPicture);
    if (!isPicture) {
      assert.ok(await page.getByTestId('node-row').first().isVisible(), 'the list stands for the picture');
      continue;
    }
    await noOverlap(page, width);
  }
  await close();
});

/** Replaces the page's stream by heartbeats of `globalThis.heartbeat`, one a second. */
function fakeStream(heartbeat) {
  globalThis.heartbeat = heartbeat;
  const real = globalThis.fetch.bind(globalThis);
  const encoder = new TextEncoder();
  const event = (name, data) => encoder.encode(`event: ${name}\ndata: ${JSON.stringify(data)}\n\n`);
  const start = (controller) => {
    const { node, leader, term, revision } = heartbeat.status;
    controller.enqueue(event('hello', { node, leader, term, revision, oldest: 1 }));
    const tell = () => {
      const { status, cluster } = globalThis.heartbeat;
      const now_ms = Date.now();
      for (const member of cluster.members) if (member.status) member.status.now_ms = now_ms;
      controller.enqueue(event('hb', { status: { ...status, now_ms }, cluster }));
    };
    tell();
    setInterval(tell, 1_000);
  };
  globalThis.fetch = (request, init) =>
    (request.url ?? request).includes('/api/events')
      ? Promise.resolve(new Response(new ReadableStream({ start }), { headers: { 'content-type': 'text/event-stream' } }))
      : real(request, init);
}

/** What a leader of so many voters and learners would say: one voter is silent, one learner is behind. */
function large(status, voters, learners) {
  const all = Array.from({ length: voters + learners }, (_, at) => ({
    node: `member-${String(at).padStart(2, '0')}`,
    id: at + 1,
    http: `localhost:${11_000 + at}`,
    raft: `localhost:${12_000 + at}`,
    voter: at < voters,
  }));
  const head = 48_211;
  const common = { ...status, term: 8, leader: 'member-02', members: all, last_log_index: head, commit_index: head, applied_index: head, snapshot_index: head - 100 };
  const ack = (at) => (at === voters - 1 ? 38_000 : 20);
  const followers = all.map(({ node }, at) => ({ node, match_index: head, last_ack_ms: ack(at), silent_ms: ack(at) }));
  const members = all.map((member, at) => {
    const isSilent = ack(at) > 1_000;
    const role = at === 2 ? 'leader' : member.voter ? 'follower' : 'learner';
    const own = { ...common, node: member.node, id: member.id, role, followers: role === 'leader' ? followers.filter((_, f) => f !== at) : [] };
    if (role === 'learner') own.applied_index -= 12;
    if (role !== 'leader') own.quorum_ack_age_ms = null;
    return { ...member, role: isSilent ? null : role, reachable: !isSilent, state: isSilent ? 'dead' : 'ok', status: isSilent ? null : own, error: null, last_heard_ms: isSilent ? null : 0 };
  });
  const cluster = { leader: 'member-02', term: 8, quorum: { voters, healthy: voters - 1, can_lose: 2 }, members };
  return { status: members[0].status, cluster };
}

test('OV-9 seven voters and four learners sit without overlap, and a candidate has its mark', async () => {
  const [leader] = await roles();
  const heartbeat = large(await cluster.status(leader), 7, 4);
  const context = await browser.newContext({ viewport: DESK });
  await context.addInitScript(fakeStream, heartbeat);
  await context.route('**/api/status', (route) => route.fulfill({ json: heartbeat.status }));
  const page = await context.newPage();
  await page.goto(`${cluster.node(leader).url}/ui/`);
  await page.getByTestId('seat').nth(10).waitFor();
  await says(page, 'headline', /^6 of 7 voters healthy\. 2 can fail\.$/);
  await hasRole(page, 'member-06', 'unreachable');
  await hasRole(page, 'member-08', 'learner');
  for (const width of [640, 820, 1280, 2560]) {
    await page.setViewportSize({ width, height: 900 });
    await noSidewaysScroll(page);
    await noOverlap(page, width);
    await page.screenshot({ path: join(artefacts, `overview-eleven-${width}.png`) });
  }
  await page.setViewportSize(TELEPHONE);
  await noSidewaysScroll(page);
  const height = await page.locator('.ov-rows').evaluate((rows) => rows.getBoundingClientRect().height);
  assert.ok(height <= 120, `a ribbon of ${height} px`);
  await page.screenshot({ path: join(artefacts, 'overview-eleven-360.png'), fullPage: true });

  await page.setViewportSize(DESK);
  await page.evaluate(() => {
    const { status, cluster } = globalThis.heartbeat;
    Object.assign(status, { leader: null, role: 'candidate', term: 9 });
    Object.assign(cluster, { leader: null, term: 9 });
    cluster.members[2].status.role = 'follower';
  });
  await hasRole(page, 'member-00', 'candidate');
  await says(page, 'reign', /^Electing, \d\.\d s$/);
  await says(page, 'term', /^9$/);
  await says(page, 'headline', /^No leader: 6 of 7 voters are electing one\. Writes wait\.$/);
  await page.screenshot({ path: join(artefacts, 'overview-electing.png') });
  await context.close();
});

test('MO the screen fits a desk and a telephone in both themes', async () => {
  const [, shown] = await roles();
  const { page, complaints, close } = await overview(shown);
  for (let n = 0; n < 8; n += 1) await write(n);
  await eventually('events', async () => (await page.getByTestId('recent-row').count()) === 8);
  for (const colorScheme of THEMES) {
    await page.emulateMedia({ colorScheme });
    for (const viewport of [DESK, TELEPHONE]) {
      await page.setViewportSize(viewport);
      await noSidewaysScroll(page);
      const path = join(artefacts, `overview-${colorScheme}-${viewport.width}.png`);
      await page.screenshot({ path, fullPage: true });
    }
    const heights = await page.getByTestId('ribbon').locator('.ov-rows').evaluate((rows) => rows.getBoundingClientRect().height);
    assert.ok(heights <= 120, `a ribbon of ${heights} px`);
    const targets = await page.locator('.overview a:visible, .overview button:visible').evaluateAll((all) =>
      all.map((element) => [element.textContent, element.getBoundingClientRect().height]));
    assert.deepEqual(targets.filter(([, height]) => height < 44), [], 'targets of 44 px');
  }
  assert.deepEqual(complaints, []);
  await close();
});

test('G-7 the screen breaks no rule of accessibility', async () => {
  const [, shown] = await roles();
  for (const query of ['', '?view=table']) {
    // The policy would refuse the checker itself; every other test runs under it.
    const { page, close } = await overview(shown, { query, bypassCSP: true });
    for (const colorScheme of THEMES) {
      await page.emulateMedia({ colorScheme });
      for (const viewport of [DESK, TELEPHONE]) {
        await page.setViewportSize(viewport);
        assert.deepEqual(await axe(page), [], `${query} ${colorScheme} ${viewport.width}`);
      }
    }
    await close();
  }
});

test('OV-6 an election is told with its term and its time, and its end moves the seal', async () => {
  const [leader, shown] = await roles();
  const { page, allow, close } = await overview(shown);
  await hasRole(page, leader, 'leader');
  const { term } = await cluster.status(leader);
  allow(...FAULTS);
  await cluster.kill(leader);
  try {
    const next = await cluster.waitForLeader({ not: leader });
    await hasRole(page, next, 'leader');
    await says(page, 'reign', new RegExp(`^${next} leads for [<\\d]`));
    await eventually('a later term', async () => Number(await text(page, 'term')) > term);
    await hasRole(page, leader, 'unreachable');
    assert.equal(await page.getByTestId('seal').getAttribute('data-shown'), 'true');
    for (let n = 0; n < 40; n += 1) await write(n, next);
    await page.locator('.ov-rule').first().waitFor();
    await page.screenshot({ path: join(artefacts, 'overview-new-term.png') });
  } finally {
    await cluster.start(leader);
  }
  await close();
});

test('OV-1 OV-6 a node that is cut off says so, and nothing moves', async () => {
  const [leader, shown, other] = await roles();
  const { page, allow, close } = await overview(shown);
  await eventually('a tick', async () => (await beats(page, other)) > 0);
  allow(...FAULTS);
  cluster.cut(shown);
  try {
    await says(page, 'headline', new RegExp(`^No quorum: 1 of 3 voters reachable from ${shown}\\. Writes are refused\\.$`));
    assert.equal(await page.getByTestId('headline').getAttribute('data-tone'), 'danger');
    await says(page, 'reign', /^No majority, \d+\.\d s$/);
    assert.equal(await page.getByTestId('chord').count(), 0, 'no chord without a leader');
    await hasRole(page, leader, 'unreachable');
    assert.equal(await page.getByTestId('seal').getAttribute('data-shown'), 'false');
    await page.screenshot({ path: join(artefacts, 'overview-cut-off.png') });
  } finally {
    cluster.heal();
  }
  await says(page, 'headline', /^All 3 voters healthy/);
  await close();
});

test('OV-10 a node without keys says what to do, writes the first key, and when silent says how old all is', async () => {
  const node = await startNode('node0');
  try {
    const { page, allow, complaints, close } = await open(browser, `${node.url}/ui/`, {
      viewport: DESK,
      permissions: ['clipboard-read', 'clipboard-write'],
    });
    await live(page, 'node0');
    const hint = page.getByTestId('first-run');
    await hint.waitFor();
    assert.equal(await hint.locator('li').count(), 3);
    await says(page, 'headline', /^node0 is alone and leads\. Its disk is the only copy\.$/);
    assert.match(await text(page, 'curl'), new RegExp(`^curl .* ${node.url}/api/keys/hello$`));
    await hint.getByTestId('copy').click();
    await page.getByText('Copied').waitFor();
    await page.screenshot({ path: join(artefacts, 'overview-first-run.png') });
    await page.setViewportSize(TELEPHONE);
    await noSidewaysScroll(page);
    await page.screenshot({ path: join(artefacts, 'overview-first-run-360.png') });
    await page.getByTestId('first-key').click();
    await hint.waitFor({ state: 'detached' });
    const { keys } = await call(node, 'GET', '/api/status');
    assert.equal(keys, 1);
    assert.deepEqual(complaints, []);

    // The same node falls silent: all that is shown says how old it is.
    allow(...FAULTS);
    node.freeze();
    await page.waitForSelector('.overview[data-age="old"]');
    await says(page, 'as-of', /^The node’s last word came \d+ s ago\./);
    await page.screenshot({ path: join(artefacts, 'overview-silent-360.png') });
    node.thaw();
    await page.getByTestId('as-of').waitFor({ state: 'hidden' });
    await close();
  } finally {
    await node.stop();
  }
});
