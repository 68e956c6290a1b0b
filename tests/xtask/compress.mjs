// Puts a brotli and a gzip copy next to each file of the dashboard that gains by it, so that the
// server never compresses at run time. Node brings both codecs; a Rust one would cost every build.
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';

// Formats that are compressed already, and our own output.
const COMPRESSED = /\.(woff2|png|br|gz)$/;
// Below a packet's size a second copy saves nothing.
const SMALLEST = 512;

const dist = process.argv[2];
for (const name of readdirSync(dist, { recursive: true })) {
  const path = join(dist, name);
  if (!statSync(path).isFile() || COMPRESSED.test(name)) continue;
  const raw = readFileSync(path);
  if (raw.length < SMALLEST) continue;
  const params = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: raw.length };
  writeFileSync(`${path}.br`, brotliCompressSync(raw, { params }));
  writeFileSync(`${path}.gz`, gzipSync(raw, { level: 9 }));
}
