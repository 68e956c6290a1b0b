// The screen Keys on one real node: the list, the search, making and deleting keys. The value pane has
// tests of its own.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { join } from 'node:path';
import { artefacts, axe, launch, live, longTasks, noSidewaysScroll, open } from './browser.mjs';
import { call, eventually, startNode } from './node.mjs';

const MANY = 100_000;
/** Operations of one transaction. */
const OPS = 128;
/** Transactions that are sent at a time. */
const LANES = 16;
/** From the click on a folder of 100,000 keys to its first rows. */
const FIRST_ROWS_MS = 400;
/** Longest time without rows while the list is scrolled. */
const BLANK_MS = 100;
/** Most elements for rows; one more may hold the focus. */
const MOST_ROWS = 80;

const HOSTILE = [
  '<img src=x onerror=alert(1)>',
  'a/../b',
  `long/${'x'.repeat(200)}end`,
  'שלום/עולם',
  '🗝/👩‍👩‍👧',
  'a//b',
  './.',
  'tab\there\nand "quotes" & <b>',
];

let node;
let browser;

before(async () => {
  node = await startNode('node0');
  browser = await launch();
  for (const key of ['app/config/a', 'app/config/b', 'app/main', 'lone', 'zoo/ant']) await put(key, `value of ${key}`);
  for (const key of HOSTILE) await put(`hostile/${key}`, 'x');
});

after(async () => {
  await browser?.close();
  await node?.stop();
});

/** A text as a string of CSS. */
const css = (text) => `"${text.replace(/["\\\n\t]/g, (character) => `\\${character.charCodeAt(0).toString(16)} `)}"`;
const at = (key) => `/api/keys?key=${encodeURIComponent(key)}`;
const put = (key, value) => call(node, 'PUT', at(key), value);
const remove = (key) => call(node, 'DELETE', at(key));
const list = (prefix) => call(node, 'GET', `/api/keys?keys=true&limit=1000&prefix=${encodeURIComponent(prefix)}`);
const transact = (then) => call(node, 'POST', '/api/txn', { then });

