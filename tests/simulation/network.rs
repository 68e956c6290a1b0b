//! Messages between the simulated nodes: delayed, lost, held back by cuts and delivered late, as TCP
//! may do. A message that has left is delivered, or not, whether or not anybody still waits for its
//! answer.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use conclave_server::node::{
    BeatReceiver, BeatSender, CallError, Consensus, MakeInvitation, Node, PeerClient, PeerHandler,
    PeerReply, PeerRequest, ServiceError,
};
use conclave_server::raft::{Member, NodeId, TypeConfig, Vote};
use conclave_server::runtime;
use conclave_server::storage::{Raft, Snapshot, SnapshotFile, Snapshots};
use futures::future::BoxFuture;
use openraft::OptionalSend;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use crate::random;

/// One running process.
#[derive(Clone)]
pub(crate) struct Process {
    /// Never the same for two processes.
    pub(crate) number: u64,
    pub(crate) node: Node,
    pub(crate) raft: Raft,
    pub(crate) snapshots: Snapshots,
    /// The receiving ends of heartbeat connections.
    beats: Arc<Mutex<BTreeMap<u64, BeatReceiver>>>,
}

impl Process {
    pub(crate) fn new(number: u64, node: Node, raft: Raft, snapshots: Snapshots) -> Self {
        Self {
            number,
            node,
            raft,
            snapshots,
            beats: Arc::default(),
        }
    }
}

#[derive(Default)]
struct Inner {
    /// Those that answer.
    processes: Mutex<BTreeMap<NodeId, Process>>,
    /// Number of each node's living process, which may not answer yet.
    alive: Mutex<BTreeMap<NodeId, u64>>,
    /// Ordered pairs whose messages are held or lost.
    cuts: Mutex<BTreeSet<(NodeId, NodeId)>>,
    /// Nodes whose messages take much longer.
    slow: Mutex<BTreeSet<NodeId>>,
    healed: Notify,
    connections: AtomicU64,
}

/// The network of one run; clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Network(Arc<Inner>);

/// The message is gone.
struct Lost;

impl Network {
    /// Lets a new process of a node send.
    pub(crate) fn connect(&self, id: NodeId, number: u64) {
        self.0.alive.lock().insert(id, number);
    }

    /// Lets a connected process answer.
    pub(crate) fn start(&self, id: NodeId, process: Process) {
        self.0.processes.lock().insert(id, process);
    }

    /// Cuts a crashed process off: nothing comes from it or to it any more.
    pub(crate) fn stop(&self, id: NodeId) -> Option<Process> {
        self.0.alive.lock().remove(&id);
        self.0.processes.lock().remove(&id)
    }

    /// Tells the others that a node's connections have ended, as the kernel of a crashed process does.
    pub(crate) fn end_connections(&self, id: NodeId, all: &[NodeId]) {
        for &other in all.iter().filter(|other| **other != id) {
            let network = self.clone();
            runtime::detach(async move {
                if network.hop(id, other).await.is_ok()
                    && let Some(process) = network.process(other)
                {
                    process.node.heartbeats_ended(id).await;
                }
            });
        }
    }

    pub(crate) fn process(&self, id: NodeId) -> Option<Process> {
        self.0.processes.lock().get(&id).cloned()
    }

    pub(crate) fn cut(&self, from: NodeId, to: NodeId) {
        self.0.cuts.lock().insert((from, to));
    }

    pub(crate) fn slow_down(&self, id: NodeId) {
        self.0.slow.lock().insert(id);
    }

    pub(crate) fn heal(&self) {
        self.0.cuts.lock().clear();
        self.0.slow.lock().clear();
        self.0.healed.notify_waiters();
    }

    fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        self.0.cuts.lock().contains(&(from, to))
    }

    /// One message's way.
    async fn hop(&self, from: NodeId, to: NodeId) -> Result<(), Lost> {
        let slow = self.0.slow.lock().iter().any(|id| [from, to].contains(id));
        let longest = if slow { 80_000 } else { 2_000 };
        runtime::sleep(Duration::from_micros(50 + random::below(longest))).await;
        if random::once_in(200) {
            return Err(Lost);
        }
        while self.is_cut(from, to) {
            // Half of what a cut meets is sent again by TCP when it is healed.
            if random::once_in(2) {
                return Err(Lost);
            }
            self.0.healed.notified().await;
        }
        Ok(())
    }
}

/// One process' end of the network.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) network: Network,
    pub(crate) id: NodeId,
    /// Number of the process.
    pub(crate) number: u64,
}

impl Endpoint {
    pub(crate) fn is_alive(&self) -> bool {
        self.network.0.alive.lock().get(&self.id) == Some(&self.number)
    }

    /// Sends a message and waits for its answer.
    async fn exchange<T, F>(
        &self,
        to: NodeId,
        limit: Duration,
        serve: impl FnOnce(Process) -> F + Send + 'static,
    ) -> Result<T, Lost>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        if !self.is_alive() {
            return Err(Lost);
        }
        let (answer, answered) = oneshot::channel();
        let (network, from) = (self.network.clone(), self.id);
        runtime::detach(async move {
            let way = async {
                network.hop(from, to).await?;
                let process = network.process(to).ok_or(Lost)?;
                let number = process.number;
                let result = serve(process).await;
                network.hop(to, from).await?;
                // What a crashed process said never left it.
                let alive = network.process(to).is_some_and(|p| p.number == number);
                if alive { Ok(result) } else { Err(Lost) }
            };
            if let Ok(result) = way.await {
                // Nobody may wait for it any more.
                drop(answer.send(result));
            }
        });
        match runtime::timeout(limit, answered).await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(_)) | Err(runtime::Elapsed) => Err(Lost),
        }
    }
}

