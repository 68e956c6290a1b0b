//! openraft's network over the peer protocol: append sessions, control calls, snapshots.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::stream::SplitSink;
use futures::{SinkExt, Stream, StreamExt};
use openraft::OptionalSend;
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2, stream_append_sequential};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

use super::connect::Dialler;
use super::wire::{
    AppendReply, Connection, ControlReply, ControlRequest, Heartbeat, LocalNode, Purpose, decode,
    encode, receive, send, within,
};
use super::{Addresses, snapshot_transfer};
use crate::node::{BeatSender, FullDisks, Vouch};
use crate::raft::{Member, NodeId, TypeConfig, Vote};
use crate::storage::{Snapshot, SnapshotFile};

/// Unanswered requests on one append connection.
const IN_FLIGHT: usize = 64;
/// Time for which news of a commit waits for entries to go with. While writes follow each other that
/// spares each follower a request per batch; otherwise it learns of a commit so much later.
const COMMIT_ALONE: Duration = Duration::from_millis(1);

/// Tells what this leader can vouch for, once it has committed in its own term.
type Vouching = Arc<dyn Fn() -> Option<Vouch> + Send + Sync>;

/// Makes openraft's clients. Never connects by itself.
#[derive(Clone)]
pub struct NetworkFactory {
    dialler: Dialler,
    addresses: Addresses,
    vouch: Vouching,
    /// An append connection with requests unanswered for this long is closed.
    stall: Duration,
    full_disks: FullDisks,
}

impl std::fmt::Debug for NetworkFactory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NetworkFactory")
            .field("local", self.dialler.local())
            .finish_non_exhaustive()
    }
}

impl NetworkFactory {
    /// Returns a factory; `stall` is about two election timeouts.
    pub fn new(
        local: LocalNode,
        addresses: Addresses,
        stall: Duration,
        vouch: impl Fn() -> Option<Vouch> + Send + Sync + 'static,
    ) -> Self {
        Self {
            dialler: Dialler::new(local),
            addresses,
            vouch: Arc::new(vouch),
            stall,
            full_disks: FullDisks::default(),
        }
    }

    /// Notes in `full_disks` which members' disks have no room.
    #[must_use]
    pub fn noting(mut self, full_disks: FullDisks) -> Self {
        self.full_disks = full_disks;
        self
    }

    fn client(&self, to: NodeId, member: &Member, purpose: Purpose) -> PeerLink {
        PeerLink {
            network: self.clone(),
            to,
            added_as: member.clone(),
            purpose,
            control: None,
        }
    }
}

impl RaftNetworkFactory<TypeConfig> for NetworkFactory {
    type Network = PeerLink;

    async fn new_client(&mut self, to: NodeId, member: &Member) -> PeerLink {
        self.client(to, member, Purpose::Append)
    }

    async fn new_heartbeat_client(&mut self, to: NodeId, member: &Member) -> PeerLink {
        self.client(to, member, Purpose::Control)
    }

    async fn new_snapshot_client(&mut self, to: NodeId, member: &Member) -> PeerLink {
        self.client(to, member, Purpose::Snapshot)
    }
}

/// One of openraft's clients of one member.
#[derive(Debug)]
pub struct PeerLink {
    network: NetworkFactory,
    to: NodeId,
    /// Used until the membership that added the member is known here.
    added_as: Member,
    purpose: Purpose,
    /// Taken out during a call and put back after it, so that a dropped call drops the socket.
    control: Option<ControlLink>,
}

#[derive(Debug)]
struct ControlLink {
    connection: Connection,
    beats: BeatSender,
}

type RpcError = RPCError<TypeConfig>;

/// The peer cannot be reached: openraft backs off.
#[expect(clippy::needless_pass_by_value, reason = "it stands in `map_err`")]
fn unreachable(error: io::Error) -> RpcError {
    RPCError::Unreachable(Unreachable::new(&error))
}

