//! The log format: what a client's write becomes before it is replicated.
//!
//! The encoding is positional. Enum variants are only ever appended; any other change takes a new
//! format version in `storage::codec`, whose golden bytes fail first.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;
use conclave_shared::limits;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::{Transaction, texts};

/// A key: UTF-8, 1 to 1,024 bytes, no leading `/`.
///
/// Up to 23 bytes stand in the key itself: the map compares and copies keys all the time.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key(SmolStr);

/// Why a text is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    #[error("key is empty; a key has 1 to {} bytes", limits::KEY_BYTES)]
    Empty,
    #[error("key of {0} bytes is above the limit of {limit} bytes", limit = limits::KEY_BYTES)]
    TooLong(usize),
    #[error("key `{0}` starts with `/`")]
    LeadingSlash(String),
}

impl TryFrom<&str> for Key {
    type Error = InvalidKey;

    fn try_from(text: &str) -> Result<Self, InvalidKey> {
        match text.len() {
            0 => Err(InvalidKey::Empty),
            n if n > limits::KEY_BYTES => Err(InvalidKey::TooLong(n)),
            _ if text.starts_with('/') => Err(InvalidKey::LeadingSlash(text.to_owned())),
            _ => Ok(Self(text.into())),
        }
    }
}

impl Deref for Key {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id under which one write is known, whoever re-sends it: 1 to 64 visible ASCII characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId(SmolStr);

impl RequestId {
    /// Returns `None` unless `text` has 1 to 64 visible ASCII characters.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let fits = (1..=limits::REQUEST_ID_BYTES).contains(&text.len());
        (fits && text.bytes().all(|b| b.is_ascii_graphic())).then(|| Self(text.into()))
    }

    /// Returns the id that has two numbers in it, in base 36. Up to a second number of 36^9 it needs
    /// no memory of its own.
    #[must_use]
    pub fn of(first: u64, second: u64) -> Self {
        let mut text = [0; 2 * DIGITS + 1];
        let mut start = text.len();
        let mut push = |byte| {
            start -= 1;
            text[start] = byte;
        };
        push_digits(second, 1, &mut push);
        push(b'-');
        push_digits(first, DIGITS, &mut push);
        let text = text[start..].iter().map(|byte| char::from(*byte));
        Self(text.collect())
    }

    /// Returns the id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Most digits of a number in base 36.
const DIGITS: usize = 13;

/// Pushes the digits of a number in base 36, the last one first.
fn push_digits(number: u64, least: usize, push: &mut impl FnMut(u8)) {
    let (mut rest, mut pushed) = (number, 0);
    while rest > 0 || pushed < least {
        push(b"0123456789abcdefghijklmnopqrstuvwxyz"[(rest % 36) as usize]);
        rest /= 36;
        pushed += 1;
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a lock: UTF-8, 1 to 256 bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LockName(SmolStr);

/// Why a text is no lock name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLockName {
    #[error("lock name is empty; it has 1 to {} bytes", limits::LOCK_NAME_BYTES)]
    Empty,
    #[error("lock name of {0} bytes is above the limit of {limit} bytes", limit = limits::LOCK_NAME_BYTES)]
    TooLong(usize),
}

impl TryFrom<&str> for LockName {
    type Error = InvalidLockName;

    fn try_from(text: &str) -> Result<Self, InvalidLockName> {
        match text.len() {
            0 => Err(InvalidLockName::Empty),
            n if n > limits::LOCK_NAME_BYTES => Err(InvalidLockName::TooLong(n)),
            _ => Ok(Self(text.into())),
        }
    }
}

impl Deref for LockName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for LockName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for LockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for LockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id of one claim on one lock: the log index of the entry that made the claim, so it is never
/// given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionId(pub u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A write is applied only while `lock` is held under `token` (`Conclave-Lock`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guard {
    pub lock: LockName,
    pub token: u64,
}

/// The content type a value was written with, at most 255 bytes, as the client sent it.
pub type ContentType = Arc<str>;

/// What must hold for a write of one key to be applied; an empty condition always holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Condition {
    /// The key exists (true) or does not (false).
    pub exists: Option<bool>,
    /// The key's last write has this revision.
    pub mod_revision: Option<u64>,
    /// The key has exactly this value.
    pub value: Option<Bytes>,
}

impl Condition {
    /// Returns true when nothing is asked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// One value to be written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Put {
    pub key: Key,
    pub value: Bytes,
    #[serde(deserialize_with = "texts::decode")]
    pub content_type: ContentType,
    /// The key expires this long after the write, in log time, unless it is written again.
    pub ttl_ms: Option<u64>,
}

impl Put {
    pub(super) fn bytes(&self) -> usize {
        self.key.len() + self.value.len()
    }
}

