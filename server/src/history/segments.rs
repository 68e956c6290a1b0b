//! Segments: flat files that pages are appended to, named by rising numbers. sled would write a value
//! of this size three times, as it splits and consolidates its leaves; a segment takes it once.
//!
//! ```text
//! pages/0000000000000007    page │ page │ page
//! pages/0000000000000008    page │ page │ … the one that is written
//! ```
//!
//! Nothing in a segment changes. One goes as a whole once none of its pages is wanted any more.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use super::page::damaged;

/// Where a page is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: u64,
    pub(super) offset: u64,
}

/// The place after the last page.
pub(super) type End = Place;

/// Segments of one history. One writer at a time, any number of readers.
#[derive(Debug)]
pub(super) struct Segments {
    /// `None` in memory.
    folder: Option<PathBuf>,
    /// Size from which on the next page begins another segment, bytes.
    segment_bytes: u64,
    all: RwLock<BTreeMap<u64, Arc<Segment>>>,
    /// The first one that may have what is not durable.
    unsynced: AtomicU64,
    /// The number of the next one. None is used twice: a crash may bring back what points at an old
    /// one.
    next: AtomicU64,
}

#[derive(Debug)]
struct Segment {
    bytes: AtomicU64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    File(File),
    Memory(RwLock<Vec<u8>>),
}

impl Segments {
    /// Opens the segments of a folder, which is made where it is not.
    ///
    /// # Errors
    ///
    /// The disk fails, or a file has another name than segments have.
    pub(super) fn open(folder: &Path, segment_bytes: u64) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let mut all = BTreeMap::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let number = u64::from_str_radix(&name, 16);
            let number = number.map_err(|_no_number| damaged(format!("`{name}` is no segment")))?;
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .open(entry.path())?;
            let bytes = AtomicU64::new(file.metadata()?.len());
            let content = Content::File(file);
            all.insert(number, Arc::new(Segment { bytes, content }));
        }
        let next = all.keys().next_back().map_or(1, |newest| newest + 1);
        Ok(Self {
            folder: Some(folder.to_owned()),
            segment_bytes,
            all: RwLock::new(all),
            unsynced: AtomicU64::new(0),
            next: AtomicU64::new(next),
        })
    }

    pub(super) fn in_memory(segment_bytes: u64) -> Self {
        Self {
            folder: None,
            segment_bytes,
            all: RwLock::default(),
            unsynced: AtomicU64::new(0),
            next: AtomicU64::new(1),
        }
    }

    pub(super) fn has(&self, number: u64) -> bool {
        self.all.read().contains_key(&number)
    }

    /// Appends a page, and returns where it is. Not durable before [`Self::sync`].
    ///
    /// # Errors
    ///
    /// The disk fails; the segment must not be appended to again then.
    pub(super) fn append(&self, page: &[u8]) -> io::Result<Place> {
        let (number, segment) = match self.newest() {
            Some((number, segment)) if segment.bytes() < self.segment_bytes => (number, segment),
            _ => self.create()?,
        };
        let offset = segment.bytes();
        match &segment.content {
            Content::File(file) => file.write_all_at(page, offset)?,
            Content::Memory(bytes) => bytes.write().extend_from_slice(page),
        }
        segment
            .bytes
            .store(offset + page.len() as u64, Ordering::Release);
        Ok(Place {
            segment: number,
            offset,
        })
    }

    /// Reads a page; `None` when its segment is gone.
    ///
    /// # Errors
    ///
    /// The disk fails, or the segment ends before the page does.
    pub(super) fn read(&self, place: Place, bytes: usize) -> io::Result<Option<Vec<u8>>> {
        let segment = self.all.read().get(&place.segment).cloned();
        let Some(segment) = segment else {
            return Ok(None);
        };
        let Place {
            segment: at,
            offset,
        } = place;
        let short = || damaged(format!("segment {at} ends within a page"));
        if offset + bytes as u64 > segment.bytes() {
            return Err(short());
        }
        let mut page = vec![0; bytes];
        match &segment.content {
            Content::File(file) => file.read_exact_at(&mut page, offset)?,
            Content::Memory(content) => {
                let (content, from) = (content.read(), offset as usize);
                page.copy_from_slice(content.get(from..from + bytes).ok_or_else(short)?);
            }
        }
        Ok(Some(page))
    }

    /// Removes the segments before one.
    ///
    /// # Errors
    ///
    /// The disk fails.
    pub(super) fn remove_before(&self, number: u64) -> io::Result<()> {
        let older: Vec<u64> = self.all.read().range(..number).map(|(it, _)| *it).collect();
        older.into_iter().try_for_each(|older| self.remove(older))
    }

    /// Removes what is after an end: it was never made durable. A segment that is gone was trimmed.
    ///
    /// # Errors
    ///
    /// The disk fails, or there is less than that.
    pub(super) fn cut(&self, end: End) -> io::Result<()> {
        self.next.fetch_max(end.segment + 1, Ordering::AcqRel);
        while let Some((newest, segment)) = self.newest().filter(|(it, _)| *it >= end.segment) {
            if newest > end.segment || end.offset == 0 {
                self.remove(newest)?;
                continue;
            }
            if segment.bytes() < end.offset {
                return Err(damaged(format!("segment {newest} is cut off")));
            }
            if let Content::File(file) = &segment.content {
                file.set_len(end.offset)?;
            }
            segment.bytes.store(end.offset, Ordering::Release);
            break;
        }
        Ok(())
    }

    /// Makes durable what was appended, and returns where it ends.
    ///
    /// # Errors
    ///
    /// The disk fails.
    pub(super) fn sync(&self) -> io::Result<End> {
        let from = self.unsynced.load(Ordering::Acquire);
        let unsynced: Vec<_> = {
            let all = self.all.read();
            let range = all.range(from..);
            range.map(|(number, it)| (*number, it.clone())).collect()
        };
        let mut end = End::default();
        for (number, segment) in unsynced {
            let offset = segment.bytes();
            if let Content::File(file) = &segment.content {
                file.sync_data()?;
            }
            end = End {
                segment: number,
                offset,
            };
        }
        if let Some(folder) = &self.folder {
            File::open(folder)?.sync_all()?;
        }
        self.unsynced.store(end.segment, Ordering::Release);
        Ok(end)
    }

    /// Returns what all of them take, bytes.
    pub(super) fn size(&self) -> u64 {
        self.all.read().values().map(|it| it.bytes()).sum()
    }

    fn newest(&self) -> Option<(u64, Arc<Segment>)> {
        let all = self.all.read();
        let (number, segment) = all.last_key_value()?;
        Some((*number, segment.clone()))
    }

    fn create(&self) -> io::Result<(u64, Arc<Segment>)> {
        let number = self.next.fetch_add(1, Ordering::AcqRel);
        let content = match &self.folder {
            Some(folder) => {
                let mut options = OpenOptions::new();
                let options = options.read(true).write(true).create_new(true);
                Content::File(options.open(folder.join(name(number)))?)
            }
            None => Content::Memory(RwLock::default()),
        };
        let bytes = AtomicU64::new(0);
        let segment = Arc::new(Segment { bytes, content });
        self.all.write().insert(number, segment.clone());
        Ok((number, segment))
    }

    fn remove(&self, number: u64) -> io::Result<()> {
        // Who reads from it has a handle.
        self.all.write().remove(&number);
        match &self.folder {
            Some(folder) => fs::remove_file(folder.join(name(number))),
            None => Ok(()),
        }
    }
}

impl Segment {
    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }
}

fn name(number: u64) -> String {
    format!("{number:016x}")
}
