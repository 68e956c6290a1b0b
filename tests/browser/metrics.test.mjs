// The screen Metrics on a real cluster: what its charts say is what the node measured.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { join } from 'node:path';
import { artefacts, axe, FAULTS, launch, live, noSidewaysScroll, open } from './browser.mjs';
import { startCluster } from './cluster.mjs';
import { call, eventually } from './node.mjs';

const CHARTS = ['writes', 'reads', 'requests', 'commit', 'disk', 'answers', 'lag', 'watchers', 'term', 'keys', 'bytes', 'memory'];
/**
 * What a tick may cost, milliseconds of its thread's time. The aim is 4, which a quick machine keeps with 3;
 * of two machines that are called the same one has needed 9.5.
 */
const SCRIPT_MS = 16;

let cluster;
let node;
let browser;

before(async () => {
  [cluster, browser] = await Promise.all([startCluster(), launch()]);
  node = cluster.node(await cluster.waitForLeader());
  for (let n = 0; n < 40; n += 1) await call(node, 'PUT', `/api/keys/k${n % 8}`, `value ${n}`);
  for (const level of ['stale', 'default', 'consistent']) await call(node, 'GET', `/api/keys?level=${level}`);
});

after(async () => {
  await browser?.close();
  await cluster?.stop();
});

const charts = (page) => page.getByTestId('chart');
const chart = (page, id) => page.locator(`[data-testid=chart][data-chart=${id}]`);
const series = (page, id, name) => chart(page, id).locator(`[data-series="${name}"]`);
const valueOf = (page, id, name) => series(page, id, name).locator('.number').textContent();
const lines = (page, id) => chart(page, id).locator('.metrics-plot .metrics-line').evaluateAll((all) => all.map((line) => line.getAttribute('d') ?? ''));
const figures = (seconds = 300) => call(node, 'GET', `/api/metrics/series?range=${seconds}s&step=1s`);

/** Waits until the page has drawn its figures this many times. */
const ticks = (page, count) =>
  page.waitForFunction((count) => Number(document.querySelector('[data-testid=charts]')?.dataset.tick) >= count, count);

/** What is asked when a page is left or loaded anew gets no answer. */
const LEFT = /net::ERR_ABORTED/;

/** Opens the screen and waits for its first figures. */
async function show(query = '', { allow = [], ...options } = {}) {
  const opened = await open(browser, `${node.url}/ui/metrics${query}`, { ...options, allow: [LEFT, ...allow] });
  await live(opened.page);
  await ticks(opened.page, 1);
  return opened;
}

/** Moves the pointer to a share of a chart's width. */
async function pointAt(page, id, share) {
  const box = await chart(page, id).getByTestId('plot').boundingBox();
  await page.mouse.move(box.x + box.width * share, box.y + box.height / 2);
}

test('ME-1 every chart says what the node measured', async () => {
  const { page, complaints, close } = await show();
  assert.deepEqual(await charts(page).evaluateAll((all) => all.map((one) => one.dataset.chart)), CHARTS);
  const { keys, term, locks } = await cluster.status(node.id);
  const shows = (id, name, expected) =>
    eventually(`${id}: ${name} is ${expected}`, async () => (await valueOf(page, id, name)) === String(expected));
  await shows('keys', 'keys', keys);
  await shows('term', 'term', term);
  await shows('watchers', 'locks held', locks);
  for (const id of ['writes', 'reads', 'requests', 'commit', 'disk', 'answers', 'lag', 'bytes', 'memory']) {
    assert.ok((await lines(page, id)).some((d) => d.startsWith('M')), `${id} has a line`);
  }
  const followers = cluster.ids.filter((id) => id !== node.id);
  for (const follower of followers) await series(page, 'lag', `of ${follower}`).waitFor();
  assert.match(await valueOf(page, 'memory', 'process'), /MiB$/);
  await page.screenshot({ path: join(artefacts, 'metrics-light.png'), fullPage: true });
  assert.deepEqual(complaints, []);
  await close();
});

