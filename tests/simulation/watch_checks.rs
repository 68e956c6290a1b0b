//! What must hold of every watcher: each change that it asked for is told once, whole and in the order
//! of the log, and nothing is left out unless the watcher was told so.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use conclave_server::events::{Entry, Filter, Kind};
use conclave_server::node::watch::StatePart;
use conclave_server::state::{Change, Key, LockChangeKind, LockName, Record, SessionId};

use crate::ledger::History;
use crate::watchers::{Told, Watched};

/// Returns the first thing that is wrong with what a watcher was told; it had time for everything up to
/// revision `last`.
pub(crate) fn check(
    number: usize,
    watched: &Watched,
    history: &History,
    last: u64,
) -> Option<String> {
    let mut replay = Replay {
        history,
        filter: &watched.filter,
        position: 0,
        state: None,
    };
    let judged = watched
        .told
        .iter()
        .try_for_each(|told| replay.take(told))
        .and_then(|()| replay.finish(last));
    judged.err().map(|what| format!("watcher {number}: {what}"))
}

/// Keys and locks as a watcher sees them.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    keys: BTreeMap<Key, Arc<Record>>,
    /// Holder and token.
    locks: BTreeMap<LockName, (SessionId, u64)>,
}

/// What a watcher was told, step by step.
struct Replay<'a> {
    history: &'a History,
    filter: &'a Filter,
    /// Everything up to here was told, or was said to be gone.
    position: u64,
    /// What has come of a state that is being told.
    state: Option<Seen>,
}

