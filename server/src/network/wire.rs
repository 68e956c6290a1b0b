//! Frames and messages of the peer protocol. Positional: variants are only appended, anything else
//! takes a new [`PROTOCOL`] number.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use rustix::net::sockopt;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use crate::encoding;
use crate::node::{Beat, Invitation, JoinRequest, Joined, PeerReply, PeerRequest, ServiceError};
use crate::raft::{ClusterId, Member, NodeId, SnapshotMeta, TypeConfig, Vote};

/// Version of the peer protocol. Nodes of different versions refuse each other.
pub(super) const PROTOCOL: u16 = 3;
/// Largest frame. A request is at most 8 MiB and one `AppendEntries` about 1 MiB above that.
pub(super) const FRAME_BYTES: usize = 16 << 20;
/// What most frames need, so that their buffer seldom grows.
const USUAL_BYTES: usize = 1 << 10;
/// First bytes of every connection's first frame.
const MAGIC: [u8; 4] = *b"CNCL";
/// Longest wait for the first frame of a connection, and for its acknowledgement.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(2);

/// Who a node is on the peer protocol.
#[derive(Debug, Clone)]
pub struct LocalNode {
    pub cluster: ClusterId,
    pub id: NodeId,
    pub name: String,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Purpose {
    Append,
    Control,
    Forward,
    Snapshot,
    Invite,
    Join,
    Form,
}

/// First frame: both sides' identity. For `Invite` the receiver has none, for `Join` the sender, and
/// for `Form` perhaps neither.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    magic: [u8; 4],
    pub(super) protocol: u16,
    pub(super) purpose: Purpose,
    pub(super) cluster: ClusterId,
    pub(super) from: NodeId,
    pub(super) from_name: String,
    pub(super) to: NodeId,
}

impl Hello {
    pub(super) fn new(purpose: Purpose, local: &LocalNode, to: NodeId) -> Self {
        Self {
            magic: MAGIC,
            protocol: PROTOCOL,
            purpose,
            cluster: local.cluster,
            from: local.id,
            from_name: local.name.clone(),
            to,
        }
    }

    pub(super) fn has_magic(&self) -> bool {
        self.magic == MAGIC
    }
}

/// Answer to [`Hello`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum HelloAck {
    Welcome,
    /// The text names both sides.
    Refused(String),
    /// To `Invite`: the receiver is empty and waits; this is who it wants to be.
    Waiting(Member),
    /// The receiver is starting or stopping: nothing is wrong, try again.
    NotYet(String),
    /// To `Invite` by a leader of its cluster: an earlier leader has invited the receiver, which has
    /// this id since then, and sees itself in no membership yet.
    Invited(Member, NodeId),
}

/// A heartbeat with the facts that bound the age of the follower's state.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Heartbeat {
    pub(super) rpc: AppendEntriesRequest<TypeConfig>,
    pub(super) beat: Beat,
}

/// Requests on a control connection.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ControlRequest {
    Heartbeat(Heartbeat),
    Vote(VoteRequest<TypeConfig>),
    PreVote(VoteRequest<TypeConfig>),
    TransferLeader(TransferLeaderRequest<TypeConfig>),
}

/// Replies on a control connection.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ControlReply {
    Append(AppendEntriesResponse<TypeConfig>),
    Vote(VoteResponse<TypeConfig>),
    TransferLeader(TransferLeaderResponse<TypeConfig>),
    /// Raft has stopped on the receiver.
    Stopped(String),
    /// `Append` of a node whose disk has no room.
    AppendWithoutRoom(AppendEntriesResponse<TypeConfig>),
}

/// Request and reply on an append connection; replies come in order.
pub(super) type AppendRequest = AppendEntriesRequest<TypeConfig>;
pub(super) type AppendReply = StreamAppendResult<TypeConfig>;

/// Frames of a snapshot transfer.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum SnapshotFrame {
    Begin {
        vote: Vote,
        meta: SnapshotMeta,
        bytes: u64,
    },
    Chunk(Bytes),
    End,
}

