//! The entries of one folder, as far as they are read.
//!
//! Pages are read one after the other, each at the revision that the node has by then. What makes
//! them one list are the news: for every range it is known at which revision it was read, later
//! changes are applied and earlier ones ignored. Invariant: between two requests the entries before
//! `Level::edge` are those of the node at the revision of the last news.

use std::{collections::BTreeMap, mem};

use super::{Change, Page};

/// Up to so many changes are worth an insertion each; more are merged in one walk.
const FEW: usize = 8;

/// A key or a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The whole key, or the folder's whole prefix with the delimiter.
    pub name: String,
    pub what: What,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Key {
        revision: u64,
        bytes: u64,
    },
    Folder {
        count: u64,
        /// There are more than `count`.
        is_capped: bool,
        /// Revision up to which the count is right.
        at: u64,
    },
}

/// How far a level may be read without being asked again.
pub const FIRST_READ: usize = 200_000;

/// The entries of one folder.
#[derive(Debug, Clone)]
pub struct Level {
    prefix: String,
    delimiter: String,
    entries: Vec<Entry>,
    /// Keys that the entries stand for.
    loaded: u64,
    /// From which name on entries were read at which revision, in order.
    spans: Vec<(String, u64)>,
    /// Where the next page starts; none when all is read.
    next: Option<String>,
    /// Entries before this are shown; all when none. Differs from `next` while all is read again.
    edge: Option<String>,
    /// All keys below, and the revision up to which that is right.
    count: Option<(u64, u64)>,
    /// Set while a page is being read: the number of the request, and the changes since.
    meanwhile: Option<(u64, Vec<Change>)>,
    /// Entries after which reading waits to be asked.
    most: usize,
    /// Why the last page could not be read.
    failure: Option<String>,
}

