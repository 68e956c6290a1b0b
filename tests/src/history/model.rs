//! A register with revisions: what one key of the store does when asked one thing at a time.
//!
//! Pure. A write's revision is above that of every change before it. The revision of a write whose
//! answer is missing is unknown until something observes it; until then only its lowest possible
//! value is known, and two unknown ones still take two revisions.

use std::collections::{HashMap, HashSet};

use super::{Answer, Call, Operation};

/// One key's record, or its absence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct State {
    /// The position of the write whose value is there.
    pub(super) content: Option<usize>,
    /// Revision of the last change; the lowest that it can have while it is not known.
    pub(super) newest: u64,
    pub(super) known: bool,
}

impl State {
    pub(super) const EMPTY: Self = Self {
        content: None,
        newest: 0,
        known: true,
    };

    /// Makes this the state after a change with the revision, or with an unknown one.
    fn changed(self, content: Option<usize>, revision: Option<u64>) -> Option<Self> {
        let newest = revision.unwrap_or(self.newest + 1);
        let after = Self {
            content,
            newest,
            // Nobody sees the revision of an absence: its lowest value is all that matters.
            known: revision.is_some() || content.is_none(),
        };
        (newest > self.newest).then_some(after)
    }

    /// Makes this the state in which the record is seen to have the revision.
    const fn seen(self, revision: u64) -> Option<Self> {
        let possible = if self.known {
            revision == self.newest
        } else {
            revision >= self.newest
        };
        if self.content.is_none() || !possible {
            return None;
        }
        Some(Self {
            newest: revision,
            known: true,
            ..self
        })
    }

    /// Makes this the state in which the record is seen to have the revision, 0 for no record.
    const fn seen_or_absent(self, revision: u64) -> Option<Self> {
        match (revision, self.content) {
            (0, None) => Some(self),
            (0, Some(_)) => None,
            _ => self.seen(revision),
        }
    }
}

/// What one operation claims, with values replaced by the positions of their writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    Found {
        /// Absent when nobody wrote the value.
        write: Option<usize>,
        revision: u64,
    },
    Absent,
    /// A write that took effect; its revision may be unknown.
    Set {
        expected: Option<u64>,
        revision: Option<u64>,
    },
    Mismatch {
        expected: u64,
        current: u64,
    },
    Removed {
        revision: Option<u64>,
    },
    /// An answer that the call cannot have.
    Nonsense,
}

/// Returns the claims of one key's operations, by position.
///
/// # Panics
///
/// Two writes have the same value.
pub(super) fn claims(operations: &[&Operation]) -> Vec<Claim> {
    let mut writes = HashMap::new();
    for (position, operation) in operations.iter().enumerate() {
        if let Some(value) = operation.written_value() {
            let other = writes.insert(value, position);
            assert!(other.is_none(), "two writes of `{value}`: {operations:#?}");
        }
    }
    let revealed = revealed(operations);
    let claim = |operation: &&Operation| claim(operation, &writes, &revealed);
    operations.iter().map(claim).collect()
}

/// Returns the revisions of values that reads agree on: they are those of open writes as well.
fn revealed<'a>(operations: &[&'a Operation]) -> HashMap<&'a str, u64> {
    let mut revealed = HashMap::new();
    let mut disputed = HashSet::new();
    for operation in operations {
        if let Some(Answer::Found { value, revision }) = operation.answer() {
            let first = *revealed.entry(value.as_str()).or_insert(*revision);
            if first != *revision {
                disputed.insert(value.as_str());
            }
        }
    }
    revealed.retain(|value, _| !disputed.contains(value));
    revealed
}

fn claim(
    operation: &Operation,
    writes: &HashMap<&str, usize>,
    revealed: &HashMap<&str, u64>,
) -> Claim {
    let expected = match operation.call {
        Call::Cas { expected, .. } => Some(expected),
        Call::Get | Call::Put { .. } | Call::Delete => None,
    };
    match (&operation.call, operation.answer()) {
        (Call::Get, Some(Answer::Found { value, revision })) => Claim::Found {
            write: writes.get(value.as_str()).copied(),
            revision: *revision,
        },
        (Call::Get | Call::Delete, Some(Answer::Absent)) => Claim::Absent,
        (Call::Put { .. } | Call::Cas { .. }, Some(Answer::Written { revision })) => Claim::Set {
            expected,
            revision: Some(*revision),
        },
        (Call::Put { value } | Call::Cas { value, .. }, None) => Claim::Set {
            expected,
            revision: revealed.get(value.as_str()).copied(),
        },
        (Call::Cas { expected, .. }, Some(Answer::Mismatch { current })) => Claim::Mismatch {
            expected: *expected,
            current: *current,
        },
        (Call::Delete, Some(Answer::Deleted { revision })) => Claim::Removed {
            revision: Some(*revision),
        },
        (Call::Delete, None) => Claim::Removed { revision: None },
        _ => Claim::Nonsense,
    }
}

/// Returns the state after the operation at `position`, or nothing when its claim does not fit.
///
/// An open operation that would change nothing does not fit: leaving it out says the same.
pub(super) fn step(state: State, position: usize, claim: Claim) -> Option<State> {
    match claim {
        Claim::Found { write, revision } => {
            let there = write.is_some() && state.content == write;
            there.then(|| state.seen(revision))?
        }
        Claim::Absent => state.content.is_none().then_some(state),
        Claim::Set { expected, revision } => {
            let before = match expected {
                None => state,
                Some(expected) => state.seen_or_absent(expected)?,
            };
            before.changed(Some(position), revision)
        }
        Claim::Mismatch { expected, current } => {
            let differs = expected != current;
            differs.then(|| state.seen_or_absent(current))?
        }
        Claim::Removed { revision } => {
            state.content?;
            state.changed(None, revision)
        }
        Claim::Nonsense => None,
    }
}
