//! How a node that was removed learns it. Nobody replicates to it any more, so it may never see the
//! entry that removed it: a node that hears no leader asks the members it knows.
//!
//! Only a leader that has its quorum says it, of an id that is not in its membership while no member
//! is being added. Ids are never given twice (invariant 10), so it is true for ever.

use std::sync::atomic::Ordering;
use std::time::Duration;

use conclave_shared::{MarkKind, ReadLevel};
use serde::{Deserialize, Serialize};

use super::{Node, PeerReply, PeerRequest, ServiceError};
use crate::raft::NodeId;

/// Longest wait for one member's answer.
const ANSWER_WAIT: Duration = Duration::from_secs(1);
/// Answers in a row that a node believes.
const BELIEVED: u8 = 2;

/// What a cluster says of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    Member,
    /// It was removed, or never added, and never will be.
    Removed,
    /// The asked node cannot say.
    Unsure,
}

impl Node {
    /// Returns true once this node knows that it is no member of its cluster any more.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        self.0.removed.load(Ordering::SeqCst)
    }

    /// Asks the members whether this node still is one. `said` counts those that denied it in a row.
    pub(super) async fn ask_standing(&self, said: &mut u8) {
        let (me, facts) = (self.0.consensus.id(), self.0.consensus.facts());
        let others = facts.members.keys().copied().filter(|id| *id != me);
        let asked = others.map(|id| {
            self.0
                .peers
                .call(id, PeerRequest::Standing { id: me }, ANSWER_WAIT)
        });
        let answers = futures::future::join_all(asked).await;
        let standings = answers.into_iter().filter_map(|answer| match answer {
            Ok(Ok(PeerReply::Standing(standing))) => Some(standing),
            _ => None,
        });
        let standings: Vec<_> = standings.collect();
        if standings.contains(&Standing::Member) {
            *said = 0;
        } else if standings.contains(&Standing::Removed) {
            *said += 1;
        }
        if *said >= BELIEVED {
            self.note_removed("the other members say so");
        }
    }

    /// Takes note that this node is no member any more: it campaigns no longer, and serves `stale`
    /// reads only.
    pub(super) fn note_removed(&self, why: &str) {
        if self.0.removed.swap(true, Ordering::SeqCst) {
            return;
        }
        self.0.consensus.retire();
        let cluster = self.0.options.cluster;
        tracing::error!(
            "this node was removed from cluster {cluster}: {why}. It answers `stale` reads only; to \
             come back, start it with -join and an empty data directory"
        );
        let text = format!("{} was removed", self.name());
        self.0.options.metrics.mark(MarkKind::Member, text);
        self.0.facts_changed.notify_waiters();
    }

    /// Answers a node that asks for itself, or a member that asks for one.
    pub(super) async fn standing_for_peer(
        &self,
        from: NodeId,
        id: NodeId,
    ) -> Result<Standing, ServiceError> {
        let facts = self.facts();
        match facts.remote_leader(self.0.consensus.id()) {
            None => Ok(self.standing_here(id).await),
            // Passed on once: only by the node that was asked first.
            Some(leader) if from == id && leader.id != id => {
                let asked = self
                    .0
                    .peers
                    .call(leader.id, PeerRequest::Standing { id }, ANSWER_WAIT);
                match asked.await {
                    Ok(Ok(PeerReply::Standing(standing))) => Ok(standing),
                    _ => Ok(Standing::Unsure),
                }
            }
            Some(_) => Ok(Standing::Unsure),
        }
    }

    async fn standing_here(&self, id: NodeId) -> Standing {
        // A member that is being added has its id before it is in the membership.
        let Ok(_turn) = self.0.membership.try_lock() else {
            return Standing::Unsure;
        };
        if !self.is_leader(&self.facts()) || self.next_round(ReadLevel::Consistent).await.is_err() {
            return Standing::Unsure;
        }
        match self.0.consensus.facts().members.contains_key(&id) {
            true => Standing::Member,
            // An entry that is not committed may be taken back by the next leader.
            false if !self.0.consensus.is_membership_committed() => Standing::Unsure,
            false => Standing::Removed,
        }
    }
}
