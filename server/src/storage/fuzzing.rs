//! Reads of bytes that a disk may hold: whatever they are, there is a value or an error. For
//! [`crate::fuzzing`].

use std::fmt::Debug;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use raft_log::RaftLogRecord;
use raft_log::codeq::Decode as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;

use super::snapshot_file::Contents;
use super::wal::{Wal, WalTypes};
use super::{SnapshotFile, Snapshots, codec};
use crate::events::{Entry, Tail};
use crate::metrics::Metrics;
use crate::raft::{LogId, Payload, Vote};

/// Blocks of a log file that hold only zeros are left as holes, as a power cut leaves them.
const BLOCK: usize = 4_096;

/// Reads bytes as each kind of stored record, as records of the log, and as a whole log file.
///
/// # Panics
///
/// There is a defect.
pub fn log_entry(bytes: &[u8]) {
    same_again::<Payload>(bytes);
    same_again::<LogId>(bytes);
    same_again::<Vote>(bytes);
    // A file that does not even begin with a record tells nothing new, and a file costs time.
    if RaftLogRecord::<WalTypes>::decode(bytes).is_ok() {
        opens(bytes);
    }
}

fn same_again<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) {
    let Ok(value) = codec::decode::<T>(bytes) else {
        return;
    };
    let encoded = codec::encode(&value).expect("what was stored can be stored");
    let again: T = codec::decode(&encoded).expect("what was stored can be read");
    assert_eq!(again, value);
}

/// Returns whether a log opens that has only this file. All entries of one that does are read.
fn opens(bytes: &[u8]) -> bool {
    let folder = scratch();
    let path = folder.path().join("raft");
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.expect("a runtime");
    write_log(&path, bytes).expect("a log file");
    let Ok(log) = Wal::open(&path, Metrics::default()) else {
        return false;
    };
    let read = runtime.block_on(log.read(0, u64::MAX, usize::MAX));
    read.is_ok()
}

fn write_log(folder: &Path, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir(folder)?;
    let file = File::create(folder.join("r-00_000_000_000_000_000_000.wal"))?;
    for (block, at) in bytes.chunks(BLOCK).zip((0..).step_by(BLOCK)) {
        if block.iter().any(|byte| *byte != 0) {
            file.write_all_at(block, at)?;
        }
    }
    file.set_len(bytes.len() as u64)
}

/// Makes a folder in memory where there is one: what is fuzzed is no disk.
fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = match memory.is_dir() {
        true => tempfile::tempdir_in(memory),
        false => tempfile::tempdir(),
    };
    made.expect("a temporary folder")
}

/// Reads bytes as a snapshot: as they are, and with the checksums that their records should have.
///
/// # Panics
///
/// There is a defect.
pub fn snapshot(bytes: &[u8]) {
    loads(bytes);
    let mut corrected = bytes.to_vec();
    correct_checksums(&mut corrected);
    if corrected != bytes {
        loads(&corrected);
    }
}

/// Returns whether a snapshot is accepted. One that is takes its place and can be written again.
fn loads(bytes: &[u8]) -> bool {
    let snapshots = Snapshots::in_memory();
    let file = received(&snapshots, bytes).expect("a file in memory");
    let verified = file.verify();
    let installed = snapshots.install(file);
    let current = snapshots.current().expect("a snapshot that was accepted");
    let Ok((meta, contents)) = installed else {
        assert!(current.is_none(), "what is damaged was installed");
        return false;
    };
    assert_eq!(verified.expect("what was read has checksums"), meta);
    assert_eq!(current.map(|(meta, _)| meta).as_ref(), Some(&meta));
    let Contents {
        state,
        requests,
        floor,
        tail,
    } = contents;
    let entries = tail.into_iter().map(|set| Arc::new(Entry::new(set)));
    let tail = Tail {
        floor,
        entries: entries.collect(),
    };
    let incoming = snapshots.begin().expect("a file in memory");
    let built = snapshots.build(incoming, &meta, &state, &requests, &tail);
    let (again, contents) = built
        .and_then(|file| file.read())
        .expect("what was read can be written and read");
    assert_eq!(again, meta);
    assert_eq!(contents.state.hash(), state.hash());
    assert_eq!(contents.requests.hash(), requests.hash());
    true
}

