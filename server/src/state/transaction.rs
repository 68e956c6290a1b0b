//! Transactions: conditions, and two lists of operations of which one is done whole.

use std::sync::Arc;

use conclave_shared::limits;
use serde::{Deserialize, Serialize};

use super::{Condition, Key, LockName, Put, Record, Stamps};

/// Does `then` when all conditions hold, else `or_else`; atomically, at one revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    pub conditions: Vec<TxnCondition>,
    pub then: Vec<TxnOp>,
    /// `None`: a failed condition refuses the transaction.
    pub or_else: Option<Vec<TxnOp>>,
}

/// What must hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TxnCondition {
    Key {
        key: Key,
        condition: Condition,
    },
    /// The lock is held under this token.
    Lock {
        lock: LockName,
        token: u64,
    },
}

/// One operation; each sees what those before it did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TxnOp {
    Get {
        key: Key,
    },
    Put {
        put: Put,
        return_previous: bool,
    },
    /// An absent key is no failure: nothing is deleted then.
    Delete {
        key: Key,
        return_previous: bool,
    },
    DeletePrefix {
        prefix: String,
    },
}

/// What one operation came to, in the order of the operations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TxnResult {
    Got(Option<Arc<Record>>),
    Put {
        stamps: Stamps,
        previous: Option<Arc<Record>>,
    },
    Deleted {
        keys: u64,
        previous: Option<Arc<Record>>,
    },
}

impl Transaction {
    /// Returns the most operations it may come to.
    #[must_use]
    pub fn work(&self) -> usize {
        let of = |ops: &[TxnOp]| {
            let each = ops.iter().map(|op| match op {
                TxnOp::DeletePrefix { .. } => limits::RECURSIVE_DELETE_KEYS,
                TxnOp::Get { .. } | TxnOp::Put { .. } | TxnOp::Delete { .. } => 1,
            });
            each.sum::<usize>()
        };
        let or_else = self.or_else.as_deref().map_or(0, of);
        self.conditions.len() + of(&self.then).max(or_else)
    }

    /// Returns the bytes of the keys and values in it.
    pub(super) fn bytes(&self) -> usize {
        let conditions = self.conditions.iter().map(|condition| match condition {
            TxnCondition::Key { key, condition } => {
                key.len() + condition.value.as_ref().map_or(0, bytes::Bytes::len)
            }
            TxnCondition::Lock { lock, .. } => lock.len(),
        });
        let ops = self.then.iter().chain(self.or_else.iter().flatten());
        let ops = ops.map(|op| match op {
            TxnOp::Get { key } | TxnOp::Delete { key, .. } => key.len(),
            TxnOp::Put { put, .. } => put.bytes(),
            TxnOp::DeletePrefix { prefix } => prefix.len(),
        });
        conditions.chain(ops).sum()
    }
}
