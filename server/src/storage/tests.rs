//! Storage as a whole: openraft's conformance suite, reopening, damage, snapshots.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, RaftLogStorage, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::TypeConfigExt;
use openraft::{RaftLogReader, RaftSnapshotBuilder, StorageError};

use super::{
    DataDirectory, DirectoryError, Formation, Identity, LogEnd, LogStore, Place, Snapshots,
    StateMachine, Storage, Wal, Whole,
};
use crate::events::Events;
use crate::metrics::Metrics;
use crate::raft::{ClusterId, Entry, LogId, Member, Payload, TypeConfig, Vote};
use crate::state::{Command, Condition, Key, Op, Put, RequestId, View};

struct Durable;
struct InMemory;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, tempfile::TempDir> for Durable {
    async fn build(
        &self,
    ) -> Result<(tempfile::TempDir, LogStore, StateMachine), StorageError<TypeConfig>> {
        let directory = tempfile::tempdir().unwrap();
        let log = LogStore::Durable(
            Wal::open(&directory.path().join("raft"), Metrics::default()).unwrap(),
        );
        let snapshots = Snapshots::open(&directory.path().join("snapshots")).unwrap();
        Ok((
            directory,
            log,
            StateMachine::new(snapshots, Events::default()),
        ))
    }
}

impl StoreBuilder<TypeConfig, LogStore, StateMachine, ()> for InMemory {
    async fn build(&self) -> Result<((), LogStore, StateMachine), StorageError<TypeConfig>> {
        let storage = Storage::in_memory();
        Ok((
            (),
            storage.log,
            StateMachine::new(storage.snapshots, Events::default()),
        ))
    }
}

#[tokio::test]
async fn the_durable_store_passes_the_conformance_suite() {
    Suite::test_all(Durable).await.unwrap();
}

#[tokio::test]
async fn the_memory_store_passes_the_conformance_suite() {
    Suite::test_all(InMemory).await.unwrap();
}

pub(super) fn id(term: u64, index: u64) -> LogId {
    openraft::testing::log_id::<TypeConfig>(term, 1, index)
}

fn put(index: u64, bytes: usize) -> Payload {
    let put = Put {
        key: Key::try_from(format!("key{index:06}").as_str()).unwrap(),
        value: Bytes::from(vec![7; bytes]),
        content_type: "text/plain".into(),
        ttl_ms: None,
    };
    let command = Command {
        log_time_ms: index,
        wall_time_ms: index,
        request_id: RequestId::new(&format!("request-{index}")).unwrap(),
        taken_at: 0,
        origin: "node0".into(),
        client: None,
        guard: None,
        op: Op::Put {
            put,
            condition: Condition::default(),
            return_previous: false,
        },
    };
    Payload::Normal(command.into())
}

pub(super) fn entries(term: u64, range: std::ops::Range<u64>, bytes: usize) -> Vec<Entry> {
    range
        .map(|index| Entry::new(id(term, index), put(index, bytes)))
        .collect()
}

pub(super) async fn append(log: &mut LogStore, entries: Vec<Entry>) -> io::Result<()> {
    let (done, flushed) = TypeConfig::oneshot();
    log.append(entries, IOFlushed::signal(done)).await?;
    flushed.await.unwrap()
}

/// Opens a log that another handle of this process may still be closing.
fn reopen(directory: &Path) -> io::Result<LogStore> {
    let deadline = crate::clock::now() + Duration::from_secs(10);
    loop {
        match Wal::open(directory, Metrics::default()) {
            Err(error) if error.to_string().contains("lock") && crate::clock::now() < deadline => {
                std::thread::yield_now();
            }
            result => return result.map(LogStore::Durable),
        }
    }
}

fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .collect();
    paths.sort();
    paths
}

