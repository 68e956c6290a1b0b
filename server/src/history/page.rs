//! The page: change sets packed into one piece of about 6 KiB, and the names of what is stored.
//!
//! ```text
//! m                              format of all this, and whose changes they are
//! mf                             revision after which a store with a gap starts
//! p [first u64][chunk u32]       a page by its first revision: a header and change sets; what does
//!                                not fit into one record goes on in further chunks
//! e [length u16][key][rev u64]   where a key ended: was deleted, or its time was over
//! t [second u64] -> revision     newest revision up to the end of that second of the wall clock, of
//!                                the last one its first; the revisions rise with the seconds
//! ```
//!
//! All numbers are big-endian, so names sort as what they mean does. A page never changes. Its
//! header tells how many revisions and bytes were kept before it since the store began, so what is
//! kept now is the difference of two headers.

use std::io;

use super::store::Store;
use crate::state::{Change, ChangeSet};

/// Format of everything that is stored here. Another one is set aside.
pub(super) const FORMAT: u8 = 1;
/// Longest record. sled rewrites a leaf of up to 17 of them at once, and puts one of more than
/// 128 KiB into a file of its own, which it never syncs. 6 KiB took about a tenth less processor
/// time per change than 4; 7 were within the noise of 6.
const RECORD_BYTES: usize = 6 << 10;
const HEADER_BYTES: usize = 65;
/// Longest body of a page of several sets.
pub(super) const BODY_BYTES: usize = RECORD_BYTES - HEADER_BYTES;
/// A number that no chunk has.
const AFTER_CHUNKS: u32 = u32::MAX;
/// Largest set of changes that is kept, bytes: one command may delete 10,000 keys of any size.
pub(super) const LONGEST_SET: usize = 256 << 20;
/// Longest body: a page of one such set, whose encoding is shorter than its size in memory.
const LONGEST_BODY: u32 = 1 << 30;

pub(super) const META: &[u8] = b"m";
pub(super) const META_FLOOR: &[u8] = b"mf";

/// Revisions and bytes that were ever kept in a store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) revisions: u64,
    pub(super) bytes: u64,
}

/// What a page says of itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Header {
    /// Revision after which the page has every change, up to `last`.
    pub(super) after: u64,
    pub(super) last: u64,
    pub(super) sets: u32,
    /// Keys that end in it.
    pub(super) ends: u32,
    /// Kept before it.
    pub(super) before: Totals,
    /// What it counts for, bytes.
    pub(super) bytes: u64,
    /// Newest wall clock time in it.
    pub(super) wall_ms: u64,
    /// Bytes of its change sets.
    pub(super) body: u32,
}

/// A page that was read.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) first: u64,
    pub(super) header: Header,
    /// In the order of their revisions; never empty.
    pub(super) sets: Vec<ChangeSet>,
}

pub(super) fn damaged(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

pub(super) fn page_name(first: u64, chunk: u32) -> [u8; 13] {
    let mut name = [b'p'; 13];
    name[1..9].copy_from_slice(&first.to_be_bytes());
    name[9..].copy_from_slice(&chunk.to_be_bytes());
    name
}

pub(super) fn end_name(key: &str, revision: u64) -> Vec<u8> {
    let mut name = Vec::with_capacity(11 + key.len());
    name.push(b'e');
    // A key has at most 1,024 bytes.
    name.extend((key.len() as u16).to_be_bytes());
    name.extend(key.as_bytes());
    name.extend(revision.to_be_bytes());
    name
}

pub(super) fn time_name(second: u64) -> [u8; 9] {
    let mut name = [b't'; 9];
    name[1..].copy_from_slice(&second.to_be_bytes());
    name
}

/// Returns the number that follows `skip` bytes.
///
/// # Errors
///
/// There are fewer than eight bytes.
pub(super) fn number(bytes: &[u8], skip: usize) -> io::Result<u64> {
    let found = bytes
        .get(skip..skip + 8)
        .and_then(|part| part.try_into().ok());
    found
        .map(u64::from_be_bytes)
        .ok_or_else(|| damaged("a number is cut off"))
}

/// Returns the first revision and the chunk that a page's name says.
pub(super) fn parse_page_name(name: &[u8]) -> io::Result<(u64, u32)> {
    let first = number(name, 1)?;
    let chunk = name.get(9..13).and_then(|part| part.try_into().ok());
    let chunk = chunk.ok_or_else(|| damaged("a page's name is cut off"))?;
    Ok((first, u32::from_be_bytes(chunk)))
}

/// Returns the keys that end in a change set.
pub(super) fn ends(set: &ChangeSet) -> impl Iterator<Item = &str> {
    set.changes.iter().filter_map(|change| match change {
        Change::Delete { key, .. } | Change::Expire { key, .. } => Some(&**key),
        Change::Put { .. } | Change::Lock(_) | Change::Members { .. } => None,
    })
}

/// Appends a change set to a body.
///
/// # Errors
///
/// It has no encoding, which is a bug; the body is lost then.
pub(super) fn append(set: &ChangeSet, body: &mut Vec<u8>) -> io::Result<()> {
    *body = postcard::to_extend(set, std::mem::take(body)).map_err(io::Error::other)?;
    Ok(())
}

impl Header {
    fn encode(&self, first: u64, body: &[u8]) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0] = FORMAT;
        let numbers = [
            self.after,
            self.last,
            self.before.revisions,
            self.before.bytes,
            self.bytes,
            self.wall_ms,
        ];
        for (at, number) in numbers.into_iter().enumerate() {
            bytes[5 + 8 * at..13 + 8 * at].copy_from_slice(&number.to_be_bytes());
        }
        for (at, number) in [self.sets, self.ends, self.body].iter().enumerate() {
            bytes[53 + 4 * at..57 + 4 * at].copy_from_slice(&number.to_be_bytes());
        }
        let crc = checksum(first, &bytes[5..], body);
        bytes[1..5].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> io::Result<Self> {
        if bytes.len() < HEADER_BYTES || bytes[0] != FORMAT {
            return Err(damaged("a page has no header"));
        }
        let long = |at: usize| number(bytes, 5 + 8 * at);
        let short = |at: usize| -> u32 {
            let at = 53 + 4 * at;
            u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let header = Self {
            after: long(0)?,
            last: long(1)?,
            before: Totals {
                revisions: long(2)?,
                bytes: long(3)?,
            },
            bytes: long(4)?,
            wall_ms: long(5)?,
            sets: short(0),
            ends: short(1),
            body: short(2),
        };
        match header.body <= LONGEST_BODY {
            true => Ok(header),
            false => Err(damaged("a page's header is damaged")),
        }
    }

    /// Returns what was kept up to and with the page.
    pub(super) fn through(&self) -> Totals {
        Totals {
            revisions: self.before.revisions + u64::from(self.sets),
            bytes: self.before.bytes + self.bytes,
        }
    }

    fn chunks(&self) -> u32 {
        (HEADER_BYTES + self.body as usize).div_ceil(RECORD_BYTES) as u32
    }
}

fn checksum(first: u64, header: &[u8], body: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&first.to_be_bytes());
    crc.update(header);
    crc.update(body);
    crc.finalize()
}

