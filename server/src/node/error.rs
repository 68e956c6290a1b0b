//! The service's one error type and the stable code of each variant.

use conclave_shared::{ErrorCode, MemberAddress};
use serde::{Deserialize, Serialize};

use crate::state::RequestId;

/// Why the service has no answer. Refusals of the state machine are no errors but outcomes
/// (invariant 2). It crosses the peer protocol, so variants are only appended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum ServiceError {
    #[error("{0}")]
    InvalidArgument(String),
    /// Not applied, and it never will be.
    #[error("no leader is known or reachable: {reason}")]
    NoLeader { reason: String, retry_after_ms: u64 },
    /// The caller asked not to be forwarded.
    #[error("the leader is `{}`", leader.node)]
    Redirect { leader: MemberAddress },
    /// May or may not be applied (invariant 9).
    #[error("the outcome of request `{request_id}` is unknown: {reason}")]
    OutcomeUnknown {
        request_id: RequestId,
        reason: String,
    },
    /// The node did not reach `wanted` within the request's wait.
    #[error("this node has applied {applied} and not yet {wanted}")]
    NotCaughtUp { wanted: u64, applied: u64 },
    #[error("this node is stopping")]
    Draining,
    #[error("this node is starting: {0}")]
    Starting(String),
    #[error("too many requests are under way")]
    Overloaded,
    #[error("the membership stays as it is: {0}")]
    MembershipConflict(String),
    #[error("{0}")]
    NameInUse(String),
    #[error("the node at `{raft}` does not wait to be joined: {reason}")]
    NotWaiting { raft: String, reason: String },
    #[error("no member is named `{0}`")]
    MemberNotFound(String),
    /// The pinned revision of a paged listing is gone.
    #[error("the listing at revision {revision} can no longer be continued; start again")]
    CursorExpired { revision: u64 },
    /// Not applied, and it never will be.
    #[error("the disks of the leader or of a majority are full; reads go on")]
    DiskFull,
    /// The text is for the log, not for the client.
    #[error("internal: {0}")]
    Internal(String),
    #[error("changes are kept from revision {oldest} on, not from {wanted} on")]
    RevisionGone {
        wanted: u64,
        oldest: u64,
        current: u64,
    },
    #[error("{most} streams are open on this node, and not more may be")]
    TooManyStreams { most: u64 },
    #[error(
        "this node was removed from its cluster and answers `stale` reads only; to come back, start \
         it with -join and an empty data directory"
    )]
    Removed,
    /// It may or may not be made, or may be made later.
    #[error("the membership change was begun, and is not known to be finished: {0}")]
    ChangeUnfinished(String),
    #[error("{0}")]
    LastVoter(String),
    #[error("{0}")]
    WouldLoseQuorum(String),
    #[error("{0}")]
    AlreadyVoter(String),
    #[error("{0}")]
    TooManyVoters(String),
    /// What is asked for lies behind more pages of history than one request may read.
    #[error(
        "that is more than {pages} pages of history back, and one request reads no more; ask for a \
         newer revision, or follow `history=true` back with `before`"
    )]
    TooFarBack { pages: u32 },
    #[error(
        "this node was started with -read-only and takes no changes from clients; ask another one"
    )]
    ReadOnly,
}

impl ServiceError {
    /// Returns the stable code; `Redirect` has none of its own because it is no failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::InvalidArgument(_) => ErrorCode::InvalidArgument,
            Self::NoLeader { .. } | Self::Redirect { .. } => ErrorCode::NoLeader,
            Self::OutcomeUnknown { .. } => ErrorCode::OutcomeUnknown,
            Self::NotCaughtUp { .. } => ErrorCode::NotCaughtUp,
            Self::Draining => ErrorCode::Draining,
            Self::Starting(_) => ErrorCode::Starting,
            Self::Overloaded => ErrorCode::Overloaded,
            Self::MembershipConflict(_) => ErrorCode::MembershipConflict,
            Self::NameInUse(_) => ErrorCode::NameInUse,
            Self::NotWaiting { .. } => ErrorCode::NotWaiting,
            Self::MemberNotFound(_) => ErrorCode::MemberNotFound,
            Self::CursorExpired { .. } => ErrorCode::CursorExpired,
            Self::DiskFull => ErrorCode::DiskFull,
            Self::Internal(_) => ErrorCode::Internal,
            Self::RevisionGone { .. } => ErrorCode::RevisionGone,
            Self::TooManyStreams { .. } => ErrorCode::TooManyStreams,
            Self::Removed => ErrorCode::NodeRemoved,
            Self::ChangeUnfinished(_) => ErrorCode::ChangeUnfinished,
            Self::LastVoter(_) => ErrorCode::LastVoter,
            Self::WouldLoseQuorum(_) => ErrorCode::WouldLoseQuorum,
            Self::AlreadyVoter(_) => ErrorCode::AlreadyVoter,
            Self::TooManyVoters(_) => ErrorCode::TooManyVoters,
            Self::TooFarBack { .. } => ErrorCode::TooLarge,
            Self::ReadOnly => ErrorCode::ReadOnly,
        }
    }
}
