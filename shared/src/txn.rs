//! `POST /api/txn`: its request and its answer.

use serde::{Deserialize, Serialize};

use crate::kv::Envelope;

/// Does `then` when all conditions hold, else `else`; atomically, at one revision.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transaction {
    /// At most 128.
    #[serde(rename = "if", default)]
    pub conditions: Vec<Condition>,
    /// Together with `else` at most 128.
    #[serde(default)]
    pub then: Vec<Operation>,
    /// Without it, a failed condition is an error and changes nothing.
    #[serde(rename = "else", default, skip_serializing_if = "Option::is_none")]
    pub or_else: Option<Vec<Operation>>,
}

/// What must hold, of one key or of one lock; all that is named must.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The key exists, or does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exists: Option<bool>,
    /// Revision of the key's last write; 0: it does not exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// The key has this value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The same, for bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_base64: Option<String>,
    /// The lock is held under `token`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<u64>,
}

/// One operation. Each sees what those before it did; a key that is put is named by no other
/// operation that changes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum Operation {
    Get {
        key: String,
    },
    /// Takes `value` or `value_base64`.
    Put {
        key: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value_base64: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        content_type: Option<String>,
        /// How long the key lives; 1 second to 365 days.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ttl_ms: Option<u64>,
        /// Answers with the record before.
        #[serde(default)]
        prev: bool,
    },
    /// An absent key is no failure.
    Delete {
        key: String,
        #[serde(default)]
        prev: bool,
    },
    /// Deletes every key that starts with `prefix`, at most 10,000.
    DeletePrefix {
        prefix: String,
    },
}

/// What the transaction came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionResult {
    /// All conditions held, so `then` was done.
    pub succeeded: bool,
    /// Revision of the change; where nothing changed, that of the state.
    pub revision: u64,
    /// One for each operation of the list that was done. Empty in the answer to a repeated request.
    pub results: Vec<OperationResult>,
    /// Nothing was done: this is what would have been.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
}

/// What one operation came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum OperationResult {
    Get {
        key: String,
        /// Null when the key does not exist.
        record: Option<Envelope>,
    },
    Put {
        key: String,
        revision: u64,
        create_revision: u64,
        version: u64,
        created: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        previous: Option<Envelope>,
    },
    Delete {
        key: String,
        deleted: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        previous: Option<Envelope>,
    },
    DeletePrefix {
        prefix: String,
        count: u64,
    },
}
