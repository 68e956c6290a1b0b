//! The proxy of one node: accepted connections, and the bytes that flow in each direction.

use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::net::{Shutdown, shutdown};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep_until};

use super::dialler::dialler;
use super::{ProcessId, Shared, lock};
use crate::cluster::Ports;

/// Bytes moved at once.
const PIECE: usize = 16 << 10;
/// Pieces held per direction of a connection, at most 4 MiB; then its sender cannot write.
const PIECES: usize = 256;
/// Bytes that a dialler can send before it is connected; then it cannot write.
const EARLY_BYTES: usize = 64 << 10;
/// Connections of one proxy; further ones are not accepted.
const CONNECTIONS: usize = 1_024;
/// When TCP sends a lost segment again.
const RETRANSMISSION: Duration = Duration::from_millis(200);

/// The listeners in front of one node.
pub(super) struct Proxy {
    shared: Shared,
    node: usize,
    ports: Ports,
    listeners: Vec<TcpListener>,
}

impl Proxy {
    /// Binds every address that `localhost` may have; a machine without IPv6 has one.
    pub(super) fn bind(shared: Shared, node: usize, ports: Ports) -> io::Result<Self> {
        let mut listeners = vec![TcpListener::bind((Ipv4Addr::LOCALHOST, ports.raft))?];
        match TcpListener::bind((Ipv6Addr::LOCALHOST, ports.raft)) {
            Ok(listener) => listeners.push(listener),
            Err(error) if error.kind() == ErrorKind::AddrInUse => return Err(error),
            Err(_no_ipv6) => {}
        }
        for listener in &listeners {
            listener.set_nonblocking(true)?;
        }
        Ok(Self {
            shared,
            node,
            ports,
            listeners,
        })
    }

    /// Accepts until it is aborted. The connections go on after it.
    pub(super) async fn run(self) {
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        let listeners = self.listeners.into_iter().map(|listener| {
            let listener = tokio::net::TcpListener::from_std(listener);
            listener.expect("a runtime with a driver")
        });
        let mut listeners: Vec<_> = listeners.collect();
        let last = listeners.pop().expect("an address is bound");
        let first = listeners.pop();
        loop {
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
                return;
            };
            let from_first = async {
                match &first {
                    Some(listener) => listener.accept().await,
                    None => std::future::pending().await,
                }
            };
            let accepted = tokio::select! {
                accepted = from_first => accepted,
                accepted = last.accept() => accepted,
            };
            // The client may have gone before it was accepted.
            let Ok((stream, client)) = accepted else {
                continue;
            };
            // Without it the proxy would add delays of its own.
            drop(stream.set_nodelay(true));
            let connection = serve(self.shared.clone(), self.node, self.ports, stream, client);
            tokio::spawn(async move {
                connection.await;
                drop(permit);
            });
        }
    }
}

/// How a connection ended.
enum End {
    /// Both sides have seen the other's end, or there were never two.
    Orderly,
    /// What is left of it is reset.
    Broken,
}

/// Serves one accepted connection to its end.
async fn serve(shared: Shared, to: usize, ports: Ports, dialling: TcpStream, client: SocketAddr) {
    let Ok(local) = dialling.local_addr() else {
        return;
    };
    let nodes: Vec<_> = lock(&shared.nodes).iter().map(ProcessId::get).collect();
    let found = tokio::task::spawn_blocking(move || dialler(client, local, &nodes));
    let Ok(Some(from)) = found.await else {
        return;
    };
    let mut rules = shared.rules.subscribe();
    let resets = rules.borrow_and_update().resets(from, to);
    let listening = OnceLock::new();
    let end = tokio::select! {
        biased;
        _ = rules.wait_for(|rules| rules.resets(from, to) != resets) => End::Broken,
        end = async {
            let Some(early) = handshake(&shared, from, to, &dialling).await else {
                return End::Orderly;
            };
            match connect(ports.listen).await {
                Ok(stream) => {
                    let listening = listening.get_or_init(|| stream);
                    carry(&shared, (from, &dialling), (to, listening), early).await
                }
                Err(_nobody_listens) => End::Broken,
            }
        } => end,
    };
    if matches!(end, End::Broken) {
        for stream in [Some(&dialling), listening.get()].into_iter().flatten() {
            // It may be closed already.
            drop(stream.set_zero_linger());
        }
    }
}

/// Waits until the two nodes can connect, and returns what the dialler has sent meanwhile; `None`
/// when it has given up.
async fn handshake(
    shared: &Shared,
    from: usize,
    to: usize,
    dialling: &TcpStream,
) -> Option<Vec<u8>> {
    let mut rules = shared.rules.subscribe();
    let mut early = Vec::new();
    loop {
        let has_room = early.len() < EARLY_BYTES;
        tokio::select! {
            biased;
            readable = dialling.readable(), if has_room => {
                readable.ok()?;
                match dialling.try_read_buf(&mut early) {
                    Ok(0) => return None,
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(_reset) => return None,
                }
            }
            healed = rules.wait_for(|rules| rules.connects(from, to)) => {
                healed.ok()?;
                return Some(early);
            }
        }
    }
}

