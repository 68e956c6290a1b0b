//! Requests to peers and their answers: one multiplexed connection per member, made on demand.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use futures::StreamExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::codec::FramedRead;
use tokio_util::task::AbortOnDropHandle;

use super::Addresses;
use super::connect::Dialler;
use super::join;
use super::wire::{
    CallFrame, Connection, FRAME_BYTES, HANDSHAKE, LocalNode, Purpose, ReplyFrame, codec, decode,
};
use crate::encoding;
use crate::node::{
    CallError, MakeInvitation, PeerClient, PeerHandler, PeerReply, PeerRequest, ServiceError,
};
use crate::raft::{Member, NodeId};

/// Requests waiting to be written to one peer; further ones are refused at once.
const QUEUE: usize = 4_096;
/// Requests of one peer that are answered at the same time.
const CONCURRENT: usize = 4_096;
/// Pause before a peer that could not be reached is dialled again.
const RECONNECT: Duration = Duration::from_millis(50);
/// Bytes gathered into one write.
const WRITE_BYTES: usize = 256 << 10;

type Result2 = Result<PeerReply, ServiceError>;
type Answer = oneshot::Sender<Result<Result2, CallError>>;

struct Call {
    frame: CallFrame,
    answer: Answer,
}

/// Requests on their way, by number. Dropping one tells its caller that it was lost.
#[derive(Clone, Default)]
struct Pending(Arc<Mutex<HashMap<u64, Answer>>>);

impl Pending {
    fn fail_all(&self, reason: &str) {
        for (_, answer) in self.0.lock().drain() {
            // A caller that gave up needs no answer.
            drop(answer.send(Err(CallError::Lost(reason.to_owned()))));
        }
    }
}

/// Handle for asking members; clones share the connections.
#[derive(Clone)]
pub struct Peers {
    dialler: Dialler,
    addresses: Addresses,
    links: Arc<Mutex<BTreeMap<NodeId, Link>>>,
    numbers: Arc<AtomicU64>,
}

struct Link {
    queue: mpsc::Sender<Call>,
    /// Stopped with the last handle.
    _task: AbortOnDropHandle<()>,
}

impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peers")
            .field("local", self.dialler.local())
            .finish_non_exhaustive()
    }
}

impl Peers {
    #[must_use]
    pub fn new(local: LocalNode, addresses: Addresses) -> Self {
        Self {
            dialler: Dialler::new(local),
            addresses,
            links: Arc::default(),
            numbers: Arc::default(),
        }
    }

    fn queue(&self, to: NodeId) -> mpsc::Sender<Call> {
        let mut links = self.links.lock();
        let link = links.entry(to).or_insert_with(|| {
            let (queue, calls) = mpsc::channel(QUEUE);
            let task = run_link(self.dialler.clone(), self.addresses.clone(), to, calls);
            Link {
                queue,
                _task: AbortOnDropHandle::new(tokio::spawn(task)),
            }
        });
        link.queue.clone()
    }

    async fn ask(
        &self,
        to: NodeId,
        request: PeerRequest,
        timeout: Duration,
    ) -> Result<Result2, CallError> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        let call = Call {
            frame: CallFrame { number, request },
            answer,
        };
        if self.queue(to).try_send(call).is_err() {
            return Err(CallError::NotSent(
                "too many requests wait for this peer".to_owned(),
            ));
        }
        match tokio::time::timeout(timeout, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(oneshot::error::RecvError { .. })) => {
                Err(CallError::Lost("this node is stopping".to_owned()))
            }
            Err(_elapsed) => Err(CallError::Lost(format!("no answer within {timeout:?}"))),
        }
    }
}

impl PeerClient for Peers {
    fn call(
        &self,
        to: NodeId,
        request: PeerRequest,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<Result2, CallError>> {
        Box::pin(self.ask(to, request, timeout))
    }

    fn invite(
        &self,
        raft_address: String,
        make: MakeInvitation,
    ) -> BoxFuture<'_, Result<(Member, NodeId), ServiceError>> {
        Box::pin(join::invite(
            self.dialler.local().clone(),
            raft_address,
            make,
        ))
    }
}

/// Keeps one connection to a member, from the first request on.
async fn run_link(
    dialler: Dialler,
    addresses: Addresses,
    to: NodeId,
    mut calls: mpsc::Receiver<Call>,
) {
    while let Some(first) = calls.recv().await {
        let connected = match addresses.get(to) {
            Some(member) => {
                dialler
                    .connect(&member, to, Purpose::Forward, HANDSHAKE)
                    .await
            }
            None => Err(io::Error::other("it is no member")),
        };
        match connected {
            Ok(connection) => session(connection, first, &mut calls).await,
            Err(error) => {
                let reason = format!("cannot connect: {error}");
                refuse(first, &reason);
                refuse_for(RECONNECT, &mut calls, &reason).await;
            }
        }
    }
}

/// Refuses requests at once for a while: many callers must not dial a dead peer all the time.
async fn refuse_for(pause: Duration, calls: &mut mpsc::Receiver<Call>, reason: &str) {
    let refuse_all = async {
        while let Some(call) = calls.recv().await {
            refuse(call, reason);
        }
    };
    // Ends by the time running out, or by the last handle going.
    drop(tokio::time::timeout(pause, refuse_all).await);
}

