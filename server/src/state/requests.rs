//! What became of each request id: the table that makes a repeated write count once.
//!
//! Part of the replicated state: every replica keeps and forgets the same ids at the same log
//! index (Raft dissertation §6.3). The last [`KEPT`] ids are always there, and more of them up to
//! [`LONGEST_MS`] of log time while the table is below [`BYTES`].
//!
//! Forgetting is safe for writes that are under way (invariant 13): a command says at which applied
//! index its origin took it from the client. If the table has forgotten anything after that index,
//! it can no longer tell whether the same id was settled meanwhile, and refuses the command.

use std::collections::VecDeque;

use hashbrown::HashTable;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::{Command, Op, Outcome, Rejection, RequestId, SessionId, Stamps};
use crate::mutants::{self, Mutant};

/// Ids that are kept whatever their age.
const KEPT: usize = 100_000;
/// Log time for which more than that are kept, milliseconds.
const LONGEST_MS: u64 = 10 * 60 * 1_000;
/// Size of the table from which on no more than [`KEPT`] ids are kept.
const BYTES: u64 = 16 << 20;
/// Three numbers, and an outcome of one variant and at most four more, ten bytes each.
const HASHED_BYTES: usize = 3 * 8 + 5 * 10;
/// What one id takes beside its own text.
const ENTRY_BYTES: u64 = 96;

/// The first outcome of a request: status and revision, never a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Settled {
    Put(Stamps),
    PutMany {
        revision: u64,
        keys: u64,
    },
    Deleted {
        revision: u64,
    },
    DeletedPrefix {
        revision: u64,
        keys: u64,
    },
    NodeAllocated {
        id: u64,
    },
    KeyNotFound,
    PreconditionFailed,
    TooManyKeys {
        keys: u64,
    },
    /// The id was withdrawn before any request under it was applied: none ever will be.
    Withdrawn,
    Transaction {
        succeeded: bool,
        revision: u64,
    },
    ConditionFailed {
        at: u64,
    },
    LockGranted {
        session: SessionId,
        token: u64,
        ttl_ms: u64,
    },
    LockQueued {
        session: SessionId,
        position: u64,
    },
    LockHeld {
        position: u64,
    },
    LockQueueFull,
    LockReleased {
        revision: u64,
    },
    LockLost {
        token: Option<u64>,
    },
    TokenSuperseded {
        token: u64,
    },
    LockNotHeld,
}

impl Settled {
    /// Returns what is kept of an outcome; `None` for one that belongs to no id.
    fn of(outcome: &Outcome) -> Option<Self> {
        Some(match outcome {
            Outcome::Put { stamps, .. } => Self::Put(*stamps),
            Outcome::PutMany { revision, keys } => Self::PutMany {
                revision: *revision,
                keys: *keys,
            },
            Outcome::Deleted { revision, .. } => Self::Deleted {
                revision: *revision,
            },
            Outcome::DeletedPrefix { revision, keys } => Self::DeletedPrefix {
                revision: *revision,
                keys: *keys,
            },
            Outcome::NodeAllocated { id } => Self::NodeAllocated { id: *id },
            Outcome::Rejected(Rejection::KeyNotFound) => Self::KeyNotFound,
            Outcome::Rejected(Rejection::PreconditionFailed { .. }) => Self::PreconditionFailed,
            Outcome::Rejected(Rejection::TooManyKeys { keys }) => Self::TooManyKeys { keys: *keys },
            Outcome::Transaction {
                succeeded,
                revision,
                ..
            } => Self::Transaction {
                succeeded: *succeeded,
                revision: *revision,
            },
            Outcome::LockGranted {
                session,
                token,
                ttl_ms,
            } => Self::LockGranted {
                session: *session,
                token: *token,
                ttl_ms: *ttl_ms,
            },
            Outcome::LockQueued {
                session, position, ..
            } => Self::LockQueued {
                session: *session,
                position: *position,
            },
            Outcome::LockReleased { revision } => Self::LockReleased {
                revision: *revision,
            },
            Outcome::Rejected(Rejection::ConditionFailed { at }) => {
                Self::ConditionFailed { at: *at }
            }
            Outcome::Rejected(Rejection::LockHeld { position, .. }) => Self::LockHeld {
                position: *position,
            },
            Outcome::Rejected(Rejection::LockQueueFull) => Self::LockQueueFull,
            Outcome::Rejected(Rejection::LockLost { token }) => Self::LockLost { token: *token },
            Outcome::Rejected(Rejection::TokenSuperseded { token }) => {
                Self::TokenSuperseded { token: *token }
            }
            Outcome::Rejected(Rejection::LockNotHeld) => Self::LockNotHeld,
            Outcome::ClaimsKept { .. }
            | Outcome::Ticked { .. }
            | Outcome::Nothing
            | Outcome::Settlement(_)
            | Outcome::Replayed(_)
            | Outcome::Rejected(
                Rejection::KeyReused | Rejection::Withdrawn | Rejection::Forgotten { .. },
            ) => return None,
        })
    }

