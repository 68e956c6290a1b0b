//! A short log made by hand, to see that every rule of the checks can be broken.

use std::sync::Arc;

use conclave_server::events;
use conclave_server::raft::{Entry, LogId, Payload};
use conclave_server::state::{
    ChangeSet, Command, Condition, Guard, LockName, Op, Release, RequestId, SessionId,
};
use openraft_rt::AsyncRuntime;

use crate::ledger::{History, Ledger};
use crate::workload::put;

/// The one lock of the story.
pub(crate) const LOCK: &str = "lock/a";
/// Index of the write that the first holder's token allows, and of the one that it no longer does.
pub(crate) const WRITTEN: u64 = 4;
pub(crate) const REFUSED: u64 = 9;
/// Index of the tick that ends the first holder's claim and grants the lock to the first waiter.
pub(crate) const EXPIRY: u64 = 8;
/// Index of the release by which the second waiter gets it.
pub(crate) const RELEASE: u64 = 10;
/// Index of the tick that ends the last claim.
pub(crate) const LAST: u64 = 11;

fn name() -> LockName {
    LockName::try_from(LOCK).expect("a lock's name")
}

fn acquire(owner: &str) -> Op {
    Op::AcquireLock {
        lock: name(),
        owner: owner.into(),
        ttl_ms: 1_000,
        session: None,
        queue: true,
    }
}

fn renew(session: u64) -> Op {
    Op::RenewLock {
        lock: name(),
        session: SessionId(session),
    }
}

fn release(session: u64) -> Op {
    let by = Release::Claim {
        session: Some(SessionId(session)),
        token: None,
    };
    Op::ReleaseLock { lock: name(), by }
}

fn write() -> Op {
    put("guarded/lock/a", "v", Condition::default())
}

fn entry(index: u64, log_time_ms: u64, op: Op, token: Option<u64>) -> Entry {
    let command = Command {
        log_time_ms,
        wall_time_ms: 0,
        request_id: RequestId::new(&format!("r{index}")).expect("visible characters"),
        taken_at: 0,
        origin: "node1".into(),
        client: None,
        guard: token.map(|token| Guard {
            lock: name(),
            token,
        }),
        op,
    };
    Entry {
        log_id: LogId::new_term_index(1, index),
        payload: Payload::Normal(command.into()),
    }
}

/// Returns the story and what it came to: three claims, of which the first is renewed and then runs
/// out, the second is given back, and the third runs out.
pub(crate) fn history() -> History {
    let blank = Entry {
        log_id: LogId::new_term_index(1, 0),
        payload: Payload::Blank,
    };
    let story = [
        blank,
        entry(1, 100, acquire("a"), None),
        entry(2, 110, acquire("b"), None),
        entry(3, 120, acquire("c"), None),
        entry(WRITTEN, 130, write(), Some(1)),
        entry(5, 900, renew(1), None),
        entry(6, 1_000, renew(2), None),
        entry(7, 1_000, renew(3), None),
        entry(EXPIRY, 1_900, Op::Tick, None),
        entry(REFUSED, 1_910, write(), Some(1)),
        entry(RELEASE, 1_950, release(2), None),
        entry(LAST, 3_000, Op::Tick, None),
    ];
    let ledger = Ledger::default();
    ledger.enter(story.iter());
    openraft_rt_sim::SimRuntime::with_seed(0).block_on(ledger.history())
}

impl History {
    /// Changes what an entry came to.
    pub(crate) fn alter(&mut self, index: u64, alter: impl FnOnce(&mut ChangeSet)) {
        let mut set = self.changes[&index].set().clone();
        alter(&mut set);
        let entry = Arc::new(events::Entry::new(set));
        self.changes.insert(index, entry);
    }

    /// Puts an entry that changes nothing in the place of one, or after the last.
    pub(crate) fn write(&mut self, index: u64, command: Command) {
        let mut entry = self.entries[&1].clone();
        entry.log_id = LogId::new_term_index(1, index);
        entry.payload = Payload::Normal(command.into());
        self.entries.insert(index, entry);
        self.changes.remove(&index);
    }

    /// Returns the command of an entry, to be changed.
    pub(crate) fn command(&mut self, index: u64) -> &mut Command {
        match self.entries.get_mut(&index).map(|entry| &mut entry.payload) {
            Some(Payload::Normal(command)) => Arc::make_mut(command),
            other => panic!("no command at {index}: {other:?}"),
        }
    }
}
