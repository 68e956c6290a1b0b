//! What is wrong whatever the order, found by sorting, with messages that name the two operations.
//!
//! Each rule follows from the model: what breaks one is never linearizable.

use std::collections::{BTreeMap, HashMap};

use super::report::line;
use super::{Answer, Operation};

/// Returns what is wrong with acknowledged writes of all keys together: a revision is the place of
/// a write in the one log, so it belongs to one write and rises in real time.
pub(super) fn across_keys(keys: &BTreeMap<String, Vec<Operation>>) -> Vec<String> {
    let all = keys
        .iter()
        .flat_map(|(key, operations)| operations.iter().map(move |op| (key.as_str(), op)));
    let writes: Vec<_> = all.filter(|(_, op)| op.acknowledged().is_some()).collect();
    let of = |(key, operation): (&str, &Operation)| format!("`{key}` {}", line(operation));
    let mut wrong = Vec::new();
    let mut by_revision = HashMap::new();
    for write in &writes {
        let other = by_revision.insert(write.1.acknowledged(), *write);
        if let Some(other) = other {
            let (one, two) = (of(other), of(*write));
            wrong.push(format!("two writes have one revision:\n  {one}\n  {two}"));
        }
    }
    let operations: Vec<_> = writes.iter().map(|(_, operation)| *operation).collect();
    let newest = NewestEnded::new(&operations);
    for write in &writes {
        let before = newest.before(write.1.invoked);
        if let Some(before) = before.filter(|before| before.acknowledged() > write.1.acknowledged())
        {
            let text = "a write has a lower revision than one that had ended before it began";
            let (one, two) = (line(before), of(*write));
            wrong.push(format!("{text}:\n  {one}\n  {two}"));
        }
    }
    wrong
}

/// Returns the first thing that is plainly wrong with one key's operations.
pub(super) fn one_key(operations: &[&Operation]) -> Option<String> {
    let mut writes = HashMap::new();
    for operation in operations {
        if let Some(value) = operation.written_value() {
            writes.insert(value, *operation);
        }
    }
    let newest = NewestEnded::new(operations);
    for operation in operations {
        let before = newest.before(operation.invoked);
        let is_older = |revision: u64| before.filter(|w| w.acknowledged() > Some(revision));
        if let Some(before) = operation.acknowledged().and_then(is_older) {
            let text = "a write has a lower revision than one that had ended before it began";
            return Some(pair(text, before, operation));
        }
        let Some(Answer::Found { value, revision }) = operation.answer() else {
            continue;
        };
        let Some(write) = writes.get(value.as_str()) else {
            return Some(format!(
                "a read has a value that nobody wrote: {}",
                line(operation)
            ));
        };
        if write.acknowledged().is_some_and(|other| other != *revision) {
            let text = "a read has another revision than the write of its value";
            return Some(pair(text, write, operation));
        }
        if matches!(write.answer(), Some(Answer::Mismatch { .. })) {
            return Some(pair("a read has a refused value", write, operation));
        }
        if write.invoked > operation.returned() {
            let text = "a read has a value from its future";
            return Some(pair(text, operation, write));
        }
        if let Some(before) = is_older(*revision) {
            let text = "a stale read: a newer write had been acknowledged before it began";
            return Some(pair(text, before, operation));
        }
    }
    None
}

fn pair(text: &str, first: &Operation, second: &Operation) -> String {
    format!("{text}:\n  {}\n  {}", line(first), line(second))
}

/// Finds the acknowledged write with the highest revision that had ended before an instant.
struct NewestEnded<'a>(Vec<&'a Operation>);

impl<'a> NewestEnded<'a> {
    fn new(operations: &[&'a Operation]) -> Self {
        let mut writes: Vec<_> = operations.to_vec();
        writes.retain(|operation| operation.acknowledged().is_some());
        writes.sort_by_key(|operation| operation.returned());
        Self(writes).with_running_maximum()
    }

    /// Drops every write that ended after one with a higher revision.
    fn with_running_maximum(mut self) -> Self {
        let mut newest = None;
        self.0.retain(|write| {
            let rises = write.acknowledged() > newest;
            newest = newest.max(write.acknowledged());
            rises
        });
        self
    }

    fn before(&self, instant: u64) -> Option<&'a Operation> {
        let ended = self.0.partition_point(|write| write.returned() < instant);
        self.0[..ended].last().copied()
    }
}
