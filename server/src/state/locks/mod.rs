//! All locks: who gets each of them, and until when.
//!
//! First come, first served. A claim is one session on one lock, and both the holder's claim and a
//! waiter's end unless they are renewed. The fencing token is the log index of the grant, so tokens
//! of one lock rise for ever, and of all locks never fall (Kleppmann, "How to do distributed
//! locking", 2016; Chubby §2.4 calls it a sequencer).

mod lock;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use conclave_shared::limits;
use imbl::{OrdMap, OrdSet};
use xxhash_rust::xxh3::xxh3_64;

use super::change::{Change, LockChange, LockChangeKind};
use super::{Guard, LockName, Outcome, Rejection, Release, SessionId};
use crate::mutants::{self, Mutant};

pub use lock::{Claim, HeldBy, Lock};

/// All locks that are held.
#[derive(Debug, Clone, Default)]
pub struct Locks {
    locks: OrdMap<LockName, Lock>,
    ledger: Ledger,
}

/// What is kept of every claim beside the claim itself. Claims come and go one by one: a queue may
/// be long, and its claims are renewed all the time.
#[derive(Debug, Clone, Default)]
struct Ledger {
    deadlines: OrdSet<(u64, LockName, SessionId)>,
    hash: u64,
}

impl Ledger {
    /// Enters a claim; a holder's has a token.
    fn enter(&mut self, name: &LockName, claim: &Claim, token: Option<u64>) {
        self.hash = self.hash.wrapping_add(hash(name, claim, token));
        self.deadlines
            .insert((claim.deadline_ms, name.clone(), claim.session));
    }

    fn strike(&mut self, name: &LockName, claim: &Claim, token: Option<u64>) {
        self.hash = self.hash.wrapping_sub(hash(name, claim, token));
        self.deadlines
            .remove(&(claim.deadline_ms, name.clone(), claim.session));
    }
}

/// The log index and log time of the command that is applied, and where its changes go.
pub(super) struct Moment<'a> {
    pub(super) index: u64,
    pub(super) now_ms: u64,
    pub(super) changes: &'a mut Vec<Change>,
}

/// What a claim asks for.
pub(super) struct Wanted<'a> {
    pub(super) owner: &'a Arc<str>,
    pub(super) node: &'a Arc<str>,
    pub(super) ttl_ms: u64,
    pub(super) session: Option<SessionId>,
    pub(super) queue: bool,
}

impl Locks {
    pub(super) fn acquire(
        &mut self,
        moment: &mut Moment<'_>,
        name: &LockName,
        wanted: &Wanted<'_>,
    ) -> Outcome {
        if let Some(session) = wanted.session {
            return self.ask_again(moment, name, session, wanted.ttl_ms);
        }
        let session = SessionId(moment.index);
        let claim = Claim {
            session,
            owner: wanted.owner.clone(),
            node: wanted.node.clone(),
            ttl_ms: wanted.ttl_ms,
            deadline_ms: moment.now_ms + wanted.ttl_ms,
            since_ms: moment.now_ms,
        };
        let Some(lock) = self.locks.get_mut(name) else {
            let token = token_after(0, moment.index);
            moment.note(name, LockChangeKind::Granted, &claim, Some(token), 0);
            self.restore(
                name,
                Lock {
                    holder: claim,
                    token,
                    waiters: Vec::new(),
                },
            );
            return granted(session, token, wanted.ttl_ms);
        };
        let (holder, position) = (lock.held_by(moment.now_ms), lock.waiters.len() as u64 + 1);
        if !wanted.queue {
            return Outcome::Rejected(Rejection::LockHeld {
                holder: Some(holder),
                position,
            });
        }
        if lock.waiters.len() >= limits::LOCK_WAITERS {
            return Outcome::Rejected(Rejection::LockQueueFull);
        }
        let waiters = lock.waiters.len() + 1;
        moment.note(name, LockChangeKind::Queued, &claim, None, waiters);
        self.ledger.enter(name, &claim, None);
        lock.waiters.push(claim);
        Outcome::LockQueued {
            session,
            position,
            holder: Some(holder),
        }
    }

    /// The claim of `session` again: the holder keeps its token, a waiter its place.
    fn ask_again(
        &mut self,
        moment: &Moment<'_>,
        name: &LockName,
        session: SessionId,
        ttl_ms: u64,
    ) -> Outcome {
        self.restart(name, session, moment.now_ms, Some(ttl_ms));
        self.standing(name, session, moment.now_ms)
    }

