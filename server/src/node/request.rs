//! Validated inputs of the service and the answers it gives. Transport-free.

use std::sync::Arc;
use std::time::Duration;

use conclave_shared::ReadLevel;
use serde::{Deserialize, Serialize};

use crate::state::{Guard, Op, RequestId};

/// How fresh a read must be, and how long it may wait for that.
#[derive(Debug, Clone)]
pub struct ReadOptions {
    pub level: ReadLevel,
    /// Bound on the age of a `stale` answer; an older one becomes a forwarded `default` read.
    pub max_stale: Option<Duration>,
    /// The serving node must have applied this log index.
    pub min_revision: Option<u64>,
    /// Longest wait for `min_revision`, at most 30 s.
    pub wait: Duration,
    pub routing: Routing,
}

impl ReadOptions {
    /// Returns a read of the given level without bounds.
    #[must_use]
    pub const fn level(level: ReadLevel) -> Self {
        Self {
            level,
            max_stale: None,
            min_revision: None,
            wait: Duration::from_secs(1),
            routing: Routing::Forward,
        }
    }
}

/// What a node that is not the leader does with a request for the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Routing {
    /// Passes it on over the peer protocol and answers as the leader would.
    #[default]
    Forward,
    /// Answers [`ServiceError::Redirect`](super::ServiceError::Redirect).
    Redirect,
}

/// A write as a client asked for it.
#[derive(Debug, Clone)]
pub struct WriteRequest {
    pub op: Op,
    /// The client's own id (`Idempotency-Key`); without one the node makes one.
    pub request_id: Option<RequestId>,
    /// The client's label (`Conclave-Client`), at most 64 bytes.
    pub client: Option<Arc<str>>,
    /// What must be held for the write to be applied (`Conclave-Lock`).
    pub guard: Option<Guard>,
    pub routing: Routing,
}

impl WriteRequest {
    /// Returns a write of the node itself: no client asked for it, and no lock guards it.
    #[must_use]
    pub const fn own(op: Op) -> Self {
        Self {
            op,
            request_id: None,
            client: None,
            guard: None,
            routing: Routing::Forward,
        }
    }
}

/// A value with the facts about the node and the moment it was read or written at.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Answer<T> {
    pub value: T,
    pub meta: AnswerMeta,
}

/// What the response headers of `api.md` §2 say.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AnswerMeta {
    /// State revision that the answer reflects.
    pub revision: u64,
    /// Read level that was really applied; a write is `consistent`.
    pub level: ReadLevel,
    pub term: u64,
    pub applied_index: u64,
    /// Log time of that state; deadlines are left to run from it.
    pub log_time_ms: u64,
    /// Name of the node whose state was read, or that proposed the write.
    pub served_by: Arc<str>,
    /// Name of the leader that the serving node knows.
    pub leader: Option<Arc<str>>,
    /// Upper bound, plus one message delay, on the age of the state; `None` when nothing is known.
    pub last_contact: Option<Duration>,
    /// Another node served it.
    pub forwarded: bool,
    /// Id of the write; `None` for a read.
    pub request_id: Option<RequestId>,
    /// The write was a repetition: this is the first one's outcome.
    pub replayed: bool,
    /// Where the time went, for `Server-Timing`.
    pub timing: Timing,
}

/// Parts of the time a request took; `None` where the part did not happen.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Timing {
    /// Waiting for the read level's promise.
    pub read_index: Option<Duration>,
    /// From the proposal to its outcome.
    pub commit: Option<Duration>,
    /// The whole trip to another node and back.
    pub forward: Option<Duration>,
}

/// A node that wants to be, or is to be made, a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRequest {
    pub name: String,
    /// Address of its client API, `host:port`.
    pub http: String,
    /// Address of its peer protocol, `host:port`; the leader dials it.
    pub raft: String,
    /// Replaces a live member of the same name.
    pub replace: bool,
}

/// What became of a join: the node is a learner now and will be promoted when it has caught up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    pub id: u64,
    pub cluster_id: String,
    pub leader: String,
}
