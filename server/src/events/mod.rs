//! The changes that were applied here, in revision order, and who reads them.
//!
//! ```text
//! storage/state_machine ─publish─► ring ─► readers that keep up
//!                                   └─► archive (history) ─► readers that are behind
//! ```
//!
//! Nothing is pushed to a reader. Each has a place of its own, and takes what comes after it when it
//! can: from the ring, or from the archive once the ring has let it go. So a reader that does not
//! read holds no memory but its place, and publishing never waits for one (invariant 17). The ring
//! lets go only of what the archive has; only when neither has it any more is a place gone, and the
//! reader is told so.

mod filter;
mod ring;
mod selection;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore};

use crate::clock;
use crate::mutants::{self, Mutant};
use crate::runtime;
use crate::state::ChangeSet;

pub use filter::{Filter, Kind};
pub use ring::Entry;
pub use selection::Selection;

use ring::Ring;
use selection::Selections;

/// Most changes that go along with a snapshot, bytes.
pub(crate) const TAIL_BYTES: usize = 8 << 20;
/// Longest time that applying waits for an archive that cannot keep up.
const ARCHIVE_PATIENCE: Duration = Duration::from_secs(5);
/// Readers that are served from the archive at the same time; the others wait for their turn.
const ARCHIVE_READS: usize = 4;

/// Keeps the changes that the ring has let go of.
pub trait Archive: Send + Sync {
    /// Returns the revision after which every change is kept, here or in the ring.
    fn floor(&self) -> u64;

    /// Returns the revision up to which every change has been taken from the ring; `None` when the
    /// archive has failed and takes nothing any more.
    fn taken(&self) -> Option<u64>;

    /// Returns the changes after a revision, oldest first: as many as fit into `bytes`, and at least
    /// one unless there is none. Blocks.
    ///
    /// # Errors
    ///
    /// The disk fails, or what was there is damaged.
    fn read(&self, after: u64, bytes: usize) -> io::Result<Vec<ChangeSet>>;

    /// Makes durable what was taken, as well as it can. Blocks.
    ///
    /// # Errors
    ///
    /// The disk fails.
    fn sync(&self) -> io::Result<()>;

    /// Gives up keeping changes: the ring may let go of what was not taken.
    fn give_up(&self, reason: &str);
}

/// What a reader gets.
#[derive(Debug)]
pub enum Taken<C = Vec<Arc<Entry>>> {
    /// Changes after its place, oldest first; never empty.
    Changes(C),
    /// There are none yet. Everything up to this log index has been applied and was there to take.
    UpTo(u64),
    /// Its place is no longer kept; changes are kept from revision `oldest` on.
    Gone { oldest: u64 },
}

/// The newest changes, for a snapshot: all of them after `floor`.
#[derive(Debug, Default)]
pub struct Tail {
    pub floor: u64,
    pub entries: Vec<Arc<Entry>>,
}

/// Handle to the changes of one node; clones share them.
#[derive(Clone, Default)]
pub struct Events(Arc<Inner>);

#[derive(Default)]
struct Inner {
    ring: parking_lot::RwLock<Ring>,
    /// Locked after the ring.
    selections: parking_lot::Mutex<Selections>,
    archive: OnceLock<Arc<dyn Archive>>,
    reads: Reads,
    /// Wakes readers after changes.
    published: Notify,
    /// Wakes whoever waits for the archive to take something.
    archived: Notify,
}

/// Turns to read from the archive: readers that are behind may be many, each on a thread with memory
/// of its own.
struct Reads(Arc<Semaphore>);

impl Default for Reads {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ARCHIVE_READS)))
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events")
            .field("ring", &*self.0.ring.read())
            .finish_non_exhaustive()
    }
}

/// For the simulation.
#[cfg(feature = "simulation")]
impl Events {
    /// Returns no changes yet, and keeps only so many: places are gone within a short run.
    #[must_use]
    pub fn keeping(most: usize) -> Self {
        Self(Arc::new(Inner {
            ring: parking_lot::RwLock::new(Ring::keeping(most)),
            ..Inner::default()
        }))
    }
}

