//! The ring, its archive, and what readers see of both.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

use super::*;
use crate::clock;
use crate::state::{Change, Key, LockName, Record};

fn record(bytes: usize) -> Arc<Record> {
    Arc::new(Record {
        value: Bytes::from(vec![b'x'; bytes]),
        content_type: "text/plain".into(),
        create_revision: 1,
        mod_revision: 1,
        version: 1,
        origin: "n".into(),
        deadline_ms: None,
    })
}

fn key(text: &str) -> Key {
    Key::try_from(text).unwrap()
}

fn put(name: &str, bytes: usize) -> Change {
    Change::Put {
        key: key(name),
        record: record(bytes),
        previous: None,
    }
}

fn set(revision: u64, bytes: usize) -> ChangeSet {
    ChangeSet {
        revision,
        log_time_ms: revision,
        wall_time_ms: revision,
        origin: "n".into(),
        client: None,
        changes: vec![put("k", bytes)],
    }
}

fn revisions(taken: &Taken) -> Vec<u64> {
    match taken {
        Taken::Changes(entries) => entries.iter().map(|entry| entry.revision()).collect(),
        Taken::UpTo(_) | Taken::Gone { .. } => Vec::new(),
    }
}

/// An archive in memory that takes only what it is told to.
#[derive(Default)]
struct Shelf {
    sets: Mutex<Vec<ChangeSet>>,
    taken: AtomicU64,
    floor: AtomicU64,
    given_up: AtomicBool,
}

impl Archive for Shelf {
    fn floor(&self) -> u64 {
        self.floor.load(Ordering::Relaxed)
    }

    fn taken(&self) -> Option<u64> {
        let taken = self.taken.load(Ordering::Relaxed);
        (!self.given_up.load(Ordering::Relaxed)).then_some(taken)
    }