/// What a command does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Writes one key if `condition` holds; a rejected condition answers with the current record.
    Put {
        put: Put,
        condition: Condition,
        return_previous: bool,
    },
    /// Writes several keys at one revision. Of a key named twice only the last value is written.
    PutMany { puts: Vec<Put> },
    /// Removes one key if `condition` holds.
    Delete {
        key: Key,
        condition: Condition,
        return_previous: bool,
    },
    /// Removes every key that starts with `prefix`, or none if they are more than the limit.
    DeletePrefix { prefix: String },
    /// Makes a Raft id for a new data directory: the index of this entry, never given twice.
    AllocateNode { name: Arc<str> },
    /// Settles a request id: answers its outcome, or withdraws it so that it can never be applied.
    SettleRequest { id: RequestId },
    /// Does one of two lists of operations, whole, as its conditions say.
    Transaction(Transaction),
    /// Claims a lock, or asks again for the claim of `session`.
    AcquireLock {
        lock: LockName,
        owner: Arc<str>,
        ttl_ms: u64,
        session: Option<SessionId>,
        /// Takes a place in the queue when the lock is held.
        queue: bool,
    },
    /// Starts the TTL of a claim again.
    RenewLock { lock: LockName, session: SessionId },
    /// As [`Self::RenewLock`] for claims that a node keeps alive for open connections.
    KeepClaims { claims: Vec<(LockName, SessionId)> },
    /// Gives a lock back, leaves its queue, or breaks it.
    ReleaseLock { lock: LockName, by: Release },
    /// Lets log time pass, and ends what is due: the leader's own command.
    Tick,
}

/// Whose claim a release ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Release {
    /// The claim with this session, this token, or both; the holder's or a waiter's.
    Claim {
        session: Option<SessionId>,
        token: Option<u64>,
    },
    /// The holder's, whoever that is.
    Break,
}

impl Op {
    /// Returns the bytes of the keys and values in it, never more than its encoding has.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Put { put, .. } => put.bytes(),
            Self::PutMany { puts } => puts.iter().map(Put::bytes).sum(),
            Self::Delete { key, .. } => key.len(),
            Self::DeletePrefix { prefix } => prefix.len(),
            Self::AllocateNode { name } => name.len(),
            Self::SettleRequest { id } => id.as_str().len(),
            Self::Transaction(transaction) => transaction.bytes(),
            Self::AcquireLock { lock, owner, .. } => lock.len() + owner.len(),
            Self::RenewLock { lock, .. } | Self::ReleaseLock { lock, .. } => lock.len(),
            Self::KeepClaims { claims } => claims.iter().map(|(lock, _)| lock.len() + 1).sum(),
            Self::Tick => 0,
        }
    }
}

/// Payload of one log entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Time of the proposal on the cluster's own clock, milliseconds: the last applied log time
    /// when this leader was elected plus its monotonic time since. All deadlines use it.
    pub log_time_ms: u64,
    /// The leader's wall clock, milliseconds since 1970. For display and retention only.
    pub wall_time_ms: u64,
    pub request_id: RequestId,
    /// Log index that the origin had applied when it took the write from its client.
    pub taken_at: u64,
    /// Name of the node that took the write from its client.
    #[serde(deserialize_with = "texts::decode")]
    pub origin: Arc<str>,
    /// The client's own label, at most 64 bytes.
    pub client: Option<Arc<str>>,
    /// What must be held for the command to be applied.
    pub guard: Option<Guard>,
    pub op: Op,
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.op {
            Op::Put { put, .. } => write!(f, "put `{}`", put.key),
            Op::PutMany { puts } => write!(f, "put {} keys", puts.len()),
            Op::Delete { key, .. } => write!(f, "delete `{key}`"),
            Op::DeletePrefix { prefix } => write!(f, "delete prefix `{prefix}`"),
            Op::AllocateNode { name } => write!(f, "allocate an id for `{name}`"),
            Op::SettleRequest { id } => write!(f, "settle request `{id}`"),
            Op::Transaction(_) => f.write_str("transaction"),
            Op::AcquireLock { lock, .. } => write!(f, "acquire lock `{lock}`"),
            Op::RenewLock { lock, .. } => write!(f, "renew lock `{lock}`"),
            Op::KeepClaims { claims } => write!(f, "keep {} claims", claims.len()),
            Op::ReleaseLock { lock, .. } => write!(f, "release lock `{lock}`"),
            Op::Tick => f.write_str("tick"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_1_to_1024_bytes_and_no_leading_slash() {
        assert_eq!(Key::try_from(""), Err(InvalidKey::Empty));
        assert!(Key::try_from("k".repeat(1024).as_str()).is_ok());
        assert_eq!(
            Key::try_from("k".repeat(1025).as_str()),
            Err(InvalidKey::TooLong(1025))
        );
        assert_eq!(
            Key::try_from("/a"),
            Err(InvalidKey::LeadingSlash("/a".into()))
        );
        assert!(Key::try_from("a/b/../c").is_ok(), "a key is never a path");
    }

    #[test]
    fn request_ids_are_visible_ascii() {
        assert!(RequestId::new("6f1c-7").is_some());
        for bad in ["", "a b", "é", "\n", &"x".repeat(65)] {
            assert!(RequestId::new(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn ids_of_two_numbers_differ_where_the_numbers_do() {
        assert_eq!(RequestId::of(0, 0).as_str(), "0000000000000-0");
        assert_eq!(RequestId::of(36, 71).as_str(), "0000000000010-1z");
        let longest = RequestId::of(u64::MAX, u64::MAX);
        assert_eq!(longest.as_str(), "3w5e11264sgsf-3w5e11264sgsf");
        assert!(
            !RequestId::of(u64::MAX, 36_u64.pow(9) - 1)
                .0
                .is_heap_allocated()
        );
    }
}