test('ME-2 one crosshair stands on all charts, holds on a click, and a series can be seen alone', async () => {
  const { page, complaints, close } = await show();
  await pointAt(page, 'writes', 0.9);
  const cursors = page.locator('.metrics-cursor');
  await page.waitForSelector('[data-cursor]');
  assert.equal(await cursors.count(), CHARTS.length);
  for (let at = 0; at < CHARTS.length; at += 1) assert.ok(await cursors.nth(at).isVisible());

  await page.mouse.down();
  await page.mouse.up();
  await page.getByTestId('resume').waitFor();
  const moment = Number(new URL(page.url()).searchParams.get('at'));
  const { times, series: measured } = await figures();
  const at = times.findIndex((time) => Math.abs(time - moment) < 500);
  assert.ok(at > 0, `${moment} is among the seconds that the node keeps`);
  const held = await valueOf(page, 'keys', 'keys');
  assert.equal(held, measured.keys[at] === null ? '–' : String(measured.keys[at]));
  assert.match(await page.getByTestId('moment').textContent(), /^Held at \d\d:\d\d:\d\d/);
  await pointAt(page, 'keys', 0.2);
  assert.equal(Number(new URL(page.url()).searchParams.get('at')), moment, 'the pointer moves it no more');

  await page.reload();
  await page.getByTestId('resume').waitFor();
  await ticks(page, 1);
  assert.equal(await valueOf(page, 'keys', 'keys'), held, 'a link to the moment shows it');

  await page.getByTestId('charts').focus();
  await page.keyboard.press('ArrowLeft');
  const earlier = Number(new URL(page.url()).searchParams.get('at'));
  assert.ok(Math.abs(moment - earlier - 1_000) < 50, `${earlier} is a second before ${moment}`);
  await page.keyboard.press('Escape');
  await page.getByTestId('resume').waitFor({ state: 'detached' });
  assert.equal(new URL(page.url()).search, '');
  await ticks(page, 3);

  await series(page, 'commit', 'p50').click();
  assert.equal(new URL(page.url()).searchParams.get('only'), 'commit:p50');
  assert.equal(await series(page, 'commit', 'p50').getAttribute('aria-pressed'), 'true');
  await eventually('the other line is gone', async () => (await lines(page, 'commit')).filter(Boolean).length === 1);
  assert.ok((await lines(page, 'disk')).filter(Boolean).length === 2, 'other charts keep theirs');
  await series(page, 'commit', 'p50').click();
  await eventually('both lines are back', async () => (await lines(page, 'commit')).filter(Boolean).length === 2);
  assert.deepEqual(complaints, []);
  await close();
});

test('ME-3 ME-4 a new leader is marked on every chart, and seconds without figures are a gap with a label', async () => {
  const { page, close } = await show('', { allow: FAULTS });
  const marks = (page) =>
    page.locator('.metrics-mark[data-kind=leader]').evaluateAll((all) => all.map((mark) => (mark.getAttribute('d') ?? '').split('M').length - 1));
  const before = await marks(page);
  assert.equal(before.length, CHARTS.length);
  const gap = chart(page, 'term').locator('.metrics-gap-word', { hasText: /^no data, / });
  const known = await gap.count();

  node.freeze();
  try {
    await eventually('the others have a new leader', async () => {
      const other = cluster.ids.find((id) => id !== node.id);
      const { leader } = await cluster.status(other);
      return leader !== null && leader !== node.id;
    });
    const frozen = Date.now();
    await eventually('four seconds are missing', () => Date.now() - frozen > 4_000);
  } finally {
    node.thaw();
  }
  await eventually('every chart has the mark', async () => (await marks(page)).every((count, at) => count > before[at]));
  await eventually('the gap has a label', async () => (await gap.count()) > known);
  assert.match(await gap.last().textContent(), /^no data, [\d.]+ s$/);
  const [term] = await lines(page, 'term');
  assert.ok(term.split('M').length > 2, `the line is in two: ${term}`);
  assert.ok((await gap.last().locator('..').boundingBox()).width > 2);
  await page.screenshot({ path: join(artefacts, 'metrics-gap.png') });
  node = cluster.node(await cluster.waitForLeader());
  await close();
});

