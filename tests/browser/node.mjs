// Starts real nodes for the browser tests: the binary of CONCLAVE_BIN on free ports, in a directory
// of their own. Nothing here sleeps for a fixed time to wait for a node; it asks until a deadline.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const READY_WITHIN_MS = 15_000;
const STOP_WITHIN_MS = 5_000;

/** A port that was free a moment ago. */
function freePort() {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    probe.listen(0, 'localhost', () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

/** Asks until `check` answers something true; says what it saw last when it never does. */
export async function eventually(what, check, withinMs = READY_WITHIN_MS) {
  const deadline = Date.now() + withinMs;
  let last;
  while (Date.now() < deadline) {
    try {
      last = await check();
      if (last) return last;
    } catch (error) {
      last = error;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`${what}: not within ${withinMs} ms; last seen: ${last}`);
}

/** Starts one node and waits until it is ready. */
export async function startNode(id) {
  const binary = process.env.CONCLAVE_BIN;
  if (!binary) throw new Error('CONCLAVE_BIN must name the server binary');
  const directory = mkdtempSync(join(tmpdir(), 'conclave-browser-'));
  const [http, raft] = [await freePort(), await freePort()];
  const args = ['-id', id, '-haddr', `localhost:${http}`, '-raddr', `localhost:${raft}`, directory];
  const child = spawn(binary, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  child.stdout.on('data', (chunk) => (output += chunk));
  child.stderr.on('data', (chunk) => (output += chunk));
  const ended = new Promise((resolve) => {
    child.once('exit', resolve);
    child.once('error', (error) => {
      output += error;
      resolve();
    });
  });

  const node = {
    id,
    url: `http://localhost:${http}`,
    /** Freezes the process: it keeps its connections and answers nothing. */
    freeze: () => child.kill('SIGSTOP'),
    thaw: () => child.kill('SIGCONT'),
    async stop() {
      child.kill('SIGCONT');
      child.kill('SIGTERM');
      const late = setTimeout(() => child.kill('SIGKILL'), STOP_WITHIN_MS);
      await ended;
      clearTimeout(late);
      rmSync(directory, { recursive: true, force: true });
    },
  };
  try {
    await eventually(`${id} ready`, async () => {
      if (child.exitCode !== null) throw new Error(`it ended with ${child.exitCode}`);
      return (await fetch(`${node.url}/readyz`)).ok;
    });
  } catch (error) {
    await node.stop();
    throw new Error(`${error.message}\n${output}`);
  }
  return node;
}
