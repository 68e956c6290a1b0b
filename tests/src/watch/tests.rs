//! Each guarantee is broken on purpose, and noticed under its name.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::*;
use crate::sse::{Event, Subscription};

const IDLE: Duration = Duration::from_secs(8);

/// A history of ten revisions on three keys: revision 13 has two changes, 16 a delete.
fn history() -> Vec<Value> {
    let record = |key: &str, value: &str, revision: u64, version: u64| json!({"key": key, "value": value, "mod_revision": revision, "version": version, "ttl_ms": revision});
    let put = |revision: u64, now: Value, before: Value| {
        let key = now["key"].clone();
        json!({"kind": "put", "key": key, "revision": revision, "origin": "n", "wall_time_ms": 1,
               "record": now, "previous": before})
    };
    let a = |revision, version| record("a/1", &format!("a{revision}"), revision, version);
    let b = |revision, version| record("b/1", &format!("b{revision}"), revision, version);
    let mut history = vec![
        put(10, a(10, 1), Value::Null),
        put(11, b(11, 1), Value::Null),
        put(13, a(13, 2), a(10, 1)),
        put(13, b(13, 2), b(11, 1)),
        put(14, a(14, 3), a(13, 2)),
        put(15, b(15, 3), b(13, 2)),
    ];
    history.push(
        json!({"kind": "delete", "key": "a/1", "revision": 16, "origin": "n", "wall_time_ms": 1,
                        "record": null, "previous": a(14, 3)}),
    );
    history.push(put(18, a(18, 1), Value::Null));
    history
}

fn message(change: &Value, id: Option<u64>) -> Message {
    let event = Event {
        name: change["kind"].as_str().unwrap().to_owned(),
        data: change.to_string(),
        id: id.map(|id| id.to_string()),
    };
    Message::parse(&event).unwrap()
}

fn canon() -> Canon {
    Canon::of(history().iter().map(|change| match message(change, None) {
        Message::Change { change, .. } => change,
        other => panic!("{other:?}"),
    }))
}

fn opened(after: u64) -> Entry {
    Entry::Opened {
        address: "n".to_owned(),
        after,
    }
}

/// What a perfect server sends of the changes with these places in the history.
fn sent(places: &[usize]) -> Vec<Entry> {
    let history = history();
    let revision = |place: usize| history[place]["revision"].as_u64().unwrap();
    let of = |(at, &place): (usize, &usize)| {
        let last = places
            .get(at + 1)
            .is_none_or(|next| revision(*next) != revision(place));
        Entry::Message(message(&history[place], last.then(|| revision(place))))
    };
    places.iter().enumerate().map(of).collect()
}

fn log_of(subscription: Subscription, entries: Vec<Entry>) -> WatcherLog {
    let at = Instant::now();
    WatcherLog {
        name: "w".to_owned(),
        subscription,
        start: 9,
        end: 18,
        entries: entries
            .into_iter()
            .map(|entry| Seen { at, entry })
            .collect(),
    }
}

fn verdict(entries: Vec<Entry>) -> Verdict {
    check(&log_of(Subscription::all(), entries), &canon(), None)
}

fn broken(entries: Vec<Entry>) -> Vec<Guarantee> {
    let all = verdict(entries).violations;
    all.into_iter().map(|one| one.guarantee).collect()
}

fn with(parts: &[Vec<Entry>]) -> Vec<Entry> {
    parts.concat()
}

fn progress(revision: u64) -> Vec<Entry> {
    vec![Entry::Message(Message::Progress { revision })]
}

#[test]
fn a_perfect_stream_has_no_violation_resumed_anywhere() {
    let everything = with(&[vec![opened(9)], sent(&[0, 1, 2, 3, 4, 5, 6, 7])]);
    let seen = verdict(everything);
    assert_eq!(seen.violations, []);
    assert_eq!((seen.delivered, seen.resumes), (8, 0));
    // Broken off within revision 13, which comes again as a whole.
    let half = sent(&[0, 1, 2, 3]).into_iter().take(3).collect();
    let seen = verdict(with(&[
        vec![opened(9)],
        half,
        vec![Entry::Closed("cut".to_owned()), opened(11)],
        sent(&[2, 3, 4, 5]),
        progress(15),
        vec![opened(15)],
        sent(&[6, 7]),
        progress(19),
    ]));
    assert_eq!(seen.violations, []);
    assert_eq!((seen.delivered, seen.resumes), (8, 2));
}

#[test]
fn a_filtered_stream_is_compared_with_what_was_asked_for() {
    let only_a = Subscription::all().prefix("a/").types(&["put"]);
    let entries = with(&[vec![opened(9)], sent(&[0, 2, 4, 7])]);
    assert_eq!(
        check(&log_of(only_a.clone(), entries), &canon(), None).violations,
        []
    );
    for unwanted in [1, 6] {
        let entries = with(&[vec![opened(9)], sent(&[0, unwanted, 2, 4, 7])]);
        let entries = if unwanted == 6 {
            with(&[vec![opened(9)], sent(&[0, 2, 4, 6, 7])])
        } else {
            entries
        };
        let seen = check(&log_of(only_a.clone(), entries), &canon(), None);
        assert_eq!(seen.violations[0].guarantee, Guarantee::Filter, "{seen:?}");
    }
}

