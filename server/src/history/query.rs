//! Looking back: what was changed after a revision, the versions of a key, a moment's revision.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::page::{self, Page, damaged};
use super::store::Store;
use super::{History, Inner};
use crate::events::{Entry, Kind};
use crate::state::{Change, ChangeSet, Record};

/// What one answer holds at most, bytes of values; one version always fits.
const ANSWER_BYTES: usize = 8 << 20;
/// Pages that one look back reads at most. Every page has a revision at least, and each is read once:
/// with the usual limits, which keep fewer revisions, this is never met.
pub(super) const PAGES: u32 = 128 << 10;

/// Why history does not answer.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// It reaches back before what is kept.
    #[error("history is kept from revision {oldest} on")]
    Gone { oldest: u64 },
    /// The present record is newer than what was taken yet: see [`History::reached`].
    #[error("history has come to revision {taken} only")]
    Behind { taken: u64 },
    /// One look reads no more pages than this.
    #[error("that is more than {pages} pages of history back")]
    TooFar { pages: u32 },
    /// History was given up, or is now.
    #[error("history cannot be read: {0}")]
    Failed(#[from] io::Error),
}

/// One change of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    pub revision: u64,
    pub log_time_ms: u64,
    pub wall_time_ms: u64,
    /// Name of the node that took the write from its client.
    pub origin: Arc<str>,
    /// The client's own label.
    pub client: Option<Arc<str>>,
    /// Put, delete or expire.
    pub kind: Kind,
    /// What was there after it; `None` when the key was gone.
    pub record: Option<Arc<Record>>,
}

/// Changes of a key, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Versions {
    pub versions: Vec<Version>,
    /// Older ones are there: ask again with the last revision as `before`.
    pub more: bool,
    /// There have certainly never been older ones than these and the `more`; without it older ones
    /// may have been trimmed.
    pub complete: bool,
}

/// For the service.
impl History {
    /// Returns the changes of a key, newest first: at most `most` of them, at most 8 MiB of values,
    /// and those that are found in as many pages as one look reads. `current` is the key's record at a revision that history has reached; with `before`
    /// only older changes than that are wanted. Blocks.
    ///
    /// # Errors
    ///
    /// `Behind`, `TooFar` when nothing was found by then, or `Failed`.
    pub fn versions(
        &self,
        key: &str,
        current: Option<&Record>,
        before: Option<u64>,
        most: usize,
    ) -> Result<Versions, HistoryError> {
        let ask = |walk: &mut Walk<'_>| walk.versions(current, before, most);
        self.0.walk((key, PAGES), ask)
    }

    /// Returns a key's record as it was after a revision. `current` is its record at a revision that
    /// history has reached, and that is not older. Blocks.
    ///
    /// # Errors
    ///
    /// `Gone`, `Behind`, `TooFar`, or `Failed`.
    pub fn value_at(
        &self,
        key: &str,
        current: Option<&Arc<Record>>,
        revision: u64,
    ) -> Result<Option<Arc<Record>>, HistoryError> {
        let ask = |walk: &mut Walk<'_>| walk.value_at(current, revision);
        self.0.walk((key, PAGES), ask)
    }

    /// Returns the newest revision whose wall clock time is not after `wall_ms`; 0 when all are.
    /// Leaders' clocks may go back, so changes before it may be of a later time. Blocks.
    ///
    /// # Errors
    ///
    /// `Gone`, `TooFar`, or `Failed`.
    pub fn revision_at(&self, wall_ms: u64) -> Result<u64, HistoryError> {
        self.0.walk(("", PAGES), |walk| walk.revision_at(wall_ms))
    }
}

impl Inner {
    fn gone(&self) -> HistoryError {
        let oldest = self.floor() + 1;
        HistoryError::Gone { oldest }
    }

    fn taken(&self) -> u64 {
        self.taken.load(Ordering::Acquire)
    }

    /// Returns change sets after a revision; see [`crate::events::Archive::read`].
    pub(super) fn read(&self, after: u64, bytes: usize) -> io::Result<Vec<ChangeSet>> {
        // Before the pages: what is stored meanwhile is in both, and never in neither.
        let open = self.open.read().clone();
        let mut found = Vec::new();
        let mut size = 0;
        // Returns false when there is no more room.
        let mut add = |set: ChangeSet| {
            size += set.bytes();
            let fits = found.is_empty() || size <= bytes;
            if fits {
                found.push(set);
            }
            fits
        };
        let end = open.first().map_or(u64::MAX, |entry| entry.revision());
        let whole = self.using(|store| {
            let index = &store.index;
            let mut stored = match page::at_or_below(index, after)? {
                Some(stored) => Some(stored),
                None => page::next(index, 0)?,
            };
            let mut at = after;
            while let Some(this) = stored.filter(|it| it.first < end) {
                stored = page::next(index, this.first)?;
                if this.header.last <= after {
                    continue;
                }
                let page = match this.header.after > at {
                    true => None,
                    false => this.read(store)?,
                };
                let Some(page) = page else {
                    if self.floor() > after {
                        return Ok(false);
                    }
                    return Err(damaged(format!("revisions after {at} are missing")));
                };
                at = at.max(this.header.last);
                let wanted = page.sets.into_iter().filter(|set| set.revision > after);
                for set in wanted {
                    if !add(set) {
                        return Ok(true);
                    }
                }
            }
            for entry in open.iter().filter(|entry| entry.revision() > after) {
                if !add(entry.set().clone()) {
                    break;
                }
            }
            Ok(true)
        });
        // Trimmed meanwhile, or always: the caller sees that there is nothing.
        if self.floor() > after {
            return Ok(Vec::new());
        }
        whole.map(|_whole| found)
    }

