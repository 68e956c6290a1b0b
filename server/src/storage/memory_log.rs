//! The log of `-inmem`: same contract as [`super::wal`], nothing survives the process.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use super::log_store::{LogBounds, approximate_size};
use crate::raft::{Entry, LogId, Vote};

#[derive(Debug, Default)]
struct Inner {
    vote: Option<Vote>,
    bounds: LogBounds,
    /// Entries `bounds.first()..`, contiguous.
    entries: VecDeque<Entry>,
}

/// Handle to a log in memory; clones share it.
#[derive(Debug, Clone, Default)]
pub struct MemoryLog(Arc<Mutex<Inner>>);

impl MemoryLog {
    pub(super) fn vote(&self) -> Option<Vote> {
        self.0.lock().vote
    }

    pub(super) fn bounds(&self) -> LogBounds {
        self.0.lock().bounds
    }

    /// Reads `[start, end)`, cut after `max_bytes` but never to nothing.
    pub(super) fn read(&self, start: u64, end: u64, max_bytes: usize) -> Vec<Entry> {
        let inner = self.0.lock();
        let first = inner
            .entries
            .front()
            .map_or(0, |entry| entry.log_id.index());
        let skip = usize::try_from(start.saturating_sub(first)).unwrap_or(usize::MAX);
        let mut bytes = 0;
        inner
            .entries
            .iter()
            .skip(skip)
            .take_while(|entry| {
                let wanted = entry.log_id.index() < end && bytes < max_bytes;
                bytes += approximate_size(&entry.payload);
                wanted
            })
            .cloned()
            .collect()
    }

    pub(super) fn save_vote(&self, vote: Vote) {
        self.0.lock().vote = Some(vote);
    }

    pub(super) fn save_committed(&self, committed: LogId) {
        self.0.lock().bounds.committed = Some(committed);
    }

    pub(super) fn append(&self, entries: Vec<Entry>) {
        let mut inner = self.0.lock();
        if let Some(last) = entries.last() {
            inner.bounds.last = Some(last.log_id);
        }
        inner.entries.extend(entries);
    }

    pub(super) fn truncate_after(&self, last: Option<LogId>) {
        let mut inner = self.0.lock();
        let keep = last.map_or(0, |id| id.index() + 1);
        while inner
            .entries
            .back()
            .is_some_and(|entry| entry.log_id.index() >= keep)
        {
            inner.entries.pop_back();
        }
        inner.bounds.last = inner
            .entries
            .back()
            .map(|entry| entry.log_id)
            .or(inner.bounds.purged);
    }

    pub(super) fn purge(&self, upto: LogId) {
        let mut inner = self.0.lock();
        while inner
            .entries
            .front()
            .is_some_and(|entry| entry.log_id.index() <= upto.index())
        {
            inner.entries.pop_front();
        }
        inner.bounds.purged = inner.bounds.purged.max(Some(upto));
        inner.bounds.last = inner.bounds.last.max(Some(upto));
    }
}
