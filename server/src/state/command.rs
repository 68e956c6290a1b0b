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

    /// Returns the id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
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
    pub content_type: ContentType,
}

impl Put {
    fn bytes(&self) -> usize {
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
    /// Writes several keys at one revision. A key named twice takes its last value.
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
    pub origin: Arc<str>,
    /// The client's own label, at most 64 bytes.
    pub client: Option<Arc<str>>,
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
}
