//! Taking changes from the ring: packing, storing, and trimming what is above the limits.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::index::Index;
use super::page::{self, Header, Stored, Totals};
use super::store::Store;
use super::{Inner, Stats};
use crate::clock;
use crate::events::Entry;
use crate::state::ChangeSet;

/// Pages that are trimmed after one write: more than one adds, and few enough not to hold up the next.
const TRIMMED_AT_ONCE: usize = 512;
/// What a record of an ended key counts for beside the key, bytes.
const END_BYTES: usize = 32;

/// Whether there is more to be trimmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    Nothing,
    Some,
}

/// What only the one who writes needs.
#[derive(Debug, Default)]
pub(super) struct Writer {
    /// The open page: its encoded change sets.
    pub(super) body: Vec<u8>,
    /// The open page's header, as far as it is known.
    pub(super) header: Header,
    /// First revision of the open page; `None` while it is empty.
    pub(super) first: Option<u64>,
    /// The oldest page that is stored.
    pub(super) front: Option<Stored>,
    /// The last second in the table of times, and its newest revision, which is not there yet.
    pub(super) second: u64,
    pub(super) newest_in_second: u64,
    /// Wall clock time of the newest change that has one.
    pub(super) wall_ms: u64,
}

impl Writer {
    /// Returns a writer whose first page comes after `after`.
    pub(super) fn starting_at(after: u64, before: Totals) -> Self {
        Self {
            header: empty_page(after, before),
            ..Self::default()
        }
    }

    fn count(&mut self, set: &ChangeSet, body: usize) {
        let (ends, bytes) = page::ends(set).fold((0, body), |(ends, bytes), key| {
            (ends + 1, bytes + key.len() + END_BYTES)
        });
        let header = &mut self.header;
        header.ends += ends;
        header.sets += 1;
        header.bytes += bytes as u64;
        header.last = set.revision;
        header.wall_ms = header.wall_ms.max(set.wall_time_ms);
        if set.wall_time_ms > 0 {
            self.wall_ms = set.wall_time_ms;
        }
        self.first.get_or_insert(set.revision);
    }

    /// Returns what is kept now, the open page included.
    fn kept(&self) -> Totals {
        let now = self.header.through();
        let front = self.front.map_or(self.header.before, |it| it.header.before);
        Totals {
            revisions: now.revisions - front.revisions,
            bytes: now.bytes - front.bytes,
        }
    }

    /// Notes where keys have ended, and what the newest revision was when. Again for a page for
    /// which that was done before changes nothing.
    ///
    /// # Errors
    ///
    /// The store fails.
    pub(super) fn index<'a>(
        &mut self,
        index: &Index,
        sets: impl Iterator<Item = &'a ChangeSet>,
    ) -> io::Result<()> {
        let mut newest: Option<(u64, u64)> = None;
        for set in sets {
            for key in page::ends(set) {
                index.insert(&page::end_name(key, set.revision), &[])?;
            }
            // Without a command there was no clock.
            if set.wall_time_ms == 0 {
                continue;
            }
            let second = set.wall_time_ms / 1000;
            if let Some((before, revision)) = newest.filter(|(before, _)| *before != second) {
                self.note_time(index, before, revision)?;
            }
            newest = Some((second, set.revision));
        }
        match newest {
            Some((second, revision)) => self.note_time(index, second, revision),
            None => Ok(()),
        }
    }

    fn note_time(&mut self, index: &Index, second: u64, revision: u64) -> io::Result<()> {
        let before = std::mem::replace(&mut self.newest_in_second, revision);
        if second == self.second {
            return Ok(());
        }
        if second > self.second && self.second > 0 {
            index.insert(&page::time_name(self.second), &before.to_be_bytes())?;
        }
        while second < self.second {
            // The clock went back: up to any of the seconds after this one, this revision is now
            // the newest.
            index.remove(&page::time_name(self.second))?;
            let earlier = index.last(&page::time_name(0), &page::time_name(self.second))?;
            let earlier = earlier
                .map(|(name, _)| page::number(&name, 1))
                .transpose()?;
            self.second = earlier.unwrap_or(0);
        }
        self.second = second;
        index.insert(&page::time_name(second), &revision.to_be_bytes())
    }
}

fn empty_page(after: u64, before: Totals) -> Header {
    Header {
        after,
        last: after,
        before,
        ..Header::default()
    }
}

/// Removes the records of ends up to a revision, also those whose pages a crash has cut off.
fn sweep_ends(index: &Index, floor: u64) -> io::Result<()> {
    let mut from = b"e".to_vec();
    while let Some((name, _)) = index.first(&from, b"f")? {
        if page::number(&name, name.len().saturating_sub(8))? <= floor {
            index.remove(&name)?;
        }
        // What follows it immediately.
        from = name;
        from.push(0);
    }
    Ok(())
}

impl Inner {
    /// Takes what the ring has; all of it after revision `floor`.
    pub(super) fn take(&self, floor: u64, entries: &[Arc<Entry>]) -> Left {
        let mut writer = self.writer.lock();
        let done = self.using(|store| {
            if floor > self.taken.load(Ordering::Acquire) {
                self.start_over(store, &mut writer, floor)?;
            }
            for entry in entries {
                if entry.revision() > self.taken.load(Ordering::Acquire) {
                    self.pack(store, &mut writer, entry)?;
                }
            }
            self.trim(store, &mut writer)
        });
        // It was given up with a reason when this failed.
        done.unwrap_or(Left::Nothing)
    }

    /// Stores the open page though it is not full.
    pub(super) fn save(&self) -> Left {
        let mut writer = self.writer.lock();
        let done = self.using(|store| {
            self.close_page(store, &mut writer)?;
            self.trim(store, &mut writer)
        });
        done.unwrap_or(Left::Nothing)
    }

