//! The few keys that clients work on, each until it is used up.

use std::sync::Arc;

use crate::history::{Answer, End};
use crate::random::Random;

/// Keys in use at a time.
const KEYS: usize = 10;
/// A key is given up after this many operations, so that its history stays short enough to judge.
const OPERATIONS: usize = 200;
/// And after this many that stay open, each of which doubles the orders that may explain it.
const OPEN: usize = 8;

/// A key that a client may use once.
#[derive(Debug, Clone)]
pub(super) struct Ticket {
    pub(super) key: Arc<str>,
    slot: usize,
    /// The newest revision that any client saw, and the one before; 0 for none.
    pub(super) seen: [u64; 2],
}

#[derive(Debug)]
struct Slot {
    key: Arc<str>,
    operations: usize,
    open: usize,
    seen: [u64; 2],
}

/// The keys in use; it is shared by the clients.
#[derive(Debug)]
pub(super) struct Keys {
    prefix: String,
    slots: Vec<Slot>,
    made: usize,
}

impl Keys {
    pub(super) fn new(prefix: String) -> Self {
        let mut keys = Self {
            prefix,
            slots: Vec::new(),
            made: 0,
        };
        for _ in 0..KEYS {
            let slot = keys.fresh();
            keys.slots.push(slot);
        }
        keys
    }

    fn fresh(&mut self) -> Slot {
        self.made += 1;
        Slot {
            key: format!("{}/{}", self.prefix, self.made).into(),
            operations: 0,
            open: 0,
            seen: [0, 0],
        }
    }

    /// Gives one of the keys; its use counts from now.
    pub(super) fn take(&mut self, random: &mut Random) -> Ticket {
        let at = random.below(self.slots.len());
        let slot = &self.slots[at];
        if slot.operations >= OPERATIONS || slot.open >= OPEN {
            self.slots[at] = self.fresh();
        }
        let slot = &mut self.slots[at];
        slot.operations += 1;
        Ticket {
            key: Arc::clone(&slot.key),
            slot: at,
            seen: slot.seen,
        }
    }

    /// Notes what became of the use.
    pub(super) fn give_back(&mut self, ticket: &Ticket, end: &End) {
        let slot = &mut self.slots[ticket.slot];
        if slot.key != ticket.key {
            return;
        }
        match end {
            End::Open => slot.open += 1,
            End::Failed => {}
            End::Answered { answer, .. } => slot.see(answer),
        }
    }
}

impl Slot {
    fn see(&mut self, answer: &Answer) {
        let revision = match answer {
            Answer::Found { revision, .. } | Answer::Written { revision } => *revision,
            Answer::Mismatch { current } => *current,
            Answer::Absent | Answer::Deleted { .. } => 0,
        };
        if revision != self.seen[0] {
            self.seen = [revision, self.seen[0]];
        }
    }
}
