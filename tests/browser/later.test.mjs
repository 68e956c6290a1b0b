// The screens that come after the first one in a file of their own, and what a page does without it.
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { FAULTS, launch, live, open } from './browser.mjs';
import { startNode } from './node.mjs';

/** The file of the later screens, as the release build names it. */
const FILE = /\/ui\/screens-[0-9a-f]{16}\.wasm$/;
/** What the page itself says of a file that it could not have. */
const MISSED = [/Failed to fetch|Failed to load resource|Failed to execute 'compile'|Incorrect response MIME type/, ...FAULTS];

/** Pages in work are one program; releases, which the gates test, are not. */
const dist = process.env.CONCLAVE_UI_DIST;
const isWhole = dist && !readdirSync(dist).some((name) => FILE.test(`/ui/${name}`));
const options = { skip: isWhole && 'these pages were not built by xtask' };

let node;
let browser;

before(async () => {
  [node, browser] = await Promise.all([startNode('node0'), launch()]);
});

after(async () => {
  await browser?.close();
  await node?.stop();
});

/** Opens an address once `prepare` has seen the blank page. */
async function openPrepared(path, prepare, options) {
  const opened = await open(browser, 'about:blank', options);
  await prepare(opened.page);
  await opened.page.goto(`${node.url}/ui/${path}`);
  return opened;
}

/** Waits for the title of a screen that has all of its content. */
function opened(page, word) {
  return page.waitForFunction((word) => {
    const main = document.querySelector('main');
    return main.querySelector('h1')?.textContent === word && !main.querySelector('[data-testid="opening"]');
  }, word);
}

test('the first screen is there without the others, which come by themselves', options, async () => {
  let release;
  const held = new Promise((resolve) => (release = resolve));
  const { page, complaints, close } = await openPrepared('', (page) =>
    page.route(FILE, async (route) => {
      await held;
      await route.fallback();
    }),
  );
  await live(page, 'node0');
  const asked = page.waitForResponse(FILE);
  await page.getByRole('heading', { level: 1 }).waitFor();
  await page.getByTestId('nav-keys').click();
  await page.getByTestId('opening').waitFor();
  await page.waitForFunction(() => document.activeElement?.matches('[data-testid="opening"] h1'));
  release();
  assert.equal((await asked).status(), 200);
  await opened(page, 'Keys');
  // Whoever waited at the title is at the screen's own title now.
  await page.waitForFunction(() => document.activeElement?.matches('main h1'));
  assert.deepEqual(complaints, []);
  await close();
});

test('a page that is cut off from its node still opens every screen', options, async () => {
  const { page, allow, close } = await openPrepared('', () => {});
  const came = page.waitForResponse(FILE);
  await (await came).finished();
  await live(page, 'node0');
  allow(...MISSED);
  await page.context().setOffline(true);
  for (const [screen, word] of [['nodes', 'Nodes'], ['keys', 'Keys'], ['locks', 'Locks'], ['events', 'Events'], ['lab', 'Lab'], ['metrics', 'Metrics']]) {
    await page.getByTestId(`nav-${screen}`).click();
    await opened(page, word);
  }
  await close();
});

for (const [title, fail] of [
  ['cannot be fetched', (route) => route.abort('connectionrefused')],
  ['is gone because the node was updated', (route) => route.fulfill({ status: 404, contentType: 'application/problem+json', body: '{}' })],
  ['is not what it should be', (route) => route.fulfill({ status: 200, contentType: 'application/wasm', body: 'something else' })],
]) {
  test(`a screen whose file ${title} says so and comes at the next try`, options, async () => {
    let fails = true;
    const { page, complaints, close } = await openPrepared(
      'locks',
      (page) => page.route(FILE, (route) => (fails ? fail(route) : route.fallback())),
      { allow: [...MISSED, /CompileError|TypeError/, FILE] },
    );
    const problem = page.getByTestId('problem');
    await problem.waitFor();
    assert.match(await problem.textContent(), /could not be loaded.*reload the page/s);
    assert.equal(await page.getByRole('heading', { level: 1 }).textContent(), 'Locks');
    // The rest of the page works.
    await page.getByTestId('nav-overview').click();
    await opened(page, 'Overview');
    await page.getByTestId('nav-locks').click();
    await problem.waitFor();
    fails = false;
    await page.getByTestId('retry').click();
    await opened(page, 'Locks');
    assert.equal(await problem.count(), 0);
    assert.deepEqual(complaints, []);
    await close();
  });
}