test('ME-5 the range is in the address, each chart is a table too, and Prometheus has its own address', async () => {
  const asked = [];
  const { page, complaints, close } = await open(browser, `${node.url}/ui/metrics`, { permissions: ['clipboard-read'], allow: [LEFT] });
  page.on('request', (request) => request.url().includes('/series?') && asked.push(new URL(request.url()).searchParams.get('range')));
  await live(page);
  await ticks(page, 1);
  await page.getByTestId('range-900').click();
  await eventually('all of the longer range is asked for', () => asked.includes('900s'));
  assert.equal(new URL(page.url()).searchParams.get('range'), '15m');
  await page.reload();
  await ticks(page, 1);
  assert.equal(await page.getByTestId('range-900').getAttribute('aria-current'), 'true');
  const before = asked.length;
  await eventually('two more answers', () => asked.length >= before + 2);
  assert.ok(asked.slice(-2).every((range) => Number.parseInt(range, 10) <= 6), `only the newest seconds: ${asked}`);

  for (const id of CHARTS) {
    await chart(page, id).getByTestId('as-table').click();
    await chart(page, id).getByTestId('table').waitFor();
    assert.equal(await chart(page, id).locator('tbody tr').count(), 30);
  }
  assert.equal(await page.getByTestId('plot').count(), 0);
  const { keys } = await cluster.status(node.id);
  assert.equal(await chart(page, 'keys').locator('tbody tr:first-child td').textContent(), String(keys));
  assert.equal(new URL(page.url()).searchParams.get('table'), CHARTS.join(','));
  await page.reload();
  await ticks(page, 1);
  assert.equal(await page.getByTestId('table').count(), CHARTS.length);
  await chart(page, 'keys').getByTestId('as-table').click();
  await chart(page, 'keys').getByTestId('plot').waitFor();
  assert.ok((await lines(page, 'keys')).some((d) => d.startsWith('M')));

  await page.getByTestId('copy-prometheus').click();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), `${node.url}/metrics`);
  assert.ok((await fetch(`${node.url}/metrics`)).ok);
  assert.deepEqual(complaints, []);
  await close();
});

/** Figures as the leader of seven nodes has them after a quarter of an hour of load, around the node's own. */
async function manyFigures(route) {
  const seconds = Number.parseInt(new URL(route.request().url()).searchParams.get('range'), 10);
  const answer = await route.fetch();
  const said = await answer.json();
  const wave = (at, seed) => 50 + 40 * Math.sin(at / (7 + seed)) + ((at * 7919 * (seed + 1)) % 17);
  const begin = Math.round(said.times[0] / 1_000);
  const points = (seed) => Array.from({ length: seconds }, (_, at) => wave(begin + at, seed));
  for (const [seed, name] of Object.keys(said.series).entries()) said.series[name] = points(seed);
  said.follower_lag = Object.fromEntries([1, 2, 3, 4, 5, 6].map((at) => [`node${at}`, points(at)]));
  await route.fulfill({ response: answer, json: said });
}

test('ME-6 a tick of seven nodes\' figures costs some milliseconds of script', async () => {
  const { page, complaints, close } = await open(browser, `${node.url}/ui/`, { allow: [LEFT] });
  await page.route('**/api/metrics/series?*', manyFigures);
  await live(page);
  const devtools = await page.context().newCDPSession(page);
  // Of its own thread: what other programs take of a busy machine is none of the page's.
  await devtools.send('Performance.enable', { timeDomain: 'threadTicks' });
  const spent = async () => {
    const { metrics } = await devtools.send('Performance.getMetrics');
    return metrics.find(({ name }) => name === 'ScriptDuration').value * 1_000;
  };
  // What the page costs a second without any chart: its stream, and its clock.
  await page.getByTestId('nav-lab').click();
  const [quiet, since] = [await spent(), Date.now()];
  await eventually('three seconds have passed', () => Date.now() - since > 3_000);
  const shell = ((await spent()) - quiet) / ((Date.now() - since) / 1_000);
  await page.getByTestId('nav-metrics').click();
  await page.getByTestId('range-900').click();
  await ticks(page, 3);
  assert.equal(await chart(page, 'lag').locator('.metrics-entry:visible').count(), 8);
  const tick = async () => Number(await page.getByTestId('charts').getAttribute('data-tick'));
  /** The cheapest of three runs of ticks: another program may have had the processor during one. */
  const runs = [];
  for (let run = 0; run < 3; run += 1) {
    const [from, begun, start] = [await spent(), await tick(), Date.now()];
    // Nothing asks the page meanwhile: a test that waits in it costs it script of its own, at each frame.
    await eventually('four seconds have passed', () => Date.now() - start > 4_000);
    const [to, ended] = [await spent(), await tick()];
    assert.ok(ended >= begun + 2, `${ended - begun} ticks in 4 s`);
    runs.push((to - from) / (ended - begun));
  }
  const cost = Math.min(...runs) - shell;
  console.log(`a tick: ${cost.toFixed(2)} ms of script, beside ${shell.toFixed(2)} ms of the rest of the page`);
  assert.ok(cost < SCRIPT_MS, `${runs}`);
  await page.screenshot({ path: join(artefacts, 'metrics-seven.png'), fullPage: true });
  assert.deepEqual(complaints, []);
  await close();
});

