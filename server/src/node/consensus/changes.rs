//! What a leader does to the membership and to leadership. Every change is one log entry, or a
//! joint configuration and its end, and fails when another one came between.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::errors::{InitializeError, RaftError};
use openraft::rt::WatchReceiver;
use openraft::{ChangeMembers, Precondition};

use super::{Consensus, Facts, MembershipVersion, ProposeError, propose_error};
use crate::raft::{LogId, Member, NodeId};
use crate::runtime;
use crate::storage::SnapshotFile;

/// Longest wait for a change to be committed; it may still be, later.
const CHANGE_WAIT: Duration = Duration::from_secs(10);
/// Longest wait for this node's own facts to show a change that is committed.
const SHOWN_WAIT: Duration = Duration::from_secs(1);

/// A change of voters in one step: who comes in, and who goes for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::node) struct Swap {
    /// A learner that becomes a voter.
    pub promoted: Option<NodeId>,
    /// Voters that are members no longer.
    pub voters_gone: BTreeSet<NodeId>,
    /// Learners that are members no longer.
    pub learners_gone: BTreeSet<NodeId>,
}

impl Swap {
    /// Returns who would vote afterwards.
    pub(in crate::node) fn voters_after(&self, facts: &Facts) -> Vec<NodeId> {
        let stays = |id: &NodeId| !self.voters_gone.contains(id);
        let mut voters: Vec<_> = facts.voters.iter().copied().filter(stays).collect();
        voters.extend(self.promoted);
        voters
    }
}

impl Facts {
    /// Returns what makes a learner a voter: older members of its name go in the same step.
    pub(in crate::node) fn promotion(&self, id: NodeId) -> Swap {
        let name = self.name_of(id);
        let older = self.members_named(&name).map(|(id, _)| id);
        let (voters_gone, learners_gone) = older
            .filter(|older| *older < id)
            .partition(|older| self.voters.contains(older));
        Swap {
            promoted: Some(id),
            voters_gone,
            learners_gone,
        }
    }
}

