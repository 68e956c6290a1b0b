//! One lock: who holds it, and who waits, in the order of their claims.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::state::SessionId;

/// One session's claim on one lock. Times are log time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    pub session: SessionId,
    /// Who the client says it is.
    pub owner: Arc<str>,
    /// Name of the node that took the claim from its client.
    pub node: Arc<str>,
    pub ttl_ms: u64,
    /// When it ends unless it is renewed.
    pub deadline_ms: u64,
    /// Since when it holds the lock, or waits.
    pub since_ms: u64,
}

/// A lock that is held. One that nobody holds does not exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    pub holder: Claim,
    /// The fencing token: log index of the holder's grant.
    pub token: u64,
    /// In the order in which they are granted, at most [`conclave_shared::limits::LOCK_WAITERS`].
    pub waiters: Vec<Claim>,
}

/// What a caller is told of the lock it asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldBy {
    pub owner: Arc<str>,
    pub session: SessionId,
    pub node: Arc<str>,
    pub token: u64,
    /// Time until the holder's claim ends unless it is renewed.
    pub ttl_ms: u64,
}

impl Lock {
    /// Returns what a caller that does not hold it is told.
    #[must_use]
    pub fn held_by(&self, now_ms: u64) -> HeldBy {
        HeldBy {
            owner: self.holder.owner.clone(),
            session: self.holder.session,
            node: self.holder.node.clone(),
            token: self.token,
            ttl_ms: self.holder.deadline_ms.saturating_sub(now_ms),
        }
    }

    /// Returns the place of a waiter, from 1.
    #[must_use]
    pub fn position(&self, session: SessionId) -> Option<u64> {
        Some(self.place(session)? as u64 + 1)
    }

    /// Returns where a waiter stands in the queue, whose sessions rise.
    pub(super) fn place(&self, session: SessionId) -> Option<usize> {
        self.waiters
            .binary_search_by_key(&session, |waiter| waiter.session)
            .ok()
    }

    pub(super) fn claim_mut(&mut self, session: SessionId) -> Option<&mut Claim> {
        if self.holder.session == session {
            return Some(&mut self.holder);
        }
        let place = self.place(session)?;
        self.waiters.get_mut(place)
    }
}
