//! The folders that are open, and the rows that they make.
//!
//! A row is found by its place without making the others: a level of 100,000 keys costs as much as
//! one of ten. What is open is the reader's choice and changes by nothing else.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use super::{
    Change, Page,
    level::{Entry, Level, Touched, What},
    name::{label_from, split},
    row::{Kind, Mark, Row},
};

/// A page to be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub level: String,
    pub start: String,
    /// To be handed back with the page.
    pub number: u64,
    /// Nothing of the level is there yet.
    pub is_first: bool,
}

/// The list below one prefix.
#[derive(Debug, Clone)]
pub struct Tree {
    root: String,
    delimiter: String,
    levels: BTreeMap<String, Level>,
    open: BTreeSet<String>,
    /// Folders whose count only the node knows, and the last change below each.
    doubts: BTreeMap<String, u64>,
    requests: u64,
}

impl Tree {
    /// A list of what starts with `root`, folders split at `delimiter`; an empty one makes no folders.
    /// `numbers` is where the numbers of its requests start: of two trees, the later one's are higher.
    #[must_use]
    pub fn new(root: &str, delimiter: &str, open: &[String], numbers: u64) -> Self {
        let mut tree = Self {
            root: root.to_owned(),
            delimiter: delimiter.to_owned(),
            levels: BTreeMap::new(),
            open: open.iter().cloned().collect(),
            doubts: BTreeMap::new(),
            requests: numbers,
        };
        tree.levels
            .insert(tree.root.clone(), Level::new(root, delimiter));
        tree
    }

    #[must_use]
    pub fn root(&self) -> &str {
        &self.root
    }

    #[must_use]
    pub fn delimiter(&self) -> &str {
        &self.delimiter
    }

    /// The last number that was given to a request.
    #[must_use]
    pub const fn numbers(&self) -> u64 {
        self.requests
    }

    /// The level of the whole list.
    #[must_use]
    pub fn top(&self) -> Option<&Level> {
        self.levels.get(&self.root)
    }

    /// Folders that are open, in order.
    #[must_use]
    pub fn open_folders(&self) -> Vec<String> {
        self.open.iter().cloned().collect()
    }

    /// Opens a closed folder, closes an open one.
    pub fn toggle(&mut self, folder: &str) {
        if self.open.remove(folder) {
            self.levels
                .retain(|level, _| !level.starts_with(folder) || *level == self.root);
        } else {
            self.open.insert(folder.to_owned());
        }
    }

    #[must_use]
    pub fn is_open(&self, folder: &str) -> bool {
        self.open.contains(folder)
    }

    /// Opens all folders above a name, so that its row can be there.
    pub fn reveal(&mut self, name: &str) {
        let (mut level, mut depth) = (self.root.clone(), 0);
        while depth < 64 && name.starts_with(&level) {
            let above = Level::new(&level, &self.delimiter);
            let (folder, is_folder) = above.entry_name(name);
            if !is_folder {
                return;
            }
            self.open.insert(folder.to_owned());
            (level, depth) = (folder.to_owned(), depth + 1);
        }
    }

    /// Returns the pages to be fetched now, each once.
    pub fn wanted(&mut self) -> Vec<Wanted> {
        let mut wanted = Vec::new();
        let mut shown = vec![self.root.clone()];
        while let Some(level) = shown.pop() {
            shown.extend(
                self.open_below(&level)
                    .into_iter()
                    .map(|(_, folder)| folder),
            );
            let one = self
                .levels
                .entry(level.clone())
                .or_insert_with(|| Level::new(&level, &self.delimiter));
            let is_first = one.count().is_none();
            if let Some(start) = one.begin(self.requests + 1) {
                self.requests += 1;
                let number = self.requests;
                wanted.push(Wanted {
                    level,
                    start,
                    number,
                    is_first,
                });
            }
        }
        wanted
    }

    /// Takes a page.
    pub fn put_page(&mut self, level: &str, number: u64, page: Page) {
        if let Some(level) = self.levels.get_mut(level) {
            level.put_page(number, page);
        }
    }

    /// Notes why a page could not be had.
    pub fn fail(&mut self, level: &str, number: u64, why: String) {
        if let Some(level) = self.levels.get_mut(level) {
            level.fail(number, why);
        }
    }

    /// Lets pages that could not be had be wanted again.
    pub fn retry(&mut self) {
        self.levels.values_mut().for_each(Level::retry);
    }

