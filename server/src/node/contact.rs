//! How old the state of a follower can be (`Conclave-Last-Contact`).
//!
//! Each heartbeat says how long ago the leader's newest quorum round began, and up to which index
//! the leader had applied after that. A state that includes this index was current when that round
//! began: no other leader can have committed anything before it. The newest heartbeat whose index
//! is applied therefore bounds the age.
//!
//! A heartbeat may be held up on its way for any time, by a frozen process or a healed network, so
//! its arrival says nothing. But the leader sent it after it had this node's reply to the one
//! before, and says how long after: this node knows when it sent that reply, and so a moment before
//! which the heartbeat was certainly not sent. What remains of the way is part of the bound.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::clock;

/// Heartbeats remembered until a state is asked for that has applied what they cover.
const REMEMBERED: usize = 128;

/// What a leader can say about its state at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vouch {
    /// Time since the start of the last round that a quorum answered.
    pub quorum_age: Duration,
    /// Everything acknowledged before that round began is at or below this log index.
    pub covers: u64,
}

/// What a heartbeat carries beside what Raft wants of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// Time from the reply to the heartbeat before, on the same connection, to this one's sending.
    since_reply: Option<Duration>,
    /// `None` while the leader has committed nothing in its own term.
    vouch: Option<Vouch>,
}

/// The leader's end of one connection for heartbeats.
#[derive(Debug, Default)]
pub struct BeatSender {
    /// When the reply to the last heartbeat had come.
    replied: Option<Instant>,
}

impl BeatSender {
    /// Makes what the next heartbeat carries.
    pub fn next(&self, vouch: impl FnOnce() -> Option<Vouch>) -> Beat {
        // First the time, then what holds at that time or later.
        let since_reply = self.replied.map(clock::since);
        Beat {
            since_reply,
            vouch: vouch(),
        }
    }

    /// Notes that the reply to a heartbeat has come.
    pub fn replied(&mut self) {
        self.replied = Some(clock::now());
    }
}

/// The follower's end of one connection for heartbeats.
#[derive(Debug, Default)]
pub struct BeatReceiver {
    /// When the reply to the last heartbeat was about to leave.
    replied: Option<Instant>,
}

impl BeatReceiver {
    /// Hands on what the leader vouches for, once a moment is known before which it did not.
    pub fn received(&self, beat: Beat, contact: &Contact) {
        // The leader had our reply before it sent this.
        let sent = self.replied.zip(beat.since_reply);
        if let Some(((replied, after), vouch)) = sent.zip(beat.vouch) {
            contact.vouched(replied + after, vouch);
        }
    }

    /// Notes that the reply to a heartbeat is about to leave.
    pub fn replying(&mut self) {
        self.replied = Some(clock::now());
    }
}

#[derive(Debug, Clone, Copy)]
struct Heard {
    /// Start of the quorum round on this node's clock, or a little earlier.
    round_began: Instant,
    covers: u64,
}

#[derive(Debug, Default)]
struct Inner {
    last_heard: Option<Instant>,
    /// Commit index that the last heartbeat told.
    commit_index: u64,
    /// Start of the newest round whose index is known to be applied.
    covered: Option<Instant>,
    /// Later ones, oldest first.
    ahead: VecDeque<Heard>,
}

/// The heartbeats a node has received; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Contact(Arc<Mutex<Inner>>);

impl Contact {
    /// Notes that a heartbeat arrived at `arrived`.
    pub fn heard(&self, arrived: Instant, commit_index: u64) {
        let mut inner = self.0.lock();
        inner.last_heard = Some(arrived);
        inner.commit_index = commit_index;
    }

    /// Notes what the leader vouched for in a heartbeat that it sent no earlier than `sent`.
    fn vouched(&self, sent: Instant, vouch: Vouch) {
        let mut inner = self.0.lock();
        let Some(round_began) = sent.checked_sub(vouch.quorum_age) else {
            return;
        };
        // The oldest stays, so that a state that lags ever further behind comes to it; the newest are
        // what a state is at that nobody has asked about for long.
        if inner.ahead.len() == REMEMBERED {
            inner.ahead.remove(1);
        }
        inner.ahead.push_back(Heard {
            round_began,
            covers: vouch.covers,
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
            .filter(|next| next.covers <= applied_index)
        {
            inner.ahead.pop_front();
            inner.covered = inner.covered.max(Some(next.round_began));
        }
        inner.covered.map(clock::since)
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
        self.0.lock().last_heard.map(clock::since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vouch(seconds: u64, covers: u64) -> Vouch {
        Vouch {
            quorum_age: Duration::from_secs(seconds),
            covers,
        }
    }

    #[test]
    fn age_counts_from_the_newest_heartbeat_that_is_applied() {
        let contact = Contact::default();
        assert_eq!(contact.age(100), None);
        contact.vouched(clock::now(), vouch(5, 10));
        contact.vouched(clock::now(), vouch(1, 20));
        assert_eq!(contact.age(9), None);
        assert!(contact.age(15).unwrap() >= Duration::from_secs(5));
        let age = contact.age(20).unwrap();
        assert!(
            age >= Duration::from_secs(1) && age < Duration::from_secs(5),
            "{age:?}"
        );
    }

    #[test]
    fn a_heartbeat_counts_from_when_it_was_sent() {
        let contact = Contact::default();
        let held_up = clock::now()
            .checked_sub(Duration::from_secs(9))
            .expect("the machine runs for longer than that");
        contact.heard(clock::now(), 10);
        contact.vouched(held_up, vouch(0, 10));
        assert!(contact.age(10).unwrap() >= Duration::from_secs(9));
        assert!(contact.since_heard().unwrap() < Duration::from_secs(9));
    }

    #[test]
    fn only_a_heartbeat_that_answers_a_reply_is_dated() {
        let (mut leader, mut follower) = (BeatSender::default(), BeatReceiver::default());
        let contact = Contact::default();
        follower.received(leader.next(|| Some(vouch(0, 10))), &contact);
        assert_eq!(contact.age(10), None, "it may have been sent at any time");
        follower.replying();
        leader.replied();
        follower.received(leader.next(|| Some(vouch(0, 10))), &contact);
        assert!(contact.age(10).unwrap() < Duration::from_secs(1));
    }

    #[test]
    fn a_leader_that_vouches_for_nothing_proves_nothing() {
        let contact = Contact::default();
        contact.heard(clock::now(), 10);
        assert_eq!(contact.age(10), None);
        assert!(contact.since_heard().is_some());
    }

    #[test]
    fn memory_is_bounded_while_the_state_lags() {
        let contact = Contact::default();
        for index in 0..1_000 {
            contact.vouched(clock::now(), vouch(1_000 - index, 1_000 + index));
        }
        assert_eq!(contact.0.lock().ahead.len(), REMEMBERED);
        let age = |applied| contact.age(applied).expect("the oldest is remembered");
        assert!(age(1_500) >= Duration::from_secs(1_000));
        assert!(age(1_999) < Duration::from_secs(2), "and so are the newest");
    }
}