    fn read(&self, after: u64, _bytes: usize) -> io::Result<Vec<ChangeSet>> {
        let sets = self.sets.lock();
        let wanted = sets.iter().filter(|set| set.revision > after);
        Ok(wanted.cloned().collect())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn give_up(&self, _reason: &str) {
        self.given_up.store(true, Ordering::Relaxed);
    }
}

impl Shelf {
    fn take(&self, events: &Events, upto: u64) {
        let entries: Vec<_> = events.0.ring.read().iter().cloned().collect();
        let known = self.taken.load(Ordering::Relaxed);
        let new = entries
            .iter()
            .filter(|entry| entry.revision() > known && entry.revision() <= upto);
        self.sets
            .lock()
            .extend(new.map(|entry| entry.set().clone()));
        self.taken.store(upto, Ordering::Relaxed);
        events.make_room();
    }
}

#[tokio::test]
async fn a_reader_takes_what_comes_after_its_place_in_order_and_once() {
    let events = Events::default();
    events.publish(vec![set(3, 1), set(5, 1)], 5);
    events.publish(vec![set(9, 1)], 10);
    let all = events.take(0, 100, 1 << 20).await.unwrap();
    assert_eq!(revisions(&all), [3, 5, 9]);
    let some = events.take(3, 1, 1 << 20).await.unwrap();
    assert_eq!(revisions(&some), [5]);
    let end = events.take(9, 100, 1 << 20).await.unwrap();
    assert!(matches!(end, Taken::UpTo(10)), "{end:?}");
    let ahead = events.take(70, 100, 1 << 20).await.unwrap();
    assert!(
        matches!(ahead, Taken::UpTo(70)),
        "a place ahead waits: {ahead:?}"
    );
    assert_eq!(events.oldest(), 1);
}

#[tokio::test]
async fn at_least_one_whole_revision_is_taken_whatever_its_size() {
    let events = Events::default();
    events.publish(vec![set(1, 100_000), set(2, 100_000)], 2);
    assert_eq!(revisions(&events.take(0, 100, 10).await.unwrap()), [1]);
}

#[tokio::test]
async fn the_ring_is_bounded_and_a_place_that_is_gone_is_told_so() {
    let events = Events::default();
    for revision in 1..=64 {
        events.publish(vec![set(revision, 1 << 20)], revision);
    }
    let gone = events.take(0, 100, 1 << 20).await.unwrap();
    let Taken::Gone { oldest } = gone else {
        panic!("{gone:?}");
    };
    assert!(oldest > 50, "{oldest}");
    assert_eq!(events.oldest(), oldest);
    let kept = events.take(oldest - 1, 1, 1).await.unwrap();
    assert_eq!(revisions(&kept), [oldest]);
}

#[tokio::test]
async fn what_the_archive_has_not_taken_stays_in_the_ring() {
    let events = Events::default();
    let shelf = Arc::new(Shelf::default());
    events.attach(shelf.clone());
    for revision in 1..=32 {
        events.publish(vec![set(revision, 1 << 20)], revision);
    }
    assert_eq!(revisions(&events.take(0, 1, 1).await.unwrap()), [1]);
    shelf.take(&events, 32);
    let floor = events.0.ring.read().floor();
    assert!(floor > 20, "{floor}");
    // From the archive, and from the ring after it, without a gap.
    let old = revisions(&events.take(0, 100, 1 << 20).await.unwrap());
    assert_eq!(old, (1..=32).collect::<Vec<_>>());
    assert_eq!(events.oldest(), 1);
}

#[tokio::test]
async fn what_the_archive_knows_ahead_of_the_log_is_not_told_yet() {
    let events = Events::default();
    let shelf = Arc::new(Shelf::default());
    shelf.sets.lock().extend([set(2, 1), set(30, 1)]);
    shelf.taken.store(30, Ordering::Relaxed);
    events.attach(shelf);
    events.restore(20, Vec::new(), 20);
    assert_eq!(revisions(&events.take(0, 9, 1 << 20).await.unwrap()), [2]);
    // The reader's place moves on to where the ring begins: it can sleep there.
    let nothing = events.take(2, 9, 1 << 20).await.unwrap();
    assert!(matches!(nothing, Taken::UpTo(20)), "{nothing:?}");
}

#[tokio::test]
async fn an_archive_that_stands_still_is_given_up() {
    let events = Events::default();
    let shelf = Arc::new(Shelf::default());
    events.attach(shelf.clone());
    let mut revision = 0;
    loop {
        revision += 1;
        assert!(revision < 200, "the ring must be full at some time");
        if events.publish(vec![set(revision, 1 << 20)], revision) {
            break;
        }
    }
    events.wait_for_archive().await;
    assert!(shelf.given_up.load(Ordering::Relaxed));
    assert!(!events.0.ring.read().is_overfull());
    assert!(events.oldest() > 1, "and history says since when it is");
}

#[tokio::test]
async fn a_reader_sleeps_until_there_is_something_for_it() {
    let events = Events::default();
    events.publish(vec![set(1, 1)], 1);
    let waiting = tokio::spawn({
        let events = events.clone();
        async move { events.changed(1).await }
    });
    tokio::task::yield_now().await;
    events.publish(Vec::new(), 2);
    tokio::task::yield_now().await;
    assert!(
        !waiting.is_finished(),
        "an entry without changes wakes nobody"
    );
    events.publish(vec![set(3, 1)], 3);
    waiting.await.unwrap();
}

#[tokio::test]
async fn a_snapshot_brings_its_tail_and_what_is_before_it_is_gone() {
    let events = Events::default();
    events.publish(vec![set(1, 1)], 1);
    let other = Events::default();
    other.publish((10..20).map(|revision| set(revision, 1)).collect(), 20);
    let tail = other.tail();
    let sets = tail.entries.iter().map(|entry| entry.set().clone());
    events.restore(9, sets.collect(), 20);
    assert!(matches!(
        events.take(5, 10, 1 << 20).await.unwrap(),
        Taken::Gone { oldest: 10 }
    ));
    let resumed = events.take(12, 1, 1 << 20).await.unwrap();
    assert_eq!(revisions(&resumed), [13]);
    assert_eq!(events.applied(), 20);
}

#[test]
fn the_tail_of_a_snapshot_is_bounded_but_for_what_nobody_else_has() {
    let (events, shelf) = (Events::default(), Arc::new(Shelf::default()));
    events.attach(shelf.clone());
    for revision in 1..=30 {
        events.publish(vec![set(revision, 1 << 20)], revision);
    }
    for taken in [11, 30] {
        shelf.taken.store(taken, Ordering::Relaxed);
        let tail = events.tail();
        assert!(tail.floor <= taken, "{} of {taken}", tail.floor);
        assert_eq!(tail.floor + 1, tail.entries[0].revision());
        let most = 10.max(30 - taken as usize);
        assert!(tail.entries.len() <= most, "{}", tail.entries.len());
    }
}

#[test]
fn a_form_is_made_once() {
    let entry = Entry::new(set(1, 1));
    let first = entry.form(0, |_| Bytes::from_static(b"made"));
    let second = entry.form(0, |_| unreachable!("it is there"));
    assert_eq!(first, second);
}

#[test]
fn filters_select_by_kind_and_name() {
    let lock = Change::Lock(crate::state::LockChange {
        lock: LockName::try_from("a/l").unwrap(),
        kind: crate::state::LockChangeKind::Granted,
        session: crate::state::SessionId(1),
        owner: "o".into(),
        node: "n".into(),
        token: Some(1),
        waiters: 0,
    });
    let members = Change::Members {
        before: Vec::new(),
        after: Vec::new(),
    };
    let all = Filter::prefixes(Kind::ALL, Vec::new());
    let some = Filter::prefixes(
        [Kind::Put, Kind::Lock, Kind::Member],
        vec!["a/".into(), "b".into()],
    );
    let puts = Filter::prefixes([Kind::Put], vec!["a/".into()]);
    for (change, in_some, in_puts) in [
        (put("a/1", 1), true, true),
        (put("b", 1), true, false),
        (put("c", 1), false, false),
        (lock, true, false),
        (members, true, false),
    ] {
        assert!(all.matches(&change));
        assert_eq!(some.matches(&change), in_some, "{change:?}");
        assert_eq!(puts.matches(&change), in_puts, "{change:?}");
    }
    let delete = Change::Delete {
        key: key("a/1"),
        previous: record(1),
    };
    assert!(!some.matches(&delete));
}

#[test]
fn children_are_one_level_below() {
    let alone = Filter::key("a".into(), false);
    let family = Filter::key("a".into(), true);
    for (name, is_alone, is_family) in [
        ("a", true, true),
        ("a/b", false, true),
        ("a/b/c", false, false),
        ("ab", false, false),
        ("a/", false, false),
        ("b", false, false),
    ] {
        assert_eq!(alone.has_name(name), is_alone, "{name}");
        assert_eq!(family.has_name(name), is_family, "{name}");
    }
}

async fn selected(events: &Events, filter: &Filter, before: Option<Instant>) -> Arc<Selection> {
    match events.select(0, filter, before, 100, 1 << 20).await {
        Ok(Taken::Changes(selection)) => selection,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn readers_at_one_place_with_one_filter_share_what_is_chosen_and_shown() {
    let events = Events::default();
    let (all, none) = (
        Filter::prefixes(Kind::ALL, Vec::new()),
        Filter::prefixes(Kind::ALL, vec!["other/".to_owned()]),
    );
    events.publish(vec![set(3, 1), set(5, 1)], 5);
    let first = selected(&events, &all, None).await;
    assert_eq!((first.entries().len(), first.upto()), (2, 5));
    assert!(first.is_all());
    let other = selected(&events, &none, None).await;
    assert_eq!((other.entries().len(), other.upto()), (0, 5), "looked at");
    let again = selected(&events, &all, None).await;
    assert!(Arc::ptr_eq(&first, &again));
    let made = |selection: &Selection| {
        let size = selection.entries().len();
        vec![Bytes::from(vec![0; size])]
    };
    let pieces = first.form(0, made);
    let shared = again.form(0, |_| panic!("it was made"));
    assert!(Arc::ptr_eq(&pieces, &shared));
    events.publish(vec![set(9, 1)], 10);
    let later = selected(&events, &all, None).await;
    assert_eq!(later.upto(), 9, "what came meanwhile is told too");
}

#[tokio::test]
async fn a_selection_ends_where_it_is_full_and_a_large_one_is_not_kept() {
    let events = Events::default();
    let all = Filter::prefixes(Kind::ALL, Vec::new());
    events.publish(vec![set(3, 1), set(5, 1 << 20)], 5);
    let Ok(Taken::Changes(one)) = events.select(0, &all, None, 1, 1 << 20).await else {
        panic!("there are changes");
    };
    assert_eq!((one.upto(), one.is_all()), (3, false));
    let large = || async { events.select(3, &all, None, 1, 1).await.unwrap() };
    let (Taken::Changes(first), Taken::Changes(second)) = (large().await, large().await) else {
        panic!("there are changes");
    };
    assert_eq!(first.upto(), 5);
    assert!(!Arc::ptr_eq(&first, &second));
}

#[tokio::test]
async fn what_came_after_the_moment_is_left_for_later() {
    let events = Events::default();
    let all = Filter::prefixes(Kind::ALL, Vec::new());
    let before = clock::now();
    events.publish(vec![set(3, 1)], 4);
    let early = events.select(0, &all, Some(before), 100, 1 << 20).await;
    assert!(
        matches!(early, Ok(Taken::UpTo(0))),
        "it is not applied for this reader yet: {early:?}"
    );
    let after = clock::now() + Duration::from_millis(1);
    assert_eq!(selected(&events, &all, Some(after)).await.upto(), 3);
    let told = events.select(3, &all, Some(before), 100, 1 << 20).await;
    assert!(matches!(told, Ok(Taken::UpTo(4))), "{told:?}");
}

#[tokio::test]
async fn a_snapshot_forgets_what_was_chosen_before() {
    let events = Events::default();
    let all = Filter::prefixes(Kind::ALL, Vec::new());
    events.publish(vec![set(3, 1)], 3);
    let before = selected(&events, &all, None).await;
    events.restore(0, vec![set(3, 2)], 3);
    let after = selected(&events, &all, None).await;
    assert!(!Arc::ptr_eq(&before, &after));
}
