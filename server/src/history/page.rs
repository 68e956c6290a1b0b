//! The page: change sets packed into one piece of about 16 KiB, and the names of what the index holds.
//!
//! ```text
//! m                              format of all this, and whose changes they are
//! mf                             revision after which a store with a gap starts
//! ms                             revision up to which everything is durable, and where its pages end
//! p [first u64]                  a page by its first revision: where it is, and its header
//! e [length u16][key][rev u64]   where a key ended: was deleted, or its time was over
//! t [second u64] -> revision     newest revision up to the end of that second of the wall clock, of
//!                                the last one its first; the revisions rise with the seconds
//! ```
//!
//! All numbers are big-endian, so names sort as what they mean does. A page never changes. Its
//! header tells how many revisions and bytes were kept before it since the store began, so what is
//! kept now is the difference of two headers.

use std::io;

use super::index::Index;
use super::segments::{End, Place};
use super::store::Store;
use crate::encoding;
use crate::state::{Change, ChangeSet};

/// Format of everything that is stored here. Another one is set aside.
pub(super) const FORMAT: u8 = 2;
/// Size above which a page is stored. Reading one change reads and decodes its page.
pub(super) const BODY_BYTES: usize = 16 << 10;
/// Where a page is, its header, and its checksum.
const RECORD_BYTES: usize = 16 + 60 + 4;
/// Largest set of changes that is kept, bytes: one command may delete 10,000 keys of any size.
pub(super) const LONGEST_SET: usize = 256 << 20;
/// Longest body: a page of one such set, whose encoding is shorter than its size in memory.
const LONGEST_BODY: u32 = 1 << 30;

pub(super) const META: &[u8] = b"m";
pub(super) const META_FLOOR: &[u8] = b"mf";
const META_SYNCED: &[u8] = b"ms";

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

pub(super) fn page_name(first: u64) -> [u8; 9] {
    let mut name = [b'p'; 9];
    name[1..].copy_from_slice(&first.to_be_bytes());
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
/// It has no encoding, which is a bug; the body may end with a part of it.
pub(super) fn append(set: &ChangeSet, body: &mut Vec<u8>) -> io::Result<()> {
    encoding::append(set, body)
}

impl Header {
    /// Returns what was kept up to and with the page.
    pub(super) fn through(&self) -> Totals {
        Totals {
            revisions: self.before.revisions + u64::from(self.sets),
            bytes: self.before.bytes + self.bytes,
        }
    }
}

/// A page's record in the index.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stored {
    pub(super) first: u64,
    pub(super) header: Header,
    pub(super) place: Place,
    /// Of the first revision, the header and the body.
    crc: u32,
}