    pub(super) fn renew(
        &mut self,
        moment: &Moment<'_>,
        name: &LockName,
        session: SessionId,
    ) -> Outcome {
        self.restart(name, session, moment.now_ms, None);
        self.standing(name, session, moment.now_ms)
    }

    /// Renews claims; answers those that are gone.
    pub(super) fn keep(
        &mut self,
        moment: &Moment<'_>,
        claims: &[(LockName, SessionId)],
    ) -> Outcome {
        let mut lost = Vec::new();
        for (name, session) in claims {
            if !self.restart(name, *session, moment.now_ms, None) {
                lost.push((name.clone(), *session));
            }
        }
        Outcome::ClaimsKept { lost }
    }

    fn standing(&self, name: &LockName, session: SessionId, now_ms: u64) -> Outcome {
        let lock = self.locks.get(name);
        match lock {
            Some(lock) if lock.holder.session == session => granted(
                session,
                lock.token,
                lock.holder.deadline_ms.saturating_sub(now_ms),
            ),
            Some(lock) => match lock.position(session) {
                Some(position) => Outcome::LockQueued {
                    session,
                    position,
                    holder: Some(lock.held_by(now_ms)),
                },
                None => lost(Some(lock)),
            },
            None => lost(None),
        }
    }

    /// Starts the TTL of a claim again; false when there is no such claim.
    fn restart(
        &mut self,
        name: &LockName,
        session: SessionId,
        now_ms: u64,
        ttl_ms: Option<u64>,
    ) -> bool {
        // Most claims of a batch exist; one that does not must not copy the lock.
        let exists = |lock: &Lock| lock.holder.session == session || lock.place(session).is_some();
        if !self.locks.get(name).is_some_and(exists) {
            return false;
        }
        let Some(lock) = self.locks.get_mut(name) else {
            return false;
        };
        let token = (lock.holder.session == session).then_some(lock.token);
        let Some(claim) = lock.claim_mut(session) else {
            return false;
        };
        self.ledger.strike(name, claim, token);
        claim.ttl_ms = ttl_ms.unwrap_or(claim.ttl_ms);
        claim.deadline_ms = claim.deadline_ms.max(now_ms + claim.ttl_ms);
        self.ledger.enter(name, claim, token);
        true
    }

    pub(super) fn release(
        &mut self,
        moment: &mut Moment<'_>,
        name: &LockName,
        by: &Release,
    ) -> Outcome {
        let Some(lock) = self.locks.get(name) else {
            return lost(None);
        };
        match by {
            Release::Break => {
                self.end_holder(moment, name, LockChangeKind::Broken);
            }
            Release::Claim { session, token } => {
                let is_anybody = mutants::is(Mutant::ReleaseByAnybody);
                let is_holder = is_anybody
                    || session.is_none_or(|session| session == lock.holder.session)
                        && token.is_none_or(|token| token == lock.token)
                        && (session.is_some() || token.is_some());
                if is_holder {
                    self.end_holder(moment, name, LockChangeKind::Released);
                } else {
                    let waits = session.filter(|s| token.is_none() && lock.position(*s).is_some());
                    let Some(session) = waits else {
                        return lost(Some(lock));
                    };
                    self.end_waiter(moment, name, session);
                }
            }
        }
        Outcome::LockReleased {
            revision: moment.index,
        }
    }

    /// Ends at most `most` claims that are due, and returns how many.
    pub(super) fn expire(&mut self, moment: &mut Moment<'_>, most: usize) -> usize {
        let mut ended = 0;
        while ended < most {
            let due = self
                .ledger
                .deadlines
                .get_min()
                .filter(|(at, ..)| *at <= moment.now_ms);
            let Some((_, name, session)) = due.cloned() else {
                break;
            };
            let holds = self
                .locks
                .get(&name)
                .is_some_and(|lock| lock.holder.session == session);
            if holds {
                self.end_holder(moment, &name, LockChangeKind::Expired);
            } else {
                self.end_waiter(moment, &name, session);
            }
            ended += 1;
        }
        ended
    }