    /// Removes more of what is above a limit.
    pub(super) fn trim_more(&self) -> Left {
        let mut writer = self.writer.lock();
        let done = self.using(|store| self.trim(store, &mut writer));
        done.unwrap_or(Left::Nothing)
    }

    /// Says what is kept.
    pub(super) fn stats(&self) -> io::Result<Stats> {
        let revisions = self.writer.lock().kept().revisions;
        Ok(Stats {
            oldest: self.floor() + 1,
            revisions,
            bytes: self.using(Store::size)?,
        })
    }

    /// Makes durable what was taken.
    pub(super) fn sync(&self) -> io::Result<()> {
        let mut writer = self.writer.lock();
        self.using(|store| {
            self.close_page(store, &mut writer)?;
            let taken = self.taken.load(Ordering::Acquire);
            store.sync(|index, end| page::note_synced(index, taken, end))
        })
    }

    /// Goes on after a gap. What is older is trimmed later, and counts no more from now on.
    fn start_over(&self, store: &Store, writer: &mut Writer, floor: u64) -> io::Result<()> {
        let taken = self.taken.load(Ordering::Acquire);
        self.close_page(store, writer)?;
        store.index.insert(page::META_FLOOR, &floor.to_be_bytes())?;
        if writer.front.is_some() {
            tracing::warn!(
                "history starts over at revision {}: changes after revision {taken} are missing",
                floor + 1
            );
        }
        writer.header = empty_page(floor, writer.header.before);
        self.floor.store(floor, Ordering::Release);
        self.taken.store(floor, Ordering::Release);
        sweep_ends(&store.index, floor)
    }

    fn pack(&self, store: &Store, writer: &mut Writer, entry: &Arc<Entry>) -> io::Result<()> {
        if entry.bytes() > page::LONGEST_SET {
            let (revision, bytes) = (entry.revision(), entry.bytes());
            tracing::warn!("the {bytes} bytes of revision {revision} are too many for the history");
            return self.start_over(store, writer, revision);
        }
        let start = writer.body.len();
        page::append(entry.set(), &mut writer.body)?;
        let bytes = writer.body.len() - start;
        if start > 0 && writer.body.len() > page::BODY_BYTES {
            let own = writer.body.split_off(start);
            self.close_page(store, writer)?;
            writer.body = own;
        }
        writer.count(entry.set(), bytes);
        self.open.write().push(entry.clone());
        self.taken.store(entry.revision(), Ordering::Release);
        if writer.body.len() > page::BODY_BYTES {
            self.close_page(store, writer)?;
        }
        Ok(())
    }

    /// Stores the open page, and starts another one.
    pub(super) fn close_page(&self, store: &Store, writer: &mut Writer) -> io::Result<()> {
        let Some(first) = writer.first.take() else {
            return Ok(());
        };
        let header = Header {
            body: writer.body.len() as u32,
            ..writer.header
        };
        let stored = page::write(store, first, header, &writer.body)?;
        // Nobody else writes to it.
        let sets = self.open.read().clone();
        writer.index(&store.index, sets.iter().map(|entry| entry.set()))?;
        // Readers look into the open page first: there is no moment in which they find neither.
        self.open.write().clear();
        writer.front.get_or_insert(stored);
        writer.header = empty_page(header.last, header.through());
        writer.body.clear();
        writer.body.shrink_to(page::BODY_BYTES * 2);
        Ok(())
    }

    /// Removes pages from the front that are above a limit or before a gap.
    fn trim(&self, store: &Store, writer: &mut Writer) -> io::Result<Left> {
        // One clock that is wrong must not end what is kept.
        let now = clock::wall_ms().min(writer.wall_ms);
        let too_old = now.saturating_sub(clock::millis(self.limits.age));
        let mut trimmed = 0;
        while let Some(front) = writer.front {
            let kept = writer.kept();
            let header = &front.header;
            let is_needless = header.last <= self.floor()
                || kept.revisions - u64::from(header.sets) >= self.limits.revisions
                || kept.bytes > self.limits.bytes
                || header.wall_ms < too_old;
            if !is_needless || trimmed == TRIMMED_AT_ONCE {
                break;
            }
            self.floor.fetch_max(header.last, Ordering::AcqRel);
            self.remove_page(store, &front)?;
            writer.front = page::next(&store.index, front.first)?;
            trimmed += 1;
        }
        if trimmed > 0 {
            self.trim_times(&store.index)?;
            if let Some(front) = &writer.front {
                store.segments.remove_before(front.place.segment)?;
            }
        }
        Ok(match trimmed {
            TRIMMED_AT_ONCE => Left::Some,
            _ => Left::Nothing,
        })
    }

    fn remove_page(&self, store: &Store, stored: &Stored) -> io::Result<()> {
        let page = match stored.header.ends {
            0 => None,
            _ => stored.read(store)?,
        };
        // First: after a crash between the two, a key must not seem never to have been.
        store.index.remove(&page::page_name(stored.first))?;
        for set in page.iter().flat_map(|page| &page.sets) {
            for key in page::ends(set) {
                store.index.remove(&page::end_name(key, set.revision))?;
            }
        }
        Ok(())
    }

    fn trim_times(&self, index: &Index) -> io::Result<()> {
        let (from, to) = (page::time_name(0), page::time_name(u64::MAX));
        while let Some((name, revision)) = index.first(&from, &to)? {
            if page::number(&revision, 0)? > self.floor() {
                break;
            }
            index.remove(&name)?;
        }
        Ok(())
    }
}
