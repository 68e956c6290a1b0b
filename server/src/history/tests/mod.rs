//! History against a plain list of all changes, through restarts, crashes, gaps and damage.
//!
//! A random test repeats with `CONCLAVE_HISTORY_SEED=<seed>`, as it printed it.

mod bounds;
mod damage;
mod world;

use std::fs;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::{History, HistoryError, Limits, Version};
use crate::events::{Archive, Events, Kind, Taken};
use crate::state::ChangeSet;
use crate::testing::Random;
use world::World;

const OWNER: &str = "cluster";
const ALL: Limits = Limits {
    revisions: u64::MAX,
    bytes: u64::MAX,
    age: Duration::from_secs(u32::MAX as u64),
};

/// A directory with a history in it.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("history")
    }

    fn open(&self, limits: Limits) -> History {
        History::open(&self.path(), OWNER, limits)
    }

    /// Returns the names of what was set aside.
    fn set_aside(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name != "history").collect()
    }

    /// Copies the directory of a history that runs: about what a crash leaves behind. Files that
    /// change meanwhile may not fit each other, which no crash does; then it is set aside.
    fn crash(&self) -> Self {
        let copy = Self::new();
        copy_folder(&self.path(), &copy.path());
        copy
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_folder(&entry.path(), &to),
            // Files come and go while sled runs.
            false => drop(fs::copy(entry.path(), to)),
        }
    }
}

fn taken(history: &History) -> u64 {
    history.taken().unwrap()
}

fn read_all(history: &History, bytes: usize) -> Vec<ChangeSet> {
    let mut all: Vec<ChangeSet> = Vec::new();
    let mut after = history.floor();
    loop {
        let read = history.read(after, bytes).unwrap();
        let Some(last) = read.last() else {
            return all;
        };
        after = last.revision;
        all.extend(read);
    }
}

/// Compares every answer with the list.
fn assert_answers(world: &World, history: &History, random: &mut Random) {
    let floor = history.floor();
    let kept: Vec<_> = world
        .sets
        .iter()
        .filter(|set| set.revision > floor)
        .cloned()
        .collect();
    let bytes = [1, 3_000, 1 << 20][random.below(3)];
    assert!(
        read_all(history, bytes) == kept,
        "the changes after {floor} differ"
    );
    for key in ["a", "b", "a\0", "b/c/d", "é", "absent"] {
        let current = world.keys.get(key);
        let mut expected = world.versions(key);
        assert_values(world, history, key, &expected, random);
        expected.retain(|version| version.revision > floor);
        let all = history
            .versions(key, current.map(|it| &**it), None, usize::MAX)
            .unwrap();
        assert!(!all.more && all.complete == (floor == 0));
        assert_eq!(all.versions, expected, "versions of {key:?}");
        // In small pages.
        let (mut paged, mut before) = (Vec::new(), None);
        loop {
            let page = history
                .versions(key, current.map(|it| &**it), before, 3)
                .unwrap();
            assert!(page.versions.len() <= 3);
            before = page.versions.last().map(|version| version.revision);
            paged.extend(page.versions);
            if !page.more {
                break;
            }
        }
        assert_eq!(paged, expected, "pages of versions of {key:?}");
    }
    for _ in 0..20 {
        let Some(set) = kept.get(random.below(kept.len().max(1))) else {
            break;
        };
        let wall_ms = set.wall_time_ms + random.below(2_000) as u64 - 1_000;
        match (history.revision_at(wall_ms), world.revision_at(wall_ms)) {
            (Ok(found), expected) => assert_eq!(found, expected.unwrap_or(0), "at {wall_ms}"),
            (Err(HistoryError::Gone { oldest }), expected) => {
                assert_eq!(oldest, floor + 1);
                assert!(
                    floor > 0 && expected.is_none_or(|it| it <= floor),
                    "{expected:?}"
                );
            }
            (Err(error), _) => panic!("{error}"),
        }
    }
}

fn assert_values(
    world: &World,
    history: &History,
    key: &str,
    versions: &[Version],
    random: &mut Random,
) {
    let (floor, current) = (history.floor(), world.keys.get(key));
    let somewhere = (0..200).map(|_| random.below(world.revision as usize + 5) as u64);
    let near = [floor, floor.saturating_sub(1), world.revision];
    for revision in near.into_iter().chain(somewhere) {
        let newest = versions.iter().find(|version| version.revision <= revision);
        let expected = newest.and_then(|version| version.record.clone());
        match history.value_at(key, current, revision) {
            Ok(found) => assert_eq!(found, expected, "{key:?} at {revision}"),
            Err(HistoryError::Gone { oldest }) => {
                assert_eq!(oldest, floor + 1);
                assert!(
                    revision < floor,
                    "{key:?} at {revision}: kept from {oldest} on"
                );
            }
            Err(error) => panic!("{key:?} at {revision}: {error}"),
        }
    }
}

