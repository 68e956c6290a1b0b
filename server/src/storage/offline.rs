//! Storage without a node: everything that a stopped one has, read without touching it, and a new
//! directory for a cluster of one made out of it.
//!
//! The new member is a cluster of its own: its cluster id is new, so that members of the old one are
//! refused and refuse it. Its identity is an entry of the log that is taken as committed and applied,
//! the one after the last: the entry's index is the member's id, as it is for every id that the log
//! allocates (invariant 10), and its term is above every term that the old log knows of.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use futures::stream;
use openraft::RaftLogReader;
use openraft::storage::{RaftLogStorage, RaftStateMachine};

use super::snapshot_file::{self, Contents, SnapshotFile};
use super::wal::Wal;
use super::{
    DataDirectory, Formation, Identity, LogStore, Snapshots, StateMachine, Storage, codec,
    torn_tail,
};
use crate::events::{Entry as EventEntry, Events, Tail};
use crate::metrics::Metrics;
use crate::raft::{ClusterId, LogId, Member, Membership, NodeId, SnapshotMeta, Vote};
use crate::state::{Requests, State};

/// The whole replicated state, and its place in the log.
#[derive(Debug)]
pub struct Whole {
    meta: SnapshotMeta,
    state: State,
    requests: Requests,
    tail: Tail,
}

/// What a person is told of a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figures {
    pub revision: u64,
    pub keys: u64,
    pub locks: u64,
    /// The last entry that it comes from.
    pub last: Place,
    /// Members by id, and whether each has a vote.
    pub members: BTreeMap<NodeId, (Member, bool)>,
}

/// Index and term of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub index: u64,
    pub term: u64,
}

impl Place {
    fn of(id: Option<LogId>) -> Self {
        Self {
            index: id.map_or(0, |id| id.index()),
            term: id.map_or(0, |id| id.leader_id.term),
        }
    }
}

/// What a directory says of its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogEnd {
    /// Last entry of the snapshot that the state begins with; 0 without one.
    pub snapshot: u64,
    /// The newest entry that the node noted as committed. It notes that late.
    pub committed: u64,
    /// Highest term that it has voted in.
    pub voted: u64,
}

fn figures(meta: &SnapshotMeta, revision: u64, keys: u64, locks: u64) -> Figures {
    let voters: BTreeSet<NodeId> = meta.last_membership.voter_ids().collect();
    let member = |(id, member): (&NodeId, &Member)| (*id, (member.clone(), voters.contains(id)));
    let membership = meta.last_membership.membership();
    Figures {
        revision,
        keys,
        locks,
        last: Place::of(meta.last_log_id),
        members: membership.nodes().map(member).collect(),
    }
}

/// Returns the members that the newest snapshot of a data directory has, whether or not a node runs
/// on it; none without a snapshot.
///
/// # Errors
///
/// The snapshot is damaged, or the disk fails.
pub fn last_known_members(directory: &Path) -> io::Result<Vec<Member>> {
    let snapshots = directory.join("snapshots");
    if !snapshots.is_dir() {
        return Ok(Vec::new());
    }
    let current = Snapshots::read_only(&snapshots).current()?;
    Ok(current.map_or_else(Vec::new, |(meta, _)| {
        let nodes = meta.last_membership.membership().nodes();
        nodes.map(|(_, member)| member.clone()).collect()
    }))
}

impl SnapshotFile {
    /// Checks all checksums and says what is in it. Blocks; memory is bounded by one record.
    ///
    /// # Errors
    ///
    /// The file is damaged, was cut off or is no snapshot, or the disk fails.
    pub fn figures(&self) -> io::Result<Figures> {
        let header = snapshot_file::verify(&self.file)?;
        Ok(figures(
            &header.meta,
            header.revision,
            header.keys,
            header.locks,
        ))
    }
}

impl Whole {
    /// Reads and verifies a snapshot. Blocks.
    ///
    /// # Errors
    ///
    /// It is damaged, was cut off or is no snapshot, or the disk fails.
    pub fn of_snapshot(file: &SnapshotFile) -> io::Result<Self> {
        let (meta, contents) = file.read()?;
        let Contents {
            state,
            requests,
            floor,
            tail,
        } = contents;
        let entries = tail.into_iter().map(|set| Arc::new(EventEntry::new(set)));
        let tail = Tail {
            floor,
            entries: entries.collect(),
        };
        Ok(Self {
            meta,
            state,
            requests,
            tail,
        })
    }

    /// Reads what a stopped node has: its snapshot and every entry of its log, also those that it
    /// does not know to be committed. Log files are copied to `scratch`, an empty directory, because
    /// opening a log ends what a killed process left unfinished.
    ///
    /// # Errors
    ///
    /// A file is damaged (the text names it), there is nothing, or the disk fails.
    pub async fn of_directory(
        directory: &DataDirectory,
        scratch: &Path,
    ) -> io::Result<(Self, LogEnd)> {
        let mut machine = StateMachine::new(Snapshots::in_memory(), Events::default());
        let snapshots = directory.path().join("snapshots");
        let mut snapshot = 0;
        if snapshots.is_dir()
            && let Some((_, file)) = Snapshots::read_only(&snapshots).current()?
        {
            let (meta, contents) = file.read()?;
            snapshot = Place::of(meta.last_log_id).index;
            machine.load(meta, contents);
        }
        let files = directory.path().join("raft");
        let end = replay(&mut machine, &files, scratch)
            .await
            .map_err(|error| {
                // It is the copy that was opened.
                let (copy, original) = (scratch.display(), files.display());
                let text = error.to_string();
                let text = text.replace(&copy.to_string(), &original.to_string());
                io::Error::new(error.kind(), text)
            })?;
        let (meta, state, requests, tail) = machine.whole();
        if meta.last_log_id.is_none() {
            let text = format!(
                "`{}` holds neither a snapshot nor an entry",
                directory.path().display()
            );
            return Err(codec::invalid(text));
        }
        let whole = Self {
            meta,
            state,
            requests,
            tail,
        };
        Ok((whole, LogEnd { snapshot, ..end }))
    }

