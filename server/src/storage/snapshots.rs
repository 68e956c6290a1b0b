//! Where snapshots are kept: one complete file, replaced by rename; unfinished ones never count.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::snapshot_file::{self, Contents, SnapshotFile, sync};
use crate::events::Tail;
use crate::mutants::{self, Mutant};
use crate::raft::SnapshotMeta;
use crate::state::{Requests, State};

#[derive(Debug)]
enum Place {
    Directory(PathBuf),
    /// The complete snapshot of `-inmem`.
    Memory(Mutex<Option<SnapshotFile>>),
}

/// Handle to a node's snapshots; clones share it.
#[derive(Debug, Clone)]
pub struct Snapshots {
    place: Arc<Place>,
    /// Gives unfinished files distinct names.
    unfinished: Arc<AtomicU64>,
}

/// A snapshot that is being written or received. Dropped unfinished, it is deleted.
#[derive(Debug)]
pub struct IncomingSnapshot {
    file: File,
    path: Option<PathBuf>,
    bytes: u64,
}

impl IncomingSnapshot {
    /// Appends bytes. Blocks.
    ///
    /// # Errors
    ///
    /// The disk fails or is full.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Ends it. It is verified and takes the place of the current one when it is installed.
    ///
    /// # Errors
    ///
    /// Another number of bytes arrived than was announced, or the disk fails.
    pub fn finish(mut self, announced: u64) -> io::Result<SnapshotFile> {
        if self.bytes != announced {
            let message = format!("snapshot of {announced} bytes ended after {}", self.bytes);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
        }
        // The room that was taken and not used goes back.
        self.file.set_len(self.bytes)?;
        sync(&self.file)?;
        let file = Arc::new(self.file.try_clone()?);
        Ok(SnapshotFile {
            path: self.path.take(),
            file,
            bytes: self.bytes,
        })
    }
}

impl Drop for IncomingSnapshot {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // What is left after a failure here is deleted at the next start.
            drop(fs::remove_file(path));
        }
    }
}