    /// Returns the outcome that a repeated request gets.
    fn replay(self) -> Outcome {
        let outcome = match self {
            Self::Put(stamps) => Outcome::Put {
                stamps,
                previous: None,
            },
            Self::PutMany { revision, keys } => Outcome::PutMany { revision, keys },
            Self::Deleted { revision } => Outcome::Deleted {
                revision,
                previous: None,
            },
            Self::DeletedPrefix { revision, keys } => Outcome::DeletedPrefix { revision, keys },
            Self::NodeAllocated { id } => Outcome::NodeAllocated { id },
            Self::KeyNotFound => Outcome::Rejected(Rejection::KeyNotFound),
            Self::PreconditionFailed => {
                Outcome::Rejected(Rejection::PreconditionFailed { current: None })
            }
            Self::TooManyKeys { keys } => Outcome::Rejected(Rejection::TooManyKeys { keys }),
            Self::Withdrawn => return Outcome::Rejected(Rejection::Withdrawn),
            Self::Transaction {
                succeeded,
                revision,
            } => Outcome::Transaction {
                succeeded,
                revision,
                results: Vec::new(),
            },
            Self::ConditionFailed { at } => Outcome::Rejected(Rejection::ConditionFailed { at }),
            Self::LockGranted {
                session,
                token,
                ttl_ms,
            } => Outcome::LockGranted {
                session,
                token,
                ttl_ms,
            },
            Self::LockQueued { session, position } => Outcome::LockQueued {
                session,
                position,
                holder: None,
            },
            Self::LockHeld { position } => Outcome::Rejected(Rejection::LockHeld {
                holder: None,
                position,
            }),
            Self::LockQueueFull => Outcome::Rejected(Rejection::LockQueueFull),
            Self::LockReleased { revision } => Outcome::LockReleased { revision },
            Self::LockLost { token } => Outcome::Rejected(Rejection::LockLost { token }),
            Self::TokenSuperseded { token } => {
                Outcome::Rejected(Rejection::TokenSuperseded { token })
            }
            Self::LockNotHeld => Outcome::Rejected(Rejection::LockNotHeld),
        };
        Outcome::Replayed(Box::new(outcome))
    }
}

/// One id with its first outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettledRequest {
    pub id: RequestId,
    /// Log index of the entry that settled it.
    pub index: u64,
    log_time_ms: u64,
    /// Digest of what was asked, to tell a repetition from another request under the same id.
    fingerprint: u64,
    pub settled: Settled,
}

/// The table, oldest id first.
#[derive(Debug, Clone, Default)]
pub struct Requests {
    entries: VecDeque<SettledRequest>,
    /// Numbers of the entries by the hash of their id; the front entry has number `first`.
    index: HashTable<u32>,
    first: u32,
    bytes: u64,
    hash: u64,
    /// Log index of the newest entry that was forgotten.
    forgotten: u64,
}

impl Requests {
    /// Decides about a command before it is applied: `Some` when it must not be.
    pub(super) fn refuse(&self, command: &Command) -> Option<Outcome> {
        if mutants::is(Mutant::DedupeOff) {
            return None;
        }
        match self.get(&command.request_id) {
            Some(known) if known.settled == Settled::Withdrawn => Some(known.settled.replay()),
            Some(known) if known.fingerprint == fingerprint(command) => {
                Some(known.settled.replay())
            }
            Some(_) => Some(Outcome::Rejected(Rejection::KeyReused)),
            None if command.taken_at < self.forgotten => {
                Some(Outcome::Rejected(Rejection::Forgotten {
                    wanted: self.forgotten,
                }))
            }
            None => None,
        }
    }

