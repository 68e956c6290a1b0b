// The value pane on a cluster of three real nodes: views, editing, conflicts, lost answers, deletion
// and history (KV-6 to KV-12, KV-14).
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { artefacts, axe, FAULTS, launch, live, noSidewaysScroll, open } from './browser.mjs';
import { startCluster } from './cluster.mjs';
import { call, eventually, startNode } from './node.mjs';

let cluster;
let browser;

before(async () => {
  cluster = await startCluster();
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await cluster?.stop();
});

const target = (key, more = '') => `/api/keys?key=${encodeURIComponent(key)}${more}`;

/** Writes a value to a node and returns the answer. */
async function put(key, body, { type = 'text/plain', via = 'node0', more = '' } = {}) {
  const answer = await fetch(cluster.node(via).url + target(key, more), { method: 'PUT', body, headers: { 'content-type': type } });
  const said = await answer.text();
  assert.ok(answer.ok, `PUT ${key}: ${answer.status} ${said}`);
  return JSON.parse(said);
}

/** Reads a value with its headers; `undefined` for none. */
async function get(key) {
  const answer = await fetch(cluster.node('node0').url + target(key, '&level=consistent'));
  if (answer.status === 404) return undefined;
  assert.ok(answer.ok, `GET ${key}: ${answer.status}`);
  const bytes = Buffer.from(await answer.arrayBuffer());
  const number = (name) => Number(answer.headers.get(name));
  return {
    bytes,
    text: bytes.toString(),
    type: answer.headers.get('content-type'),
    version: number('conclave-version'),
    ttl: number('conclave-ttl-ms'),
  };
}

const REFUSALS = /status of (404|412|413)/;

/** Opens a key's pane on a node and waits until it shows the key and hears the node. */
async function openKey(key, { via = 'node0', state = 'here', query = '', ...options } = {}) {
  const url = `${cluster.node(via).url}/ui/keys?key=${encodeURIComponent(key)}${query}`;
  const opened = await open(browser, url, options);
  await live(opened.page);
  await pane(opened.page, state);
  return { ...opened, editor: opened.page.getByTestId('value-editor') };
}

const pane = (page, state) => page.waitForSelector(`[data-testid="value-pane"][data-state="${state}"]`);
const unsaved = (page) => page.waitForSelector('[data-testid="value-pane"][data-unsaved]');
const saved = (page) => page.waitForSelector('[data-testid="value-pane"]:not([data-unsaved])');
const grouped = (number) => number.toLocaleString('en-US');

/** Waits until an element's text matches. */
const says = (page, testid, pattern) => eventually(`${testid} says ${pattern}`, async () => {
  const text = await page.getByTestId(testid).first().textContent({ timeout: 2_000 });
  if (pattern.test(text)) return text;
  throw new Error(text);
});

test('KV-6 a value shows as JSON, text and bytes, with its stamps and the holder of its lock', async () => {
  const value = '{"big": 9007199254740993, "name": "Räksmörgås"}';
  const { revision } = await put('app/config', value, { type: 'application/json', more: '&ttl=1h' });
  const lock = await cluster.api('POST', '/api/locks/app%2Fconfig', { owner: 'job-7', ttl_ms: 600_000 }, 'node0');
  const { page, editor, complaints, close } = await openKey('app/config');
  assert.equal(await editor.inputValue(), value);
  assert.equal(await page.getByTestId('view-json').getAttribute('aria-pressed'), 'true');
  await says(page, 'value-size', new RegExp(`^${Buffer.byteLength(value)} B$`));
  await says(page, 'value-guess', /^JSON \(application\/json\)$/);
  await says(page, 'value-revision', new RegExp(`^${grouped(revision)}$`));
  await says(page, 'value-created', new RegExp(`^${grouped(revision)}$`));
  await says(page, 'value-version', /^1$/);
  const left = await says(page, 'value-ttl', /^in (1 h 0 m|59 m \d+ s)$/);
  await eventually('the time left ticks', async () => (await page.getByTestId('value-ttl').textContent()) !== left);
  await says(page, 'value-lock', new RegExp(`^job-7, token ${grouped(lock.token)}$`));
  await page.getByTestId('view-hex').click();
  await says(page, 'value-hex', /^00000000 {2}7b 22 62 69 67/);
  await page.getByTestId('view-text').click();
  assert.equal(await editor.inputValue(), value);
  assert.match(page.url(), /view=text/);
  assert.deepEqual(complaints, []);
  await close();
});

