//! Changing one member: removing and promoting it, leaving, and saying beforehand what it does.
//!
//! The leader plans a change on the membership it sees and makes it only if that is still the one.
//! A leader that is to be removed hands over first: its successor removes it.

use std::time::Duration;

use conclave_shared::cluster::{MemberAction, MemberPlan, QuorumStatus};
use conclave_shared::{ReadLevel, limits};
use serde::{Deserialize, Serialize};

use super::consensus::{Facts, Swap};
use super::membership::unexpected;
use super::quorum::has_majority;
use super::{Node, PeerReply, PeerRequest, ReadOptions, ServiceError};
use crate::clock;
use crate::raft::NodeId;

/// Longest wait for the leader to make a change, another one before it included.
const ANSWER_WAIT: Duration = Duration::from_secs(22);
/// Longest search for a leader that makes the change, while leadership moves.
const SEARCH: Duration = Duration::from_secs(8);
/// A leader that was elected this shortly does not know yet who answers.
const FIRST_ANSWERS: Duration = Duration::from_secs(1);

/// Which member is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// While one member replaces another under its name, two have it: the older one is removed, the
    /// newer one promoted.
    Name(String),
    Id(NodeId),
}

/// A change of one member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeRequest {
    pub action: MemberAction,
    pub target: Target,
    /// Makes it although the cluster would lose its quorum as things are now.
    pub force: bool,
    /// Only says what it would do.
    pub dry_run: bool,
}

/// A change and why it is refused.
struct Planned {
    plan: MemberPlan,
    refusal: Option<ServiceError>,
    swap: Swap,
}

impl Node {
    /// Removes or promotes a member, here or through the leader, or says what that would do.
    ///
    /// # Errors
    ///
    /// `MemberNotFound`, `LastVoter`, `WouldLoseQuorum`, `AlreadyVoter`, `TooManyVoters`,
    /// `MembershipConflict`, `NoLeader`: nothing has changed. `ChangeUnfinished`: it may have.
    pub async fn change_member(
        &self,
        mut request: ChangeRequest,
    ) -> Result<MemberPlan, ServiceError> {
        if !request.dry_run
            && let Some(id) = self.meant_by(&request).await
        {
            // A repetition must not meet who has taken the name meanwhile.
            request.target = Target::Id(id);
        }
        let end = clock::now() + SEARCH;
        let mut deadline = clock::now() + self.leader_wait();
        let plan = loop {
            let facts = self.facts();
            let failure = match facts.remote_leader(self.0.consensus.id()) {
                None => match self.change_here(&request).await {
                    Ok(plan) => break plan,
                    Err(failure) => failure,
                },
                Some(leader) => {
                    let change = PeerRequest::Change(request.clone());
                    match self.ask_leader(leader, change, ANSWER_WAIT).await {
                        Ok(PeerReply::Changed(json)) => {
                            break serde_json::from_slice(&json)
                                .map_err(|error| ServiceError::Internal(error.to_string()))?;
                        }
                        Ok(_) => return Err(unexpected()),
                        Err(failure) => failure,
                    }
                }
            };
            if facts.leader.is_some() {
                // It may be handing over at this moment.
                deadline = end.min(clock::now() + self.leader_wait());
            }
            self.pause(deadline, failure).await?;
        };
        let removed = plan.done && plan.action == MemberAction::Remove;
        if removed && plan.id == self.0.consensus.id() {
            self.note_removed("it has left");
        }
        Ok(plan)
    }

    /// Returns the member that has the name, no earlier than this call: the one that this node shows
    /// otherwise may be gone, and the name another's; a leader may have been followed without knowing
    /// it. `None` without a quorum; then the leader finds it.
    async fn meant_by(&self, request: &ChangeRequest) -> Option<NodeId> {
        if matches!(request.target, Target::Name(_)) {
            let fresh = ReadOptions::level(ReadLevel::Consistent);
            self.view(&fresh).await.ok()?;
            self.0.consensus.refresh_facts();
        }
        find(&self.facts(), request).ok()
    }

    /// Removes this node from its cluster.
    ///
    /// # Errors
    ///
    /// As [`Self::change_member`].
    pub async fn leave(&self) -> Result<MemberPlan, ServiceError> {
        self.change_member(ChangeRequest {
            action: MemberAction::Remove,
            target: Target::Id(self.0.consensus.id()),
            force: false,
            dry_run: false,
        })
        .await
    }

