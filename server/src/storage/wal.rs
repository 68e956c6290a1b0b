//! The durable log: entries, vote and committed index on the `raft-log` crate.
//!
//! Nothing is acknowledged before it is synced (invariant 3). The appending task only encodes into
//! raft-log's buffer, and begins a sync unless one is under way; everything buffered while it runs
//! is the next group, so that concurrent writers share one `fdatasync` and nobody waits for a timer
//! or for a thread between. (raft-log's own grouping syncs once per request, or adds its wait to
//! each group.)

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use openraft::entry::RaftEntry;
use openraft::storage::IOFlushed;
use parking_lot::{Mutex, RwLock};
use raft_log::api::raft_log_writer::RaftLogWriter;
use raft_log::{Config, RaftLog, Types};
use rustix::fs::{FallocateFlags, fallocate};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::codec::Field;
use super::disk_space::UNDER_WAY_BYTES;
use super::log_store::{LogBounds, approximate_size};
use super::torn_tail;
use crate::clock;
use crate::metrics::Metrics;
use crate::mutants::{self, Mutant};
use crate::raft::{Entry, LogId, Payload, TypeConfig, Vote};

/// Size of a log file, which the last record of it may exceed. Filling one costs a file creation and
/// a directory sync on the appending task.
const CHUNK_BYTES: usize = 4 << 20;
const CHUNK_RECORDS: usize = 131_072;
/// Largest record: requests are at most 8 MiB.
const RECORD_BYTES: usize = 8 << 20;
/// Payloads kept in memory. Entries of the open file are readable only from here, and raft-log may
/// evict them when log ids of an older term come back after a truncation; room for a file more than
/// the open one, whatever its last record, makes that impossible.
const CACHE_BYTES: usize = 2 * CHUNK_BYTES + RECORD_BYTES;
const CACHE_ITEMS: usize = CHUNK_RECORDS;
/// Bytes accepted but not yet synced; `append` waits above this.
const UNSYNCED_BYTES: usize = 64 << 20;
/// The newest entries are in the cache and are read in place; older ones may need the disk.
const HOT_ENTRIES: u64 = 512;
/// Room that [`Wal::secure`] keeps behind the end of the newest file: for what is under way when
/// somebody else takes all the free space at once, and for elections, which write about 200 bytes each.
const SECURED_BYTES: u64 = 2 * UNDER_WAY_BYTES;
/// Entries read under one hold of the lock.
const READ_SLICE: u64 = 256;

/// The record types of raft-log.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct WalTypes;

impl Types for WalTypes {
    type LogId = Field<LogId>;
    type LogPayload = Field<Payload>;
    type Vote = Field<Vote>;
    type UserData = ();
    type Callback = Group;

    fn log_index(id: &Field<LogId>) -> u64 {
        id.0.index()
    }

    fn payload_size(payload: &Field<Payload>) -> u64 {
        approximate_size(&payload.0) as u64
    }
}

/// Somebody who waits until a group is durable.
enum Notify {
    Append {
        done: IOFlushed<TypeConfig>,
        _bytes: OwnedSemaphorePermit,
    },
    Vote(oneshot::Sender<io::Result<()>>),
    /// Whoever opens the log, and blocks.
    Opening(mpsc::Sender<io::Result<()>>),
}

/// Answers exactly once. raft-log drops queued callbacks when its thread dies, and Raft would wait
/// for ever: an unanswered waiter reports the failure when it is dropped.
struct Waiter(Option<Notify>);

impl Waiter {
    fn answer(&mut self, result: io::Result<()>) {
        match self.0.take() {
            Some(Notify::Append { done, .. }) => done.io_completed(result),
            // The task that saved the vote may be gone; then nobody is left to be told.
            Some(Notify::Vote(done)) => drop(done.send(result)),
            Some(Notify::Opening(done)) => drop(done.send(result)),
            None => {}
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.answer(Err(stopped()));
    }
}

/// Who waits for the next sync, and whether one is under way. At most one is.
struct Syncs {
    state: Mutex<SyncState>,
    /// Wakes the flusher: a sync has ended for which more waited.
    more: mpsc::Sender<Arc<Self>>,
    metrics: Metrics,
}

#[derive(Default)]
struct SyncState {
    waiting: Vec<Waiter>,
    is_under_way: bool,
    /// A sync has failed: there will be no other.
    has_failed: bool,
}

impl Syncs {
    /// Adds a waiter whose records are in the log's buffer; the log is locked. Syncs at once unless
    /// a sync is under way, which the next one then follows.
    fn wait(self: &Arc<Self>, log: &mut RaftLog<WalTypes>, waiter: Waiter) -> io::Result<()> {
        let group = {
            let mut state = self.state.lock();
            if state.has_failed {
                return Err(stopped());
            }
            state.waiting.push(waiter);
            if state.is_under_way {
                return Ok(());
            }
            self.group(&mut state)
        };
        log.flush(true, Some(group))
    }

