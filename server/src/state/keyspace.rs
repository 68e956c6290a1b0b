//! The key space and what each command does to it.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use conclave_shared::limits;
use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Command, Condition, ContentType, Key, Op, Outcome, Put, Rejection};

/// A key's value with the stamps of its writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub value: Bytes,
    pub content_type: ContentType,
    /// Revision of the write that created the key.
    pub create_revision: u64,
    /// Revision of the last write.
    pub mod_revision: u64,
    /// Writes since the key was created; the creation is 1.
    pub version: u64,
    /// Name of the node that took the last write from its client.
    pub origin: Arc<str>,
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

/// The key space at one revision.
#[derive(Debug, Clone, Default)]
pub struct State {
    revision: u64,
    log_time_ms: u64,
    wall_time_ms: u64,
    keys: OrdMap<Key, Slot>,
    bytes: u64,
    hash: u64,
}

impl State {
    /// Takes over the times of a command.
    pub(super) fn advance(&mut self, command: &Command) {
        self.log_time_ms = self.log_time_ms.max(command.log_time_ms);
        self.wall_time_ms = command.wall_time_ms;
    }

    /// Carries out a command that is applied for the first time.
    pub(super) fn execute(&mut self, index: u64, command: &Command) -> Outcome {
        match &command.op {
            Op::Put {
                put,
                condition,
                return_previous,
            } => self.put_if(index, put, condition, *return_previous, &command.origin),
            Op::PutMany { puts } => {
                for put in puts {
                    self.put(index, put, &command.origin);
                }
                Outcome::PutMany {
                    revision: index,
                    keys: puts.len() as u64,
                }
            }
            Op::Delete {
                key,
                condition,
                return_previous,
            } => self.delete_if(index, key, condition, *return_previous),
            Op::DeletePrefix { prefix } => self.delete_prefix(index, prefix),
            Op::AllocateNode { .. } => Outcome::NodeAllocated { id: index },
            // The request table has done it.
            Op::SettleRequest { .. } => Outcome::Nothing,
        }
    }

    /// Notes a change that is not in the key space: a new membership.
    pub fn apply_membership(&mut self, index: u64) {
        self.revision = index;
    }

    fn put_if(
        &mut self,
        index: u64,
        put: &Put,
        condition: &Condition,
        return_previous: bool,
        origin: &Arc<str>,
    ) -> Outcome {
        if !condition.is_empty() {
            let current = self.get(&put.key);
            if !holds(condition, current.map(AsRef::as_ref)) {
                return rejected(current);
            }
        }
        let (stamps, previous) = self.put(index, put, origin);
        Outcome::Put {
            stamps,
            previous: previous.filter(|_| return_previous),
        }
    }

    /// Writes a key; answers the new record's stamps and the record before.
    fn put(&mut self, index: u64, put: &Put, origin: &Arc<str>) -> (Stamps, Option<Arc<Record>>) {
        self.revision = index;
        // One way down the tree for a key that exists, which is what most writes find.
        let Some(slot) = self.keys.get_mut(&put.key) else {
            let record = next_record(index, put, None, origin);
            let stamps = record.stamps();
            self.insert(&put.key, Arc::new(record));
            return (stamps, None);
        };
        let record = next_record(index, put, Some(&slot.record), origin);
        let stamps = record.stamps();
        let new = Slot::new(&put.key, Arc::new(record));
        let previous = std::mem::replace(slot, new.clone());
        self.count(&put.key, &new);
        self.forget(&put.key, &previous);
        (stamps, Some(previous.record))
    }

    fn delete_if(
        &mut self,
        index: u64,
        key: &Key,
        condition: &Condition,
        return_previous: bool,
    ) -> Outcome {
        let current = self.get(key);
        if !holds(condition, current.map(AsRef::as_ref)) {
            return rejected(current);
        }
        match self.remove(key) {
            None => Outcome::Rejected(Rejection::KeyNotFound),
            Some(old) => {
                self.revision = index;
                Outcome::Deleted {
                    revision: index,
                    previous: return_previous.then_some(old),
                }
            }
        }
    }