impl Replay<'_> {
    fn take(&mut self, told: &Told) -> Result<(), String> {
        match told {
            Told::Changes(entries) => entries.iter().try_for_each(|entry| self.change(entry)),
            Told::UpTo(revision) => self.move_to(*revision),
            Told::Gone(revision) => {
                let position = self.position;
                self.position = *revision;
                match *revision > position {
                    true => Ok(()),
                    false => Err(format!("{revision} is gone, and {position} was told")),
                }
            }
            Told::Reset => {
                self.state = Some(Seen::default());
                Ok(())
            }
            Told::State(part) => self.state(part),
            Told::Synced(revision) => self.synced(*revision),
            Told::Wrong(what) => Err(what.clone()),
        }
    }

    fn change(&mut self, entry: &Entry) -> Result<(), String> {
        let revision = entry.revision();
        if revision <= self.position {
            let position = self.position;
            return Err(format!("{revision} comes after {position}"));
        }
        self.move_to(revision - 1)?;
        self.position = revision;
        // A stream that ends within a state begins anew.
        self.state = None;
        match self.history.changes.get(&revision) {
            Some(known) if known.set() == entry.set() => Ok(()),
            known => {
                let (known, told) = (known.map(|known| known.set()), entry.set());
                Err(format!("{told:?} was told, and {revision} is {known:?}"))
            }
        }
    }

    /// Moves on to a revision, up to which nothing may have been left out.
    fn move_to(&mut self, revision: u64) -> Result<(), String> {
        if revision < self.position {
            let position = self.position;
            return Err(format!("a place at {revision} after {position}"));
        }
        let wanted = |entry: &Entry| entry.set().changes.iter().any(|c| self.filter.matches(c));
        let range = (Bound::Excluded(self.position), Bound::Included(revision));
        let mut between = self.history.changes.range(range);
        if let Some((missing, _)) = between.find(|(_, entry)| wanted(entry)) {
            let position = self.position;
            return Err(format!(
                "{missing} is left out between {position} and {revision}"
            ));
        }
        self.position = revision;
        Ok(())
    }

    fn state(&mut self, part: &StatePart) -> Result<(), String> {
        let state = self
            .state
            .as_mut()
            .ok_or("a state that was not announced")?;
        state.keys.extend(part.keys.iter().cloned());
        let locks = part.locks.iter();
        state
            .locks
            .extend(locks.map(|(name, lock)| (name.clone(), (lock.holder.session, lock.token))));
        Ok(())
    }

    fn synced(&mut self, revision: u64) -> Result<(), String> {
        let told = self.state.take().ok_or("a state that was not announced")?;
        if revision < self.position {
            let position = self.position;
            return Err(format!("the state at {revision} after {position}"));
        }
        self.position = revision;
        let known = self.state_at(revision);
        match told == known {
            true => Ok(()),
            false => Err(format!(
                "{told:?} is not the state at {revision}: {known:?}"
            )),
        }
    }

    /// Returns what the changes up to a revision come to, as far as it was asked for.
    fn state_at(&self, revision: u64) -> Seen {
        let mut seen = Seen::default();
        let sets = self.history.changes.range(..=revision);
        for change in sets.flat_map(|(_, entry)| &entry.set().changes) {
            match change {
                Change::Put { key, record, .. } => {
                    seen.keys.insert(key.clone(), record.clone());
                }
                Change::Delete { key, .. } | Change::Expire { key, .. } => {
                    seen.keys.remove(key);
                }
                Change::Lock(change) => match (change.kind, change.token) {
                    (LockChangeKind::Granted, Some(token)) => {
                        let holder = (change.session, token);
                        seen.locks.insert(change.lock.clone(), holder);
                    }
                    (_, Some(_)) => {
                        seen.locks.remove(&change.lock);
                    }
                    (_, None) => {}
                },
                Change::Members { .. } => {}
            }
        }
        let filter = self.filter;
        seen.keys
            .retain(|key, _| filter.has(Kind::Put) && filter.has_name(key));
        seen.locks
            .retain(|lock, _| filter.has(Kind::Lock) && filter.has_name(lock));
        seen
    }

    /// Judges the end: nothing up to `last` is left to be told.
    fn finish(&mut self, last: u64) -> Result<(), String> {
        self.move_to(last.max(self.position))
            .map_err(|what| format!("ends too early: {what}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story::{self, EXPIRY, LAST, RELEASE, WRITTEN};

    /// Judges what a watcher of everything was told.
    fn judge(history: &History, told: Vec<Told>) -> Option<String> {
        let watched = Watched {
            filter: Filter::prefixes(Kind::ALL, Vec::new()),
            told,
            streams: 1,
        };
        check(0, &watched, history, LAST)
    }

    fn all(history: &History) -> Vec<Arc<Entry>> {
        history.changes.values().cloned().collect()
    }

    fn assert_wrong(complaint: &str, told: Vec<Told>) {
        let wrong = judge(&story::history(), told);
        let is_seen = wrong
            .as_ref()
            .is_some_and(|wrong| wrong.contains(complaint));
        assert!(is_seen, "{complaint}: {wrong:?}");
    }

    #[test]
    fn everything_once_and_in_order_is_right() {
        let history = story::history();
        let entries = all(&history);
        let in_parts = entries
            .iter()
            .map(|entry| Told::Changes(vec![entry.clone()]));
        assert_eq!(judge(&history, in_parts.collect()), None);
        let later = entries[3..].to_vec();
        let after_a_gap = vec![Told::Gone(WRITTEN - 1), Told::Changes(later)];
        assert_eq!(judge(&history, after_a_gap), None);
    }

    #[test]
    fn a_change_that_is_missing_or_comes_twice_or_is_another_is_noticed() {
        let mut missing = all(&story::history());
        missing.remove(2);
        assert_wrong("is left out", vec![Told::Changes(missing)]);

        let mut twice = all(&story::history());
        twice.insert(2, twice[1].clone());
        assert_wrong("comes after", vec![Told::Changes(twice)]);

        let mut other = story::history();
        other.alter(EXPIRY, |set| drop(set.changes.pop()));
        assert_wrong("was told, and", vec![Told::Changes(all(&other))]);

        let mut early = all(&story::history());
        early.pop();
        assert_wrong("ends too early", vec![Told::Changes(early)]);
    }

    #[test]
    fn a_place_beyond_what_was_told_is_noticed() {
        let entries = all(&story::history());
        assert_wrong(
            "is left out",
            vec![Told::UpTo(LAST), Told::Changes(entries)],
        );
    }

    #[test]
    fn a_state_of_another_revision_is_noticed() {
        let history = story::history();
        let seen = |revision| {
            let replay = Replay {
                history: &history,
                filter: &Filter::prefixes(Kind::ALL, Vec::new()),
                position: 0,
                state: None,
            };
            replay.state_at(revision)
        };
        let before = seen(RELEASE - 1);
        let token = |seen: &Seen| seen.locks.values().next().map(|(_, token)| *token);
        assert_eq!(token(&before), Some(EXPIRY));
        assert_eq!(before.keys.len(), 1);
        assert_eq!(token(&seen(LAST)), None, "nobody holds it");

        let keys = before.keys.into_iter().collect();
        let told = |keys| {
            let part = StatePart {
                revision: LAST,
                keys,
                ..StatePart::default()
            };
            vec![Told::Reset, Told::State(part), Told::Synced(LAST)]
        };
        assert_eq!(judge(&history, told(keys)), None);
        assert_wrong("is not the state", told(Vec::new()));
        assert_wrong("not announced", vec![Told::Synced(LAST)]);
    }
}
