//! Locks as this node serves them: waiting for a grant, and claims that live as long as a connection.
//!
//! The queue is part of the replicated state; what waits here waits for that to change. A claim of an
//! open connection is kept alive by the node that serves it: renewed together with all others that
//! are due, through whatever leader there is. If the node dies, the claim's TTL ends it; if the node
//! is cut off, it says that the claim is lost as soon as it cannot rule it out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use conclave_shared::limits;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot, watch};

use super::{Answer, Node, ServiceError, WriteRequest};
use crate::clock;
use crate::events::Taken;
use crate::runtime;
use crate::state::{Change, LockChange, LockChangeKind, LockName, Op, Outcome, Release, SessionId};

/// TTL of a claim that lives as long as its connection, milliseconds.
const CONNECTION_TTL_MS: u64 = 10_000;
/// Longest time until claims are looked at again without anything being due.
const IDLE: Duration = Duration::from_secs(1);
/// Shortest time between two looks, so that renewals come together.
const TOGETHER: Duration = Duration::from_millis(50);
/// Pause before a release that found no leader is tried again.
const RELEASE_AGAIN: Duration = Duration::from_millis(200);
/// Changes that are taken at a time to see what became of claims.
const TAKE: usize = 256;
const TAKE_BYTES: usize = 256 << 10;

/// What is known here of a claim that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Waiting,
    Holds {
        token: u64,
    },
    /// Gone, or perhaps gone: it could not be renewed for as long as its TTL.
    Lost,
}

/// The claims that this node keeps alive.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    claims: Mutex<BTreeMap<SessionId, Kept>>,
    numbers: AtomicU64,
    added: Notify,
}

#[derive(Debug)]
struct Kept {
    /// Tells it from another request's entry for the same claim, which takes its place.
    number: u64,
    lock: LockName,
    ttl: Duration,
    /// When it is renewed next.
    due: Instant,
    /// The claim certainly lives until a TTL after this moment.
    confirmed: Instant,
    standing: watch::Sender<Standing>,
}

/// Keeps a claim alive until it is dropped. The claim itself is not ended by that.
#[derive(Debug)]
pub struct Keeping {
    keeper: Arc<Keeper>,
    session: SessionId,
    number: u64,
    standing: watch::Receiver<Standing>,
}

impl Drop for Keeping {
    fn drop(&mut self) {
        let mut claims = self.keeper.claims.lock();
        let is_own = |kept: &Kept| kept.number == self.number;
        if claims.get(&self.session).is_some_and(is_own) {
            claims.remove(&self.session);
        }
    }
}

impl Keeping {
    /// Waits until the claim is no longer in `known` standing, and returns the new one. Cancel safe.
    pub async fn changed(&mut self, known: Standing) -> Standing {
        match self.standing.wait_for(|standing| *standing != known).await {
            Ok(standing) => *standing,
            // Another request for the same claim has taken the place of this one.
            Err(_closed) => Standing::Lost,
        }
    }
}

/// A claim that a client asks for.
#[derive(Debug)]
pub struct ClaimRequest {
    pub lock: LockName,
    pub owner: Arc<str>,
    pub ttl_ms: u64,
    /// An earlier claim, which keeps its place or its token.
    pub session: Option<SessionId>,
    /// How long to wait in the queue; zero never queues.
    pub wait: Duration,
}

impl Node {
    /// Claims a lock and waits for the grant.
    ///
    /// Answers `LockGranted`, or `LockQueued` when the time is up: then the claim stays in the queue
    /// for its TTL. `frame` carries the request id, the client's label and the routing; its operation
    /// is not used. A dropped future leaves the claim in the queue until its TTL is over.
    ///
    /// # Errors
    ///
    /// As [`Self::write`].
    pub async fn acquire(
        &self,
        claim: ClaimRequest,
        frame: WriteRequest,
    ) -> Result<Answer<Outcome>, ServiceError> {
        let began = clock::now();
        let op = Op::AcquireLock {
            lock: claim.lock.clone(),
            owner: claim.owner,
            ttl_ms: claim.ttl_ms,
            session: claim.session,
            queue: !claim.wait.is_zero(),
        };
        let answer = self.write(WriteRequest { op, ..frame }).await?;
        let session = match answer.value {
            Outcome::LockQueued { session, .. } if !claim.wait.is_zero() => session,
            _ => return Ok(answer),
        };
        let ttl = Duration::from_millis(claim.ttl_ms);
        let mut keeping = self.keep(claim.lock.clone(), session, ttl, began);
        let left = claim.wait.saturating_sub(clock::since(began));
        // Whatever is seen here may be old: the state decides, and the TTL starts again.
        let (Ok(_) | Err(runtime::Elapsed)) =
            runtime::timeout(left, keeping.changed(Standing::Waiting)).await;
        let again = Op::RenewLock {
            lock: claim.lock,
            session,
        };
        let mut now = self.write(WriteRequest::own(again)).await?;
        now.meta.request_id = answer.meta.request_id;
        Ok(now)
    }

