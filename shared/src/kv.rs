//! Bodies of key reads and writes.

use serde::{Deserialize, Serialize};

/// One key with its value and metadata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    pub key: String,
    /// The value, when it is UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The value in standard base64 (RFC 4648 §4), when it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_base64: Option<String>,
    pub content_type: String,
    /// Revision of the write that created the key.
    pub create_revision: u64,
    /// Revision of the last write.
    pub mod_revision: u64,
    /// Number of writes since the key was created, the creation counting as 1.
    pub version: u64,
    /// Time until the key expires, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// Name of the node that took the last write from its client.
    pub origin: String,
}

/// Answer to a write of one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteResult {
    pub key: String,
    /// Revision of this write: the Raft log index of its entry.
    pub revision: u64,
    pub create_revision: u64,
    pub version: u64,
    pub created: bool,
    /// The record before, when `?prev=true` asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Envelope>,
}

/// `GET /api/keys/{key}?history=true`: changes of a key, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyHistory {
    pub key: String,
    /// State revision that it was read at.
    pub revision: u64,
    pub versions: Vec<KeyVersion>,
    /// There are older ones: ask again with the last one's revision as `before`.
    pub more: bool,
    /// Nothing older has been dropped: the key's whole past is kept.
    pub complete: bool,
}

/// One change of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyVersion {
    pub revision: u64,
    /// The leader's wall clock, milliseconds since 1970.
    pub wall_time_ms: u64,
    /// `put`, `delete` or `expire`.
    pub change: String,
    /// Name of the node that took the write from its client.
    pub origin: String,
    /// The client's own label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The record after the change; null when the key was gone.
    pub record: Option<Envelope>,
}
