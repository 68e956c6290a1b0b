//! What a value goes through while somebody looks at it and edits it.
//!
//! The rules that no text may break: what was typed is dropped only when the reader says so, and even
//! then it can be had back; a save names the revision that its writer has seen; a save is told as done
//! or as refused only when the cluster has said so.

use std::sync::Arc;

use super::{
    merge::{Chunk, Side, chunks, merged},
    record::Record,
};
use crate::model::news::KeyEvent;

/// What is known of the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    Loading,
    /// As it was opened: what edits are based on.
    Here(Arc<Record>),
    /// It did not exist at this revision.
    Absent(u64),
    /// It could not be read; a sentence.
    Failed(String),
}

/// What shall become the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Draft {
    Text(Arc<str>),
    File {
        name: String,
        bytes: Arc<[u8]>,
        content_type: String,
    },
}

/// A change by somebody, newer than what was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub event: KeyEvent,
    pub revision: u64,
    /// Name of the node that took it; empty when only the value has told of the change.
    pub origin: String,
    /// The leader's wall clock, milliseconds since 1970; 0 as above.
    pub wall_time_ms: u64,
}

/// How far a write is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Saving {
    Idle,
    Sent,
    /// The answer was lost; the cluster is asked by the request's id.
    Asking,
    /// It was certainly not done and is sent again under the same id.
    Retrying,
    /// It was certainly not done; a sentence.
    Refused(String),
    /// Whether it was done could not be learnt; a sentence.
    Unknown(String),
}

/// The draft beside what the cluster has now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared {
    /// None: it is deleted.
    pub theirs: Option<Arc<Record>>,
    /// Revision of their write or deletion.
    pub revision: u64,
    /// Name of the node that took it; empty when that is not known.
    pub origin: String,
    /// The stretches of the three texts; none when one of them is no text.
    pub chunks: Arc<[Chunk]>,
    /// What is taken of each.
    pub taken: Vec<Option<Side>>,
}

/// A deletion that can be undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deleted {
    pub record: Arc<Record>,
    /// Until when, by the page's steady clock, milliseconds.
    pub until_ms: u64,
}

/// One key on the desk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Editing {
    pub found: Found,
    pub draft: Option<Draft>,
    /// A draft that "take theirs" or "discard" dropped.
    pub dropped: Option<Draft>,
    pub change: Option<Change>,
    pub saving: Saving,
    pub compared: Option<Compared>,
    pub deleted: Option<Deleted>,
}

impl Default for Editing {
    fn default() -> Self {
        Self {
            found: Found::Loading,
            draft: None,
            dropped: None,
            change: None,
            saving: Saving::Idle,
            compared: None,
            deleted: None,
        }
    }
}

impl Editing {
    /// Returns what was opened.
    #[must_use]
    pub const fn opened(&self) -> Option<&Arc<Record>> {
        match &self.found {
            Found::Here(record) => Some(record),
            _ => None,
        }
    }

