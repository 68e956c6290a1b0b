//! Adding members, their addresses, and who leads. One change at a time, on the leader.

use std::sync::atomic::Ordering;
use std::time::Duration;

use conclave_shared::limits;

use super::consensus::{Facts, Leader, ProposeError};
use super::{
    CallError, Invitation, JoinRequest, Joined, MakeInvitation, Node, PeerReply, PeerRequest,
    ServiceError,
};
use crate::clock;
use crate::raft::{Member, NodeId};
use crate::runtime;
use crate::state::{Op, Outcome};

/// A member that has not answered its leader for this long may be replaced under its name.
const SILENT: Duration = Duration::from_secs(10);
/// Longest wait for another membership change to end.
const TURN_WAIT: Duration = Duration::from_secs(10);
/// Longest wait for the leader to add a member.
const JOIN_WAIT: Duration = Duration::from_secs(25);
/// A leader that is asked to hand over waits this long for its successor.
const TRANSFER_WAIT: Duration = Duration::from_secs(2);

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

    async fn ask_leader(
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
                Err(ServiceError::MembershipConflict(reason))
            }
        }
    }

    /// Adds a member; this node must lead.
    pub(super) async fn add_here(&self, request: JoinRequest) -> Result<Joined, ServiceError> {
        check_request(&request)?;
        let _turn = self.turn().await?;
        let facts = self.leading()?;
        let replaced = self.may_take_name(&facts, &request)?;
        let make = self.invitation_for(request.name.clone());
        let (member, id) = self.0.peers.invite(request.raft.clone(), make).await?;
        if let Some(old) = replaced.filter(|old| !facts.voters.contains(old)) {
            self.0
                .consensus
                .remove_learner(old)
                .await
                .map_err(|e| self.change_error(e))?;
        }
        self.0
            .consensus
            .add_learner(id, member.clone())
            .await
            .map_err(|error| self.change_error(error))?;
        tracing::info!(node = %member.name, node.id = id, "added learner {member} with id {id}");
        Ok(Joined {
            id,
            cluster_id: self.0.options.cluster.to_string(),
            leader: self.0.name.to_string(),
        })
    }

    async fn turn(&self) -> Result<tokio::sync::MutexGuard<'_, ()>, ServiceError> {
        match runtime::timeout(TURN_WAIT, self.0.membership.lock()).await {
            Ok(turn) => Ok(turn),
            Err(runtime::Elapsed) => Err(ServiceError::MembershipConflict(format!(
                "it has not ended within {TURN_WAIT:?}"
            ))),
        }
    }

    fn leading(&self) -> Result<std::sync::Arc<Facts>, ServiceError> {
        let facts = self.facts();
        match self.is_leader(&facts) {
            true => Ok(facts),
            false => Err(self.no_leader("the asked node does not lead")),
        }
    }

    /// Checks that nobody alive has the name; answers who would be replaced.
    fn may_take_name(
        &self,
        facts: &Facts,
        request: &JoinRequest,
    ) -> Result<Option<NodeId>, ServiceError> {
        let Some((id, member)) = facts.member_named(&request.name) else {
            return Ok(None);
        };
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
        if request.replace || self.is_silent(id) {
            return Ok(Some(id));
        }
        refuse("choose another -id, or wait until it has been silent for 10 s")
    }

    /// Returns true when a member has not answered this leader for [`SILENT`].
    fn is_silent(&self, id: NodeId) -> bool {
        let led_for = self.0.elected.lock().map(|(_, at)| clock::since(at));
        let follower = self
            .0
            .consensus
            .followers()
            .into_iter()
            .find(|f| f.id == id);
        let last_ack = follower.and_then(|follower| follower.last_ack).or(led_for);
        last_ack.is_some_and(|age| age > SILENT)
    }

    /// Commits a new id for the node that answers at the asked address, if it is the right one.
    fn invitation_for(&self, name: String) -> MakeInvitation {
        let this = self.clone();
        Box::new(move |member: Member| {
            Box::pin(async move {
                if member.name != name {
                    return Err(ServiceError::NotWaiting {
                        raft: member.raft,
                        reason: format!("the node there is `{}`, not `{name}`", member.name),
                    });
                }
                Ok(Invitation {
                    cluster: this.0.options.cluster,
                    id: this.allocate_id(&name).await?,
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

    fn change_error(&self, error: ProposeError) -> ServiceError {
        match error {
            ProposeError::NotLeader | ProposeError::Busy => {
                self.no_leader("the leader changed meanwhile")
            }
            ProposeError::Unknown(reason) | ProposeError::Refused(reason) => {
                ServiceError::MembershipConflict(reason)
            }
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
                let changed = self.0.consensus.update_member(id, member).await;
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

    /// Hands leadership to a voter: the named one, or the one that has most of the log. Answers the
    /// new leader's name.
    ///
    /// # Errors
    ///
    /// `MemberNotFound`, `NoLeader`, or `MembershipConflict` when nobody took over in time; the
    /// old leader then goes on.
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
        let me = self.0.consensus.id();
        let target = match to {
            Some(name) => {
                let (id, _) = facts
                    .member_named(name)
                    .filter(|(id, _)| facts.voters.contains(id))
                    .ok_or_else(|| ServiceError::MemberNotFound(name.to_owned()))?;
                id
            }
            None => self
                .0
                .consensus
                .followers()
                .into_iter()
                .filter(|follower| facts.voters.contains(&follower.id))
                .max_by_key(|follower| follower.match_index)
                .map(|follower| follower.id)
                .ok_or_else(|| {
                    ServiceError::MembershipConflict("there is no other voter".to_owned())
                })?,
        };
        let name = facts
            .members
            .get(&target)
            .map_or_else(String::new, |m| m.name.clone());
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
                return Err(ServiceError::MembershipConflict(reason));
            }
        }
    }

    /// Builds a snapshot of this node's state and answers the log index it covers.
    ///
    /// # Errors
    ///
    /// Raft has stopped, or the snapshot was not there after 60 s.
    pub async fn snapshot(&self) -> Result<u64, ServiceError> {
        let wanted = self.0.consensus.published().position().applied_index;
        self.0
            .consensus
            .build_snapshot()
            .await
            .map_err(ServiceError::Internal)?;
        let deadline = clock::now() + Duration::from_secs(60);
        loop {
            let snapshot = self.0.consensus.progress().snapshot;
            if snapshot >= wanted {
                return Ok(snapshot);
            }
            self.pause(deadline, self.no_leader("the snapshot is not there yet"))
                .await?;
        }
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

fn unexpected() -> ServiceError {
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