    fn delete_prefix(&mut self, index: u64, prefix: &str) -> Outcome {
        let keys: Vec<Key> = self
            .with_prefix(prefix)
            .map(|(key, _)| key.clone())
            .take(limits::RECURSIVE_DELETE_KEYS + 1)
            .collect();
        if keys.len() > limits::RECURSIVE_DELETE_KEYS {
            let keys = self.with_prefix(prefix).count() as u64;
            return Outcome::Rejected(Rejection::TooManyKeys { keys });
        }
        for key in &keys {
            self.remove(key);
        }
        if !keys.is_empty() {
            self.revision = index;
        }
        Outcome::DeletedPrefix {
            revision: self.revision,
            keys: keys.len() as u64,
        }
    }

    fn insert(&mut self, key: &Key, record: Arc<Record>) {
        let slot = Slot::new(key, record);
        self.count(key, &slot);
        self.keys.insert(key.clone(), slot);
    }

    fn remove(&mut self, key: &Key) -> Option<Arc<Record>> {
        let old = self.keys.remove(key)?;
        self.forget(key, &old);
        Some(old.record)
    }

    fn count(&mut self, key: &Key, slot: &Slot) {
        self.bytes += size(key, &slot.record);
        self.hash = self.hash.wrapping_add(slot.digest);
    }

    fn forget(&mut self, key: &Key, slot: &Slot) {
        self.bytes -= size(key, &slot.record);
        self.hash = self.hash.wrapping_sub(slot.digest);
    }
}

/// Reading.
impl State {
    /// Returns the log index of the last change.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// Returns the newest log time applied, milliseconds.
    #[must_use]
    pub const fn log_time_ms(&self) -> u64 {
        self.log_time_ms
    }

    /// Returns the wall time of the last command, milliseconds since 1970.
    #[must_use]
    pub const fn wall_time_ms(&self) -> u64 {
        self.wall_time_ms
    }

    /// Returns the number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Returns true when there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Returns the bytes of all keys and values.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns a digest of all keys and records, kept incrementally: the wrapping sum of one
    /// XXH3 hash per key, so that it does not depend on the order of the writes.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// Returns a key's record.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Arc<Record>> {
        self.keys.get(key).map(|slot| &slot.record)
    }

    /// Returns the keys from `start` on, in byte order.
    pub fn from<'a>(&'a self, start: &'a str) -> impl Iterator<Item = (&'a Key, &'a Arc<Record>)> {
        self.keys
            .range::<_, str>((Bound::Included(start), Bound::Unbounded))
            .map(|(key, slot)| (key, &slot.record))
    }

    /// Returns the keys that start with `prefix`, in byte order.
    pub fn with_prefix<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a Key, &'a Arc<Record>)> {
        self.from(prefix)
            .take_while(move |(key, _)| key.starts_with(prefix))
    }
}

/// Rebuilding from a snapshot.
impl State {
    /// Returns an empty state that carries a snapshot's stamps.
    #[must_use]
    pub fn restore(revision: u64, log_time_ms: u64, wall_time_ms: u64) -> Self {
        Self {
            revision,
            log_time_ms,
            wall_time_ms,
            ..Self::default()
        }
    }

    /// Puts back one key of a snapshot.
    pub fn restore_key(&mut self, key: &Key, record: Arc<Record>) {
        self.insert(key, record);
    }
}