#[tokio::test]
async fn everything_acknowledged_is_there_after_a_reopen() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("raft");
    let mut log = LogStore::Durable(Wal::open(&path, Metrics::default()).unwrap());
    log.save_vote(&Vote::new_committed(1, 1)).await.unwrap();
    append(&mut log, entries(1, 0..200, 5_000)).await.unwrap();
    log.truncate_after(Some(id(1, 149))).await.unwrap();
    append(&mut log, entries(2, 150..151, 1)).await.unwrap();
    log.purge(id(1, 99)).await.unwrap();
    log.save_committed(Some(id(2, 150))).await.unwrap();
    log.save_vote(&Vote::new(3, 2)).await.unwrap(); // a barrier: syncs all of the above
    drop(log);

    let mut log = reopen(&path).unwrap();
    let state = log.get_log_state().await.unwrap();
    assert_eq!(state.last_purged_log_id, Some(id(1, 99)));
    assert_eq!(state.last_log_id, Some(id(2, 150)));
    assert_eq!(log.read_committed().await.unwrap(), Some(id(2, 150)));
    assert_eq!(log.read_vote().await.unwrap(), Some(Vote::new(3, 2)));
    let found = log.try_get_log_entries(..).await.unwrap();
    assert_eq!(found.len(), 51);
    assert_eq!(
        (found[0].log_id, found[50].log_id),
        (id(1, 100), id(2, 150))
    );
    assert_eq!(found[0].payload, put(100, 5_000));
}

/// raft-log reads the open file's entries only from its cache, and evicts by log id.
#[tokio::test]
async fn entries_of_an_older_term_after_a_truncation_stay_readable() {
    let directory = tempfile::tempdir().unwrap();
    let mut log =
        LogStore::Durable(Wal::open(&directory.path().join("raft"), Metrics::default()).unwrap());
    append(&mut log, entries(1, 0..5, 64 << 10)).await.unwrap();
    append(&mut log, entries(9, 5..400, 64 << 10))
        .await
        .unwrap();
    log.truncate_after(Some(id(1, 4))).await.unwrap();
    append(&mut log, entries(2, 5..200, 64 << 10))
        .await
        .unwrap();
    let found = log.try_get_log_entries(..).await.unwrap();
    assert_eq!(found.len(), 200);
    assert_eq!(found[199].log_id, id(2, 199));
}

/// What fails while the log is written, and not only a sync, ends it: the node is about to stop.
#[tokio::test]
async fn a_log_that_could_not_begin_a_new_file_takes_nothing_more() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("raft");
    let mut log = LogStore::Durable(Wal::open(&path, Metrics::default()).unwrap());
    append(&mut log, entries(1, 0..10, 100)).await.unwrap();
    fs::remove_dir_all(&path).unwrap();
    let error = append(&mut log, entries(1, 10..60, 100_000)).await;
    assert_eq!(error.unwrap_err().kind(), io::ErrorKind::NotFound);
    fs::create_dir(&path).unwrap();
    let error = log.save_vote(&Vote::new(3, 2)).await.unwrap_err();
    assert!(error.to_string().contains("has stopped"), "{error}");
}

#[tokio::test]
async fn a_damaged_record_that_is_not_the_last_is_an_error() {
    for place in ["value", "length", "log id"] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("raft");
        let mut log = LogStore::Durable(Wal::open(&path, Metrics::default()).unwrap());
        append(&mut log, entries(1, 0..10, 100)).await.unwrap();
        drop(log);
        drop(reopen(&path).unwrap());

        let file = files(&path, "wal").remove(0);
        let mut bytes = fs::read(&file).unwrap();
        let key = bytes
            .windows(9)
            .position(|window| window == b"key000005")
            .unwrap();
        let at = match place {
            "value" => key + 40,
            "length" => key - 30,
            _ => key - 45,
        };
        bytes[at] ^= 1;
        let mut out = OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(&file)
            .unwrap();
        out.write_all(&bytes).unwrap();
        drop(out);
        let error = reopen(&path)
            .err()
            .unwrap_or_else(|| panic!("damaged {place} went unnoticed"));
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(error.to_string().contains(name), "{place}: {error}");
    }
}

