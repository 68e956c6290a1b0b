//! Who answers this leader, and what follows from it for the quorum.

use std::time::Duration;

use conclave_shared::cluster::QuorumStatus;

use super::Node;
use crate::clock;
use crate::raft::{CAUGHT_UP_ENTRIES, NodeId};

/// A member that has not answered its leader for this long counts as dead: it is reported, and may be
/// replaced under its name.
pub(super) const SILENT: Duration = Duration::from_secs(10);

impl Node {
    /// Returns for how long a member has certainly not answered this leader: since its last answer,
    /// or since this leader was elected. Zero where this node does not lead, and for itself.
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
        // An answer to an earlier term of this leader says nothing about this one.
        led_for.map_or(Duration::ZERO, |led_for| {
            last_ack.map_or(led_for, |age| age.min(led_for))
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
}