#[test]
fn random_changes_read_back_through_restarts_and_crashes() {
    let mut random = Random::from_environment("CONCLAVE_HISTORY_SEED");
    let tight = Limits {
        revisions: 150,
        ..ALL
    };
    for limits in [ALL, tight] {
        let mut world = World::new();
        let mut place = Place::new();
        let mut history = place.open(limits);
        for _ in 0..40 {
            for _ in 0..random.below(30) {
                world.random_change(&mut random);
            }
            history.0.take(0, &world.entries(taken(&history)));
            match random.below(8) {
                0 => {
                    history.0.save();
                }
                1 => history.sync().unwrap(),
                2 => {
                    drop(history);
                    let before = place.set_aside();
                    history = place.open(limits);
                    assert_eq!(place.set_aside(), before);
                }
                3 => {
                    let copy = place.crash();
                    drop(history);
                    place = copy;
                    history = place.open(limits);
                    let known = taken(&history);
                    assert!(known <= world.revision);
                    // The log brings more than is missing.
                    let from = known.saturating_sub(random.below(50) as u64);
                    history.0.take(0, &world.entries(from));
                }
                _ => {}
            }
            let mut newest = world.sets.last().map_or(0, |set| set.revision);
            newest = newest.max(taken(&history));
            history.0.take(0, &world.entries(taken(&history)));
            assert_eq!(taken(&history), newest);
        }
        assert_answers(&world, &history, &mut random);
        let stats = history.stats().unwrap();
        assert_eq!(stats.oldest, history.floor() + 1);
        assert_eq!(stats.revisions, read_all(&history, 1 << 20).len() as u64);
        assert!(stats.revisions >= limits.revisions.min(world.sets.len() as u64));
        assert!(stats.revisions <= limits.revisions.saturating_add(100));
    }
}

#[test]
fn memory_answers_like_the_disk() {
    let mut random = Random::from_environment("CONCLAVE_HISTORY_SEED");
    let limits = Limits {
        bytes: 300_000,
        ..ALL
    };
    let (mut world, history) = (World::new(), History::in_memory(limits));
    for _ in 0..600 {
        world.random_change(&mut random);
        history.0.take(0, &world.entries(taken(&history)));
    }
    assert_answers(&world, &history, &mut random);
    let stats = history.stats().unwrap();
    assert!((100_000..400_000).contains(&stats.bytes), "{stats:?}");
    assert!(history.floor() > 0);
}

#[test]
fn sets_above_a_page_and_of_many_keys_read_back() {
    let place = Place::new();
    let mut world = World::new();
    let history = place.open(ALL);
    for size in [
        1,
        3_800,
        3_900,
        4_000,
        4_031,
        4_032,
        4_096,
        8_150,
        1 << 20,
        1 << 20,
        5,
    ] {
        world.puts("a", size, 1);
    }
    world.change(|world| {
        (0..10_000)
            .map(|i| world.put(&format!("b/{i}"), 10))
            .collect()
    });
    world.change(|world| {
        let removed = (0..10_000).map(|i| world.remove(&format!("b/{i}"), Kind::Delete));
        removed.map(Option::unwrap).collect()
    });
    world.puts("b/77", 3, 1);
    history.0.take(0, &world.entries(0));
    let check = |history: &History| {
        assert!(read_all(history, 1) == world.sets);
        for key in ["a", "b/0", "b/77", "b/9999"] {
            let current = world.keys.get(key).map(|it| &**it);
            let found = history.versions(key, current, None, 100).unwrap();
            assert_eq!(found.versions, world.versions(key));
        }
    };
    check(&history);
    history.sync().unwrap();
    drop(history);
    check(&place.open(ALL));
}

#[test]
fn an_answer_of_large_values_is_cut() {
    let (mut world, history) = (World::new(), History::in_memory(ALL));
    world.puts("a", 1 << 20, 20);
    history.0.take(0, &world.entries(0));
    let current = world.keys["a"].clone();
    let found = history.versions("a", Some(&current), None, 100).unwrap();
    assert!(
        found.more && found.versions.len() == 8,
        "{}",
        found.versions.len()
    );
}

#[test]
fn a_gap_drops_what_is_older_for_good() {
    let place = Place::new();
    let mut world = World::new();
    world.puts("a", 500, 100);
    let history = place.open(ALL);
    history.0.take(0, &world.entries(0));
    world.puts("a", 500, 50);
    let floor = world.revision - 10;
    // The ring starts over before anything comes after it.
    history.0.take(floor, &[]);
    assert_eq!((history.floor(), history.taken()), (floor, Some(floor)));
    history.0.take(floor, &world.entries(floor));
    let check = |history: &History| {
        assert_eq!((history.floor(), taken(history)), (floor, world.revision));
        let mut random = Random::new(1);
        assert_answers(&world, history, &mut random);
        assert!(history.read(floor - 1, 1 << 20).unwrap().is_empty());
        assert_eq!(history.stats().unwrap().revisions, 10);
    };
    check(&history);
    history.sync().unwrap();
    let crashed = place.crash();
    check(&place_closed(history, &place));
    check(&crashed.open(ALL));

    let fresh = History::in_memory(ALL);
    fresh.0.take(floor, &world.entries(floor));
    check(&fresh);
}