impl Snapshots {
    /// Opens the directory, creates it where missing, and deletes unfinished files.
    ///
    /// # Errors
    ///
    /// The directory cannot be read or written.
    pub fn open(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "tmp") {
                fs::remove_file(path)?;
            }
        }
        Ok(Self::at(Place::Directory(directory.to_owned())))
    }

    /// Returns what is in a directory, which is not touched: only for reading.
    #[cfg(not(feature = "simulation"))]
    pub(super) fn read_only(directory: &Path) -> Self {
        Self::at(Place::Directory(directory.to_owned()))
    }

    pub(super) fn in_memory() -> Self {
        Self::at(Place::Memory(Mutex::default()))
    }

    fn at(place: Place) -> Self {
        Self {
            place: Arc::new(place),
            unfinished: Arc::default(),
        }
    }

    /// Starts an unfinished snapshot of so many bytes at most, and takes the room for it. Blocks.
    ///
    /// # Errors
    ///
    /// The file cannot be created, or the disk has no room for it.
    pub fn begin_with(&self, bytes: u64) -> io::Result<IncomingSnapshot> {
        let incoming = self.begin()?;
        if incoming.path.is_some() && bytes > 0 {
            match fallocate(&incoming.file, FallocateFlags::KEEP_SIZE, 0, bytes) {
                // Not every file system can.
                Ok(()) | Err(Errno::OPNOTSUPP) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(incoming)
    }

    /// Starts an unfinished snapshot.
    ///
    /// # Errors
    ///
    /// The file cannot be created.
    pub fn begin(&self) -> io::Result<IncomingSnapshot> {
        let number = self.unfinished.fetch_add(1, Ordering::Relaxed);
        self.begin_as(&format!("{number}.tmp"))
    }

    fn begin_as(&self, name: &str) -> io::Result<IncomingSnapshot> {
        let (file, path) = match &*self.place {
            Place::Directory(directory) => {
                let path = directory.join(name);
                let file = File::options()
                    .create(true)
                    .truncate(true)
                    .read(true)
                    .write(true)
                    .open(&path)?;
                (file, Some(path))
            }
            Place::Memory(_) => (memory_file()?, None),
        };
        Ok(IncomingSnapshot {
            file,
            path,
            bytes: 0,
        })
    }

    /// Writes a state as the current snapshot. Blocks; memory is bounded by one record.
    pub(super) fn build(
        &self,
        incoming: IncomingSnapshot,
        meta: &SnapshotMeta,
        state: &State,
        requests: &Requests,
        tail: &Tail,
    ) -> io::Result<SnapshotFile> {
        let mut incoming = match mutants::is(Mutant::SnapshotInPlace) {
            true => self.begin_as(&name_of(meta))?,
            false => incoming,
        };
        snapshot_file::write(&incoming.file, meta, state, requests, tail)?;
        incoming.bytes = incoming.file.metadata()?.len();
        let bytes = incoming.bytes;
        self.publish(meta, incoming.finish(bytes)?)
    }

    /// Verifies a snapshot whole and makes it the current one. Blocks.
    pub(super) fn install(&self, file: SnapshotFile) -> io::Result<(SnapshotMeta, Contents)> {
        let (meta, contents) = file.read()?;
        self.publish(&meta, file)?;
        Ok((meta, contents))
    }

    /// Returns the current snapshot, unverified but for its header.
    pub(super) fn current(&self) -> io::Result<Option<(SnapshotMeta, SnapshotFile)>> {
        let file = match &*self.place {
            Place::Memory(current) => current.lock().clone(),
            Place::Directory(directory) => match newest(directory)? {
                None => None,
                Some(path) => Some(SnapshotFile::open(&path)?),
            },
        };
        let Some(file) = file else { return Ok(None) };
        let meta = snapshot_file::read_meta(&file.file).map_err(|error| {
            let path = file.path.as_deref().unwrap_or(Path::new("memory"));
            io::Error::new(
                error.kind(),
                format!("snapshot `{}`: {error}", path.display()),
            )
        })?;
        Ok(Some((meta, file)))
    }

    /// Renames a synced file to its final name, and deletes older ones.
    fn publish(&self, meta: &SnapshotMeta, file: SnapshotFile) -> io::Result<SnapshotFile> {
        let (directory, from) = match (&*self.place, file.path.as_deref()) {
            (Place::Memory(current), _) => {
                *current.lock() = Some(file.clone());
                return Ok(file);
            }
            (Place::Directory(_), None) => {
                return Err(io::Error::other(
                    "a snapshot in memory cannot be made durable",
                ));
            }
            (Place::Directory(directory), Some(from)) => (directory, from),
        };
        let to = directory.join(name_of(meta));
        if from != to {
            fs::rename(from, &to)?;
            File::open(directory)?.sync_all()?;
        }
        for older in complete(directory)?.into_iter().filter(|path| *path < to) {
            fs::remove_file(older)?;
        }
        Ok(SnapshotFile {
            path: Some(to),
            ..file
        })
    }
}

fn name_of(meta: &SnapshotMeta) -> String {
    let next = meta.last_log_id.map_or(0, |id| id.index() + 1);
    format!("{next:020}.snap")
}

/// Complete snapshots; the names are zero-padded, so that their order is the log's.
fn complete(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "snap")
        {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn newest(directory: &Path) -> io::Result<Option<PathBuf>> {
    Ok(complete(directory)?.pop())
}

#[cfg(target_os = "linux")]
fn memory_file() -> io::Result<File> {
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    Ok(File::from(rustix::fs::memfd_create(
        "conclave-snapshot",
        flags,
    )?))
}

#[cfg(not(target_os = "linux"))]
fn memory_file() -> io::Result<File> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "-inmem needs Linux",
    ))
}
