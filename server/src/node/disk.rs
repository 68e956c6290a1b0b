//! Whose disk has room, and what a leader makes of it. A change needs room on the leader's disk and on
//! those of a majority. A leader without it makes way for a voter whose disk has room, if there is one;
//! else nothing is proposed until there is space again, neither for clients nor by the leader itself:
//! deadlines stand still meanwhile, as they do without a leader.
//!
//! A follower says with every answer to a heartbeat whether its disk has room, long before it refuses
//! entries: so the leader refuses first, and what it has proposed is still taken.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::RwLock;

use super::consensus::Facts;
use super::quorum::{has_majority, quorum};
use super::{Node, ServiceError};
use crate::raft::NodeId;

/// Members whose disks have no room, by their last answers to this node as their leader; clones share
/// it.
#[derive(Debug, Clone, Default)]
pub struct FullDisks(Arc<RwLock<BTreeSet<NodeId>>>);

impl FullDisks {
    /// Notes what a member has said.
    pub fn note(&self, id: NodeId, is_full: bool) {
        if self.has(id) == is_full {
            return;
        }
        let mut members = self.0.write();
        match is_full {
            true => members.insert(id),
            false => members.remove(&id),
        };
    }

    /// Returns whether a member has said that its disk has no room.
    #[must_use]
    pub fn has(&self, id: NodeId) -> bool {
        self.0.read().contains(&id)
    }
}

impl Node {
    /// Fails unless this node, which leads, may propose.
    ///
    /// # Errors
    ///
    /// `DiskFull`, or `NoLeader` while another node is about to take over. Nothing was proposed.
    pub(super) fn check_room(&self, facts: &Facts) -> Result<(), ServiceError> {
        if !self.quorum_has_room(facts) {
            return Err(ServiceError::DiskFull);
        }
        if self.0.consensus.has_room(self.0.consensus.id()) {
            return Ok(());
        }
        match self.heir(facts) {
            Some(_) => Err(self.no_leader("the leader's disk is full, and another one takes over")),
            None => Err(ServiceError::DiskFull),
        }
    }

    /// Hands leadership to a voter whose disk has room, when this leader's has none.
    pub(super) async fn make_way(&self, facts: &Facts) {
        if self.0.consensus.has_room(self.0.consensus.id()) {
            return;
        }
        let Some(heir) = self.heir(facts) else {
            return;
        };
        tracing::warn!(
            "the disk of this leader is full: `{}` is to take over",
            facts.name_of(heir)
        );
        let handed = match self.turn().await {
            Ok(_turn) => self.hand_over(facts, heir).await,
            Err(error) => Err(error),
        };
        if let Err(error) = handed {
            tracing::warn!(%error, "still leads with a full disk: {error}");
        }
    }

    /// Returns whether enough voters' disks have room for anything to be committed.
    fn quorum_has_room(&self, facts: &Facts) -> bool {
        let consensus = &self.0.consensus;
        let able = facts.voters.iter().filter(|id| consensus.has_room(**id));
        has_majority(&quorum(facts.voters.len() as u64, able.count() as u64))
    }

    /// Returns the voter that can take over soonest of those whose disks have room.
    fn heir(&self, facts: &Facts) -> Option<NodeId> {
        let consensus = &self.0.consensus;
        if !self.quorum_has_room(facts) {
            return None;
        }
        let followers = consensus.followers().into_iter();
        followers
            .filter(|it| facts.voters.contains(&it.id) && consensus.has_room(it.id))
            .filter(|it| self.is_caught_up(it.id))
            .max_by_key(|it| it.match_index)
            .map(|it| it.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_of_a_member_counts() {
        let full = FullDisks::default();
        for (id, is_full) in [(1, true), (2, true), (1, true), (2, false), (3, false)] {
            full.note(id, is_full);
        }
        assert_eq!([1, 2, 3].map(|id| full.has(id)), [true, false, false]);
    }
}
