//! Compares what one watcher saw with the canon.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Canon, Change, Complaints, Entry, Guarantee, Message, Violation, WatcherLog};

/// What a log has, and what is wrong with it.
#[derive(Debug)]
pub struct Verdict {
    pub violations: Vec<Violation>,
    /// Changes that the watcher took, each once.
    pub delivered: usize,
    /// Streams that were opened after the first.
    pub resumes: usize,
    /// Gaps that were announced.
    pub gaps: usize,
}

/// Checks that a log keeps every [`Guarantee`]; `silence` is the longest time without a message that
/// is forgiven, when any is not.
#[must_use]
pub fn check(log: &WatcherLog, canon: &Canon, silence: Option<Duration>) -> Verdict {
    let mut replay = Replay::new(log, canon);
    let mut opened = 0_usize;
    for seen in &log.entries {
        if matches!(seen.entry, Entry::Opened { .. }) {
            opened += 1;
        }
        if let Some(bound) = silence {
            replay.check_silence(&seen.entry, seen.at, bound);
        }
        replay.take(&seen.entry);
    }
    replay.finish();
    Verdict {
        violations: replay.complaints.0,
        delivered: replay.delivered,
        resumes: opened.saturating_sub(1),
        gaps: replay.gaps,
    }
}

/// The watcher's view, built up again.
struct Replay<'a> {
    log: &'a WatcherLog,
    canon: &'a Canon,
    complaints: Complaints,
    /// All up to here was delivered, or need not be.
    position: u64,
    /// Revisions of which the last message has come.
    whole: BTreeSet<u64>,
    /// Of a revision of which the last message has not come.
    pending: Vec<Change>,
    /// Newest revision of this connection.
    newest: u64,
    /// No revision was completed on this connection.
    fresh: bool,
    /// The state that a `reset` brings.
    snapshot: Option<BTreeMap<String, Value>>,
    /// The server has said that there is one.
    gap: bool,
    gaps: usize,
    delivered: usize,
    last_at: Option<Instant>,
}

impl<'a> Replay<'a> {
    fn new(log: &'a WatcherLog, canon: &'a Canon) -> Self {
        Self {
            log,
            canon,
            complaints: Complaints::default(),
            position: log.start,
            whole: BTreeSet::new(),
            pending: Vec::new(),
            newest: 0,
            fresh: true,
            snapshot: None,
            gap: false,
            gaps: 0,
            delivered: 0,
            last_at: None,
        }
    }

    fn complain(&mut self, guarantee: Guarantee, what: &str) {
        let what = format!("{}: {what}", self.log.name);
        self.complaints.add(guarantee, what);
    }

    fn check_silence(&mut self, entry: &Entry, at: Instant, bound: Duration) {
        let open = matches!(entry, Entry::Message(_) | Entry::Closed(_));
        if let Some(last) = self.last_at.filter(|_| open)
            && at - last > bound
        {
            let text = format!("nothing for {:?}, then {entry:?}", at - last);
            self.complain(Guarantee::Progress, &text);
        }
        self.last_at = Some(at);
    }

    fn take(&mut self, entry: &Entry) {
        match entry {
            Entry::Opened { after, .. } => self.open(*after),
            Entry::Message(message) => self.message(message),
            Entry::Malformed(what) => self.complain(Guarantee::Form, what),
            Entry::Gone { .. } => self.gap = true,
            Entry::Closed(_) => {}
        }
    }

    fn open(&mut self, after: u64) {
        // What has no id yet comes again.
        self.pending.clear();
        self.snapshot = None;
        self.fresh = true;
        if after > self.position && !self.gap {
            let text = format!(
                "resumed after {after} with only {} delivered",
                self.position
            );
            self.complain(Guarantee::Resumable, &text);
        }
        self.gaps += usize::from(self.gap);
        self.gap = false;
        self.position = after;
        self.newest = after;
    }

    fn message(&mut self, message: &Message) {
        let ends_group = !matches!(
            message,
            Message::Change { .. } | Message::Other(_) | Message::Lagged
        );
        if ends_group && !self.pending.is_empty() {
            let text = format!("{message:?} within revision {}", self.pending[0].revision);
            self.complain(Guarantee::Atomic, &text);
            self.pending.clear();
        }
        match message {
            Message::Hello { .. } | Message::Other(_) => {}
            Message::Change { change, .. } if self.snapshot.is_some() => self.state(change),
            Message::Change { snapshot: true, .. } => {
                self.complain(Guarantee::Form, &format!("{message:?} after no `reset`"));
            }
            Message::Change { change, id, .. } => self.change(change, *id),
            Message::Progress { revision } => self.progress(*revision),
            Message::Reset { .. } => {
                self.snapshot = Some(BTreeMap::new());
                self.gaps += 1;
            }
            Message::Synced { revision } => self.synced(*revision),
            Message::Lagged => self.gap = true,
        }
    }