impl Level {
    /// A level of which nothing is read.
    #[must_use]
    pub fn new(prefix: &str, delimiter: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            delimiter: delimiter.to_owned(),
            entries: Vec::new(),
            loaded: 0,
            spans: Vec::new(),
            next: Some(String::new()),
            edge: Some(String::new()),
            count: None,
            meanwhile: None,
            most: FIRST_READ,
            failure: None,
        }
    }

    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Says whether all entries are there.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.edge.is_none()
    }

    /// All keys below this level, in its folders too; none before the first page.
    #[must_use]
    pub fn count(&self) -> Option<u64> {
        self.count.map(|(count, _)| count)
    }

    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Says whether reading waits for somebody who wants more.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.next.is_some() && self.entries.len() >= self.most
    }

    /// Reads on beyond the limit.
    pub fn read_on(&mut self) {
        self.most = self.entries.len() + FIRST_READ;
    }

    /// Keys that are loaded: those here and those counted in folders.
    #[must_use]
    pub const fn loaded(&self) -> u64 {
        self.loaded
    }

    fn sum_up(&mut self) {
        let keys = |entry: &Entry| match entry.what {
            What::Key { .. } => 1,
            What::Folder { count, .. } => count,
        };
        self.loaded = self.entries.iter().map(keys).sum();
    }

    /// Entries of the whole level: exact when it is whole or has no folders, else the most there can
    /// be; none when not even that is known.
    #[must_use]
    pub fn size(&self) -> Option<usize> {
        if self.is_whole() {
            return Some(self.entries.len());
        }
        let rest = self.count()?.saturating_sub(self.loaded());
        Some(self.entries.len() + usize::try_from(rest).unwrap_or(usize::MAX / 2))
    }

    /// Begins to read a page under a number of its own and returns where it starts; none when there
    /// is none to read now.
    pub fn begin(&mut self, number: u64) -> Option<String> {
        if self.meanwhile.is_some() || self.failure.is_some() || self.is_held() {
            return None;
        }
        let start = self.next.clone()?;
        self.meanwhile = Some((number, Vec::new()));
        Some(start)
    }

    /// Notes that the page could not be read.
    pub fn fail(&mut self, number: u64, why: String) {
        if self
            .meanwhile
            .as_ref()
            .is_some_and(|(asked, _)| *asked == number)
        {
            self.meanwhile = None;
            self.failure = Some(why);
        }
    }

    /// Forgets the failure, so that the page is read again.
    pub fn retry(&mut self) {
        self.failure = None;
    }

    /// Reads everything again from the start; what is there stays until it is replaced.
    pub fn refresh(&mut self) {
        self.next = Some(String::new());
        self.meanwhile = None;
        self.failure = None;
    }

    /// Takes the page that was asked for with [`Level::begin`]; none that nobody waits for any more.
    pub fn put_page(&mut self, number: u64, page: Page) {
        let (Some((asked, _)), Some(start)) = (&self.meanwhile, self.next.clone()) else {
            return;
        };
        if *asked != number {
            return;
        }
        let (_, meanwhile) = self.meanwhile.take().unwrap_or_default();
        let (revision, count, is_last) = (page.revision, page.count, page.next.is_none());
        let fresh = entries_of(page);
        let next = match fresh.last() {
            Some(last) if !is_last => after(last),
            _ => None,
        };
        self.splice(&start, next.as_deref(), fresh, revision);
        if let Some(count) = count {
            self.count = Some((count, revision));
            for change in &meanwhile {
                self.recount(change);
            }
        }
        if next.is_none()
            || self
                .edge
                .as_ref()
                .is_some_and(|edge| Some(edge) < next.as_ref())
        {
            self.edge.clone_from(&next);
        }
        let here = |change: &&Change| {
            let (name, _) = self.entry_name(&change.key);
            name >= start.as_str() && next.as_deref().is_none_or(|next| name < next)
        };
        let meanwhile: Vec<Change> = meanwhile.iter().filter(here).cloned().collect();
        self.apply_entries(&meanwhile);
        self.sum_up();
        self.next = next;
    }

    /// Puts `fresh`, read at `revision`, in the place of all entries from `start` to before `next`.
    fn splice(&mut self, start: &str, next: Option<&str>, fresh: Vec<Entry>, revision: u64) {
        let from = self.find(start).unwrap_or_else(|at| at);
        let to = next.map_or(self.entries.len(), |next| {
            self.find(next).unwrap_or_else(|at| at)
        });
        drop(self.entries.splice(from..to.max(from), fresh));
        let beyond = next.map(|next| (next.to_owned(), self.read_at(next)));
        self.spans.retain(|(name, _)| {
            name.as_str() < start || next.is_some_and(|next| name.as_str() > next)
        });
        let at = self
            .spans
            .partition_point(|(name, _)| name.as_str() < start);
        let mut spans = vec![(start.to_owned(), revision)];
        spans.extend(beyond);
        drop(self.spans.splice(at..at, spans));
        self.spans.dedup_by(|later, earlier| later.1 == earlier.1);
    }

    /// Applies changes of keys below this level, oldest first, and returns the names of the entries
    /// that changed or are new.
    pub fn apply(&mut self, changes: &[Change]) -> Touched {
        for change in changes {
            self.recount(change);
        }
        if let Some((_, meanwhile)) = &mut self.meanwhile {
            meanwhile.extend_from_slice(changes);
        }
        self.apply_entries(changes)
    }

    /// Sets a folder's exact count, as it was at a revision.
    pub fn set_folder_count(&mut self, folder: &str, keys: u64, revision: u64) {
        let Ok(place) = self.find(folder) else { return };
        if keys == 0 {
            self.entries.remove(place);
        } else if let What::Folder {
            count,
            is_capped,
            at,
        } = &mut self.entries[place].what
        {
            (*count, *is_capped, *at) = (keys, false, revision);
        }
        self.sum_up();
    }

    /// Finds an entry by its name, or the place where it would stand.
    ///
    /// # Errors
    ///
    /// The place, when there is no such entry.
    pub fn find(&self, name: &str) -> Result<usize, usize> {
        self.entries
            .binary_search_by(|entry| entry.name.as_str().cmp(name))
    }

    /// Returns the name of the entry that stands for a key, and whether that is a folder.
    #[must_use]
    pub fn entry_name<'k>(&self, key: &'k str) -> (&'k str, bool) {
        let from = self.prefix.len();
        let rest = key.get(from..).unwrap_or_default();
        match rest.find(&self.delimiter) {
            Some(at) if !self.delimiter.is_empty() => {
                let end = from + at + self.delimiter.len();
                (key.get(..end).unwrap_or(key), true)
            }
            _ => (key, false),
        }
    }

    fn recount(&mut self, change: &Change) {
        if let Some((count, at)) = &mut self.count
            && change.revision > *at
        {
            if change.bytes.is_none() {
                *count = count.saturating_sub(1);
            } else if change.is_new {
                *count += 1;
            }
        }
    }

    /// Revision at which the entries around a name were read.
    fn read_at(&self, name: &str) -> u64 {
        let at = self
            .spans
            .partition_point(|(from, _)| from.as_str() <= name);
        at.checked_sub(1)
            .and_then(|at| self.spans.get(at))
            .map_or(0, |(_, revision)| *revision)
    }

    fn apply_entries(&mut self, changes: &[Change]) -> Touched {
        let mut touched = Touched::default();
        let mut delta: BTreeMap<String, Option<What>> = BTreeMap::new();
        for change in changes {
            let (name, is_folder) = self.entry_name(&change.key);
            let is_shown = self.edge.as_deref().is_none_or(|edge| name < edge);
            if !is_shown || change.revision <= self.read_at(name) {
                continue;
            }
            let now = match delta.get(name) {
                Some(what) => *what,
                None => self.find(name).ok().map(|at| self.entries[at].what),
            };
            let then = if is_folder {
                folder_after(now, change)
            } else {
                key_after(now, change)
            };
            if let Some(What::Folder {
                is_capped: true, ..
            }) = then
                && change.bytes.is_none()
            {
                touched.doubts.push(name.to_owned());
            }
            if then != now {
                touched.names.push(name.to_owned());
                delta.insert(name.to_owned(), then);
            }
        }
        if !delta.is_empty() {
            self.settle(delta);
            self.sum_up();
        }
        touched
    }

    /// Brings the entries to what `delta` says of them; none: gone.
    fn settle(&mut self, delta: BTreeMap<String, Option<What>>) {
        if delta.len() <= FEW {
            for (name, what) in delta {
                match (self.find(&name), what) {
                    (Ok(at), Some(what)) => self.entries[at].what = what,
                    (Ok(at), None) => drop(self.entries.remove(at)),
                    (Err(at), Some(what)) => self.entries.insert(at, Entry { name, what }),
                    (Err(_), None) => {}
                }
            }
            return;
        }
        let old = mem::take(&mut self.entries);
        let mut merged = Vec::with_capacity(old.len() + delta.len());
        let mut delta = delta.into_iter().peekable();
        for entry in old {
            while let Some((name, what)) = delta.next_if(|(name, _)| *name < entry.name) {
                merged.extend(what.map(|what| Entry { name, what }));
            }
            match delta.next_if(|(name, _)| *name == entry.name) {
                Some((name, what)) => merged.extend(what.map(|what| Entry { name, what })),
                None => merged.push(entry),
            }
        }
        merged.extend(delta.filter_map(|(name, what)| Some(Entry { name, what: what? })));
        self.entries = merged;
    }
}

