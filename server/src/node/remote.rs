//! What nodes ask each other beside Raft, and the two seams to the peer protocol.
//!
//! `network` implements [`PeerClient`] and calls a [`PeerHandler`]; neither side knows the other.
//! The messages are positional on the wire: variants are only appended, and anything else takes a
//! new protocol version.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use conclave_shared::ReadLevel;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::{Answer, ChangeRequest, JoinRequest, Joined, ServiceError, Standing, Stranger};
use crate::raft::{ClusterId, Member, NodeId};
use crate::state::{Guard, Key, Op, Outcome, Record, RequestId};

/// A write on its way to the leader, which adds the times.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Proposal {
    pub request_id: RequestId,
    /// Log index that the origin had applied when it took the write.
    pub taken_at: u64,
    /// Name of the node that took the write from its client.
    pub origin: Arc<str>,
    pub client: Option<Arc<str>>,
    pub guard: Option<Guard>,
    pub op: Op,
}

/// What one node asks another.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum PeerRequest {
    /// The receiver proposes it, or answers `NoLeader`; it never passes it on.
    Write(Proposal),
    /// A read of one key at `default` on the leader.
    Get {
        key: Key,
        min_revision: Option<u64>,
        wait: Duration,
    },
    /// The log index up to which a reader must have applied for `level` to hold.
    ReadIndex {
        level: ReadLevel,
    },
    Status,
    Join(JoinRequest),
    TransferLeader {
        to: Option<String>,
    },
    /// The sender's addresses have changed.
    UpdateMember {
        id: NodeId,
        member: Member,
    },
    /// The receiver removes or promotes a member, or says what that would do.
    Change(ChangeRequest),
    /// Whether an id is still a member's. Asked by that node itself, or passed on to the leader.
    Standing {
        id: NodeId,
    },
    /// A read of one key at `consistent` on the leader, for a node whose disk is full.
    GetConsistent {
        key: Key,
        min_revision: Option<u64>,
        wait: Duration,
    },
}

/// The answer to each [`PeerRequest`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum PeerReply {
    Written(Answer<Outcome>),
    Got(Answer<Option<Arc<Record>>>),
    ReadIndex(u64),
    /// `NodeStatus` as JSON, so that nodes of different versions understand each other's.
    Status(Vec<u8>),
    Joined(Joined),
    Transferred(String),
    Updated,
    /// `MemberPlan` as JSON.
    Changed(Vec<u8>),
    Standing(Standing),
}

/// Why a peer has not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The request never left this node: it had no effect.
    #[error("not sent: {0}")]
    NotSent(String),
    /// It left, and the answer did not come: it may have had its effect (invariant 9).
    #[error("no answer: {0}")]
    Lost(String),
}

/// A leader's offer to a node that waits to be joined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation {
    pub cluster: ClusterId,
    /// The Raft id made for the invited data directory.
    pub id: NodeId,
    /// Name of the inviting leader.
    pub leader: String,
}

/// Makes the id for a node that has said who it is and that it waits, or the id that it was invited
/// with and never added; runs on the leader.
pub type MakeInvitation = Box<
    dyn FnOnce(Member, Option<NodeId>) -> BoxFuture<'static, Result<Invitation, ServiceError>>
        + Send
        + Sync,
>;

/// Asks peers. Implemented by the peer protocol.
pub trait PeerClient: Send + Sync {
    /// Asks a member. Dropping the future does not call the request back.
    fn call(
        &self,
        to: NodeId,
        request: PeerRequest,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<Result<PeerReply, ServiceError>, CallError>>;

    /// Invites the node at an address: it must be empty and wait, and then gets what `make` makes; or
    /// it was invited before and not added.
    /// Answers the invited node and its id.
    fn invite(
        &self,
        raft_address: String,
        make: MakeInvitation,
    ) -> BoxFuture<'_, Result<(Member, NodeId), ServiceError>>;
}

/// Answers peers. Implemented by the service.
pub trait PeerHandler: Send + Sync {
    fn handle(
        &self,
        from: NodeId,
        request: PeerRequest,
    ) -> BoxFuture<'_, Result<PeerReply, ServiceError>>;

    /// Adds the node that asks over the peer protocol, which knows no Raft id for it yet.
    fn join(
        &self,
        from: SocketAddr,
        request: JoinRequest,
    ) -> BoxFuture<'_, Result<Joined, ServiceError>>;

    /// Does what is to be done when the connection has ended over which `leader` sent heartbeats: at
    /// most one lease and an election timeout long.
    fn heartbeats_ended(&self, leader: NodeId) -> BoxFuture<'_, ()>;

    /// Returns whether this node knows of no committed membership that has it, and of none that has it
    /// no longer.
    fn waits_to_be_added(&self) -> bool;

    /// Notes that a node of another cluster has been refused: it takes this address for a member's.
    fn refused(&self, stranger: Stranger);
}