    /// Looks back along a key's changes, in that many pages at most.
    pub(super) fn walk<T>(
        &self,
        (key, pages): (&str, u32),
        ask: impl FnOnce(&mut Walk<'_>) -> Result<T, HistoryError>,
    ) -> Result<T, HistoryError> {
        let open = self.open.read().clone();
        let mut refused = None;
        let answer = self.using(|store| {
            let mut walk = Walk {
                inner: self,
                store,
                key,
                open,
                page: None,
                pages,
                read: 0,
            };
            match ask(&mut walk) {
                Ok(answer) => Ok(Some(answer)),
                Err(HistoryError::Failed(error)) => Err(error),
                Err(other) => {
                    refused = Some(other);
                    Ok(None)
                }
            }
        })?;
        answer.ok_or_else(|| refused.unwrap_or_else(|| self.gone()))
    }
}

/// One look back, along the changes of a key.
pub(super) struct Walk<'a> {
    inner: &'a Inner,
    store: &'a Store,
    key: &'a str,
    /// The open page as it was at the beginning.
    open: Vec<Arc<Entry>>,
    /// The page that was read last: a key's next older change is often in it.
    page: Option<Page>,
    /// Pages that it may read, and those that it has read.
    pages: u32,
    read: u32,
}

/// Where a key's next older change is.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// At this revision.
    At(u64),
    /// It is the newest end before this revision, if there is any.
    EndBefore(u64),
}

/// A change with what was before it.
struct Step {
    version: Version,
    previous: Option<Arc<Record>>,
}

impl Step {
    /// Returns where the change before it is.
    fn older(&self) -> Place {
        match &self.previous {
            Some(previous) => Place::At(previous.mod_revision),
            None => Place::EndBefore(self.version.revision),
        }
    }
}