    /// Ends the holder's claim and grants the lock to the first waiter whose time is not over.
    fn end_holder(&mut self, moment: &mut Moment<'_>, name: &LockName, kind: LockChangeKind) {
        let Some(lock) = self.locks.get_mut(name) else {
            return;
        };
        self.ledger.strike(name, &lock.holder, Some(lock.token));
        moment.note(
            name,
            kind,
            &lock.holder,
            Some(lock.token),
            lock.waiters.len(),
        );
        let over = lock
            .waiters
            .iter()
            .take_while(|waiter| waiter.deadline_ms <= moment.now_ms)
            .count();
        let mut left = lock.waiters.len();
        for waiter in lock.waiters.drain(..over) {
            left -= 1;
            self.ledger.strike(name, &waiter, None);
            moment.note(name, LockChangeKind::Left, &waiter, None, left);
        }
        if lock.waiters.is_empty() {
            self.locks.remove(name);
            return;
        }
        let mut next = lock.waiters.remove(0);
        self.ledger.strike(name, &next, None);
        next.deadline_ms = moment.now_ms + next.ttl_ms;
        next.since_ms = moment.now_ms;
        let token = token_after(lock.token, moment.index);
        let left = lock.waiters.len();
        self.ledger.enter(name, &next, Some(token));
        moment.note(name, LockChangeKind::Granted, &next, Some(token), left);
        lock.holder = next;
        lock.token = token;
    }

    fn end_waiter(&mut self, moment: &mut Moment<'_>, name: &LockName, session: SessionId) {
        let Some(lock) = self.locks.get_mut(name) else {
            return;
        };
        if let Some(place) = lock.place(session) {
            let claim = lock.waiters.remove(place);
            self.ledger.strike(name, &claim, None);
            moment.note(name, LockChangeKind::Left, &claim, None, lock.waiters.len());
        }
    }

    /// Says why a guarded command must not be applied.
    pub(super) fn refuse(&self, guard: &Guard) -> Option<Rejection> {
        match self.locks.get(&guard.lock) {
            Some(lock) if lock.token == guard.token => None,
            Some(lock) if lock.token > guard.token => {
                Some(Rejection::TokenSuperseded { token: lock.token })
            }
            Some(_) | None => Some(Rejection::LockNotHeld),
        }
    }
}

/// Reading.
impl Locks {
    /// Returns a lock that is held.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Lock> {
        self.locks.get(name)
    }

    /// Returns the locks from `start` on, in byte order.
    pub fn from<'a>(&'a self, start: &'a str) -> impl Iterator<Item = (&'a LockName, &'a Lock)> {
        use std::ops::Bound;
        self.locks
            .range::<_, str>((Bound::Included(start), Bound::Unbounded))
    }

    /// Returns the number of locks that are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.locks.len()
    }

    /// Returns true when no lock is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.locks.is_empty()
    }

    /// Returns a digest of all locks and claims, kept incrementally as that of the keys.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.ledger.hash
    }

    /// Returns the log time at which the first claim ends unless it is renewed.
    #[must_use]
    pub fn next_deadline_ms(&self) -> Option<u64> {
        self.ledger.deadlines.get_min().map(|(at, ..)| *at)
    }

    /// Puts back one lock of a snapshot.
    pub fn restore(&mut self, name: &LockName, lock: Lock) {
        self.ledger.enter(name, &lock.holder, Some(lock.token));
        for waiter in &lock.waiters {
            self.ledger.enter(name, waiter, None);
        }
        self.locks.insert(name.clone(), lock);
    }
}

impl Moment<'_> {
    fn note(
        &mut self,
        lock: &LockName,
        kind: LockChangeKind,
        claim: &Claim,
        token: Option<u64>,
        waiters: usize,
    ) {
        let change = LockChange::new(lock, kind, claim, token, waiters);
        self.changes.push(Change::Lock(change));
    }
}

/// Returns the token of a grant at a log index, after an earlier one of the lock.
fn token_after(last: u64, index: u64) -> u64 {
    if mutants::is(Mutant::TokenPerLock) {
        return last + 1;
    }
    index
}

fn granted(session: SessionId, token: u64, ttl_ms: u64) -> Outcome {
    Outcome::LockGranted {
        session,
        token,
        ttl_ms,
    }
}

fn lost(lock: Option<&Lock>) -> Outcome {
    Outcome::Rejected(Rejection::LockLost {
        token: lock.map(|lock| lock.token),
    })
}

fn hash(name: &LockName, claim: &Claim, token: Option<u64>) -> u64 {
    // A claim always has an encoding.
    xxh3_64(&postcard::to_allocvec(&(name, claim, token)).unwrap_or_default())
}