    /// Returns all who wait, as the group of the sync that is now under way.
    fn group(self: &Arc<Self>, state: &mut SyncState) -> Group {
        state.is_under_way = true;
        Group {
            waiters: std::mem::take(&mut state.waiting),
            syncs: Some(self.clone()),
            began: clock::now(),
        }
    }

    /// Has the next sync begun if anybody waits for it. Not here: this is raft-log's thread, for which
    /// whoever holds the log may wait.
    fn go_on(self: Arc<Self>) {
        let has_more = {
            let mut state = self.state.lock();
            state.is_under_way = !state.waiting.is_empty();
            state.is_under_way
        };
        if has_more {
            let more = self.more.clone();
            drop(more.send(self));
        }
    }

    /// After a failed write or sync the page cache cannot be trusted: everybody who waits gets an
    /// error, Raft stops, and the process exits. Said once, of the first failure.
    fn fail(&self, error: &io::Error) {
        let (is_first, waiting) = {
            let mut state = self.state.lock();
            let is_first = !std::mem::replace(&mut state.has_failed, true);
            (is_first, std::mem::take(&mut state.waiting))
        };
        if is_first {
            tracing::error!(%error, "the log cannot be written: this node stops: {error}");
        }
        drop(waiting);
    }
}

/// One group commit. raft-log's thread tells it the result, or drops it when it dies.
pub(super) struct Group {
    waiters: Vec<Waiter>,
    syncs: Option<Arc<Syncs>>,
    began: Instant,
}

impl raft_log::Callback for Group {
    fn send(mut self, result: io::Result<()>) {
        if let Some(syncs) = self.syncs.take() {
            syncs.metrics.synced(clock::since(self.began));
            // First, so that the next sync is under way while these are told of theirs.
            match &result {
                Ok(()) => syncs.go_on(),
                Err(error) => syncs.fail(error),
            }
        }
        for waiter in &mut self.waiters {
            waiter.answer(repeat(&result));
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(syncs) = self.syncs.take() {
            syncs.fail(&stopped());
        }
    }
}

fn repeat(result: &io::Result<()>) -> io::Result<()> {
    match result {
        Ok(()) => Ok(()),
        Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
    }
}

fn stopped() -> io::Error {
    io::Error::other("the log writer has stopped")
}

/// Begins the syncs that follow another one. Ends when nobody has the log any more.
fn flusher(log: &RwLock<RaftLog<WalTypes>>, more: &mpsc::Receiver<Arc<Syncs>>) {
    while let Ok(syncs) = more.recv() {
        let mut log = log.write();
        let group = syncs.group(&mut syncs.state.lock());
        // When this fails, the group that it drops says so to all who wait.
        drop(log.flush(true, Some(group)));
    }
}

/// Handle to the durable log; clones share it. The directory is unlocked when the last one and
/// the flusher thread are gone.
#[derive(Clone)]
pub struct Wal {
    directory: Arc<PathBuf>,
    // Dropped before `syncs`, so that the flusher thread closes and syncs the log.
    log: Arc<RwLock<RaftLog<WalTypes>>>,
    syncs: Arc<Syncs>,
    unsynced: Arc<Semaphore>,
    /// Counts truncations and purges, so that a read in slices notices one in between.
    rewrites: Arc<AtomicU64>,
}

impl std::fmt::Debug for Wal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wal").finish_non_exhaustive()
    }
}