    fn change(&mut self, change: &Change, id: Option<u64>) {
        let revision = change.revision;
        if !self.log.subscription.matches(&change.kind, &change.name) {
            self.complain(Guarantee::Filter, &format!("not asked for: {change:?}"));
            return;
        }
        if revision < self.newest {
            let text = format!("{revision} after {}", self.newest);
            self.complain(Guarantee::Ordered, &text);
        }
        if revision <= self.position {
            self.old(change);
            return;
        }
        self.newest = self.newest.max(revision);
        if let Some(open) = self.pending.first().map(|one| one.revision)
            && open != revision
        {
            let text = format!("{revision} comes before the end of {open}");
            self.complain(Guarantee::Atomic, &text);
            self.pending.clear();
        }
        self.pending.push(change.clone());
        if id.is_some() {
            self.group(revision);
        }
    }

    /// A change that was delivered before, or should have been.
    fn old(&mut self, change: &Change) {
        let revision = change.revision;
        if self.whole.contains(&revision) {
            let text = format!("{revision} again: {change:?}");
            self.complain(Guarantee::Unique, &text);
        } else if self.fresh && self.newest == self.position {
            let text = format!("{revision} after resuming at {}", self.position);
            self.complain(Guarantee::Resumable, &text);
        } else {
            let text = format!("{revision} after a mark at {}", self.position);
            self.complain(Guarantee::Bookmarkable, &text);
        }
    }

    /// The last message of a revision has come.
    fn group(&mut self, revision: u64) {
        let group = std::mem::take(&mut self.pending);
        let guarantee = if self.fresh {
            Guarantee::Resumable
        } else {
            Guarantee::Reliable
        };
        self.check_missing(revision - 1, guarantee);
        let expected = self.canon.matching(revision, &self.log.subscription);
        let names = |change: &Change| (change.kind.clone(), change.name.clone());
        let came: Vec<_> = group.iter().map(names).collect();
        let wanted: Vec<_> = expected.iter().map(|change| names(change)).collect();
        if came == wanted {
            for (change, wanted) in group.iter().zip(expected) {
                self.compare(change, wanted);
            }
        } else {
            let text = format!("{revision} is {wanted:?} and came as {came:?}");
            self.complain(Guarantee::Atomic, &text);
        }
        self.delivered += group.len();
        self.whole.insert(revision);
        self.position = revision;
        self.fresh = false;
    }

    fn compare(&mut self, came: &Change, wanted: &Change) {
        let mut wanted = wanted.clone();
        if self.log.subscription.names_only {
            for field in ["record", "previous"] {
                if came.body.get(field).is_some() {
                    let text = format!("`{field}` was not asked for: {came:?}");
                    self.complain(Guarantee::Filter, &text);
                }
                if let Some(body) = wanted.body.as_object_mut() {
                    body.remove(field);
                }
            }
            return self.compare_rest(came, &wanted);
        }
        if came.previous() != wanted.previous() {
            let text = format!("{came:?}, but before it {}", wanted.previous());
            self.complain(Guarantee::Previous, &text);
        }
        self.compare_rest(came, &wanted);
    }

    fn compare_rest(&mut self, came: &Change, wanted: &Change) {
        let rest = |change: &Change| {
            let mut body = change.body.clone();
            if let Some(body) = body.as_object_mut() {
                body.remove("previous");
            }
            body
        };
        if rest(came) != rest(wanted) {
            let text = format!("{came:?} is not {wanted:?}");
            self.complain(Guarantee::Reliable, &text);
        }
    }

    /// Complains of the first change up to a revision that has not come.
    fn check_missing(&mut self, until: u64, guarantee: Guarantee) {
        let asked = &self.log.subscription;
        if let Some(missing) = self.canon.first_between(self.position, until, asked) {
            let text = format!("{missing} is missing after {}", self.position);
            self.complain(guarantee, &text);
        }
    }

    fn progress(&mut self, revision: u64) {
        if revision < self.position {
            let text = format!("progress {revision} after {}", self.position);
            self.complain(Guarantee::Progress, &text);
            return;
        }
        self.check_missing(revision, Guarantee::Bookmarkable);
        self.position = revision;
        self.newest = revision;
        self.fresh = false;
    }

    fn state(&mut self, change: &Change) {
        if !self.log.subscription.matches(&change.kind, &change.name) {
            self.complain(Guarantee::Filter, &format!("not asked for: {change:?}"));
        }
        if change.kind == "put"
            && let Some(state) = &mut self.snapshot
        {
            state.insert(change.name.clone(), change.record().clone());
        }
    }

    fn synced(&mut self, revision: u64) {
        let Some(state) = self.snapshot.take() else {
            self.complain(Guarantee::Form, "`synced` after no `reset`");
            return;
        };
        let asked = &self.log.subscription;
        let wanted: BTreeMap<_, _> = self
            .canon
            .state_at(revision)
            .into_iter()
            .filter(|(name, _)| asked.matches("put", name))
            .map(|(name, record)| (name.to_owned(), record.clone()))
            .collect();
        let same = if asked.names_only {
            state.keys().eq(wanted.keys())
        } else {
            state == wanted
        };
        if !same {
            let text = format!("the state at {revision} is {wanted:?}, not {state:?}");
            self.complain(Guarantee::Reliable, &text);
        }
        self.position = revision;
        self.newest = revision;
        self.fresh = false;
    }

    fn finish(&mut self) {
        if self.position < self.log.end {
            let text = format!("ends at {} before {}", self.position, self.log.end);
            self.complain(Guarantee::Reliable, &text);
        }
    }
}