    /// Returns the text in the editor: the draft's, else the opened one. None for what is no text.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match (&self.draft, &self.found) {
            (Some(Draft::Text(text)), _) => Some(text),
            (Some(Draft::File { .. }), _) => None,
            (None, Found::Here(record)) => record.text(),
            (None, Found::Absent(_)) => Some(""),
            (None, _) => None,
        }
    }

    #[must_use]
    pub const fn is_writing(&self) -> bool {
        matches!(
            self.saving,
            Saving::Sent | Saving::Asking | Saving::Retrying
        )
    }

    /// Returns whether something would be lost if this were forgotten now.
    #[must_use]
    pub const fn is_needed(&self) -> bool {
        self.draft.is_some() || self.is_writing() || self.deleted.is_some()
    }

    /// Returns the revision on which a save is conditional: 0 for a key that must not exist.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.opened().map_or(0, |record| record.revision)
    }

    /// Returns the newest revision that this knows of the key.
    fn newest(&self) -> u64 {
        let change = self.change.as_ref().map_or(0, |change| change.revision);
        let compared = self
            .compared
            .as_ref()
            .map_or(0, |compared| compared.revision);
        self.found_revision().max(change).max(compared)
    }

    fn found_revision(&self) -> u64 {
        match &self.found {
            Found::Here(record) => record.revision,
            Found::Absent(revision) => *revision,
            Found::Loading | Found::Failed(_) => 0,
        }
    }

    /// Takes news of the key. Returns whether it is to be read again; while there is a draft it is not:
    /// the reader is told instead. What is gone needs no reading.
    pub fn heard(&mut self, change: Change) -> bool {
        if change.revision <= self.newest() || matches!(self.found, Found::Loading) {
            return false;
        }
        let (event, revision) = (change.event, change.revision);
        self.change = Some(change);
        if self.draft.is_some() || self.is_writing() {
            return false;
        }
        if event == KeyEvent::Put {
            return true;
        }
        self.found = Found::Absent(revision);
        false
    }

    #[must_use]
    pub const fn is_absent(&self) -> bool {
        matches!(self.found, Found::Absent(_))
    }

    /// Takes what a read found: a record, or that there was none at a revision.
    pub fn arrived(&mut self, read: Result<Arc<Record>, u64>) {
        let revision = match &read {
            Ok(record) => record.revision,
            Err(revision) => *revision,
        };
        let is_first = matches!(self.found, Found::Loading | Found::Failed(_));
        if !is_first && revision < self.found_revision() {
            // A copy that is behind what was shown already.
            return;
        }
        if read.is_ok() && !self.is_writing() {
            // Somebody has created it again.
            self.deleted = None;
        }
        if self.draft.is_none() || is_first {
            self.found = read.map_or_else(Found::Absent, Found::Here);
            let newer = |change: &Change| change.revision > revision;
            if is_first && !self.change.as_ref().is_some_and(newer) {
                self.change = None;
            }
            return;
        }
        let is_same = match (&read, &self.found) {
            (Ok(read), Found::Here(opened)) => read.revision == opened.revision,
            (Err(_), Found::Absent(_)) => true,
            _ => false,
        };
        let is_told = self
            .change
            .as_ref()
            .is_some_and(|change| change.revision >= revision);
        if !is_same && !is_told && revision > self.seen() {
            let event = if read.is_ok() {
                KeyEvent::Put
            } else {
                KeyEvent::Delete
            };
            let (origin, wall_time_ms) = (String::new(), 0);
            self.change = Some(Change {
                event,
                revision,
                origin,
                wall_time_ms,
            });
        }
    }

    /// Takes that a read failed. What is shown stays.
    pub fn failed(&mut self, sentence: String) {
        if matches!(self.found, Found::Loading | Found::Failed(_)) {
            self.found = Found::Failed(sentence);
        }
    }

    /// Takes what stands in the editor now.
    pub fn typed(&mut self, text: &str) {
        let opened = match &self.found {
            Found::Here(record) => record.text(),
            Found::Absent(_) => Some(""),
            Found::Loading | Found::Failed(_) => None,
        };
        let is_opened = opened == Some(text);
        self.draft = (!is_opened).then(|| Draft::Text(text.into()));
        self.settle();
    }

    /// Takes a file as the draft.
    pub fn chose(&mut self, draft: Draft) {
        self.draft = Some(draft);
        self.settle();
    }

    /// A new draft makes what was said of the last write old.
    fn settle(&mut self) {
        if !self.is_writing() {
            self.saving = Saving::Idle;
        }
    }

    /// Drops the draft; [`Editing::fetch_back`] has it back.
    pub fn discard(&mut self) {
        if let Some(draft) = self.draft.take() {
            self.dropped = Some(draft);
        }
        self.compared = None;
        self.settle();
    }

    /// Has the last dropped draft back.
    pub fn fetch_back(&mut self) {
        if let Some(draft) = self.dropped.take() {
            self.draft = Some(draft);
        }
    }

    /// Takes that a write of this draft was done as this record.
    pub fn saved(&mut self, record: Arc<Record>, draft: Option<&Draft>) {
        let revision = record.revision;
        self.found = Found::Here(record);
        self.saving = Saving::Idle;
        self.compared = None;
        self.dropped = None;
        self.deleted = None;
        self.change = self
            .change
            .take()
            .filter(|change| change.revision > revision);
        // What was typed while the write was on its way is a draft over what it wrote.
        if self.draft.as_ref() == draft {
            self.draft = None;
        }
    }

    /// Takes that the key was deleted at a revision; for a while it can be had back. Returns whether
    /// somebody has changed it since, so that it is to be read again.
    pub fn gone(&mut self, revision: u64, deleted: Deleted) -> bool {
        self.found = Found::Absent(revision);
        self.saving = Saving::Idle;
        self.compared = None;
        self.change = self
            .change
            .take()
            .filter(|change| change.revision > revision);
        self.deleted = Some(deleted);
        self.change.is_some()
    }

    /// Lays the draft beside what the cluster has now: a record, or that it was gone at a revision.
    pub fn compare(&mut self, read: Result<Arc<Record>, u64>) {
        let (theirs, revision) = match read {
            Ok(record) => (Some(Arc::clone(&record)), record.revision),
            Err(revision) => (None, revision),
        };
        let opened = match self.opened() {
            Some(record) => record.text(),
            None => Some(""),
        };
        let theirs_text = theirs.as_ref().map_or(Some(""), |record| record.text());
        let chunks: Arc<[Chunk]> = match (opened, theirs_text, self.text()) {
            (Some(opened), Some(theirs), Some(yours)) => chunks(opened, theirs, yours).into(),
            _ => Arc::from([]),
        };
        let known = self
            .change
            .as_ref()
            .filter(|change| change.revision == revision);
        self.compared = Some(Compared {
            theirs,
            revision,
            origin: known
                .map(|change| change.origin.clone())
                .unwrap_or_default(),
            taken: chunks.iter().map(Chunk::natural).collect(),
            chunks,
        });
        // The comparison says it now.
        self.change = self
            .change
            .take()
            .filter(|change| change.revision > revision);
        self.settle();
    }

    /// Decides a stretch.
    pub fn take(&mut self, at: usize, side: Side) {
        let compared = self.compared.as_mut();
        if let Some(taken) = compared.and_then(|compared| compared.taken.get_mut(at)) {
            *taken = Some(side);
        }
    }

    /// Returns the text that the decisions make; none while a stretch is undecided.
    #[must_use]
    pub fn merged(&self) -> Option<String> {
        let compared = self.compared.as_ref()?;
        (!compared.chunks.is_empty()).then(|| merged(&compared.chunks, &compared.taken))?
    }

    /// Takes theirs: the draft is dropped, and can be had back.
    pub fn take_theirs(&mut self) {
        let compared = self.compared.take();
        self.discard();
        if let Some(compared) = compared {
            self.rebase(&compared);
        }
    }

    /// Goes on editing a text that their change is part of.
    pub fn edit(&mut self, text: &str) {
        if let Some(compared) = self.compared.take() {
            self.rebase(&compared);
        }
        self.typed(text);
    }

    fn rebase(&mut self, compared: &Compared) {
        self.found = match &compared.theirs {
            Some(record) => Found::Here(Arc::clone(record)),
            None => Found::Absent(compared.revision),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::{super::record::Stamps, *};

    fn record(text: &str, revision: u64) -> Arc<Record> {
        let stamps = Stamps {
            revision,
            ..Stamps::default()
        };
        Arc::new(Record::new(text.into(), "text/plain".to_owned(), stamps))
    }

    fn change(revision: u64) -> Change {
        Change {
            event: KeyEvent::Put,
            revision,
            origin: "n3".to_owned(),
            wall_time_ms: 1,
        }
    }

    fn opened(text: &str, revision: u64) -> Editing {
        let mut editing = Editing::default();
        editing.arrived(Ok(record(text, revision)));
        editing
    }

    #[test]
    fn an_untouched_value_follows_the_cluster() {
        let mut editing = opened("a", 5);
        assert!(editing.heard(change(6)));
        editing.arrived(Ok(record("b", 6)));
        assert_eq!(editing.text(), Some("b"));
        assert_eq!(
            editing.change,
            Some(change(6)),
            "the reader is told who it was"
        );
        assert!(!editing.heard(change(6)), "once");
    }

    #[test]
    fn what_the_news_tell_is_gone_is_not_read_again() {
        let mut editing = opened("a", 5);
        let deleted = Change {
            event: KeyEvent::Delete,
            ..change(6)
        };
        assert!(!editing.heard(deleted.clone()));
        assert_eq!(editing.found, Found::Absent(6));
        assert_eq!(editing.change, Some(deleted));
        assert!(editing.heard(change(7)), "it was created again");
    }

    #[test]
    fn a_key_that_came_back_behind_its_deletion_is_read_again() {
        let deleted = |record| Deleted {
            record,
            until_ms: 0,
        };
        for (newest, is_back) in [(6, false), (7, true)] {
            let mut editing = opened("a", 5);
            editing.saving = Saving::Sent;
            assert!(!editing.heard(change(newest)));
            assert_eq!(editing.gone(6, deleted(record("a", 5))), is_back);
        }
    }

    #[test]
    fn a_draft_stays_and_its_writer_is_told() {
        let mut editing = opened("a", 5);
        editing.typed("mine");
        assert!(!editing.heard(change(6)));
        editing.arrived(Ok(record("b", 6)));
        assert_eq!(editing.text(), Some("mine"));
        assert_eq!(
            editing.seen(),
            5,
            "a save must name what its writer has seen"
        );
        assert_eq!(editing.change, Some(change(6)));
    }

    #[test]
    fn a_change_that_no_news_told_of_is_found_by_a_read() {
        let mut editing = opened("a", 5);
        editing.typed("mine");
        editing.arrived(Ok(record("a", 5)));
        assert_eq!(editing.change, None);
        editing.arrived(Err(9));
        assert_eq!(
            editing.change.as_ref().map(|c| (c.event, c.revision)),
            Some((KeyEvent::Delete, 9))
        );
    }

    #[test]
    fn typing_it_back_leaves_nothing_unsaved() {
        let mut editing = opened("a", 5);
        editing.typed("ab");
        assert!(editing.is_needed());
        editing.typed("a");
        assert!(!editing.is_needed());
    }

    #[test]
    fn what_is_typed_during_a_save_is_a_draft_over_what_was_saved() {
        let mut editing = opened("a", 5);
        editing.typed("b");
        let sent = editing.draft.clone();
        editing.saving = Saving::Sent;
        editing.typed("bc");
        assert!(
            !editing.heard(change(6)),
            "its own write, or another's: the answer will tell"
        );
        editing.saved(record("b", 6), sent.as_ref());
        assert_eq!((editing.text(), editing.seen()), (Some("bc"), 6));
        assert_eq!(editing.change, None);
    }

    #[test]
    fn a_conflict_is_merged_over_their_revision() {
        let mut editing = opened("a\nb\nc\n", 5);
        editing.typed("A\nb\nc\n");
        editing.compare(Ok(record("a\nb\nC\n", 8)));
        let text = editing.merged().unwrap();
        assert_eq!(text, "A\nb\nC\n");
        editing.edit(&text);
        assert_eq!((editing.text(), editing.seen()), (Some("A\nb\nC\n"), 8));
    }

    #[test]
    fn taking_theirs_keeps_mine_to_be_fetched_back() {
        let mut editing = opened("a\n", 5);
        editing.typed("mine\n");
        editing.compare(Ok(record("theirs\n", 8)));
        assert_eq!(editing.merged(), None, "undecided");
        editing.take_theirs();
        assert_eq!((editing.text(), editing.seen()), (Some("theirs\n"), 8));
        editing.fetch_back();
        assert_eq!((editing.text(), editing.seen()), (Some("mine\n"), 8));
    }

    #[test]
    fn what_was_deleted_underneath_is_created_again_only_if_still_absent() {
        let mut editing = opened("a\n", 5);
        editing.typed("mine\n");
        editing.compare(Err(9));
        let compared = editing.compared.clone().unwrap();
        assert_eq!((compared.theirs, compared.revision), (None, 9));
        editing.edit("mine\n");
        assert_eq!((editing.text(), editing.seen()), (Some("mine\n"), 0));
    }
}
