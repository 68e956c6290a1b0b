//! openraft's network over the peer protocol: append sessions, control calls, snapshots.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use futures::future::OptionFuture;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, Stream, StreamExt};
use openraft::OptionalSend;
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2, stream_append_sequential};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::connect::Dialler;
use super::wire::{
    AppendReply, Connection, ControlReply, ControlRequest, Heartbeat, LocalNode, Purpose, decode,
    encode, receive, send, within,
};
use super::{Addresses, snapshot_transfer};
use crate::clock;
use crate::node::{BeatSender, FullDisks, Vouch};
use crate::raft::{LogId, Member, NodeId, TypeConfig, Vote};
use crate::storage::{Snapshot, SnapshotFile};

/// Unanswered requests on one append connection.
const IN_FLIGHT: usize = 64;
/// Time for which news of a commit waits for entries to go with. While writes follow each other that
/// spares each follower a request per batch; otherwise it learns of a commit so much later.
const COMMIT_ALONE: Duration = Duration::from_millis(1);

/// Tells what this leader can vouch for, once it has committed in its own term.
type Vouching = Arc<dyn Fn() -> Option<Vouch> + Send + Sync>;
/// Told of a member that answers the first heartbeat on a connection.
type Returning = Arc<dyn Fn(NodeId) + Send + Sync>;

/// Makes openraft's clients. Never connects by itself.
#[derive(Clone)]
pub struct NetworkFactory {
    dialler: Dialler,
    addresses: Addresses,
    vouch: Vouching,
    returned: Returning,
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
            returned: Arc::new(|_member| {}),
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