/** Puts many keys below a prefix, as fast as the node takes them. */
async function fill(prefix, count) {
  const began = Date.now();
  let next = 0;
  const lane = async () => {
    while (next < count) {
      const from = next;
      next += OPS;
      const numbers = Array.from({ length: Math.min(OPS, count - from) }, (_, at) => from + at);
      await transact(numbers.map((at) => ({ op: 'put', key: `${prefix}${String(at).padStart(6, '0')}`, value: 'v' })));
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  return Date.now() - began;
}

/** A pane that is left ends what it was reading: its value, or who holds its lock. */
const LEFT = /\/api\/(keys|locks)\?(key|name)=\S*: net::ERR_ABORTED$/;

async function openKeys(query = '', options = {}) {
  const usual = { viewport: { width: 1280, height: 800 }, allow: [LEFT] };
  const opened = await open(browser, `${node.url}/ui/keys${query}`, { ...usual, ...options });
  await live(opened.page);
  const { page } = opened;
  return {
    ...opened,
    key: (name) => page.locator(`[data-testid="key-row"][data-key=${css(name)}]`),
    folder: (prefix) => page.locator(`[data-testid="folder-row"][data-prefix=${css(prefix)}]`),
    scope: (pattern) => page.waitForFunction(
      (source) => new RegExp(source).test(document.querySelector('[data-testid="key-scope"]')?.textContent), pattern.source),
    /** What the rows say, in their order. */
    rows: () => page.evaluate(() => [...document.querySelectorAll('[data-testid="key-list"] [role=row]')]
      .toSorted((a, b) => a.ariaRowIndex - b.ariaRowIndex)
      .map((row) => row.dataset.key ?? row.dataset.prefix ?? 'more')),
  };
}

const query = (page) => new URL(page.url()).searchParams;

test('KV-1 keys are a tree by the delimiter of the address, or a flat list', async () => {
  const { page, complaints, close, key, folder, rows } = await openKeys();
  await folder('app/').waitFor();
  assert.deepEqual((await rows()).toSorted(), ['app/', 'hostile/', 'lone', 'zoo/']);
  await folder('app/').click();
  await folder('app/config/').click();
  await key('app/config/b').waitFor();
  assert.deepEqual(
    (await rows()).slice(0, 5),
    ['app/', 'app/config/', 'app/config/a', 'app/config/b', 'app/main'],
  );
  assert.equal(await folder('app/config/').getAttribute('aria-level'), '2');
  assert.match(await folder('app/').textContent(), /3 keys/);

  await key('app/config/b').click();
  await page.getByTestId('value-pane').waitFor();
  assert.equal(query(page).get('key'), 'app/config/b');
  const [left, right] = [await page.getByTestId('key-list').boundingBox(), await page.getByTestId('value-pane').boundingBox()];
  assert.ok(left.x + left.width <= right.x, 'the pane is at the right of the list');

  // All of it is in the address.
  await page.reload();
  await key('app/config/b').waitFor();
  assert.equal(await key('app/config/b').getAttribute('aria-selected'), 'true');

  await page.getByTestId('view-flat').click();
  await key('zoo/ant').waitFor();
  assert.equal(query(page).get('view'), 'flat');
  assert.equal(await page.getByTestId('folder-row').count(), 0);

  await page.goto(`${node.url}/ui/keys?delimiter=.`);
  await folder('hostile/a/.').waitFor();
  assert.equal(await page.getByTestId('view-tree').textContent(), 'Folders by .');
  assert.deepEqual(complaints, []);
  await close();
});

test('KV-1 MO on a narrow page the pane is a sheet of the whole height', async () => {
  const { page, complaints, close, key } = await openKeys('', { viewport: { width: 360, height: 740 } });
  await key('lone').click();
  const pane = page.locator('.keys-right');
  await page.getByTestId('value-pane').waitFor();
  assert.deepEqual(await pane.boundingBox(), { x: 0, y: 0, width: 360, height: 740 });
  await noSidewaysScroll(page);
  const isBack = () => document.activeElement?.dataset.testid === 'pane-close';
  await page.waitForFunction(isBack);
  assert.equal(await page.getByTestId('key-list').isVisible(), false);
  await page.keyboard.press('Escape');
  await page.getByTestId('key-list').waitFor();
  await page.waitForFunction(() => document.activeElement?.dataset.key === 'lone');
  assert.equal(query(page).get('key'), null);
  assert.deepEqual(complaints, []);
  await close();
});

test('KV-3 the scope is said, and the search asks the node', async () => {
  const { page, complaints, close, key, scope, rows } = await openKeys();
  await scope(/^\d+ keys/);
  await page.keyboard.press('/');
  await page.keyboard.type('app/con');
  await scope(/^Searching keys starting with app\/con: 2 keys/);
  assert.equal(query(page).get('prefix'), 'app/con');
  assert.deepEqual(await rows(), ['app/config/']);

  await page.getByTestId('key-search').fill('nowhere/');
  const empty = page.getByTestId('keys-empty');
  await empty.waitFor();
  assert.match(await empty.textContent(), /No key starts with nowhere\/.*Looked through all of the \d+ keys that node0 has at revision [\d,]+\./);
  await page.keyboard.press('Escape');
  await key('lone').waitFor();
  assert.equal(query(page).get('prefix'), null);
  assert.deepEqual(complaints, []);
  await close();
});

test('KV-4 puts and deletes appear in place, and nothing else moves', async () => {
  for (let at = 0; at < 60; at += 1) await put(`live/${String(at).padStart(2, '0')}`, 'v');
  const { page, complaints, close, key, folder } = await openKeys();
  await folder('live/').click();
  await key('live/30').waitFor();
  await page.getByTestId('key-list').evaluate((list) => list.scrollTo(0, 500));
  const first = () => page.getByTestId('key-list').evaluate((list) => {
    const top = list.getBoundingClientRect().top;
    const rows = [...list.querySelectorAll('[role=row]')].toSorted((a, b) => a.ariaRowIndex - b.ariaRowIndex);
    const row = rows.find((row) => row.getBoundingClientRect().bottom > top);
    return [row.dataset.key, Math.round(row.getBoundingClientRect().top - top)];
  });
  await page.waitForFunction(() => document.querySelector('[data-key="live/25"]'));
  const before = await first();
  assert.match(before[0], /^live\//);
  await key('live/20').click();

  // Above what is in sight: it stays.
  await put('live/005', 'new');
  await page.waitForFunction(() => document.querySelector('[data-key="live/20"]').ariaPosInSet === '22');
  assert.deepEqual(await first(), before);
  await put('live/20-new', 'new');
  await key('live/20-new').waitFor();
  assert.ok(await key('live/20-new').getAttribute('data-flash'), 'the row flashes');
  assert.deepEqual(await first(), before);
  await page.waitForFunction(() => !document.querySelector('[data-flash]'));
  await put('live/20-new', 'changed');
  await page.waitForSelector('[data-key="live/20-new"][data-flash]');
  await remove('live/20-new');
  await remove('live/00');
  await key('live/20-new').waitFor({ state: 'detached' });
  await page.waitForFunction(() => document.querySelector('[data-key="live/20"]').ariaSetSize === '60');
  assert.deepEqual(await first(), before);
  assert.equal(query(page).get('key'), 'live/20');
  assert.equal(await key('live/20').getAttribute('tabindex'), '0');

  // A folder comes with its first key and goes with its last.
  await page.getByTestId('key-list').evaluate((list) => list.scrollTo(0, 0));
  await put('aaa/one', 'v');
  await folder('aaa/').waitFor();
  await remove('aaa/one');
  await folder('aaa/').waitFor({ state: 'detached' });
  assert.equal(await folder('live/').getAttribute('aria-expanded'), 'true');
  assert.deepEqual(complaints, []);
  await close();
});

test('KV-5 a long name keeps its last segment, and is whole as title and in the clipboard', async () => {
  const long = `services/${'very-long-segment/'.repeat(8)}instance-17`;
  await put(long, 'x');
  const { page, complaints, close, key } = await openKeys('?view=flat&prefix=services/', { permissions: ['clipboard-read'] });
  await key(long).waitFor();
  assert.equal(await key(long).getAttribute('title'), long);
  const tail = key(long).locator('.keys-tail');
  assert.equal(await tail.textContent(), '/instance-17');
  const [head, row] = [key(long).locator('.keys-head'), await key(long).boundingBox()];
  assert.ok(await head.evaluate((head) => head.scrollWidth > head.clientWidth), 'the beginning is cut');
  const box = await tail.boundingBox();
  assert.ok(box.x + box.width <= row.x + row.width, 'the end is in sight');
  await key(long).focus();
  await page.keyboard.press('ControlOrMeta+c');
  await page.getByTestId('toast').waitFor();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), long);
  assert.deepEqual(complaints, []);
  await close();
});

test('KV-13 deleting a prefix counts, names, asks for the prefix, and says what it did', async () => {
  for (let at = 0; at < 25; at += 1) await put(`doomed/${String(at).padStart(2, '0')}`, 'v');
  await call(node, 'POST', '/api/locks/doomed%2Flock', { owner: 'job-7', ttl_ms: 60_000 });
  const { page, complaints, close, folder } = await openKeys();
  await folder('doomed/').hover();
  await folder('doomed/').getByTestId('folder-delete').click();
  await page.waitForFunction(() => /^25 keys/.test(document.querySelector('[data-testid="erase-count"]')?.textContent));
  await page.getByTestId('erase-key').nth(19).waitFor();
  assert.equal(await page.getByTestId('erase-key').count(), 20);
  assert.equal(await page.getByTestId('erase-lock').textContent(), 'doomed/lock is held by job-7');
  const confirm = page.getByTestId('confirm');
  assert.equal(await confirm.isDisabled(), true);
  await page.getByTestId('confirm-name').fill('doomed');
  assert.equal(await confirm.isDisabled(), true);
  await page.screenshot({ path: join(artefacts, 'keys-erase.png') });
  await page.getByTestId('confirm-name').fill('doomed/');
  await confirm.click();
  await page.waitForFunction(() => document.querySelector('[data-testid="erase-said"]')?.textContent === 'Deleted 25 keys.');
  await page.getByTestId('erase-close').click();
  await folder('doomed/').waitFor({ state: 'detached' });
  assert.deepEqual((await list('doomed/')).keys, []);
  assert.deepEqual(complaints, []);
  await close();
});

test('KV-16 a new key is completed and checked while it is typed, and created once', async () => {
  const { page, complaints, close, key } = await openKeys();
  await page.getByTestId('key-new').click();
  const name = page.getByTestId('key-name');
  await name.fill('app/con');
  await page.getByTestId('key-offer').getByText('app/config/', { exact: true }).click();
  assert.equal(await name.inputValue(), 'app/config/');
  await page.getByTestId('key-offer').getByText('app/config/a', { exact: true }).click();
  const { mod_revision: revision } = (await list('app/config/a')).keys[0];
  const said = page.getByTestId('key-name-said');
  await page.waitForFunction(() => /Exists/.test(document.querySelector('[data-testid="key-name-said"]').textContent));
  assert.match((await said.textContent()).replaceAll(',', ''), new RegExp(`Exists at revision ${revision}\\. Open it`));
  assert.equal(await page.getByTestId('key-create').isDisabled(), true);

  await name.fill('app/config/born');
  await page.waitForFunction(() => /no such key/.test(document.querySelector('[data-testid="key-name-said"]').textContent));
  await page.getByTestId('key-value').fill('{"big":9007199254740993}');
  await page.getByTestId('key-ttl').fill('2h');
  await page.screenshot({ path: join(artefacts, 'keys-create.png') });
  await page.getByTestId('key-create').click();
  await key('app/config/born').waitFor();
  assert.equal(query(page).get('key'), 'app/config/born');
  const made = await fetch(node.url + at('app/config/born'));
  assert.equal(await made.text(), '{"big":9007199254740993}');
  assert.match(made.headers.get('content-type'), /^application\/json/);
  assert.ok(Number(made.headers.get('conclave-ttl-ms')) > 7_000_000);

  await page.getByTestId('key-new').click();
  await name.fill('lone');
  await page.getByTestId('key-open').click();
  await page.waitForFunction(() => new URL(location).searchParams.get('key') === 'lone');
  assert.deepEqual(complaints, []);
  await close();
  await remove('app/config/born');
});

test('hostile names are listed, selected and deleted, and run nothing', async () => {
  const { page, complaints, close, key, folder } = await openKeys('?view=flat&prefix=hostile/');
  let dialogs = 0;
  page.on('dialog', (dialog) => {
    dialogs += 1;
    dialog.dismiss();
  });
  for (const name of HOSTILE.map((name) => `hostile/${name}`)) {
    await key(name).click();
    await page.waitForFunction((name) => new URL(location).searchParams.get('key') === name, name);
    assert.equal(await key(name).getAttribute('aria-selected'), 'true', name);
    assert.equal(await key(name).getAttribute('title'), name);
  }
  assert.equal(await page.locator('img').count(), 0);
  await page.screenshot({ path: join(artefacts, 'keys-hostile.png') });
  await page.getByTestId('view-tree').click();
  await folder('hostile/a/').waitFor();
  await page.goto(`${node.url}/ui/keys?key=${encodeURIComponent('hostile/a//b')}`);
  await key('hostile/a//b').waitFor();
  await page.goto(`${node.url}/ui/keys?prefix=${encodeURIComponent('hostile/')}`);
  await page.getByTestId('prefix-delete').click();
  await page.getByTestId('confirm-name').fill('hostile/');
  await page.getByTestId('confirm').click();
  await page.waitForFunction((said) => document.querySelector('[data-testid="erase-said"]')?.textContent === said, `Deleted ${HOSTILE.length} keys.`);
  assert.deepEqual((await list('hostile/')).keys, []);
  assert.equal(dialogs, 0);
  assert.deepEqual(complaints, []);
  await close();
});

test('KV-2 a list of 100,000 keys', async () => {
  const filled = await fill('bulk/', MANY);
  const { page, complaints, close, folder, key, scope } = await openKeys();
  await folder('bulk/').waitFor();
  const tasks = await longTasks(page);
  const firstRows = await page.evaluate(() => new Promise((resolve) => {
    const began = performance.now();
    document.querySelector('[data-prefix="bulk/"]').click();
    const look = () => (document.querySelector('[data-key="bulk/000000"]') ? resolve(performance.now() - began) : requestAnimationFrame(look));
    look();
  }));
  const loading = Date.now();
  await scope(/of 100,\d{3} loaded|^100,\d{3} keys/);
  await scope(/^100,\d{3} keys *(Delete.*)?$/);
  const loaded = Date.now() - loading;
  const set = await key('bulk/000003').evaluate(({ ariaSetSize, ariaPosInSet }) => [ariaSetSize, ariaPosInSet]);
  assert.deepEqual(set, ['100000', '4']);
  const rowCount = await page.getByTestId('key-list').getAttribute('aria-rowcount');
  assert.ok(Number(rowCount) > MANY, rowCount);

  // To the end and back, a screen at a time and in leaps, looking at every frame.
  const scrolled = await page.evaluate((most) => new Promise((resolve) => {
    const list = document.querySelector('[data-testid="key-list"]');
    const end = list.scrollHeight - list.clientHeight;
    const steps = [];
    for (let step = 1; step <= 20; step += 1) steps.push(step * list.clientHeight);
    for (let step = 1; step <= 100; step += 1) steps.push((end * step) / 100);
    const all = [...steps, ...steps.toReversed(), 0];
    let [blankSince, blank, rows, last, slowest] = [undefined, 0, 0, performance.now(), 0];
    const look = () => {
      const now = performance.now();
      slowest = Math.max(slowest, now - last);
      last = now;
      const box = list.getBoundingClientRect();
      const made = [...list.querySelectorAll('[role=row]')].map((row) => row.getBoundingClientRect());
      rows = Math.max(rows, made.length);
      const covers = (y) => made.some(({ top, bottom }) => top <= y && bottom >= y);
      const isWhole = [box.top + 4, (box.top + box.bottom) / 2, box.bottom - 4].every(covers);
      if (isWhole) blankSince = undefined;
      else {
        blankSince ??= now;
        blank = Math.max(blank, now - blankSince);
      }
      if (all.length === 0) return resolve({ blank, rows, slowest });
      list.scrollTop = all.shift();
      requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
  }), MOST_ROWS);

  // The keyboard: one row is in the order of the Tab key, and it moves.
  const active = () => page.evaluate(() => document.activeElement?.dataset.key ?? document.activeElement?.dataset.prefix);
  const is = (name) => page.waitForFunction((name) => (document.activeElement?.dataset.key ?? document.activeElement?.dataset.prefix) === name, name);
  await folder('bulk/').focus();
  await page.keyboard.press('ArrowDown');
  await is('bulk/000000');
  await page.keyboard.press('j');
  await page.keyboard.press('j');
  await page.keyboard.press('k');
  await is('bulk/000001');
  await page.keyboard.press('PageDown');
  await page.waitForFunction(() => Number(document.activeElement?.dataset.key?.slice(5)) > 5);
  const paged = await active();
  await page.keyboard.press('PageUp');
  await is('bulk/000001');
  assert.equal(await page.locator('[role=row][tabindex="0"]').count(), 1);
  await page.keyboard.press('End');
  await is('zoo/');
  await page.keyboard.press('ArrowUp');
  await page.waitForFunction(() => document.activeElement?.dataset.prefix !== 'zoo/');
  await page.keyboard.press('Home');
  await is('app/');
  const most = await page.getByTestId('key-list').evaluate((list) => list.querySelectorAll('[role=row]').length);

  const slow = Math.max(0, ...(await tasks()));
  console.log(`KV-2: ${MANY} keys put in ${filled} ms; first rows after ${firstRows.toFixed(0)} ms, all loaded after ${loaded} ms; ` +
    `at most ${Math.max(scrolled.rows, most)} rows; blank for at most ${scrolled.blank.toFixed(0)} ms, slowest frame ${scrolled.slowest.toFixed(0)} ms; ` +
    `longest task ${slow.toFixed(0)} ms; PageDown went to ${paged}`);
  assert.ok(firstRows < FIRST_ROWS_MS, `first rows after ${firstRows} ms`);
  assert.ok(scrolled.rows <= MOST_ROWS && most <= MOST_ROWS, `${scrolled.rows} rows`);
  assert.ok(scrolled.blank <= BLANK_MS, `blank for ${scrolled.blank} ms`);
  assert.deepEqual(complaints, []);
  await close();
});

test('KV-13 more keys than one request takes are deleted in parts, until somebody says stop', async () => {
  const { page, complaints, close, folder } = await openKeys('?prefix=bulk/');
  await page.getByTestId('prefix-delete').click();
  await page.waitForFunction(() => /^100,000 keys, in parts/.test(document.querySelector('[data-testid="erase-count"]')?.textContent));
  await page.getByTestId('confirm-name').fill('bulk/');
  await page.getByTestId('confirm').click();
  await page.waitForFunction(() => document.querySelector('.keys-erasing progress')?.value > 1_000);
  await page.screenshot({ path: join(artefacts, 'keys-erasing.png') });
  await page.getByTestId('erase-stop').click();
  const said = page.getByTestId('erase-said');
  await page.waitForFunction(() => /^Stopped/.test(document.querySelector('[data-testid="erase-said"]')?.textContent));
  const [, deleted] = (await said.textContent()).replaceAll(',', '').match(/^Stopped\. Deleted (\d+) of 100000 keys\.$/);
  const { count } = await call(node, 'GET', '/api/keys?prefix=bulk/&limit=1&count=true&keys=true');
  assert.equal(count, MANY - Number(deleted));
  await page.getByTestId('erase-close').click();
  await eventually('the list has as many', async () =>
    (await page.getByTestId('key-scope').textContent()).replaceAll(',', '').includes(`${count} keys`));
  assert.equal(await folder('bulk/').count(), 0);
  assert.deepEqual(complaints, []);
  await close();
});

test('G-7 MO the screen breaks no rule of accessibility and fits, in either theme', async () => {
  const { page, close, key } = await openKeys('?open=app/', { bypassCSP: true });
  /** Checks what the page shows at both sizes, in both themes. */
  const check = async (name) => {
    for (const colorScheme of ['light', 'dark']) {
      for (const [width, height] of [[1280, 800], [360, 740]]) {
        await page.emulateMedia({ colorScheme });
        await page.setViewportSize({ width, height });
        await noSidewaysScroll(page);
        await page.waitForFunction(() => document.getAnimations().length === 0);
        assert.deepEqual(await axe(page), [], `${name} ${colorScheme} ${width}`);
        await page.screenshot({ path: join(artefacts, `keys-${name}-${colorScheme}-${width}.png`) });
      }
    }
  };
  await key('app/main').waitFor();
  await check('list');
  await page.getByTestId('key-new').click();
  await page.locator('dialog[open]').waitFor();
  await check('create');
  await page.keyboard.press('Escape');
  await page.getByTestId('key-search').fill('app/');
  await page.getByTestId('prefix-delete').click();
  await page.locator('dialog[open]').waitFor();
  await check('erase');
  await close();
});