fn received(snapshots: &Snapshots, bytes: &[u8]) -> io::Result<SnapshotFile> {
    let mut incoming = snapshots.begin()?;
    incoming.write(bytes)?;
    incoming.finish(bytes.len() as u64)
}

/// Gives every record the checksum of its bytes: otherwise nearly nothing behind that is reached.
fn correct_checksums(bytes: &mut [u8]) {
    let mut rest = bytes;
    while let Some((head, records)) = rest.split_first_chunk_mut::<8>() {
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        let Some((record, after)) = records.split_at_mut_checked(length as usize) else {
            return;
        };
        head[4..].copy_from_slice(&crc32fast::hash(record).to_be_bytes());
        rest = after;
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use bytes::Bytes;
    use futures::stream;
    use openraft::RaftSnapshotBuilder as _;
    use openraft::entry::RaftEntry as _;
    use openraft::storage::{RaftLogStorage as _, RaftStateMachine as _};

    use super::*;
    use crate::events::Events;
    use crate::raft::{Entry as LogEntry, Member};
    use crate::state::{
        Command, Condition, Guard, Key, LockName, Op, Put, RequestId, Transaction, TxnCondition,
        TxnOp,
    };
    use crate::storage::tests::{append, entries, id};
    use crate::storage::{LogStore, StateMachine, torn_tail};

    type Seed = (&'static str, Vec<u8>);

    fn command(index: u64, op: Op) -> Payload {
        let command = Command {
            log_time_ms: 1_000 * index,
            wall_time_ms: 1_700_000_000_000 + index,
            request_id: RequestId::new(&format!("request-{index}")).unwrap(),
            taken_at: index.saturating_sub(1),
            origin: "node0".into(),
            client: index.is_multiple_of(2).then(|| "client".into()),
            guard: None,
            op,
        };
        Payload::Normal(command.into())
    }

    fn key(name: &str) -> Key {
        Key::try_from(name).unwrap()
    }

    fn lock() -> LockName {
        LockName::try_from("lock").unwrap()
    }

    fn put(name: &str, ttl_ms: Option<u64>) -> Put {
        Put {
            key: key(name),
            value: Bytes::from(format!("value of {name}")),
            content_type: "text/plain".into(),
            ttl_ms,
        }
    }

    fn acquire(queue: bool) -> Op {
        Op::AcquireLock {
            lock: lock(),
            owner: "owner".into(),
            ttl_ms: 60_000,
            session: None,
            queue,
        }
    }

    fn transaction() -> Op {
        Op::Transaction(Transaction {
            conditions: vec![TxnCondition::Key {
                key: key("a/1"),
                condition: Condition::default(),
            }],
            then: vec![
                TxnOp::Get { key: key("a/1") },
                TxnOp::Put {
                    put: put("b", Some(9_000_000)),
                    return_previous: true,
                },
            ],
            or_else: Some(vec![TxnOp::DeletePrefix {
                prefix: "a/".to_owned(),
            }]),
        })
    }

    fn membership() -> Payload {
        let member = |name: &str| Member {
            name: name.to_owned(),
            http: "localhost:11000".to_owned(),
            raft: "localhost:11001".to_owned(),
        };
        let members = BTreeMap::from([(1, member("node0")), (2, member("node1"))]);
        let voters = vec![BTreeSet::from([1]), BTreeSet::from([1, 2])];
        Payload::Membership(openraft::Membership::new(voters, members).unwrap())
    }

    /// Returns entries of many kinds; the first has index 0.
    fn kinds() -> Vec<LogEntry> {
        let puts = vec![put("a/2", None), put("a/3", Some(3_600_000))];
        let ops = [
            Op::Put {
                put: put("a/1", None),
                condition: Condition {
                    exists: Some(false),
                    ..Condition::default()
                },
                return_previous: true,
            },
            Op::PutMany { puts },
            transaction(),
            Op::Delete {
                key: key("a/2"),
                condition: Condition::default(),
                return_previous: false,
            },
            acquire(false),
            acquire(true),
            Op::AllocateNode {
                name: "node1".into(),
            },
            Op::SettleRequest {
                id: RequestId::new("settled").unwrap(),
            },
            Op::Tick,
        ];
        let ops = ops.into_iter().zip(1..).map(|(op, at)| command(at, op));
        let payloads = [membership()].into_iter().chain(ops);
        let entries = (0..).zip(payloads);
        entries
            .map(|(index, payload)| LogEntry::new(id(1, index), payload))
            .collect()
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap().block_on(future)
    }

    /// Returns the file of a log that entries were appended to, some of them in vain.
    async fn log_file(written: Vec<LogEntry>) -> Vec<u8> {
        let folder = scratch();
        let path = folder.path().join("raft");
        let mut log = LogStore::Durable(Wal::open(&path, Metrics::default()).unwrap());
        log.save_vote(&Vote::new_committed(1, 1)).await.unwrap();
        let last = written.len() as u64 - 1;
        append(&mut log, written).await.unwrap();
        log.truncate_after(Some(id(1, last - 1))).await.unwrap();
        log.save_committed(Some(id(1, last - 1))).await.unwrap();
        log.purge(id(1, 1)).await.unwrap();
        // Its sync takes along what is before it.
        log.save_vote(&Vote::new(2, 3)).await.unwrap();
        let file = torn_tail::last_file(&path).unwrap().unwrap();
        fs::read(file).unwrap()
    }

    pub(crate) fn log_seeds() -> Vec<Seed> {
        let mut guarded = command(7, transaction());
        if let Payload::Normal(command) = &mut guarded {
            Arc::make_mut(command).guard = Some(Guard {
                lock: lock(),
                token: 5,
            });
        }
        let mut cut = block_on(log_file(entries(1, 0..12, 700)));
        cut[BLOCK..2 * BLOCK].fill(0);
        vec![
            ("file", block_on(log_file(kinds()))),
            ("file_with_a_hole", cut),
            ("transaction", codec::encode(&guarded).unwrap()),
            ("membership", codec::encode(&membership()).unwrap()),
            (
                "acquire",
                codec::encode(&command(8, acquire(true))).unwrap(),
            ),
            ("vote", codec::encode(&Vote::new(3, 2)).unwrap()),
        ]
    }

    async fn snapshot_of(applied: Vec<LogEntry>) -> Vec<u8> {
        let mut machine = StateMachine::new(Snapshots::in_memory(), Events::default());
        let applied = applied.into_iter().map(|entry| Ok((entry, None)));
        machine.apply(stream::iter(applied)).await.unwrap();
        let mut builder = machine.get_snapshot_builder().await;
        let file = builder.build_snapshot().await.unwrap().snapshot;
        let mut bytes = vec![0; usize::try_from(file.bytes).unwrap()];
        assert_eq!(file.read_at(&mut bytes, 0).unwrap(), bytes.len());
        bytes
    }

    pub(crate) fn snapshot_seeds() -> Vec<Seed> {
        let first = kinds().into_iter().take(2).collect();
        vec![
            ("kinds", block_on(snapshot_of(kinds()))),
            ("first", block_on(snapshot_of(first))),
            ("membership", block_on(snapshot_of(vec![kinds().remove(0)]))),
        ]
    }

    #[test]
    fn the_seeds_get_past_every_check() {
        for (name, bytes) in log_seeds() {
            let is_file = name.starts_with("file");
            let is_record =
                codec::decode::<Payload>(&bytes).is_ok() || codec::decode::<Vote>(&bytes).is_ok();
            assert!(if is_file { opens(&bytes) } else { is_record }, "{name}");
        }
        for (name, bytes) in snapshot_seeds() {
            assert!(loads(&bytes), "{name}");
            let mut corrected = bytes.clone();
            correct_checksums(&mut corrected);
            assert_eq!(corrected, bytes, "{name}");
        }
    }

    #[test]
    fn a_changed_record_gets_past_its_checksum() {
        let (_, mut bytes) = snapshot_seeds().remove(0);
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        let file = |bytes: &[u8]| received(&Snapshots::in_memory(), bytes).unwrap();
        assert!(file(&bytes).verify().is_err());
        correct_checksums(&mut bytes);
        file(&bytes).verify().unwrap();
    }
}
