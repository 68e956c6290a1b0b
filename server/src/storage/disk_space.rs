//! The free space of the data directory's file system, and what there is room for.
//!
//! A log that meets a full disk is over, and with it the node (invariant 2). So a node stops to fill its
//! disk before it is full: a *reserve* stays for what must be written whatever happens, such as votes.
//!
//! ```text
//! free space ≥ reserve            ok     everything
//!            ≥ half the reserve   low    nothing of clients; what the leader replicates
//!            below                full   what was under way; votes and an elected leader's first entry
//! ```
//!
//! What was admitted and may not be on the disk yet counts as taken. A state gets better again with a
//! quarter more than its limit. Looking is one `statvfs`, about a microsecond on a local disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{fmt, io};

use conclave_shared::cluster::{DiskState, DiskStatus};
use parking_lot::Mutex;
use rustix::fs::statvfs;

/// Part of the file system that is the reserve when no other is set, and its bounds in bytes.
const PART: u64 = 16;
const LEAST: u64 = 8 << 20;
const MOST: u64 = 128 << 20;
/// With less than this many reserves free, every admission looks for itself: whoever else writes can
/// take the rest between two looks of the node's task.
const NEAR: u64 = 16;
/// What a follower takes nevertheless each time that its disk gets full, bytes: its leader proposed it
/// before it knew. The log keeps more than that allocated (`Wal::secure`).
pub(super) const UNDER_WAY_BYTES: u64 = 2 << 20;
/// What an entry takes beside its payload, bytes.
const ENTRY_BYTES: u64 = 64;

/// Who wants to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writer {
    /// A leader, for clients or for itself.
    Leader,
    /// A follower, what its leader has already written.
    Follower,
}

/// Handle to what is known of one file system; clones share it.
#[derive(Debug, Clone, Default)]
pub struct DiskSpace(Option<Arc<Inner>>);

struct Inner {
    directory: PathBuf,
    reserve: u64,
    /// Admitted and maybe not on the disk yet, bytes.
    admitted: AtomicU64,
    /// What was taken as under way since the disk got full, bytes.
    under_way: AtomicU64,
    seen: Mutex<Seen>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner")
            .field("directory", &self.directory)
            .field("reserve", &self.reserve)
            .finish_non_exhaustive()
    }
}

/// What the last look has shown.
#[derive(Debug, Clone, Copy)]
struct Seen {
    free: u64,
    state: DiskState,
}

/// Bytes that count as taken until this is dropped.
#[derive(Debug)]
pub struct Admitted(Option<(Arc<Inner>, u64)>);

impl Drop for Admitted {
    fn drop(&mut self) {
        if let Some((inner, bytes)) = &self.0 {
            inner.admitted.fetch_sub(*bytes, Ordering::AcqRel);
        }
    }
}

impl DiskSpace {
    /// Watches the file system of a directory; `reserve` is in bytes, and by itself a 16th of the file
    /// system, at least 8 and at most 128 MiB.
    ///
    /// # Errors
    ///
    /// The file system cannot be asked.
    pub fn of(directory: &Path, reserve: Option<u64>) -> io::Result<Self> {
        let found = statvfs(directory)?;
        let total = found.f_blocks.saturating_mul(found.f_frsize);
        let reserve = reserve.unwrap_or_else(|| (total / PART).clamp(LEAST, MOST));
        let free = found.f_bavail.saturating_mul(found.f_frsize);
        let state = next(DiskState::Ok, free, reserve);
        Ok(Self(Some(Arc::new(Inner {
            directory: directory.to_owned(),
            reserve,
            admitted: AtomicU64::new(0),
            under_way: AtomicU64::new(0),
            seen: Mutex::new(Seen { free, state }),
        }))))
    }

    /// Looks, and returns what there is room for. A node that writes nothing always has room.
    pub fn look(&self) -> DiskState {
        self.0
            .as_ref()
            .map_or(DiskState::Ok, |inner| inner.look().state)
    }

    /// Returns whether so little is left that one must look often.
    #[must_use]
    pub fn is_near(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|inner| inner.is_near(*inner.seen.lock()))
    }

    /// Returns what there is room for: as the last look has shown where much is free, else now.
    #[must_use]
    pub fn state(&self) -> DiskState {
        self.0
            .as_ref()
            .map_or(DiskState::Ok, |inner| inner.now().state)
    }

    /// Returns what is shown to people; `None` for a node that writes nothing.
    #[must_use]
    pub fn status(&self) -> Option<DiskStatus> {
        let inner = self.0.as_ref()?;
        let Seen { free, state } = inner.now();
        Some(DiskStatus {
            state,
            free_bytes: free,
            reserve_bytes: inner.reserve,
        })
    }

    /// Admits entries whose payloads have `bytes`, or refuses them; they count as taken until the
    /// result is dropped.
    #[must_use]
    pub fn admit(&self, entries: usize, bytes: usize, writer: Writer) -> Option<Admitted> {
        let Some(inner) = &self.0 else {
            return Some(Admitted(None));
        };
        let bytes = bytes as u64 + entries as u64 * ENTRY_BYTES;
        let state = inner.now().state;
        let admitted = inner.admitted.fetch_add(bytes, Ordering::AcqRel) + bytes;
        let admission = Admitted(Some((inner.clone(), bytes)));
        let leaves = |limit: u64| inner.seen.lock().free >= limit.saturating_add(admitted);
        let is_admitted = match (writer, state) {
            (Writer::Leader, DiskState::Ok) => leaves(inner.reserve),
            (Writer::Leader, _) => false,
            (Writer::Follower, DiskState::Ok | DiskState::Low) => leaves(inner.reserve / 2),
            (Writer::Follower, DiskState::Full) => inner.takes_under_way(bytes),
        };
        is_admitted.then_some(admission)
    }

    /// Returns whether a file of that many bytes leaves half of the reserve. Looks.
    #[must_use]
    pub fn fits(&self, bytes: u64) -> bool {
        self.0.as_ref().is_none_or(|inner| {
            let admitted = inner.admitted.load(Ordering::Acquire);
            let taken = bytes.saturating_add(admitted);
            inner.look().free >= (inner.reserve / 2).saturating_add(taken)
        })
    }
}