test('KV-6 a large value shows its first 64 KiB until all of it is asked for', async () => {
  const line = 'a line of forty characters, give or take\n';
  const value = line.repeat(8_000);
  await put('large', value);
  const { page, editor, complaints, close } = await openKey('large');
  assert.equal((await editor.inputValue()).length, 64 << 10);
  assert.equal(await editor.getAttribute('readonly'), '');
  assert.equal(await page.getByTestId('load-all').textContent(), 'Load all (320.3 KiB)');
  await page.getByTestId('load-all').click();
  await page.waitForFunction(() => document.querySelector('[data-testid="value-editor"]').value.length > 70_000);
  assert.equal(await editor.inputValue(), value);
  assert.equal(await editor.getAttribute('readonly'), null);
  assert.deepEqual(complaints, []);
  await close();
});

test('KV-6 bytes are shown, taken and replaced as such, never edited as text', async () => {
  const bytes = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0, 255, 254]);
  await put('pictures/seal', bytes, { type: 'image/png' });
  const { page, editor, complaints, close } = await openKey('pictures/seal');
  await says(page, 'value-guess', /^PNG image \(image\/png\)$/);
  await says(page, 'value-hex', /^00000000 {2}89 50 4e 47/);
  assert.equal(await editor.count(), 0);
  assert.ok(await page.getByTestId('view-text').isDisabled());
  const [download] = await Promise.all([page.waitForEvent('download'), page.getByTestId('value-download').click()]);
  assert.equal(download.suggestedFilename(), 'seal.bin');
  assert.deepEqual(readFileSync(await download.path()), bytes);
  const other = join(artefacts, 'other.bin');
  writeFileSync(other, Buffer.from([0, 1, 2, 255]));
  await page.getByTestId('value-replace').setInputFiles(other);
  await says(page, 'value-file', /other\.bin, 4 B, replaces/);
  await page.getByTestId('key-save').click();
  await saved(page);
  assert.deepEqual((await get('pictures/seal')).bytes, Buffer.from([0, 1, 2, 255]));
  await says(page, 'value-version', /^2$/);
  assert.deepEqual(complaints, []);
  await close();
});

test('KV-6 without a leader the node shows its own copy, says so, and reads again when there is one', async () => {
  await put('alone', 'mine to see');
  const leader = await cluster.leader();
  const via = cluster.ids.find((id) => id !== leader);
  await cluster.caughtUp(via);
  const others = cluster.ids.filter((id) => id !== via);
  const { page, editor, close } = await openKey('alone', { via });
  for (const id of others) cluster.freeze(id);
  try {
    await page.reload();
    await pane(page, 'here');
    await says(page, 'value-copy', /own copy: no leader confirmed it\. When it was read, it may have been .* old\./);
    assert.equal(await editor.inputValue(), 'mine to see');
    await editor.fill('a draft');
    await eventually('writes are off', () => page.getByTestId('key-save').isDisabled());
    await page.screenshot({ path: join(artefacts, 'value-copy.png') });
    await page.getByTestId('key-discard').click();
  } finally {
    for (const id of others) cluster.thaw(id);
  }
  await cluster.waitForLeader();
  await page.getByTestId('value-copy').waitFor({ state: 'detached' });
  await close();
});