    /// Makes a change; this node must lead.
    pub(super) async fn change_here(
        &self,
        request: &ChangeRequest,
    ) -> Result<MemberPlan, ServiceError> {
        let _turn = self.turn().await?;
        let facts = self.leading()?;
        let planned = self.plan(&facts, request);
        let Planned {
            mut plan,
            refusal,
            swap,
        } = match planned {
            Ok(planned) => planned,
            Err(refusal) => return Err(self.refused(&facts, refusal).await),
        };
        let in_doubt = !has_majority(&plan.before) || !has_majority(&plan.after);
        if in_doubt && self.led_for().is_none_or(|time| time < FIRST_ANSWERS) {
            return Err(self.no_leader("the leader is new and does not know yet who answers it"));
        }
        if request.dry_run {
            return Ok(plan);
        }
        match refusal {
            Some(ServiceError::WouldLoseQuorum(_)) if request.force => {
                tracing::warn!("forced: {}", plan.text);
            }
            Some(refusal) => return Err(self.refused(&facts, refusal).await),
            None => {}
        }
        if swap.voters_gone.contains(&self.0.consensus.id()) {
            let successor = self.hand_over_to_anybody(&facts).await?;
            let reason = format!("the leader has handed over to `{successor}`, to be removed");
            return Err(self.no_leader(&reason));
        }
        let changed = self.0.consensus.swap(&facts, swap).await;
        changed.map_err(|error| self.change_error(error))?;
        plan.done = true;
        tracing::info!("{}", plan.text);
        Ok(plan)
    }

    fn plan(&self, facts: &Facts, request: &ChangeRequest) -> Result<Planned, ServiceError> {
        let id = find(facts, request)?;
        let is_voter = facts.voters.contains(&id);
        let mut swap = Swap::default();
        match request.action {
            MemberAction::Remove if is_voter => drop(swap.voters_gone.insert(id)),
            MemberAction::Remove => drop(swap.learners_gone.insert(id)),
            MemberAction::Promote if is_voter => {}
            MemberAction::Promote => swap = facts.promotion(id),
        }
        let before = self.tally(&facts.voters);
        let after = self.tally(&swap.voters_after(facts));
        let conflict = |text: &str| Some(ServiceError::MembershipConflict(text.to_owned()));
        let refusal = match request.action {
            MemberAction::Remove if is_voter => self.removal_refused(facts, id, &after),
            MemberAction::Remove => None,
            MemberAction::Promote => self.promotion_refused(facts, id),
        };
        let refusal = match refusal {
            None | Some(ServiceError::WouldLoseQuorum(_)) if facts.joint => {
                conflict("one that an earlier leader began is being finished")
            }
            // It would wait in the log, and come true at a bad moment.
            None | Some(ServiceError::WouldLoseQuorum(_)) if !has_majority(&before) => conflict(
                "no majority of the voters answers: nothing can be changed before one does",
            ),
            refusal => refusal,
        };
        let plan = MemberPlan {
            action: request.action,
            node: facts.name_of(id),
            id,
            done: false,
            allowed: refusal.is_none(),
            refusal: refusal.as_ref().map(ServiceError::code),
            text: in_words(request.action, &facts.name_of(id), &before, &after),
            before,
            after,
        };
        Ok(Planned {
            plan,
            refusal,
            swap,
        })
    }

    fn removal_refused(
        &self,
        facts: &Facts,
        id: NodeId,
        after: &QuorumStatus,
    ) -> Option<ServiceError> {
        let name = facts.name_of(id);
        if facts.voters.len() == 1 {
            let text = format!("`{name}` is the only voter: without it there is no cluster");
            return Some(ServiceError::LastVoter(text));
        }
        let (voters, healthy) = (after.voters, after.healthy);
        if !has_majority(after) {
            return Some(ServiceError::WouldLoseQuorum(format!(
                "without `{name}` only {healthy} of {voters} voters would answer, and nothing could \
                 be written until more do; `force=true` removes it nevertheless"
            )));
        }
        let rest: Vec<_> = facts
            .voters
            .iter()
            .copied()
            .filter(|it| *it != id)
            .collect();
        (!self.can_commit(&rest)).then(|| {
            ServiceError::WouldLoseQuorum(format!(
                "without `{name}` nothing could be written until a voter that is behind has caught \
                 up; `force=true` removes it nevertheless"
            ))
        })
    }