/// Returns the folder of a closed log, all of it in one file, and that file.
async fn closed_log(folder: &Path, written: Vec<Entry>) -> (PathBuf, PathBuf) {
    let path = folder.join("raft");
    let mut log = LogStore::Durable(Wal::open(&path, Metrics::default()).unwrap());
    append(&mut log, written).await.unwrap();
    drop(log);
    drop(reopen(&path).unwrap());
    let file = files(&path, "wal").remove(0);
    (path, file)
}

#[tokio::test]
async fn an_unfinished_last_record_is_cut_off() {
    let directory = tempfile::tempdir().unwrap();
    let (path, file) = closed_log(directory.path(), entries(1, 0..10, 100)).await;
    let file = OpenOptions::new().write(true).open(file).unwrap();
    file.set_len(file.metadata().unwrap().len() - 30).unwrap();
    let mut log = reopen(&path).unwrap();
    assert_eq!(
        log.get_log_state().await.unwrap().last_log_id,
        Some(id(1, 8))
    );
}

/// Blocks of the last log file that a power cut left unwritten, wherever they are.
#[tokio::test]
async fn a_log_with_a_hole_opens_up_to_it() {
    const BLOCK: u64 = 4_096;
    for (from, to) in [(2, 3), (2, 5), (5, 9), (3, u64::MAX)] {
        let directory = tempfile::tempdir().unwrap();
        let (path, file) = closed_log(directory.path(), entries(1, 0..60, 700)).await;
        let file = OpenOptions::new().write(true).open(file).unwrap();
        file.sync_all().unwrap();
        let length = file.metadata().unwrap().len();
        let (start, end) = (from * BLOCK, to.saturating_mul(BLOCK).min(length));
        rustix::fs::fallocate(
            &file,
            rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE,
            start,
            end - start,
        )
        .unwrap();
        let mut log = reopen(&path).unwrap();
        let last = log.get_log_state().await.unwrap().last_log_id.unwrap();
        let kept = last.index() + 1;
        assert!(
            kept * 700 < start && (kept + 2) * 850 > start,
            "{kept} entries before the hole at {start}"
        );
        append(&mut log, entries(2, kept..kept + 5, 10))
            .await
            .unwrap();
        drop(log);
        let mut log = reopen(&path).unwrap();
        let last = log.get_log_state().await.unwrap().last_log_id;
        assert_eq!(last, Some(id(2, kept + 4)));
    }
}

/// Zeros that were written are damage like any other.
#[tokio::test]
async fn a_damaged_log_without_a_hole_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (path, file) = closed_log(directory.path(), entries(1, 0..60, 700)).await;
    let mut bytes = fs::read(&file).unwrap();
    bytes[8_192..12_288].fill(0);
    fs::write(&file, &bytes).unwrap();
    assert!(reopen(&path).is_err());
    assert_eq!(fs::read(&file).unwrap(), bytes, "and it is left as it is");
}

/// A start replays the log since the last snapshot: many small writes are as much work as few large
/// ones.
#[tokio::test]
async fn small_entries_count_for_a_snapshot_as_what_the_log_has() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("raft");
    let mut log = LogStore::Durable(Wal::open(&path, Metrics::default()).unwrap());
    let snapshots = Snapshots::open(directory.path()).unwrap();
    let mut machine = StateMachine::new(snapshots, Events::default());
    for index in 1..1_001 {
        append(&mut log, entries(1, index..index + 1, 8))
            .await
            .unwrap();
    }
    let applied = entries(1, 1..1_001, 8).into_iter();
    let applied = applied.map(|entry| Ok((entry, None)));
    machine.apply(stream::iter(applied)).await.unwrap();
    let (counted, _) = machine.published().snapshot_backlog();
    let written = fs::metadata(files(&path, "wal").remove(0)).unwrap().len();
    let ratio = counted as f64 / written as f64;
    assert!((0.6..1.7).contains(&ratio), "{counted} of {written} bytes");
}