test('KV-7 JSON is checked while it is typed, and formatted without being read', async () => {
  await put('json', '{"id":9007199254740993,"price":1.10,"b":1,"a":2,"a":3}', { type: 'application/json' });
  const { page, editor, complaints, close } = await openKey('json');
  await page.getByTestId('value-format').click();
  const formatted = '{\n  "id": 9007199254740993,\n  "price": 1.10,\n  "b": 1,\n  "a": 2,\n  "a": 3\n}';
  assert.equal(await editor.inputValue(), formatted);
  await page.getByTestId('key-save').click();
  await saved(page);
  assert.equal((await get('json')).text, formatted);
  await editor.fill('{\n  "id": 1,\n}');
  await says(page, 'value-fault', /^Line 3, column 1: a name in quotes is missing here\.$/);
  assert.equal(await editor.getAttribute('aria-invalid'), 'true');
  await page.screenshot({ path: join(artefacts, 'value-fault.png') });
  await page.getByTestId('key-save').click();
  await page.getByTestId('confirm').click();
  await saved(page);
  assert.deepEqual((await get('json')).text, '{\n  "id": 1,\n}');
  assert.deepEqual(complaints, []);
  await close();
});

test('KV-7 that a value would stop being JSON is asked once', async () => {
  await put('asked', '{"a":1}', { type: 'application/json' });
  const { page, editor, complaints, close } = await openKey('asked');
  await editor.fill('{"a":1');
  await page.getByTestId('key-save').click();
  await page.getByTestId('confirm').waitFor();
  await page.keyboard.press('Escape');
  await page.getByTestId('confirm').waitFor({ state: 'detached' });
  assert.equal((await get('asked')).text, '{"a":1}');
  assert.equal(await editor.inputValue(), '{"a":1');
  await page.getByTestId('key-save').click();
  await page.getByTestId('confirm').click();
  await saved(page);
  await editor.fill('{"a":');
  await page.getByTestId('key-save').click();
  await eventually('the second one is saved without a question', async () => (await get('asked')).text === '{"a":');
  assert.deepEqual(complaints, []);
  await close();
});

test('KV-8 a draft is saved by key, marked in the title, and survives other screens and keys', async () => {
  await put('draft', 'one\r\ntwo\r\n', { more: '&ttl=10m' });
  await put('other', 'x');
  const { page, editor, complaints, close } = await openKey('draft');
  await editor.fill('one\nthree\n');
  await page.waitForFunction(() => document.title.startsWith('● '));
  await page.getByTestId('nav-locks').first().click();
  await page.waitForFunction(() => location.pathname === '/ui/locks' && document.title.startsWith('● '));
  await page.goBack();
  await pane(page, 'here');
  assert.equal(await editor.inputValue(), 'one\nthree\n');
  const asked = page.waitForEvent('dialog');
  const closed = page.close({ runBeforeUnload: true });
  const dialog = await asked;
  assert.equal(dialog.type(), 'beforeunload');
  await dialog.dismiss();
  await closed;
  await editor.focus();
  await page.keyboard.press('Control+s');
  await saved(page);
  await page.waitForFunction(() => !document.title.startsWith('● '));
  const now = await get('draft');
  assert.equal(now.text, 'one\r\nthree\r\n', 'line ends stay as they were');
  assert.equal(now.version, 2);
  assert.ok(now.ttl > 500_000, `the time to live stays: ${now.ttl}`);
  assert.deepEqual(complaints, []);
  await close();
});

test('KV-8 a value above the limit is refused at the button, and its text kept', async () => {
  await put('huge', 'small');
  const { page, editor, complaints, close } = await openKey('huge', { allow: [REFUSALS] });
  const text = 'x'.repeat(3 << 20);
  await page.evaluate((length) => {
    const area = document.querySelector('[data-testid="value-editor"]');
    area.value = 'x'.repeat(length);
    area.dispatchEvent(new Event('input', { bubbles: true }));
  }, text.length);
  await page.getByTestId('load-all').waitFor();
  await page.getByTestId('key-save').click();
  await says(page, 'value-refused', /^It was not saved\..*The limit is 1\.0 MiB\./);
  await page.getByTestId('load-all').click();
  await page.waitForFunction((length) => document.querySelector('[data-testid="value-editor"]').value.length === length, text.length);
  await page.getByTestId('key-discard').click();
  assert.equal(await editor.inputValue(), 'small');
  await page.getByTestId('fetch-back').click();
  await unsaved(page);
  assert.equal((await get('huge')).text, 'small');
  assert.deepEqual(complaints, []);
  await close();
});

