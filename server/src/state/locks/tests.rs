//! The table of locks: order, tokens, deadlines, and what a stale claim may do.

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