async fn filled(snapshots: Snapshots, keys: u64) -> StateMachine {
    let mut machine = StateMachine::new(snapshots, Events::default());
    let applied = entries(1, 1..keys + 1, 100)
        .into_iter()
        .map(|entry| Ok((entry, None)));
    machine.apply(stream::iter(applied)).await.unwrap();
    machine
}

#[tokio::test]
async fn a_snapshot_restores_the_same_state_and_replaces_the_older_one() {
    let directory = tempfile::tempdir().unwrap();
    let snapshots = Snapshots::open(directory.path()).unwrap();
    let mut machine = filled(snapshots.clone(), 10).await;
    machine
        .get_snapshot_builder()
        .await
        .build_snapshot()
        .await
        .unwrap();
    machine
        .apply(stream::iter([Ok((entries(1, 11..12, 1).remove(0), None))]))
        .await
        .unwrap();
    machine
        .get_snapshot_builder()
        .await
        .build_snapshot()
        .await
        .unwrap();
    assert_eq!(files(directory.path(), "snap").len(), 1);

    let mut other = StateMachine::new(
        Snapshots::open(directory.path()).unwrap(),
        Events::default(),
    );
    let current = other.get_current_snapshot().await.unwrap().unwrap();
    other
        .install_snapshot(&current.meta, current.snapshot)
        .await
        .unwrap();
    let (one, two) = (
        machine.published().read(View::clone),
        other.published().read(View::clone),
    );
    // The settled requests are part of the hash.
    assert_eq!((one.hash(), one.state.len()), (two.hash(), 11));
    assert_eq!(two.oldest_outcome, Some(1));
    assert_eq!(two.applied_index, 11);
    assert_eq!(two.state.log_time_ms(), 11);
}

#[tokio::test]
async fn a_snapshot_cut_off_anywhere_or_damaged_is_never_loaded() {
    let directory = tempfile::tempdir().unwrap();
    let snapshots = Snapshots::open(directory.path()).unwrap();
    let mut machine = filled(snapshots.clone(), 20).await;
    let whole = machine
        .get_snapshot_builder()
        .await
        .build_snapshot()
        .await
        .unwrap();
    let bytes = fs::read(files(directory.path(), "snap").remove(0)).unwrap();

    let load = |bytes: &[u8]| {
        let mut incoming = snapshots.begin().unwrap();
        incoming.write(bytes).unwrap();
        let file = incoming.finish(bytes.len() as u64).unwrap();
        (file.verify(), snapshots.install(file))
    };
    for cut in 0..bytes.len() {
        let (verified, installed) = load(&bytes[..cut]);
        assert!(verified.is_err() && installed.is_err(), "cut at {cut}");
    }
    for flip in (0..bytes.len()).step_by(7) {
        let mut damaged = bytes.clone();
        damaged[flip] ^= 0x10;
        let (verified, installed) = load(&damaged);
        assert!(verified.is_err() && installed.is_err(), "damage at {flip}");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(load(&longer).0.is_err());

    let current = machine.get_current_snapshot().await.unwrap().unwrap();
    assert_eq!(
        current.meta, whole.meta,
        "the complete one is still the current one"
    );
    drop(Snapshots::open(directory.path()).unwrap());
    assert_eq!(
        files(directory.path(), "tmp").len(),
        0,
        "unfinished files are deleted at start"
    );
}

#[tokio::test]
async fn a_received_snapshot_of_another_length_than_announced_is_refused() {
    let snapshots = Snapshots::in_memory();
    let mut incoming = snapshots.begin().unwrap();
    incoming.write(b"half").unwrap();
    let error = incoming.finish(8).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

/// Makes what a killed node left: an identity, a log with `written`, and no more.
async fn dead_node(written: Vec<Entry>) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let directory = DataDirectory::open(folder.path()).unwrap();
    let identity = Identity {
        cluster: ClusterId([7; 16]),
        id: 1,
        name: "n".to_owned(),
        formation: Formation::Formed,
        directory: None,
        founding: None,
        unconfirmed: false,
    };
    directory.write_identity(&identity).unwrap();
    let (_, file) = closed_log(folder.path(), written).await;
    (folder, file)
}

async fn read_dead(folder: &Path) -> io::Result<(Whole, LogEnd)> {
    let scratch = tempfile::tempdir().unwrap();
    let directory = DataDirectory::open_stopped(folder).unwrap();
    Whole::of_directory(&directory, scratch.path()).await
}

/// Entries that nobody committed are taken along, up to the hole that a power cut left.
#[tokio::test]
async fn a_stopped_directory_is_read_whole_and_left_as_it_is() {
    const BLOCK: u64 = 4_096;
    let (folder, file) = dead_node(entries(3, 0..60, 700)).await;
    let (whole, end) = read_dead(folder.path()).await.unwrap();
    assert_eq!(
        (whole.figures().last, end.committed),
        (Place { index: 59, term: 3 }, 0)
    );

    let out = OpenOptions::new().write(true).open(&file).unwrap();
    out.sync_all().unwrap();
    let flags = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&out, flags, 5 * BLOCK, 2 * BLOCK).unwrap();
    drop(out);
    let before = fs::read(&file).unwrap();
    let (whole, _) = read_dead(folder.path()).await.unwrap();
    let last = whole.figures().last.index;
    assert!((15..30).contains(&last), "{last} entries before the hole");
    assert_eq!(fs::read(&file).unwrap(), before);

    let locked = DataDirectory::open(folder.path()).unwrap();
    let error = DataDirectory::open_stopped(folder.path()).unwrap_err();
    assert!(matches!(error, DirectoryError::Locked(_)), "{error}");
    drop(locked);
}

