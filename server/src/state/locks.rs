//! Locks: who holds each, who waits, and until when.
//!
//! First come, first served. A claim is one session on one lock, and both the holder's claim and a
//! waiter's end unless they are renewed. The fencing token is the log index of the grant, so tokens
//! of one lock rise for ever, and of all locks never fall (Kleppmann, "How to do distributed
//! locking", 2016; Chubby §2.4 calls it a sequencer).

use std::sync::Arc;

use conclave_shared::limits;
use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::change::{Change, LockChange, LockChangeKind};
use super::{Guard, LockName, Outcome, Rejection, Release, SessionId};

/// One session's claim on one lock. Times are log time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    pub session: SessionId,
    /// Who the client says it is.
    pub owner: Arc<str>,
    /// Name of the node that took the claim from its client.
    pub node: Arc<str>,
    pub ttl_ms: u64,
    /// When it ends unless it is renewed.
    pub deadline_ms: u64,
    /// Since when it holds the lock, or waits.
    pub since_ms: u64,
}

/// A lock that is held. One that nobody holds does not exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    pub holder: Claim,
    /// The fencing token: log index of the holder's grant.
    pub token: u64,
    /// In the order in which they are granted, at most [`limits::LOCK_WAITERS`].
    pub waiters: Vec<Claim>,
}

/// What a caller is told of the lock it asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldBy {
    pub owner: Arc<str>,
    pub session: SessionId,
    pub node: Arc<str>,
    pub token: u64,
    /// Time until the holder's claim ends unless it is renewed.
    pub ttl_ms: u64,
}

impl Lock {
    /// Returns what a caller that does not hold it is told.
    #[must_use]
    pub fn held_by(&self, now_ms: u64) -> HeldBy {
        HeldBy {
            owner: self.holder.owner.clone(),
            session: self.holder.session,
            node: self.holder.node.clone(),
            token: self.token,
            ttl_ms: self.holder.deadline_ms.saturating_sub(now_ms),
        }
    }

    /// Returns the place of a waiter, from 1.
    #[must_use]
    pub fn position(&self, session: SessionId) -> Option<u64> {
        Some(self.place(session)? as u64 + 1)
    }
}

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
            let token = moment.index;
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
                let is_holder = session.is_none_or(|session| session == lock.holder.session)
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
        let (token, left) = (moment.index, lock.waiters.len());
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

impl Lock {
    /// Returns where a waiter stands in the queue, whose sessions rise.
    fn place(&self, session: SessionId) -> Option<usize> {
        self.waiters
            .binary_search_by_key(&session, |waiter| waiter.session)
            .ok()
    }

