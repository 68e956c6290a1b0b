//! Opening: what is there is checked, and set aside when it cannot be used.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::index::{LOCKED, guarded};
use super::page::{self, Stored, damaged};
use super::store::Store;
use super::writer::Writer;
use super::{History, Limits};

/// Lies in a directory that was found damaged while it was used.
pub(super) const CONDEMNED: &str = "damaged";
/// Lies in a directory whose store has a format: sled takes a damaged log for an empty one.
const IN_USE: &str = "in-use";
/// Newest pages whose checksums and order are checked before anything is built on them; what is
/// wrong further back is found when it is read.
const CHECKED: usize = 256;

/// What was found in a store.
#[derive(Debug, Default)]
pub(super) struct Recovered {
    pub(super) floor: u64,
    pub(super) taken: u64,
    pub(super) writer: Writer,
}

/// Opens a directory, or an empty one in its place.
pub(super) fn open(path: &Path, owner: &str, limits: Limits) -> History {
    let opened = try_open(path, owner, limits).or_else(|reason| {
        if is_passing(&reason) {
            return Err(reason);
        }
        let aside = set_aside(path)?;
        tracing::warn!(
            "history cannot be used and is set aside as `{}`: {reason}. It is kept anew, from what \
             the log still has on",
            aside.display()
        );
        try_open(path, owner, limits)
    });
    match opened {
        Ok((store, recovered)) => {
            let path = Some(path.to_owned());
            History::at(path, limits, Some(Arc::new(store)), recovered)
        }
        Err(error) => {
            tracing::warn!("no history is kept until this node starts again: {error}");
            History::at(None, limits, None, Recovered::default())
        }
    }
}

fn try_open(path: &Path, owner: &str, limits: Limits) -> io::Result<(Store, Recovered)> {
    fs::create_dir_all(path)?;
    if path.join(CONDEMNED).exists() {
        return Err(damaged("it was found damaged before"));
    }
    let mark = path.join(IN_USE);
    let is_new = !mark.exists();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // Left by a crash; sled does not open beside them.
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(entry.path())?;
        }
    }
    guarded(|| {
        let store = Store::open(path, limits.segment_bytes())?;
        if !is_new && store.index.get(page::META)?.is_none() {
            return Err(damaged("what was in it is gone"));
        }
        let recovered = recover(&store, owner)?;
        if is_new {
            store.index.sync()?;
            fs::write(&mark, [])?;
        }
        Ok((store, recovered))
    })
}

/// Returns whether an error says nothing about what is stored: it may open the next time.
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let too_many_files = [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE];
    matches!(
        error.kind(),
        PermissionDenied | QuotaExceeded | ReadOnlyFilesystem | StorageFull
    ) || error
        .raw_os_error()
        .is_some_and(|code| too_many_files.iter().any(|it| it.raw_os_error() == code))
        || error.to_string().contains(LOCKED)
}

/// Renames a directory to `NAME.broken-N`, and deletes those of that name from before.
fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
    let parent = path.parent().ok_or_else(invalid)?;
    let name = path.file_name().ok_or_else(invalid)?.to_string_lossy();
    let prefix = format!("{name}.broken-");
    let mut newest = 0;
    let mut older = Vec::new();
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        let entry_name = entry.file_name().to_string_lossy().into_owned();
        if let Some(number) = entry_name.strip_prefix(&prefix) {
            newest = newest.max(number.parse().unwrap_or(0_u64));
            older.push(entry.path());
        }
    }
    let aside = parent.join(format!("{prefix}{}", newest + 1));
    fs::rename(path, &aside)?;
    for path in older {
        fs::remove_dir_all(path)?;
    }
    Ok(aside)
}

fn recover(store: &Store, owner: &str) -> io::Result<Recovered> {
    let meta = [&[page::FORMAT], owner.as_bytes()].concat();
    let index = &store.index;
    match index.get(page::META)? {
        Some(found) if found == meta => {}
        Some(found) if found.first() != Some(&page::FORMAT) => {
            return Err(damaged("it has another format"));
        }
        Some(_) => return Err(damaged("it is the history of another cluster")),
        None if index.first(&[], &[0xff])?.is_some() => return Err(damaged("it has no format")),
        None => index.insert(page::META, &meta)?,
    }
    let gap = match index.get(page::META_FLOOR)? {
        Some(floor) => page::number(&floor, 0)?,
        None => 0,
    };
    let synced = cut(store)?;
    // A gap is noted before anything after it is stored.
    let taken = synced.max(gap);
    let Some(last) = page::at_or_below(index, u64::MAX)? else {
        return Ok(Recovered {
            floor: taken,
            taken,
            writer: Writer::starting_at(taken, page::Totals::default()),
        });
    };
    check(store, last, gap)?;
    let front = page::next(index, 0)?;
    let oldest = front.as_ref().map_or(0, |front| front.header.after);
    let times = index.last(&page::time_name(0), &page::time_name(u64::MAX))?;
    let second = times.map(|(name, _)| page::number(&name, 1)).transpose()?;
    Ok(Recovered {
        floor: oldest.max(gap),
        taken,
        writer: Writer {
            front,
            second: second.unwrap_or(0),
            newest_in_second: last.header.last,
            wall_ms: last.header.wall_ms,
            ..Writer::starting_at(taken, last.header.through())
        },
    })
}

/// Brings the index and the pages to what both certainly have: up to the revision that was made
/// durable last, which is returned. What came later, the log brings again.
fn cut(store: &Store) -> io::Result<u64> {
    let index = &store.index;
    let (synced, end) = page::synced(index)?;
    while let Some(last) = page::at_or_below(index, u64::MAX)?.filter(|it| it.header.last > synced)
    {
        index.remove(&page::page_name(last.first))?;
    }
    // A segment goes when its pages were trimmed, whether or not the index had come to the disk.
    while let Some(front) = page::next(index, 0)?.filter(|it| !store.segments.has(it.place.segment))
    {
        index.remove(&page::page_name(front.first))?;
    }
    store.segments.cut(end)?;
    Ok(synced)
}

/// Checks that the newest pages are whole and follow each other.
fn check(store: &Store, last: Stored, gap: u64) -> io::Result<()> {
    let mut this = last;
    for _ in 0..CHECKED {
        let first = this.first;
        if this.read(store)?.is_none() {
            return Err(damaged(format!("page {first} is missing")));
        }
        if this.header.after <= gap {
            break;
        }
        match page::at_or_below(&store.index, first - 1)? {
            Some(earlier) if earlier.header.last == this.header.after => this = earlier,
            Some(_) => return Err(damaged(format!("revisions before {first} are missing"))),
            None => break,
        }
    }
    Ok(())
}