    /// Claims a lock for as long as the result lives, in the queue if it must be. A dropped future
    /// gives the claim back, too.
    ///
    /// # Errors
    ///
    /// As [`Self::write`], and `Overloaded` when as many wait as may.
    pub async fn hold(&self, lock: LockName, owner: Arc<str>) -> Result<Hold, ServiceError> {
        let (claimed, hold) = oneshot::channel();
        let node = self.clone();
        // The claim is made whether or not somebody still waits for it: then it is released here.
        runtime::detach(async move { drop(claimed.send(node.claim_to_hold(lock, owner).await)) });
        match hold.await {
            Ok(hold) => hold,
            Err(oneshot::error::RecvError { .. }) => {
                Err(ServiceError::Internal("a claim was given up".to_owned()))
            }
        }
    }

    async fn claim_to_hold(&self, lock: LockName, owner: Arc<str>) -> Result<Hold, ServiceError> {
        let began = clock::now();
        let op = Op::AcquireLock {
            lock: lock.clone(),
            owner,
            ttl_ms: CONNECTION_TTL_MS,
            session: None,
            queue: true,
        };
        let outcome = self.write(WriteRequest::own(op)).await?.value;
        let session = match &outcome {
            Outcome::LockGranted { session, .. } | Outcome::LockQueued { session, .. } => *session,
            Outcome::Rejected(_) => return Err(ServiceError::Overloaded),
            other => {
                return Err(ServiceError::Internal(format!("a claim came to {other:?}")));
            }
        };
        let ttl = Duration::from_millis(CONNECTION_TTL_MS);
        Ok(Hold {
            keeping: self.keep(lock.clone(), session, ttl, began),
            node: self.clone(),
            lock,
            session,
            outcome,
        })
    }

    /// Keeps a claim alive from now on.
    fn keep(
        &self,
        lock: LockName,
        session: SessionId,
        ttl: Duration,
        confirmed: Instant,
    ) -> Keeping {
        let (sender, standing) = watch::channel(Standing::Waiting);
        let keeper = self.0.keeper.clone();
        let number = keeper.numbers.fetch_add(1, Ordering::Relaxed);
        let kept = Kept {
            number,
            lock,
            ttl,
            due: confirmed + ttl / 3,
            confirmed,
            standing: sender,
        };
        keeper.claims.lock().insert(session, kept);
        // What was applied before it was entered is looked up, what comes later is followed.
        self.look_up(session);
        keeper.added.notify_one();
        Keeping {
            keeper,
            session,
            number,
            standing,
        }
    }

    /// Looks a kept claim up in the state.
    fn look_up(&self, session: SessionId) {
        let claims = self.0.keeper.claims.lock();
        let Some(kept) = claims.get(&session) else {
            return;
        };
        let found = self.0.consensus.published().read(|view| {
            let lock = view.state.locks().get(&kept.lock);
            match lock {
                Some(lock) if lock.holder.session == session => {
                    Some(Standing::Holds { token: lock.token })
                }
                Some(lock) if lock.position(session).is_some() => Some(Standing::Waiting),
                // Its claim is made by the entry of this index.
                _ => (view.applied_index >= session.0).then_some(Standing::Lost),
            }
        });
        if let Some(found) = found {
            kept.note(found);
        }
    }
}

impl Kept {
    fn note(&self, found: Standing) {
        self.standing.send_if_modified(|standing| {
            let is_news = *standing != found && *standing != Standing::Lost;
            if is_news {
                *standing = found;
            }
            is_news
        });
    }
}

/// Follows what becomes of the claims that are kept. Runs until it is dropped.
pub(super) async fn follow_claims(node: Node) {
    let events = node.0.consensus.published().events().clone();
    let mut told = events.applied();
    loop {
        match events.take(told, TAKE, TAKE_BYTES).await {
            Ok(Taken::Changes(entries)) => {
                let claims = node.0.keeper.claims.lock();
                for entry in &entries {
                    told = entry.revision();
                    for change in &entry.set().changes {
                        if let Change::Lock(change) = change
                            && let Some(kept) = claims.get(&change.session)
                            && let Some(standing) = standing_after(change)
                        {
                            kept.note(standing);
                        }
                    }
                }
            }
            Ok(Taken::UpTo(applied)) => {
                told = told.max(applied);
                events.changed(told).await;
            }
            Ok(Taken::Gone { .. }) | Err(_) => {
                told = events.applied();
                let kept: Vec<_> = node.0.keeper.claims.lock().keys().copied().collect();
                for session in kept {
                    node.look_up(session);
                }
            }
        }
        runtime::yield_now().await;
    }
}

/// A claim is entered after it has waited or was granted, and the changes are followed with a delay: that
/// it once began to wait is never news.
fn standing_after(change: &LockChange) -> Option<Standing> {
    match change.kind {
        LockChangeKind::Queued => None,
        LockChangeKind::Granted => change.token.map(|token| Standing::Holds { token }),
        LockChangeKind::Released
        | LockChangeKind::Expired
        | LockChangeKind::Broken
        | LockChangeKind::Left => Some(Standing::Lost),
    }
}