#[tokio::test]
async fn damage_in_a_stopped_directory_names_its_own_file() {
    let (folder, file) = dead_node(entries(1, 0..60, 700)).await;
    let mut bytes = fs::read(&file).unwrap();
    bytes[8_192..12_288].fill(0);
    fs::write(&file, &bytes).unwrap();
    let error = read_dead(folder.path()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    let name = file.display().to_string();
    assert!(error.to_string().contains(&name), "{error}");

    let (folder, _) = dead_node(Vec::new()).await;
    let error = read_dead(folder.path()).await.unwrap_err();
    assert!(error.to_string().contains("neither"), "{error}");
}

#[tokio::test]
async fn a_founded_directory_begins_after_everything_of_the_old_log() {
    let (folder, _) = dead_node(entries(3, 0..60, 10)).await;
    let (whole, _) = read_dead(folder.path()).await.unwrap();
    let figures = whole.figures();
    let member = Member {
        name: "new".to_owned(),
        ..Member::default()
    };
    let target = tempfile::tempdir().unwrap();
    // It had voted in a term of which it has no entry.
    let identity = whole.found(target.path(), &member, 8).await.unwrap();
    assert_eq!((identity.id, &*identity.name), (60, "new"));
    assert_ne!(identity.cluster, ClusterId([7; 16]));

    let mut log = reopen(&target.path().join("raft")).unwrap();
    let state = log.get_log_state().await.unwrap();
    assert_eq!(
        state
            .last_purged_log_id
            .map(|id| (id.leader_id.term, id.index())),
        Some((9, 60))
    );
    assert_eq!(state.last_log_id, state.last_purged_log_id);
    assert_eq!(log.read_vote().await.unwrap(), Some(Vote::new(9, 60)));
    drop(log);
    let again = read_dead(target.path()).await.unwrap().0.figures();
    assert_eq!(
        (again.revision, again.keys),
        (figures.revision, figures.keys)
    );
    let members: Vec<_> = again.members.into_iter().collect();
    assert_eq!(members, [(60, (member, true))]);
}