#[test]
fn ordered() {
    let swapped = with(&[vec![opened(9)], sent(&[0, 1, 2, 3, 5, 4, 6, 7])]);
    assert!(broken(swapped).contains(&Guarantee::Ordered));
}

#[test]
fn unique() {
    let twice = with(&[vec![opened(9)], sent(&[0, 1, 1, 2, 3, 4, 5, 6, 7])]);
    // The second of the same revision would have had no id on the first: send it on its own.
    assert!(!broken(twice).is_empty());
    let again = with(&[
        vec![opened(9)],
        sent(&[0, 1]),
        sent(&[1]),
        sent(&[2, 3, 4, 5, 6, 7]),
    ]);
    assert_eq!(broken(again), [Guarantee::Unique]);
    let resumed = with(&[
        vec![opened(9)],
        sent(&[0, 1, 2, 3]),
        vec![opened(13)],
        sent(&[2, 3]),
        sent(&[4, 5, 6, 7]),
    ]);
    let names = broken(resumed);
    assert!(names.contains(&Guarantee::Unique), "{names:?}");
}

#[test]
fn reliable() {
    let lost = with(&[vec![opened(9)], sent(&[0, 2, 3, 4, 5, 6, 7])]);
    assert_eq!(broken(lost), [Guarantee::Reliable]);
    let unfinished = with(&[vec![opened(9)], sent(&[0, 1, 2, 3, 4, 5, 6])]);
    assert_eq!(broken(unfinished), [Guarantee::Reliable]);
    let mut other = history();
    other[4]["record"]["value"] = json!("invented");
    let entries = with(&[
        vec![opened(9)],
        sent(&[0, 1, 2, 3]),
        vec![Entry::Message(message(&other[4], Some(14)))],
        sent(&[5, 6, 7]),
    ]);
    assert_eq!(broken(entries), [Guarantee::Reliable]);
}

#[test]
fn atomic() {
    // Only one of two changes of revision 13.
    let half = with(&[
        vec![opened(9)],
        sent(&[0, 1]),
        sent(&[2]),
        sent(&[4, 5, 6, 7]),
    ]);
    assert_eq!(broken(half), [Guarantee::Atomic]);
    // An id before the last.
    let early = with(&[
        vec![opened(9)],
        sent(&[0, 1]),
        sent(&[2]),
        sent(&[3]),
        sent(&[4, 5, 6, 7]),
    ]);
    assert!(broken(early).contains(&Guarantee::Atomic));
    // Another revision in between, which leaves 13 without its end.
    let mixed = with(&[
        vec![opened(9)],
        sent(&[0, 1]),
        sent(&[2, 3])[..1].to_vec(),
        sent(&[4, 5, 6, 7]),
    ]);
    assert!(broken(mixed).contains(&Guarantee::Atomic));
    let marked = with(&[
        vec![opened(9)],
        sent(&[0, 1]),
        sent(&[2, 3])[..1].to_vec(),
        progress(12),
        sent(&[2, 3, 4, 5, 6, 7]),
    ]);
    assert_eq!(broken(marked), [Guarantee::Atomic]);
}

#[test]
fn resumable() {
    let skipped = with(&[
        vec![opened(9)],
        sent(&[0, 1]),
        vec![opened(11)],
        sent(&[4, 5, 6, 7]),
    ]);
    assert_eq!(broken(skipped), [Guarantee::Resumable]);
    // The client itself goes on further than it got, and nobody told it to.
    let jumped = with(&[
        vec![opened(9)],
        sent(&[0, 1]),
        vec![opened(13)],
        sent(&[4, 5, 6, 7]),
    ]);
    assert_eq!(broken(jumped), [Guarantee::Resumable]);
}

#[test]
fn a_gap_that_is_announced_is_none() {
    let told = verdict(with(&[
        vec![opened(9)],
        sent(&[0, 1]),
        vec![Entry::Gone { oldest: 14 }, opened(13)],
        sent(&[4, 5, 6, 7]),
    ]));
    assert_eq!((told.violations, told.gaps), (Vec::new(), 1));
}

#[test]
fn bookmarkable() {
    let early = with(&[
        vec![opened(9)],
        sent(&[0, 1]),
        progress(13),
        sent(&[4, 5, 6, 7]),
    ]);
    assert_eq!(broken(early), [Guarantee::Bookmarkable]);
    let late = with(&[
        vec![opened(9)],
        sent(&[0, 1]),
        progress(13),
        sent(&[2, 3]),
        sent(&[4, 5, 6, 7]),
    ]);
    assert!(broken(late).contains(&Guarantee::Bookmarkable));
}