/// Connects to whichever address of `localhost` the node has bound.
async fn connect(port: u16) -> io::Result<TcpStream> {
    let stream = match TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
        Ok(stream) => stream,
        Err(_) => TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await?,
    };
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Carries bytes both ways until both directions have ended, or one is reset.
async fn carry(
    shared: &Shared,
    (dialler, dialling): (usize, &TcpStream),
    (listener, listening): (usize, &TcpStream),
    early: Vec<u8>,
) -> End {
    let ended = AtomicUsize::new(0);
    let there = Direction {
        shared,
        nodes: (dialler, listener),
        source: dialling,
        target: listening,
        ended: &ended,
    };
    let back = Direction {
        shared,
        nodes: (listener, dialler),
        source: listening,
        target: dialling,
        ended: &ended,
    };
    let (send_there, receive_there) = mpsc::channel(PIECES);
    let (send_back, receive_back) = mpsc::channel(PIECES);
    tokio::select! {
        end = there.deliver(receive_there, send_back.clone()) => end,
        end = back.deliver(receive_back, send_there.clone()) => end,
        never = there.take(early, send_there) => match never {},
        never = back.take(Vec::new(), send_back) => match never {},
    }
}

/// What travels from one node to another.
enum Piece {
    Bytes(Vec<u8>),
    /// The sender writes no more.
    End,
    /// The sender's socket is gone.
    Reset,
}

/// A piece on its way.
struct Travelling {
    piece: Piece,
    /// When it arrives, unless it is held by a cut then.
    due: Instant,
}

/// One direction of a connection.
struct Direction<'a> {
    shared: &'a Shared,
    /// From, to.
    nodes: (usize, usize),
    source: &'a TcpStream,
    target: &'a TcpStream,
    /// Directions of this connection whose end was delivered.
    ended: &'a AtomicUsize,
}

impl Direction<'_> {
    /// Takes what the source writes, until it ends; then waits for ever.
    async fn take(&self, early: Vec<u8>, sender: mpsc::Sender<Travelling>) -> Infallible {
        let mut due = Instant::now();
        let mut buffer = vec![0; PIECE];
        let mut next = (!early.is_empty()).then_some(Piece::Bytes(early));
        loop {
            let piece = match next.take() {
                Some(piece) => piece,
                None => self.read(&mut buffer).await,
            };
            let is_last = !matches!(piece, Piece::Bytes(_));
            // In order: nothing overtakes what was sent before it.
            due = due.max(Instant::now() + self.travel_time());
            let sent = sender.send(Travelling { piece, due }).await;
            if is_last || sent.is_err() {
                return std::future::pending().await;
            }
        }
    }

    async fn read(&self, buffer: &mut [u8]) -> Piece {
        loop {
            let read = match self.source.readable().await {
                Ok(()) => self.source.try_read(buffer),
                Err(error) => Err(error),
            };
            match read {
                Ok(0) => return Piece::End,
                Ok(length) => return Piece::Bytes(buffer[..length].to_vec()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_gone) => return Piece::Reset,
            }
        }
    }

    fn travel_time(&self) -> Duration {
        let (from, to) = self.nodes;
        let rule = self.shared.rules.borrow().rule(from, to);
        if rule.loss > 0.0 && lock(&self.shared.random).chance(rule.loss) {
            rule.delay + RETRANSMISSION
        } else {
            rule.delay
        }
    }

    /// Delivers what was taken until the connection ends. `reverse` tells the source that the
    /// target is gone.
    async fn deliver(
        &self,
        mut pieces: mpsc::Receiver<Travelling>,
        reverse: mpsc::Sender<Travelling>,
    ) -> End {
        let mut is_gone = false;
        while let Some(Travelling { piece, due }) = pieces.recv().await {
            if due > Instant::now() {
                sleep_until(due).await;
            }
            self.passable().await;
            match piece {
                Piece::Bytes(_) if is_gone => {}
                Piece::Bytes(bytes) => {
                    if self.write(&bytes).await.is_err() {
                        is_gone = true;
                        let piece = Piece::Reset;
                        let due = Instant::now();
                        // Its receiver is there as long as this future is.
                        drop(reverse.send(Travelling { piece, due }).await);
                    }
                }
                Piece::End => {
                    is_gone |= shutdown(self.target, Shutdown::Write).is_err();
                    if self.ended.fetch_add(1, Ordering::SeqCst) == 1 {
                        return End::Orderly;
                    }
                }
                Piece::Reset => return End::Broken,
            }
        }
        End::Broken
    }

    /// Waits until this direction is not cut.
    async fn passable(&self) {
        let (from, to) = self.nodes;
        let mut rules = self.shared.rules.subscribe();
        // The sender is in `shared`: it does not go away.
        drop(rules.wait_for(|rules| !rules.is_cut(from, to)).await);
    }

    async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.passable().await;
            self.target.writable().await?;
            match self.write_now(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes under the lock of the rules: once a cut is made, nothing passes.
    fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
        let (from, to) = self.nodes;
        let rules = self.shared.rules.borrow();
        if rules.is_cut(from, to) {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.target.try_write(bytes)
    }
}