/// Answer to a whole snapshot.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum SnapshotReply {
    Installed(SnapshotResponse<TypeConfig>),
    Refused(String),
}

/// A numbered request on a forward connection.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct CallFrame {
    pub(super) number: u64,
    pub(super) request: PeerRequest,
}

/// Its answer; answers come in any order.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ReplyFrame {
    pub(super) number: u64,
    pub(super) result: Result<PeerReply, ServiceError>,
}

/// Second frame of an invite connection.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Invite(pub(super) Invitation);

/// The invited node's answer, once its identity is durable and Raft runs.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum InviteReply {
    Adopted,
    Refused(String),
}

/// Second frame of a join connection, and its answer.
pub(super) type JoinFrame = JoinRequest;
pub(super) type JoinReply = Result<Joined, ServiceError>;

/// Second frame of a form connection, and its answer.
pub(super) type FormFrame = crate::formation::Question;
pub(super) type FormReply = crate::formation::Reply;

pub(super) type Connection = Framed<TcpStream, LengthDelimitedCodec>;

/// Silence after which TCP asks whether the peer is still there.
const ASK_AFTER: Duration = Duration::from_secs(10);
/// Time between two such questions.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// Questions without an answer after which the connection is broken.
const ASK_TIMES: u32 = 3;

/// Makes a connection of the protocol. It breaks within about 25 s when the peer's host vanishes
/// without a word, also while nothing is sent.
pub(super) fn framed(stream: TcpStream) -> io::Result<Connection> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(&stream, true)?;
    sockopt::set_tcp_keepidle(&stream, ASK_AFTER)?;
    sockopt::set_tcp_keepintvl(&stream, ASK_EVERY)?;
    sockopt::set_tcp_keepcnt(&stream, ASK_TIMES)?;
    let unacknowledged = ASK_AFTER + ASK_EVERY * ASK_TIMES;
    let unacknowledged = u32::try_from(unacknowledged.as_millis()).map_err(io::Error::other)?;
    sockopt::set_tcp_user_timeout(&stream, unacknowledged)?;
    Ok(codec().new_framed(stream))
}

pub(super) fn codec() -> tokio_util::codec::length_delimited::Builder {
    let mut builder = LengthDelimitedCodec::builder();
    builder.max_frame_length(FRAME_BYTES);
    builder
}

pub(super) fn encode<T: Serialize>(message: &T) -> io::Result<Bytes> {
    let mut frame = Vec::with_capacity(USUAL_BYTES);
    encoding::append(message, &mut frame)?;
    Ok(frame.into())
}

pub(super) fn decode<T: DeserializeOwned>(frame: &BytesMut) -> io::Result<T> {
    postcard::from_bytes(frame)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
}

pub(super) async fn send<T: Serialize>(connection: &mut Connection, message: &T) -> io::Result<()> {
    connection.send(encode(message)?).await
}

/// Receives one message; the end of the connection is an error.
pub(super) async fn receive<T: DeserializeOwned>(connection: &mut Connection) -> io::Result<T> {
    match connection.next().await {
        Some(Ok(frame)) => decode(&frame),
        Some(Err(error)) => Err(error),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Bounds a future; the time running out is an `io::Error` of kind `TimedOut`.
pub(super) async fn within<T>(
    limit: Duration,
    future: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    match tokio::time::timeout(limit, future).await {
        Ok(result) => result,
        Err(_elapsed) => Err(io::ErrorKind::TimedOut.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nodes of one protocol number must understand each other's first frame for ever.
    #[test]
    fn the_first_frame_has_these_bytes() {
        let local = LocalNode {
            cluster: ClusterId([9; 16]),
            id: 300,
            name: "n1".to_owned(),
        };
        let bytes = encode(&Hello::new(Purpose::Control, &local, 2)).unwrap();
        let mut golden = b"CNCL\x03\x01".to_vec();
        golden.extend([9; 16]);
        golden.extend(b"\xac\x02\x02n1\x02");
        assert_eq!(bytes, golden);
    }
}
