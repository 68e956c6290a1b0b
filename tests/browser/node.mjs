// Starts real nodes for the browser tests: the binary of CONCLAVE_BIN on free ports, in a directory
// of their own. Nothing here sleeps for a fixed time to wait for a node; it asks until a deadline.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from './ports.mjs';

const READY_WITHIN_MS = 15_000;
const STOP_WITHIN_MS = 5_000;

/** Starts before it is said that ports cannot be had. */
const STARTS = 3;

/** The processes that run now. None outlives the tests, however these end. */
const running = new Set();
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1));

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
  for (let tries = 1; ; tries += 1) {
    const ports = { http: await freePort(), raft: await freePort() };
    const node = makeNode(id, ports, flags);
    try {
      await node.start();
      return node;
    } catch (error) {
      await node.stop();
      if (tries === STARTS || !/in use/i.test(node.output())) throw error;
    }
  }
}

/**
 * Returns a node that does not run yet. `ports` are `http`, `raft`, and `listen` when something else
 * has the port `raft`.
 */
export function makeNode(id, ports, flags = []) {
  const binary = process.env.CONCLAVE_BIN;
  if (!binary) throw new Error('CONCLAVE_BIN must name the server binary');
  const directory = mkdtempSync(join(tmpdir(), 'conclave-browser-'));
  const args = ['-id', id, '-haddr', `localhost:${ports.http}`, '-raddr', `localhost:${ports.raft}`];
  if (ports.listen) args.push('-rlisten', `localhost:${ports.listen}`);
  args.push(...flags, directory);
  let child;
  let ended;
  let output = '';

  const spawnIt = () => {
    const started = spawn(binary, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    child = started;
    running.add(started);
    started.stdout.on('data', (chunk) => (output += chunk));
    started.stderr.on('data', (chunk) => (output += chunk));
    ended = new Promise((resolve) => {
      const over = () => {
        running.delete(started);
        resolve();
      };
      started.once('exit', over);
      started.once('error', (error) => {
        output += error;
        over();
      });
    });
  };

  const node = {
    id,
    port: ports.http,
    url: `http://localhost:${ports.http}`,
    /** What it has printed. */
    output: () => output,
    /** Freezes the process: it keeps its connections and answers nothing. */
    freeze: () => child.kill('SIGSTOP'),
    thaw: () => child.kill('SIGCONT'),
    /** Ends the process as `kill -9` does; its directory stays. */
    async kill() {
      child.kill('SIGKILL');
      await ended;
    },
    /** Starts it, with the directory and the ports that it has, and does not wait. */
    spawn: spawnIt,
    /** Starts it, with the directory and the ports that it has, and waits until it is ready. */
    async start() {
      spawnIt();
      const isReady = async () => {
        if (child.exitCode !== null) throw new Error(`it ended with ${child.exitCode}`);
        return (await fetch(`${node.url}/readyz`)).ok;
      };
      await eventually(`${id} ready`, isReady).catch((error) => {
        throw new Error(`${error.message}\n${output}`);
      });
    },
    async stop() {
      if (child) {
        child.kill('SIGCONT');
        child.kill('SIGTERM');
        const late = setTimeout(() => child.kill('SIGKILL'), STOP_WITHIN_MS);
        await ended;
        clearTimeout(late);
      }
      rmSync(directory, { recursive: true, force: true });
    },
  };
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