    /// Says what is in it.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let (keys, locks) = (self.state.len() as u64, self.state.locks().len() as u64);
        figures(&self.meta, self.state.revision(), keys, locks)
    }

    /// Writes it as a snapshot and syncs the file. Blocks.
    ///
    /// # Errors
    ///
    /// The disk fails or is full.
    pub fn write(&self, file: &File) -> io::Result<()> {
        let Self {
            meta,
            state,
            requests,
            tail,
        } = self;
        snapshot_file::write(file, meta, state, requests, tail)
    }

    /// Makes it the data directory of a new cluster whose only member is `member`, in a term above
    /// `term`. The identity is written last: a directory without one is never started.
    ///
    /// # Errors
    ///
    /// The directory cannot be made or holds something, or the disk fails.
    pub async fn found(self, path: &Path, member: &Member, term: u64) -> io::Result<Identity> {
        let directory = DataDirectory::open(path).map_err(io::Error::other)?;
        let last = Place::of(self.meta.last_log_id);
        let term = last.term.max(term) + 1;
        let id: NodeId = last.index + 1;
        let entry = LogId::new_term_index(term, id);
        let voters = BTreeSet::from([id]);
        let members = BTreeMap::from([(id, member.clone())]);
        let membership =
            openraft::Membership::new(vec![voters], members).map_err(io::Error::other)?;
        let meta = SnapshotMeta {
            last_log_id: Some(entry),
            last_membership: Membership::new(Some(entry), membership),
        };
        let mut storage = Storage::open(&directory, Metrics::default())?;
        let snapshots = &storage.snapshots;
        let incoming = snapshots.begin()?;
        snapshots.build(incoming, &meta, &self.state, &self.requests, &self.tail)?;
        storage.log.purge(entry).await?;
        // Its sync takes the mark of the purge along.
        storage.log.save_vote(&Vote::new(term, id)).await?;
        for folder in ["raft", "snapshots"] {
            File::open(path.join(folder))?.sync_all()?;
        }
        let identity = Identity {
            cluster: ClusterId::random(),
            id,
            name: member.name.clone(),
            formation: Formation::Formed,
            directory: None,
            founding: None,
            unconfirmed: false,
        };
        directory.write_identity(&identity)?;
        Ok(identity)
    }
}

/// Applies every entry of a log after what the machine has.
async fn replay(machine: &mut StateMachine, files: &Path, scratch: &Path) -> io::Result<LogEnd> {
    if !files.is_dir() {
        return Ok(LogEnd {
            snapshot: 0,
            committed: 0,
            voted: 0,
        });
    }
    copy_log(files, scratch)?;
    let mut log = LogStore::Durable(Wal::open(scratch, Metrics::default())?);
    let state = log.get_log_state().await?;
    let next = Place::of(state.last_log_id).index + u64::from(state.last_log_id.is_some());
    let first = state.last_purged_log_id.map_or(0, |id| id.index() + 1);
    let (applied, _) = machine.applied_state().await?;
    let mut at = applied.map_or(0, |id| id.index() + 1);
    if at < first {
        let text = format!(
            "`{}` begins with entry {first}, and no snapshot has what is before it",
            files.display()
        );
        return Err(codec::invalid(text));
    }
    while at < next {
        let entries = log.limited_get_log_entries(at, next).await?;
        let Some(last) = entries.last() else {
            let text = format!("`{}` has no entry {at}", files.display());
            return Err(codec::invalid(text));
        };
        at = last.log_id.index() + 1;
        let entries = entries.into_iter().map(|entry| Ok((entry, None)));
        machine.apply(stream::iter(entries)).await?;
    }
    Ok(LogEnd {
        snapshot: 0,
        committed: Place::of(log.read_committed().await?).index,
        voted: log.read_vote().await?.map_or(0, |vote| vote.leader_id.term),
    })
}

/// Copies log files with their holes: where a power cut left one the log ends (`torn_tail`).
fn copy_log(from: &Path, to: &Path) -> io::Result<()> {
    // Before anything is read, which would make a hole look like data.
    torn_tail::find(from)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "wal")
            && let Some(name) = path.file_name()
        {
            copy_with_holes(&path, &to.join(name))?;
        }
    }
    Ok(())
}

fn copy_with_holes(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{SeekFrom as Whence, seek};
    let mut input = File::open(from)?;
    let length = input.metadata()?.len();
    let mut written = Vec::new();
    let mut at = 0;
    while at < length {
        let start = match seek(&input, Whence::Data(at)) {
            Ok(start) => start,
            // The rest is a hole.
            Err(rustix::io::Errno::NXIO) => break,
            // A file system that does not know what one is.
            Err(_unknown) => at,
        };
        let end = seek(&input, Whence::Hole(start)).unwrap_or(length);
        written.push((start, end.min(length)));
        at = end;
    }
    let mut output = File::create_new(to)?;
    for (start, end) in written {
        input.seek(SeekFrom::Start(start))?;
        output.seek(SeekFrom::Start(start))?;
        io::copy(&mut Read::by_ref(&mut input).take(end - start), &mut output)?;
    }
    output.set_len(length)?;
    output.sync_all()
}