/// A connection broke: openraft tries again at once.
#[expect(clippy::needless_pass_by_value, reason = "it stands in `map_err`")]
fn broken(error: io::Error) -> RpcError {
    RPCError::Network(NetworkError::new(&error))
}

fn unexpected() -> RpcError {
    broken(io::Error::new(
        io::ErrorKind::InvalidData,
        "unexpected reply",
    ))
}

impl PeerLink {
    async fn connect(&self, purpose: Purpose, limit: Duration) -> io::Result<Connection> {
        let network = &self.network;
        let member = network
            .addresses
            .get(self.to)
            .unwrap_or_else(|| self.added_as.clone());
        network
            .dialler
            .connect(&member, self.to, purpose, limit)
            .await
    }

    /// One request and its reply on the cached control connection.
    async fn control(
        &mut self,
        request: impl FnOnce(&ControlLink) -> ControlRequest,
        limit: Duration,
    ) -> Result<ControlReply, RpcError> {
        let mut link = match self.control.take() {
            Some(link) => link,
            None => ControlLink {
                connection: self
                    .connect(Purpose::Control, limit)
                    .await
                    .map_err(unreachable)?,
                beats: BeatSender::default(),
            },
        };
        let request = request(&link);
        let exchange = async {
            send(&mut link.connection, &request).await?;
            receive::<ControlReply>(&mut link.connection).await
        };
        let reply = within(limit, exchange).await.map_err(broken)?;
        let is_beat = matches!(
            reply,
            ControlReply::Append(_) | ControlReply::AppendWithoutRoom(_)
        );
        if is_beat {
            link.beats.replied();
            let is_full = matches!(reply, ControlReply::AppendWithoutRoom(_));
            self.network.full_disks.note(self.to, is_full);
        }
        self.control = Some(link);
        match reply {
            ControlReply::Stopped(reason) => Err(broken(io::Error::other(reason))),
            reply => Ok(reply),
        }
    }

    async fn vote_call(
        &mut self,
        request: ControlRequest,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        match self.control(|_| request, option.soft_ttl()).await? {
            ControlReply::Vote(reply) => Ok(reply),
            _ => Err(unexpected()),
        }
    }
}

/// Returns the request that comes soon after one without entries, in its place: it has all that the
/// first one says.
async fn with_entries<S>(
    first: AppendEntriesRequest<TypeConfig>,
    input: &mut S,
) -> AppendEntriesRequest<TypeConfig>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin,
{
    if !first.entries.is_empty() {
        return first;
    }
    match tokio::time::timeout(COMMIT_ALONE, input.next()).await {
        Ok(Some(next)) => next,
        Ok(None) | Err(_) => first,
    }
}

/// Sends what openraft wants to replicate until it ends or the connection breaks.
async fn send_appends<S>(
    input: S,
    mut sink: SplitSink<Connection, bytes::Bytes>,
    window: Arc<Semaphore>,
    in_flight: Arc<AtomicUsize>,
) where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin,
{
    let mut input = input.fuse();
    while let Some(first) = input.next().await {
        let request = with_entries(first, &mut input).await;
        let Ok(permit) = window.acquire().await else {
            break;
        };
        permit.forget();
        in_flight.fetch_add(1, Ordering::SeqCst);
        let sent = match encode(&request) {
            Ok(frame) => sink.send(frame).await,
            Err(error) => Err(error),
        };
        if let Err(error) = sent {
            tracing::debug!(%error, "append connection ended");
            break;
        }
    }
    // The peer sees the end of the stream; if that fails it is gone anyway.
    drop(sink.close().await);
}

impl RaftNetworkV2<TypeConfig> for PeerLink {
    type SnapshotData = SnapshotFile;

