// The screen Lab against a cluster of real nodes: what each node answers at each level, whole and broken.
import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { artefacts, axe, eachLook, FAULTS, launch, live, noSidewaysScroll, open } from './browser.mjs';
import { startCluster } from './cluster.mjs';
import { eventually } from './node.mjs';

const SEEN_WITHIN_MS = 15_000;
const LEVELS = ['stale', 'default', 'consistent'];

let cluster;
let browser;
let leader;
let followers;

before(async () => {
  [cluster, browser] = await Promise.all([startCluster(), launch()]);
});

beforeEach(async () => {
  leader = await cluster.waitForLeader();
  followers = cluster.ids.filter((id) => id !== leader);
});

after(async () => {
  await browser?.close();
  await cluster?.stop();
});

const cell = (page, id, level) => page.locator(`[data-testid="lab-cell"][data-node="${id}"][data-level="${level}"]`);
const says = (locator, pattern) =>
  eventually(`${pattern}`, async () => {
    const text = await locator.textContent({ timeout: 1_000 });
    if (pattern.test(text)) return true;
    throw new Error(`it says: ${text}`);
  }, SEEN_WITHIN_MS);
/** Waits until every cell has its answer. */
const answered = (page, cells = 9) =>
  page.waitForFunction((cells) => {
    const all = [...document.querySelectorAll('[data-testid="lab-cell"]')];
    return all.length === cells && all.every(({ dataset }) => !['empty', 'asking'].includes(dataset.cell));
  }, cells);

/** Opens the screen of a node with a key and waits for its answers. */
async function screen(id, key, options) {
  const opened = await open(browser, `${cluster.node(id).url}/ui/lab${key ? `?key=${encodeURIComponent(key)}` : ''}`, options);
  await live(opened.page);
  if (key) await answered(opened.page);
  return opened;
}

test('LAB-1 LAB-3 each cell has the value, its revision, how far it is behind, and the way of the request', async () => {
  const { revision } = await cluster.api('PUT', '/api/keys/app/one', 'a value that is longer than a cell shows');
  for (const id of cluster.ids) await cluster.caughtUp(id);
  const { page, complaints, close } = await screen(followers[0], 'app/one');
  const chips = new Set();
  for (const id of cluster.ids) {
    for (const level of LEVELS) {
      const answer = cell(page, id, level);
      assert.equal(await answer.getAttribute('data-cell'), 'read', `${id} ${level}`);
      assert.equal(await answer.getByTestId('lab-value').textContent(), 'a value that is longer t…');
      assert.equal(await answer.getByTestId('lab-behind').textContent(), 'newest');
      const text = (await answer.textContent()).replaceAll(',', '');
      assert.ok(text.includes(`revision ${revision}`), text);
      assert.match(text, /\d ms/);
      chips.add(await answer.locator('.lab-chip').textContent());
    }
    const path = (level) => cell(page, id, level).getByTestId('lab-path').getAttribute('data-path');
    assert.equal(await path('stale'), 'its own state');
    assert.equal(await path('default'), id === leader ? 'under its lease' : `forwarded to ${leader}`);
    assert.equal(await path('consistent'), id === leader ? 'after a quorum round' : `its own state, after asking ${leader}`);
    assert.match(await cell(page, id, 'stale').textContent(), /at most .* old/);
  }
  assert.deepEqual([...chips].map((letters) => letters.length), [3], 'equal values have equal letters');
  await says(page.getByTestId('lab-verdict'), /All 3 nodes that answered give the newest value at every level/);
  await page.screenshot({ path: join(artefacts, 'lab-light.png') });
  assert.deepEqual(complaints, []);
  await close();
});

test('LAB-5 below each column stands what the README promises', async () => {
  const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');
  const { page, close } = await screen(leader, 'app/one');
  for (const level of LEVELS) {
    const [, waits, servedBy, promise] = readme.match(new RegExp(`\\| \`${level}\` \\| (.*?) \\| (.*?) \\| (.*?) \\|`));
    const shown = await page.locator(`[data-testid="lab-promise"][data-level="${level}"]`).textContent();
    for (const words of [waits, servedBy, promise]) {
      assert.ok(shown.toLowerCase().includes(words.replaceAll('`', '').toLowerCase()), `${words} in ${shown}`);
    }
  }
  await close();
});

test('LAB-2 a probe counts the key up and reads every cell at once', async () => {
  const { page, complaints, close } = await screen(followers[0]);
  await page.getByTestId('lab-begin').click();
  await page.waitForURL('**/ui/lab?key=lab%2Fprobe');
  await answered(page);
  await says(cell(page, leader, 'consistent'), /no such key/);
  for (const counter of ['1', '2']) {
    await page.getByTestId('lab-write').click();
    await says(page.getByTestId('lab-said'), new RegExp(`Wrote ${counter} as revision`));
    await answered(page);
    for (const id of cluster.ids) await says(cell(page, id, 'consistent').getByTestId('lab-value'), new RegExp(`^${counter}$`));
  }
  const stored = await fetch(`${cluster.node(leader).url}/api/keys/lab/probe?level=consistent`);
  assert.equal(await stored.text(), '2');
  assert.deepEqual(complaints.filter((text) => !/status of 404/.test(text)), []);
  await close();
});

