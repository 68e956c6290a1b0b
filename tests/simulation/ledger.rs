//! The committed log from its first entry on, whatever the nodes purge, and what it comes to.
//!
//! The disks enter what their nodes say to be committed. Raft's own promise is checked by that: no two
//! nodes commit different entries at one index (Raft paper, State Machine Safety). What an entry did
//! is found by the real state machine, which applies them all once more in the end.

use std::collections::BTreeMap;
use std::sync::Arc;

use conclave_server::events::{self, Events, Taken};
use conclave_server::raft::Entry;
use conclave_server::state::View;
use conclave_server::storage::{StateMachine, Storage};
use futures::stream;
use openraft::storage::RaftStateMachine;
use parking_lot::Mutex;

/// Entries that are applied before their changes are taken: fewer than may be kept.
const STEP: usize = 1_000;
/// Entries after each of which the digest is kept: the nodes may be at any of the last ones.
const LAST: usize = 32;

/// What all nodes of one run have committed; clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Ledger(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    entries: BTreeMap<u64, Entry>,
    wrong: Vec<String>,
}

impl Ledger {
    /// Enters what one node says to be committed.
    pub(crate) fn enter<'a>(&self, committed: impl Iterator<Item = &'a Entry>) {
        let mut inner = self.0.lock();
        for entry in committed {
            let index = entry.log_id.index();
            let Some(known) = inner.entries.get(&index) else {
                inner.entries.insert(index, entry.clone());
                continue;
            };
            if known.log_id != entry.log_id {
                let what = format!("committed: {} as well as {}", known.log_id, entry.log_id);
                inner.wrong.push(what);
            }
        }
    }

    /// Applies all of it to an empty state machine.
    pub(crate) async fn history(&self) -> History {
        let mut history = {
            let inner = self.0.lock();
            History {
                entries: inner.entries.clone(),
                changes: BTreeMap::new(),
                hashes: BTreeMap::new(),
                wrong: inner.wrong.clone(),
            }
        };
        history.apply().await;
        history
    }
}

/// What was committed, and what it did.
pub(crate) struct History {
    pub(crate) entries: BTreeMap<u64, Entry>,
    /// The changes of those entries that made any.
    pub(crate) changes: BTreeMap<u64, Arc<events::Entry>>,
    /// Digests of the state by the index of the entry that they are after.
    hashes: BTreeMap<u64, u64>,
    pub(crate) wrong: Vec<String>,
}

impl History {
    async fn apply(&mut self) {
        let events = Events::default();
        let snapshots = Storage::in_memory().snapshots;
        let mut machine = StateMachine::new(snapshots, events.clone());
        let published = machine.published();
        let mut places = (0..).zip(self.entries.keys());
        if let Some((missing, _)) = places.find(|(place, index)| place != *index) {
            let what = format!("nobody has said that {missing} is committed");
            self.wrong.push(what);
            return;
        }
        let entries: Vec<_> = self.entries.values().cloned().collect();
        let (most, last) = entries.split_at(entries.len().saturating_sub(LAST));
        for step in most.chunks(STEP).chain(last.chunks(1)) {
            let step = step.iter().map(|entry| Ok((entry.clone(), None)));
            if let Err(error) = machine.apply(stream::iter(step)).await {
                self.wrong.push(format!("cannot be applied: {error}"));
                return;
            }
            let view = published.read(View::clone);
            self.hashes.insert(view.applied_index, view.hash());
            let told = self.changes.keys().next_back().copied().unwrap_or(0);
            if let Ok(Taken::Changes(new)) = events.take(told, usize::MAX, usize::MAX).await {
                let new = new.into_iter().map(|entry| (entry.revision(), entry));
                self.changes.extend(new);
            }
        }
    }

    /// Returns the digest of the state after one of the last entries.
    pub(crate) fn hash_at(&self, index: u64) -> Option<u64> {
        self.hashes
            .range(..=index)
            .next_back()
            .map(|(_, hash)| *hash)
    }
}
