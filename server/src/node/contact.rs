//! How old the state of a follower can be (`Conclave-Last-Contact`).
//!
//! Each heartbeat tells the age of the leader's newest quorum round and the commit index at that
//! time. State that includes this commit index was current when that round began: no other leader
//! can have committed anything before it. The newest heartbeat whose commit index is applied
//! therefore bounds the age.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::clock;

/// Heartbeats remembered while the state lags behind them; further ones wait for their turn.
const REMEMBERED: usize = 64;

#[derive(Debug, Clone, Copy)]
struct Heard {
    /// Start of the quorum round, on this node's clock; it is no later than the real one plus the
    /// heartbeat's way here.
    round_began: Instant,
    commit_index: u64,
}

#[derive(Debug, Default)]
struct Inner {
    last_heard: Option<Instant>,
    /// Commit index that the last heartbeat told.
    commit_index: u64,
    /// The newest heartbeat whose commit index is known to be applied.
    covered: Option<Heard>,
    /// Later ones, oldest first.
    ahead: VecDeque<Heard>,
}

/// The heartbeats a node has received; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Contact(Arc<Mutex<Inner>>);

impl Contact {
    /// Notes a heartbeat from the leader that arrived at `arrived`.
    pub fn heard(&self, arrived: Instant, quorum_age: Option<Duration>, commit_index: u64) {
        let mut inner = self.0.lock();
        inner.last_heard = Some(arrived);
        inner.commit_index = commit_index;
        let Some(round_began) = quorum_age.and_then(|age| arrived.checked_sub(age)) else {
            return;
        };
        if inner.ahead.len() == REMEMBERED {
            return;
        }
        inner.ahead.push_back(Heard {
            round_began,
            commit_index,
        });
    }

    /// Returns the upper bound on the age of a state that has applied `applied_index`.
    #[must_use]
    pub fn age(&self, applied_index: u64) -> Option<Duration> {
        let mut inner = self.0.lock();
        while let Some(next) = inner
            .ahead
            .front()
            .copied()
            .filter(|next| next.commit_index <= applied_index)
        {
            inner.ahead.pop_front();
            let newest = inner.covered.map_or(next.round_began, |old| {
                old.round_began.max(next.round_began)
            });
            inner.covered = Some(Heard {
                round_began: newest,
                ..next
            });
        }
        inner
            .covered
            .map(|heard| clock::now().saturating_duration_since(heard.round_began))
    }

    /// Returns the commit index that the last heartbeat told; `None` before any.
    #[must_use]
    pub fn leaders_commit(&self) -> Option<u64> {
        let inner = self.0.lock();
        inner.last_heard.map(|_| inner.commit_index)
    }

    /// Returns the time since any heartbeat.
    #[must_use]
    pub fn since_heard(&self) -> Option<Duration> {
        let heard = self.0.lock().last_heard?;
        Some(clock::now().saturating_duration_since(heard))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_counts_from_the_newest_heartbeat_that_is_applied() {
        let contact = Contact::default();
        assert_eq!(contact.age(100), None);
        contact.heard(clock::now(), Some(Duration::from_secs(5)), 10);
        contact.heard(clock::now(), Some(Duration::from_secs(1)), 20);
        assert_eq!(contact.age(9), None);
        assert!(contact.age(15).unwrap() >= Duration::from_secs(5));
        let age = contact.age(20).unwrap();
        assert!(
            age >= Duration::from_secs(1) && age < Duration::from_secs(5),
            "{age:?}"
        );
    }

    #[test]
    fn a_leader_without_a_quorum_in_its_term_proves_nothing() {
        let contact = Contact::default();
        contact.heard(clock::now(), None, 10);
        assert_eq!(contact.age(10), None);
        assert!(contact.since_heard().is_some());
    }

    #[test]
    fn memory_is_bounded_while_the_state_lags() {
        let contact = Contact::default();
        for commit in 0..1_000 {
            contact.heard(clock::now(), Some(Duration::ZERO), 1_000 + commit);
        }
        assert_eq!(contact.0.lock().ahead.len(), REMEMBERED);
        assert!(contact.age(2_000).is_some());
    }
}
