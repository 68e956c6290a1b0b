// The links between the nodes of a cluster, which a test can cut. A TCP proxy stands in front of each
// node's peer port. It learns who dials from the first frame of a connection, in which the dialler
// says its name. Everything is as TCP has it: what a cut holds back flows on, in order, when it is
// healed, and a connection that is made meanwhile waits.
import { connect, createServer } from 'node:net';

/** Longest first frame: 4 bytes of length, then a magic word, ids and a name. */
const FIRST_BYTES = 1_024;

/** Returns links of nodes with these names; none of these may be a part of another. */
export function makeLinks(ids) {
  const connections = new Set();
  const servers = [];
  /** Pairs that are cut, as `a b`, both ways. */
  const cuts = new Set();
  const isCut = (one, other) => cuts.has(`${one} ${other}`);
  const update = () => {
    for (const connection of connections) connection.update();
  };

  return {
    /** Starts the proxy of a node that listens on `target`, and returns the port that others dial. */
    async add(id, port, target) {
      const accept = (socket) => {
        const connection = carry(socket, id, target, ids, isCut);
        connections.add(connection);
        connection.ended.then(() => connections.delete(connection));
      };
      // Whichever address of `localhost` a node tries; a machine without IPv6 has one.
      for (const host of ['127.0.0.1', '::1']) {
        const server = createServer({ allowHalfOpen: true, noDelay: true }, accept);
        await new Promise((resolve, reject) => {
          server.once('error', (error) => (error.code === 'EADDRINUSE' ? reject(error) : resolve()));
          server.listen(port, host, resolve);
        });
        servers.push(server);
      }
    },
    /** Holds back all that two nodes send each other, and connections between them. */
    cut(one, other) {
      cuts.add(`${one} ${other}`).add(`${other} ${one}`);
      update();
    },
    /** Takes all cuts away: what was held back flows on. */
    heal() {
      cuts.clear();
      update();
    },
    close() {
      for (const connection of connections) connection.break();
      for (const server of servers) server.close();
    },
  };
}

/** Carries one connection to the node `to`, whoever dialled it. */
function carry(dialling, to, target, ids, isCut) {
  let from;
  let listening;
  let over;
  const ended = new Promise((resolve) => (over = resolve));
  const sockets = () => [dialling, listening].filter(Boolean);
  const isHeld = () => isCut(from, to);

  const end = () => {
    for (const socket of sockets()) socket.resetAndDestroy();
    over();
  };
  /** A side that is gone is news to the other, which travels as the rest does. */
  const close = () => {
    if (isHeld()) return;
    if (sockets().some((socket) => socket.errored)) end();
    else if (sockets().every((socket) => socket.destroyed)) over();
    else for (const socket of sockets()) if (!socket.destroyed) socket.end();
  };
  const join = (source, sink) => {
    source.on('data', (bytes) => {
      if (!sink.write(bytes)) source.pause();
    });
    sink.on('drain', () => {
      if (!isHeld()) source.resume();
    });
    source.on('end', () => sink.end());
    source.on('error', () => {});
    source.on('close', close);
  };

  const early = [];
  let length = 0;
  const read = (bytes) => {
    early.push(bytes);
    length += bytes.length;
    if (length < 4) return;
    const bytesNow = Buffer.concat(early);
    const end = 4 + bytesNow.readUInt32BE(0);
    if (length < Math.min(end, FIRST_BYTES)) return;
    dialling.off('data', read);
    dialling.pause();
    const hello = bytesNow.subarray(4, end);
    from = ids.find((id) => hello.includes(id)) ?? 'nobody';
    connection.update();
  };
  const begin = () => {
    listening = connect({ port: target, host: 'localhost', allowHalfOpen: true, noDelay: true });
    join(dialling, listening);
    join(listening, dialling);
    for (const bytes of early) listening.write(bytes);
  };
  const connection = {
    ended,
    /** Stops or lets flow, as the cuts are now. */
    update() {
      if (from === undefined) return;
      if (isHeld()) {
        for (const socket of sockets()) socket.pause();
        return;
      }
      if (!listening) begin();
      for (const socket of sockets()) socket.resume();
      if (sockets().some((socket) => socket.destroyed)) close();
    },
    break: end,
  };
  dialling.on('data', read);
  dialling.on('error', () => {});
  dialling.on('close', () => {
    if (!listening) over();
  });
  return connection;
}
