//! A plain list of changes: what a history must answer like.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use conclave_shared::MemberAddress;

use crate::events::{Entry, Kind};
use crate::history::Version;
use crate::state::{Change, ChangeSet, Key, LockChange, LockChangeKind, LockName, Record};
use crate::testing::Random;

/// What a state machine would have changed, from the beginning.
#[derive(Default)]
pub(super) struct World {
    pub(super) keys: BTreeMap<String, Arc<Record>>,
    pub(super) sets: Vec<ChangeSet>,
    pub(super) revision: u64,
    pub(super) wall_ms: u64,
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            wall_ms: 1_700_000_000_000,
            ..Self::default()
        }
    }

    pub(super) fn put(&mut self, key: &str, size: usize) -> Change {
        let previous = self.keys.get(key).cloned();
        let before = previous.as_deref();
        let record = Arc::new(Record {
            value: Bytes::from(vec![self.revision as u8; size]),
            content_type: "text/plain".into(),
            create_revision: before.map_or(self.revision, |record| record.create_revision),
            mod_revision: self.revision,
            version: before.map_or(1, |record| record.version + 1),
            origin: "node0".into(),
            deadline_ms: None,
        });
        self.keys.insert(key.to_owned(), record.clone());
        let key = Key::try_from(key).unwrap();
        Change::Put {
            key,
            record,
            previous,
        }
    }

    pub(super) fn remove(&mut self, key: &str, kind: Kind) -> Option<Change> {
        let previous = self.keys.remove(key)?;
        let key = Key::try_from(key).unwrap();
        Some(match kind {
            Kind::Expire => Change::Expire { key, previous },
            _ => Change::Delete { key, previous },
        })
    }

    /// Makes one revision of what `change` changes; without changes there is none.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut Self) -> Vec<Change>) {
        self.revision += 1;
        let changes = change(self);
        if !changes.is_empty() {
            self.sets.push(ChangeSet {
                revision: self.revision,
                log_time_ms: self.revision * 10,
                wall_time_ms: self.wall_ms,
                origin: "node0".into(),
                client: self.revision.is_multiple_of(3).then(|| "client".into()),
                changes,
            });
        }
    }

    pub(super) fn puts(&mut self, key: &str, size: usize, count: usize) {
        for _ in 0..count {
            self.change(|world| vec![world.put(key, size)]);
        }
    }

    pub(super) fn random_change(&mut self, random: &mut Random) {
        self.revision += random.below(3) as u64;
        match random.below(40) {
            0 => self.wall_ms -= random.below(20_000) as u64,
            1 => self.wall_ms += random.below(60_000) as u64,
            _ => self.wall_ms += random.below(400) as u64,
        }
        let mut names = Vec::new();
        for _ in 0..=random.below(3) {
            // One is the other with a zero byte, as between a key and what follows it in a name.
            names.push(["a", "b", "a\0", "b/c/d", "é"][random.below(5)]);
        }
        names.sort_unstable();
        names.dedup();
        let sizes = [0, 20, 300, 300, 300, 6_000, 20_000];
        let (what, size) = (random.below(20), sizes[random.below(sizes.len())]);
        self.change(|world| match what {
            0..11 => names.iter().map(|key| world.put(key, size)).collect(),
            11..16 => names
                .iter()
                .filter_map(|key| world.remove(key, Kind::Delete))
                .collect(),
            16..18 => world.remove(names[0], Kind::Expire).into_iter().collect(),
            18 => vec![lock()],
            _ => vec![members()],
        });
    }

    pub(super) fn entries(&self, after: u64) -> Vec<Arc<Entry>> {
        let after = self.sets.iter().filter(|set| set.revision > after);
        after.map(|set| Arc::new(Entry::new(set.clone()))).collect()
    }

    /// Returns all changes of a key, newest first, with their records.
    pub(super) fn versions(&self, key: &str) -> Vec<Version> {
        let of = |set: &ChangeSet| {
            let version = |change: &Change, record| Version {
                revision: set.revision,
                log_time_ms: set.log_time_ms,
                wall_time_ms: set.wall_time_ms,
                origin: set.origin.clone(),
                client: set.client.clone(),
                kind: Kind::of(change),
                record,
            };
            set.changes.iter().find_map(|change| match change {
                Change::Put {
                    key: it, record, ..
                } if &**it == key => Some(version(change, Some(record.clone()))),
                Change::Delete { key: it, .. } | Change::Expire { key: it, .. } if &**it == key => {
                    Some(version(change, None))
                }
                _ => None,
            })
        };
        self.sets.iter().rev().filter_map(of).collect()
    }

    pub(super) fn revision_at(&self, wall_ms: u64) -> Option<u64> {
        let newest = self
            .sets
            .iter()
            .rev()
            .find(|set| set.wall_time_ms <= wall_ms);
        newest.map(|set| set.revision)
    }
}

fn lock() -> Change {
    Change::Lock(LockChange {
        lock: LockName::try_from("l").unwrap(),
        kind: LockChangeKind::Granted,
        session: crate::state::SessionId(7),
        owner: "o".into(),
        node: "node0".into(),
        token: Some(9),
        waiters: 0,
    })
}

fn members() -> Change {
    let member = MemberAddress {
        node: "node0".to_owned(),
        id: 1,
        http: "localhost:1".to_owned(),
        raft: "localhost:2".to_owned(),
        voter: true,
    };
    Change::Members {
        before: Vec::new(),
        after: vec![member],
    }
}
