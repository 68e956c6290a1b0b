//! Adding members, and their addresses. One change at a time, on the leader.

use std::collections::BTreeSet;
use std::time::Duration;

use conclave_shared::{ReadLevel, limits};

use super::consensus::{Facts, Leader, ProposeError};
use super::quorum::SILENT;
use super::{
    CallError, Invitation, JoinRequest, Joined, MakeInvitation, Node, PeerReply, PeerRequest,
    ServiceError,
};
use crate::clock;
use crate::mutants::{self, Mutant};
use crate::raft::{Member, NodeId};
use crate::runtime;
use crate::state::{Op, Outcome};

/// Longest wait for another membership change to end.
const TURN_WAIT: Duration = Duration::from_secs(10);
/// Longest wait for the leader to add a member.
const JOIN_WAIT: Duration = Duration::from_secs(25);

impl Node {
    /// Adds a member, here or through the leader. It starts as a learner and becomes a voter by
    /// itself once it has caught up.
    ///
    /// # Errors
    ///
    /// `NameInUse`, `NotWaiting`, `MembershipConflict`, `NoLeader`; the membership is unchanged.
    pub async fn add_member(&self, request: JoinRequest) -> Result<Joined, ServiceError> {
        check_request(&request)?;
        let deadline = clock::now() + self.leader_wait();
        loop {
            let facts = self.facts();
            let failure = match facts.remote_leader(self.0.consensus.id()) {
                None => match self.add_here(request.clone()).await {
                    Ok(joined) => return Ok(joined),
                    Err(failure) => failure,
                },
                Some(leader) => {
                    let join = PeerRequest::Join(request.clone());
                    match self.ask_leader(leader, join, JOIN_WAIT).await {
                        Ok(PeerReply::Joined(joined)) => return Ok(joined),
                        Ok(_) => return Err(unexpected()),
                        Err(failure) => failure,
                    }
                }
            };
            self.pause(deadline, failure).await?;
        }
    }