test('KV-9 a change underneath is told in the editor before any save, and by itself when nothing is edited', async () => {
  await put('shared', 'one\n');
  const one = await openKey('shared', { via: 'node1' });
  const two = await openKey('shared', { via: 'node2' });
  await one.editor.fill('one\nmine\n');
  await two.editor.fill('one\ntheirs\n');
  await two.page.getByTestId('key-save').click();
  await saved(two.page);
  const text = await says(one.page, 'value-changed', /^node2 wrote revision [\d,]+ .* ago\./);
  assert.equal(await one.editor.inputValue(), 'one\nmine\n');
  const ticks = async () => (await one.page.getByTestId('value-changed').textContent()) !== text;
  await eventually('its age ticks', ticks);
  await one.page.screenshot({ path: join(artefacts, 'value-changed.png') });
  await one.page.getByTestId('show-difference').click();
  await one.page.getByTestId('value-compare').waitFor();
  await one.page.getByTestId('compare-back').click();
  assert.equal(await one.editor.inputValue(), 'one\nmine\n');
  await put('shared', 'three\n', { via: 'node0' });
  await says(two.page, 'value-refreshed', /^node0 wrote revision/);
  await eventually('the untouched pane follows', async () => (await two.editor.inputValue()) === 'three\n');
  await one.page.getByTestId('key-discard').click();
  assert.deepEqual([one.complaints, two.complaints], [[], []]);
  await one.close();
  await two.close();
});

test('KV-10 a conflict shows three texts, merges by stretch, and loses none', async () => {
  await put('merge', 'a\nb\nc\nd\ne\n');
  const { page, editor, complaints, close } = await openKey('merge', { allow: [REFUSALS], viewport: { width: 1400, height: 900 } });
  await editor.fill('A\nb\nc\nd\nmine\n');
  const { revision } = await put('merge', 'a\nb\nC\nd\ntheirs\n', { via: 'node1' });
  await page.getByTestId('key-save').click();
  await page.getByTestId('value-compare').waitFor();
  await says(page, 'compare-head', new RegExp(`node1 wrote revision ${grouped(revision)} while you edited`));
  const stretches = page.getByTestId('compare-stretch');
  assert.equal(await stretches.count(), 3);
  assert.deepEqual(await stretches.evaluateAll((all) => all.map((one) => one.dataset.kind)), ['plain', 'plain', 'conflict']);
  await page.screenshot({ path: join(artefacts, 'value-compare.png') });
  assert.ok(await page.getByTestId('save-merge').isDisabled(), 'a conflict is the reader\'s to decide');
  await stretches.nth(2).getByTestId('take-theirs').check();
  await page.getByTestId('save-merge').click();
  await saved(page);
  assert.equal((await get('merge')).text, 'A\nb\nC\nd\ntheirs\n');
  // Mine as a whole, over theirs.
  await editor.fill('mine\n');
  const again = await put('merge', 'theirs\n', { via: 'node1' });
  await page.getByTestId('key-save').click();
  await says(page, 'save-mine', new RegExp(`^Save mine over ${grouped(again.revision)}$`));
  await page.getByTestId('save-mine').click();
  await saved(page);
  assert.equal((await get('merge')).text, 'mine\n');
  // Theirs, and mine fetched back.
  await editor.fill('mine again\n');
  await put('merge', 'theirs again\n', { via: 'node1' });
  await page.getByTestId('key-save').click();
  await page.getByTestId('value-compare').getByRole('button', { name: 'Take theirs' }).click();
  assert.equal(await editor.inputValue(), 'theirs again\n');
  await page.getByTestId('fetch-back').click();
  assert.equal(await editor.inputValue(), 'mine again\n');
  await page.getByTestId('key-discard').click();
  assert.deepEqual(complaints, []);
  await close();
});