impl Walk<'_> {
    pub(super) fn versions(
        &mut self,
        current: Option<&Record>,
        before: Option<u64>,
        most: usize,
    ) -> Result<Versions, HistoryError> {
        let before = before.unwrap_or(u64::MAX);
        let mut place = match self.step_at(before)? {
            // A page goes on where the one before ended.
            Some(step) => step.older(),
            None => newest(current),
        };
        let mut found = Versions::default();
        let mut bytes = 0;
        loop {
            let step = match self.step(place) {
                // The last one found is the place to go on from.
                Err(HistoryError::TooFar { .. }) if !found.versions.is_empty() => {
                    found.more = true;
                    found.complete = self.inner.floor() == 0;
                    return Ok(found);
                }
                step => step?,
            };
            let Some(step) = step else {
                // Whether something was before the floor, nobody knows.
                found.complete = self.inner.floor() == 0;
                return Ok(found);
            };
            place = step.older();
            if step.version.revision >= before {
                continue;
            }
            bytes += step.version.record.as_ref().map_or(0, |it| it.value.len());
            if found.versions.len() >= most || (bytes > ANSWER_BYTES && !found.versions.is_empty())
            {
                found.more = true;
                found.complete = self.inner.floor() == 0;
                return Ok(found);
            }
            found.versions.push(step.version);
        }
    }

    pub(super) fn value_at(
        &mut self,
        current: Option<&Arc<Record>>,
        revision: u64,
    ) -> Result<Option<Arc<Record>>, HistoryError> {
        let mut record = current.cloned();
        let mut place = newest(current.map(|record| &**record));
        loop {
            if record.is_some() && matches!(place, Place::At(at) if at <= revision) {
                break; // written by then, and the same ever since
            }
            if self.inner.floor() > revision {
                return Err(self.inner.gone());
            }
            let Some(step) = self.step(place)? else {
                record = None; // it was created later, and nothing was before that
                break;
            };
            if step.version.revision <= revision {
                record = None; // ended by then, and created again later
                break;
            }
            place = step.older();
            record = step.previous;
        }
        match self.inner.floor() > revision {
            true => Err(self.inner.gone()),
            false => Ok(record),
        }
    }

    pub(super) fn revision_at(&mut self, wall_ms: u64) -> Result<u64, HistoryError> {
        let is_by_then = |set: &ChangeSet| (1..=wall_ms).contains(&set.wall_time_ms);
        let newest = self.open.iter().rev().find(|entry| is_by_then(entry.set()));
        if let Some(entry) = newest {
            return Ok(entry.revision());
        }
        let second = wall_ms / 1000;
        let earlier = match second.checked_sub(1) {
            Some(before) => self
                .store
                .index
                .last(&page::time_name(0), &page::time_name(before))?
                .map_or(Ok(0), |(_, revision)| page::number(&revision, 0))?,
            None => 0,
        };
        let mut found = earlier;
        let is_last = self
            .store
            .index
            .first(&page::time_name(second + 1), &page::time_name(u64::MAX))?
            .is_none();
        let mut at = match self.store.index.get(&page::time_name(second))? {
            // The last second has newer ones than the table says.
            _ if is_last => self.inner.taken(),
            Some(revision) => page::number(&revision, 0)?,
            None => 0,
        };
        // All changes between the two are of this second or a later one.
        while at > earlier && at > self.inner.floor() {
            let Some(page) = self.page_of(at)? else {
                break;
            };
            let sets = page.sets.iter().rev();
            let mut sets = sets.filter(|set| set.revision <= at && set.revision > earlier);
            if let Some(set) = sets.find(|set| is_by_then(set)) {
                found = set.revision;
                break;
            }
            at = page.first - 1;
        }
        match found < self.inner.floor() {
            true => Err(self.inner.gone()),
            false => Ok(found),
        }
    }

    /// Returns the change at a place; `None` when there is none, or it is not kept.
    fn step(&mut self, place: Place) -> Result<Option<Step>, HistoryError> {
        let at = match place {
            Place::At(at) => at,
            Place::EndBefore(bound) => match self.end_before(bound)? {
                Some(at) => at,
                None => return Ok(None),
            },
        };
        let taken = self.inner.taken();
        if at > taken {
            return Err(HistoryError::Behind { taken });
        }
        if let Some(step) = self.step_at(at)? {
            return Ok(Some(step));
        }
        match at <= self.inner.floor() {
            true => Ok(None),
            false => Err(damaged(format!("revision {at} is missing")).into()),
        }
    }

    /// Returns the key's change at a revision, if that is kept and has one.
    fn step_at(&mut self, revision: u64) -> Result<Option<Step>, HistoryError> {
        if revision <= self.inner.floor() || revision > self.inner.taken() {
            return Ok(None);
        }
        let at = self.open.partition_point(|it| it.revision() < revision);
        if let Some(entry) = self.open.get(at).filter(|it| it.revision() == revision) {
            return Ok(step_of(entry.set(), self.key));
        }
        let is_in = |page: &&Page| (page.first..=page.header.last).contains(&revision);
        if self.page.as_ref().filter(is_in).is_none() {
            self.page = self.page_of(revision)?;
        }
        let sets = self.page.as_ref().map_or(&[][..], |page| &page.sets);
        let set = sets.binary_search_by_key(&revision, |set| set.revision);
        Ok(set.ok().and_then(|at| step_of(&sets[at], self.key)))
    }

    /// Returns the page in which a revision would be; `None` when it is not kept.
    fn page_of(&mut self, revision: u64) -> Result<Option<Page>, HistoryError> {
        if self.read == self.pages {
            return Err(HistoryError::TooFar { pages: self.pages });
        }
        self.read += 1;
        let Some(stored) = page::at_or_below(&self.store.index, revision)? else {
            return Ok(None);
        };
        match stored.read(self.store)? {
            None if revision > self.inner.floor() => {
                Err(damaged(format!("page {} is missing", stored.first)).into())
            }
            page => Ok(page),
        }
    }

    /// Returns the newest revision before `bound` at which the key ended, if that is kept.
    fn end_before(&self, bound: u64) -> io::Result<Option<u64>> {
        let ends = |entry: &&Arc<Entry>| {
            entry.revision() < bound && page::ends(entry.set()).any(|key| key == self.key)
        };
        if let Some(entry) = self.open.iter().rev().find(ends) {
            return Ok(Some(entry.revision()));
        }
        // What a crash has cut off may have left its ends.
        let newest = bound.saturating_sub(1).min(self.inner.taken());
        let (from, to) = (self.inner.floor() + 1, newest);
        let (from, to) = (page::end_name(self.key, from), page::end_name(self.key, to));
        let found = self.store.index.last(&from, &to)?;
        let revision = found.map(|(name, _)| page::number(&name, name.len() - 8));
        revision.transpose()
    }
}

fn newest(current: Option<&Record>) -> Place {
    match current {
        Some(record) => Place::At(record.mod_revision),
        None => Place::EndBefore(u64::MAX),
    }
}

fn step_of(set: &ChangeSet, wanted: &str) -> Option<Step> {
    let (change, record, previous) = set.changes.iter().find_map(|change| match change {
        Change::Put {
            key,
            record,
            previous,
        } if &**key == wanted => Some((change, Some(record.clone()), previous.clone())),
        Change::Delete { key, previous } | Change::Expire { key, previous } if &**key == wanted => {
            Some((change, None, Some(previous.clone())))
        }
        _ => None,
    })?;
    Some(Step {
        version: Version {
            revision: set.revision,
            log_time_ms: set.log_time_ms,
            wall_time_ms: set.wall_time_ms,
            origin: set.origin.clone(),
            client: set.client.clone(),
            kind: Kind::of(change),
            record,
        },
        previous,
    })
}