impl Inner {
    fn look(&self) -> Seen {
        let found = statvfs(&self.directory);
        let mut seen = self.seen.lock();
        match found {
            Ok(found) => {
                seen.free = found.f_bavail.saturating_mul(found.f_frsize);
                seen.state = next(seen.state, seen.free, self.reserve);
                if seen.state != DiskState::Full {
                    self.under_way.store(0, Ordering::Release);
                }
            }
            // The log will meet what is wrong there.
            Err(error) => tracing::debug!(%error, "cannot ask for the free space"),
        }
        *seen
    }

    fn takes_under_way(&self, bytes: u64) -> bool {
        let taken = self.under_way.fetch_add(bytes, Ordering::AcqRel);
        taken.saturating_add(bytes) <= UNDER_WAY_BYTES
    }

    fn now(&self) -> Seen {
        let seen = *self.seen.lock();
        match self.is_near(seen) {
            true => self.look(),
            false => seen,
        }
    }

    const fn is_near(&self, seen: Seen) -> bool {
        seen.free < self.reserve.saturating_mul(NEAR)
    }
}

/// Returns the state that follows from the free space, and from the state before where a limit is near.
const fn next(before: DiskState, free: u64, reserve: u64) -> DiskState {
    let half = reserve / 2;
    let (low_until, full_until) = match before {
        DiskState::Ok => (reserve, half),
        DiskState::Low => (better(reserve), half),
        DiskState::Full => (better(reserve), better(half)),
    };
    match free {
        _ if free < full_until => DiskState::Full,
        _ if free < low_until => DiskState::Low,
        _ => DiskState::Ok,
    }
}

const fn better(limit: u64) -> u64 {
    limit.saturating_add(limit / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESERVE: u64 = 1_000;

    /// A file system with that much free, which nobody looks at any more.
    fn with(free: u64) -> DiskSpace {
        DiskSpace(Some(Arc::new(Inner {
            directory: PathBuf::from("/nowhere/at/all"),
            reserve: RESERVE,
            admitted: AtomicU64::new(0),
            under_way: AtomicU64::new(0),
            seen: Mutex::new(Seen {
                free,
                state: next(DiskState::Ok, free, RESERVE),
            }),
        })))
    }

    #[test]
    fn a_state_gets_better_only_with_a_quarter_more_than_its_limit() {
        use DiskState::{Full, Low, Ok};
        let mut state = Ok;
        for (free, expected) in [
            (1_000, Ok),
            (999, Low),
            (1_249, Low),
            (1_250, Ok),
            (499, Full),
            (624, Full),
            (625, Low),
            (500, Low),
            (499, Full),
            (1_249, Low),
            (499, Full),
            (1_250, Ok),
        ] {
            state = next(state, free, RESERVE);
            assert_eq!(state, expected, "with {free} free");
        }
        assert_eq!(next(Ok, 0, 0), Ok, "no reserve is never missing");
    }

    #[test]
    fn a_leader_keeps_the_reserve_and_a_follower_half_of_it() {
        let admits = |free, writer| with(free).admit(1, 36, writer).is_some();
        for (free, leader, follower) in [
            (1_100, true, true),
            (1_099, false, true),
            (999, false, true),
            (600, false, true),
            (599, false, false),
            (500, false, false),
        ] {
            let admitted = (admits(free, Writer::Leader), admits(free, Writer::Follower));
            assert_eq!(admitted, (leader, follower), "with {free} free");
        }
    }

    #[test]
    fn what_is_under_way_counts_as_taken_and_what_is_refused_does_not() {
        let space = with(1_300);
        let first = space.admit(1, 136, Writer::Leader);
        assert!(first.is_some());
        assert!(space.admit(1, 136, Writer::Leader).is_none());
        let second = space.admit(1, 36, Writer::Leader);
        assert!(second.is_some(), "the refused one has left");
        assert!(space.fits(500) && !space.fits(501));
        drop((first, second));
        assert!(space.admit(1, 236, Writer::Leader).is_some());
    }

    #[test]
    fn a_full_follower_takes_what_was_under_way_and_no_more() {
        let space = with(0);
        let half = UNDER_WAY_BYTES as usize / 2;
        assert!(space.admit(0, half, Writer::Leader).is_none());
        assert!(space.admit(0, half, Writer::Follower).is_some());
        assert!(space.admit(0, half, Writer::Follower).is_some());
        assert!(space.admit(0, 1, Writer::Follower).is_none());
    }

    #[test]
    fn the_reserve_follows_from_the_file_system_and_a_node_without_files_needs_none() {
        let folder = tempfile::tempdir().unwrap();
        let status = DiskSpace::of(folder.path(), None)
            .unwrap()
            .status()
            .unwrap();
        assert!((LEAST..=MOST).contains(&status.reserve_bytes), "{status:?}");
        let all = DiskSpace::of(folder.path(), Some(u64::MAX)).unwrap();
        assert_eq!(all.look(), DiskState::Full);
        assert!(!all.fits(0));
        let none = DiskSpace::default();
        assert!(none.status().is_none() && none.fits(u64::MAX));
        assert!(none.admit(1, usize::MAX, Writer::Leader).is_some());
    }
}
