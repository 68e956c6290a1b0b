//! What readers at the same place with the same filter take together: chosen once, shown once.
//!
//! Many readers of one key space stand at the same place. Choosing for each of them, and copying what
//! each is shown, would cost more than sending it.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::filter::Filter;
use super::ring::{Entry, FORMS};

/// Selections that are kept for further readers.
const KEPT: usize = 16;
/// A selection of more bytes is made for each reader anew.
const KEPT_BYTES: usize = 64 << 10;

/// The changes after a place that a filter lets through. A place is a revision.
#[derive(Debug)]
pub struct Selection {
    /// Their place, and the revision of the newest change that was there.
    key: (u64, u64),
    filter: Filter,
    /// The revision of the last change that was looked at.
    upto: u64,
    entries: Vec<Arc<Entry>>,
    /// Made for the first reader of a form, shared by all the others.
    forms: [OnceLock<Arc<[Bytes]>>; FORMS],
}

impl Selection {
    /// Chooses from `entries`, which follow `after` and are not empty; `newest` is the revision of the
    /// newest change that was there, taken or not.
    pub(super) fn new(
        after: u64,
        newest: u64,
        filter: &Filter,
        mut entries: Vec<Arc<Entry>>,
    ) -> Self {
        let upto = entries.last().map_or(after, |entry| entry.revision());
        entries.retain(|entry| {
            let mut changes = entry.set().changes.iter();
            changes.any(|change| filter.matches(change))
        });
        Self {
            key: (after, newest),
            filter: filter.clone(),
            upto,
            entries,
            forms: Default::default(),
        }
    }

    /// Returns the changes in revision order; at least one in each entry matches the filter, and there
    /// may be none.
    #[must_use]
    pub fn entries(&self) -> &[Arc<Entry>] {
        &self.entries
    }

    /// Returns the filter.
    #[must_use]
    pub const fn filter(&self) -> &Filter {
        &self.filter
    }

    /// Returns the revision of the last change that was looked at, wanted or not: the reader's next
    /// place.
    #[must_use]
    pub const fn upto(&self) -> u64 {
        self.upto
    }

    /// Returns whether these were all there were, wanted or not.
    #[must_use]
    pub const fn is_all(&self) -> bool {
        self.upto >= self.key.1
    }

    /// Returns what readers are sent for it in a form, which `make` makes the first time.
    ///
    /// # Panics
    ///
    /// There is no such form: a bug.
    pub fn form(&self, form: usize, make: impl FnOnce(&Self) -> Vec<Bytes>) -> Arc<[Bytes]> {
        self.forms[form].get_or_init(|| make(self).into()).clone()
    }
}

/// The selections that were made last.
#[derive(Debug, Default)]
pub(super) struct Selections(VecDeque<Arc<Selection>>);

impl Selections {
    /// Returns what readers at a place take, where `newest` is the newest change there, and has `take`
    /// take it if no reader has.
    pub(super) fn get(
        &mut self,
        after: u64,
        newest: u64,
        filter: &Filter,
        take: impl FnOnce() -> Vec<Arc<Entry>>,
    ) -> Arc<Selection> {
        let is_it = |kept: &&Arc<Selection>| kept.key == (after, newest) && kept.filter == *filter;
        if let Some(kept) = self.0.iter().rev().find(is_it) {
            return kept.clone();
        }
        let entries = take();
        let bytes: usize = entries.iter().map(|entry| entry.bytes()).sum();
        let selection = Arc::new(Selection::new(after, newest, filter, entries));
        if bytes <= KEPT_BYTES {
            if self.0.len() >= KEPT {
                self.0.pop_front();
            }
            self.0.push_back(selection.clone());
        }
        selection
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
