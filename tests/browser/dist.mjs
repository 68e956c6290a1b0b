// Pages from a folder instead of from the node: with CONCLAVE_UI_DIST, whoever works on the dashboard
// needs no new server for a new page. The node still decides whether a page is to be had, and under
// which policy; only the files, and the digests of the scripts in them, are the folder's.
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { extname, join, normalize } from 'node:path';

const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.wasm': 'application/wasm',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.woff2': 'font/woff2',
  '.json': 'application/json',
  '.webmanifest': 'application/json',
  '.txt': 'text/plain; charset=utf-8',
};
/** Longest wait for the node that a page is asked of. */
const ANSWERED_WITHIN_MS = 10_000;
/** Headers of the node's answer that the folder's has as well. */
const KEPT = ['x-content-type-options', 'referrer-policy', 'cross-origin-opener-policy'];

/** Serves `/ui/` of every node from a built dashboard, in all pages of a browser context. */
export async function serveFrom(context, folder) {
  if (!existsSync(join(folder, 'index.html'))) throw new Error(`no built dashboard in ${folder}`);
  // To the browser these pages come from nowhere, and such pages may not ask this machine.
  await context.grantPermissions(['local-network-access']);
  await context.route(({ pathname }) => pathname.startsWith('/ui/'), (route) => answer(route, folder));
}

async function answer(route, folder) {
  const { origin, pathname } = new URL(route.request().url());
  const name = decodeURIComponent(pathname.slice('/ui/'.length));
  const isPage = !name.split('/').at(-1).includes('.');
  const file = join(folder, normalize(`/${isPage ? 'index.html' : name}`));
  const headers = isPage ? await headersOf(origin, file) : {};
  if (!headers) return route.abort('connectionrefused');
  if (!existsSync(file) || !statSync(file).isFile()) {
    return route.fulfill({ status: 404, contentType: 'application/problem+json', body: '{"status":404}' });
  }
  headers['content-type'] = TYPES[extname(file)] ?? 'application/octet-stream';
  headers['cache-control'] = 'no-store';
  return route.fulfill({ status: 200, headers, body: readFileSync(file) });
}

/** The headers of the node's own page, with the digests of this one's scripts; none when it does not answer. */
async function headersOf(origin, file) {
  let said;
  try {
    const signal = AbortSignal.timeout(ANSWERED_WITHIN_MS);
    said = await fetch(`${origin}/ui/`, { method: 'HEAD', signal });
  } catch {
    return undefined;
  }
  const policy = said.headers.get('content-security-policy') ?? '';
  const scripts = inlineScripts(readFileSync(file, 'utf8'));
  const headers = { 'content-security-policy': policy.replace(/(script-src)[^;]*/, `$1 'self' 'wasm-unsafe-eval'${scripts}`) };
  for (const name of KEPT) headers[name] = said.headers.get(name) ?? '';
  return headers;
}

/** Source expressions of a page's inline scripts, each after a space, as the server's build has them. */
function inlineScripts(page) {
  const scripts = [...page.matchAll(/<script([^>]*)>([\s\S]*?)<\/script>/g)];
  const digest = (text) => createHash('sha256').update(text).digest('base64');
  return scripts.filter(([, tag]) => !tag.includes('src=')).map(([, , text]) => ` 'sha256-${digest(text)}'`).join('');
}
