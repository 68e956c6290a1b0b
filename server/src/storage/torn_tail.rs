//! What a power cut may leave of the last log file: blocks that were added and never written.
//!
//! A file system can make the new length of a file durable before the blocks behind it, in any
//! order. They are holes then, or extents marked as unwritten, which `SEEK_HOLE` (lseek(2)) shows
//! alike. A completed sync leaves none, so whatever begins in a hole was never acknowledged, and
//! neither was what follows it: syncs are one after the other. Only the last file can have one,
//! because a file is synced before the first record of the next is written.
//!
//! Zeros that were really written are no hole, and a damaged record without one stays an error. How
//! the log's files are found and named is known here too.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, SeekFrom};

/// The first hole of the last log file. Look for it before anything reads the file: what was read
/// counts as data from then on.
#[derive(Debug)]
pub(super) struct Hole {
    path: PathBuf,
    at: u64,
    length: u64,
}

/// Returns the first hole of the last log file in a directory.
///
/// # Errors
///
/// The disk fails.
pub(super) fn find(directory: &Path) -> io::Result<Option<Hole>> {
    let Some(path) = last_file(directory)? else {
        return Ok(None);
    };
    let file = File::open(&path)?;
    let length = file.metadata()?.len();
    // Somebody else may have read it. What is not written back yet stays, and is data. Where the
    // advice is not taken a hole may be missed, and the log is refused as a damaged one.
    if let Err(error) = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed) {
        tracing::debug!(%error, "the file system takes no advice");
    }
    let hole = first_hole(&file).filter(|at| *at < length);
    Ok(hole.map(|at| Hole { path, at, length }))
}

impl Hole {
    /// Cuts the file off where the hole begins.
    ///
    /// # Errors
    ///
    /// The disk fails.
    pub(super) fn cut_off(self) -> io::Result<()> {
        let Self { path, at, length } = self;
        tracing::warn!(
            "`{}` has {length} bytes and a hole at {at}, as a power cut leaves it: what follows \
             was never acknowledged and is cut off",
            path.display()
        );
        let file = File::options().write(true).open(&path)?;
        file.set_len(at)?;
        file.sync_all()
    }
}

/// Returns the file that is written to, if there is one. The names hold zero-padded offsets, so that
/// their order is the log's.
///
/// # Errors
///
/// The directory cannot be read.
pub(super) fn last_file(directory: &Path) -> io::Result<Option<PathBuf>> {
    let mut last = None;
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "wal") {
            last = last.max(Some(path));
        }
    }
    Ok(last)
}

/// Returns where the first hole begins, the end of the file included; `None` for an empty file and
/// where the file system knows no holes. Whether the file can be read at all is found out later.
fn first_hole(file: &File) -> Option<u64> {
    rustix::fs::seek(file, SeekFrom::Hole(0)).ok()
}

/// raft-log names a damaged file by its number only: `ChunkId(00_000_…)` is in `r-00_000_….wal`.
pub(super) fn name_file(directory: &Path, error: &io::Error) -> io::Error {
    let text = error.to_string();
    let number = text
        .split("ChunkId(")
        .nth(1)
        .and_then(|rest| rest.split(')').next());
    let message = match number {
        Some(number) => {
            let file = directory.join(format!("r-{number}.wal"));
            format!("`{}` is damaged: {text}", file.display())
        }
        None => format!("`{}`: {text}", directory.display()),
    };
    io::Error::new(error.kind(), message)
}
