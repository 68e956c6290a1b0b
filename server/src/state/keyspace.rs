//! The keys and their records, with what is kept of each beside it: sizes, digest, deadlines.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Condition, ContentType, Key, Put, texts};

/// A key's value with the stamps of its writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub value: Bytes,
    #[serde(deserialize_with = "texts::decode")]
    pub content_type: ContentType,
    /// Revision of the write that created the key.
    pub create_revision: u64,
    /// Revision of the last write.
    pub mod_revision: u64,
    /// Writes since the key was created; the creation is 1.
    pub version: u64,
    /// Name of the node that took the last write from its client.
    #[serde(deserialize_with = "texts::decode")]
    pub origin: Arc<str>,
    /// Log time at which the key expires; `None`: never.
    pub deadline_ms: Option<u64>,
}

/// What identifies one version of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamps {
    /// Revision of the write that created the key.
    pub create_revision: u64,
    /// Revision of the last write.
    pub mod_revision: u64,
    /// Writes since the key was created; the creation is 1.
    pub version: u64,
}

impl Record {
    /// Returns what identifies this version.
    #[must_use]
    pub const fn stamps(&self) -> Stamps {
        Stamps {
            create_revision: self.create_revision,
            mod_revision: self.mod_revision,
            version: self.version,
        }
    }

    /// Returns the time until the key expires at a log time, milliseconds; `None`: never.
    #[must_use]
    pub fn ttl_ms(&self, now_ms: u64) -> Option<u64> {
        self.deadline_ms.map(|at| at.saturating_sub(now_ms))
    }
}

/// A record with its digest, so that the record need not be read again to forget it.
#[derive(Debug, Clone)]
struct Slot {
    record: Arc<Record>,
    digest: u64,
}

impl Slot {
    fn new(key: &Key, record: Arc<Record>) -> Self {
        let digest = hash(key, &record);
        Self { record, digest }
    }
}

/// All keys at one revision.
#[derive(Debug, Clone, Default)]
pub(super) struct KeySpace {
    keys: OrdMap<Key, Slot>,
    /// Keys that expire, by the log time at which they do.
    deadlines: OrdSet<(u64, Key)>,
    bytes: u64,
    hash: u64,
}

/// The stamps that a write gives to what it writes.
pub(super) struct Pen<'a> {
    pub(super) index: u64,
    pub(super) now_ms: u64,
    pub(super) origin: &'a Arc<str>,
}

impl KeySpace {
    /// Writes a key; answers the new record and the one before.
    pub(super) fn put(&mut self, pen: &Pen<'_>, put: &Put) -> (Arc<Record>, Option<Arc<Record>>) {
        // One way down the tree for a key that exists, which is what most writes find.
        let Some(slot) = self.keys.get_mut(&put.key) else {
            let record = Arc::new(next_record(pen, put, None));
            self.insert(&put.key, record.clone());
            return (record, None);
        };
        let record = Arc::new(next_record(pen, put, Some(&slot.record)));
        let new = Slot::new(&put.key, record.clone());
        let previous = std::mem::replace(slot, new.clone());
        // In this order: both may have the same deadline, which would be forgotten else.
        self.forget(&put.key, &previous);
        self.count(&put.key, &new);
        (record, Some(previous.record))
    }

    pub(super) fn insert(&mut self, key: &Key, record: Arc<Record>) {
        let slot = Slot::new(key, record);
        self.count(key, &slot);
        self.keys.insert(key.clone(), slot);
    }

    pub(super) fn remove(&mut self, key: &Key) -> Option<Arc<Record>> {
        let old = self.keys.remove(key)?;
        self.forget(key, &old);
        Some(old.record)
    }

    /// Returns the first key whose time is over at a log time.
    pub(super) fn due(&self, now_ms: u64) -> Option<Key> {
        let (at, key) = self.deadlines.get_min()?;
        (*at <= now_ms).then(|| key.clone())
    }

    fn count(&mut self, key: &Key, slot: &Slot) {
        self.bytes += size(key, &slot.record);
        self.hash = self.hash.wrapping_add(slot.digest);
        if let Some(at) = slot.record.deadline_ms {
            self.deadlines.insert((at, key.clone()));
        }
    }

    fn forget(&mut self, key: &Key, slot: &Slot) {
        self.bytes -= size(key, &slot.record);
        self.hash = self.hash.wrapping_sub(slot.digest);
        if let Some(at) = slot.record.deadline_ms {
            self.deadlines.remove(&(at, key.clone()));
        }
    }

    pub(super) fn next_deadline_ms(&self) -> Option<u64> {
        self.deadlines.get_min().map(|(at, _)| *at)
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) const fn hash(&self) -> u64 {
        self.hash
    }

    pub(super) fn get(&self, key: &str) -> Option<&Arc<Record>> {
        self.keys.get(key).map(|slot| &slot.record)
    }

    pub(super) fn from<'a>(
        &'a self,
        start: &'a str,
    ) -> impl Iterator<Item = (&'a Key, &'a Arc<Record>)> {
        self.keys
            .range::<_, str>((Bound::Included(start), Bound::Unbounded))
            .map(|(key, slot)| (key, &slot.record))
    }
}

/// Returns whether a condition holds for a record, or for none.
pub(super) fn holds(condition: &Condition, current: Option<&Record>) -> bool {
    condition
        .exists
        .is_none_or(|wanted| wanted == current.is_some())
        && condition
            .mod_revision
            .is_none_or(|wanted| current.is_some_and(|record| record.mod_revision == wanted))
        && condition
            .value
            .as_ref()
            .is_none_or(|wanted| current.is_some_and(|record| record.value == *wanted))
}

fn next_record(pen: &Pen<'_>, put: &Put, current: Option<&Arc<Record>>) -> Record {
    Record {
        value: put.value.clone(),
        content_type: put.content_type.clone(),
        create_revision: current.map_or(pen.index, |old| old.create_revision),
        mod_revision: pen.index,
        version: current.map_or(1, |old| old.version + 1),
        origin: pen.origin.clone(),
        deadline_ms: put.ttl_ms.map(|ttl| pen.now_ms.saturating_add(ttl)),
    }
}

fn size(key: &Key, record: &Record) -> u64 {
    (key.len() + record.value.len()) as u64
}

/// Each part is hashed with the digest of the parts before it as its seed.
fn hash(key: &Key, record: &Record) -> u64 {
    let mut stamps = [0; 4 * 8];
    let numbers = [
        record.create_revision,
        record.mod_revision,
        record.version,
        record.deadline_ms.map_or(0, |at| at + 1),
    ];
    for (place, number) in stamps.chunks_exact_mut(8).zip(numbers) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    let parts = [
        key.as_bytes(),
        record.content_type.as_bytes(),
        record.origin.as_bytes(),
        &stamps,
        &record.value,
    ];
    parts
        .into_iter()
        .fold(0, |seed, part| xxh3_64_with_seed(part, seed))
}