    fn claim_mut(&mut self, session: SessionId) -> Option<&mut Claim> {
        if self.holder.session == session {
            return Some(&mut self.holder);
        }
        let place = self.place(session)?;
        self.waiters.get_mut(place)
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

#[cfg(test)]
mod tests {
    use super::*;

    struct Machine {
        locks: Locks,
        index: u64,
        changes: Vec<Change>,
    }

    impl Machine {
        fn new() -> Self {
            Self {
                locks: Locks::default(),
                index: 0,
                changes: Vec::new(),
            }
        }

        fn at<T>(&mut self, now_ms: u64, act: impl FnOnce(&mut Locks, &mut Moment<'_>) -> T) -> T {
            self.index += 1;
            let mut moment = Moment {
                index: self.index,
                now_ms,
                changes: &mut self.changes,
            };
            act(&mut self.locks, &mut moment)
        }

        fn acquire(&mut self, now_ms: u64, owner: &str, queue: bool) -> Outcome {
            self.ask(now_ms, owner, None, queue)
        }

        fn ask(&mut self, now_ms: u64, owner: &str, session: Option<u64>, queue: bool) -> Outcome {
            let wanted = Wanted {
                owner: &owner.into(),
                node: &"n".into(),
                ttl_ms: 1_000,
                session: session.map(SessionId),
                queue,
            };
            self.at(now_ms, |locks, moment| {
                locks.acquire(moment, &name(), &wanted)
            })
        }

        fn release(&mut self, session: Option<u64>, token: Option<u64>) -> Outcome {
            let by = Release::Claim {
                session: session.map(SessionId),
                token,
            };
            self.at(0, |locks, moment| locks.release(moment, &name(), &by))
        }

        fn expire(&mut self, now_ms: u64) -> usize {
            self.at(now_ms, |locks, moment| locks.expire(moment, 100))
        }

        fn holder(&self) -> Option<(String, u64)> {
            let lock = self.locks.get("l")?;
            Some((lock.holder.owner.to_string(), lock.token))
        }

        fn kinds(&mut self) -> Vec<LockChangeKind> {
            let changes = std::mem::take(&mut self.changes);
            let kind = |change| match change {
                Change::Lock(change) => change.kind,
                other => panic!("{other:?}"),
            };
            changes.into_iter().map(kind).collect()
        }
    }

    fn name() -> LockName {
        LockName::try_from("l").unwrap()
    }

    fn lost(token: Option<u64>) -> Outcome {
        Outcome::Rejected(Rejection::LockLost { token })
    }

    #[test]
    fn first_come_first_served_and_tokens_rise() {
        use LockChangeKind::{Granted, Queued, Released};
        let mut machine = Machine::new();
        assert_eq!(
            machine.acquire(0, "a", true),
            granted(SessionId(1), 1, 1_000)
        );
        for (owner, position) in [("b", 1), ("c", 2)] {
            let Outcome::LockQueued { position: got, .. } = machine.acquire(0, owner, true) else {
                panic!("not queued");
            };
            assert_eq!(got, position);
        }
        assert_eq!(
            machine.release(Some(1), Some(1)),
            Outcome::LockReleased { revision: 4 }
        );
        assert_eq!(machine.holder(), Some(("b".to_owned(), 4)));
        assert_eq!(
            machine.release(None, Some(4)),
            Outcome::LockReleased { revision: 5 }
        );
        assert_eq!(machine.holder(), Some(("c".to_owned(), 5)));
        let wanted = [
            Granted, Queued, Queued, Released, Granted, Released, Granted,
        ];
        assert_eq!(machine.kinds(), wanted);
        assert_eq!(
            machine.release(Some(3), None),
            Outcome::LockReleased { revision: 6 }
        );
        assert_eq!((machine.holder(), machine.locks.hash()), (None, 0));
        assert_eq!(machine.locks.next_deadline_ms(), None);
    }

    #[test]
    fn who_does_not_wait_is_told_who_holds_it() {
        let mut machine = Machine::new();
        machine.acquire(0, "a", false);
        let Outcome::Rejected(Rejection::LockHeld { holder, position }) =
            machine.acquire(400, "b", false)
        else {
            panic!("not refused");
        };
        let holder = holder.unwrap();
        assert_eq!((&*holder.owner, holder.ttl_ms, position), ("a", 600, 1));
        assert!(machine.locks.get("l").unwrap().waiters.is_empty());
    }

    #[test]
    fn a_claim_ends_unless_it_is_renewed_and_the_next_gets_a_whole_ttl() {
        let mut machine = Machine::new();
        machine.acquire(0, "a", true);
        machine.acquire(100, "b", true);
        assert_eq!(machine.expire(999), 0);
        let renewed = machine.at(900, |locks, moment| {
            locks.renew(moment, &name(), SessionId(1))
        });
        assert_eq!(renewed, granted(SessionId(1), 1, 1_000));
        machine.at(1_000, |locks, moment| {
            locks.keep(moment, &[(name(), SessionId(2)), (name(), SessionId(77))])
        });
        assert_eq!(machine.expire(1_899), 0);
        assert_eq!(machine.expire(1_900), 1, "a's time is over");
        let token = machine.index;
        assert_eq!(machine.holder(), Some(("b".to_owned(), token)));
        assert_eq!(machine.locks.next_deadline_ms(), Some(2_900));
        let late = machine.at(1_901, |locks, moment| {
            locks.renew(moment, &name(), SessionId(1))
        });
        assert_eq!(
            late,
            lost(Some(token)),
            "the old holder learns the newer token"
        );
        assert_eq!(machine.release(Some(1), Some(1)), lost(Some(token)));
        assert_eq!(machine.holder(), Some(("b".to_owned(), token)));
    }

    #[test]
    fn a_waiter_that_is_gone_is_passed_over() {
        use LockChangeKind::{Granted, Left, Queued, Released};
        let mut machine = Machine::new();
        machine.acquire(0, "a", true);
        machine.acquire(0, "b", true);
        machine.acquire(600, "c", true);
        machine.kinds();
        let by = Release::Claim {
            session: Some(SessionId(1)),
            token: None,
        };
        machine.at(1_200, |locks, moment| locks.release(moment, &name(), &by));
        assert_eq!(machine.kinds(), [Released, Left, Granted]);
        assert_eq!(machine.holder(), Some(("c".to_owned(), 4)));
        machine.acquire(1_200, "d", true);
        assert_eq!(
            machine.release(Some(5), None),
            Outcome::LockReleased { revision: 6 }
        );
        assert_eq!(machine.kinds(), [Queued, Left]);
    }

    #[test]
    fn asking_again_keeps_place_and_token() {
        let mut machine = Machine::new();
        machine.acquire(0, "a", true);
        machine.acquire(0, "b", true);
        machine.acquire(0, "c", true);
        let Outcome::LockQueued { position, .. } = machine.ask(500, "b", Some(2), true) else {
            panic!("b lost its place");
        };
        assert_eq!(position, 1);
        assert_eq!(
            machine.ask(500, "a", Some(1), true),
            granted(SessionId(1), 1, 1_000)
        );
        assert_eq!(machine.ask(500, "x", Some(9), true), lost(Some(1)));
        assert_eq!(machine.locks.get("l").unwrap().waiters.len(), 2);
    }

    #[test]
    fn a_stale_release_changes_nothing_and_a_break_asks_nobody() {
        let mut machine = Machine::new();
        assert_eq!(machine.release(Some(1), None), lost(None));
        machine.acquire(0, "a", true);
        let token = machine.locks.get("l").unwrap().token;
        assert_eq!(machine.release(None, Some(token - 1)), lost(Some(token)));
        assert_eq!(machine.release(None, None), lost(Some(token)));
        machine.kinds();
        machine.at(0, |locks, moment| {
            locks.release(moment, &name(), &Release::Break)
        });
        assert_eq!(machine.kinds(), [LockChangeKind::Broken]);
        assert_eq!(machine.holder(), None);
    }

    #[test]
    fn a_guard_wants_the_present_token() {
        let mut machine = Machine::new();
        let guard = |token| Guard {
            lock: name(),
            token,
        };
        assert_eq!(
            machine.locks.refuse(&guard(1)),
            Some(Rejection::LockNotHeld)
        );
        machine.acquire(0, "a", true);
        machine.acquire(0, "b", true);
        assert_eq!(machine.locks.refuse(&guard(1)), None);
        assert_eq!(
            machine.locks.refuse(&guard(2)),
            Some(Rejection::LockNotHeld)
        );
        machine.release(Some(1), None);
        let superseded = Rejection::TokenSuperseded { token: 3 };
        assert_eq!(machine.locks.refuse(&guard(1)), Some(superseded));
    }

    #[test]
    fn a_restored_table_is_the_same_one() {
        let mut machine = Machine::new();
        for owner in ["a", "b", "c"] {
            machine.acquire(10, owner, true);
        }
        let mut other = Locks::default();
        for (name, lock) in machine.locks.from("") {
            other.restore(name, lock.clone());
        }
        assert_eq!(other.hash(), machine.locks.hash());
        assert_eq!(other.next_deadline_ms(), machine.locks.next_deadline_ms());
        assert_ne!(other.hash(), 0);
    }

    #[test]
    fn the_queue_is_bounded() {
        let mut machine = Machine::new();
        for _ in 0..=limits::LOCK_WAITERS {
            machine.acquire(0, "a", true);
        }
        let refused = Outcome::Rejected(Rejection::LockQueueFull);
        assert_eq!(machine.acquire(0, "b", true), refused);
    }
}
