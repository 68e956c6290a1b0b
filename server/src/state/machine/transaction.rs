//! Transactions: which of the two lists is done, and doing it whole.

use super::{Step, holds};
use crate::state::{Outcome, Rejection, State, Transaction, TxnCondition, TxnOp, TxnResult};

impl State {
    pub(super) fn transact(&mut self, step: &mut Step<'_>, transaction: &Transaction) -> Outcome {
        let failed = transaction
            .conditions
            .iter()
            .position(|condition| !self.condition_holds(condition));
        let ops = match (failed, &transaction.or_else) {
            (None, _) => &transaction.then,
            (Some(_), Some(ops)) => ops,
            (Some(at), None) => {
                return Outcome::Rejected(Rejection::ConditionFailed { at: at as u64 });
            }
        };
        // Whole or not at all: what can be refused is refused before anything is done.
        if let Some(rejection) = self.too_many(prefixes(ops)) {
            return Outcome::Rejected(rejection);
        }
        let before = step.changes.len();
        let results = ops.iter().map(|op| self.operate(step, op)).collect();
        let is_changed = step.changes.len() > before;
        Outcome::Transaction {
            succeeded: failed.is_none(),
            revision: if is_changed {
                step.index
            } else {
                self.revision
            },
            results,
        }
    }

    fn condition_holds(&self, condition: &TxnCondition) -> bool {
        match condition {
            TxnCondition::Key { key, condition } => {
                holds(condition, self.get(key).map(AsRef::as_ref))
            }
            TxnCondition::Lock { lock, token } => self
                .locks
                .get(lock)
                .is_some_and(|lock| lock.token == *token),
        }
    }

    fn operate(&mut self, step: &mut Step<'_>, op: &TxnOp) -> TxnResult {
        match op {
            TxnOp::Get { key } => TxnResult::Got(self.get(key).cloned()),
            TxnOp::Put {
                put,
                return_previous,
            } => {
                let (record, previous) = self.put(step, put);
                TxnResult::Put {
                    stamps: record.stamps(),
                    previous: previous.filter(|_| *return_previous),
                }
            }
            TxnOp::Delete {
                key,
                return_previous,
            } => {
                let old = self.delete(step, key);
                TxnResult::Deleted {
                    keys: u64::from(old.is_some()),
                    previous: old.filter(|_| *return_previous),
                }
            }
            TxnOp::DeletePrefix { prefix } => TxnResult::Deleted {
                keys: self.delete_prefix(step, prefix),
                previous: None,
            },
        }
    }
}

fn prefixes(ops: &[TxnOp]) -> impl Iterator<Item = &str> {
    ops.iter().filter_map(|op| match op {
        TxnOp::DeletePrefix { prefix } => Some(prefix.as_str()),
        TxnOp::Get { .. } | TxnOp::Put { .. } | TxnOp::Delete { .. } => None,
    })
}
