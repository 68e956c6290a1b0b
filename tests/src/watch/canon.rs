//! The whole history as one node's stream tells it, and what the writers say to it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use serde_json::Value;

use super::{Change, Complaints, Guarantee, Message, Violation};
use crate::history::{Answer, Call, End, History};
use crate::sse::{EventStream, Subscription};

/// Longest wait for a message of a history that is there.
const MESSAGE_WITHIN: Duration = Duration::from_secs(15);

/// What a writer wanted to change, and what it knows of it.
#[derive(Debug, Clone)]
pub struct Written {
    /// Kind, key, and the value that was put. Nobody else puts that value.
    pub effects: Vec<(&'static str, String, Option<String>)>,
    /// When it is acknowledged.
    pub revision: Option<u64>,
    /// Certainly not applied.
    pub refused: bool,
}

impl Written {
    /// Returns what the clients of a history know of their writes.
    #[must_use]
    pub fn of(history: &History) -> Vec<Self> {
        let mut all = Vec::new();
        for (key, operation) in history.operations() {
            let effect = match &operation.call {
                Call::Get => continue,
                Call::Put { value } | Call::Cas { value, .. } => {
                    ("put", key.to_owned(), Some(value.clone()))
                }
                Call::Delete => ("delete", key.to_owned(), None),
            };
            all.push(Self {
                effects: vec![effect],
                revision: operation.acknowledged(),
                refused: match &operation.end {
                    End::Answered { answer, .. } => {
                        matches!(answer, Answer::Mismatch { .. } | Answer::Absent)
                    }
                    End::Failed => true,
                    End::Open => false,
                },
            });
        }
        all
    }
}

/// All changes, by revision.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Canon {
    revisions: BTreeMap<u64, Vec<Change>>,
}

impl Canon {
    /// Makes it of changes in the order in which they happened.
    #[must_use]
    pub fn of(changes: impl IntoIterator<Item = Change>) -> Self {
        let mut canon = Self::default();
        for change in changes {
            canon
                .revisions
                .entry(change.revision)
                .or_default()
                .push(change);
        }
        canon
    }

    /// Reads a node's whole stream up to and with a revision.
    ///
    /// # Panics
    ///
    /// The stream ends or stops before, or breaks its form.
    pub async fn read(address: &str, until: u64) -> Self {
        Self::read_part(address, &Subscription::all(), 1, until).await
    }

    /// Reads what a node's stream tells of some keys after a revision, up to and with another.
    ///
    /// # Panics
    ///
    /// As [`Self::read`].
    pub async fn read_part(address: &str, asked: &Subscription, after: u64, until: u64) -> Self {
        let request = asked.since(after);
        let mut stream = EventStream::expect_open(address, &request).await;
        let mut canon = Self::default();
        let mut group: Vec<Change> = Vec::new();
        loop {
            let what = format!("the history of {address} up to {until}");
            let event = stream.expect_until(&what, MESSAGE_WITHIN, |_| true).await;
            let message = Message::parse(&event[0]).unwrap_or_else(|what| panic!("{what}"));
            let reached = match message {
                Message::Change { change, id, .. } => {
                    group.push(change);
                    if let Some(revision) = id {
                        let whole = std::mem::take(&mut group);
                        let one = whole.iter().all(|change| change.revision == revision);
                        let newest = canon.last().is_none_or(|last| last < revision);
                        assert!(one && newest, "{revision} in {whole:?}");
                        canon.revisions.insert(revision, whole);
                    }
                    id
                }
                Message::Progress { revision } => Some(revision),
                Message::Hello { .. } | Message::Other(_) => None,
                other => panic!("{other:?} in a whole history"),
            };
            if reached.is_some_and(|revision| revision >= until) {
                canon.revisions.split_off(&(until + 1));
                return canon;
            }
        }
    }

    /// Returns the newest revision.
    #[must_use]
    pub fn last(&self) -> Option<u64> {
        self.revisions.keys().next_back().copied()
    }

    /// Returns the number of changes.
    #[must_use]
    pub fn changes(&self) -> usize {
        self.revisions.values().map(Vec::len).sum()
    }

    /// Returns all changes that are asked for, in order.
    #[must_use]
    pub fn select(&self, asked: &Subscription) -> Vec<Change> {
        let all = self.revisions.values().flatten();
        all.filter(|change| asked.matches(&change.kind, &change.name))
            .cloned()
            .collect()
    }

    /// Returns the changes of a revision that are asked for.
    pub(super) fn matching(&self, revision: u64, asked: &Subscription) -> Vec<&Change> {
        let all = self.revisions.get(&revision).into_iter().flatten();
        all.filter(|change| asked.matches(&change.kind, &change.name))
            .collect()
    }