test('LAB-2 a value that is no counter is not overwritten', async () => {
  await cluster.api('PUT', '/api/keys/app/mine', 'precious');
  const { page, close } = await screen(leader, 'app/mine');
  await page.getByTestId('lab-write').click();
  await says(page.getByTestId('lab-said'), /is no counter, and is not overwritten/);
  const stored = await fetch(`${cluster.node(leader).url}/api/keys/app/mine?level=consistent`);
  assert.equal(await stored.text(), 'precious');
  await close();
});

test('LAB-2 a run of fifty writes draws a dot for each node and write', async () => {
  const { page, complaints, close } = await screen(followers[0], 'lab/run');
  await page.getByTestId('lab-run').click();
  for (const id of cluster.ids) {
    await page.waitForSelector(`[data-testid="lab-strip"][data-node="${id}"][data-dots="50"]`, { timeout: 30_000 });
    const strip = page.locator(`[data-testid="lab-strip"][data-node="${id}"]`);
    assert.equal(await strip.locator('.lab-dot').count(), 50);
    await says(strip, /50 of 50 seen, median \d+(\.\d)? ms, slowest/);
  }
  await page.getByTestId('lab-stop').waitFor({ state: 'detached' });
  await answered(page);
  const stored = await fetch(`${cluster.node(leader).url}/api/keys/lab/run?level=consistent`);
  assert.equal(await stored.text(), '50');
  await page.screenshot({ path: join(artefacts, 'lab-run.png'), fullPage: true });
  assert.deepEqual(complaints.filter((text) => !/status of 404/.test(text)), []);
  await close();
});

test('LAB-4 the minority of a partition gives its old value at stale and refuses the rest', async () => {
  const [served, cutOff] = followers;
  await cluster.api('PUT', '/api/keys/lab/cut', '1');
  await cluster.caughtUp(cutOff);
  const { page, allow, complaints, close } = await screen(served, 'lab/cut');
  allow(...FAULTS);
  cluster.cut(cutOff);
  try {
    await eventually(`${cutOff} has lost its leader`, async () => (await cluster.status(cutOff)).leader === null);
    await page.getByTestId('lab-write').click();
    await says(page.getByTestId('lab-said'), /Wrote 2 as revision/);
    await answered(page);
    await says(cell(page, cutOff, 'stale').getByTestId('lab-value'), /^1$/);
    await says(cell(page, cutOff, 'stale').getByTestId('lab-behind'), /^1 write behind$/);
    for (const level of ['default', 'consistent']) {
      await says(cell(page, cutOff, level).getByTestId('lab-failed'), /^Refused: no leader, after \d/);
      assert.equal(await cell(page, cutOff, level).getAttribute('data-cell'), 'refused');
      assert.doesNotMatch(await cell(page, cutOff, level).textContent(), /changed/, 'a read changes nothing anyway');
    }
    await says(cell(page, leader, 'consistent').getByTestId('lab-value'), /^2$/);
    await says(page.getByTestId('lab-verdict'), new RegExp(`^${cutOff} is cut off: at stale it still gives an old value, at consistent it refuses`));
    await page.screenshot({ path: join(artefacts, 'lab-cut.png') });
  } finally {
    cluster.heal();
  }
  await cluster.caughtUp(cutOff);
  await page.getByTestId('lab-read').click();
  await says(page.getByTestId('lab-verdict'), /All 3 nodes that answered give the newest/);
  assert.deepEqual(complaints, []);
  await close();
});

test('LAB-6 a node that the browser cannot reach says so within two seconds', async () => {
  const [served, frozen] = followers;
  const { page, allow, close } = await screen(served, 'app/one');
  allow(...FAULTS);
  cluster.freeze(frozen);
  try {
    const begun = Date.now();
    await page.getByTestId('lab-read').click();
    for (const level of LEVELS) {
      await says(cell(page, frozen, level).getByTestId('lab-failed'), /^Not reachable from this browser$/);
    }
    const took = Date.now() - begun;
    assert.ok(took < 4_000, `${took} ms for a limit of 2 s`);
    await says(page.getByTestId('lab-verdict'), new RegExp(`This browser cannot reach ${frozen}\\.$`));
  } finally {
    cluster.thaw(frozen);
  }
  await close();
});

test('G-7 MO the screen breaks no rule of accessibility and fits a telephone, in both themes', async () => {
  const { page, close } = await screen(leader, 'app/one', { bypassCSP: true });
  await eachLook(page, [[1280, 800], [360, 740]], async (look) => {
    await noSidewaysScroll(page);
    assert.deepEqual(await axe(page), [], look);
    await page.screenshot({ path: join(artefacts, `lab-${look}.png`), fullPage: true });
  });
  await close();
});
