//! The index: small records by name, in sled, or in memory for a node that writes nothing.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

use parking_lot::RwLock;

use crate::clock;

/// What sled may keep of its leaves, bytes.
const CACHE_BYTES: u64 = 8 << 20;
/// sled hands what it gathered to the disk after this time.
const FLUSH_MS: u64 = 500;

/// Names and values, sorted by name.
#[derive(Debug)]
pub(super) enum Index {
    Sled { db: sled::Db, path: PathBuf },
    Memory(RwLock<BTreeMap<Vec<u8>, Vec<u8>>>),
}

/// Longest wait for sled to let go of a directory that was closed a moment ago.
const LOCKED_FOR: Duration = Duration::from_secs(5);
/// What sled says of a directory that another one has open.
pub(super) const LOCKED: &str = "acquire lock";

/// A name with its value.
type Named = (Vec<u8>, Vec<u8>);

fn failed(error: sled::Error) -> io::Error {
    match error {
        sled::Error::Io(error) => error,
        sled::Error::Corruption { .. } => {
            io::Error::new(io::ErrorKind::InvalidData, error.to_string())
        }
        other => io::Error::other(other.to_string()),
    }
}

fn owned((name, value): (sled::IVec, sled::IVec)) -> Named {
    (name.to_vec(), value.to_vec())
}

thread_local! {
    /// A panic of this thread is caught and becomes an error.
    static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Keeps a caught panic from being printed as well; whoever gets the error says it once.
fn print_only_what_is_not_caught() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !IS_GUARDED.get() {
                print(info);
            }
        }));
    });
}

/// Runs a function that uses sled, which panics where it finds what it does not expect.
///
/// # Errors
///
/// Those of the function; a panic becomes `InvalidData`.
pub(super) fn guarded<T>(function: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    print_only_what_is_not_caught();
    let before = IS_GUARDED.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(function));
    IS_GUARDED.set(before);
    result.unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no text");
        let text = format!("sled panicked: {text}");
        Err(io::Error::new(io::ErrorKind::InvalidData, text))
    })
}

impl Index {
    /// Opens sled. May panic: use [`guarded`].
    ///
    /// # Errors
    ///
    /// The disk fails, or a file is damaged.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let config = sled::Config::default()
            .path(path)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(Some(FLUSH_MS));
        let deadline = clock::now() + LOCKED_FOR;
        let db = loop {
            match config.open() {
                // A thread of sled that was still at work when the last handle went has the lock.
                Err(error) if error.to_string().contains(LOCKED) => {
                    if clock::now() > deadline {
                        return Err(failed(error));
                    }
                    std::thread::sleep(LOCKED_FOR / 100);
                }
                opened => break opened.map_err(failed)?,
            }
        };
        let path = path.to_owned();
        Ok(Self::Sled { db, path })
    }

    pub(super) fn in_memory() -> Self {
        Self::Memory(RwLock::default())
    }

    pub(super) fn get(&self, name: &[u8]) -> io::Result<Option<Vec<u8>>> {
        match self {
            Self::Sled { db, .. } => Ok(db.get(name).map_err(failed)?.map(|value| value.to_vec())),
            Self::Memory(map) => Ok(map.read().get(name).cloned()),
        }
    }

    /// Returns the first one from `from` to `to`, both included.
    pub(super) fn first(&self, from: &[u8], to: &[u8]) -> io::Result<Option<Named>> {
        if from > to {
            return Ok(None);
        }
        match self {
            Self::Sled { db, .. } => {
                let found = db.range(from..=to).next();
                Ok(found.transpose().map_err(failed)?.map(owned))
            }
            Self::Memory(map) => Ok(map
                .read()
                .range::<[u8], _>(between(from, to))
                .next()
                .map(copied)),
        }
    }

    /// Returns the last one from `from` to `to`, both included.
    pub(super) fn last(&self, from: &[u8], to: &[u8]) -> io::Result<Option<Named>> {
        if from > to {
            return Ok(None);
        }
        match self {
            Self::Sled { db, .. } => {
                let found = db.range(from..=to).next_back();
                Ok(found.transpose().map_err(failed)?.map(owned))
            }
            Self::Memory(map) => {
                let map = map.read();
                Ok(map
                    .range::<[u8], _>(between(from, to))
                    .next_back()
                    .map(copied))
            }
        }
    }

    pub(super) fn insert(&self, name: &[u8], value: &[u8]) -> io::Result<()> {
        match self {
            Self::Sled { db, .. } => {
                db.insert(name, value).map_err(failed)?;
            }
            Self::Memory(map) => {
                map.write().insert(name.to_vec(), value.to_vec());
            }
        }
        Ok(())
    }

    pub(super) fn remove(&self, name: &[u8]) -> io::Result<()> {
        match self {
            Self::Sled { db, .. } => {
                db.remove(name).map_err(failed)?;
            }
            Self::Memory(map) => {
                map.write().remove(name);
            }
        }
        Ok(())
    }

    /// Makes everything durable. sled's own flush leaves out metadata and the drive's cache.
    pub(super) fn sync(&self) -> io::Result<()> {
        if let Self::Sled { db, path } = self {
            db.flush().map_err(failed)?;
            File::open(path.join("db"))?.sync_all()?;
        }
        Ok(())
    }

    /// Returns what it takes on disk, or in memory, bytes.
    pub(super) fn size(&self) -> io::Result<u64> {
        match self {
            Self::Sled { db, .. } => db.size_on_disk().map_err(failed),
            Self::Memory(map) => {
                let map = map.read();
                let sizes = map.iter().map(|(name, value)| name.len() + value.len());
                Ok(sizes.sum::<usize>() as u64)
            }
        }
    }
}

fn between<'a>(from: &'a [u8], to: &'a [u8]) -> (Bound<&'a [u8]>, Bound<&'a [u8]>) {
    (Bound::Included(from), Bound::Included(to))
}

fn copied((name, value): (&Vec<u8>, &Vec<u8>)) -> Named {
    (name.clone(), value.clone())
}
