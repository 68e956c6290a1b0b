//! Damage of every kind: set aside or given up, and never served.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::{ALL, OWNER, Place, Random, World, assert_answers, taken};
use crate::events::Archive;
use crate::history::{History, HistoryError, Limits, page};

#[test]
fn another_cluster_and_another_format_are_set_aside() {
    let place = Place::new();
    let mut world = World::new();
    world.puts("a", 500, 20);
    for (owner, format) in [("one", None), ("two", None), ("three", Some(9))] {
        let history = History::open(&place.path(), owner, ALL);
        assert_eq!(history.taken(), Some(0), "{owner}");
        history.0.take(0, &world.entries(0));
        history.sync().unwrap();
        if let Some(format) = format {
            let store = history.0.store().unwrap();
            store.index.insert(page::META, &[format]).unwrap();
        }
    }
    drop(place.open(ALL));
    assert_eq!(
        place.set_aside(),
        ["history.broken-3"],
        "only the newest stays"
    );
}

/// Damages the files of a closed history; returns what was done.
fn damage(folder: &Path, random: &mut Random) -> String {
    let folders = [folder.to_owned(), folder.join("pages")];
    let entries = folders.iter().flat_map(|it| fs::read_dir(it).unwrap());
    let mut files: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file() && fs::metadata(path).unwrap().len() > 0)
        .collect();
    files.sort();
    let path = &files[random.below(files.len())];
    let mut bytes = fs::read(path).unwrap();
    // sled's file ends with what was never written.
    let used = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(1, |at| at + 1);
    let at = random.below(used);
    let what = match random.below(4) {
        0 => {
            bytes.truncate(at);
            "cut off"
        }
        1 => {
            bytes[at] ^= 1 << random.below(8);
            "flipped"
        }
        2 => {
            let end = (at + 1 + random.below(20_000)).min(used);
            bytes[at..end].fill_with(|| random.below(256) as u8);
            "garbage"
        }
        _ => {
            bytes.fill(0);
            "zeroed"
        }
    };
    fs::write(path, bytes).unwrap();
    format!("{} {what} at {at} of {used}", path.display())
}

#[test]
fn damage_is_never_served_and_ends_with_a_usable_history() {
    let mut random = Random::from_environment("CONCLAVE_HISTORY_SEED");
    let place = Place::new();
    let mut world = World::new();
    for _ in 0..1_500 {
        world.random_change(&mut random);
    }
    let history = place.open(ALL);
    history.0.take(0, &world.entries(0));
    history.sync().unwrap();
    drop(history);
    let mut outcomes = BTreeMap::<&str, usize>::new();
    for _ in 0..30 {
        let copy = place.crash();
        let what = damage(&copy.path(), &mut random);
        let history = copy.open(ALL);
        let known = history.taken().expect("a history after any damage");
        // What the log brings again.
        history.0.take(known, &world.entries(known));
        let floor = history.floor();
        let mut at = floor;
        let mut is_damaged = false;
        while at < world.revision && !is_damaged {
            match history.read(at, 50_000) {
                Ok(read) => {
                    let expected = world.sets.iter().filter(|set| set.revision > at);
                    assert!(read.iter().eq(expected.take(read.len())), "{what}");
                    let Some(last) = read.last() else { break };
                    at = last.revision;
                }
                Err(_) => is_damaged = true,
            }
        }
        let outcome = match (is_damaged, copy.set_aside().is_empty()) {
            (true, _) => {
                assert_eq!(history.taken(), None, "given up: {what}");
                drop(history);
                let again = copy.open(ALL);
                assert_eq!(again.taken(), Some(0), "{what}");
                assert_eq!(copy.set_aside().len(), 1, "{what}");
                again.0.take(0, &world.entries(0));
                assert_answers(&world, &again, &mut random);
                "found while used"
            }
            (false, false) => "set aside",
            (false, true) => "harmless or the newest lost",
        };
        *outcomes.entry(outcome).or_default() += 1;
    }
    println!("{outcomes:?}");
    assert!(outcomes.contains_key("set aside"), "{outcomes:?}");
}

#[test]
fn pages_that_are_lost_are_damage() {
    let place = Place::new();
    let mut world = World::new();
    world.puts("a", 500, 500);
    let history = place.open(Limits {
        bytes: 1 << 20,
        ..ALL
    });
    history.0.take(0, &world.entries(0));
    history.sync().unwrap();
    drop(history);
    let segments = || {
        let entries = fs::read_dir(place.path().join("pages")).unwrap();
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    };
    let paths = segments();
    assert!(paths.len() > 3, "{paths:?}");
    // The oldest are trimmed before the index says so.
    fs::remove_file(&paths[0]).unwrap();
    let history = place.open(ALL);
    assert_eq!(place.set_aside(), [""; 0]);
    assert!(history.floor() > 0 && taken(&history) == world.revision);
    assert_answers(&world, &history, &mut Random::new(1));
    drop(history);
    // Nothing else ever goes.
    fs::remove_file(&paths[2]).unwrap();
    drop(place.open(ALL));
    assert_eq!(place.set_aside(), ["history.broken-1"]);
}

#[test]
fn a_history_that_was_given_up_takes_and_answers_nothing() {
    let place = Place::new();
    let mut world = World::new();
    world.puts("a", 500, 20);
    let history = place.open(ALL);
    history.0.take(0, &world.entries(0));
    history.give_up("a test");
    assert_eq!(history.taken(), None);
    world.puts("a", 500, 20);
    history.0.take(0, &world.entries(20));
    let current = world.keys["a"].clone();
    let error = history.versions("a", Some(&current), None, 10).unwrap_err();
    assert!(matches!(error, HistoryError::Failed(_)), "{error}");
    history.sync().unwrap();
    // It is no damage: the next start goes on with what was stored.
    drop(history);
    let again = place.open(ALL);
    assert_eq!(place.set_aside(), [""; 0]);
    assert!(taken(&again) <= 20);
}

#[test]
fn a_place_that_cannot_be_written_is_no_reason_to_stop() {
    let place = Place::new();
    fs::write(place.path(), "a file").unwrap();
    let history = place.open(ALL);
    assert_eq!(history.taken(), Some(0), "the file is set aside");
    let history = History::open(Path::new("/proc/history"), OWNER, ALL);
    assert_eq!(history.taken(), None);
}
