// Opens pages in Debian's Chromium and keeps what the browser complains about.
import { mkdirSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

// The sandbox needs rights that a container's root has not; the rest keeps the browser off the
// network.
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** Where screenshots go: CONCLAVE_ARTEFACTS, or a temporary folder. */
export const artefacts = process.env.CONCLAVE_ARTEFACTS ?? mkdtempSync(join(tmpdir(), 'conclave-shots-'));
mkdirSync(artefacts, { recursive: true });

/** A name that the browser takes for a host elsewhere. It is this machine. */
export const ELSEWHERE = 'conclave.test';

export function launch() {
  const executablePath = process.env.CONCLAVE_CHROMIUM ?? '/usr/bin/chromium';
  const args = [...FLAGS, `--host-resolver-rules=MAP ${ELSEWHERE} 127.0.0.1`];
  return chromium.launch({ executablePath, headless: true, args });
}

/** Opens a page in a fresh profile. `complaints` fills with errors of the console and the page. */
export async function open(browser, url, options = {}) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const complaints = [];
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('requestfailed', (request) => complaints.push(`${request.url()}: ${request.failure()?.errorText}`));
  await page.goto(url);
  return { page, complaints, close: () => context.close() };
}
