//! Who answers this leader, and what follows from it for the quorum.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use conclave_shared::cluster::QuorumStatus;

use super::Node;
use super::consensus::Facts;
use crate::clock;
use crate::raft::{CAUGHT_UP_ENTRIES, NodeId};

/// A member that has not answered its leader for this long counts as dead: it is reported, and may be
/// replaced under its name.
pub(super) const SILENT: Duration = Duration::from_secs(10);

/// A leader that did not look for longer was frozen or cut off, and knows nothing of the time between.
const LOOKED_AWAY: Duration = Duration::from_secs(2);

/// What a leader has seen of its members in its term.
#[derive(Debug, Default)]
pub(super) struct Attention {
    term: u64,
    /// When each was first seen in the membership.
    members: BTreeMap<NodeId, Instant>,
    /// Since when a majority answers without a break.
    quorum: Option<Instant>,
    looked: Option<Instant>,
}

impl Attention {
    /// Takes a look at the membership.
    fn look(&mut self, facts: &Facts, has_quorum: bool, now: Instant) {
        if self.term != facts.term {
            *self = Self {
                term: facts.term,
                ..Self::default()
            };
        }
        let looked = self.looked.replace(now);
        let has_looked = looked.is_some_and(|at| now.duration_since(at) <= LOOKED_AWAY);
        self.quorum = match has_quorum {
            true => Some(self.quorum.filter(|_| has_looked).unwrap_or(now)),
            false => None,
        };
        self.members.retain(|id, _| facts.members.contains_key(id));
        for id in facts.members.keys() {
            self.members.entry(*id).or_insert(now);
        }
    }
}

impl Node {
    /// Takes a look at who is there; this node leads. To be called often.
    pub(super) fn attend(&self, facts: &Facts) {
        let lease = self.0.options.raft.lease();
        let has_quorum = self
            .0
            .consensus
            .quorum_age()
            .is_some_and(|age| age <= lease);
        let mut attention = self.0.attention.lock();
        attention.look(facts, has_quorum, clock::now());
    }

    /// Returns for how long a member was silent while others were not: what counts before it is
    /// removed or replaced for that. A leader that was cut off itself has no reason to blame anybody.
    pub(super) fn dead_for(&self, id: NodeId) -> Duration {
        let quorum = self.0.attention.lock().quorum;
        let quorum_for = quorum.map_or(Duration::ZERO, clock::since);
        self.silence(id).min(quorum_for)
    }

    /// Returns for how long a member has certainly not answered this leader: since its last answer,
    /// or since this leader was elected, or since it is a member. Zero where this node does not lead,
    /// and for itself.
    pub(super) fn silence(&self, id: NodeId) -> Duration {
        let led_for = self.led_for();
        if id == self.0.consensus.id() {
            return Duration::ZERO;
        }
        let followers = self.0.consensus.followers();
        let last_ack = followers
            .into_iter()
            .find(|follower| follower.id == id)
            .and_then(|follower| follower.last_ack);
        let seen = self.0.attention.lock().members.get(&id).copied();
        let member_for = seen.map_or(Duration::ZERO, clock::since);
        // An answer to an earlier term of this leader says nothing about this one.
        led_for.map_or(Duration::ZERO, |led_for| {
            let most = led_for.min(member_for);
            last_ack.map_or(most, |age| age.min(most))
        })
    }

    /// Returns for how long this node has led; `None` when it does not.
    pub(super) fn led_for(&self) -> Option<Duration> {
        self.0.elected.lock().map(|(_, at)| clock::since(at))
    }

    /// Returns whether a member has answered this leader lately, within two election timeouts.
    pub(super) fn answers(&self, id: NodeId) -> bool {
        let recent = 2 * self.0.options.raft.election_max;
        if id == self.0.consensus.id() {
            return true;
        }
        let followers = self.0.consensus.followers();
        followers
            .iter()
            .any(|f| f.id == id && f.last_ack.is_some_and(|age| age < recent))
    }

    /// Returns whether a member answers and has nearly all of the log.
    pub(super) fn is_caught_up(&self, id: NodeId) -> bool {
        let last = self.0.consensus.progress().last_log;
        let lease = self.0.options.raft.lease();
        let followers = self.0.consensus.followers();
        followers.iter().any(|f| {
            f.id == id
                && f.last_ack.is_some_and(|age| age < lease)
                && f.match_index + CAUGHT_UP_ENTRIES >= last
        })
    }

    /// Returns whether enough voters answer and have nearly all of the log: what is written after a
    /// change can be committed at once.
    pub(super) fn can_commit(&self, voters: &[NodeId]) -> bool {
        let me = self.0.consensus.id();
        let able = voters
            .iter()
            .filter(|id| **id == me || self.is_caught_up(**id));
        has_majority(&quorum(voters.len() as u64, able.count() as u64))
    }

    /// Counts voters, as this leader sees them.
    pub(super) fn tally(&self, voters: &[NodeId]) -> QuorumStatus {
        let healthy = voters.iter().filter(|id| self.answers(**id)).count() as u64;
        quorum(voters.len() as u64, healthy)
    }
}

/// Returns what a number of voters can lose.
pub(super) const fn quorum(voters: u64, healthy: u64) -> QuorumStatus {
    QuorumStatus {
        voters,
        healthy,
        can_lose: healthy.saturating_sub(voters / 2 + 1),
    }
}

/// Returns whether there are enough healthy voters for anything to be committed.
pub(super) const fn has_majority(quorum: &QuorumStatus) -> bool {
    quorum.healthy > quorum.voters / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_number_of_voters_can_lose_no_more_than_one_fewer() {
        for (voters, healthy, can_lose, majority) in [
            (1, 1, 0, true),
            (2, 2, 0, true),
            (2, 1, 0, false),
            (3, 3, 1, true),
            (3, 2, 0, true),
            (4, 4, 1, true),
            (4, 2, 0, false),
            (5, 4, 1, true),
            (5, 2, 0, false),
            (7, 7, 3, true),
        ] {
            let seen = quorum(voters, healthy);
            assert_eq!(seen.can_lose, can_lose, "{voters} {healthy}");
            assert_eq!(has_majority(&seen), majority, "{voters} {healthy}");
        }
    }

    #[test]
    fn a_leader_that_was_cut_off_or_frozen_begins_to_count_anew() {
        let facts = Facts {
            term: 3,
            ..Facts::unknown()
        };
        let began = clock::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let mut attention = Attention::default();
        for second in 0..10 {
            attention.look(&facts, true, at(second));
        }
        assert_eq!(attention.quorum, Some(at(0)));
        attention.look(&facts, false, at(10));
        assert_eq!(attention.quorum, None);
        attention.look(&facts, true, at(11));
        assert_eq!(attention.quorum, Some(at(11)));
        attention.look(&facts, true, at(20));
        assert_eq!(attention.quorum, Some(at(20)), "it was frozen");
        let next = Facts { term: 4, ..facts };
        attention.look(&next, true, at(21));
        assert_eq!(attention.quorum, Some(at(21)), "another term");
    }
}
