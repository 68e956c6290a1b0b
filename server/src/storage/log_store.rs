//! Raft's log store: durable or in memory, behind openraft's traits.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};

use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader};

use super::memory_log::MemoryLog;
use super::wal::Wal;
use crate::raft::{Entry, LogId, Payload, TypeConfig, Vote};

/// Bounds of one `AppendEntries`.
const REPLICATE_ENTRIES: u64 = 512;
const REPLICATE_BYTES: usize = 1 << 20;

/// First and last entry that a log holds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LogBounds {
    pub(super) purged: Option<LogId>,
    pub(super) last: Option<LogId>,
    pub(super) committed: Option<LogId>,
}

impl LogBounds {
    pub(super) fn first(&self) -> u64 {
        self.purged.map_or(0, |id| id.index() + 1)
    }

    pub(super) fn next(&self) -> u64 {
        self.last.map_or(self.first(), |id| id.index() + 1)
    }
}

/// Returns the bytes an entry's payload takes, never more than its encoding.
pub fn approximate_size(payload: &Payload) -> usize {
    const FIXED: usize = 32;
    let Payload::Normal(command) = payload else {
        return FIXED;
    };
    FIXED + command.op.bytes()
}

/// The log, vote and committed index of one node; clones share it.
#[derive(Debug, Clone)]
pub enum LogStore {
    Durable(Wal),
    /// `-inmem`: gone with the process.
    Memory(MemoryLog),
}

impl LogStore {
    /// Returns true when nothing was ever written: no vote and no entry.
    #[must_use]
    pub fn is_unused(&self) -> bool {
        self.vote().is_none() && self.bounds().last.is_none()
    }

    fn vote(&self) -> Option<Vote> {
        match self {
            Self::Durable(wal) => wal.vote(),
            Self::Memory(memory) => memory.vote(),
        }
    }

    fn bounds(&self) -> LogBounds {
        match self {
            Self::Durable(wal) => wal.bounds(),
            Self::Memory(memory) => memory.bounds(),
        }
    }

    async fn read(&self, start: u64, end: u64, max_bytes: usize) -> io::Result<Vec<Entry>> {
        match self {
            Self::Durable(wal) => wal.read(start, end, max_bytes).await,
            Self::Memory(memory) => Ok(memory.read(start, end, max_bytes)),
        }
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        let start = match range.start_bound() {
            Bound::Included(index) => *index,
            Bound::Excluded(index) => index + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(index) => index.saturating_add(1),
            Bound::Excluded(index) => *index,
            Bound::Unbounded => u64::MAX,
        };
        self.read(start, end, usize::MAX).await
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.vote())
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.read(start, end.min(start + REPLICATE_ENTRIES), REPLICATE_BYTES)
            .await
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let bounds = self.bounds();
        Ok(LogState {
            last_purged_log_id: bounds.purged,
            last_log_id: bounds.last,
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        match self {
            Self::Durable(wal) => wal.save_vote(*vote).await,
            Self::Memory(memory) => {
                memory.save_vote(*vote);
                Ok(())
            }
        }
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        let Some(committed) = committed else {
            return Ok(());
        };
        match self {
            Self::Durable(wal) => wal.save_committed(committed),
            Self::Memory(memory) => {
                memory.save_committed(committed);
                Ok(())
            }
        }
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.bounds().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        match self {
            Self::Durable(wal) => wal.append(entries, callback).await,
            Self::Memory(memory) => {
                memory.append(entries);
                callback.io_completed(Ok(()));
                Ok(())
            }
        }
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        match self {
            Self::Durable(wal) => wal.truncate_after(last),
            Self::Memory(memory) => {
                memory.truncate_after(last);
                Ok(())
            }
        }
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        match self {
            Self::Durable(wal) => wal.purge(upto),
            Self::Memory(memory) => {
                memory.purge(upto);
                Ok(())
            }
        }
    }
}
