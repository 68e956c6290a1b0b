//! The changes of the past, on every node: for readers that are far behind, and for older versions
//! of a key. Pages of change sets in flat files, found by an index in sled.
//!
//! ```text
//! events ring ─► task ─► writer ─► open page (memory) ─► pages (segments), index (sled) ─► trimmed
//!                                      └──── query ───────────┘                          at the limits
//! ```
//!
//! All of this is derived data, off the way of a write: what was applied is packed into pages
//! (`page`) a moment later. A crash loses what came after the last [`Archive::sync`], and the log
//! brings it again, because that is called before the log lets go of anything. What the log no
//! longer brings is a gap: then history starts over after it. A store that cannot be read is set
//! aside when it is opened, and given up while it is used (`recovery`); either way the node goes on.
//!
//! A key's versions are found backwards, from its present record to the revision that wrote it, and
//! from there to the record before. Only where a key has ended there is a record of that.

mod index;
mod page;
mod query;
mod recovery;
mod segments;
mod store;
#[cfg(test)]
mod tests;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use crate::events::{Archive, Entry, Events};
use crate::runtime;
use crate::state::ChangeSet;

pub use query::{HistoryError, Version, Versions};

use index::guarded;
use store::Store;
use writer::{Left, Writer};

/// What is taken from the ring at once, bytes.
const PULL_BYTES: usize = 1 << 20;
/// Time in which changes gather before they are taken, so that a busy node packs many at once.
const GATHER: Duration = Duration::from_millis(20);
/// The open page is stored when nothing has come for this long.
const IDLE: Duration = Duration::from_secs(5);
/// Time between two looks for room on the disk, while there is none: changes wait in the ring.
const ROOM: Duration = Duration::from_millis(100);
/// sled is left alone when it does not end what it does in this time.
const PATIENCE: Duration = Duration::from_secs(30);
/// What history in memory keeps at most, bytes.
const MEMORY_BYTES: u64 = 64 << 20;
/// Size of a segment, bytes: less where little is kept, more where so much is that there would be too
/// many open files.
const SEGMENT_BYTES: u64 = 16 << 20;
const LEAST_SEGMENT_BYTES: u64 = 64 << 10;
const SEGMENTS: u64 = 64;

/// How much is kept. What is above any of these goes, a page at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Newest revisions that are kept.
    pub revisions: u64,
    /// Size of the change sets, bytes. On disk it is up to a segment more (16 MiB, or a 64th of
    /// this), which goes at once, and the index.
    pub bytes: u64,
    /// Age by the leader's and this node's wall clock, whichever says less.
    pub age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            revisions: 100_000,
            bytes: 1 << 30,
            age: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

impl Limits {
    fn segment_bytes(&self) -> u64 {
        let usual = (self.bytes / 8).clamp(LEAST_SEGMENT_BYTES, SEGMENT_BYTES);
        usual.max(self.bytes / SEGMENTS)
    }
}

/// What history says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// First revision that is kept, or will be the first one.
    pub oldest: u64,
    /// Change sets that are kept.
    pub revisions: u64,
    /// What it takes on disk, or in memory for a node that writes nothing.
    pub bytes: u64,
}

/// Handle to a node's history; clones share it.
#[derive(Clone)]
pub struct History(Arc<Inner>);

struct Inner {
    /// Where it is kept; `None` in memory.
    path: Option<PathBuf>,
    limits: Limits,
    /// `None` once it was closed.
    store: RwLock<Option<Arc<Store>>>,
    /// Whoever changes the store.
    writer: Mutex<Writer>,
    /// The page that is not full yet, for readers.
    open: RwLock<Vec<Arc<Entry>>>,
    /// Revision after which every change is kept, up to `taken`.
    floor: AtomicU64,
    taken: AtomicU64,
    given_up: AtomicBool,
    /// Wakes who waits for a revision to be taken.
    progress: Notify,
}

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("History")
            .field("floor", &self.0.floor())
            .field("taken", &self.taken())
            .finish_non_exhaustive()
    }
}

/// Life cycle.
impl History {
    /// Opens the history of the cluster `owner` below `path`. What cannot be read, or belongs to
    /// another cluster, is set aside, and an empty one takes its place; where not even that is
    /// possible, history is given up. Blocks.
    #[must_use]
    pub fn open(path: &Path, owner: &str, limits: Limits) -> Self {
        recovery::open(path, owner, limits)
    }

    /// Returns a history that is gone with the process.
    #[must_use]
    pub fn in_memory(limits: Limits) -> Self {
        let bytes = limits.bytes.min(MEMORY_BYTES);
        let limits = Limits { bytes, ..limits };
        let store = Some(Arc::new(Store::in_memory(limits.segment_bytes())));
        Self::at(None, limits, store, recovery::Recovered::default())
    }

    fn at(
        path: Option<PathBuf>,
        limits: Limits,
        store: Option<Arc<Store>>,
        recovered: recovery::Recovered,
    ) -> Self {
        Self(Arc::new(Inner {
            path,
            limits,
            given_up: AtomicBool::new(store.is_none()),
            store: RwLock::new(store),
            writer: Mutex::new(recovered.writer),
            open: RwLock::default(),
            floor: AtomicU64::new(recovered.floor),
            taken: AtomicU64::new(recovered.taken),
            progress: Notify::new(),
        }))
    }

