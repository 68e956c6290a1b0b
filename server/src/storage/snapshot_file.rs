//! The snapshot format: `[length u32][crc32 u32][record]` repeated, the header first.
//!
//! A file counts only when every record's checksum holds, as many records of each kind as the header
//! says are there, nothing follows them, and the rebuilt state has the header's hash. A file that was
//! cut off or damaged is therefore never loaded, wherever the damage is.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::codec;
use crate::events::Tail;
use crate::mutants::{self, Mutant};
use crate::raft::SnapshotMeta;
use crate::state::{ChangeSet, Key, Lock, LockName, Record, Requests, SettledRequest, State};

/// Longest record; a request is at most 8 MiB, and so are all changes together. A longer length is
/// damage.
const RECORD_BYTES: u32 = 16 << 20;
const BUFFER_BYTES: usize = 1 << 20;

/// A complete snapshot that is open. It stays readable after a newer one replaced it.
#[derive(Debug, Clone)]
pub struct SnapshotFile {
    /// Where it is; `None` for one in memory.
    pub(super) path: Option<PathBuf>,
    pub(super) file: Arc<File>,
    pub bytes: u64,
}

impl SnapshotFile {
    /// Opens a file, whatever is in it.
    ///
    /// # Errors
    ///
    /// It cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        Ok(Self {
            path: Some(path.to_owned()),
            bytes: file.metadata()?.len(),
            file: Arc::new(file),
        })
    }

    /// Reads and verifies it whole. Blocks.
    pub(super) fn read(&self) -> io::Result<(SnapshotMeta, Contents)> {
        read(&self.file).map_err(|error| match &self.path {
            None => error,
            Some(path) => io::Error::new(
                error.kind(),
                format!("snapshot `{}`: {error}", path.display()),
            ),
        })
    }

    /// Reads up to `buffer.len()` bytes at a position; 0 means the end.
    ///
    /// # Errors
    ///
    /// The disk fails.
    pub fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.file.read_at(buffer, position)
    }

    /// Checks all checksums and returns the snapshot's place in the log. Blocks.
    ///
    /// # Errors
    ///
    /// The snapshot is damaged or was cut off, or the disk fails.
    pub fn verify(&self) -> io::Result<SnapshotMeta> {
        Ok(verify(&self.file)?.meta)
    }
}

/// Reads a shared file from its beginning without moving anybody else's position.
struct FromStart<'a> {
    file: &'a File,
    position: u64,
}

impl Read for FromStart<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

/// The first record.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) meta: SnapshotMeta,
    pub(super) revision: u64,
    log_time_ms: u64,
    wall_time_ms: u64,
    pub(super) keys: u64,
    /// Settled requests, which follow the keys, oldest first.
    requests: u64,
    /// Log index of the newest settled request that was forgotten.
    forgotten: u64,
    /// Locks, which follow the requests.
    pub(super) locks: u64,
    /// Newest changes, oldest first, which follow the locks: a new node can show them to whoever
    /// resumes there.
    changes: u64,
    /// Revision after which these are all changes.
    floor: u64,
    /// Digest of keys, locks and requests.
    hash: u64,
}

/// What a snapshot holds beside its place in the log.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) state: State,
    pub(super) requests: Requests,
    /// Revision after which `tail` has every change.
    pub(super) floor: u64,
    pub(super) tail: Vec<ChangeSet>,
}

fn put<T: Serialize>(out: &mut impl Write, value: &T) -> io::Result<()> {
    let record = codec::encode(value)?;
    let length = u32::try_from(record.len()).map_err(io::Error::other)?;
    out.write_all(&length.to_be_bytes())?;
    out.write_all(&crc32fast::hash(&record).to_be_bytes())?;
    out.write_all(&record)
}

fn take<T: DeserializeOwned>(input: &mut impl Read, buffer: &mut Vec<u8>) -> io::Result<T> {
    take_record(input, buffer)?;
    codec::decode(buffer)
}

