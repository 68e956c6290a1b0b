//! What one look back may cost, and what nobody would ever take away.

use super::{ALL, Place, World};
use crate::events::Kind;
use crate::history::page;
use crate::history::{History, HistoryError, Version};

#[test]
fn a_look_back_reads_so_many_pages_and_goes_on_where_it_ended() {
    let (mut world, history) = (World::new(), History::in_memory(ALL));
    world.puts("other", 20_000, 1);
    // A page each, of revisions 2 to 41.
    world.puts("a", 20_000, 40);
    history.0.take(0, &world.entries(0));
    let current = world.keys["a"].clone();
    let look = |before, pages| {
        history.0.walk(("a", pages), |walk| {
            walk.versions(Some(&current), before, 100)
        })
    };
    let mut found: Vec<Version> = Vec::new();
    loop {
        let part = look(found.last().map(|last| last.revision), 7).unwrap();
        assert!((1..=7).contains(&part.versions.len()), "{part:?}");
        found.extend(part.versions);
        if !part.more {
            break;
        }
    }
    assert_eq!(found, world.versions("a"));
    // All of the key's changes are newer: there is nothing to go on from.
    let error = look(Some(1), 7).unwrap_err();
    assert!(matches!(error, HistoryError::TooFar { pages: 7 }));

    let value = |pages| {
        history
            .0
            .walk(("a", pages), |walk| walk.value_at(Some(&current), 5))
    };
    assert!(matches!(
        value(35).unwrap_err(),
        HistoryError::TooFar { pages: 35 }
    ));
    assert_eq!(value(36).unwrap().unwrap().mod_revision, 5);
    assert_eq!(history.revision_at(world.wall_ms).unwrap(), 41);
}

#[test]
fn ends_that_a_crash_left_go_when_history_starts_over() {
    let place = Place::new();
    let mut world = World::new();
    for _ in 0..20 {
        world.puts("a", 10, 1);
        world.change(|world| world.remove("a", Kind::Delete).into_iter().collect());
    }
    let history = place.open(ALL);
    history.0.take(0, &world.entries(0));
    history.0.save();
    let floor = world.revision + 10;
    let store = history.0.store().unwrap();
    let note = |key: &str, revision| {
        let name = page::end_name(key, revision);
        store.index.insert(&name, &[]).unwrap();
    };
    // Their pages were cut off, and the log does not bring them again.
    note("never", floor);
    note("b", floor - 5);
    note("later", floor + 1);
    history.0.take(floor, &[]);
    let first = store.index.first(b"e", b"f").unwrap().unwrap();
    assert_eq!(first.0, page::end_name("later", floor + 1));
    let last = store.index.last(b"e", b"f").unwrap().unwrap();
    assert_eq!(last, first);
}