/// Stores a page. Its first record, which makes it one, comes last.
///
/// # Errors
///
/// The store fails.
pub(super) fn write(store: &Store, first: u64, header: &Header, body: &[u8]) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
    bytes.extend(header.encode(first, body));
    bytes.extend(body);
    let chunks = bytes.chunks(RECORD_BYTES).enumerate();
    for (chunk, record) in chunks.rev() {
        store.insert(&page_name(first, chunk as u32), record)?;
    }
    Ok(())
}

/// Removes a page. Its first record goes first: after a crash the rest of it is no page.
///
/// # Errors
///
/// The store fails.
pub(super) fn remove(store: &Store, first: u64, header: &Header) -> io::Result<()> {
    for chunk in 0..header.chunks() {
        store.remove(&page_name(first, chunk))?;
    }
    Ok(())
}

/// Reads the page that begins with revision `first`.
///
/// # Errors
///
/// The store fails, or there is no such page, or it is damaged.
pub(super) fn read(store: &Store, first: u64) -> io::Result<Page> {
    match store.get(&page_name(first, 0))? {
        Some(record) => complete(store, first, record),
        None => Err(damaged(format!("page {first} is missing"))),
    }
}

/// Reads the rest of a page whose first record is there.
fn complete(store: &Store, first: u64, mut bytes: Vec<u8>) -> io::Result<Page> {
    let header = Header::decode(&bytes)?;
    for chunk in 1..header.chunks() {
        let more = store.get(&page_name(first, chunk))?;
        bytes.extend(more.ok_or_else(|| damaged(format!("page {first} is incomplete")))?);
    }
    let body = &bytes[HEADER_BYTES..];
    let crc = checksum(first, &bytes[5..HEADER_BYTES], body);
    if body.len() != header.body as usize || bytes[1..5] != crc.to_be_bytes() {
        return Err(damaged(format!("page {first} is damaged")));
    }
    let mut sets = Vec::with_capacity(header.sets as usize);
    let mut rest = body;
    while !rest.is_empty() {
        let (set, left) = postcard::take_from_bytes::<ChangeSet>(rest)
            .map_err(|error| damaged(format!("page {first}: {error}")))?;
        sets.push(set);
        rest = left;
    }
    match sets.len() == header.sets as usize && !sets.is_empty() {
        true => Ok(Page {
            first,
            header,
            sets,
        }),
        false => Err(damaged(format!("page {first} lacks change sets"))),
    }
}

/// Reads the newest page that begins at a revision or before it.
///
/// # Errors
///
/// The store fails, or the page is damaged.
pub(super) fn at_or_below(store: &Store, revision: u64) -> io::Result<Option<Page>> {
    let last = store.last(&page_name(0, 0), &page_name(revision, AFTER_CHUNKS))?;
    let Some((name, record)) = last else {
        return Ok(None);
    };
    match parse_page_name(&name)? {
        (first, 0) => complete(store, first, record),
        (first, _) => read(store, first),
    }
    .map(Some)
}

/// Reads the first page after the one that begins with revision `first`.
///
/// # Errors
///
/// The store fails, or the page is damaged.
pub(super) fn next(store: &Store, first: u64) -> io::Result<Option<Page>> {
    match next_record(store, first)? {
        Some((first, record)) => complete(store, first, record).map(Some),
        None => Ok(None),
    }
}

/// Reads the header of the first page after the one that begins with revision `first`.
///
/// # Errors
///
/// The store fails, or the header is damaged.
pub(super) fn next_header(store: &Store, first: u64) -> io::Result<Option<(u64, Header)>> {
    match next_record(store, first)? {
        Some((first, record)) => Ok(Some((first, Header::decode(&record)?))),
        None => Ok(None),
    }
}

fn next_record(store: &Store, first: u64) -> io::Result<Option<(u64, Vec<u8>)>> {
    let from = page_name(first, AFTER_CHUNKS);
    let Some((name, record)) = store.first(&from, &page_name(u64::MAX, AFTER_CHUNKS))? else {
        return Ok(None);
    };
    match parse_page_name(&name)? {
        (first, 0) => Ok(Some((first, record))),
        (first, _) => Err(damaged(format!("page {first} has no beginning"))),
    }
}