impl Wal {
    /// Opens or creates the log; syncs are counted in `metrics`. Blocks while it replays every file.
    ///
    /// # Errors
    ///
    /// A record other than an unfinished last one is damaged, the directory is locked by another
    /// process, or the disk fails.
    pub fn open(directory: &Path, metrics: Metrics) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        if let Some(parent) = directory.parent() {
            // The new directory's own name must survive a power cut too.
            File::open(parent)?.sync_all()?;
        }
        let path = directory
            .to_str()
            .ok_or_else(|| io::Error::other("the log directory's path is not UTF-8"))?;
        let mut config = Config::new(path);
        config.wal.chunk_max_size = Some(CHUNK_BYTES);
        config.wal.chunk_max_records = Some(CHUNK_RECORDS);
        config.wal.read_buffer_size = Some(1 << 20);
        config.wal.flush_batch_wait = Some(Duration::ZERO);
        config.log_cache_max_items = Some(CACHE_ITEMS);
        config.log_cache_capacity = Some(CACHE_BYTES);

        let config = Arc::new(config);
        let open = || RaftLog::<WalTypes>::open(config.clone());
        let hole = torn_tail::find(directory)?;
        let opened = match (open(), hole) {
            (Err(error), Some(hole)) if error.kind() == io::ErrorKind::InvalidData => {
                hole.cut_off()?;
                open()
            }
            (opened, _) => opened,
        };
        let log = opened.map_err(|error| torn_tail::name_file(directory, &error))?;
        let log = Arc::new(RwLock::new(log));
        let (more, queue) = mpsc::channel();
        let shared = log.clone();
        std::thread::Builder::new()
            .name("log-sync".to_owned())
            .spawn(move || flusher(&shared, &queue))?;
        let syncs = Arc::new(Syncs {
            state: Mutex::default(),
            more,
            metrics,
        });
        // A killed process leaves records in the page cache that were never synced. The replay
        // accepted them, and Raft counts all it finds at start as durable.
        let (done, synced) = mpsc::channel();
        syncs.wait(&mut log.write(), Waiter(Some(Notify::Opening(done))))?;
        synced.recv().map_err(|mpsc::RecvError| stopped())??;
        Ok(Self {
            directory: Arc::new(directory.to_owned()),
            log,
            syncs,
            unsynced: Arc::new(Semaphore::new(UNSYNCED_BYTES)),
            rewrites: Arc::default(),
        })
    }

    /// Changes the log. What fails here ends it, like a failed sync: raft-log begins a new file on the
    /// way, and what it says of one before comes to whoever writes next.
    fn change(
        &self,
        change: impl FnOnce(&mut RaftLog<WalTypes>) -> io::Result<()>,
    ) -> io::Result<()> {
        let changed = change(&mut self.log.write());
        changed.inspect_err(|error| self.syncs.fail(error))
    }

    /// Buffers records with `write` and has `notify` told when they are durable.
    fn submit(
        &self,
        notify: Notify,
        write: impl FnOnce(&mut RaftLog<WalTypes>) -> io::Result<()>,
    ) -> io::Result<()> {
        let waiter = Waiter(Some(notify));
        self.change(|log| {
            write(log)?;
            self.syncs.wait(log, waiter)
        })
    }

    /// Takes room on the disk for what the newest file gets next, so that nobody else can: up to
    /// [`SECURED_BYTES`], which stay with the file. Again when half of it is used. Blocks.
    ///
    /// # Errors
    ///
    /// There is no such room any more, or the file system cannot do it.
    pub(super) fn secure(&self) -> io::Result<()> {
        let Some(path) = torn_tail::last_file(&self.directory)? else {
            return Ok(());
        };
        let file = File::options().write(true).open(path)?;
        let metadata = file.metadata()?;
        let end = metadata.len();
        // In units of 512 bytes, whatever the file system's are (stat(2)).
        if metadata.blocks() * 512 >= end + SECURED_BYTES / 2 {
            return Ok(());
        }
        Ok(fallocate(
            &file,
            FallocateFlags::KEEP_SIZE,
            end,
            SECURED_BYTES,
        )?)
    }

    pub(super) fn bounds(&self) -> LogBounds {
        let log = self.log.read();
        let state = log.log_state();
        LogBounds {
            purged: state.purged().map(|id| id.0),
            last: state.last().map(|id| id.0),
            committed: state.committed().map(|id| id.0),
        }
    }

    pub(super) fn vote(&self) -> Option<Vote> {
        self.log.read().log_state().vote().map(|vote| vote.0)
    }

    /// Reads `[start, end)`, cut after `max_bytes` but never to nothing.
    pub(super) async fn read(
        &self,
        start: u64,
        end: u64,
        max_bytes: usize,
    ) -> io::Result<Vec<Entry>> {
        let (low, high, next) = {
            let bounds = self.bounds();
            let (first, next) = (bounds.first(), bounds.next());
            (start.max(first), end.min(next), next)
        };
        if low >= high {
            return Ok(Vec::new());
        }
        if low + HOT_ENTRIES >= next {
            return self.read_sliced(low, high, max_bytes);
        }
        let this = self.clone();
        tokio::task::spawn_blocking(move || this.read_sliced(low, high, max_bytes)).await?
    }

    fn read_sliced(&self, low: u64, high: u64, max_bytes: usize) -> io::Result<Vec<Entry>> {
        'again: loop {
            let seen = self.rewrites.load(Ordering::Acquire);
            let (mut entries, mut bytes, mut at) = (Vec::new(), 0, low);
            while at < high && bytes < max_bytes {
                let log = self.log.read();
                if self.rewrites.load(Ordering::Acquire) != seen {
                    continue 'again; // the slices may not fit together
                }
                for item in log.read(at, high.min(at + READ_SLICE)) {
                    let (Field(id), Field(payload)) = item?;
                    bytes += approximate_size(&payload);
                    entries.push(Entry::new(id, payload));
                    if bytes >= max_bytes {
                        break;
                    }
                }
                at += READ_SLICE;
            }
            return Ok(entries);
        }
    }

    pub(super) async fn save_vote(&self, vote: Vote) -> io::Result<()> {
        let (done, saved) = oneshot::channel();
        self.submit(Notify::Vote(done), |log| {
            log.save_vote(Field(vote)).map(drop)
        })?;
        if mutants::is(Mutant::VoteUnsynced) {
            return Ok(());
        }
        match saved.await {
            Ok(result) => result,
            Err(oneshot::error::RecvError { .. }) => Err(stopped()),
        }
    }

    /// Buffers a hint that rides on the next group; nothing waits for it.
    pub(super) fn save_committed(&self, committed: LogId) -> io::Result<()> {
        let id = Field(committed);
        self.change(|log| {
            let state = log.log_state();
            // raft-log refuses an index that goes back or lies beyond the log.
            if state.committed() < Some(&id) && Some(&id) <= state.last() {
                log.commit(id)?;
            }
            Ok(())
        })
    }

    pub(super) async fn append(
        &self,
        entries: Vec<Entry>,
        done: IOFlushed<TypeConfig>,
    ) -> io::Result<()> {
        let bytes: usize = entries
            .iter()
            .map(|entry| approximate_size(&entry.payload))
            .sum();
        let records: Vec<_> = entries
            .into_iter()
            .map(|e| (Field(e.log_id), Field(e.payload)))
            .collect();
        let permits = u32::try_from(bytes.min(UNSYNCED_BYTES)).map_err(io::Error::other)?;
        let permit = self
            .unsynced
            .clone()
            .acquire_many_owned(permits)
            .await
            .map_err(io::Error::other)?;
        if mutants::is(Mutant::AckBeforeSync) {
            let (nobody, _) = oneshot::channel();
            self.submit(Notify::Vote(nobody), |log| log.append(records).map(drop))?;
            done.io_completed(Ok(()));
            return Ok(());
        }
        let notify = Notify::Append {
            done,
            _bytes: permit,
        };
        self.submit(notify, |log| log.append(records).map(drop))
    }

    /// Keeps entries up to `last`. Not synced here: the record precedes any later append.
    pub(super) fn truncate_after(&self, last: Option<LogId>) -> io::Result<()> {
        let keep = last.map_or(0, |id| id.index() + 1);
        self.change(|log| {
            if keep < WalTypes::next_log_index(log.log_state().last()) {
                self.rewrites.fetch_add(1, Ordering::Release);
                log.truncate(keep)?;
            }
            Ok(())
        })
    }

    /// Drops entries up to `upto`; files are deleted after the next group that is synced.
    pub(super) fn purge(&self, upto: LogId) -> io::Result<()> {
        self.change(|log| {
            self.rewrites.fetch_add(1, Ordering::Release);
            log.purge(Field(upto)).map(drop)
        })
    }
}
