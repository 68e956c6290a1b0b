// A cluster of real nodes whose links a test can cut (see `links.mjs`). A test ends with `stop()`,
// also when it fails.
import { makeLinks } from './links.mjs';
import { call, eventually, makeNode } from './node.mjs';
import { freePort } from './ports.mjs';

/** Longest time for an election, or for members to agree, on a busy machine. */
export const AGREED_WITHIN_MS = 20_000;
/** Longest wait for one node's own view; it never waits for others. */
const STATUS_WITHIN_MS = 1_000;
/** A port may be taken between the moment it was seen free and the start. */
const STARTS = 3;

/**
 * Starts `size` nodes, `node0` and so on, all of them voters, and waits until each of them knows that.
 * `flags` go to all of them.
 */
export async function startCluster({ size = 3, flags = [] } = {}) {
  for (let tries = 1; ; tries += 1) {
    let cluster;
    try {
      cluster = await makeCluster(size, flags);
      await cluster.form();
      return cluster;
    } catch (error) {
      await cluster?.stop();
      console.log(`no cluster at attempt ${tries}: ${error.message}`);
      if (tries === STARTS || !/in use/i.test(error.message)) throw error;
    }
  }
}

async function makeCluster(size, flags) {
  const ids = Array.from({ length: size }, (_, at) => `node${at}`);
  const links = makeLinks(ids);
  const nodes = [];
  /** Nodes that run and answer. */
  const awake = new Set();
  /** Nodes that are cut from all others. */
  const alone = new Set();

  const byId = (id) => {
    const node = nodes.find((node) => node.id === id);
    if (!node) throw new Error(`there is no ${id}`);
    return node;
  };
  const status = async (id) => {
    const answer = await fetch(`${byId(id).url}/api/status`, { signal: AbortSignal.timeout(STATUS_WITHIN_MS) });
    if (!answer.ok) throw new Error(`${id}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  };
  /** What the nodes that run say of themselves. */
  const statuses = async () => {
    const asked = await Promise.allSettled([...awake].map(status));
    return asked.filter(({ status }) => status === 'fulfilled').map(({ value }) => value);
  };

  for (const id of ids) {
    const ports = { http: await freePort(), raft: await freePort(), listen: await freePort() };
    await links.add(id, ports.raft, ports.listen).catch((error) => {
      links.close();
      throw error;
    });
    const join = nodes.length > 0 ? ['-join', `localhost:${nodes[0].port}`] : [];
    nodes.push(makeNode(id, ports, [...join, ...flags]));
  }

  const cluster = {
    ids,
    nodes,
    node: byId,
    status,

    async form() {
      for (const { id } of nodes) await cluster.start(id);
      await eventually(`${size} voters`, async () => {
        const said = await statuses();
        const isWhole = ({ members, leader }) => leader && members.filter(({ voter }) => voter).length === size;
        if (said.length === size && said.every(isWhole)) return true;
        throw new Error(said.map(({ node, members }) => `${node} knows ${JSON.stringify(members)}`).join('; '));
      }, AGREED_WITHIN_MS);
    },

    /** Cuts a node from one other, or from all others: both ways, new connections too. */
    cut(id, other) {
      for (const peer of other ? [other] : ids.filter((peer) => peer !== id)) links.cut(byId(id).id, byId(peer).id);
      if (!other) alone.add(id);
    },
    /** Takes all cuts away. */
    heal() {
      alone.clear();
      links.heal();
    },
    /** Ends a node as `kill -9` does; its directory stays. */
    async kill(id) {
      awake.delete(id);
      await byId(id).kill();
    },
    /** Starts a node with the directory and the ports that it has, and waits until it is ready. */
    async start(id) {
      await byId(id).start();
      awake.add(id);
    },
    /** Starts a node that cannot be ready, because it finds no leader, and waits until it answers. */
    async startUnready(id) {
      byId(id).spawn();
      await eventually(`${id} answers`, () => status(id));
      awake.add(id);
    },
    /** Freezes a node: it keeps its connections and answers nothing. */
    freeze(id) {
      awake.delete(id);
      byId(id).freeze();
    },
    thaw(id) {
      byId(id).thaw();
      awake.add(id);
    },

    /** The node that says it leads, in the newest term, or `undefined`. Nodes that are cut off count. */
    async leader() {
      const leading = (await statuses()).filter(({ role }) => role === 'leader');
      return leading.toSorted((a, b) => b.term - a.term)[0]?.node;
    },
    /** Waits until a node other than `not` leads and a majority of all knows it; returns its name. */
    async waitForLeader({ not } = {}) {
      return eventually(`a leader${not ? ` other than ${not}` : ''}`, async () => {
        const said = await statuses();
        const leads = ({ node, role, term }) =>
          role === 'leader' && node !== not && said.filter((s) => s.leader === node && s.term === term).length > size / 2;
        return said.find(leads)?.node;
      }, AGREED_WITHIN_MS);
    },
    /** Waits until a node has applied all that the leader has. */
    async caughtUp(id) {
      await eventually(`${id} has caught up`, async () => {
        const leader = await cluster.leader();
        if (!leader) return false;
        const { revision } = await status(leader);
        return (await status(id)).revision >= revision;
      }, AGREED_WITHIN_MS);
    },
    /**
     * Sends a request that must succeed and returns the answer's JSON. It goes to `via`, or to the
     * first node that runs and is not cut off.
     */
    api(method, path, body, via) {
      const id = via ?? ids.find((id) => awake.has(id) && !alone.has(id));
      return call(byId(id), method, path, body);
    },
    async stop() {
      links.heal();
      await Promise.all(nodes.map((node) => node.stop()));
      links.close();
    },
  };
  return cluster;
}