/// Renews the claims that are kept. Runs until it is dropped.
pub(super) async fn keep_claims(node: Node) {
    loop {
        let (due, next) = node.0.keeper.take_due();
        for batch in due.chunks(limits::CLAIMS_PER_RENEWAL) {
            // One that takes long must not hold up the others; it ends with the write's own limit.
            runtime::detach(renew(node.clone(), batch.to_vec()));
        }
        let wait = next.clamp(TOGETHER, IDLE);
        let (Ok(()) | Err(runtime::Elapsed)) =
            runtime::timeout(wait, node.0.keeper.added.notified()).await;
    }
}

impl Keeper {
    /// Returns the claims that are due, with the time until the next ones are or may be lost.
    fn take_due(&self) -> (Vec<(LockName, SessionId)>, Duration) {
        let now = clock::now();
        let (mut due, mut next) = (Vec::new(), IDLE);
        for (session, kept) in self.claims.lock().iter_mut() {
            let lives_until = kept.confirmed + kept.ttl;
            // The next look may come that much later.
            if lives_until <= now + TOGETHER {
                kept.note(Standing::Lost);
            }
            if *kept.standing.borrow() == Standing::Lost {
                continue;
            }
            if kept.due <= now + TOGETHER {
                due.push((kept.lock.clone(), *session));
                kept.due = now + kept.ttl / 3;
            }
            let look = kept.due.min(lives_until);
            next = next.min(look.saturating_duration_since(now));
        }
        (due, next)
    }

    fn confirm(
        &self,
        batch: &[(LockName, SessionId)],
        lost: &[(LockName, SessionId)],
        at: Instant,
    ) {
        let mut claims = self.claims.lock();
        for claim in batch {
            if let Some(kept) = claims.get_mut(&claim.1) {
                if lost.contains(claim) {
                    kept.note(Standing::Lost);
                } else {
                    kept.confirmed = kept.confirmed.max(at);
                }
            }
        }
    }
}

async fn renew(node: Node, batch: Vec<(LockName, SessionId)>) {
    let began = clock::now();
    let claims = batch.clone();
    let request = WriteRequest::own(Op::KeepClaims { claims });
    match node.write(request).await {
        Ok(Answer {
            value: Outcome::ClaimsKept { lost },
            ..
        }) => node.0.keeper.confirm(&batch, &lost, began),
        Ok(answer) => tracing::error!(outcome = ?answer.value, "a renewal came to something else"),
        // They are due again before their time is over, and lost after that.
        Err(error) => tracing::debug!(%error, "claims were not renewed: {error}"),
    }
}

/// A claim that is released when this is dropped.
#[derive(Debug)]
pub struct Hold {
    node: Node,
    lock: LockName,
    session: SessionId,
    outcome: Outcome,
    keeping: Keeping,
}

impl Hold {
    /// Returns what the claim came to at first: `LockGranted` or `LockQueued`.
    #[must_use]
    pub const fn first(&self) -> &Outcome {
        &self.outcome
    }

    /// Returns the claim's session.
    #[must_use]
    pub const fn session(&self) -> SessionId {
        self.session
    }

    /// As [`Keeping::changed`].
    pub async fn changed(&mut self, known: Standing) -> Standing {
        self.keeping.changed(known).await
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        runtime::detach(release(self.node.clone(), self.lock.clone(), self.session));
    }
}

/// Gives a claim back. Tried again until it is certainly gone, at the latest by its TTL.
async fn release(node: Node, lock: LockName, session: SessionId) {
    let began = clock::now();
    while clock::since(began) < Duration::from_millis(CONNECTION_TTL_MS) {
        let by = Release::Claim {
            session: Some(session),
            token: None,
        };
        let lock = lock.clone();
        let request = WriteRequest::own(Op::ReleaseLock { lock, by });
        match node.write(request).await {
            Ok(_) => return,
            Err(error) => {
                tracing::debug!(%error, "a lock was not released: {error}");
                runtime::sleep(RELEASE_AGAIN).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Enters a claim that lives for `left` and is due for renewal only after that.
    fn claim(keeper: &Keeper, left: Duration) -> watch::Receiver<Standing> {
        let now = clock::now();
        let ttl = Duration::from_secs(10);
        let (standing, told) = watch::channel(Standing::Holds { token: 7 });
        let kept = Kept {
            number: 0,
            lock: LockName::try_from("lock").unwrap(),
            ttl,
            due: now + left + IDLE,
            confirmed: now + left - ttl,
            standing,
        };
        keeper.claims.lock().insert(SessionId(7), kept);
        told
    }

    #[test]
    fn a_claim_that_cannot_be_renewed_is_lost_before_its_time_is_over() {
        let keeper = Keeper::default();
        let told = claim(&keeper, Duration::from_millis(300));
        let (_, next) = keeper.take_due();
        assert_eq!(*told.borrow(), Standing::Holds { token: 7 });
        assert!(next <= Duration::from_millis(300), "{next:?}");

        // The next look would be too late.
        let told = claim(&keeper, TOGETHER);
        keeper.take_due();
        assert_eq!(*told.borrow(), Standing::Lost);
    }
}