    /// Keeps the outcome of a command that was applied under an id of its own.
    pub(super) fn keep(&mut self, index: u64, log_time_ms: u64, command: &Command, new: &Outcome) {
        // What does the same however often it comes needs no memory.
        let is_repeatable = matches!(
            command.op,
            Op::RenewLock { .. } | Op::KeepClaims { .. } | Op::Tick
        );
        if is_repeatable {
            return;
        }
        if let Some(settled) = Settled::of(new) {
            self.push(SettledRequest {
                id: command.request_id.clone(),
                index,
                log_time_ms,
                fingerprint: fingerprint(command),
                settled,
            });
            self.forget(log_time_ms);
        }
    }

    /// Settles an id for good: answers its outcome, or withdraws it.
    pub(super) fn settle(&mut self, index: u64, log_time_ms: u64, id: &RequestId) -> Outcome {
        if let Some(known) = self.get(id) {
            return Outcome::Settlement(known.clone());
        }
        let mark = SettledRequest {
            id: id.clone(),
            index,
            log_time_ms,
            fingerprint: 0,
            settled: Settled::Withdrawn,
        };
        self.push(mark.clone());
        self.forget(log_time_ms);
        Outcome::Settlement(mark)
    }

    fn push(&mut self, entry: SettledRequest) {
        let number = self
            .first
            .wrapping_add(u32::try_from(self.entries.len()).unwrap_or(u32::MAX));
        let id_hashed = id_hash(&entry.id);
        self.bytes += size(&entry);
        self.hash = self.hash.wrapping_add(hash(&entry, id_hashed));
        let (entries, first) = (&self.entries, self.first);
        self.index.insert_unique(id_hashed, number, |number| {
            id_hash(&entries[offset(first, *number)].id)
        });
        self.entries.push_back(entry);
    }

    fn forget(&mut self, now_ms: u64) {
        while self.entries.len() > KEPT {
            let Some(oldest) = self.entries.front() else {
                return;
            };
            if self.bytes <= BYTES && now_ms.saturating_sub(oldest.log_time_ms) <= LONGEST_MS {
                return;
            }
            let id_hashed = id_hash(&oldest.id);
            self.bytes -= size(oldest);
            self.hash = self.hash.wrapping_sub(hash(oldest, id_hashed));
            self.forgotten = oldest.index;
            let first = self.first;
            if let Ok(found) = self.index.find_entry(id_hashed, |number| *number == first) {
                found.remove();
            }
            self.entries.pop_front();
            self.first = first.wrapping_add(1);
        }
    }
}

/// Reading.
impl Requests {
    /// Returns what became of an id; `None` when nothing is known of it, or no longer.
    #[must_use]
    pub fn get(&self, id: &RequestId) -> Option<&SettledRequest> {
        let entry = |number: u32| &self.entries[offset(self.first, number)];
        let found = self
            .index
            .find(id_hash(id), |number| entry(*number).id == *id)?;
        Some(entry(*found))
    }

    /// Returns the ids from the oldest to the newest.
    pub fn iter(&self) -> impl Iterator<Item = &SettledRequest> {
        self.entries.iter()
    }

    /// Returns the number of ids.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns true when no id is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns a digest of all entries, kept incrementally as that of the keys.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// Returns the log index of the newest outcome that was forgotten; 0 when none was.
    #[must_use]
    pub const fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Returns the log index of the oldest outcome that is kept.
    #[must_use]
    pub fn oldest(&self) -> Option<u64> {
        self.entries.front().map(|entry| entry.index)
    }
}

/// Rebuilding from a snapshot.
impl Requests {
    /// Returns an empty table that has forgotten everything up to a log index.
    #[must_use]
    pub fn restore(forgotten: u64) -> Self {
        Self {
            forgotten,
            ..Self::default()
        }
    }

