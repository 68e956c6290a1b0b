//! Writes: propose here, or pass on to the leader; never re-send one of unknown fate.

use conclave_shared::ReadLevel;
use tokio::sync::SemaphorePermit;

use super::consensus::{Leader, ProposeError};
use super::{
    Answer, CallError, Node, PeerReply, PeerRequest, Proposal, ReadOptions, Routing, ServiceError,
    WRITE_KIB, WRITE_WAIT, WriteRequest, redirect,
};
use crate::metrics::Proposed;
use crate::mutants::{self, Mutant};
use crate::state::{Command, Op, Outcome, Rejection};
use crate::{clock, runtime};

impl Node {
    /// Applies a write, here or through the leader, and answers once it is applied.
    ///
    /// A refusal of the state machine is an outcome, not an error (invariant 2).
    ///
    /// # Errors
    ///
    /// `NoLeader`, `Overloaded`, `DiskFull`, `Redirect`: certainly not applied. `OutcomeUnknown`: the proposal
    /// left and nobody can say (invariant 9). Dropping the future does not take a proposal back.
    pub async fn write(&self, request: WriteRequest) -> Result<Answer<Outcome>, ServiceError> {
        let _room = self.room(&request.op)?;
        let mut proposal = self.own_proposal(request.op);
        if let Some(id) = request.request_id {
            proposal.request_id = id;
        }
        proposal.client = request.client;
        proposal.guard = request.guard;
        let deadline = clock::now() + self.leader_wait();
        loop {
            let facts = self.facts();
            let attempt = match facts.remote_leader(self.0.consensus.id()) {
                None => self.propose(proposal.clone()).await,
                Some(leader) if request.routing == Routing::Redirect => {
                    return Err(redirect(leader, &facts));
                }
                Some(leader) => self.forward_write(leader, proposal.clone()).await,
            };
            match attempt {
                Ok(answer) => return Ok(answer),
                Err(ServiceError::OutcomeUnknown { .. }) if mutants::is(Mutant::RetryWithoutId) => {
                    proposal.request_id = self.0.request_ids.make();
                }
                // Only what was certainly not applied is tried again.
                Err(failure) => self.pause(deadline, failure).await?,
            }
        }
    }

    /// Returns what a write would come to, at `consistent`. Nothing is proposed.
    ///
    /// # Errors
    ///
    /// As [`Self::get`](Node::get). Cancel safe.
    pub async fn try_out(&self, request: WriteRequest) -> Result<Answer<Outcome>, ServiceError> {
        let options = ReadOptions {
            routing: request.routing,
            ..ReadOptions::level(ReadLevel::Consistent)
        };
        let Answer { value: view, meta } = self.view(&options).await?;
        let proposal = self.own_proposal(request.op);
        let command = Command {
            log_time_ms: view.state.log_time_ms(),
            wall_time_ms: clock::wall_ms(),
            request_id: proposal.request_id,
            taken_at: proposal.taken_at,
            origin: proposal.origin,
            client: request.client,
            guard: request.guard,
            op: proposal.op,
        };
        // It may touch many keys: not on a thread that other requests wait for.
        let index = view.applied_index + 1;
        let tried = runtime::blocking(move || view.state.try_out(index, &command)).await;
        let value = tried.map_err(|error| ServiceError::Internal(error.to_string()))?;
        Ok(Answer { value, meta })
    }

    /// Returns a proposal of this node itself.
    pub(super) fn own_proposal(&self, op: Op) -> Proposal {
        Proposal {
            request_id: self.0.request_ids.make(),
            taken_at: self.0.consensus.published().position().applied_index,
            origin: self.0.name.clone(),
            client: None,
            guard: None,
            op,
        }
    }

