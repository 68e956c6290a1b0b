//! Everything a node keeps: the log, snapshots, its identity, and the adapter that applies
//! committed entries to [`crate::state`].
//!
//! ```text
//! DIR/LOCK                  held while a process uses the directory
//! DIR/node.json             format, cluster id, Raft id, node name (invariant 10)
//! DIR/raft/                 log files of the `raft-log` crate: entries, vote, committed index
//! DIR/snapshots/N.snap      one complete snapshot; N is the log index after its last entry
//! DIR/snapshots/*.tmp       unfinished ones, deleted at start
//! ```

mod codec;
mod directory;
mod log_store;
mod memory_log;
mod snapshot_file;
mod snapshots;
mod state_machine;
#[cfg(test)]
mod tests;
mod wal;

use std::io;

pub use directory::{DataDirectory, DirectoryError, Formation, Identity};
pub use log_store::{LogStore, approximate_size};
pub use snapshot_file::SnapshotFile;
pub use snapshots::{IncomingSnapshot, Snapshots};
pub use state_machine::{Published, StateMachine};

use memory_log::MemoryLog;
use wal::Wal;

/// openraft's handle over our state machine.
pub type Raft = openraft::Raft<crate::raft::TypeConfig, StateMachine>;

/// A complete snapshot with its place in the log.
pub type Snapshot = openraft::alias::SnapshotOf<crate::raft::TypeConfig, SnapshotFile>;

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
    pub fn open(directory: &DataDirectory) -> io::Result<Self> {
        Ok(Self {
            log: LogStore::Durable(Wal::open(&directory.path().join("raft"))?),
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
