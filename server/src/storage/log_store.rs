//! Raft's log store: durable or in memory, behind openraft's traits.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};

use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader};

use super::memory_log::MemoryLog;
use super::wal::Wal;
use crate::raft::{Entry, LogId, NodeId, Payload, TypeConfig, Vote};

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

    /// Returns whether this log certainly is that of an id that never voted: it has everything since
    /// the entry that gave the id, no membership with it as a voter, and no vote for itself.
    ///
    /// # Errors
    ///
    /// The disk fails.
    pub async fn never_voted(&self, id: NodeId) -> io::Result<bool> {
        let bounds = self.bounds();
        let campaigned = self
            .vote()
            .is_some_and(|vote| vote.leader_id.voted_for == id);
        if campaigned || bounds.first() > id + 1 {
            return Ok(false);
        }
        let mut next = bounds.first();
        loop {
            let read = self.read(next, u64::MAX, REPLICATE_BYTES).await?;
            let Some(last) = read.last() else {
                return Ok(true);
            };
            next = last.log_id.index() + 1;
            let votes = read.iter().any(|entry| match &entry.payload {
                Payload::Membership(membership) => membership.voter_ids().any(|voter| voter == id),
                Payload::Blank | Payload::Normal(_) => false,
            });
            if votes {
                return Ok(false);
            }
        }
    }

    /// Takes room on the disk for what is appended next, votes among it, before others take it. To be
    /// called often. Blocks.
    ///
    /// # Errors
    ///
    /// There is no such room any more, or the file system cannot do it.
    pub fn secure(&self) -> io::Result<()> {
        match self {
            Self::Durable(wal) => wal.secure(),
            Self::Memory(_) => Ok(()),
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::Member;

    const ID: NodeId = 9;

    fn log_id(index: u64) -> LogId {
        LogId::new_term_index(3, index)
    }

    /// An entry with a membership in which 1 and `voter` vote, and [`ID`] is a member.
    fn membership(index: u64, voter: NodeId) -> Entry {
        let members = [1, 5, ID].map(|id| (id, Member::default()));
        let members = std::collections::BTreeMap::from(members);
        let voters = vec![[1, voter].into()];
        let membership = openraft::Membership::new(voters, members).unwrap();
        Entry {
            log_id: log_id(index),
            payload: Payload::Membership(membership),
        }
    }

    /// Returns what a log says that has everything from `first` on, the last entry being `last`.
    async fn says(first: u64, last: Entry, voted_for: NodeId) -> bool {
        let memory = MemoryLog::default();
        if first > 0 {
            memory.purge(log_id(first - 1));
        }
        let blank = |index| Entry {
            log_id: log_id(index),
            payload: Payload::Blank,
        };
        let index = last.log_id.index();
        memory.append((first..index).map(blank).collect());
        memory.append(vec![last]);
        memory.append(vec![blank(index + 1)]);
        memory.save_vote(Vote::new(3, voted_for));
        LogStore::Memory(memory).never_voted(ID).await.unwrap()
    }

    #[tokio::test]
    async fn only_a_whole_log_without_a_vote_is_that_of_an_id_that_never_voted() {
        assert!(says(0, membership(11, 5), 1).await, "it only learns");
        assert!(says(ID + 1, membership(11, 5), 1).await);
        assert!(!says(ID + 2, membership(11, 5), 1).await, "one is missing");
        assert!(!says(0, membership(11, ID), 1).await, "it votes");
        assert!(!says(0, membership(11, 5), ID).await, "it campaigned");
    }
}
