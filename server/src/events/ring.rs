//! The newest changes, in memory.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;

use crate::state::ChangeSet;

/// What the ring keeps at most, bytes; the newest entry always stays.
const BYTES: usize = 8 << 20;
/// Entries that the ring keeps at most.
const ENTRIES: usize = 16_384;
/// What waits for the archive at most, bytes, before applying waits for it.
const OVERFULL_BYTES: usize = 64 << 20;

/// Forms in which an entry is shown to readers; the reader's side says what each is.
pub(super) const FORMS: usize = 3;

/// One revision's changes, with the bytes that readers are sent for them.
#[derive(Debug)]
pub struct Entry {
    set: ChangeSet,
    bytes: usize,
    /// Made for the first reader of a form, shared by all the others.
    forms: [OnceLock<Bytes>; FORMS],
}

impl Entry {
    /// Wraps a set of changes.
    #[must_use]
    pub fn new(set: ChangeSet) -> Self {
        Self {
            bytes: set.bytes(),
            set,
            forms: Default::default(),
        }
    }

    /// Returns the changes.
    #[must_use]
    pub const fn set(&self) -> &ChangeSet {
        &self.set
    }

    /// Returns the revision.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.set.revision
    }

    /// Returns the entry in a form, which `make` makes the first time.
    ///
    /// # Panics
    ///
    /// There is no such form: a bug.
    pub fn form(&self, form: usize, make: impl FnOnce(&ChangeSet) -> Bytes) -> Bytes {
        self.forms[form].get_or_init(|| make(&self.set)).clone()
    }

    /// Returns its size without the forms, bytes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Entries in revision order, all of them after `floor`.
#[derive(Debug)]
pub(super) struct Ring {
    /// Each with when it was published here.
    entries: VecDeque<(Instant, Arc<Entry>)>,
    bytes: usize,
    floor: u64,
    applied: u64,
    /// Entries that are kept at most.
    most: usize,
}

impl Default for Ring {
    fn default() -> Self {
        Self::keeping(ENTRIES)
    }
}

impl Ring {
    pub(super) fn keeping(most: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            bytes: 0,
            floor: 0,
            applied: 0,
            most,
        }
    }

    /// Forgets everything, and has all that comes after `floor`.
    pub(super) fn start_over(&mut self, floor: u64) {
        *self = Self {
            floor,
            applied: floor,
            ..Self::keeping(self.most)
        };
    }

    pub(super) fn push(&mut self, now: Instant, entry: Arc<Entry>) {
        self.bytes += entry.bytes();
        self.entries.push_back((now, entry));
    }

    pub(super) fn note_applied(&mut self, applied: u64) {
        self.applied = self.applied.max(applied);
    }

    /// Lets go of the oldest entries above the limits, as far as they were taken elsewhere.
    pub(super) fn evict(&mut self, taken: Option<u64>) {
        while self.is_above_limits()
            && let Some((_, oldest)) = self.entries.front()
            && taken.is_none_or(|taken| oldest.revision() <= taken)
        {
            self.floor = oldest.revision();
            self.bytes -= oldest.bytes();
            self.entries.pop_front();
        }
    }

    fn is_above_limits(&self) -> bool {
        // Forms come on top of it, each at most a few times as large as what it shows.
        self.entries.len() > 1 && (self.bytes > BYTES || self.entries.len() > self.most)
    }

    /// Returns true when so much waits for the archive that applying must wait too.
    pub(super) const fn is_overfull(&self) -> bool {
        self.bytes > OVERFULL_BYTES
    }

    /// Returns entries after a revision, within limits, but at least one if there is one.
    pub(super) fn after(&self, revision: u64, most: usize, bytes: usize) -> Vec<Arc<Entry>> {
        let start = self
            .entries
            .partition_point(|(_, entry)| entry.revision() <= revision);
        let (mut found, mut size) = (Vec::new(), 0);
        for (_, entry) in self.entries.range(start..) {
            size += entry.bytes();
            if !found.is_empty() && (found.len() >= most || size > bytes) {
                break;
            }
            found.push(entry.clone());
        }
        found
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<Entry>> {
        self.entries.iter().map(|(_, entry)| entry)
    }

    /// Returns the revision after which every change is here.
    pub(super) const fn floor(&self) -> u64 {
        self.floor
    }

    /// Returns the revision of the newest entry, or where the ring starts.
    pub(super) fn last(&self) -> u64 {
        self.entries
            .back()
            .map_or(self.floor, |(_, entry)| entry.revision())
    }

    /// Returns the revision of the newest entry that was published before a moment, or where the ring starts.
    pub(super) fn newest(&self, before: Option<Instant>) -> u64 {
        let Some(before) = before else {
            return self.last();
        };
        let earlier = self.entries.partition_point(|(at, _)| *at < before);
        match earlier.checked_sub(1).and_then(|at| self.entries.get(at)) {
            Some((_, entry)) => entry.revision(),
            None => self.floor,
        }
    }

    pub(super) const fn applied(&self) -> u64 {
        self.applied
    }
}
