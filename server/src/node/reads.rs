//! Reads: what each level waits for, and where it is served.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use conclave_shared::cluster::DiskState;
use conclave_shared::{ReadLevel, limits};

use super::consensus::{Consensus, Facts, Leader, ReadError};
use super::{
    Answer, Dated, LEADER_PAUSE, Node, PeerClient, PeerReply, PeerRequest, ReadOptions, Routing,
    ServiceError, redirect,
};
use crate::clock;
use crate::mutants::{self, Mutant};
use crate::runtime::{self, Elapsed};
use crate::state::{Key, Record, View};

impl Node {
    /// Reads one key. A follower forwards a `default` read to the leader, and one whose disk is full a
    /// `consistent` one too: it takes no entries, so that it would wait in vain.
    ///
    /// # Errors
    ///
    /// `NoLeader` when the level needs a leader with a quorum and none was found within the longest
    /// wait for one and a lease, `Redirect` when the caller wants that, `NotCaughtUp` when
    /// `min_revision` was not reached. Nothing was changed in any case. Cancel safe.
    pub async fn get(
        &self,
        options: &ReadOptions,
        key: &Key,
    ) -> Result<Answer<Option<Arc<Record>>>, ServiceError> {
        self.bounded(options, self.find(options, key)).await
    }

    async fn find(
        &self,
        options: &ReadOptions,
        key: &Key,
    ) -> Result<Answer<Option<Arc<Record>>>, ServiceError> {
        let look = |view: &View| view.state.get(key).cloned();
        let level = self.effective_level(options).await?;
        let takes_entries = || self.0.consensus.disk().state() != DiskState::Full;
        let is_here = match level {
            ReadLevel::Stale => true,
            ReadLevel::Default => false,
            ReadLevel::Consistent => takes_entries(),
        };
        if is_here {
            return self.read_here(options, level, look).await;
        }
        let deadline = clock::now() + self.leader_wait();
        loop {
            let facts = self.facts();
            let failure = match facts.remote_leader(self.0.consensus.id()) {
                None if level == ReadLevel::Consistent => {
                    return self.read_here(options, level, look).await;
                }
                None => match self.read_under_lease(options, &facts, look).await {
                    Ok(answer) => return Ok(answer),
                    Err(error) => error,
                },
                Some(leader) if options.routing == Routing::Redirect => {
                    return Err(redirect(leader, &facts));
                }
                Some(leader) => match self.forward_get(leader, options, level, key).await {
                    Ok(answer) => return Ok(answer),
                    Err(error) => error,
                },
            };
            self.pause(deadline, failure).await?;
        }
    }

    /// Returns this node's state, frozen, once it keeps the level's promise; never forwarded.
    ///
    /// # Errors
    ///
    /// As [`Self::get`]. Cancel safe.
    pub async fn view(&self, options: &ReadOptions) -> Result<Answer<Arc<View>>, ServiceError> {
        self.bounded(options, self.take_view(options)).await
    }

    /// Ends a read that does not get what its level needs: the longest wait to find a leader and one
    /// lease for its quorum, and beside that the wait that the reader itself asked for.
    async fn bounded<T>(
        &self,
        options: &ReadOptions,
        read: impl Future<Output = Result<T, ServiceError>> + Send,
    ) -> Result<T, ServiceError> {
        let own = options
            .min_revision
            .map_or(Duration::ZERO, |_| options.wait);
        let limit = self.leader_wait() + self.0.options.raft.lease() + own;
        match runtime::timeout(limit, read).await {
            Ok(result) => result,
            Err(Elapsed) => Err(self.no_leader(&format!("no quorum within {limit:?}"))),
        }
    }

    async fn take_view(&self, options: &ReadOptions) -> Result<Answer<Arc<View>>, ServiceError> {
        let level = self.effective_level(options).await?;
        let facts = self.facts();
        match facts.remote_leader(self.0.consensus.id()) {
            Some(leader) if options.routing == Routing::Redirect && level != ReadLevel::Stale => {
                Err(redirect(leader, &facts))
            }
            _ => {
                self.read_here(options, level, |view| Arc::new(view.clone()))
                    .await
            }
        }
    }

