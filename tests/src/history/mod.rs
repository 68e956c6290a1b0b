//! What clients asked and were told, and the check that it could have happened one at a time.
//!
//! A [`History`] holds operations on single keys with the instants between which they ran, all of
//! one clock. [`check`] decides for every key whether some order that respects these instants
//! explains all answers (Herlihy and Wing 1990: linearizable). An operation without an answer is
//! open: it may have taken effect at any later instant, or never. A search that is given up is
//! neither good nor bad, and such a history is not accepted.

mod model;
mod precheck;
mod report;
mod search;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::AddAssign;
use std::time::{Duration, Instant};

pub use search::Limits;

/// Violations that are shown in full; the others are counted.
const SHOWN: usize = 3;

/// What a client asks of one key. The values of one key's writes differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    Get,
    Put {
        value: String,
    },
    /// Writes when the record has the expected revision; 0 means that there must be none.
    Cas {
        expected: u64,
        value: String,
    },
    Delete,
}

/// What a client was told. Revisions are those of the one key's record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Found {
        value: String,
        revision: u64,
    },
    /// There was nothing to get or to delete.
    Absent,
    Written {
        revision: u64,
    },
    /// The condition failed: the record has this revision, or 0 for no record.
    Mismatch {
        current: u64,
    },
    Deleted {
        revision: u64,
    },
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    Answered {
        at: u64,
        answer: Answer,
    },
    /// It certainly had no effect.
    Failed,
    /// Nobody knows whether and when it took effect.
    Open,
}

/// One operation as its client saw it; instants are nanoseconds of one monotonic clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    pub process: u32,
    pub call: Call,
    pub invoked: u64,
    pub end: End,
}

impl Operation {
    fn written_value(&self) -> Option<&str> {
        match &self.call {
            Call::Put { value } | Call::Cas { value, .. } => Some(value),
            Call::Get | Call::Delete => None,
        }
    }

    /// Returns when the operation ended; an open one never does.
    const fn returned(&self) -> u64 {
        match self.end {
            End::Answered { at, .. } => at,
            End::Failed | End::Open => u64::MAX,
        }
    }

    const fn answer(&self) -> Option<&Answer> {
        match &self.end {
            End::Answered { answer, .. } => Some(answer),
            End::Failed | End::Open => None,
        }
    }

    /// Returns the revision of an acknowledged write.
    #[must_use]
    pub const fn acknowledged(&self) -> Option<u64> {
        match self.answer() {
            Some(Answer::Written { revision } | Answer::Deleted { revision }) => Some(*revision),
            _ => None,
        }
    }

    /// Returns whether the operation tells anything: a failed one and an open read do not.
    const fn counts(&self) -> bool {
        match self.end {
            End::Answered { .. } => true,
            End::Failed => false,
            End::Open => !matches!(self.call, Call::Get),
        }
    }
}

/// A clock for the instants of one history.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts at zero.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Returns the nanoseconds since the start.
    #[must_use]
    pub fn now(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// How many operations ended how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub answered: usize,
    pub failed: usize,
    pub open: usize,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.answered += other.answered;
        self.failed += other.failed;
        self.open += other.open;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            answered,
            failed,
            open,
        } = self;
        write!(f, "{answered} answered, {failed} failed, {open} open")
    }
}

/// All operations of a run, by key.
#[derive(Debug, Clone, Default)]
pub struct History {
    keys: BTreeMap<String, Vec<Operation>>,
}

impl History {
    /// Adds one operation on a key.
    pub fn push(&mut self, key: &str, operation: Operation) {
        if let Some(operations) = self.keys.get_mut(key) {
            operations.push(operation);
        } else {
            self.keys.insert(key.to_owned(), vec![operation]);
        }
    }

    /// Adds another history of the same clock.
    pub fn extend(&mut self, other: Self) {
        for (key, operations) in other.keys {
            self.keys.entry(key).or_default().extend(operations);
        }
    }

    /// Returns the keys in their order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.keys.keys().map(String::as_str)
    }

    /// Returns the number of acknowledged writes.
    #[must_use]
    pub fn writes(&self) -> usize {
        let operations = self.keys.values().flatten();
        operations.filter_map(Operation::acknowledged).count()
    }

    /// Returns all operations, each with its key.
    pub fn operations(&self) -> impl Iterator<Item = (&str, &Operation)> {
        let keys = self.keys.iter();
        keys.flat_map(|(key, all)| all.iter().map(move |one| (key.as_str(), one)))
    }

    /// Returns how the operations ended.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for operation in self.keys.values().flatten() {
            match operation.end {
                End::Answered { .. } => counts.answered += 1,
                End::Failed => counts.failed += 1,
                End::Open => counts.open += 1,
            }
        }
        counts
    }
}

/// What is known of one key, or of a whole history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Linearizable,
    /// No order explains the answers; the text says where it goes wrong.
    Violated(String),
    /// The search reached its limit.
    Undecided(String),
}

/// The outcome of [`check`].
#[derive(Debug)]
pub struct Checked {
    pub keys: usize,
    pub operations: usize,
    /// Operations tried in all searches together.
    pub steps: u64,
    pub took: Duration,
    /// One text for each thing that is wrong.
    pub violations: Vec<String>,
    /// One text for each key whose search was given up.
    pub undecided: Vec<String>,
}

impl Checked {
    /// Checks that every key is decided and good.
    ///
    /// # Panics
    ///
    /// One is not; the first ones are shown.
    pub fn assert_linearizable(&self) {
        let wrong: Vec<_> = self.violations.iter().chain(&self.undecided).collect();
        let shown: Vec<_> = wrong.iter().take(SHOWN).map(|text| text.as_str()).collect();
        assert!(
            wrong.is_empty(),
            "not linearizable: {self}\n{}",
            shown.join("\n")
        );
    }
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} operations on {} keys, {} violations, {} undecided, {} steps in {:.2?}",
            self.operations,
            self.keys,
            self.violations.len(),
            self.undecided.len(),
            self.steps,
            self.took
        )
    }
}

/// Decides for every key whether its operations are linearizable, and for all keys together whether
/// acknowledged writes have revisions of their own that rise in real time.
///
/// # Panics
///
/// Two writes of one key have the same value.
#[must_use]
pub fn check(history: &History, limits: Limits) -> Checked {
    let began = Instant::now();
    let mut checked = Checked {
        keys: history.keys.len(),
        operations: 0,
        steps: 0,
        took: Duration::ZERO,
        violations: precheck::across_keys(&history.keys),
        undecided: Vec::new(),
    };
    for (key, operations) in &history.keys {
        let operations: Vec<_> = operations.iter().filter(|op| op.counts()).collect();
        checked.operations += operations.len();
        let (verdict, steps) = judge(&operations, limits);
        checked.steps += steps;
        match verdict {
            Verdict::Linearizable => {}
            Verdict::Violated(text) => checked.violations.push(format!("key `{key}`: {text}")),
            Verdict::Undecided(text) => checked.undecided.push(format!("key `{key}`: {text}")),
        }
    }
    checked.took = began.elapsed();
    checked
}

/// Judges the operations of one key: what is plainly wrong first, with the better messages.
fn judge(operations: &[&Operation], limits: Limits) -> (Verdict, u64) {
    match precheck::one_key(operations) {
        Some(wrong) => (Verdict::Violated(wrong), 0),
        None => search::search(operations, limits),
    }
}
