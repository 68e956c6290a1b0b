// Takes pictures of the dashboard: every screen in every state of a cluster, in both themes.
//
//   node shots.mjs FOLDER [--only=WORD]...    those whose file names contain a WORD, or all
//   node shots.mjs FOLDER --readme            the two of the README
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { FAULTS, launch, live, open } from './browser.mjs';
import { startCluster } from './cluster.mjs';
import { call, eventually, startNode } from './node.mjs';

const SCREENS = {
  overview: '',
  nodes: 'nodes',
  keys: 'keys',
  locks: 'locks',
  events: 'events',
  lab: 'lab',
  metrics: 'metrics',
};
const STATES = ['empty', 'healthy', 'cut-off', 'electing'];
const THEMES = ['light', 'dark'];
const DESK = { width: 1280, height: 800 };
const TELEPHONE = { width: 360, height: 740 };
const LOCK_TTL_MS = 3_600_000;
/** For a page to hear of its cluster: a heartbeat comes every two seconds. */
const HEARD_MS = 2_500;
/** For a change of theme or width to be drawn. */
const DRAWN_MS = 150;

const options = process.argv.slice(2).filter((argument) => argument.startsWith('--'));
const [folder] = process.argv.slice(2).filter((argument) => !argument.startsWith('--'));
assert.ok(folder, 'usage: node shots.mjs FOLDER [--only=WORD]... [--readme]');
const isForReadme = options.includes('--readme');
const words = options.filter((option) => option.startsWith('--only=')).map((option) => option.slice('--only='.length));
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** The pictures of one screen in one state: file names by theme and size. */
function namesOf(screen, state) {
  if (isForReadme) {
    if (screen !== 'overview' || state !== 'healthy') return [];
    return THEMES.map((theme) => ({ theme, size: DESK, name: `overview-${theme}.png` }));
  }
  const all = THEMES.map((theme) => ({ theme, size: DESK, name: `${screen}-${state}-${theme}.png` }));
  if (state === 'healthy') all.push({ theme: 'light', size: TELEPHONE, name: `${screen}-healthy-light-360.png` });
  return all.filter(({ name }) => words.length === 0 || words.some((word) => name.includes(word)));
}

const wanted = (state) => Object.keys(SCREENS).some((screen) => namesOf(screen, state).length > 0);

/** Fills a cluster with what a small company might keep in it. */
async function fill(cluster) {
  const put = (key, value, at, query = '') => cluster.api('PUT', `/api/keys/${key}${query}`, value, cluster.ids[at % 3]);
  const regions = ['eu-north', 'eu-west', 'us-east'];
  for (const [at, region] of regions.entries()) {
    await put(`config/${region}/limits`, JSON.stringify({ requests: 500 * (at + 1), burst: 50 }), at);
    await put(`config/${region}/log-level`, 'info', at);
    for (const service of ['billing', 'mail', 'search']) {
      await put(`services/${service}/${region}`, JSON.stringify({ host: `${service}.${region}.example`, port: 8080 + at }), at);
    }
  }
  await put('features/new-checkout', 'on', 0);
  await put('features/dark-mode', 'off', 1);
  await put('motd', 'Welcome back. The nightly import runs at 02:00.', 2);
  await put('sessions/4711', 'ada', 0, '?ttl=1h');
  for (let n = 0; n < 300; n += 1) await put(`jobs/${String(n % 60).padStart(4, '0')}`, `attempt ${n}`, n);

  const claim = (owner, via) =>
    fetch(`${cluster.node(via).url}/api/locks/nightly-import`, {
      method: 'POST',
      body: JSON.stringify({ owner, ttl_ms: LOCK_TTL_MS, wait_ms: 500 }),
    });
  const [held, ...queued] = [await claim('worker-1', 'node0'), await claim('worker-2', 'node1'), await claim('worker-3', 'node2')];
  assert.deepEqual([held.status, ...queued.map(({ status }) => status)], [200, 423, 423], 'a held lock with two waiters');
  await cluster.api('POST', '/api/locks/deploy', { owner: 'ada', ttl_ms: LOCK_TTL_MS });
}

/** Some changes while a page looks on, so that it has something to show of its own time. */
async function stir(node) {
  for (let n = 0; n < 8; n += 1) {
    await call(node, 'PUT', `/api/keys/jobs/${String(n * 7).padStart(4, '0')}`, `attempt ${300 + n}`);
    await pause(100);
  }
}

/** Takes the pictures of all screens of one node in one state. */
async function takeState(browser, node, state, { isWritable }) {
  for (const [screen, path] of Object.entries(SCREENS)) {
    const names = namesOf(screen, state);
    if (names.length === 0) continue;
    const { page, close } = await open(browser, `${node.url}/ui/${path}`, { viewport: DESK, allow: FAULTS });
    await live(page);
    await page.evaluate(() => document.fonts.ready);
    if (isWritable) await stir(node);
    await pause(HEARD_MS);
    for (const { theme, size, name } of names) {
      await page.emulateMedia({ colorScheme: theme });
      await page.setViewportSize(size);
      await pause(DRAWN_MS);
      await page.screenshot({ path: join(folder, name), animations: 'disabled' });
      console.log(join(folder, name));
    }
    await close();
  }
}

async function takeEmpty(browser) {
  const node = await startNode('node0');
  try {
    await takeState(browser, node, 'empty', { isWritable: false });
  } finally {
    await node.stop();
  }
}

async function takeCluster(browser) {
  const cluster = await startCluster();
  try {
    await fill(cluster);
    const leader = await cluster.waitForLeader();
    const shown = cluster.nodes.find(({ id }) => id !== leader);
    const hasLost = async () => (await cluster.status(shown.id)).leader === null;
    if (wanted('healthy')) await takeState(browser, shown, 'healthy', { isWritable: true });
    if (wanted('cut-off')) {
      cluster.cut(shown.id);
      await eventually('it has lost its leader', hasLost);
      await takeState(browser, shown, 'cut-off', { isWritable: false });
      cluster.heal();
      await cluster.caughtUp(shown.id);
    }
    if (wanted('electing')) {
      for (const { id } of cluster.nodes.filter((node) => node !== shown)) await cluster.kill(id);
      await eventually('it has lost its leader', hasLost);
      await takeState(browser, shown, 'electing', { isWritable: false });
    }
  } finally {
    await cluster.stop();
  }
}

mkdirSync(resolve(folder), { recursive: true });
const begun = Date.now();
const browser = await launch();
try {
  assert.ok(STATES.some(wanted), `no picture is named like ${words.join(' or ')}`);
  if (wanted('empty')) await takeEmpty(browser);
  if (STATES.slice(1).some(wanted)) await takeCluster(browser);
} finally {
  await browser.close();
}
console.log(`in ${((Date.now() - begun) / 1_000).toFixed(1)} s`);