    /// Tells of each member that answers the first heartbeat on a connection: it can be replicated to.
    #[must_use]
    pub fn telling(mut self, returned: impl Fn(NodeId) + Send + Sync + 'static) -> Self {
        self.returned = Arc::new(returned);
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
        let kept = self.control.take();
        let is_new = kept.is_none();
        let mut link = match kept {
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
            if is_new {
                (self.network.returned)(self.to);
            }
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

/// Requests of one session that openraft has given and the peer has not answered, the oldest first.
///
/// openraft notes when it gave each, and counts its lease and its quorum rounds from there. But it
/// takes an answer for one to every request that ends where the answer does, and so for one to news
/// of a commit that it gave later and the peer has not seen yet. A leader that thaws gives such news,
/// then reads answers from before it was frozen, and would trust a lease that is long over. So an
/// answer that a later request could take for its own is not passed on: that request's own answer
/// comes behind it and says no less.
#[derive(Default)]
struct Unanswered(Mutex<VecDeque<Given>>);

struct Given {
    at: Instant,
    prev: Option<LogId>,
    last: Option<LogId>,
}

impl Unanswered {
    fn add(&self, request: &AppendEntriesRequest<TypeConfig>) {
        let last = request.entries.last().map(|entry| entry.log_id);
        self.0.lock().push_back(Given {
            at: clock::now(),
            prev: request.prev_log_id,
            last: last.or(request.prev_log_id),
        });
    }

    /// Takes note of an answer to the oldest; returns whether no later request could take it for its
    /// own.
    fn answered(&self, matching: Option<LogId>) -> bool {
        let mut given = self.0.lock();
        given.pop_front();
        given
            .front()
            .is_none_or(|next| next.last > matching && next.prev >= matching)
    }

    /// Returns the time until the oldest has waited for `limit`; `limit` when there is none.
    fn left(&self, limit: Duration) -> Duration {
        let given = self.0.lock();
        given.front().map_or(limit, |oldest| {
            limit.saturating_sub(clock::since(oldest.at))
        })
    }
}

/// Sends what openraft wants to replicate until it ends or the connection breaks.
async fn send_appends<S>(
    input: S,
    mut sink: SplitSink<Connection, bytes::Bytes>,
    window: Arc<Semaphore>,
    unanswered: Arc<Unanswered>,
) where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin,
{
    let mut input = input.fuse();
    while let Ok(permit) = window.acquire().await {
        permit.forget();
        let Some(mut request) = input.next().await else {
            break;
        };
        unanswered.add(&request);
        if request.entries.is_empty()
            && let Ok(Some(next)) = tokio::time::timeout(COMMIT_ALONE, input.next()).await
        {
            // In its place: it says all that the first one does.
            request = next;
        }
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

/// One append connection. Sends only while it is asked for a reply, in one task with openraft's: no
/// request is given between a reply and what openraft makes of it.
struct AppendSession {
    replies: SplitStream<Connection>,
    /// `None` when everything was sent.
    sender: Option<BoxFuture<'static, ()>>,
    window: Arc<Semaphore>,
    unanswered: Arc<Unanswered>,
    /// Longest wait for an answer.
    stall: Duration,
}

impl AppendSession {
    fn new<S>(connection: Connection, input: S, stall: Duration) -> Self
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
    {
        let (sink, replies) = connection.split();
        let window = Arc::new(Semaphore::new(IN_FLIGHT));
        let unanswered = Arc::new(Unanswered::default());
        let sender = send_appends(input, sink, window.clone(), unanswered.clone());
        Self {
            replies,
            sender: Some(Box::pin(sender)),
            window,
            unanswered,
            stall,
        }
    }

    /// Returns the next reply for openraft, and the session unless that was its last one.
    async fn next(mut self) -> Option<(Result<AppendReply, RpcError>, Option<Self>)> {
        loop {
            let reply = match self.receive().await?.and_then(|frame| decode(&frame)) {
                Ok(reply) => reply,
                Err(error) => return Some((Err(broken(error)), None)),
            };
            self.window.add_permits(1);
            match &reply {
                Ok(matching) if self.unanswered.answered(*matching) => {
                    return Some((Ok(reply), Some(self)));
                }
                Ok(_) => {}
                Err(_) => return Some((Ok(reply), None)),
            }
        }
    }

    /// Sends until a frame has come; `None` at the end of the connection.
    async fn receive(&mut self) -> Option<io::Result<BytesMut>> {
        loop {
            let limit = self.unanswered.left(self.stall);
            let sender = OptionFuture::from(self.sender.as_mut());
            // What has come first: it was there before what is given next.
            let frame = tokio::select! {
                biased;
                frame = tokio::time::timeout(limit, self.replies.next()) => frame,
                Some(()) = sender => {
                    self.sender = None;
                    continue;
                }
            };
            match frame {
                Ok(frame) => return frame,
                // An idle stream is healthy: only unanswered requests can be late.
                Err(_elapsed) if self.unanswered.left(self.stall) > Duration::ZERO => {}
                Err(_elapsed) => return Some(Err(io::ErrorKind::TimedOut.into())),
            }
        }
    }
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
            let session = AppendSession::new(connection, input, self.network.stall);
            let stream =
                futures::stream::unfold(Some(session), |session| async { session?.next().await });
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
    use futures::channel::mpsc;
    use futures::stream;
    use tokio::net::TcpListener;

    use super::super::wire::{AppendRequest, Hello, HelloAck, framed};
    use super::*;
    use crate::raft::{ClusterId, Entry, Payload};

    /// Returns a node's link to whoever listens.
    async fn link_to(listener: &TcpListener, stall: Duration) -> PeerLink {
        let local = LocalNode {
            cluster: ClusterId([1; 16]),
            id: 1,
            name: "node0".to_owned(),
        };
        let member = Member {
            raft: listener.local_addr().unwrap().to_string(),
            ..Member::default()
        };
        let mut factory = NetworkFactory::new(local, Addresses::default(), stall, || None);
        factory.new_client(2, &member).await
    }

    fn log_id(index: u64) -> LogId {
        LogId::new_term_index(3, index)
    }

    /// A request with the entries after one index up to another.
    fn request(prev: u64, last: u64) -> AppendRequest {
        let blank = |index| Entry {
            log_id: log_id(index),
            payload: Payload::Blank,
        };
        AppendRequest {
            vote: Vote::new_committed(3, 1),
            prev_log_id: Some(log_id(prev)),
            entries: (prev + 1..=last).map(blank).collect(),
            leader_commit: Some(log_id(prev)),
        }
    }

    async fn accept(listener: &TcpListener) -> Connection {
        let mut peer = framed(listener.accept().await.unwrap().0).unwrap();
        receive::<Hello>(&mut peer).await.unwrap();
        send(&mut peer, &HelloAck::Welcome).await.unwrap();
        peer
    }

    /// openraft counts its lease from when it gave the newest request that an answer covers.
    #[tokio::test]
    async fn an_answer_never_stands_for_a_request_that_was_given_later() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stall = Duration::from_secs(30);
        let mut link = link_to(&listener, stall).await;
        let (give, requests) = mpsc::unbounded();
        give.unbounded_send(request(4, 10)).unwrap();
        let session = link.stream_append(requests, RPCOption::new(stall));
        let (session, mut peer) = tokio::join!(session, accept(&listener));
        let mut answered = session.unwrap().map(|reply| reply.unwrap().unwrap());
        let answer = |index| -> AppendReply { Ok(Some(log_id(index))) };

        // Nothing later: it is passed on.
        let arrives = async {
            let got: AppendRequest = receive(&mut peer).await.unwrap();
            assert_eq!(got.entries.len(), 6);
            send(&mut peer, &answer(10)).await.unwrap();
        };
        assert_eq!(
            tokio::join!(answered.next(), arrives).0,
            Some(Some(log_id(10)))
        );

        // Entries that follow do not end there.
        give.unbounded_send(request(10, 20)).unwrap();
        give.unbounded_send(request(20, 30)).unwrap();
        let arrives = async {
            for _ in 0..2 {
                receive::<AppendRequest>(&mut peer).await.unwrap();
            }
            send(&mut peer, &answer(20)).await.unwrap();
        };
        assert_eq!(
            tokio::join!(answered.next(), arrives).0,
            Some(Some(log_id(20)))
        );

        // News of a commit is given, and the answer to what was before it arrives.
        give.unbounded_send(request(30, 30)).unwrap();
        let mut waiting = answered.next();
        let arrives = async {
            let news: AppendRequest = receive(&mut peer).await.unwrap();
            assert!(news.entries.is_empty());
            send(&mut peer, &answer(30)).await.unwrap();
        };
        tokio::select! {
            _ = &mut waiting => panic!("it stands for the news"),
            () = arrives => {}
        }
        let early = tokio::time::timeout(Duration::from_millis(100), &mut waiting).await;
        assert!(early.is_err(), "it stands for the news");
        send(&mut peer, &answer(30)).await.unwrap();
        assert_eq!(waiting.await, Some(Some(log_id(30))));

        // Entries go in the place of news, which were given before they were.
        give.unbounded_send(request(30, 40)).unwrap();
        let mut waiting = answered.next();
        let arrives = receive::<AppendRequest>(&mut peer);
        tokio::select! {
            _ = &mut waiting => panic!("nothing was answered"),
            got = arrives => assert_eq!(got.unwrap().entries.len(), 10),
        }
        give.unbounded_send(request(40, 40)).unwrap();
        give.unbounded_send(request(40, 50)).unwrap();
        let arrives = receive::<AppendRequest>(&mut peer);
        tokio::select! {
            _ = &mut waiting => panic!("nothing was answered"),
            got = arrives => assert_eq!(got.unwrap().entries.len(), 10),
        }
        send(&mut peer, &answer(40)).await.unwrap();
        let early = tokio::time::timeout(Duration::from_millis(100), &mut waiting).await;
        assert!(early.is_err(), "it stands for the news");
        send(&mut peer, &answer(50)).await.unwrap();
        assert_eq!(waiting.await, Some(Some(log_id(50))));
    }

    #[tokio::test]
    async fn a_peer_that_does_not_answer_is_given_up_once_it_was_asked() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stall = Duration::from_millis(200);
        let mut link = link_to(&listener, stall).await;
        let (give, requests) = mpsc::unbounded();
        give.unbounded_send(request(4, 10)).unwrap();
        let session = link.stream_append(requests, RPCOption::new(Duration::from_secs(30)));
        let (session, mut peer) = tokio::join!(session, accept(&listener));
        let mut replies = session.unwrap();
        let arrives = async {
            receive::<AppendRequest>(&mut peer).await.unwrap();
            let answer: AppendReply = Ok(Some(log_id(10)));
            send(&mut peer, &answer).await.unwrap();
        };
        assert!(tokio::join!(replies.next(), arrives).0.unwrap().is_ok());
        // Nothing to answer for longer than that.
        let idle = tokio::time::timeout(stall * 3, replies.next()).await;
        assert!(idle.is_err(), "an idle connection is healthy");
        let began = clock::now();
        give.unbounded_send(request(10, 20)).unwrap();
        assert!(replies.next().await.unwrap().is_err());
        assert!(clock::since(began) >= stall, "{:?}", clock::since(began));
        assert!(replies.next().await.is_none());
    }

    /// openraft paces its attempts by when it gives the first request.
    #[tokio::test]
    async fn nothing_is_dialled_before_there_is_something_to_send() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let wait = Duration::from_millis(50);
        let mut link = link_to(&listener, wait).await;
        let session = link.stream_append(stream::pending(), RPCOption::new(wait));
        assert!(tokio::time::timeout(wait, session).await.is_err());
        assert!(tokio::time::timeout(wait, listener.accept()).await.is_err());
    }
}