    /// Lets a level be read beyond its limit.
    pub fn read_on(&mut self, level: &str) {
        if let Some(level) = self.levels.get_mut(level) {
            level.retry();
            level.read_on();
        }
    }

    /// Has everything read again; the rows stay until they are replaced.
    pub fn refresh(&mut self) {
        self.levels.values_mut().for_each(Level::refresh);
    }

    /// Applies changes, oldest first. Returns the names of the rows that show them.
    pub fn apply(&mut self, changes: &[Change]) -> Vec<String> {
        let mut touched = Vec::new();
        for (prefix, level) in &mut self.levels {
            let here: Vec<Change> = changes
                .iter()
                .filter(|change| change.key.starts_with(prefix.as_str()))
                .cloned()
                .collect();
            if here.is_empty() {
                continue;
            }
            let Touched { names, doubts } = level.apply(&here);
            touched.extend(names);
            let last = here.last().map_or(0, |change| change.revision);
            self.doubts
                .extend(doubts.into_iter().map(|folder| (folder, last)));
        }
        for change in changes {
            for (folder, last) in &mut self.doubts {
                if change.key.starts_with(folder.as_str()) {
                    *last = change.revision;
                }
            }
        }
        // An open folder's keys show the change themselves.
        touched.retain(|name| !self.open.contains(name));
        touched
    }

    /// A folder whose keys are to be counted by the node.
    #[must_use]
    pub fn doubt(&self) -> Option<String> {
        self.doubts.keys().next().cloned()
    }

    /// Takes a folder's count as it was at a revision; one that is older than the last change below the
    /// folder is asked for again.
    pub fn put_count(&mut self, folder: &str, count: u64, revision: u64) {
        if self.doubts.get(folder).is_some_and(|last| *last > revision) {
            return;
        }
        self.doubts.remove(folder);
        for level in self.levels.values_mut() {
            level.set_folder_count(folder, count, revision);
        }
    }

    /// Rows of the whole list, as far as it is loaded.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len_of(&self.root)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rows that the list has when all of it is loaded, as far as that is known.
    #[must_use]
    pub fn size(&self) -> usize {
        let rest = |level: &Level| match level.size() {
            Some(size) if !level.is_whole() => size.saturating_sub(level.entries().len() + 1),
            _ => 0,
        };
        let mut size = self.len();
        let mut shown = vec![self.root.clone()];
        while let Some(prefix) = shown.pop() {
            size += self.levels.get(&prefix).map_or(0, rest);
            shown.extend(
                self.open_below(&prefix)
                    .into_iter()
                    .map(|(_, folder)| folder),
            );
        }
        size
    }

    /// The first level in sight that is not whole; none when all that is open is loaded.
    #[must_use]
    pub fn unfinished(&self) -> Option<&Level> {
        let mut shown = vec![self.root.clone()];
        while let Some(prefix) = shown.pop() {
            let level = self.levels.get(&prefix)?;
            if !level.is_whole() {
                return Some(level);
            }
            shown.extend(
                self.open_below(&prefix)
                    .into_iter()
                    .map(|(_, folder)| folder),
            );
        }
        None
    }

    /// Returns the rows of a range of places.
    #[must_use]
    pub fn rows(&self, range: Range<usize>) -> Vec<Row> {
        let mut rows = Vec::with_capacity(range.len());
        self.write(&self.root, 0, 0, &range, &mut rows);
        rows
    }

    /// Returns the place of a row by its [`Row::id`]; none when the row is not there.
    #[must_use]
    pub fn place(&self, id: &str) -> Option<usize> {
        let mut letters = id.chars();
        let kind = letters.next()?;
        let (name, is_more) = (letters.as_str(), kind == 'm');
        let (mut level, mut base) = (self.root.clone(), 0);
        loop {
            if is_more && level == name {
                let len = self.len_of(&level);
                return (!self.levels.get(&level)?.is_whole()).then(|| base + len - 1);
            }
            let here = self.levels.get(&level)?;
            if !name.starts_with(&level) {
                return None;
            }
            let (entry, is_folder) = here.entry_name(name);
            let at = here.find(entry).ok()?;
            let above: usize = self
                .open_below(&level)
                .iter()
                .take_while(|(place, _)| *place < at)
                .map(|(_, folder)| self.len_of(folder))
                .sum();
            base += at + above;
            if entry == name && is_folder == (kind == 'f') && !is_more {
                return Some(base);
            }
            if !is_folder || !self.open.contains(entry) {
                return None;
            }
            (level, base) = (entry.to_owned(), base + 1);
        }
    }