    /// Proposes on this node. Fails with `NoLeader` unless it leads and has its quorum, and with
    /// `DiskFull` where there is no room for it.
    pub(super) async fn propose(
        &self,
        proposal: Proposal,
    ) -> Result<Answer<Outcome>, ServiceError> {
        let facts = self.facts();
        if !self.is_leader(&facts) {
            return Err(self.no_leader("no leader is known"));
        }
        self.check_room(&facts)?;
        let applied_ms = self.0.consensus.published().position().log_time_ms;
        let (request_id, taken_at) = (proposal.request_id.clone(), proposal.taken_at);
        let command = Command {
            log_time_ms: self.0.log_clock.now_ms(facts.term, applied_ms),
            wall_time_ms: clock::wall_ms(),
            request_id: proposal.request_id,
            taken_at: proposal.taken_at,
            origin: proposal.origin,
            client: proposal.client,
            guard: proposal.guard,
            op: proposal.op,
        };
        let began = clock::now();
        let unknown = |reason: String| ServiceError::OutcomeUnknown {
            request_id: request_id.clone(),
            reason,
        };
        if mutants::is(Mutant::EventBeforeCommit) {
            self.0.consensus.published().announce(&command);
        }
        let result = self.0.proposals.propose(command, WRITE_WAIT).await;
        self.0
            .options
            .metrics
            .proposed(fate(&result), clock::since(began));
        let applied = match result {
            Ok(applied) => applied,
            Err(ProposeError::NotLeader) => {
                return Err(self.no_leader("this node no longer leads"));
            }
            Err(ProposeError::Busy) => {
                return Err(self.no_leader("the leader waits for its quorum"));
            }
            Err(ProposeError::DiskFull) => return Err(ServiceError::DiskFull),
            Err(ProposeError::Unknown(reason)) => return Err(unknown(reason)),
            Err(ProposeError::Refused(reason)) => return Err(ServiceError::Internal(reason)),
        };
        let (outcome, replayed) = match applied.outcome {
            Outcome::Rejected(Rejection::Forgotten { wanted }) => {
                let applied = taken_at;
                return Err(ServiceError::NotCaughtUp { wanted, applied });
            }
            Outcome::Replayed(first) => (*first, true),
            outcome => (outcome, false),
        };
        let dated = self.dated(|_view| ());
        let mut meta = self.meta(&facts, ReadLevel::Consistent, &dated);
        meta.revision = changed_at(&outcome).unwrap_or(meta.revision);
        meta.applied_index = applied.index;
        meta.term = applied.term;
        meta.request_id = Some(request_id);
        meta.replayed = replayed;
        meta.timing.commit = Some(clock::since(began));
        Ok(Answer {
            value: outcome,
            meta,
        })
    }

    async fn forward_write(
        &self,
        leader: &Leader,
        proposal: Proposal,
    ) -> Result<Answer<Outcome>, ServiceError> {
        let began = clock::now();
        let request_id = proposal.request_id.clone();
        let request = PeerRequest::Write(proposal);
        // A little longer than the leader's own limit, so that its answer can still arrive.
        let limit = WRITE_WAIT + self.leader_wait();
        match self.0.peers.call(leader.id, request, limit).await {
            Ok(Ok(PeerReply::Written(mut answer))) => {
                answer.meta.forwarded = true;
                answer.meta.timing.forward = Some(clock::since(began));
                Ok(answer)
            }
            Ok(Ok(_)) => Err(ServiceError::OutcomeUnknown {
                request_id,
                reason: "unexpected reply to a write".to_owned(),
            }),
            Ok(Err(error)) => Err(error),
            Err(CallError::NotSent(reason)) => {
                Err(self.no_leader(&format!("`{}`: {reason}", leader.name)))
            }
            Err(CallError::Lost(reason)) => Err(ServiceError::OutcomeUnknown {
                request_id,
                reason: format!("leader `{}`: {reason}", leader.name),
            }),
        }
    }

    /// Takes room for a proposal, or refuses it.
    fn room(&self, op: &Op) -> Result<SemaphorePermit<'_>, ServiceError> {
        let kib = (op.bytes() >> 10) + 1;
        let kib = u32::try_from(kib.min(WRITE_KIB)).unwrap_or(u32::MAX);
        self.0
            .write_kib
            .try_acquire_many(kib)
            .map_err(|_no_room| ServiceError::Overloaded)
    }
}

fn fate<T>(result: &Result<T, ProposeError>) -> Proposed {
    match result {
        Ok(_) => Proposed::Committed,
        Err(
            ProposeError::NotLeader
            | ProposeError::Busy
            | ProposeError::DiskFull
            | ProposeError::Refused(_),
        ) => Proposed::Refused,
        Err(ProposeError::Unknown(_)) => Proposed::Unknown,
    }
}

/// Returns the revision of the outcome's change; `None` when nothing was changed.
fn changed_at(outcome: &Outcome) -> Option<u64> {
    match outcome {
        Outcome::Put { stamps, .. } => Some(stamps.mod_revision),
        Outcome::PutMany { revision, .. }
        | Outcome::Deleted { revision, .. }
        | Outcome::DeletedPrefix { revision, .. }
        | Outcome::Transaction { revision, .. }
        | Outcome::LockReleased { revision } => Some(*revision),
        Outcome::LockGranted { .. }
        | Outcome::LockQueued { .. }
        | Outcome::ClaimsKept { .. }
        | Outcome::Ticked { .. }
        | Outcome::Nothing
        | Outcome::NodeAllocated { .. }
        | Outcome::Rejected(_)
        | Outcome::Settlement(_)
        | Outcome::Replayed(_) => None,
    }
}
