// The shell round every screen: its palette, its keys, its theme, its rail.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { join } from 'node:path';
import { artefacts, axe, FAULTS, launch, live, noSidewaysScroll, open } from './browser.mjs';
import { call, eventually, startNode } from './node.mjs';

const SCREENS = ['overview', 'nodes', 'keys', 'locks', 'events', 'lab', 'metrics'];
const LETTERS = { o: 'overview', n: 'nodes', k: 'keys', l: 'locks', e: 'events', c: 'lab', m: 'metrics' };
const TELEPHONE = { width: 360, height: 740 };

let node;
let browser;

before(async () => {
  [node, browser] = await Promise.all([startNode('node0'), launch()]);
  await call(node, 'PUT', '/api/keys/motd', 'welcome');
});

after(async () => {
  await browser?.close();
  await node?.stop();
});

/** What is asked when a page is left or loaded anew gets no answer. */
const LEFT = /net::ERR_ABORTED/;

async function show(path = '', { allow = [], ...options } = {}) {
  const opened = await open(browser, `${node.url}/ui/${path}`, { ...options, allow: [LEFT, ...allow] });
  await live(opened.page);
  return opened;
}

const pathOf = (screen) => `/ui/${screen === 'overview' ? '' : screen}`;
const at = (page, screen) => page.waitForFunction((path) => location.pathname === path, pathOf(screen));
const palette = (page) => page.getByTestId('palette-input');
const isShown = (page) => palette(page).isVisible();

/** Opens the palette and types into it. */
async function ask(page, text) {
  await page.keyboard.press('Control+k');
  await palette(page).waitFor();
  await palette(page).fill(text);
}

const focused = (page, selector) => page.waitForFunction((selector) => document.activeElement?.matches(selector), selector);

test('G-2 what is shown is in the address: reload and Back bring it back', async () => {
  const { page, complaints, close } = await show('metrics?range=15m&table=keys');
  await page.getByTestId('table').waitFor();
  await page.getByTestId('nav-nodes').click();
  await at(page, 'nodes');
  assert.equal(await page.title(), 'Nodes · Conclave');
  await page.goBack();
  await page.getByTestId('table').waitFor();
  assert.equal(new URL(page.url()).search, '?range=15m&table=keys');
  await page.reload();
  await page.getByTestId('table').waitFor();
  assert.equal(await page.getByTestId('range-900').getAttribute('aria-current'), 'true');
  assert.deepEqual(complaints, []);
  await close();
});

test('G-3 a key with any name is reached by its name in the query', async () => {
  const { page, close } = await show('', { allow: FAULTS.concat(/404/) });
  for (const key of ['a/../b', '<i>&?#%2F', 'ключ']) {
    await ask(page, `key:${key}`);
    await page.keyboard.press('Enter');
    await page.waitForFunction((key) => new URLSearchParams(location.search).get('key') === key, key);
    assert.equal(new URL(page.url()).pathname, '/ui/keys');
  }
  await page.reload();
  await live(page);
  assert.equal(new URL(page.url()).searchParams.get('key'), 'ключ');
  await close();
});

test('G-4 the palette finds screens, nodes, keys and actions by a few letters', async () => {
  const { page, complaints, close } = await show('', { permissions: ['clipboard-read'], allow: [/404/] });
  await page.keyboard.press('Control+k');
  await focused(page, '[data-testid=palette-input]');
  assert.ok((await page.getByTestId('command').count()) > 12);
  assert.match(await page.getByTestId('command').filter({ hasText: 'Go to Keys' }).textContent(), /gk$/, 'it shows the shortcut');
  await palette(page).fill('evts');
  assert.match(await page.getByTestId('command').first().textContent(), /^Go to Events/);
  await page.keyboard.press('Enter');
  await at(page, 'events');
  await focused(page, 'main h1');

  // The arrows go round the list.
  await ask(page, 'go to');
  const chosen = () => page.locator('[data-testid=command][aria-selected=true]');
  const first = await chosen().textContent();
  await page.keyboard.press('ArrowDown');
  assert.notEqual(await chosen().textContent(), first);
  assert.equal(await palette(page).getAttribute('aria-activedescendant'), await chosen().getAttribute('id'));
  await page.keyboard.press('ArrowUp');
  assert.equal(await chosen().textContent(), first);
  await page.keyboard.press('Escape');
  await eventually('Esc closes it', async () => !(await isShown(page)));
  assert.equal(new URL(page.url()).pathname, '/ui/events');

  await ask(page, 'node0');
  await page.keyboard.press('Enter');
  await page.waitForFunction(() => location.pathname === '/ui/nodes' && location.search === '?node=node0');

  await ask(page, 'go to key…');
  await page.keyboard.press('Enter');
  assert.equal(await palette(page).inputValue(), 'key:');
  await page.keyboard.type('motd');
  await page.keyboard.press('Enter');
  await page.waitForFunction(() => location.pathname === '/ui/keys' && location.search === '?key=motd');

  await ask(page, 'copy link');
  await page.keyboard.press('Enter');
  await page.getByTestId('toast').waitFor();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), page.url());

  await ask(page, 'write probe');
  await page.keyboard.press('Enter');
  await at(page, 'lab');
  await eventually('the probe is written', async () => (await fetch(`${node.url}/api/keys/${encodeURIComponent('lab/probe')}`)).ok);
  await ask(page, 'dark');
  await page.keyboard.press('Enter');
  await page.waitForSelector('html[data-theme=dark]');
  assert.deepEqual(complaints, []);
  await close();
});

