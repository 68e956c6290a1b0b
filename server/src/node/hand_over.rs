//! Who leads: handing leadership over, when asked, before this node is removed, and when it stops.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::consensus::Facts;
use super::membership::unexpected;
use super::{Node, PeerReply, PeerRequest, ServiceError};
use crate::clock;
use crate::raft::NodeId;

/// A leader that is asked to hand over waits this long for its successor.
const TRANSFER_WAIT: Duration = Duration::from_secs(2);

impl Node {
    /// Hands leadership to a voter: the named one, or the one that has most of the log. Answers the
    /// new leader's name.
    ///
    /// # Errors
    ///
    /// `MemberNotFound`, or `MembershipConflict` when nobody can take over. `NoLeader` when nobody has
    /// in time: the old leader takes no writes until somebody is elected.
    pub async fn transfer_leader(&self, to: Option<String>) -> Result<String, ServiceError> {
        let facts = self.facts();
        match facts.remote_leader(self.0.consensus.id()) {
            None => self.transfer_here(to.as_deref()).await,
            Some(leader) => {
                let request = PeerRequest::TransferLeader { to };
                match self.ask_leader(leader, request, 2 * TRANSFER_WAIT).await? {
                    PeerReply::Transferred(name) => Ok(name),
                    _ => Err(unexpected()),
                }
            }
        }
    }

    pub(super) async fn transfer_here(&self, to: Option<&str>) -> Result<String, ServiceError> {
        let _turn = self.turn().await?;
        let facts = self.leading()?;
        let target = match self.successor(&facts, to) {
            Ok(target) => target,
            Err(refusal) => return Err(self.refused(&facts, refusal).await),
        };
        self.hand_over(&facts, target).await
    }

    /// Returns the named voter, or else the one that can take over soonest, with room on its disk
    /// if there is one.
    fn successor(&self, facts: &Facts, to: Option<&str>) -> Result<NodeId, ServiceError> {
        let lease = self.0.options.raft.lease();
        if let Some(name) = to {
            let mut named = facts.members_named(name).map(|(id, _)| id);
            let voter = named.find(|id| facts.voters.contains(id));
            let voter = voter.ok_or_else(|| ServiceError::MemberNotFound(name.to_owned()))?;
            // Asking one that is away would hold up writes for nothing.
            return match self.silence(voter) > 2 * self.0.options.raft.election_max {
                true => Err(ServiceError::MembershipConflict(format!(
                    "`{name}` does not answer"
                ))),
                false => Ok(voter),
            };
        }
        // One that is away may have as much of the log as the others.
        let answers = |ack: Option<Duration>| ack.is_some_and(|age| age < lease);
        let voters = self.0.consensus.followers().into_iter();
        voters
            .filter(|follower| facts.voters.contains(&follower.id) && answers(follower.last_ack))
            .max_by_key(|follower| (self.0.consensus.has_room(follower.id), follower.match_index))
            .map(|follower| follower.id)
            .ok_or_else(|| ServiceError::MembershipConflict("no other voter answers".to_owned()))
    }

    /// Hands over to a voter and waits until somebody leads. The caller has the turn.
    pub(super) async fn hand_over(
        &self,
        facts: &Facts,
        target: NodeId,
    ) -> Result<String, ServiceError> {
        let (me, name) = (self.0.consensus.id(), facts.name_of(target));
        if target == me {
            return Ok(name);
        }
        // From here on others may elect a leader although this one's lease has not run out.
        self.0.handing_over.store(facts.term, Ordering::SeqCst);
        self.0
            .consensus
            .hand_over(target)
            .await
            .map_err(ServiceError::Internal)?;
        let deadline = clock::now() + TRANSFER_WAIT;
        loop {
            let now = self.facts();
            if let Some(leader) = now.remote_leader(me).filter(|_| now.term > facts.term) {
                tracing::info!(leader = %leader.name, "handed leadership over to `{}`", leader.name);
                return Ok(leader.name.to_string());
            }
            let failure = self.no_leader("nobody has taken over");
            if self.pause(deadline, failure).await.is_err() {
                let reason = format!("`{name}` has not taken over within {TRANSFER_WAIT:?}");
                return Err(self.no_leader(&reason));
            }
        }
    }

    /// Hands over, to whom it is best. The caller has the turn.
    pub(super) async fn hand_over_to_anybody(&self, facts: &Facts) -> Result<String, ServiceError> {
        let target = self.successor(facts, None)?;
        self.hand_over(facts, target).await
    }

    /// Hands over and stops Raft. For a clean stop.
    pub async fn shutdown(&self) {
        let facts = self.facts();
        let has_successor = self.is_leader(&facts) && facts.voters.len() > 1;
        if has_successor && let Err(error) = self.transfer_here(None).await {
            tracing::warn!(%error, "stopping without a successor: {error}");
        }
        self.0.consensus.shutdown().await;
    }

    /// Returns why this node cannot go on, once it cannot.
    #[must_use]
    pub fn fatal(&self) -> Option<String> {
        self.0.consensus.fatal()
    }
}
