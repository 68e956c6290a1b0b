//! Bodies of the lock routes. Times are milliseconds.

use serde::{Deserialize, Serialize};

/// `POST /api/locks/{name}`: what a client wants.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcquireLock {
    /// Who the client says it is, at most 256 bytes; shown to others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// How long the claim lives unless it is renewed; 10 s when none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// How long to wait in the queue; 0, the default, never queues.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
    /// The claim that an earlier request made: it keeps its place, or its token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
}

/// The TTL of a claim when its request names none, milliseconds.
pub const DEFAULT_TTL_MS: u64 = 10_000;

/// The lock is the caller's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockGrant {
    pub name: String,
    /// The claim, for renewing and releasing.
    pub session: String,
    /// The fencing token: revision of the grant. It rises with every grant.
    pub token: u64,
    /// Time until the claim ends unless it is renewed.
    pub ttl_ms: u64,
}

/// `POST /api/locks/{name}/renew`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenewLock {
    pub session: String,
}

/// Answer to a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockReleased {
    pub name: String,
    pub revision: u64,
}

/// Who holds a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockHolder {
    pub owner: String,
    pub session: String,
    /// Name of the node that took the claim from its client.
    pub node: String,
    pub token: u64,
    /// Time until the claim ends unless it is renewed.
    pub ttl_ms: u64,
}

/// One who waits for a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockWaiter {
    pub owner: String,
    pub session: String,
    pub node: String,
    /// Place in the queue, from 1.
    pub position: u64,
    /// How long it has waited.
    pub waiting_ms: u64,
}

/// A lock as lists and `GET /api/locks/{name}` show it. One that nobody holds has nulls, and is in no
/// list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockInfo {
    pub name: String,
    pub token: Option<u64>,
    pub holder: Option<LockHolder>,
    /// How long the holder has held it.
    pub held_ms: Option<u64>,
    /// Time until the holder's claim ends unless it is renewed.
    pub ttl_ms: Option<u64>,
    /// Who waits, in the order in which they are granted.
    pub next: Vec<LockWaiter>,
}

/// `GET /api/locks`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockList {
    /// State revision that it was read at.
    pub revision: u64,
    pub locks: Vec<LockInfo>,
    /// Where the next page starts; null at the end.
    pub next: Option<String>,
}

/// Why a lock was not granted, beside the problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockProblem {
    /// Null in the answer to a repeated request.
    pub holder: Option<LockHolder>,
    /// The caller's place in the queue, from 1; where it has none, the one it would have.
    pub position: u64,
    /// The claim that waits, when the caller asked to wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
}
