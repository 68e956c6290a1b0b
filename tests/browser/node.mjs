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

/** Starts one node and waits until it is ready. `flags` come after the usual ones. */
export async function startNode(id, flags = []) {
  const binary = process.env.CONCLAVE_BIN;
  if (!binary) throw new Error('CONCLAVE_BIN must name the server binary');
  const directory = mkdtempSync(join(tmpdir(), 'conclave-browser-'));
  const [http, raft] = [await freePort(), await freePort()];
  const args = ['-id', id, '-haddr', `localhost:${http}`, '-raddr', `localhost:${raft}`, ...flags, directory];
  let child;
  let ended;
  let output = '';

  const spawnIt = () => {
    child = spawn(binary, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    child.stdout.on('data', (chunk) => (output += chunk));
    child.stderr.on('data', (chunk) => (output += chunk));
    ended = new Promise((resolve) => {
      child.once('exit', resolve);
      child.once('error', (error) => {
        output += error;
        resolve();
      });
    });
  };

  const node = {
    id,
    port: http,
    url: `http://localhost:${http}`,
    /** Freezes the process: it keeps its connections and answers nothing. */
    freeze: () => child.kill('SIGSTOP'),
    thaw: () => child.kill('SIGCONT'),
    /** Ends the process as `kill -9` does; its directory stays. */
    async kill() {
      child.kill('SIGKILL');
      await ended;
    },
    /** Starts it, with the directory and the ports that it has, and waits until it is ready. */
    async start() {
      spawnIt();
      await eventually(`${id} ready`, async () => {
        if (child.exitCode !== null) throw new Error(`it ended with ${child.exitCode}`);
        return (await fetch(`${node.url}/readyz`)).ok;
      });
    },
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
    await node.start();
  } catch (error) {
    await node.stop();
    throw new Error(`${error.message}\n${output}`);
  }
  return node;
}

/** Sends a request that must succeed, and returns the answer's JSON. */
export async function call(node, method, target, body) {
  const text = typeof body === 'object' ? JSON.stringify(body) : body;
  const headers = { accept: 'application/json' };
  const answer = await fetch(node.url + target, { method, headers, body: text });
  const said = await answer.text();
  if (!answer.ok) throw new Error(`${method} ${target}: ${answer.status} ${said}`);
  return JSON.parse(said);
}