    /// A heartbeat; replication goes through `stream_append`.
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RpcError> {
        let vouch = self.network.vouch.clone();
        let heartbeat = |link: &ControlLink| {
            ControlRequest::Heartbeat(Heartbeat {
                rpc,
                beat: link.beats.next(&*vouch),
            })
        };
        match self.control(heartbeat, option.soft_ttl()).await? {
            ControlReply::Append(reply) | ControlReply::AppendWithoutRoom(reply) => Ok(reply),
            _ => Err(unexpected()),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RpcError>>, RpcError>,
    >
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        if self.purpose != Purpose::Append {
            return stream_append_sequential(self, input, option);
        }
        Box::pin(async move {
            // openraft's pause after a failure is in the stream of requests: connecting before the
            // first one has come would dial a dead peer a thousand times a second.
            let mut input = input;
            let Some(first) = input.next().await else {
                return Ok(Box::pin(futures::stream::empty()) as BoxStream<'s, _>);
            };
            let input = futures::stream::iter([first]).chain(input);
            let connection = self
                .connect(Purpose::Append, option.soft_ttl())
                .await
                .map_err(unreachable)?;
            let (sink, replies) = connection.split();
            let window = Arc::new(Semaphore::new(IN_FLIGHT));
            let in_flight = Arc::new(AtomicUsize::new(0));
            let sender = send_appends(input, sink, window.clone(), in_flight.clone());
            // Stopped with the stream of replies that owns it.
            let sender = AbortOnDropHandle::new(tokio::spawn(sender));
            let stall = self.network.stall;
            let stream = futures::stream::unfold(Some((replies, sender)), move |session| {
                let (window, in_flight) = (window.clone(), in_flight.clone());
                async move {
                    let (mut replies, sender) = session?;
                    // An idle stream is healthy: only unanswered requests can be late.
                    let frame = loop {
                        match tokio::time::timeout(stall, replies.next()).await {
                            Ok(frame) => break frame?,
                            Err(_elapsed) if in_flight.load(Ordering::SeqCst) == 0 => {}
                            Err(_elapsed) => break Err(io::ErrorKind::TimedOut.into()),
                        }
                    };
                    let reply = frame
                        .and_then(|frame| decode::<AppendReply>(&frame))
                        .map_err(broken);
                    in_flight.fetch_sub(1, Ordering::SeqCst);
                    window.add_permits(1);
                    let goes_on = matches!(reply, Ok(Ok(_)));
                    Some((reply, goes_on.then_some((replies, sender))))
                }
            });
            Ok(Box::pin(stream) as BoxStream<'s, _>)
        })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        self.vote_call(ControlRequest::Vote(rpc), option).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        self.vote_call(ControlRequest::PreVote(rpc), option).await
    }

    async fn transfer_leader(
        &mut self,
        rpc: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RpcError> {
        match self
            .control(|_| ControlRequest::TransferLeader(rpc), option.soft_ttl())
            .await?
        {
            ControlReply::TransferLeader(reply) => Ok(reply),
            _ => Err(unexpected()),
        }
    }

    /// The option's time is for one chunk: openraft does not bound the whole transfer.
    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let limit = option.soft_ttl();
        let transfer = async {
            let connection = self.connect(Purpose::Snapshot, limit).await?;
            snapshot_transfer::send_snapshot(connection, vote, snapshot, limit).await
        };
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            result = transfer => {
                result.map_err(|error| StreamingError::Unreachable(Unreachable::new(&error)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use tokio::net::TcpListener;

    use super::*;
    use crate::raft::ClusterId;

    /// openraft paces its attempts by when it gives the first request.
    #[tokio::test]
    async fn nothing_is_dialled_before_there_is_something_to_send() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let local = LocalNode {
            cluster: ClusterId([1; 16]),
            id: 1,
            name: "node0".to_owned(),
        };
        let member = Member {
            raft: listener.local_addr().unwrap().to_string(),
            ..Member::default()
        };
        let wait = Duration::from_millis(50);
        let mut factory = NetworkFactory::new(local, Addresses::default(), wait, || None);
        let mut link = factory.new_client(2, &member).await;
        let session = link.stream_append(stream::pending(), RPCOption::new(wait));
        assert!(tokio::time::timeout(wait, session).await.is_err());
        assert!(tokio::time::timeout(wait, listener.accept()).await.is_err());
    }
}