    /// Answers a peer's `default` read on this node, which must be the leader.
    pub(super) async fn get_for_peer(
        &self,
        key: &Key,
        min_revision: Option<u64>,
        wait: Duration,
    ) -> Result<Answer<Option<Arc<Record>>>, ServiceError> {
        let options = ReadOptions {
            min_revision,
            wait,
            ..ReadOptions::level(ReadLevel::Default)
        };
        let facts = self.facts();
        if !self.is_leader(&facts) {
            return Err(self.no_leader("the asked node does not lead"));
        }
        let look = |view: &View| view.state.get(key).cloned();
        self.read_under_lease(&options, &facts, look).await
    }

    /// Answers the `consistent` read of a peer whose disk is full; this node must be the leader.
    pub(super) async fn get_consistent_for_peer(
        &self,
        key: &Key,
        min_revision: Option<u64>,
        wait: Duration,
    ) -> Result<Answer<Option<Arc<Record>>>, ServiceError> {
        let level = ReadLevel::Consistent;
        let options = ReadOptions {
            min_revision,
            wait,
            ..ReadOptions::level(level)
        };
        if !self.is_leader(&self.facts()) {
            return Err(self.no_leader("the asked node does not lead"));
        }
        let look = |view: &View| view.state.get(key).cloned();
        self.read_here(&options, level, look).await
    }

    /// Answers a peer that needs a read index; this node must be the leader.
    pub(super) async fn read_index_for_peer(&self, level: ReadLevel) -> Result<u64, ServiceError> {
        if !self.is_leader(&self.facts()) {
            return Err(self.no_leader("the asked node does not lead"));
        }
        self.next_round(level).await
    }

    /// A stale read whose bound does not hold becomes a `default` read.
    async fn effective_level(&self, options: &ReadOptions) -> Result<ReadLevel, ServiceError> {
        let (ReadLevel::Stale, Some(bound)) = (options.level, options.max_stale) else {
            return Ok(options.level);
        };
        self.reach(options.min_revision.unwrap_or(0), options.wait)
            .await?;
        Ok(match self.dated(|_view| ()).age {
            Some(age) if age <= bound => ReadLevel::Stale,
            _ => ReadLevel::Default,
        })
    }

    /// Reads this node's state once it keeps the level's promise.
    async fn read_here<T>(
        &self,
        options: &ReadOptions,
        level: ReadLevel,
        read: impl FnOnce(&View) -> T + Send,
    ) -> Result<Answer<T>, ServiceError> {
        let began = clock::now();
        if level != ReadLevel::Stale {
            let deadline = began + self.leader_wait();
            loop {
                match self.next_round(level).await {
                    Ok(_) if mutants::is(Mutant::ReadBeforeApply) => break,
                    Ok(index) => {
                        self.reach(index, self.leader_wait()).await?;
                        break;
                    }
                    Err(failure) => self.pause(deadline, failure).await?,
                }
            }
        }
        if let Some(wanted) = options.min_revision {
            self.reach(wanted, options.wait).await?;
        }
        let mut answer = self.answer(level, self.dated(read));
        if level != ReadLevel::Stale {
            answer.meta.timing.read_index = Some(clock::since(began));
        }
        Ok(answer)
    }

    /// Reads the leader's own state under its lease.
    async fn read_under_lease<T: Send>(
        &self,
        options: &ReadOptions,
        facts: &Facts,
        read: impl Fn(&View) -> T + Send + Sync,
    ) -> Result<Answer<T>, ServiceError> {
        if let Some(wanted) = options.min_revision {
            self.reach(wanted, options.wait).await?;
        }
        // Read before the lease is checked: while the lease held, this was the newest state.
        let dated = self.dated(&read);
        if self.lease_holds(facts, dated.position.applied_term) {
            return Ok(self.answer(ReadLevel::Default, dated));
        }
        let began = clock::now();
        let index = self.next_round(ReadLevel::Default).await?;
        self.reach(index, self.leader_wait()).await?;
        let mut answer = self.answer(ReadLevel::Default, self.dated(&read));
        answer.meta.timing.read_index = Some(clock::since(began));
        Ok(answer)
    }

    /// Returns true when no other node can have become leader before this call, judged without
    /// asking anybody: a quorum answered within half a lease, and nobody was asked to take over.
    fn lease_holds(&self, facts: &Facts, applied_term: u64) -> bool {
        let half = self.0.options.raft.lease() / 2;
        self.is_leader(facts)
            && applied_term == facts.term
            && facts.voters.contains(&self.0.consensus.id())
            && self.0.handing_over.load(Ordering::SeqCst) != facts.term
            && self.0.consensus.quorum_age().is_some_and(|age| age < half)
    }