/// What changes did to a level.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// Names of entries that changed, are new or are gone.
    pub names: Vec<String>,
    /// Folders with more keys than were counted, and now fewer: only the node knows how many.
    pub doubts: Vec<String>,
}

fn key_after(now: Option<What>, change: &Change) -> Option<What> {
    match now {
        Some(What::Key { revision, .. }) if revision >= change.revision => now,
        _ => change.bytes.map(|bytes| What::Key {
            revision: change.revision,
            bytes,
        }),
    }
}

fn folder_after(now: Option<What>, change: &Change) -> Option<What> {
    let (count, is_capped, at) = match now {
        Some(What::Folder {
            count,
            is_capped,
            at,
        }) => (count, is_capped, at),
        _ => (0, false, 0),
    };
    if change.revision <= at {
        return now;
    }
    let count = match (is_capped, change.bytes.is_none(), change.is_new) {
        (false, true, _) => count.saturating_sub(1),
        (false, false, true) => count + 1,
        _ => count,
    };
    (count > 0).then_some(What::Folder {
        count,
        is_capped,
        at,
    })
}

/// Joins the two sequences of a page: each is in byte order.
fn entries_of(page: Page) -> Vec<Entry> {
    let at = page.revision;
    let mut entries: Vec<Entry> = Vec::with_capacity(page.keys.len() + page.folders.len());
    entries.extend(page.keys.into_iter().map(|line| Entry {
        name: line.key,
        what: What::Key {
            revision: line.mod_revision,
            bytes: line.value_bytes,
        },
    }));
    entries.extend(page.folders.into_iter().map(|folder| Entry {
        name: folder.prefix,
        what: What::Folder {
            count: folder.count,
            is_capped: folder.capped,
            at,
        },
    }));
    entries.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    entries
}

/// Returns the smallest name that can follow an entry; none when there can be no such name.
fn after(entry: &Entry) -> Option<String> {
    match entry.what {
        What::Key { .. } => Some(format!("{}\0", entry.name)),
        What::Folder { .. } => after_prefix(&entry.name),
    }
}

/// Returns the smallest text above every text that starts with `prefix`: UTF-8 orders as code points
/// do. None when there is no such text.
fn after_prefix(prefix: &str) -> Option<String> {
    let mut text = prefix.to_owned();
    while let Some(last) = text.pop() {
        let next = match last {
            '\u{D7FF}' => Some('\u{E000}'),
            other => char::from_u32(other as u32 + 1),
        };
        if let Some(next) = next {
            text.push(next);
            return Some(text);
        }
    }
    None
}