impl Stored {
    fn encode(&self) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        let (place, header) = (&self.place, &self.header);
        let numbers = [
            place.segment,
            place.offset,
            header.after,
            header.last,
            header.before.revisions,
            header.before.bytes,
            header.bytes,
            header.wall_ms,
        ];
        for (at, number) in numbers.into_iter().enumerate() {
            bytes[8 * at..8 * at + 8].copy_from_slice(&number.to_be_bytes());
        }
        let numbers = [header.sets, header.ends, header.body, self.crc];
        for (at, number) in numbers.into_iter().enumerate() {
            bytes[64 + 4 * at..68 + 4 * at].copy_from_slice(&number.to_be_bytes());
        }
        bytes
    }

    fn decode(name: &[u8], record: &[u8]) -> io::Result<Self> {
        let first = number(name, 1)?;
        if record.len() != RECORD_BYTES {
            return Err(damaged(format!("the record of page {first} is damaged")));
        }
        let long = |at: usize| number(record, 8 * at);
        let short = |at: usize| -> u32 {
            let at = 64 + 4 * at;
            u32::from_be_bytes([record[at], record[at + 1], record[at + 2], record[at + 3]])
        };
        let stored = Self {
            first,
            place: Place {
                segment: long(0)?,
                offset: long(1)?,
            },
            header: Header {
                after: long(2)?,
                last: long(3)?,
                before: Totals {
                    revisions: long(4)?,
                    bytes: long(5)?,
                },
                bytes: long(6)?,
                wall_ms: long(7)?,
                sets: short(0),
                ends: short(1),
                body: short(2),
            },
            crc: short(3),
        };
        match stored.header.body <= LONGEST_BODY {
            true => Ok(stored),
            false => Err(damaged(format!("the header of page {first} is damaged"))),
        }
    }

    fn checksum(&self, body: &[u8]) -> u32 {
        let mut crc = crc32fast::Hasher::new();
        crc.update(&self.first.to_be_bytes());
        // Not the place: it is right when what is there is right.
        crc.update(&self.encode()[16..RECORD_BYTES - 4]);
        crc.update(body);
        crc.finalize()
    }

    /// Reads the page itself; `None` when it was trimmed meanwhile.
    ///
    /// # Errors
    ///
    /// The disk fails, or the page is damaged.
    pub(super) fn read(&self, store: &Store) -> io::Result<Option<Page>> {
        let Self { first, header, .. } = *self;
        let Some(body) = store.segments.read(self.place, header.body as usize)? else {
            return Ok(None);
        };
        if self.checksum(&body) != self.crc {
            return Err(damaged(format!("page {first} is damaged")));
        }
        let mut sets = Vec::with_capacity(header.sets as usize);
        let mut rest = &body[..];
        while !rest.is_empty() {
            let (set, left) = postcard::take_from_bytes::<ChangeSet>(rest)
                .map_err(|error| damaged(format!("page {first}: {error}")))?;
            sets.push(set);
            rest = left;
        }
        match sets.len() == header.sets as usize && !sets.is_empty() {
            true => Ok(Some(Page {
                first,
                header,
                sets,
            })),
            false => Err(damaged(format!("page {first} lacks change sets"))),
        }
    }
}

/// Stores a page, first itself, then what points at it.
///
/// # Errors
///
/// The store fails.
pub(super) fn write(store: &Store, first: u64, header: Header, body: &[u8]) -> io::Result<Stored> {
    let mut stored = Stored {
        first,
        header,
        place: store.segments.append(body)?,
        crc: 0,
    };
    stored.crc = stored.checksum(body);
    store.index.insert(&page_name(first), &stored.encode())?;
    Ok(stored)
}

/// Returns the newest page that begins at a revision or before it.
///
/// # Errors
///
/// The store fails, or the page's record is damaged.
pub(super) fn at_or_below(index: &Index, revision: u64) -> io::Result<Option<Stored>> {
    let last = index.last(&page_name(0), &page_name(revision))?;
    last.map(|(name, record)| Stored::decode(&name, &record))
        .transpose()
}

/// Returns the first page after the one that begins with revision `first`.
///
/// # Errors
///
/// The store fails, or the page's record is damaged.
pub(super) fn next(index: &Index, first: u64) -> io::Result<Option<Stored>> {
    let Some(from) = first.checked_add(1) else {
        return Ok(None);
    };
    let next = index.first(&page_name(from), &page_name(u64::MAX))?;
    next.map(|(name, record)| Stored::decode(&name, &record))
        .transpose()
}

/// Notes that everything up to a revision is durable, and where its pages end.
///
/// # Errors
///
/// The store fails.
pub(super) fn note_synced(index: &Index, revision: u64, end: End) -> io::Result<()> {
    let numbers = [revision, end.segment, end.offset].map(u64::to_be_bytes);
    index.insert(META_SYNCED, &numbers.concat())
}

/// Returns what [`note_synced`] noted last; zeros before that.
///
/// # Errors
///
/// The store fails, or the record is damaged.
pub(super) fn synced(index: &Index) -> io::Result<(u64, End)> {
    let Some(noted) = index.get(META_SYNCED)? else {
        return Ok((0, End::default()));
    };
    let (segment, offset) = (number(&noted, 8)?, number(&noted, 16)?);
    Ok((number(&noted, 0)?, End { segment, offset }))
}