    fn answer<T>(&self, level: ReadLevel, dated: Dated<T>) -> Answer<T> {
        Answer {
            meta: self.meta(&self.facts(), level, &dated),
            value: dated.value,
        }
    }

    pub(super) async fn next_round(&self, level: ReadLevel) -> Result<u64, ServiceError> {
        let rounds = match level {
            ReadLevel::Stale => return Ok(0),
            ReadLevel::Default | ReadLevel::Consistent if self.is_removed() => {
                return Err(ServiceError::Removed);
            }
            ReadLevel::Default => &self.0.lease_rounds,
            ReadLevel::Consistent => &self.0.quorum_rounds,
        };
        match rounds.next().await {
            Ok(Ok(index)) => Ok(index),
            Ok(Err(reason)) => Err(self.no_leader(&reason)),
            Err(super::rounds::Refused) => Err(ServiceError::Overloaded),
        }
    }

    async fn forward_get(
        &self,
        leader: &Leader,
        options: &ReadOptions,
        level: ReadLevel,
        key: &Key,
    ) -> Result<Answer<Option<Arc<Record>>>, ServiceError> {
        let began = clock::now();
        let (key, min_revision, wait) = (key.clone(), options.min_revision, options.wait);
        let request = match level {
            ReadLevel::Consistent => PeerRequest::GetConsistent {
                key,
                min_revision,
                wait,
            },
            ReadLevel::Stale | ReadLevel::Default => PeerRequest::Get {
                key,
                min_revision,
                wait,
            },
        };
        let limit = self.leader_wait()
            + options
                .min_revision
                .map_or(Duration::ZERO, |_| options.wait);
        match self.0.peers.call(leader.id, request, limit).await {
            Ok(Ok(PeerReply::Got(mut answer))) => {
                answer.meta.forwarded = true;
                answer.meta.timing.forward = Some(clock::since(began));
                Ok(answer)
            }
            Ok(Ok(_)) => Err(ServiceError::Internal(
                "unexpected reply to a read".to_owned(),
            )),
            Ok(Err(error)) => Err(error),
            Err(error) => Err(self.no_leader(&format!("`{}`: {error}", leader.name))),
        }
    }

    /// Waits until this node has applied `wanted`.
    async fn reach(&self, wanted: u64, wait: Duration) -> Result<(), ServiceError> {
        let published = self.0.consensus.published();
        if published.position().applied_index >= wanted {
            return Ok(());
        }
        let wait = wait.min(Duration::from_millis(limits::READ_WAIT_MS));
        match runtime::timeout(wait, published.reached(wanted)).await {
            Ok(()) => Ok(()),
            Err(Elapsed) => Err(ServiceError::NotCaughtUp {
                wanted,
                applied: published.position().applied_index,
            }),
        }
    }

    /// Waits a little before the next attempt, or gives the failure back when it is final or the
    /// time is up.
    pub(super) async fn pause(
        &self,
        deadline: Instant,
        failure: ServiceError,
    ) -> Result<(), ServiceError> {
        let repeatable = matches!(failure, ServiceError::NoLeader { .. });
        if !repeatable || clock::now() + LEADER_PAUSE >= deadline {
            return Err(failure);
        }
        runtime::sleep(LEADER_PAUSE).await;
        Ok(())
    }
}

/// One read-index round: on the leader by Raft, elsewhere by asking the leader, within `limit`.
pub(super) async fn round(
    consensus: Consensus,
    peers: Arc<dyn PeerClient>,
    level: ReadLevel,
    limit: Duration,
) -> Result<u64, Arc<str>> {
    let facts = consensus.facts();
    let Some(leader) = &facts.leader else {
        return Err("no leader is known".into());
    };
    if leader.id == consensus.id() {
        return consensus
            .read_index(level)
            .await
            .map_err(|error| match error {
                ReadError::NotLeader => "this node no longer leads".into(),
                ReadError::NoQuorum(reason) => reason.into(),
            });
    }
    let request = PeerRequest::ReadIndex { level };
    match peers.call(leader.id, request, limit).await {
        Ok(Ok(PeerReply::ReadIndex(index))) => Ok(index),
        Ok(Ok(_)) => Err("unexpected reply to a read index".into()),
        Ok(Err(error)) => Err(error.to_string().into()),
        Err(error) => Err(format!("leader `{}`: {error}", leader.name).into()),
    }
}
