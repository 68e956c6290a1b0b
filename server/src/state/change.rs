//! What applying a command changed: the source of events and of the history.
//!
//! The encoding is positional and stored; see [`super::command`].

use std::sync::Arc;

use conclave_shared::MemberAddress;
use serde::{Deserialize, Serialize};

use super::locks::Claim;
use super::{Key, LockName, Record, SessionId};

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    Put {
        key: Key,
        record: Arc<Record>,
        previous: Option<Arc<Record>>,
    },
    Delete {
        key: Key,
        previous: Arc<Record>,
    },
    /// The key's time was over.
    Expire {
        key: Key,
        previous: Arc<Record>,
    },
    Lock(LockChange),
    /// The cluster has other members, or their names, addresses or votes are others.
    Members {
        before: Vec<MemberAddress>,
        after: Vec<MemberAddress>,
    },
}

/// What became of one claim on a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockChange {
    pub lock: LockName,
    pub kind: LockChangeKind,
    pub session: SessionId,
    pub owner: Arc<str>,
    /// Name of the node that took the claim from its client.
    pub node: Arc<str>,
    /// The fencing token that was given, or that has ended; `None` for a waiter.
    pub token: Option<u64>,
    /// Claims that wait in the queue after the change.
    pub waiters: u64,
}

/// How a claim on a lock changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LockChangeKind {
    /// It holds the lock now.
    Granted,
    /// It waits in the queue now.
    Queued,
    /// Its holder gave the lock back.
    Released,
    /// Its holder did not renew it in time.
    Expired,
    /// Somebody else broke it.
    Broken,
    /// It waited and has left the queue, by itself or because it was not renewed.
    Left,
}

impl LockChange {
    pub(super) fn new(
        lock: &LockName,
        kind: LockChangeKind,
        claim: &Claim,
        token: Option<u64>,
        waiters: usize,
    ) -> Self {
        Self {
            lock: lock.clone(),
            kind,
            session: claim.session,
            owner: claim.owner.clone(),
            node: claim.node.clone(),
            token,
            waiters: waiters as u64,
        }
    }
}

/// Everything that one log entry changed; never empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeSet {
    /// The entry's log index.
    pub revision: u64,
    pub log_time_ms: u64,
    /// The leader's wall clock when it proposed the entry, milliseconds since 1970; 0 for a change
    /// of the membership, which carries no time.
    pub wall_time_ms: u64,
    /// Name of the node that took the write from its client.
    pub origin: Arc<str>,
    /// The client's own label.
    pub client: Option<Arc<str>>,
    pub changes: Vec<Change>,
}

impl ChangeSet {
    /// Estimates what it takes in memory and on disk, bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let record = |record: &Record| 64 + record.value.len() + record.content_type.len();
        let change = |change: &Change| match change {
            Change::Put {
                key,
                record: new,
                previous,
            } => key.len() + record(new) + previous.as_deref().map_or(0, record),
            Change::Delete { key, previous } | Change::Expire { key, previous } => {
                key.len() + record(previous)
            }
            Change::Lock(change) => 64 + change.lock.len() + change.owner.len(),
            Change::Members { before, after } => 256 * (before.len() + after.len()),
        };
        128 + self.changes.iter().map(change).sum::<usize>()
    }
}