    /// Waits until this node is certainly a member, or for ever.
    pub async fn added(&self) {
        let mut changes = self.0.consensus.fact_changes();
        while !self.0.consensus.is_committed_member() {
            if !self.0.consensus.next_facts(&mut changes).await {
                // Raft has stopped: it never will.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Returns whether a membership that has this node is committed, as far as it knows.
    #[must_use]
    pub fn is_added(&self) -> bool {
        self.0.consensus.is_committed_member()
    }

    /// Returns whether it is committed that an id is no member's.
    #[must_use]
    pub fn is_nobodys(&self, id: NodeId) -> bool {
        self.0.consensus.is_committed_without(id)
    }

    pub(super) async fn ask_leader(
        &self,
        leader: &Leader,
        request: PeerRequest,
        wait: Duration,
    ) -> Result<PeerReply, ServiceError> {
        match self.0.peers.call(leader.id, request, wait).await {
            Ok(answer) => answer,
            Err(CallError::NotSent(reason)) => {
                Err(self.no_leader(&format!("`{}`: {reason}", leader.name)))
            }
            Err(CallError::Lost(reason)) => {
                let reason = format!("leader `{}`: {reason}", leader.name);
                Err(ServiceError::ChangeUnfinished(reason))
            }
        }
    }

    /// Adds a member; this node must lead.
    pub(super) async fn add_here(&self, request: JoinRequest) -> Result<Joined, ServiceError> {
        check_request(&request)?;
        let _turn = self.turn().await?;
        let facts = self.leading()?;
        let taken = match self.may_take_name(&facts, &request) {
            Ok(taken) => taken,
            Err(refusal) => return Err(self.refused(&facts, refusal).await),
        };
        let make = self.invitation_for(request.name.clone());
        let (member, id) = self.0.peers.invite(request.raft.clone(), make).await?;
        let joined = Joined {
            id,
            cluster_id: self.0.options.cluster.to_string(),
            leader: self.0.name.to_string(),
        };
        if facts.members.contains_key(&id) {
            // An earlier leader has added it after all, and it does not know it yet.
            return Ok(joined);
        }
        // A voter keeps its vote until the new member has caught up and takes its place.
        let gone = taken.into_iter().filter(|old| !facts.voters.contains(old));
        let added = self
            .0
            .consensus
            .add_learner(&facts, (id, member.clone()), gone.collect());
        added.await.map_err(|error| self.change_error(error))?;
        tracing::info!(node = %member.name, node.id = id, "added learner {member} with id {id}");
        Ok(joined)
    }

    pub(super) async fn turn(&self) -> Result<tokio::sync::MutexGuard<'_, ()>, ServiceError> {
        match runtime::timeout(TURN_WAIT, self.0.membership.lock()).await {
            Ok(turn) => Ok(turn),
            Err(runtime::Elapsed) => Err(ServiceError::MembershipConflict(format!(
                "another change of it has not ended within {TURN_WAIT:?}"
            ))),
        }
    }

    pub(super) fn leading(&self) -> Result<std::sync::Arc<Facts>, ServiceError> {
        let facts = self.facts();
        match self.is_leader(&facts) {
            true => Ok(facts),
            false => Err(self.no_leader("the asked node does not lead")),
        }
    }

    /// Returns what to answer where the membership that this leader sees forbids a change: the refusal
    /// only if it leads still, with that membership. One that was frozen or cut off may have been
    /// followed, and does not know who is a member by now. A conflict says nothing of that, and may be
    /// that no majority answers.
    pub(super) async fn refused(&self, facts: &Facts, refusal: ServiceError) -> ServiceError {
        if matches!(refusal, ServiceError::MembershipConflict(_)) {
            return refusal;
        }
        if let Err(failure) = self.next_round(ReadLevel::Consistent).await {
            return failure;
        }
        self.0.consensus.refresh_facts();
        match self.leading() {
            Ok(now) if (now.term, now.version) == (facts.term, facts.version) => refusal,
            Ok(_) => self.no_leader("the membership has changed meanwhile"),
            Err(failure) => failure,
        }
    }

    /// Checks that nobody alive has the name; answers who had it, to be replaced.
    fn may_take_name(
        &self,
        facts: &Facts,
        request: &JoinRequest,
    ) -> Result<BTreeSet<NodeId>, ServiceError> {
        let mut taken = BTreeSet::new();
        for (id, member) in facts.members_named(&request.name) {
            let refuse = |why: &str| {
                let name = &request.name;
                Err(ServiceError::NameInUse(format!(
                    "`{name}` is a member at {}: {why}",
                    member.raft
                )))
            };
            if id == self.0.consensus.id() {
                return refuse("it leads this cluster");
            }
            if !request.replace && self.dead_for(id) <= SILENT {
                return refuse("choose another -id, or wait until it has been silent for 10 s");
            }
            taken.insert(id);
        }
        Ok(taken)
    }

    /// Commits a new id for the node that answers at the asked address, if it is the right one and has
    /// none of this cluster.
    fn invitation_for(&self, name: String) -> MakeInvitation {
        let this = self.clone();
        Box::new(move |member: Member, has: Option<NodeId>| {
            Box::pin(async move {
                if member.name != name {
                    return Err(ServiceError::NotWaiting {
                        raft: member.raft,
                        reason: format!("the node there is `{}`, not `{name}`", member.name),
                    });
                }
                let had = this.facts().member_named(&name).map(|(id, _)| id);
                let id = match has.or(had.filter(|_| mutants::is(Mutant::IdReused))) {
                    Some(id) => id,
                    None => this.allocate_id(&name).await?,
                };
                Ok(Invitation {
                    cluster: this.0.options.cluster,
                    id,
                    leader: this.0.name.to_string(),
                })
            })
        })
    }

    /// Commits an id that nobody ever had: those up to the number of voters may be founders'.
    async fn allocate_id(&self, name: &str) -> Result<NodeId, ServiceError> {
        loop {
            let proposal = self.own_proposal(Op::AllocateNode { name: name.into() });
            match self.propose(proposal).await?.value {
                Outcome::NodeAllocated { id } if id <= limits::VOTERS as u64 => {}
                Outcome::NodeAllocated { id } => return Ok(id),
                outcome => return Err(ServiceError::Internal(format!("no id but {outcome:?}"))),
            }
        }
    }

    pub(super) fn change_error(&self, error: ProposeError) -> ServiceError {
        match error {
            ProposeError::NotLeader | ProposeError::Busy => {
                self.no_leader("the leader changed meanwhile")
            }
            ProposeError::Unknown(reason) => ServiceError::ChangeUnfinished(reason),
            ProposeError::Refused(reason) => ServiceError::MembershipConflict(reason),
            ProposeError::DiskFull => ServiceError::DiskFull,
        }
    }

    /// Writes a member's addresses; this node must lead.
    pub(super) async fn update_here(&self, id: NodeId, member: Member) -> Result<(), ServiceError> {
        let _turn = self.turn().await?;
        let facts = self.leading()?;
        match facts.members.get(&id) {
            None => Err(ServiceError::MemberNotFound(member.name)),
            Some(known) if *known == member => Ok(()),
            Some(known) => {
                tracing::info!(%known, %member, "`{}` has moved: {member}", member.name);
                let changed = self.0.consensus.update_member(&facts, id, member).await;
                changed.map_err(|error| self.change_error(error))
            }
        }
    }

    /// Writes this node's own addresses through the log where they differ. True when they agree.
    ///
    /// The leader may have changed while this node was away, and cannot reach it at its old
    /// address to say so: every member is asked until one of them turns out to lead.
    pub(super) async fn announce_addresses(&self) -> bool {
        let (id, own) = (self.0.consensus.id(), &self.0.options.member);
        let facts = self.0.consensus.facts();
        match facts.members.get(&id) {
            Some(known) if known == own => return true,
            Some(_) => {}
            None => return false,
        }
        if self.is_leader(&facts) {
            return self.update_here(id, own.clone()).await.is_ok();
        }
        for other in facts.members.keys().filter(|other| **other != id) {
            let update = PeerRequest::UpdateMember {
                id,
                member: own.clone(),
            };
            match self.0.peers.call(*other, update, TURN_WAIT).await {
                Ok(Ok(_)) => return true,
                Ok(Err(error)) => tracing::debug!(%error, "addresses not announced"),
                Err(error) => tracing::debug!(%error, "addresses not announced"),
            }
        }
        false
    }
}

pub(super) fn unexpected() -> ServiceError {
    ServiceError::Internal("unexpected reply of the leader".to_owned())
}

fn check_request(request: &JoinRequest) -> Result<(), ServiceError> {
    let invalid = |text: String| Err(ServiceError::InvalidArgument(text));
    if request.name.is_empty() || request.name.len() > limits::NODE_NAME_BYTES {
        let limit = limits::NODE_NAME_BYTES;
        return invalid(format!(
            "node name `{}` has not 1 to {limit} bytes",
            request.name
        ));
    }
    match request.raft.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(()),
        _ => invalid(format!("raft address `{}` is not host:port", request.raft)),
    }
}