fn holds(condition: &Condition, current: Option<&Record>) -> bool {
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

fn rejected(current: Option<&Arc<Record>>) -> Outcome {
    Outcome::Rejected(Rejection::PreconditionFailed {
        current: current.cloned(),
    })
}

fn next_record(index: u64, put: &Put, current: Option<&Arc<Record>>, origin: &Arc<str>) -> Record {
    // A key named twice in one command is one write of it: one revision, one version.
    let again = current.is_some_and(|old| old.mod_revision == index);
    Record {
        value: put.value.clone(),
        content_type: put.content_type.clone(),
        create_revision: current.map_or(index, |old| old.create_revision),
        mod_revision: index,
        version: current.map_or(1, |old| old.version + u64::from(!again)),
        origin: origin.clone(),
    }
}

fn size(key: &Key, record: &Record) -> u64 {
    (key.len() + record.value.len()) as u64
}

/// Each part is hashed with the digest of the parts before it as its seed.
fn hash(key: &Key, record: &Record) -> u64 {
    let mut stamps = [0; 3 * 8];
    let numbers = [record.create_revision, record.mod_revision, record.version];
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::RequestId;

    fn key(text: &str) -> Key {
        Key::try_from(text).unwrap()
    }

    fn command(op: Op) -> Command {
        Command {
            log_time_ms: 5,
            wall_time_ms: 7,
            request_id: RequestId::new("r").unwrap(),
            taken_at: 0,
            origin: "node0".into(),
            client: None,
            op,
        }
    }

    impl State {
        fn run(&mut self, index: u64, command: &Command) -> Outcome {
            self.advance(command);
            self.execute(index, command)
        }
    }

    fn item(k: &str, value: &str) -> Put {
        Put {
            key: key(k),
            value: Bytes::copy_from_slice(value.as_bytes()),
            content_type: "text/plain".into(),
        }
    }

    fn put(state: &mut State, index: u64, k: &str, value: &str, condition: Condition) -> Outcome {
        let op = Op::Put {
            put: item(k, value),
            condition,
            return_previous: true,
        };
        state.run(index, &command(op))
    }

    fn delete(state: &mut State, index: u64, k: &str, condition: Condition) -> Outcome {
        let op = Op::Delete {
            key: key(k),
            condition,
            return_previous: true,
        };
        state.run(index, &command(op))
    }

    #[test]
    fn a_put_stamps_create_and_mod_revision_and_version() {
        let mut state = State::default();
        put(&mut state, 3, "a", "1", Condition::default());
        let outcome = put(&mut state, 9, "a", "2", Condition::default());
        let Outcome::Put { stamps, previous } = outcome else {
            panic!("not a put");
        };
        assert_eq!((stamps.create_revision, stamps.mod_revision), (3, 9));
        assert_eq!(stamps.version, 2);
        assert_eq!(previous.unwrap().value, "1");
        assert_eq!(state.revision(), 9);
    }

    #[test]
    fn a_recreated_key_starts_again_at_version_1() {
        let mut state = State::default();
        put(&mut state, 1, "a", "1", Condition::default());
        delete(&mut state, 2, "a", Condition::default());
        put(&mut state, 3, "a", "2", Condition::default());
        let record = state.get("a").unwrap();
        assert_eq!((record.create_revision, record.version), (3, 1));
    }

    #[test]
    fn a_failed_condition_changes_nothing_and_returns_the_current_record() {
        let mut state = State::default();
        put(&mut state, 1, "a", "1", Condition::default());
        let wrong = [
            Condition {
                exists: Some(false),
                ..Condition::default()
            },
            Condition {
                mod_revision: Some(7),
                ..Condition::default()
            },
            Condition {
                value: Some(Bytes::from_static(b"x")),
                ..Condition::default()
            },
        ];
        for condition in wrong {
            let outcome = put(&mut state, 2, "a", "2", condition.clone());
            let Outcome::Rejected(Rejection::PreconditionFailed { current }) = outcome else {
                panic!("{condition:?} did not fail");
            };
            assert_eq!(current.unwrap().mod_revision, 1);
        }
        assert_eq!(state.revision(), 1);
        assert_eq!(state.get("a").unwrap().value, "1");
    }

    #[test]
    fn conditions_on_an_absent_key_fail_unless_they_ask_for_absence() {
        let mut state = State::default();
        let by_revision = Condition {
            mod_revision: Some(1),
            ..Condition::default()
        };
        assert!(matches!(
            put(&mut state, 1, "a", "1", by_revision),
            Outcome::Rejected(_)
        ));
        let absent = Condition {
            exists: Some(false),
            ..Condition::default()
        };
        assert!(matches!(
            put(&mut state, 2, "a", "1", absent),
            Outcome::Put { .. }
        ));
    }

    #[test]
    fn several_puts_share_one_revision_and_the_last_value_wins() {
        let mut state = State::default();
        let puts = vec![item("a", "1"), item("b", "2"), item("a", "3")];
        let outcome = state.run(4, &command(Op::PutMany { puts }));
        assert_eq!(
            outcome,
            Outcome::PutMany {
                revision: 4,
                keys: 3
            }
        );
        assert_eq!(state.get("a").unwrap().value, "3");
        assert_eq!(state.get("a").unwrap().version, 1);
        assert_eq!(state.get("b").unwrap().mod_revision, 4);
    }

    #[test]
    fn deleting_an_absent_key_is_a_rejection() {
        let mut state = State::default();
        let outcome = delete(&mut state, 1, "a", Condition::default());
        assert_eq!(outcome, Outcome::Rejected(Rejection::KeyNotFound));
        assert_eq!(state.revision(), 0);
    }

    #[test]
    fn a_prefix_is_deleted_whole_or_not_at_all() {
        let mut state = State::default();
        for i in 0..=limits::RECURSIVE_DELETE_KEYS as u64 {
            put(
                &mut state,
                i + 1,
                &format!("many/{i}"),
                "",
                Condition::default(),
            );
        }
        put(&mut state, 20_000, "few/1", "", Condition::default());
        put(&mut state, 20_001, "fewer", "", Condition::default());
        let all = state.run(
            20_002,
            &command(Op::DeletePrefix {
                prefix: "many/".into(),
            }),
        );
        assert_eq!(
            all,
            Outcome::Rejected(Rejection::TooManyKeys { keys: 10_001 })
        );
        let few = state.run(
            20_003,
            &command(Op::DeletePrefix {
                prefix: "few/".into(),
            }),
        );
        assert_eq!(
            few,
            Outcome::DeletedPrefix {
                revision: 20_003,
                keys: 1
            }
        );
        assert!(state.get("fewer").is_some(), "a prefix ends where it says");
    }

    #[test]
    fn the_hash_depends_on_the_content_and_not_on_the_way_there() {
        let (mut one, mut two) = (State::default(), State::default());
        put(&mut one, 1, "a", "1", Condition::default());
        put(&mut one, 2, "b", "2", Condition::default());
        put(&mut one, 3, "c", "3", Condition::default());
        delete(&mut one, 4, "c", Condition::default());
        let mut other = State::restore(4, 5, 7);
        for (k, record) in one.from("") {
            other.restore_key(k, record.clone());
        }
        put(&mut two, 1, "a", "1", Condition::default());
        put(&mut two, 2, "b", "x", Condition::default());
        assert_eq!(one.hash(), other.hash());
        assert_eq!((one.bytes(), one.len()), (other.bytes(), other.len()));
        assert_ne!(one.hash(), two.hash());
        delete(&mut one, 5, "a", Condition::default());
        delete(&mut one, 6, "b", Condition::default());
        assert_eq!((one.hash(), one.bytes(), one.len()), (0, 0, 0));
    }

    #[test]
    fn log_time_never_goes_back() {
        let mut state = State::default();
        let mut late = command(Op::AllocateNode { name: "n".into() });
        late.log_time_ms = 100;
        assert_eq!(state.run(1, &late), Outcome::NodeAllocated { id: 1 });
        state.run(2, &command(Op::AllocateNode { name: "n".into() }));
        assert_eq!(state.log_time_ms(), 100);
    }
}
