// The first page on one real node, under the real content security policy.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { artefacts, launch, open } from './browser.mjs';
import { startNode } from './node.mjs';

let node;
let browser;

before(async () => {
  node = await startNode('node0');
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await node?.stop();
});

const live = (page) => page.waitForSelector('body[data-stream="live"][data-leader="node0"]');

test('G-1 the page says which node answers, that it leads, and complains about nothing', async () => {
  const { page, complaints, close } = await open(browser, `${node.url}/ui/`);
  await live(page);
  assert.equal(await page.title(), 'Conclave');
  assert.equal(await page.getByTestId('node-name').textContent(), 'node0');
  assert.equal(await page.getByTestId('node-role').textContent(), 'leader');
  const row = page.locator('[data-testid="node-row"][data-node="node0"]');
  assert.equal(await row.getAttribute('data-role'), 'leader');
  assert.equal(await page.getByTestId('node-row').count(), 1);
  assert.deepEqual(complaints, []);
  await close();
});

test('a write shows on the open page', async () => {
  const { page, complaints, close } = await open(browser, `${node.url}/ui/`);
  await live(page);
  const seen = Number(await page.getAttribute('body', 'data-revision'));
  const answer = await fetch(`${node.url}/api/keys/x`, { method: 'PUT', body: 'value' });
  assert.ok(answer.ok, `PUT: ${answer.status} ${await answer.text()}`);
  await page.waitForFunction((seen) => Number(document.body.dataset.revision) > seen, seen);
  const revision = await page.getAttribute('body', 'data-revision');
  const shown = await page.getByTestId('revision').textContent();
  assert.equal(shown.replaceAll(',', ''), revision);
  assert.deepEqual(complaints, []);
  await close();
});

test('F-6 a node that answers no more is said to be silent, and heard again', async () => {
  const { page, close } = await open(browser, `${node.url}/ui/`);
  await live(page);
  node.freeze();
  try {
    await page.waitForSelector('body[data-stream="reconnecting"]');
    const silence = page.getByTestId('silence');
    await page.waitForFunction((e) => /no answer for \d+ s/.test(e.textContent), await silence.elementHandle());
    await page.screenshot({ path: join(artefacts, 'overview-silent.png') });
  } finally {
    node.thaw();
  }
  await live(page);
  assert.equal(await page.getByTestId('silence').textContent(), '');
  await close();
});

test('MO the page fits a desk and a telephone in both themes', async () => {
  for (const colorScheme of ['light', 'dark']) {
    for (const [width, height] of [[1280, 800], [390, 844]]) {
      const { page, close } = await open(browser, `${node.url}/ui/`, { colorScheme, viewport: { width, height } });
      await live(page);
      const [inner, content] = await page.evaluate(() => [innerWidth, document.documentElement.scrollWidth]);
      assert.ok(content <= inner, `${content} px of content in ${inner} px`);
      await page.screenshot({ path: join(artefacts, `overview-${colorScheme}-${width}.png`) });
      await close();
    }
  }
});

test('G-7 the page breaks no rule of accessibility in either theme', async () => {
  const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
  for (const colorScheme of ['light', 'dark']) {
    // The policy would refuse the checker itself; every other test runs under it.
    const { page, close } = await open(browser, `${node.url}/ui/`, { colorScheme, bypassCSP: true });
    await live(page);
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => globalThis.axe.run());
    assert.deepEqual(violations.map(({ id, nodes }) => [id, nodes.map((one) => one.html)]), []);
    await close();
  }
});

test('any page of the dashboard can be opened by its address', async () => {
  const { page, complaints, close } = await open(browser, `${node.url}/ui/nodes/deep`);
  await live(page);
  assert.deepEqual(complaints, []);
  await close();
});