test('G-4 keys open screens, find the search field and list themselves', async () => {
  const { page, complaints, close } = await show('metrics');
  for (const [letter, screen] of Object.entries(LETTERS)) {
    await page.keyboard.press('g');
    await page.keyboard.press(letter);
    await at(page, screen);
    await focused(page, 'main h1');
  }
  await page.keyboard.press('?');
  const list = page.locator('dialog[open] .shortcuts');
  await list.waitFor();
  assert.match(await list.textContent(), /Search this screen/);
  await page.keyboard.press('g');
  await page.keyboard.press('k');
  assert.equal(new URL(page.url()).pathname, '/ui/metrics', 'no key works below an open layer');
  await page.keyboard.press('Escape');
  await list.waitFor({ state: 'detached' });
  await page.keyboard.press('g');
  await page.keyboard.press('e');
  await page.locator('main :is([data-search], input[type=search])').first().waitFor();
  await page.keyboard.press('/');
  await focused(page, 'main :is([data-search], input[type=search])');
  assert.deepEqual(complaints, []);
  await close();
});

test('G-4 no single key works while somebody types, and all can be switched off', async () => {
  const { page, complaints, close } = await show('events');
  await page.locator('main :is([data-search], input[type=search])').first().focus();
  await page.keyboard.type('gm?');
  assert.equal(new URL(page.url()).pathname, '/ui/events');
  assert.equal(await page.locator('dialog[open]').count(), 0);
  await page.keyboard.press('Control+k');
  await palette(page).waitFor();
  await page.keyboard.type('go m');
  await page.keyboard.press('Escape');

  await page.goto(`${node.url}/ui/`);
  await live(page);
  await page.getByTestId('open-shortcuts').click();
  await page.getByTestId('shortcuts-on').uncheck();
  await page.keyboard.press('Escape');
  for (const afterwards of ['now', 'after a reload']) {
    await page.keyboard.press('g');
    await page.keyboard.press('m');
    await page.keyboard.press('?');
    assert.equal(new URL(page.url()).pathname, '/ui/', afterwards);
    assert.equal(await page.locator('dialog[open]').count(), 0, afterwards);
    await page.reload();
    await live(page);
  }
  await page.keyboard.press('Control+k');
  await palette(page).waitFor();
  await palette(page).fill('shortcuts on');
  await page.keyboard.press('Enter');
  await eventually('keys work again', async () => {
    await page.keyboard.press('g');
    await page.keyboard.press('m');
    return new URL(page.url()).pathname === '/ui/metrics';
  });
  assert.deepEqual(complaints, []);
  await close();
});

test('G-5 the theme is kept, and set before the program runs', async () => {
  const { page, complaints, allow, close } = await show('', { colorScheme: 'light' });
  const ground = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  const light = await ground();
  const theme = page.getByTestId('theme');
  await theme.click();
  await page.waitForSelector('html[data-theme=light]');
  await theme.click();
  await page.waitForSelector('html[data-theme=dark]');
  const dark = await ground();
  assert.notEqual(dark, light);
  assert.match(await theme.textContent(), /Theme: dark/);

  assert.deepEqual(complaints, []);
  allow(/ERR_FAILED/, /Failed to fetch|dynamically imported/, /\.(js|wasm)/);
  await page.route(/\.(js|wasm)$/, (route) => route.abort());
  await page.reload({ waitUntil: 'domcontentloaded' });
  assert.equal(await page.locator('.boot').count(), 1, 'the program does not run');
  assert.equal(await ground(), dark, 'and the page is dark all the same');
  await page.unroute(/\.(js|wasm)$/);
  await page.reload();
  await live(page);
  await page.getByTestId('theme').click();
  await page.waitForSelector('html:not([data-theme])');
  assert.equal(await ground(), light);
  await close();
});

test('G-7 the keyboard reaches everything: skip link, one title a screen, a ring round what has the focus', async () => {
  const { page, complaints, close } = await show();
  await page.keyboard.press('Tab');
  await focused(page, '.skip');
  assert.ok((await page.locator('.skip').boundingBox()).y >= 0, 'it is in sight');
  await page.keyboard.press('Enter');
  await focused(page, 'main');
  for (const screen of SCREENS) {
    const item = page.getByTestId(`nav-${screen}`);
    await item.focus();
    await page.keyboard.press('Enter');
    await at(page, screen);
    await eventually(`${screen} has one title`, async () => (await page.locator('h1').count()) === 1);
    if (screen !== 'overview') await focused(page, 'main h1');
    assert.equal(await item.getAttribute('aria-current'), 'page');
  }
  await page.keyboard.press('Tab');
  await page.getByTestId('nav-keys').focus();
  const ring = await page.getByTestId('nav-keys').evaluate((item) => {
    const { outlineStyle, outlineWidth } = getComputedStyle(item);
    return [outlineStyle, outlineWidth];
  });
  assert.deepEqual(ring, ['solid', '2px']);
  assert.deepEqual(complaints, []);
  await close();
});