/// For the state machine.
impl Events {
    /// Adds what a batch changed, and notes that everything up to `applied` is applied.
    ///
    /// Returns true when the archive must take something before more is published: see
    /// [`Self::wait_for_archive`].
    pub fn publish(&self, changes: Vec<ChangeSet>, applied: u64) -> bool {
        let is_empty = changes.is_empty();
        let is_full = {
            let now = clock::now();
            let mut ring = self.0.ring.write();
            for set in changes {
                if mutants::is(Mutant::EventBeforeCommit) && set.revision <= ring.last() {
                    continue;
                }
                ring.push(now, Arc::new(Entry::new(set)));
            }
            ring.note_applied(applied);
            ring.evict(self.taken());
            ring.is_overfull()
        };
        if !is_empty {
            self.0.published.notify_waiters();
        }
        is_full
    }

    /// Waits until the archive has made room in the ring, or gives the archive up.
    pub async fn wait_for_archive(&self) {
        let room = async {
            loop {
                let archived = self.0.archived.notified();
                if !self.0.ring.read().is_overfull() {
                    return;
                }
                archived.await;
            }
        };
        if runtime::timeout(ARCHIVE_PATIENCE, room).await.is_err() {
            if let Some(archive) = self.0.archive.get() {
                archive.give_up("it does not keep up with the writes");
            }
            self.make_room();
        }
    }

    /// Starts over at a snapshot: `tail` are the changes before it that came along with it, and all
    /// of them after revision `floor`.
    pub fn restore(&self, floor: u64, tail: Vec<ChangeSet>, applied: u64) {
        {
            let mut ring = self.0.ring.write();
            self.0.selections.lock().clear();
            let now = clock::now();
            ring.start_over(floor);
            for set in tail {
                ring.push(now, Arc::new(Entry::new(set)));
            }
            ring.note_applied(applied);
        }
        self.0.published.notify_waiters();
    }

    /// Returns the newest changes that are in memory: `TAIL_BYTES` of them, and what the archive has not
    /// taken yet.
    #[must_use]
    pub fn tail(&self) -> Tail {
        // Without an archive, or one that was given up, nothing is waited for.
        let taken = self.taken().unwrap_or(u64::MAX);
        let ring = self.0.ring.read();
        let mut tail = Tail {
            floor: ring.floor(),
            entries: Vec::new(),
        };
        let mut bytes = 0;
        for entry in ring.iter().rev() {
            bytes += entry.bytes();
            // What the archive has not taken yet, nothing else would bring again.
            if bytes > TAIL_BYTES && entry.revision() <= taken {
                tail.floor = entry.revision();
                break;
            }
            tail.entries.push(entry.clone());
        }
        tail.entries.reverse();
        tail
    }

    /// Makes the archive durable, as well as it can, before the log lets go of what it has. Blocks.
    pub fn sync_archive(&self) {
        if let Some(archive) = self.0.archive.get()
            && let Err(error) = archive.sync()
        {
            archive.give_up(&error.to_string());
        }
    }
}

/// For the archive.
impl Events {
    /// Puts an archive behind the ring. Once; a second one is ignored.
    pub fn attach(&self, archive: Arc<dyn Archive>) {
        drop(self.0.archive.set(archive));
    }

    /// Waits until there are changes after a revision, and returns what the ring has of them, within
    /// `bytes`. Cancel safe.
    ///
    /// Where the ring started over at a snapshot, changes after the revision may be missing: the
    /// returned floor says after which revision the ring has everything. Then there may be none yet.
    pub async fn wait_after(&self, revision: u64, bytes: usize) -> (u64, Vec<Arc<Entry>>) {
        loop {
            let published = self.0.published.notified();
            {
                let ring = self.0.ring.read();
                let found = ring.after(revision.max(ring.floor()), usize::MAX, bytes);
                if !found.is_empty() || ring.floor() > revision {
                    return (ring.floor(), found);
                }
            }
            published.await;
        }
    }

    /// Notes that the archive has taken something, or has been given up.
    pub fn make_room(&self) {
        self.0.ring.write().evict(self.taken());
        self.0.archived.notify_waiters();
    }