    fn promotion_refused(&self, facts: &Facts, id: NodeId) -> Option<ServiceError> {
        let refusal = no_place(facts, id);
        refusal.or_else(|| {
            let name = facts.name_of(id);
            let text = format!("`{name}` has not caught up; it becomes a voter when it has");
            (!self.is_caught_up(id)).then_some(ServiceError::MembershipConflict(text))
        })
    }
}

/// Returns why a member cannot become a voter, whatever it has of the log.
fn no_place(facts: &Facts, id: NodeId) -> Option<ServiceError> {
    let (name, most) = (facts.name_of(id), limits::VOTERS);
    if facts.voters.contains(&id) {
        let text = format!("`{name}` is a voter already");
        return Some(ServiceError::AlreadyVoter(text));
    }
    // The place of an older member of its name becomes free in the same change.
    let after = facts.promotion(id).voters_after(facts);
    (after.len() > most).then(|| {
        let text = format!("there are {most} voters, and not more may be: remove one first");
        ServiceError::TooManyVoters(text)
    })
}

fn find(facts: &Facts, request: &ChangeRequest) -> Result<NodeId, ServiceError> {
    match &request.target {
        Target::Id(id) if facts.members.contains_key(id) => Ok(*id),
        Target::Id(id) => Err(ServiceError::MemberNotFound(format!("id {id}"))),
        Target::Name(name) => {
            let mut named = facts.members_named(name).map(|(id, _)| id);
            let meant = match request.action {
                MemberAction::Remove => named.next(),
                MemberAction::Promote => named.last(),
            };
            meant.ok_or_else(|| ServiceError::MemberNotFound(name.clone()))
        }
    }
}

/// Says what a change does, for a person.
fn in_words(
    action: MemberAction,
    name: &str,
    before: &QuorumStatus,
    after: &QuorumStatus,
) -> String {
    let verb = match action {
        MemberAction::Remove => "removing",
        MemberAction::Promote => "promoting",
    };
    let side = |quorum: &QuorumStatus| {
        let QuorumStatus {
            voters, healthy, ..
        } = quorum;
        let outlook = match quorum.can_lose {
            _ if !has_majority(quorum) => "no quorum".to_owned(),
            0 => "can lose none".to_owned(),
            n => format!("can lose {n}"),
        };
        format!("{healthy} of {voters} voters answer, {outlook}")
    };
    let (was, is) = (side(before), side(after));
    let even = after.voters.is_multiple_of(2) && after.voters > 0 && after.voters != before.voters;
    let advice = if even {
        "; an even number of voters can lose no more than one voter fewer"
    } else {
        ""
    };
    format!("{verb} `{name}`: before, {was}; after, {is}{advice}")
}

#[cfg(test)]
mod tests {
    use super::super::quorum::quorum;
    use super::*;
    use crate::raft::Member;

    #[test]
    fn a_full_cluster_has_a_place_for_who_takes_over_a_voters_name() {
        let member = |id: NodeId, name: &str| {
            let name = name.to_owned();
            let member = Member {
                name,
                ..Member::default()
            };
            (id, member)
        };
        let mut members: Vec<_> = (1..=7).map(|id| member(id, &format!("n{id}"))).collect();
        members.extend([member(20, "n3"), member(21, "n8")]);
        let facts = Facts {
            members: members.into_iter().collect(),
            voters: (1..=7).collect(),
            ..Facts::unknown()
        };
        assert_eq!(no_place(&facts, 20), None);
        let refusal = no_place(&facts, 21);
        assert!(
            matches!(refusal, Some(ServiceError::TooManyVoters(_))),
            "{refusal:?}"
        );
        let refusal = no_place(&facts, 3);
        assert!(
            matches!(refusal, Some(ServiceError::AlreadyVoter(_))),
            "{refusal:?}"
        );
    }

    #[test]
    fn the_words_say_both_sides_and_warn_of_even_numbers() {
        let text = in_words(MemberAction::Remove, "n2", &quorum(3, 3), &quorum(2, 2));
        assert_eq!(
            text,
            "removing `n2`: before, 3 of 3 voters answer, can lose 1; after, 2 of 2 voters answer, \
             can lose none; an even number of voters can lose no more than one voter fewer"
        );
        let text = in_words(MemberAction::Remove, "n2", &quorum(3, 2), &quorum(2, 1));
        assert!(
            text.contains("after, 1 of 2 voters answer, no quorum"),
            "{text}"
        );
    }
}
