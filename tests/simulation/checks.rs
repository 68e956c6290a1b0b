//! What must hold of every run, whatever failed in it.

use std::collections::BTreeMap;
use std::time::Instant;

use conclave_server::raft::NodeId;
use conclave_server::state::View;
use conclave_shared::ReadLevel;

use crate::ledger::History;
use crate::workload::{COUNTERS, Event, Fate, Notes, REGISTERS, Saw};
use crate::{lock_checks, watch_checks};

/// Checks all that the clients noted against the states in the end and the log that led there; returns
/// what is wrong.
pub(crate) fn check(
    notes: &Notes,
    views: &BTreeMap<NodeId, View>,
    history: &History,
) -> Vec<String> {
    let mut wrong = equal_states(views);
    let Some(view) = views.values().next() else {
        return vec!["no node runs in the end".to_owned()];
    };
    wrong.extend(nothing_lost(notes, view));
    wrong.extend(counted_once(notes, view));
    for key in REGISTERS {
        let events: Vec<_> = notes
            .events
            .iter()
            .filter(|event| event.key == key)
            .collect();
        wrong.extend(fresh_reads(&events));
        wrong.extend(honest_ages(&events));
        wrong.extend(newest_kept(&events, key, view));
    }
    wrong.extend(as_the_log_says(view, history));
    wrong.extend(lock_checks::check(&notes.locks, history));
    let watched = notes.watched.iter().enumerate();
    // A lock may still end while they are told the last of what this state has.
    let last = view.applied_index;
    wrong.extend(
        watched.filter_map(|(number, watched)| watch_checks::check(number, watched, history, last)),
    );
    wrong
}

/// The state is what the committed log comes to, by itself and from its first entry on.
fn as_the_log_says(view: &View, history: &History) -> Vec<String> {
    let mut wrong = history.wrong.clone();
    let index = view.applied_index;
    if history.hash_at(index) != Some(view.hash()) {
        wrong.push(format!("the state at {index} is not what the log comes to"));
    }
    wrong
}

fn equal_states(views: &BTreeMap<NodeId, View>) -> Vec<String> {
    let mut states: Vec<_> = views
        .values()
        .map(|view| (view.applied_index, view.state.revision(), view.hash()))
        .collect();
    states.dedup();
    match states.len() {
        1 => Vec::new(),
        _ => vec![format!("states differ in the end: {states:?}")],
    }
}

fn nothing_lost(notes: &Notes, view: &View) -> Vec<String> {
    let judge = |(key, fate): (&String, &Fate)| {
        let found = view.state.get(key).map(|record| record.mod_revision);
        let right = match fate {
            Fate::Applied { revision } => found == Some(*revision),
            Fate::Not => found.is_none(),
            Fate::Open => true,
        };
        (!right).then(|| format!("`{key}` was {fate:?} and is at {found:?} in the end"))
    };
    notes.singles.iter().filter_map(judge).collect()
}

fn counted_once(notes: &Notes, view: &View) -> Vec<String> {
    let judge = |counter: &&'static str| {
        let record = view.state.get(counter);
        let value = record.map_or(0, |record| {
            let text = String::from_utf8_lossy(&record.value);
            text.parse::<u64>().unwrap_or(u64::MAX)
        });
        let counted = notes.counted.get(counter).copied().unwrap_or(0);
        let open = notes.open_counts.get(counter).copied().unwrap_or(0);
        let right = (counted..=counted + open).contains(&value);
        (!right).then(|| format!("{counter} is {value}: {counted} counted and {open} open"))
    };
    COUNTERS.iter().filter_map(judge).collect()
}

/// The revision that an operation proves to exist once it has ended, and the level of a read.
const fn proves(saw: Saw) -> u64 {
    match saw {
        Saw::Wrote { revision } | Saw::Read { revision, .. } => revision,
    }
}

/// Returns the newest revision that was known of at a moment.
fn known_at(events: &[&Event], moment: Instant) -> u64 {
    let known = events.iter().filter(|event| event.ended < moment);
    known.map(|event| proves(event.saw)).max().unwrap_or(0)
}

/// Revisions order all writes, so a register is linearizable if no read that promises to be shows
/// an older revision than anybody knew of before it began.
fn fresh_reads(events: &[&Event]) -> Vec<String> {
    let judge = |event: &&&Event| {
        let Saw::Read {
            level, revision, ..
        } = event.saw
        else {
            return None;
        };
        let known = known_at(events, event.began);
        let stale = level != ReadLevel::Stale && revision < known;
        stale.then(|| {
            format!(
                "stale {level} read of `{}` on node {}: {revision}, and {known} was known",
                event.key, event.node
            )
        })
    };
    events.iter().filter_map(|event| judge(&event)).collect()
}

/// A stale read shows everything that was acknowledged before its age says.
fn honest_ages(events: &[&Event]) -> Vec<String> {
    let judge = |event: &&Event| {
        let Saw::Read {
            revision,
            age: Some(age),
            ..
        } = event.saw
        else {
            return None;
        };
        let moment = event.began.checked_sub(age)?;
        let acknowledged = events
            .iter()
            .filter(|event| matches!(event.saw, Saw::Wrote { .. }) && event.ended < moment)
            .map(|event| proves(event.saw))
            .max()
            .unwrap_or(0);
        (revision < acknowledged).then(|| {
            format!(
                "node {} said that `{}` at {revision} was at most {age:?} old, and {acknowledged} \
                 was acknowledged before that",
                event.node, event.key
            )
        })
    };
    events.iter().filter_map(judge).collect()
}

fn newest_kept(events: &[&Event], key: &str, view: &View) -> Vec<String> {
    let newest = events.iter().map(|event| proves(event.saw)).max();
    let kept = view.state.get(key).map_or(0, |record| record.mod_revision);
    match newest {
        Some(newest) if newest > kept => {
            vec![format!(
                "`{key}` is at {kept} in the end, and was at {newest}"
            )]
        }
        _ => Vec::new(),
    }
}