    /// Returns the row above which a row lies one level deeper; none at the top.
    #[must_use]
    pub fn parent(&self, row: &Row) -> Option<String> {
        let mut level = self.root.clone();
        let mut parent = None;
        for _ in 0..row.depth {
            let here = self.levels.get(&level)?;
            let folder = here.entry_name(&row.name).0.to_owned();
            parent = Some(format!("f{folder}"));
            level = folder;
        }
        parent
    }

    /// Open folders of a level that have a row, with their places in it.
    fn open_below(&self, prefix: &str) -> Vec<(usize, String)> {
        let Some(level) = self.levels.get(prefix) else {
            return Vec::new();
        };
        let from = self.open.range(prefix.to_owned()..);
        let below = from.take_while(|folder| folder.starts_with(prefix));
        let own = |folder: &&String| {
            folder.len() > prefix.len() && level.entry_name(folder) == (folder.as_str(), true)
        };
        below
            .filter(own)
            .filter_map(|folder| Some((level.find(folder).ok()?, folder.clone())))
            .collect()
    }

    fn len_of(&self, prefix: &str) -> usize {
        let Some(level) = self.levels.get(prefix) else {
            return 0;
        };
        let below = self.open_below(prefix);
        let below: usize = below.iter().map(|(_, folder)| self.len_of(folder)).sum();
        level.entries().len() + below + usize::from(!level.is_whole())
    }

    /// Writes the rows of a level that lie in the range; its first row has the place `base`.
    fn write(
        &self,
        prefix: &str,
        depth: usize,
        base: usize,
        range: &Range<usize>,
        rows: &mut Vec<Row>,
    ) {
        let Some(level) = self.levels.get(prefix) else {
            return;
        };
        let (mut base, mut done) = (base, 0);
        let of = level.size();
        let some = |upto: usize, base: usize, done: usize, rows: &mut Vec<Row>| {
            let from = range.start.saturating_sub(base).min(upto - done) + done;
            let to = range.end.saturating_sub(base).min(upto - done) + done;
            for place in from..to {
                let at = base + place - done;
                rows.push(Row {
                    of,
                    ..self.row(level, place, at, depth)
                });
            }
        };
        for (place, folder) in self.open_below(prefix) {
            some(place + 1, base, done, rows);
            (base, done) = (base + place + 1 - done, place + 1);
            let len = self.len_of(&folder);
            if base < range.end && base + len > range.start {
                self.write(&folder, depth + 1, base, range, rows);
            }
            base += len;
        }
        let count = level.entries().len();
        some(count, base, done, rows);
        base += count - done;
        if !level.is_whole() && range.contains(&base) {
            rows.push(self.more(level, prefix, base, depth));
        }
    }

    fn row(&self, level: &Level, place: usize, at: usize, depth: usize) -> Row {
        let Entry { name, what } = &level.entries()[place];
        let from = if depth == 0 {
            label_from(&self.root, &self.delimiter)
        } else {
            level.prefix().len()
        };
        Row {
            at,
            name: name.clone(),
            label: split(name.get(from..).unwrap_or(name), &self.delimiter),
            depth,
            place: place + 1,
            of: None,
            kind: match *what {
                What::Key { revision, bytes } => Kind::Key { revision, bytes },
                What::Folder {
                    count, is_capped, ..
                } => {
                    // Its own level knows better than the count that its parent was told.
                    let below = self.levels.get(name).and_then(Level::count);
                    Kind::Folder {
                        count: below.unwrap_or(count),
                        is_capped: is_capped && below.is_none(),
                        is_open: self.open.contains(name),
                    }
                }
            },
            mark: Mark::default(),
        }
    }

    fn more(&self, level: &Level, prefix: &str, at: usize, depth: usize) -> Row {
        Row {
            at,
            name: prefix.to_owned(),
            label: (String::new(), String::new()),
            depth,
            place: level.entries().len() + 1,
            of: level.size(),
            kind: Kind::More {
                loaded: level.loaded(),
                of: level.count(),
                failure: level.failure().map(str::to_owned),
                is_held: level.is_held(),
            },
            mark: Mark::default(),
        }
    }
}
