//! Everything a node keeps: the log, snapshots, its identity, and the adapter that applies
//! committed entries to [`crate::state`].
//!
//! ```text
//! DIR/LOCK                  held while a process uses the directory
//! DIR/node.json             format, cluster id, Raft id, node name (invariant 10), a checksum
//! DIR/formation.json        before that: to whom the directory is pledged (see `formation`)
//! DIR/raft/                 log files of the `raft-log` crate: entries, vote, committed index
//! DIR/snapshots/N.snap      one complete snapshot; N is the log index after its last entry
//! DIR/snapshots/*.tmp       unfinished ones, deleted at start
//! DIR/left-N/               what an identity left that the node has given up
//! DIR/moving.json           while a move to another cluster may still be undone
//! DIR/history*              see `history`; nothing here reads it
//! ```

mod codec;
mod directory;
mod disk_space;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod log_store;
mod memory_log;
mod moving;
#[cfg(not(feature = "simulation"))]
mod offline;
mod snapshot_file;
mod snapshots;
mod state_machine;
#[cfg(test)]
mod tests;
mod torn_tail;
mod wal;

use std::io;

use openraft::RaftLogReader;

use crate::metrics::Metrics;
use crate::raft::{Entry, NodeId, Payload, TypeConfig};

pub use directory::{DataDirectory, DirectoryError, Formation, Identity, write_seeking};
pub use disk_space::{Admitted, DiskSpace, Writer};
pub use log_store::{LogStore, approximate_size};
#[cfg(not(feature = "simulation"))]
pub use offline::{Figures, LogEnd, Place, Whole, last_known_members};
pub use snapshot_file::SnapshotFile;
pub use snapshots::{IncomingSnapshot, Snapshots};
pub use state_machine::{Published, StateMachine};

use memory_log::MemoryLog;
use wal::Wal;

/// openraft's handle over our state machine.
pub type Raft = openraft::Raft<TypeConfig, StateMachine>;

/// A complete snapshot with its place in the log.
pub type Snapshot = openraft::alias::SnapshotOf<TypeConfig, SnapshotFile>;

/// The opened storage of one node.
#[derive(Debug)]
pub struct Storage {
    pub log: LogStore,
    pub snapshots: Snapshots,
}

impl Storage {
    /// Opens the durable storage below a data directory. Blocks while the log is replayed.
    ///
    /// # Errors
    ///
    /// A file is damaged (the text names it) or cannot be read or written.
    pub fn open(directory: &DataDirectory, metrics: Metrics) -> io::Result<Self> {
        Ok(Self {
            log: LogStore::Durable(Wal::open(&directory.path().join("raft"), metrics)?),
            snapshots: Snapshots::open(&directory.path().join("snapshots"))?,
        })
    }

    /// Returns storage that writes nothing and is gone with the process.
    #[must_use]
    pub fn in_memory() -> Self {
        Self {
            log: LogStore::Memory(MemoryLog::default()),
            snapshots: Snapshots::in_memory(),
        }
    }
}

/// Returns true when this node may have granted a lease before it was restarted, and must stay
/// silent until that has run out: it neither votes nor campaigns for one lease (invariant 14). The
/// only voter of a cluster need not wait for itself.
///
/// # Errors
///
/// The disk fails.
pub async fn may_be_bound(
    log: &mut impl RaftLogReader<TypeConfig>,
    published: &Published,
    id: NodeId,
) -> io::Result<bool> {
    if log.read_vote().await?.is_none() {
        return Ok(false);
    }
    let applied = published.position().applied_index;
    let above = log.try_get_log_entries(applied + 1..).await?;
    let changes = |entry: &Entry| matches!(entry.payload, Payload::Membership(_));
    Ok(**published.voters() != [id] || above.iter().any(changes))
}