impl PeerClient for Endpoint {
    fn call(
        &self,
        to: NodeId,
        request: PeerRequest,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<Result<PeerReply, ServiceError>, CallError>> {
        Box::pin(async move {
            let cut = self.network.is_cut(self.id, to) || self.network.is_cut(to, self.id);
            let down = self.network.process(to).is_none();
            // Without a connection it cannot be sent; with one, nobody can tell.
            if (cut || down) && random::once_in(2) {
                runtime::sleep(Duration::from_millis(5)).await;
                return Err(CallError::NotSent("cannot connect".to_owned()));
            }
            let from = self.id;
            let serve =
                move |process: Process| async move { process.node.handle(from, request).await };
            let answer = self.exchange(to, timeout, serve).await;
            answer.map_err(|Lost| CallError::Lost("no answer".to_owned()))
        })
    }

    fn invite(
        &self,
        _raft_address: String,
        _make: MakeInvitation,
    ) -> BoxFuture<'_, Result<(Member, NodeId), ServiceError>> {
        Box::pin(async { Err(ServiceError::Internal("not simulated".to_owned())) })
    }
}

/// Makes openraft's clients.
#[derive(Clone)]
pub(crate) struct Links {
    pub(crate) endpoint: Endpoint,
    /// Known once Raft is there.
    pub(crate) consensus: Arc<std::sync::OnceLock<Consensus>>,
}

impl RaftNetworkFactory<TypeConfig> for Links {
    type Network = Link;

    async fn new_client(&mut self, to: NodeId, _member: &Member) -> Link {
        Link {
            links: self.clone(),
            to,
            connection: None,
        }
    }
}

/// One of openraft's clients of one member.
pub(crate) struct Link {
    links: Links,
    to: NodeId,
    /// Taken out during a heartbeat and put back after its answer.
    connection: Option<(u64, BeatSender)>,
}

type RpcError = RPCError<TypeConfig>;

fn unreachable(error: &io::Error) -> RpcError {
    RPCError::Unreachable(Unreachable::new(error))
}

fn lost() -> RpcError {
    unreachable(&io::ErrorKind::TimedOut.into())
}

impl Link {
    async fn exchange<T, E, F>(
        &self,
        option: &RPCOption,
        serve: impl FnOnce(Process) -> F + Send + 'static,
    ) -> Result<T, RpcError>
    where
        T: Send + 'static,
        E: ToString + Send + 'static,
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        let endpoint = &self.links.endpoint;
        let answer = endpoint.exchange(self.to, option.soft_ttl(), serve).await;
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(unreachable(&io::Error::other(error.to_string()))),
            Err(Lost) => Err(lost()),
        }
    }
}

impl RaftNetworkV2<TypeConfig> for Link {
    type SnapshotData = SnapshotFile;

    /// Heartbeats and appends alike; each carries what a heartbeat does.
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RpcError> {
        let network = &self.links.endpoint.network.0;
        let (connection, mut sender) = self.connection.take().unwrap_or_else(|| {
            let number = network.connections.fetch_add(1, Ordering::Relaxed);
            (number, BeatSender::default())
        });
        let beat = sender.next(|| self.links.consensus.get()?.vouch());
        let commit = rpc.leader_commit.map_or(0, |id| id.index());
        let serve = move |process: Process| async move {
            let arrived = conclave_server::clock::now();
            let reply = process.raft.append_entries(rpc).await;
            let contact = process.node.contact();
            let mut beats = process.beats.lock();
            let receiver = beats.entry(connection).or_default();
            if reply
                .as_ref()
                .is_ok_and(|reply| !matches!(reply, AppendEntriesResponse::HigherVote(_)))
            {
                contact.heard(arrived, commit);
                receiver.received(beat, &contact);
            }
            receiver.replying();
            reply
        };
        let reply = self.exchange(&option, serve).await?;
        sender.replied();
        self.connection = Some((connection, sender));
        Ok(reply)
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        let serve = |process: Process| async move { process.raft.vote(rpc).await };
        self.exchange(&option, serve).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        let serve = |process: Process| async move { process.raft.pre_vote(rpc).await };
        self.exchange(&option, serve).await
    }

    async fn transfer_leader(
        &mut self,
        rpc: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RpcError> {
        let serve =
            |process: Process| async move { process.raft.handle_transfer_leader(rpc).await };
        self.exchange(&option, serve).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let serve = move |process: Process| async move {
            let received = receive(&process.snapshots, &snapshot.snapshot);
            let file = received.map_err(|error| error.to_string())?;
            let snapshot = Snapshot {
                meta: snapshot.meta,
                snapshot: file,
            };
            let installed = process.raft.install_full_snapshot(vote, snapshot).await;
            installed.map_err(|error| error.to_string())
        };
        let transfer = self.exchange(&option, serve);
        tokio::select! {
            biased;
            closed = cancel => Err(StreamingError::Closed(closed)),
            result = transfer => result.map_err(|_error| {
                StreamingError::Unreachable(Unreachable::from_string("snapshot not delivered"))
            }),
        }
    }
}

/// Copies a snapshot as its receiver does.
fn receive(snapshots: &Snapshots, sent: &SnapshotFile) -> io::Result<SnapshotFile> {
    let mut incoming = snapshots.begin()?;
    let mut buffer = vec![0; 64 << 10];
    let mut position = 0;
    loop {
        let read = sent.read_at(&mut buffer, position)?;
        if read == 0 {
            return incoming.finish(sent.bytes);
        }
        incoming.write(&buffer[..read])?;
        position += read as u64;
    }
}