    /// Returns the revision up to which the ring may let go; `None`: all.
    fn taken(&self) -> Option<u64> {
        self.0.archive.get()?.taken()
    }
}

/// For readers.
impl Events {
    /// Returns the first revision from which on every change is kept.
    #[must_use]
    pub fn oldest(&self) -> u64 {
        let ring = self.0.ring.read().floor();
        let archive = self
            .0
            .archive
            .get()
            .filter(|archive| archive.taken().is_some());
        archive.map_or(ring, |archive| archive.floor().min(ring)) + 1
    }

    /// Returns the log index up to which everything is applied and its changes are here.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.0.ring.read().applied()
    }

    /// Takes changes after a reader's place: at most `most`, or `bytes`, but at least one whole
    /// revision. Reading far back waits for the disk.
    ///
    /// # Errors
    ///
    /// The archive cannot be read.
    pub async fn take(&self, after: u64, most: usize, bytes: usize) -> io::Result<Taken> {
        {
            let ring = self.0.ring.read();
            if after >= ring.floor() {
                let found = ring.after(after, most, bytes);
                return Ok(match found.is_empty() {
                    true => Taken::UpTo(ring.applied().max(after)),
                    false => Taken::Changes(found),
                });
            }
        }
        self.take_archived(after, bytes).await
    }

    /// Takes changes as [`Self::take`] does, of those that were published before a moment if one is
    /// named, and chooses from them: once for all readers at this place with this filter.
    ///
    /// # Errors
    ///
    /// The archive cannot be read.
    pub async fn select(
        &self,
        after: u64,
        filter: &Filter,
        before: Option<Instant>,
        most: usize,
        bytes: usize,
    ) -> io::Result<Taken<Arc<Selection>>> {
        {
            let ring = self.0.ring.read();
            if after >= ring.floor() {
                let newest = ring.newest(before);
                if newest > after {
                    let take = || {
                        let mut found = ring.after(after, most, bytes);
                        found.retain(|entry| entry.revision() <= newest);
                        found
                    };
                    let mut kept = self.0.selections.lock();
                    return Ok(Taken::Changes(kept.get(after, newest, filter, take)));
                }
                let is_all = ring.last() <= after;
                let applied = if is_all { ring.applied() } else { after };
                return Ok(Taken::UpTo(applied.max(after)));
            }
        }
        Ok(match self.take_archived(after, bytes).await? {
            Taken::Changes(entries) => {
                let selection = Selection::new(after, u64::MAX, filter, entries);
                Taken::Changes(Arc::new(selection))
            }
            Taken::UpTo(applied) => Taken::UpTo(applied),
            Taken::Gone { oldest } => Taken::Gone { oldest },
        })
    }

    async fn take_archived(&self, after: u64, bytes: usize) -> io::Result<Taken> {
        let archive = self
            .0
            .archive
            .get()
            .filter(|archive| archive.taken().is_some());
        let Some(archive) = archive.filter(|archive| after >= archive.floor()).cloned() else {
            return Ok(Taken::Gone {
                oldest: self.oldest(),
            });
        };
        let turn = self.0.reads.0.clone().acquire_owned().await;
        let applied = self.applied();
        let read = move || {
            let _turn = turn;
            archive.read(after, bytes)
        };
        let mut read = runtime::blocking(read).await??;
        if read.first().is_some_and(|set| set.revision > applied) {
            // After a restart the archive may know what the log is yet to bring again; up to what is
            // applied, there is nothing.
            return Ok(Taken::UpTo(applied.max(after)));
        }
        read.retain(|set| set.revision <= applied);
        if read.is_empty() {
            // It was taken out of the archive while we looked.
            return Ok(Taken::Gone {
                oldest: self.oldest(),
            });
        }
        let entries = read.into_iter().map(|set| Arc::new(Entry::new(set)));
        Ok(Taken::Changes(entries.collect()))
    }

    /// Waits until a change after a reader's place may be there. Cancel safe.
    pub async fn changed(&self, after: u64) {
        loop {
            let published = self.0.published.notified();
            {
                let ring = self.0.ring.read();
                if ring.last() > after || after < ring.floor() {
                    return;
                }
            }
            published.await;
        }
    }
}