test('KV-10 what was deleted underneath is created again only when the writer says so', async () => {
  await put('gone', 'one\n');
  const { page, editor, complaints, close } = await openKey('gone', { allow: [REFUSALS] });
  await editor.fill('mine\n');
  await cluster.api('DELETE', target('gone'));
  await says(page, 'value-changed', /^node0 deleted it at revision [\d,]+ .* ago\./);
  await page.getByTestId('key-save').click();
  await says(page, 'compare-head', /^It was deleted at [\d,]+\. Create it again\?$/);
  await page.getByTestId('save-mine').click();
  await saved(page);
  const now = await get('gone');
  assert.deepEqual([now.text, now.version], ['mine\n', 1]);
  assert.deepEqual(complaints, []);
  await close();
});

test('KV-11 a lost answer is asked for, and the save neither doubled nor denied', async () => {
  await put('lost', 'one');
  const { page, editor, complaints, allow, close } = await openKey('lost');
  allow(...FAULTS, /ERR_FAILED/);
  let releaseAsking;
  const asking = new Promise((resolve) => (releaseAsking = resolve));
  let lost = 0;
  await page.route(({ pathname }) => pathname === '/api/keys', async (route) => {
    if (route.request().method() !== 'PUT' || lost++ > 0) return route.fallback();
    await route.fetch();
    return route.abort('connectionreset');
  });
  await page.route('**/api/requests/*', async (route) => {
    await asking;
    await route.fallback();
  });
  await editor.fill('two');
  await page.getByTestId('key-save').click();
  await says(page, 'value-writing', /^We don't know yet whether this was saved - asking\.$/);
  await page.screenshot({ path: join(artefacts, 'value-asking.png') });
  assert.equal(await editor.inputValue(), 'two');
  assert.equal(await page.getByTestId('toast').count(), 0, 'nothing is claimed meanwhile');
  releaseAsking();
  await saved(page);
  const now = await get('lost');
  assert.deepEqual([now.text, now.version], ['two', 2], 'written once');
  assert.deepEqual(complaints, []);
  await close();
});

test('KV-11 a leader that freezes during a save costs no text and writes it once', async () => {
  await put('frozen', 'one');
  const leader = await cluster.leader();
  const via = cluster.ids.find((id) => id !== leader);
  const { page, editor, complaints, allow, close } = await openKey('frozen', { via });
  allow(...FAULTS, /ERR_FAILED/);
  cluster.freeze(leader);
  try {
    await editor.fill('two');
    await page.getByTestId('key-save').click();
    await page.getByTestId('value-writing').waitFor();
    await cluster.waitForLeader({ not: leader });
    await page.waitForSelector('[data-testid="value-pane"]:not([data-unsaved])', { timeout: 30_000 });
  } finally {
    cluster.thaw(leader);
  }
  await cluster.caughtUp(leader);
  const now = await get('frozen');
  assert.deepEqual([now.text, now.version], ['two', 2]);
  assert.deepEqual(complaints, []);
  await close();
});

test('KV-12 a deletion names what it deletes, and can be undone with bytes, type and time to live', async () => {
  const { revision } = await put('doomed/<b>', '{"a": 1}\n', { type: 'application/x-thing', more: '&ttl=10m' });
  const { page, complaints, close } = await openKey('doomed/<b>', { allow: [REFUSALS] });
  await page.getByTestId('key-delete').click();
  const dialog = page.getByTestId('value-pane').getByTestId('dialog');
  await dialog.getByTestId('confirm').waitFor();
  const asked = await dialog.textContent();
  for (const part of ['doomed/<b>', grouped(revision), '9 B']) assert.ok(asked.includes(part), `${part} in ${asked}`);
  await page.screenshot({ path: join(artefacts, 'value-delete.png') });
  await dialog.getByTestId('confirm').click();
  await says(page, 'value-deleted', /for \d+ s more\.$|for \d+ s more\.Undo$/);
  assert.equal(await get('doomed/<b>'), undefined);
  await page.getByTestId('undo-delete').click();
  await pane(page, 'here');
  const now = await get('doomed/<b>');
  assert.deepEqual([now.text, now.type, now.version], ['{"a": 1}\n', 'application/x-thing', 1]);
  assert.ok(now.ttl > 500_000 && now.ttl < 600_000, `${now.ttl} ms left`);
  await says(page, 'value-revision', /\d/);
  // Not over somebody else's.
  await page.getByTestId('key-delete').click();
  await dialog.getByTestId('confirm').click();
  await page.getByTestId('undo-delete').waitFor();
  let created;
  const theirs = new Promise((resolve) => (created = resolve));
  await page.route(({ pathname }) => pathname === '/api/keys', async (route) => {
    if (route.request().method() === 'PUT') await theirs;
    await route.fallback();
  });
  await page.getByTestId('undo-delete').click();
  await put('doomed/<b>', 'theirs');
  created();
  await says(page, 'value-refused', /^Nothing was undone: somebody else has changed the key/);
  await eventually('theirs is shown', async () => (await page.getByTestId('value-editor').inputValue()) === 'theirs');
  assert.equal((await get('doomed/<b>')).text, 'theirs');
  assert.deepEqual(complaints, []);
  await close();
});

test('KV-12 a deletion of what has changed meanwhile is refused', async () => {
  await put('kept', 'one');
  const { page, complaints, close } = await openKey('kept', { allow: [REFUSALS] });
  let released;
  const written = new Promise((resolve) => (released = resolve));
  await page.route(({ pathname }) => pathname === '/api/keys', async (route) => {
    if (route.request().method() === 'DELETE') await written;
    await route.fallback();
  });
  await page.getByTestId('key-delete').click();
  await page.getByTestId('confirm').click();
  await put('kept', 'two');
  released();
  await says(page, 'value-refused', /^It was not deleted: somebody else has changed the key/);
  assert.equal((await get('kept')).text, 'two');
  assert.deepEqual(complaints, []);
  await close();
});

test('KV-14 the history lists versions, compares any two, and restores one', async () => {
  const first = await put('past', 'a\nport 8080\nc\n');
  await put('past', 'a\nport 8443\nc\n', { via: 'node1' });
  await cluster.api('DELETE', target('past'));
  const last = await put('past', 'x\n', { via: 'node2' });
  const { page, editor, complaints, close } = await openKey('past', { query: '&past=open' });
  const rows = page.getByTestId('history-row');
  await rows.nth(3).waitFor();
  const shown = await rows.evaluateAll((all) => all.map((row) => [...row.querySelectorAll('th, td')].slice(3, 5).map((cell) => cell.textContent)));
  assert.deepEqual(shown, [['put', '2 B'], ['delete', ''], ['put', '14 B'], ['put', '14 B']]);
  assert.match(await rows.nth(0).textContent(), /node2/);
  await says(page, 'history-end', /whole past/);
  await rows.nth(2).getByRole('radio').nth(1).check();
  await rows.nth(3).getByRole('radio').nth(0).check();
  const changed = page.locator('[data-testid="diff"] mark');
  await changed.first().waitFor();
  assert.deepEqual(await changed.allTextContents(), ['8080', '8443']);
  await page.screenshot({ path: join(artefacts, 'value-history.png'), fullPage: true });
  assert.ok(await rows.nth(0).getByTestId('history-restore').isDisabled());
  await rows.nth(3).getByTestId('history-restore').click();
  await eventually('it is as it was', async () => (await editor.inputValue()) === 'a\nport 8080\nc\n');
  await rows.nth(4).waitFor();
  const now = await get('past');
  assert.deepEqual([now.text, now.version], ['a\nport 8080\nc\n', 2]);
  assert.ok(first.revision < last.revision);
  assert.deepEqual(complaints, []);
  await close();
});

test('KV-14 a history that was cut says where it starts', async () => {
  const node = await startNode('short', ['-history-revisions', '50']);
  const write = (key, body) => call(node, 'PUT', `/api/keys/${key}`, body);
  try {
    await write('quiet', 'one');
    // History is cut some hundred revisions at a time.
    await eventually('the first revisions are no longer kept', async () => {
      for (let n = 0; n < 50; n += 1) await write('busy', `${n}`);
      return (await fetch(`${node.url}/api/keys/quiet?revision=1`)).status === 410;
    }, 30_000);
    const { oldest } = await (await fetch(`${node.url}/api/keys/quiet?revision=1`)).json();
    for (const [key, versions] of [['busy', true], ['quiet', false]]) {
      const { page, complaints, close } = await open(browser, `${node.url}/ui/keys?key=${key}&past=open`, { allow: [/status of 410/] });
      const said = await eventually('the history is read', async () => {
        const more = page.getByTestId('history-more');
        if (await more.count()) await more.click();
        return page.getByTestId('history-end').textContent({ timeout: 1_000 });
      });
      assert.equal(await page.getByRole('table', { name: 'Versions' }).count(), versions ? 1 : 0);
      const start = `History starts at revision ${grouped(oldest)}.`;
      assert.equal(said, versions ? start : `No version of it is kept. ${start}`);
      assert.deepEqual(complaints, []);
      await close();
    }
  } finally {
    await node.stop();
  }
});

test('hostile keys and values are text, and only text', async () => {
  const keys = ['a/../b', '.', '<img src=x onerror=alert(1)>', '100%&x=y#z', 'שלום/🗝'];
  for (const key of keys) {
    const value = `<script>alert(1)</script>\u202e${key}`;
    await put(key, value);
    const { page, editor, complaints, close } = await openKey(key, { allow: [REFUSALS] });
    page.on('dialog', (dialog) => complaints.push(`a dialog: ${dialog.message()}`));
    assert.equal(await editor.inputValue(), value);
    assert.equal(await page.locator('#value-key').textContent(), key);
    await editor.fill(`${value}!`);
    await page.getByTestId('key-save').click();
    await saved(page);
    assert.equal((await get(key)).text, `${value}!`);
    assert.deepEqual(complaints, []);
    await close();
  }
});

test('a key that is not there can be created, and only while it is not there', async () => {
  const { page, editor, complaints, close } = await openKey('new/key', { state: 'absent', allow: [REFUSALS] });
  await editor.fill('first');
  await says(page, 'key-save', /^Create the key$/);
  await page.getByTestId('key-save').click();
  await pane(page, 'here');
  const now = await get('new/key');
  assert.deepEqual([now.text, now.version], ['first', 1]);
  assert.deepEqual(complaints, []);
  await close();
});

test('G-7 MO the pane breaks no rule of accessibility and fits a telephone, in both themes', async () => {
  const long = 'word '.repeat(60);
  for (const a of [1, 2]) await put('fit', `{\n  "a": ${a},\n  "long": "${long}"\n}\n`, { type: 'application/json' });
  const { page, editor, close } = await openKey('fit', { bypassCSP: true, query: '&past=open' });
  /** Checks what the pane shows at both sizes, in both themes. */
  const check = async (name) => {
    for (const colorScheme of ['light', 'dark']) {
      for (const [width, height] of [[1280, 900], [360, 740]]) {
        await page.emulateMedia({ colorScheme });
        await page.setViewportSize({ width, height });
        await noSidewaysScroll(page);
        assert.deepEqual(await axe(page), [], `${name} ${colorScheme} ${width}`);
        await page.screenshot({ path: join(artefacts, `value-${name}-${colorScheme}-${width}.png`), fullPage: true });
      }
    }
  };
  await page.getByTestId('history-difference').waitFor();
  await check('view');
  await editor.fill('{"a": 3}\n');
  await put('fit', '{\n  "a": 9,\n  "b": 2\n}\n', { type: 'application/json' });
  await page.getByTestId('show-difference').click();
  await page.getByTestId('value-compare').waitFor();
  await check('compare');
  await page.getByTestId('compare-back').click();
  await page.getByTestId('key-discard').click();
  await page.getByTestId('key-delete').click();
  await page.getByTestId('confirm').waitFor();
  await check('delete');
  await close();
});