/// Reads one record into `buffer` and checks its checksum.
fn take_record(input: &mut impl Read, buffer: &mut Vec<u8>) -> io::Result<()> {
    let (mut length, mut checksum) = ([0; 4], [0; 4]);
    input.read_exact(&mut length)?;
    input.read_exact(&mut checksum)?;
    let length = u32::from_be_bytes(length);
    if length > RECORD_BYTES {
        return Err(codec::invalid(format!("record of {length} bytes")));
    }
    buffer.clear();
    input.take(u64::from(length)).read_to_end(buffer)?;
    if buffer.len() as u64 != u64::from(length) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if crc32fast::hash(buffer).to_be_bytes() != checksum {
        return Err(codec::invalid(
            "a record's checksum does not match".to_owned(),
        ));
    }
    Ok(())
}

/// Writes a state with its place in the log, and syncs the file.
pub(super) fn write(
    file: &File,
    meta: &SnapshotMeta,
    state: &State,
    requests: &Requests,
    tail: &Tail,
) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, file);
    let header = Header {
        meta: meta.clone(),
        revision: state.revision(),
        log_time_ms: state.log_time_ms(),
        wall_time_ms: state.wall_time_ms(),
        keys: state.len() as u64,
        requests: requests.len() as u64,
        forgotten: requests.forgotten(),
        locks: state.locks().len() as u64,
        changes: tail.entries.len() as u64,
        floor: tail.floor,
        hash: state.hash().wrapping_add(requests.hash()),
    };
    put(&mut out, &header)?;
    for (key, record) in state.from("") {
        put(&mut out, &(key, record))?;
    }
    for settled in requests.iter() {
        put(&mut out, settled)?;
    }
    for (name, lock) in state.locks().from("") {
        put(&mut out, &(name, lock))?;
    }
    for entry in &tail.entries {
        put(&mut out, entry.set())?;
    }
    out.flush()?;
    sync(file)
}

/// Makes a whole file durable.
pub(super) fn sync(file: &File) -> io::Result<()> {
    if mutants::is(Mutant::SnapshotInPlace) {
        return Ok(());
    }
    file.sync_all()
}

/// Reads only the place in the log.
pub(super) fn read_meta(file: &File) -> io::Result<SnapshotMeta> {
    let mut input = BufReader::new(FromStart { file, position: 0 });
    Ok(take::<Header>(&mut input, &mut Vec::new())?.meta)
}

/// Checks every record's checksum and their number, without building the state.
pub(super) fn verify(file: &File) -> io::Result<Header> {
    let mut input = BufReader::with_capacity(BUFFER_BYTES, FromStart { file, position: 0 });
    let mut buffer = Vec::new();
    let header: Header = take(&mut input, &mut buffer)?;
    for records in [header.keys, header.requests, header.locks, header.changes] {
        for _ in 0..records {
            take_record(&mut input, &mut buffer)?;
        }
    }
    nothing_follows(&mut input)?;
    Ok(header)
}

fn nothing_follows(input: &mut impl Read) -> io::Result<()> {
    match input.read(&mut [0])? {
        0 => Ok(()),
        _ => Err(codec::invalid("bytes follow the last record".to_owned())),
    }
}

/// Reads and verifies a whole snapshot.
pub(super) fn read(file: &File) -> io::Result<(SnapshotMeta, Contents)> {
    let mut input = BufReader::with_capacity(BUFFER_BYTES, FromStart { file, position: 0 });
    let mut buffer = Vec::new();
    let header: Header = take(&mut input, &mut buffer)?;
    let mut state = State::restore(header.revision, header.log_time_ms, header.wall_time_ms);
    for _ in 0..header.keys {
        let (key, record): (Key, Record) = take(&mut input, &mut buffer)?;
        state.restore_key(&key, Arc::new(record));
    }
    let mut requests = Requests::restore(header.forgotten);
    for _ in 0..header.requests {
        let settled: SettledRequest = take(&mut input, &mut buffer)?;
        requests.restore_entry(settled);
    }
    for _ in 0..header.locks {
        let (name, lock): (LockName, Lock) = take(&mut input, &mut buffer)?;
        state.restore_lock(&name, lock);
    }
    let mut tail = Vec::new();
    for _ in 0..header.changes {
        tail.push(take(&mut input, &mut buffer)?);
    }
    nothing_follows(&mut input)?;
    let hash = state.hash().wrapping_add(requests.hash());
    if (state.len() as u64, hash) != (header.keys, header.hash) {
        return Err(codec::invalid(
            "the records do not match the header's hash".to_owned(),
        ));
    }
    let contents = Contents {
        state,
        requests,
        floor: header.floor,
        tail,
    };
    Ok((header.meta, contents))
}