/// Opens a history again.
fn place_closed(history: History, place: &Place) -> History {
    drop(history);
    place.open(ALL)
}

#[test]
fn what_is_too_old_or_too_much_goes() {
    let mut world = World::new();
    world.puts("a", 500, 100);
    world.wall_ms += 8 * 24 * 3600 * 1000;
    world.puts("a", 500, 50);
    world.change(|world| world.remove("a", Kind::Delete).into_iter().collect());
    let history = History::in_memory(Limits::default());
    history.0.take(0, &world.entries(0));
    history.0.save();
    assert!((90..=100).contains(&history.floor()), "{history:?}");
    assert_answers(&world, &history, &mut Random::new(1));

    world.wall_ms += 8 * 24 * 3600 * 1000;
    world.puts("b", 500, 50);
    history.0.take(0, &world.entries(taken(&history)));
    assert!(history.floor() >= 150, "{history:?}");
    // Nothing is left behind of what was trimmed.
    let mut names = Vec::new();
    let index = &history.0.store().unwrap().index;
    let mut from = vec![b'e'];
    while let Some((name, _)) = index.first(&from, &[0xff]).unwrap() {
        from = [&name[..], &[0]].concat();
        names.push((name[0], name));
    }
    let of = |kind| names.iter().filter(|(it, _)| *it == kind).count();
    assert_eq!((of(b'e'), of(b't')), (0, 1), "ends and times");
}

#[test]
fn the_disk_holds_little_more_than_what_is_kept() {
    let place = Place::new();
    let limits = Limits {
        bytes: 1 << 20,
        ..ALL
    };
    let (mut world, history) = (World::new(), place.open(limits));
    for _ in 0..40 {
        world.puts("a", 1_000, 100);
        history.0.take(0, &world.entries(taken(&history)));
        let size = history.0.store().unwrap().segments.size();
        assert!(size <= (1 << 20) + 2 * limits.segment_bytes(), "{size}");
    }
    assert!(history.floor() > 2_000, "{history:?}");
    assert_answers(&world, &history, &mut Random::new(1));
}

#[test]
fn a_crash_keeps_what_was_made_durable() {
    let place = Place::new();
    let mut world = World::new();
    let history = place.open(ALL);
    for _ in 0..3 {
        world.puts("a", 1_000, 100);
        history.0.take(0, &world.entries(taken(&history)));
        history.sync().unwrap();
        let durable = world.revision;
        world.puts("b", 1_000, 100);
        history.0.take(0, &world.entries(taken(&history)));
        let crashed = place.crash();
        let again = crashed.open(ALL);
        assert_eq!(crashed.set_aside(), [""; 0]);
        assert_eq!((again.floor(), taken(&again)), (0, durable));
        // The log brings the rest.
        again.0.take(0, &world.entries(durable - 10));
        assert_answers(&world, &again, &mut Random::new(1));
    }
}

#[tokio::test]
async fn it_takes_what_the_ring_lets_go_of_and_stops() {
    let place = Place::new();
    let mut world = World::new();
    let (events, history) = (Events::default(), place.open(ALL));
    let task = history.start(events.clone(), || true);
    for _ in 0..40 {
        world.puts("a", 1 << 19, 1);
        let set = world.sets.last().unwrap().clone();
        if events.publish(vec![set], world.revision) {
            events.wait_for_archive().await;
        }
    }
    history.reached(world.revision).await;
    let mut after = 0;
    while after < world.revision {
        match events.take(after, 10, 1 << 20).await.unwrap() {
            Taken::Changes(entries) => {
                assert_eq!(entries[0].revision(), after + 1);
                after = entries.last().unwrap().revision();
            }
            other => panic!("{other:?} after {after}"),
        }
    }
    assert_eq!(events.oldest(), 1);
    // A snapshot was installed, and nothing has come after it.
    events.restore(100, Vec::new(), 120);
    history.reached(100).await;
    assert_eq!((history.floor(), events.oldest()), (100, 101));
    let gone = events.take(50, 10, 1 << 20).await.unwrap();
    assert!(matches!(gone, Taken::Gone { oldest: 101 }), "{gone:?}");

    drop(task);
    history.close().await;
    assert_eq!(history.taken(), None);
    // sled has let go of its files, though handles are left.
    assert_eq!(taken(&place.open(ALL)), 100);
}