#[test]
fn previous() {
    for wrong in [Value::Null, history()[0]["record"].clone()] {
        let mut other = history();
        other[4]["previous"] = wrong;
        let entries = with(&[
            vec![opened(9)],
            sent(&[0, 1, 2, 3]),
            vec![Entry::Message(message(&other[4], Some(14)))],
            sent(&[5, 6, 7]),
        ]);
        assert_eq!(broken(entries), [Guarantee::Previous]);
    }
}

#[test]
fn progress_does_not_fall_and_an_idle_stream_is_not_silent() {
    let falls = with(&[
        vec![opened(9)],
        sent(&[0, 1, 2, 3, 4, 5, 6, 7]),
        progress(17),
    ]);
    assert_eq!(broken(falls), [Guarantee::Progress]);
    let entries = with(&[
        vec![opened(9)],
        sent(&[0, 1, 2, 3, 4, 5, 6, 7]),
        progress(18),
    ]);
    let mut log = log_of(Subscription::all(), entries);
    assert_eq!(check(&log, &canon(), Some(IDLE)).violations, []);
    let last = log.entries.len() - 1;
    log.entries[last].at += Duration::from_secs(9);
    let seen = check(&log, &canon(), Some(IDLE)).violations;
    assert_eq!(seen[0].guarantee, Guarantee::Progress);
}

#[test]
fn a_state_replaces_what_is_no_longer_kept() {
    let snapshot = |places: &[usize]| {
        let entries = places.iter().map(|&place| {
            let mut change = history()[place].clone();
            change["snapshot"] = json!(true);
            Entry::Message(message(&change, None))
        });
        with(&[
            vec![Entry::Message(Message::Reset { revision: 15 })],
            entries.collect(),
            vec![Entry::Message(Message::Synced { revision: 15 })],
        ])
    };
    let right = with(&[vec![opened(9)], snapshot(&[4, 5]), sent(&[6, 7])]);
    let seen = verdict(right);
    assert_eq!((seen.violations, seen.gaps), (Vec::new(), 1));
    let old = with(&[vec![opened(9)], snapshot(&[4, 3]), sent(&[6, 7])]);
    assert_eq!(broken(old), [Guarantee::Reliable]);
    let short = with(&[vec![opened(9)], snapshot(&[4]), sent(&[6, 7])]);
    assert_eq!(broken(short), [Guarantee::Reliable]);
}

#[test]
fn form() {
    let event = |name: &str, id: Option<&str>, data: &str| Event {
        name: name.to_owned(),
        data: data.to_owned(),
        id: id.map(str::to_owned),
    };
    for wrong in [
        event("hello", Some("7"), r#"{"revision":7,"oldest":1}"#),
        event("put", Some("8"), r#"{"key":"a","revision":7}"#),
        event("put", Some("x"), r#"{"key":"a","revision":7}"#),
        event("put", None, r#"{"revision":7}"#),
        event("put", None, "nothing"),
        event("progress", None, r#"{"revision":7}"#),
        event("surprise", None, "{}"),
    ] {
        assert!(Message::parse(&wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn a_history_is_compared_with_its_writers() {
    let put = |key: &str, value: &str, revision: Option<u64>| Written {
        effects: vec![("put", key.to_owned(), Some(value.to_owned()))],
        revision,
        refused: false,
    };
    let two = Written {
        effects: vec![
            ("put", "a/1".to_owned(), Some("a13".to_owned())),
            ("put", "b/1".to_owned(), Some("b13".to_owned())),
        ],
        revision: None,
        refused: false,
    };
    let delete = Written {
        effects: vec![("delete", "a/1".to_owned(), None)],
        revision: Some(16),
        refused: false,
    };
    let all = vec![
        put("a/1", "a10", Some(10)),
        put("b/1", "b11", Some(11)),
        two,
        put("a/1", "a14", None),
        put("b/1", "b15", Some(15)),
        delete,
        put("a/1", "a18", Some(18)),
        put("a/1", "never", None),
    ];
    assert_eq!(canon().against(&all), []);
    // Acknowledged and not there; at another revision; nobody's; torn; refused and there.
    let changed = |change: &dyn Fn(&mut Vec<Written>)| {
        let mut other = all.clone();
        change(&mut other);
        canon().against(&other)
    };
    assert!(!changed(&|all| all.push(put("a/1", "lost", Some(17)))).is_empty());
    assert!(!changed(&|all| all[0].revision = Some(11)).is_empty());
    assert!(!changed(&|all| drop(all.remove(0))).is_empty());
    assert!(!changed(&|all| drop(all.remove(5))).is_empty());
    assert!(
        !changed(&|all| all[2]
            .effects
            .push(("put", "c".to_owned(), Some("x".to_owned()))))
        .is_empty()
    );
    assert!(!changed(&|all| all[3].refused = true).is_empty());
}

#[test]
fn a_chain_with_a_missing_link_is_noticed() {
    let mut history = history();
    history.remove(4);
    let changes = history.iter().map(|change| match message(change, None) {
        Message::Change { change, .. } => change,
        other => panic!("{other:?}"),
    });
    let seen = Canon::of(changes).against(&[]);
    assert!(
        seen.iter().any(|one| one.guarantee == Guarantee::Previous),
        "{seen:?}"
    );
}