test('F-13 each kind of refusal has words of its own, and one that is not known says status and body', async () => {
  const { page, close } = await show('', { allow: FAULTS.concat(/status of \d+/) });
  const problem = (status, code, more = {}) => ({
    status,
    contentType: 'application/problem+json',
    body: JSON.stringify({ type: 'about:blank', title: code, status, detail: `why of ${code}`, code, applied: 'no', ...more }),
  });
  const shapes = [
    [problem(404, 'route_not_found'), /^why of route_not_found/],
    [problem(409, 'membership_conflict'), /^why of membership_conflict/],
    [problem(412, 'precondition_failed'), /changed meanwhile: why of precondition_failed/],
    [problem(413, 'too_large', { limit: 1_048_576 }), /too large: why of too_large/],
    [problem(429, 'overloaded', { retry_after_ms: 1_500 }), /too much to do: why of overloaded\. Try again in 2 s/],
    [problem(503, 'no_leader', { retry_after_ms: 1_000 }), /No node leads at this moment: why of no_leader\. Try again in 1 s/],
    [problem(504, 'outcome_unknown', { applied: 'unknown', request_id: 'r-13' }), /not known whether this took effect: .*Its request id is r-13/],
    [problem(507, 'disk_full'), /disk is full, reads go on: why of disk_full/],
    [{ status: 502, contentType: 'text/html', body: 'a proxy of somebody' }, /The node answered 502: a proxy of somebody/],
  ];
  let shape;
  await page.route('**/api/metrics/series?*', (route) => route.fulfill(shape));
  const said = page.getByTestId('problem');
  for (const [answer, words] of shapes) {
    shape = answer;
    if (await said.count()) await page.getByTestId('retry').click();
    await page.waitForFunction((words) => {
      const text = document.querySelector('[data-testid="problem"] .problem-text')?.textContent;
      return text && new RegExp(words).test(text);
    }, words.source);
  }
  await close();
});

test('G-6 charts without an answer keep what they have, say why, and try again', async () => {
  const { page, close } = await show('', { allow: FAULTS.concat(/503/) });
  const refusal = { status: 503, contentType: 'application/problem+json', body: '{"type":"about:blank","title":"Unavailable","status":503,"detail":"The node is starting.","code":"unavailable"}' };
  await page.route('**/api/metrics/series?*', (route) => route.fulfill(refusal));
  const problem = page.getByTestId('problem');
  await problem.waitFor();
  assert.match(await problem.textContent(), /503|starting/);
  assert.ok((await lines(page, 'keys')).some(Boolean));
  await page.unroute('**/api/metrics/series?*');
  await page.getByTestId('retry').click();
  await problem.waitFor({ state: 'detached' });
  await close();
});

test('MO G-7 the screen fits a telephone and breaks no rule in either theme', async () => {
  const { page, close } = await show('?table=keys', { bypassCSP: true });
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    for (const [width, height] of [[1280, 800], [360, 740]]) {
      await page.setViewportSize({ width, height });
      await noSidewaysScroll(page);
      assert.deepEqual(await axe(page), [], `${colorScheme} ${width}`);
      await page.screenshot({ path: join(artefacts, `metrics-${colorScheme}-${width}.png`) });
    }
  }
  await close();
});