test('G-7 no screen and no layer breaks a rule of accessibility in either theme', async () => {
  for (const colorScheme of ['light', 'dark']) {
    const { page, close } = await show('', { colorScheme, bypassCSP: true, allow: [/404/] });
    for (const screen of SCREENS) {
      await page.getByTestId(`nav-${screen}`).click();
      await at(page, screen);
      await page.locator('main h1').waitFor();
      assert.deepEqual(await axe(page), [], `${screen}, ${colorScheme}`);
    }
    await ask(page, 'no');
    await eventually('it has come in', async () => (await palette(page).evaluate((e) => e.closest('dialog').getAnimations().length)) === 0);
    assert.deepEqual(await axe(page), [], `palette, ${colorScheme}`);
    await page.screenshot({ path: join(artefacts, `palette-${colorScheme}.png`) });
    await page.keyboard.press('Escape');
    await page.getByTestId('open-shortcuts').click();
    await page.locator('dialog[open] .shortcuts').waitFor();
    await eventually('it has come in', async () => (await page.locator('dialog[open]').evaluate((e) => e.getAnimations().length)) === 0);
    assert.deepEqual(await axe(page), [], `shortcuts, ${colorScheme}`);
    await close();
  }
});

test('MO a telephone has a bar of five and a sheet for the rest', async () => {
  const { page, complaints, close } = await show('', { viewport: TELEPHONE, hasTouch: true });
  const bar = page.locator('.rail > .rail-item');
  assert.equal(await bar.count(), 5);
  for (const box of await bar.evaluateAll((all) => all.map((item) => item.getBoundingClientRect().toJSON()))) {
    assert.ok(box.width >= 44 && box.height >= 44, JSON.stringify(box));
    assert.ok(box.bottom <= TELEPHONE.height);
  }
  const more = page.getByTestId('nav-more');
  const lab = page.getByTestId('nav-lab');
  assert.ok(!(await lab.isVisible()));
  await more.tap();
  await lab.waitFor();
  assert.equal(await more.getAttribute('aria-expanded'), 'true');
  await page.screenshot({ path: join(artefacts, 'shell-more-360.png') });
  await page.keyboard.press('Escape');
  await lab.waitFor({ state: 'hidden' });
  await focused(page, '[data-testid=nav-more]');
  await more.tap();
  await lab.tap();
  await at(page, 'lab');
  await lab.waitFor({ state: 'hidden' });
  assert.equal(await more.getAttribute('aria-current'), 'true');
  await more.tap();
  await page.getByTestId('open-palette').tap();
  await palette(page).waitFor();
  const sheet = await page.locator('dialog[open]').boundingBox();
  assert.deepEqual([sheet.width, sheet.height].map(Math.round), [TELEPHONE.width, TELEPHONE.height]);
  await page.locator('dialog[open]').getByText('Close').tap();
  for (const screen of SCREENS) {
    await page.getByTestId(`nav-${screen}`).evaluate((link) => link.click());
    await at(page, screen);
    await page.locator('main h1').waitFor();
    await noSidewaysScroll(page);
  }
  assert.deepEqual(complaints, []);
  await close();
});

test('MO between a telephone and a desk the rail is of icons whose words come with pointer and focus', async () => {
  const { page, close } = await show('', { viewport: { width: 800, height: 600 } });
  assert.equal(Math.round((await page.locator('.rail').boundingBox()).width), 56);
  const word = page.getByTestId('nav-keys').locator('.rail-word');
  const opacity = (expected) => eventually(`opacity ${expected}`, async () => (await word.evaluate((e) => getComputedStyle(e).opacity)) === expected);
  await opacity('0');
  await page.getByTestId('nav-keys').hover();
  await opacity('1');
  await page.mouse.move(400, 400);
  await opacity('0');
  await page.keyboard.press('Tab');
  await page.getByTestId('nav-keys').focus();
  await opacity('1');
  await page.setViewportSize({ width: 1_280, height: 800 });
  assert.equal(Math.round((await page.locator('.rail').boundingBox()).width), 200);
  await close();
});

test('the page prints without its frame, and holds still for those who want no motion', async () => {
  const { page, close } = await show('', { reducedMotion: 'reduce' });
  await page.keyboard.press('?');
  await page.locator('dialog[open]').waitFor();
  assert.equal(await page.locator('dialog[open]').evaluate((dialog) => getComputedStyle(dialog).animationDuration), '0s');
  await page.keyboard.press('Escape');
  await page.emulateMedia({ media: 'print' });
  assert.ok(!(await page.locator('.rail').isVisible()));
  assert.ok(await page.locator('main h1').isVisible());
  await close();
});