    /// Puts history behind the ring of `events` and starts to take what comes, while `has_room` says
    /// that the disk has room. Before Raft starts: replaying the log waits for it.
    #[must_use]
    pub fn start(
        &self,
        events: Events,
        has_room: impl Fn() -> bool + Send + Sync + 'static,
    ) -> runtime::Task {
        events.attach(Arc::new(self.clone()));
        let history = self.clone();
        runtime::spawn(async move {
            let mut left = Left::Nothing;
            while let Some(taken) = history.taken() {
                if !has_room() {
                    runtime::sleep(ROOM).await;
                    continue;
                }
                let patience = match left {
                    Left::Nothing => IDLE,
                    Left::Some => GATHER,
                };
                let changes = events.wait_after(taken, PULL_BYTES);
                let pulled = runtime::timeout(patience, changes).await;
                let inner = history.0.clone();
                let work = move || match pulled {
                    Ok((floor, entries)) => inner.take(floor, &entries),
                    Err(runtime::Elapsed) if left == Left::Some => inner.trim_more(),
                    Err(runtime::Elapsed) => inner.save(),
                };
                match runtime::blocking(work).await {
                    Ok(more) => left = more,
                    Err(error) => history.give_up(&error.to_string()),
                }
                events.make_room();
                history.0.progress.notify_waiters();
                runtime::sleep(GATHER).await;
            }
            history.close().await;
        })
    }

    /// Stores what was taken, and lets go of sled. Everything afterwards fails. Raft, and the task
    /// that [`Self::start`] returned, must have stopped.
    pub async fn close(&self) {
        let inner = self.0.clone();
        let close = move || within(PATIENCE, move || inner.close());
        match runtime::blocking(close).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) | Err(error) => tracing::warn!("closing history: {error}"),
        }
    }

    /// Says what is kept. Blocks.
    ///
    /// # Errors
    ///
    /// History was given up, or the disk fails.
    pub fn stats(&self) -> io::Result<Stats> {
        self.0.stats()
    }

    /// Waits until everything up to a revision has been taken, or history was given up. Cancel safe.
    pub async fn reached(&self, revision: u64) {
        loop {
            let progress = self.0.progress.notified();
            if self.taken().is_none_or(|taken| taken >= revision) {
                return;
            }
            progress.await;
        }
    }
}

impl Archive for History {
    fn floor(&self) -> u64 {
        self.0.floor()
    }

    fn taken(&self) -> Option<u64> {
        let taken = self.0.taken.load(Ordering::Acquire);
        (!self.0.given_up.load(Ordering::Acquire)).then_some(taken)
    }

    fn read(&self, after: u64, bytes: usize) -> io::Result<Vec<ChangeSet>> {
        self.0.read(after, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        if self.taken().is_none() {
            return Ok(());
        }
        let inner = self.0.clone();
        within(PATIENCE, move || inner.sync())
    }

    fn give_up(&self, reason: &str) {
        self.0.give_up(reason);
    }
}

impl Inner {
    fn floor(&self) -> u64 {
        self.floor.load(Ordering::Acquire)
    }

    fn store(&self) -> io::Result<Arc<Store>> {
        let store = self.store.read().clone();
        let usable = store.filter(|_| !self.given_up.load(Ordering::Acquire));
        usable.ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, "history is given up"))
    }

    /// Uses the store; when that fails, history is over.
    fn using<T>(&self, function: impl FnOnce(&Store) -> io::Result<T>) -> io::Result<T> {
        let store = self.store()?;
        guarded(|| function(&store)).inspect_err(|error| {
            if error.kind() == io::ErrorKind::InvalidData {
                self.condemn();
            }
            self.give_up(&error.to_string());
        })
    }

    fn give_up(&self, reason: &str) {
        if !self.given_up.swap(true, Ordering::AcqRel) {
            tracing::warn!("history is given up until this node starts again: {reason}");
        }
        self.progress.notify_waiters();
    }

    /// Has the store set aside when it is opened the next time.
    fn condemn(&self) {
        if let Some(path) = &self.path {
            // Without it, what is damaged is found again.
            drop(std::fs::write(path.join(recovery::CONDEMNED), []));
        }
    }

    fn close(&self) -> io::Result<()> {
        let stored = self.sync();
        let given_up = self.given_up.swap(true, Ordering::AcqRel);
        drop(self.store.write().take());
        // A disk that is full or broken was reported when history was given up.
        if given_up { Ok(()) } else { stored }
    }
}

/// Runs what sled may never return from.
fn within<T: Send + 'static>(
    limit: Duration,
    function: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (done, result) = mpsc::channel();
    let run = move || drop(done.send(guarded(function)));
    std::thread::Builder::new()
        .name("history".to_owned())
        .spawn(run)?;
    result.recv_timeout(limit).unwrap_or_else(|_late| {
        let text = format!("sled did not answer within {limit:?}");
        Err(io::Error::new(io::ErrorKind::TimedOut, text))
    })
}
