//! Where history is: an index, and the pages it points at.

use std::io;
use std::path::Path;

use super::index::Index;
use super::segments::{End, Segments};

/// Folder of the segments, beside sled's files.
const PAGES: &str = "pages";

#[derive(Debug)]
pub(super) struct Store {
    pub(super) index: Index,
    pub(super) segments: Segments,
}

impl Store {
    /// Opens what is in a directory. May panic: use [`super::index::guarded`].
    ///
    /// # Errors
    ///
    /// The disk fails, or a file is damaged.
    pub(super) fn open(path: &Path, segment_bytes: u64) -> io::Result<Self> {
        Ok(Self {
            index: Index::open(path)?,
            segments: Segments::open(&path.join(PAGES), segment_bytes)?,
        })
    }

    pub(super) fn in_memory(segment_bytes: u64) -> Self {
        Self {
            index: Index::in_memory(),
            segments: Segments::in_memory(segment_bytes),
        }
    }

    /// Makes everything durable: first the pages, then what points at them, and `note` as the mark
    /// of how far both reach.
    ///
    /// # Errors
    ///
    /// The disk fails.
    pub(super) fn sync(&self, note: impl FnOnce(&Index, End) -> io::Result<()>) -> io::Result<()> {
        let end = self.segments.sync()?;
        note(&self.index, end)?;
        self.index.sync()
    }

    /// Returns what it takes on disk, or in memory, bytes.
    pub(super) fn size(&self) -> io::Result<u64> {
        Ok(self.index.size()? + self.segments.size())
    }
}
