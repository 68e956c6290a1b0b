//! Deleting all keys below a prefix: in one request where the node takes that, else in parts.

use conclave_shared::limits::{OPS_PER_REQUEST, RECURSIVE_DELETE_KEYS};

use super::KeyLine;
use crate::model::text::grouped;

/// Failures that are listed; more are only counted.
const LISTED: usize = 100;

/// How far a deletion is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    pub prefix: String,
    /// Keys that were counted before it began.
    pub keys: u64,
    pub deleted: u64,
    /// Keys that were not deleted, and why; the first of them.
    pub failures: Vec<(String, String)>,
    pub failed: u64,
    pub is_stopping: bool,
    pub is_over: bool,
}

impl Progress {
    /// A deletion of so many keys that begins now.
    #[must_use]
    pub fn of(prefix: &str, keys: u64) -> Self {
        Self {
            prefix: prefix.to_owned(),
            keys,
            ..Self::default()
        }
    }

    /// Notes that a key stays, and why.
    pub fn fail(&mut self, key: &str, why: &str) {
        self.failed += 1;
        if self.failures.len() < LISTED {
            self.failures.push((key.to_owned(), why.to_owned()));
        }
    }

    /// Says how far it is, or what it came to.
    #[must_use]
    pub fn sentence(&self) -> String {
        let (deleted, keys) = (grouped(self.deleted), grouped(self.keys));
        let mut text = match (self.is_over, self.is_stopping) {
            (true, true) => format!("Stopped. Deleted {deleted} of {keys} keys"),
            (true, false) => format!("Deleted {}", counted(self.deleted)),
            (false, true) => format!("Stopping. Deleted {deleted} of {keys} keys"),
            (false, false) => format!("Deleted {deleted} of {keys} keys"),
        };
        if self.failed > 0 {
            text.push_str(&format!("; {} not deleted", grouped(self.failed)));
        }
        text.push('.');
        text
    }
}

/// Says whether the node deletes so many keys in one request.
#[must_use]
pub const fn is_one_request(keys: u64) -> bool {
    keys <= RECURSIVE_DELETE_KEYS as u64
}

/// Writes a number of keys.
#[must_use]
pub fn counted(keys: u64) -> String {
    match keys {
        1 => "1 key".to_owned(),
        keys => format!("{} keys", grouped(keys)),
    }
}

/// Splits listed keys into what one transaction takes.
pub fn parts(keys: &[KeyLine]) -> impl Iterator<Item = &[KeyLine]> {
    keys.chunks(OPS_PER_REQUEST)
}

/// The body of a transaction that deletes these keys if all of them are as they were listed. Written by
/// hand: the types of transactions would be a tenth of this screen.
#[must_use]
pub fn transaction(keys: &[KeyLine]) -> String {
    let (mut conditions, mut operations) = (Vec::new(), Vec::new());
    for line in keys {
        let key = serde_json::Value::from(line.key.as_str());
        let revision = line.mod_revision;
        conditions.push(format!(r#"{{"key":{key},"revision":{revision}}}"#));
        operations.push(format!(r#"{{"op":"delete","key":{key}}}"#));
    }
    let (conditions, operations) = (conditions.join(","), operations.join(","));
    format!(r#"{{"if":[{conditions}],"then":[{operations}]}}"#)
}

#[cfg(test)]
mod tests {
    use conclave_shared::txn::{Condition, Operation, Transaction};

    use super::*;

    fn lines(count: usize) -> Vec<KeyLine> {
        let line = |at: usize| KeyLine {
            key: format!("k{at}"),
            mod_revision: at as u64,
            value_bytes: 1,
        };
        (0..count).map(line).collect()
    }

    #[test]
    fn a_part_is_what_a_transaction_takes_and_depends_on_what_was_listed() {
        let keys = lines(300);
        let sizes: Vec<usize> = parts(&keys).map(<[KeyLine]>::len).collect();
        assert_eq!(sizes, [128, 128, 44]);
        let mut keys = keys[..2].to_vec();
        keys[0].key = "\"\\\n🗝\u{1}".to_owned();
        let read: Transaction = serde_json::from_str(&transaction(&keys)).unwrap();
        let condition = |line: &KeyLine| Condition {
            key: Some(line.key.clone()),
            revision: Some(line.mod_revision),
            ..Condition::default()
        };
        let delete = |line: &KeyLine| Operation::Delete {
            key: line.key.clone(),
            prev: false,
        };
        let meant = Transaction {
            conditions: keys.iter().map(condition).collect(),
            then: keys.iter().map(delete).collect(),
            or_else: None,
        };
        assert_eq!(read, meant);
    }

    #[test]
    fn the_result_names_what_stayed() {
        let mut progress = Progress::of("a/", 2_000);
        progress.deleted = 1_200;
        assert_eq!(progress.sentence(), "Deleted 1,200 of 2,000 keys.");
        progress.fail("a/1", "It was changed meanwhile.");
        progress.is_stopping = true;
        progress.is_over = true;
        assert_eq!(
            progress.sentence(),
            "Stopped. Deleted 1,200 of 2,000 keys; 1 not deleted."
        );
    }
}