/// All of it is for the leader.
impl Consensus {
    /// Makes the first members of a new cluster. Every founder does, with the same members; it does
    /// nothing where that was done before.
    ///
    /// # Errors
    ///
    /// Raft has stopped.
    pub async fn form(&self, founders: BTreeMap<NodeId, Member>) -> Result<(), String> {
        match self.raft.initialize(founders).await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Adds a learner in the place of others; does not wait until it has caught up.
    pub(in crate::node) async fn add_learner(
        &self,
        on: &Facts,
        (id, member): (NodeId, Member),
        gone: BTreeSet<NodeId>,
    ) -> Result<(), ProposeError> {
        let changes = vec![
            ChangeMembers::RemoveNodes(gone),
            ChangeMembers::AddNodes([(id, member)].into()),
        ];
        self.change(on.version, ChangeMembers::Batch(changes)).await
    }

    /// Makes a voter, and removes others, in one change.
    pub(in crate::node) async fn swap(&self, on: &Facts, swap: Swap) -> Result<(), ProposeError> {
        let changes = vec![
            ChangeMembers::AddVoterIds(swap.promoted.into_iter().collect()),
            ChangeMembers::RemoveVoters(swap.voters_gone),
            ChangeMembers::RemoveNodes(swap.learners_gone),
        ];
        self.change(on.version, ChangeMembers::Batch(changes)).await
    }

    /// Finishes a joint configuration that a crashed leader left.
    pub(in crate::node) async fn finish_change(&self, on: &Facts) -> Result<(), ProposeError> {
        self.change(on.version, ChangeMembers::AddVoterIds([].into()))
            .await
    }

    /// Replaces a member's name and addresses.
    pub(in crate::node) async fn update_member(
        &self,
        on: &Facts,
        id: NodeId,
        member: Member,
    ) -> Result<(), ProposeError> {
        self.change(on.version, ChangeMembers::SetNodes([(id, member)].into()))
            .await
    }

    /// Makes a change, and returns when this node's facts show it.
    async fn change(
        &self,
        on: MembershipVersion,
        change: ChangeMembers<NodeId, Member>,
    ) -> Result<(), ProposeError> {
        let unchanged = Precondition::LastMembershipLogId {
            last_membership_log_id: on.0,
        };
        let changing = self.raft.change_membership_if(change, false, [unchanged]);
        match runtime::timeout(CHANGE_WAIT, changing).await {
            Ok(Err(error)) => {
                let now = *self
                    .raft
                    .server_metrics()
                    .borrow_watched()
                    .membership_config
                    .log_id();
                match now == on.0 {
                    true => Err(propose_error(error)),
                    // Its first step may be in the log, and then it will be finished.
                    false => Err(ProposeError::Unknown(format!(
                        "the membership has changed meanwhile, maybe by this: {error}"
                    ))),
                }
            }
            Ok(Ok(changed)) => {
                let shown = self.shows(changed.log_id);
                // It shows a little later if it must: the precondition keeps decisions apart.
                if runtime::timeout(SHOWN_WAIT, shown).await.is_err() {
                    tracing::debug!("the change does not show yet");
                }
                Ok(())
            }
            Err(runtime::Elapsed) => Err(ProposeError::Unknown(format!(
                "the change was not committed within {CHANGE_WAIT:?}"
            ))),
        }
    }

    /// Returns when the facts are those of the membership at `log_id`, or a later one.
    async fn shows(&self, log_id: LogId) {
        let mut changes = self.fact_changes();
        loop {
            let shown = *changes.borrow_watched().membership_config.log_id();
            self.refresh_facts();
            if shown >= Some(log_id) || changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Returns whether the membership that the facts show is committed, so that it stays.
    pub(in crate::node) fn is_membership_committed(&self) -> bool {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.log_id() == metrics.committed_membership_config.log_id()
    }

    /// Asks a voter to take over. Does not wait for it.
    pub async fn hand_over(&self, to: NodeId) -> Result<(), String> {
        self.raft
            .trigger()
            .transfer_leader(to)
            .await
            .map_err(|error| error.to_string())
    }

    /// Asks the others whether they would vote for this node, and for their votes if enough would;
    /// returns false, and does nothing, when this node's own vote is not that for `leader`, elected.
    /// Nor does Raft while this node has no vote or has heard a leader within its lease. Does not wait
    /// for the result.
    pub(in crate::node) async fn stand_for_election_after(
        &self,
        leader: NodeId,
    ) -> Result<bool, String> {
        // Raft itself is asked: the facts show a vote only once it is on the disk.
        let follows = self.raft.with_raft_state(move |state| {
            let vote = state.vote_ref();
            vote.committed && vote.leader_id.voted_for == leader
        });
        let follows = follows.await.map_err(|error| error.to_string())?;
        if follows {
            let stood = self.raft.trigger().elect(true).await;
            stood.map_err(|error| error.to_string())?;
        }
        Ok(follows)
    }

    /// Sends heartbeats, if this node leads. Does not wait for the answers.
    pub(in crate::node) async fn beat(&self) -> Result<(), String> {
        let sent = self.raft.trigger().heartbeat().await;
        sent.map_err(|error| error.to_string())
    }

    /// Ends the pause before the next try to replicate to a member that was away.
    pub async fn replicate_at_once(&self, to: NodeId) {
        if let Err(error) = self.raft.trigger().reset_backoff([to]).await {
            tracing::debug!(%error, "raft has stopped");
        }
    }

    /// Keeps this node from ever campaigning again.
    pub(in crate::node) fn retire(&self) {
        self.raft.runtime_config().elect(false);
    }

    /// Starts building a snapshot. Does not wait for it.
    pub async fn build_snapshot(&self) -> Result<(), String> {
        self.raft
            .trigger()
            .snapshot()
            .await
            .map_err(|error| error.to_string())
    }

    /// Returns the newest snapshot of this node.
    pub(in crate::node) async fn newest_snapshot(&self) -> Result<Option<SnapshotFile>, String> {
        let newest = self.raft.get_snapshot().await;
        newest
            .map(|newest| newest.map(|newest| newest.snapshot))
            .map_err(|error| error.to_string())
    }

    /// Stops Raft and waits for its tasks.
    pub async fn shutdown(&self) {
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "raft did not stop cleanly");
        }
    }
}
