// Free ports. They lie below the range from which the kernel takes the local ports of outgoing
// connections, so that nobody takes a node's port while the node is down, and beside those of the
// tests in Rust.
import { createServer } from 'node:net';

const FIRST = 16_100;
const COUNT = 4_900;
/** A process draws from its own part of them, so that files that run at a time do not meet. */
const PARTS = 35;
const PART = COUNT / PARTS;
const OWN = FIRST + (process.pid % PARTS) * PART;
const HOSTS = ['127.0.0.1', '::1'];
const given = new Set();

/** Returns a port that is free now and that nobody else in this process gets. */
export async function freePort() {
  for (let tries = 0; tries < 1_000; tries += 1) {
    const port = OWN + Math.floor(Math.random() * PART);
    if (given.has(port)) continue;
    given.add(port);
    const free = await Promise.all(HOSTS.map((host) => isFree(host, port)));
    if (free.every(Boolean)) return port;
  }
  throw new Error(`no free port between ${OWN} and ${OWN + PART}`);
}

/** A machine without IPv6 has nobody there. */
function isFree(host, port) {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', ({ code }) => resolve(code !== 'EADDRINUSE'));
    probe.listen(port, host, () => probe.close(() => resolve(true)));
  });
}