    /// Puts back one id of a snapshot; they come from the oldest to the newest.
    pub fn restore_entry(&mut self, entry: SettledRequest) {
        self.push(entry);
    }
}

fn offset(first: u32, number: u32) -> usize {
    number.wrapping_sub(first) as usize
}

fn id_hash(id: &RequestId) -> u64 {
    xxh3_64(id.as_str().as_bytes())
}

fn size(entry: &SettledRequest) -> u64 {
    ENTRY_BYTES + entry.id.as_str().len() as u64
}

/// Digest of what is asked, by its stored encoding, which never changes for a given operation.
fn fingerprint(command: &Command) -> u64 {
    // An operation always has an encoding: its entry had one.
    xxh3_64(&postcard::to_allocvec(&(&command.op, &command.guard)).unwrap_or_default())
}

fn hash(entry: &SettledRequest, id_hash: u64) -> u64 {
    let numbers = [entry.index, entry.log_time_ms, entry.fingerprint];
    let mut bytes = [0; HASHED_BYTES];
    for (place, number) in bytes.chunks_exact_mut(8).zip(numbers) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    // What is left of the buffer is enough for any outcome.
    let written = postcard::to_slice(&entry.settled, &mut bytes[3 * 8..]).map_or(0, |s| s.len());
    xxh3_64_with_seed(&bytes[..3 * 8 + written], id_hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Condition, Key, Put, State, apply};

    struct Machine {
        state: State,
        requests: Requests,
        index: u64,
    }

    impl Machine {
        fn new() -> Self {
            Self {
                state: State::default(),
                requests: Requests::default(),
                index: 0,
            }
        }

        fn apply(&mut self, id: &str, taken_at: u64, log_time_ms: u64, op: Op) -> Outcome {
            self.index += 1;
            let command = Command {
                log_time_ms,
                wall_time_ms: 0,
                request_id: RequestId::new(id).unwrap(),
                taken_at,
                origin: "node0".into(),
                client: None,
                guard: None,
                op,
            };
            apply(&mut self.state, &mut self.requests, self.index, &command).outcome
        }

        fn put(&mut self, id: &str, value: &str) -> Outcome {
            self.apply(id, self.index, 0, put(value, Condition::default()))
        }
    }

    fn put(value: &str, condition: Condition) -> Op {
        Op::Put {
            put: Put {
                key: Key::try_from("k").unwrap(),
                value: bytes::Bytes::copy_from_slice(value.as_bytes()),
                content_type: "text/plain".into(),
                ttl_ms: None,
            },
            condition,
            return_previous: false,
        }
    }

    fn withdraw(id: &str) -> Op {
        Op::SettleRequest {
            id: RequestId::new(id).unwrap(),
        }
    }

    #[test]
    fn a_repeated_id_gets_the_first_outcome_and_changes_nothing() {
        let mut machine = Machine::new();
        let first = machine.put("r", "1");
        machine.put("other", "2");
        let again = machine.put("r", "1");
        assert_eq!(again, Outcome::Replayed(Box::new(first)));
        assert_eq!(machine.state.get("k").unwrap().value, "2");
        assert_eq!(machine.state.revision(), 2);
    }

    #[test]
    fn a_refusal_is_an_outcome_that_is_repeated_too() {
        let mut machine = Machine::new();
        let absent = Condition {
            exists: Some(true),
            ..Condition::default()
        };
        machine.apply("r", 0, 0, put("1", absent.clone()));
        machine.put("other", "2");
        let again = machine.apply("r", 0, 0, put("1", absent));
        let refused = Outcome::Rejected(Rejection::PreconditionFailed { current: None });
        assert_eq!(again, Outcome::Replayed(Box::new(refused)));
    }

    #[test]
    fn another_request_under_a_used_id_is_refused() {
        let mut machine = Machine::new();
        machine.put("r", "1");
        let other = machine.put("r", "2");
        assert_eq!(other, Outcome::Rejected(Rejection::KeyReused));
        assert_eq!(machine.state.get("k").unwrap().value, "1");
    }

    #[test]
    fn a_withdrawn_id_can_never_be_applied() {
        let mut machine = Machine::new();
        let Outcome::Settlement(mark) = machine.apply("x", 0, 0, withdraw("r")) else {
            panic!("no settlement");
        };
        assert_eq!(mark.settled, Settled::Withdrawn);
        let late = machine.put("r", "1");
        assert_eq!(late, Outcome::Rejected(Rejection::Withdrawn));
        assert!(machine.state.is_empty());
        // Asked again, it is still what it was.
        let again = machine.apply("y", 0, 0, withdraw("r"));
        assert_eq!(again, Outcome::Settlement(mark));
    }

    #[test]
    fn an_applied_id_cannot_be_withdrawn() {
        let mut machine = Machine::new();
        machine.put("r", "1");
        let Outcome::Settlement(known) = machine.apply("x", 0, 0, withdraw("r")) else {
            panic!("no settlement");
        };
        assert!(matches!(known.settled, Settled::Put(stamps) if stamps.mod_revision == 1));
    }

    #[test]
    fn the_last_100_000_ids_stay_and_older_ones_go_by_age() {
        let mut machine = Machine::new();
        for number in 0..KEPT as u64 {
            machine.apply(
                &format!("r{number}"),
                u64::MAX,
                0,
                withdraw(&format!("w{number}")),
            );
        }
        assert_eq!(machine.requests.len(), KEPT);
        let young = machine.apply("y", u64::MAX, LONGEST_MS, withdraw("young"));
        assert!(matches!(young, Outcome::Settlement(_)));
        assert_eq!(
            machine.requests.len(),
            KEPT + 1,
            "young enough and small enough"
        );
        machine.apply("z", u64::MAX, LONGEST_MS + 1, withdraw("old"));
        assert_eq!(machine.requests.len(), KEPT);
        assert_eq!(machine.requests.forgotten(), 2);
        let id = |text: &str| RequestId::new(text).unwrap();
        assert!(machine.requests.get(&id("w1")).is_none());
        assert_eq!(machine.requests.get(&id("w2")).unwrap().index, 3);
        assert_eq!(
            machine.requests.get(&id("old")).unwrap().index,
            KEPT as u64 + 2
        );
    }

    #[test]
    fn more_than_100_000_ids_stay_only_while_the_table_is_small() {
        let mut requests = Requests::default();
        let id = |number: u64| RequestId::new(&format!("{number:064}")).unwrap();
        for number in 0..200_000 {
            requests.settle(number + 1, 0, &id(number));
        }
        let most = BYTES / (ENTRY_BYTES + 64);
        assert_eq!(requests.len() as u64, most);
        assert_eq!(requests.forgotten(), 200_000 - most);
        assert!(requests.get(&id(199_999)).is_some());
    }

    #[test]
    fn a_command_older_than_what_was_forgotten_is_refused() {
        let mut machine = Machine::new();
        for number in 0..=KEPT {
            machine.apply(
                "r",
                u64::MAX,
                number as u64 * LONGEST_MS,
                withdraw(&format!("w{number}")),
            );
        }
        let forgotten = machine.requests.forgotten();
        assert!(forgotten > 0);
        let op = || put("1", Condition::default());
        let late = machine.apply("late", forgotten - 1, 0, op());
        let refused = Rejection::Forgotten { wanted: forgotten };
        assert_eq!(late, Outcome::Rejected(refused));
        let in_time = machine.apply("late", forgotten, 0, op());
        assert!(
            matches!(in_time, Outcome::Put { .. }),
            "the refusal settled nothing"
        );
    }

    #[test]
    fn the_hash_depends_on_what_is_kept() {
        let (mut one, mut other) = (Machine::new(), Machine::new());
        for machine in [&mut one, &mut other] {
            machine.put("a", "1");
            machine.put("b", "2");
        }
        assert_eq!(one.requests.hash(), other.requests.hash());
        let mut restored = Requests::restore(one.requests.forgotten());
        for entry in one.requests.iter() {
            restored.restore_entry(entry.clone());
        }
        assert_eq!(restored.hash(), one.requests.hash());
        assert!(restored.get(&RequestId::new("b").unwrap()).is_some());
        other.put("c", "3");
        assert_ne!(one.requests.hash(), other.requests.hash());
    }
}
