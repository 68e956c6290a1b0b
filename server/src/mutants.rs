//! Defects on purpose, to see that the tests notice them: `cargo xtask mutants`.
//!
//! Each stands where a promise is kept, as one `if mutants::is(…)`. Without the feature `mutants` that is
//! `if false`, and nothing of it is compiled; with it, `CONCLAVE_MUTANT=M5` chooses the one defect of
//! a process. The simulation chooses the one of each of its runs. Never for a node that anybody uses.

/// A defect. The numbers are those of `tests/xtask/src/mutants/table.rs`, which says what notices each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Mutant {
    /// M1: an append is acknowledged when it is buffered, before the sync.
    AckBeforeSync = 1,
    /// M2: a vote is given when it is buffered, before the sync.
    VoteUnsynced = 2,
    /// M3: a leader answers `consistent` reads without asking a quorum.
    ReadWithoutQuorum = 3,
    /// M4: a read index is had and not waited for.
    ReadBeforeApply = 4,
    /// M5: a repeated request id is applied again.
    DedupeOff = 5,
    /// M6: a forwarded write of unknown fate is sent again as another request.
    RetryWithoutId = 6,
    /// M7: deadlines come from the clock of the node that applies.
    LocalClock = 7,
    /// M8: the changes of one command are made in an order that differs between processes, as a walk
    /// through a `HashMap` would.
    HashOrder = 8,
    /// M9: a snapshot is written in its place, without a sync and a rename.
    SnapshotInPlace = 9,
    /// M10: tokens count the holders of a lock from one on. A free lock does not exist here, and its
    /// counter ends with it.
    TokenPerLock = 10,
    /// M11: a release ends the holder's claim whoever asks.
    ReleaseByAnybody = 11,
    /// M12: a stream begins one revision too late.
    ResumeOffByOne = 12,
    /// M13: a watcher whose place is gone goes on with what is applied next, and is told of no gap.
    SilentLag = 13,
    /// M14: watchers are told of a put when it is proposed.
    EventBeforeCommit = 14,
    /// M15: the place in the log that a snapshot carries is taken after its state. There is no other
    /// pair of state and applied index on disk.
    AppliedApart = 15,
    /// M16: an empty directory gets the id that a member of its name had.
    IdReused = 16,
}

/// Returns whether this process has the defect.
#[cfg(not(any(feature = "mutants", feature = "simulation")))]
#[inline]
#[must_use]
pub const fn is(_mutant: Mutant) -> bool {
    false
}

/// Returns whether this process has the defect.
#[cfg(all(feature = "mutants", not(feature = "simulation")))]
#[must_use]
pub fn is(mutant: Mutant) -> bool {
    chosen::number() == mutant as u8
}

/// Returns whether the run on this thread has the defect.
#[cfg(feature = "simulation")]
#[must_use]
pub fn is(mutant: Mutant) -> bool {
    CHOSEN.get() == Some(mutant)
}

#[cfg(feature = "simulation")]
thread_local! {
    static CHOSEN: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

/// Chooses the defect of the runs on this thread from now on; `None`: none.
#[cfg(feature = "simulation")]
pub fn choose(mutant: Option<Mutant>) {
    CHOSEN.set(mutant);
}

/// Puts items into an order that differs between processes.
#[cfg(feature = "mutants")]
pub fn disorder<T: std::hash::Hash>(items: &mut [T]) {
    items.sort_by_cached_key(|item| chosen::hash(item));
}

/// Does nothing.
#[cfg(not(feature = "mutants"))]
pub const fn disorder<T: std::hash::Hash>(_items: &mut [T]) {}

#[cfg(feature = "mutants")]
mod chosen {
    use std::hash::{BuildHasher, Hash, RandomState};
    use std::sync::OnceLock;

    /// Returns the number of the defect, 0 for none.
    #[cfg(not(feature = "simulation"))]
    #[expect(clippy::disallowed_methods, reason = "no setting of a node")]
    pub(super) fn number() -> u8 {
        static NUMBER: OnceLock<u8> = OnceLock::new();
        *NUMBER.get_or_init(|| {
            let text = std::env::var("CONCLAVE_MUTANT").unwrap_or_default();
            text.trim_start_matches('M').parse().unwrap_or(0)
        })
    }

    /// Digests with a seed of this process.
    pub(super) fn hash<T: Hash>(item: &T) -> u64 {
        static SEED: OnceLock<RandomState> = OnceLock::new();
        SEED.get_or_init(RandomState::new).hash_one(item)
    }
}
