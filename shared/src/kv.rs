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
