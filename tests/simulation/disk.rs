//! A disk that forgets: what was not synced may be gone after a crash, from some point on.
//!
//! Like the real log it is one ordered stream of changes with one sync under way at a time, which
//! takes along everything that was written before it began.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::sync::Arc;
use std::time::Duration;

use conclave_server::raft::{Entry, LogId, TypeConfig, Vote};
use conclave_server::runtime;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader};
use parking_lot::Mutex;

use crate::ledger::Ledger;
use crate::random;

/// What a log contains.
#[derive(Debug, Default, Clone)]
struct Image {
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    entries: BTreeMap<u64, Entry>,
}

#[derive(Debug, Clone)]
enum Change {
    Vote(Vote),
    Committed(LogId),
    Append(Vec<Entry>),
    TruncateFrom(u64),
    Purge(LogId),
}

impl Image {
    fn make(&mut self, change: Change) {
        match change {
            Change::Vote(vote) => self.vote = Some(vote),
            Change::Committed(committed) => self.committed = Some(committed),
            Change::Append(entries) => self.entries.extend(
                entries
                    .into_iter()
                    .map(|entry| (entry.log_id.index(), entry)),
            ),
            Change::TruncateFrom(index) => drop(self.entries.split_off(&index)),
            Change::Purge(upto) => {
                self.purged = self.purged.max(Some(upto));
                self.entries = self.entries.split_off(&(upto.index() + 1));
            }
        }
    }
}

#[derive(Default)]
struct Inner {
    /// What the running process reads.
    cache: Image,
    /// What survives a crash for certain.
    durable: Image,
    /// Written and not synced, oldest first.
    pending: Vec<Change>,
    waiting: Vec<(usize, Done)>,
    is_syncing: bool,
    /// Counts the crashes: a process of before can change nothing any more.
    life: u64,
    /// Says that everything is synced at once. Wrong on purpose.
    lies: bool,
    /// Where all nodes enter what is committed.
    ledger: Ledger,
}

enum Done {
    Append(IOFlushed<TypeConfig>),
    Vote(tokio::sync::oneshot::Sender<()>),
}

impl Done {
    fn tell(self) {
        match self {
            Self::Append(callback) => callback.io_completed(Ok(())),
            // A caller that gave up needs no answer.
            Self::Vote(done) => drop(done.send(())),
        }
    }
}

/// The disk of one node, which outlives its processes.
#[derive(Clone, Default)]
pub(crate) struct Disk(Arc<Mutex<Inner>>);

impl Disk {
    pub(crate) fn new(lies: bool, ledger: Ledger) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            lies,
            ledger,
            ..Inner::default()
        })))
    }

    /// Ends the running process' hold; keeps what was synced and some of what was written after.
    pub(crate) fn crash(&self) {
        let mut inner = self.0.lock();
        let survives = random::below(inner.pending.len() as u64 + 1) as usize;
        let pending = std::mem::take(&mut inner.pending);
        for change in pending.into_iter().take(survives) {
            inner.durable.make(change);
        }
        inner.waiting.clear();
        inner.is_syncing = false;
        inner.cache = inner.durable.clone();
        inner.life += 1;
    }

    /// Opens the log for a new process.
    pub(crate) fn open(&self) -> DiskLog {
        DiskLog {
            life: self.0.lock().life,
            disk: self.clone(),
        }
    }
}

/// One process' hold on the disk.
#[derive(Clone)]
pub(crate) struct DiskLog {
    disk: Disk,
    life: u64,
}

impl DiskLog {
    fn write(&self, change: Change, done: Option<Done>) -> io::Result<()> {
        let mut inner = self.disk.0.lock();
        if inner.life != self.life {
            return Err(io::Error::other("this process has crashed"));
        }
        inner.cache.make(change.clone());
        inner.pending.push(change);
        let Some(done) = done else { return Ok(()) };
        if inner.lies {
            done.tell();
        } else {
            let behind = inner.pending.len();
            inner.waiting.push((behind, done));
        }
        if !std::mem::replace(&mut inner.is_syncing, true) {
            runtime::detach(sync(self.clone()));
        }
        Ok(())
    }
}

/// Syncs until nothing waits for it.
async fn sync(log: DiskLog) {
    loop {
        let taken = log.disk.0.lock().pending.len();
        runtime::sleep(Duration::from_micros(100 + random::below(3_000))).await;
        let mut inner = log.disk.0.lock();
        if inner.life != log.life {
            return;
        }
        let synced: Vec<_> = inner.pending.drain(..taken).collect();
        for change in synced {
            inner.durable.make(change);
        }
        let waiting = std::mem::take(&mut inner.waiting);
        for (behind, done) in waiting {
            match behind.checked_sub(taken) {
                None | Some(0) => done.tell(),
                Some(behind) => inner.waiting.push((behind, done)),
            }
        }
        if inner.waiting.is_empty() {
            inner.is_syncing = false;
            return;
        }
    }
}

impl RaftLogReader<TypeConfig> for DiskLog {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        let inner = self.disk.0.lock();
        let entries = inner.cache.entries.range(range);
        Ok(entries.map(|(_, entry)| entry.clone()).collect())
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.disk.0.lock().cache.vote)
    }
}

impl RaftLogStorage<TypeConfig> for DiskLog {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let inner = self.disk.0.lock();
        let last = inner.cache.entries.last_key_value();
        Ok(LogState {
            last_purged_log_id: inner.cache.purged,
            last_log_id: last.map(|(_, entry)| entry.log_id).or(inner.cache.purged),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let (done, synced) = tokio::sync::oneshot::channel();
        self.write(Change::Vote(*vote), Some(Done::Vote(done)))?;
        synced.await.map_err(io::Error::other)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        let Some(committed) = committed else {
            return Ok(());
        };
        let before = self.disk.0.lock().cache.committed;
        self.write(Change::Committed(committed), None)?;
        let inner = self.disk.0.lock();
        let new = inner
            .cache
            .entries
            .range(before.map_or(0, |id| id.index() + 1)..)
            .take_while(|(index, _)| **index <= committed.index());
        inner.ledger.enter(new.map(|(_, entry)| entry));
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.disk.0.lock().cache.committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries = entries.into_iter().collect();
        self.write(Change::Append(entries), Some(Done::Append(callback)))
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let from = last.map_or(0, |id| id.index() + 1);
        self.write(Change::TruncateFrom(from), None)
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        self.write(Change::Purge(upto), None)
    }
}