    /// Returns the first revision with a change that is asked for, after one and up to another.
    pub(super) fn first_between(
        &self,
        after: u64,
        until: u64,
        asked: &Subscription,
    ) -> Option<u64> {
        if after >= until {
            return None;
        }
        let range = (Bound::Excluded(after), Bound::Included(until));
        let matches = |change: &Change| asked.matches(&change.kind, &change.name);
        let mut revisions = self.revisions.range(range);
        revisions
            .find(|(_, changes)| changes.iter().any(matches))
            .map(|(revision, _)| *revision)
    }

    /// Returns the records of all keys after a revision.
    #[must_use]
    pub fn state_at(&self, revision: u64) -> BTreeMap<&str, &Value> {
        let mut state = BTreeMap::new();
        let changes = self.revisions.range(..=revision).flat_map(|(_, all)| all);
        for change in changes.filter(|change| change.is_of_key()) {
            if change.kind == "put" {
                state.insert(change.name.as_str(), change.record());
            } else {
                state.remove(change.name.as_str());
            }
        }
        state
    }

    /// Compares the history with what its writers know: everything that was acknowledged is in it,
    /// under its revision and together; nothing that was refused is; nobody invents a change; and
    /// each change says the record before.
    #[must_use]
    pub fn against(&self, written: &[Written]) -> Vec<Violation> {
        let mut complaints = Complaints::default();
        self.check_chains(&mut complaints);
        let mut explained = BTreeSet::new();
        for write in written {
            let revision = match write.revision {
                Some(revision) => Some(revision),
                None => self.revision_of(write),
            };
            let Some(revision) = revision else {
                continue;
            };
            if write.refused {
                complaints.add(
                    Guarantee::Reliable,
                    format!("refused, but in the history: {write:?}"),
                );
            }
            let changes = self.revisions.get(&revision).map_or(&[][..], Vec::as_slice);
            let same = |change: &Change, effect: &(&str, String, Option<String>)| {
                change.kind == effect.0
                    && change.name == effect.1
                    && change.value() == effect.2.as_deref()
            };
            let there = write
                .effects
                .iter()
                .all(|effect| changes.iter().any(|change| same(change, effect)));
            if !there || changes.len() != write.effects.len() {
                complaints.add(
                    Guarantee::Reliable,
                    format!("{write:?} is not {changes:?} of revision {revision}"),
                );
            }
            explained.insert(revision);
        }
        self.check_explained(&explained, written, &mut complaints);
        complaints.0
    }

    /// Returns where a write is whose answer was lost: its values are its own.
    fn revision_of(&self, write: &Written) -> Option<u64> {
        let values: Vec<_> = write
            .effects
            .iter()
            .filter_map(|e| e.2.as_deref())
            .collect();
        if values.is_empty() {
            return None;
        }
        let holds = |change: &Change| change.value().is_some_and(|value| values.contains(&value));
        let mut revisions = self.revisions.iter();
        revisions
            .find(|(_, changes)| changes.iter().any(holds))
            .map(|(revision, _)| *revision)
    }

    /// Every put and delete was written by somebody; a delete without an answer may be anywhere.
    fn check_explained(
        &self,
        explained: &BTreeSet<u64>,
        written: &[Written],
        complaints: &mut Complaints,
    ) {
        let unknown = written
            .iter()
            .filter(|write| write.revision.is_none() && !write.refused);
        let deletes: BTreeSet<_> = unknown
            .flat_map(|write| &write.effects)
            .filter(|effect| effect.0 == "delete")
            .map(|effect| effect.1.as_str())
            .collect();
        let others = self
            .revisions
            .iter()
            .filter(|(revision, _)| !explained.contains(revision));
        for change in others.flat_map(|(_, changes)| changes) {
            let right = match change.kind.as_str() {
                "put" => false,
                "delete" => deletes.contains(change.name.as_str()),
                _ => true,
            };
            if !right {
                complaints.add(Guarantee::Reliable, format!("nobody wrote {change:?}"));
            }
        }
    }

    fn check_chains(&self, complaints: &mut Complaints) {
        let mut state: BTreeMap<&str, &Value> = BTreeMap::new();
        let changes = self.revisions.values().flatten();
        for change in changes.filter(|change| change.is_of_key()) {
            let before = state.get(change.name.as_str()).copied();
            let before = before.unwrap_or(&Value::Null);
            if change.previous() != before {
                complaints.add(
                    Guarantee::Previous,
                    format!("{change:?}, but before it {before}"),
                );
            }
            let record = change.record();
            if change.kind != "put" {
                if !record.is_null() || before.is_null() {
                    complaints.add(Guarantee::Previous, format!("{change:?} after {before}"));
                }
                state.remove(change.name.as_str());
                continue;
            }
            let version = before["version"].as_u64().unwrap_or(0) + 1;
            if record["mod_revision"] != change.revision || record["version"] != version {
                complaints.add(Guarantee::Form, format!("{change:?} after {before}"));
            }
            state.insert(&change.name, record);
        }
    }
}
