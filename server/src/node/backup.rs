//! A snapshot of this node's state for somebody outside of the cluster, built when it is asked for.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use conclave_shared::ReadLevel;
use tokio::sync::OwnedSemaphorePermit;

use super::{Answer, Node, ReadOptions, ServiceError};
use crate::clock;
use crate::runtime;
use crate::storage::SnapshotFile;

/// Backups that may be on their way at once: each holds a file open, also a replaced one.
pub(super) const AT_ONCE: usize = 4;
/// What is in memory of each, bytes.
const CHUNK_BYTES: usize = 256 << 10;
/// Longest wait for the snapshot.
const BUILD: Duration = Duration::from_secs(60);
/// Raft builds one at a time and forgets that another was asked for meanwhile: it is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A snapshot that is being read.
#[derive(Debug)]
pub struct Backup {
    file: SnapshotFile,
    _place: OwnedSemaphorePermit,
}

impl Backup {
    /// Returns its size.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.file.bytes
    }

    /// Reads a chunk at a position; an empty one is the end.
    ///
    /// # Errors
    ///
    /// The disk fails.
    pub async fn read(&self, position: u64) -> io::Result<Bytes> {
        let file = self.file.clone();
        let read = move || {
            let mut chunk = vec![0; CHUNK_BYTES];
            let length = file.read_at(&mut chunk, position)?;
            chunk.truncate(length);
            Ok(Bytes::from(chunk))
        };
        runtime::blocking(read).await?
    }
}

impl Node {
    /// Returns a snapshot that is at least as new as a read of this level, and what such a read says.
    ///
    /// # Errors
    ///
    /// As [`Self::view`]; `Overloaded` when as many are on their way as may be.
    pub async fn backup(&self, level: ReadLevel) -> Result<Answer<Backup>, ServiceError> {
        let place = self.0.backups.clone().try_acquire_owned();
        let place = place.map_err(|_taken| ServiceError::Overloaded)?;
        // The view is let go of at once: only what was waited for counts.
        let meta = self.view(&ReadOptions::level(level)).await?.meta;
        self.snapshot().await?;
        let newest = self.0.consensus.newest_snapshot().await;
        match newest.map_err(ServiceError::Internal)? {
            Some(file) => Ok(Answer {
                value: Backup {
                    file,
                    _place: place,
                },
                meta,
            }),
            None => Err(ServiceError::Internal("the snapshot is gone".to_owned())),
        }
    }

    /// Builds a snapshot of this node's state, unless there is one, and answers the log index it covers.
    ///
    /// # Errors
    ///
    /// `DiskFull` without room for it. Raft has stopped, or the snapshot was not there after 60 s.
    pub async fn snapshot(&self) -> Result<u64, ServiceError> {
        let consensus = &self.0.consensus;
        let wanted = consensus.published().position().applied_index;
        let deadline = clock::now() + BUILD;
        let mut asked = None;
        loop {
            let snapshot = consensus.progress().snapshot;
            if snapshot >= wanted {
                return Ok(snapshot);
            }
            // Raft overhears it while it builds another one.
            if asked.is_none_or(|at| clock::since(at) > ASK_AGAIN) {
                if !consensus.has_room_for_snapshot() {
                    return Err(ServiceError::DiskFull);
                }
                let started = consensus.build_snapshot().await;
                started.map_err(ServiceError::Internal)?;
                asked = Some(clock::now());
            }
            if clock::now() >= deadline {
                let late = format!("no snapshot within {BUILD:?}");
                return Err(ServiceError::Internal(late));
            }
            runtime::sleep(LOOK_AGAIN).await;
        }
    }
}