fn refuse(call: Call, reason: &str) {
    // A caller that gave up needs no answer.
    drop(call.answer.send(Err(CallError::NotSent(reason.to_owned()))));
}

/// Writes requests and reads answers until the connection breaks; then everything that was written
/// and not answered is lost, and what is still queued waits for the next connection.
async fn session(connection: Connection, first: Call, calls: &mut mpsc::Receiver<Call>) {
    let parts = connection.into_parts();
    let (reader, mut writer) = parts.io.into_split();
    let pending = Pending::default();
    let replies = read_replies(
        FramedRead::new(reader, codec().new_codec()),
        pending.clone(),
    );
    let mut replies = AbortOnDropHandle::new(tokio::spawn(replies));
    let mut buffer = BytesMut::new();
    let mut next = Some(first);
    let reason = loop {
        let call = match next.take() {
            Some(call) => call,
            None => tokio::select! {
                call = calls.recv() => match call {
                    Some(call) => call,
                    None => break "this node is stopping".to_owned(),
                },
                ended = &mut replies => break match ended {
                    Ok(error) => format!("connection lost: {error}"),
                    Err(error) => error.to_string(),
                },
            },
        };
        gather(call, &mut buffer, &pending);
        while buffer.len() < WRITE_BYTES {
            let Ok(call) = calls.try_recv() else { break };
            gather(call, &mut buffer, &pending);
        }
        if let Err(error) = writer.write_all(&buffer).await {
            break format!("connection lost: {error}");
        }
        buffer.clear();
    };
    drop(replies);
    pending.fail_all(&reason);
}

/// Appends a request's frame and remembers who waits for its answer.
fn gather(call: Call, buffer: &mut BytesMut, pending: &Pending) {
    let Call { frame, answer } = call;
    match put_frame(buffer, &frame) {
        Ok(()) => drop(pending.0.lock().insert(frame.number, answer)),
        Err(error) => drop(answer.send(Err(CallError::NotSent(error.to_string())))),
    }
}

/// Appends a length-delimited frame.
fn put_frame<T: serde::Serialize>(buffer: &mut BytesMut, message: &T) -> io::Result<()> {
    let start = buffer.len();
    buffer.put_u32(0);
    encoding::append(message, buffer)?;
    let length = buffer.len() - start - 4;
    if length > FRAME_BYTES {
        buffer.truncate(start);
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "message above the frame limit",
        ));
    }
    let length = u32::try_from(length).map_err(io::Error::other)?;
    buffer[start..start + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

async fn read_replies<R: tokio::io::AsyncRead + Unpin>(
    mut frames: FramedRead<R, tokio_util::codec::LengthDelimitedCodec>,
    pending: Pending,
) -> io::Error {
    loop {
        let reply = match frames.next().await {
            Some(Ok(frame)) => decode::<ReplyFrame>(&frame),
            Some(Err(error)) => return error,
            None => return io::ErrorKind::UnexpectedEof.into(),
        };
        match reply {
            Ok(reply) => {
                if let Some(answer) = pending.0.lock().remove(&reply.number) {
                    // A caller that gave up needs no answer.
                    drop(answer.send(Ok(reply.result)));
                }
            }
            Err(error) => return error,
        }
    }
}

/// The receiving side: answers many requests at once, in any order.
pub(super) async fn serve_calls(
    connection: Connection,
    from: NodeId,
    handler: Arc<dyn PeerHandler>,
) -> io::Result<()> {
    let parts = connection.into_parts();
    let (reader, writer) = parts.io.into_split();
    let mut frames = FramedRead::new(reader, codec().new_codec());
    let (replies, outgoing) = mpsc::channel(CONCURRENT);
    let writer = AbortOnDropHandle::new(tokio::spawn(write_replies(writer, outgoing)));
    let places = Arc::new(Semaphore::new(CONCURRENT));
    while let Some(frame) = frames.next().await {
        let CallFrame { number, request } = decode(&frame?)?;
        let place = places
            .clone()
            .acquire_owned()
            .await
            .map_err(io::Error::other)?;
        let (replies, handler) = (replies.clone(), handler.clone());
        // Ends with its answer; the requests have deadlines of their own.
        tokio::spawn(async move {
            let result = handler.handle(from, request).await;
            // The peer may be gone; it will then ask about the outcome elsewhere.
            drop(replies.send(ReplyFrame { number, result }).await);
            drop(place);
        });
    }
    drop(writer);
    Ok(())
}

async fn write_replies<W: AsyncWrite + Unpin>(
    mut writer: W,
    mut outgoing: mpsc::Receiver<ReplyFrame>,
) {
    let mut buffer = BytesMut::new();
    while let Some(reply) = outgoing.recv().await {
        put_reply(&mut buffer, &reply);
        while buffer.len() < WRITE_BYTES {
            let Ok(reply) = outgoing.try_recv() else {
                break;
            };
            put_reply(&mut buffer, &reply);
        }
        if writer.write_all(&buffer).await.is_err() {
            return; // the reading side ends with the connection
        }
        buffer.clear();
    }
}

fn put_reply(buffer: &mut BytesMut, reply: &ReplyFrame) {
    if let Err(error) = put_frame(buffer, reply) {
        let result = Err(ServiceError::Internal(error.to_string()));
        let short = ReplyFrame {
            number: reply.number,
            result,
        };
        if let Err(error) = put_frame(buffer, &short) {
            tracing::error!(%error, "cannot encode a reply");
        }
    }
}
