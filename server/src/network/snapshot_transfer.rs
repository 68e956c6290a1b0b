//! A snapshot on its way from one node to another: streamed, one chunk in memory at a time.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use openraft::raft::SnapshotResponse;

use super::wire::{Connection, SnapshotFrame, SnapshotReply, receive, send, within};
use crate::raft::{TypeConfig, Vote};
use crate::storage::{DiskSpace, Raft, Snapshot, SnapshotFile, Snapshots};

const CHUNK_BYTES: usize = 1 << 20;
/// A sender that is silent for longer has gone.
const CHUNK_WAIT: Duration = Duration::from_secs(30);
/// Verifying, syncing and loading a large snapshot takes the receiver this long at most.
const INSTALL_WAIT: Duration = Duration::from_secs(300);

/// Sends a snapshot; `limit` bounds each chunk. TCP holds a fast sender back.
pub(super) async fn send_snapshot(
    mut connection: Connection,
    vote: Vote,
    snapshot: Snapshot,
    limit: Duration,
) -> io::Result<SnapshotResponse<TypeConfig>> {
    let file = snapshot.snapshot;
    let begin = SnapshotFrame::Begin {
        vote,
        meta: snapshot.meta,
        bytes: file.bytes,
    };
    within(limit, send(&mut connection, &begin)).await?;
    let mut position = 0;
    loop {
        let chunk = read_chunk(file.clone(), position).await?;
        if chunk.is_empty() {
            break;
        }
        position += chunk.len() as u64;
        within(limit, send(&mut connection, &SnapshotFrame::Chunk(chunk))).await?;
    }
    within(limit, send(&mut connection, &SnapshotFrame::End)).await?;
    match within(INSTALL_WAIT, receive(&mut connection)).await? {
        SnapshotReply::Installed(response) => Ok(response),
        SnapshotReply::Refused(reason) => Err(io::Error::other(reason)),
    }
}

async fn read_chunk(file: SnapshotFile, position: u64) -> io::Result<Bytes> {
    let read = move || {
        let mut chunk = vec![0; CHUNK_BYTES];
        let length = file.read_at(&mut chunk, position)?;
        chunk.truncate(length);
        Ok(Bytes::from(chunk))
    };
    tokio::task::spawn_blocking(read).await?
}

/// Receives a snapshot that the disk has room for, verifies it whole, and hands it to Raft. A transfer
/// that ends early or is damaged is deleted and never loaded.
pub(super) async fn receive_snapshot(
    mut connection: Connection,
    raft: &Raft,
    snapshots: &Snapshots,
    disk: &DiskSpace,
) -> io::Result<()> {
    let SnapshotFrame::Begin { vote, meta, bytes } =
        within(CHUNK_WAIT, receive(&mut connection)).await?
    else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let begun = match disk.fits(bytes) {
        true => {
            let snapshots = snapshots.clone();
            tokio::task::spawn_blocking(move || snapshots.begin_with(bytes)).await?
        }
        false => Err(io::ErrorKind::StorageFull.into()),
    };
    let mut incoming = match begun {
        Ok(incoming) => incoming,
        Err(error) => {
            let reason = format!("no room for the {bytes} bytes of the snapshot: {error}");
            let reply = SnapshotReply::Refused(reason);
            return within(CHUNK_WAIT, send(&mut connection, &reply)).await;
        }
    };
    loop {
        match within(CHUNK_WAIT, receive(&mut connection)).await? {
            SnapshotFrame::Chunk(chunk) => {
                let write = move || incoming.write(&chunk).map(|()| incoming);
                incoming = tokio::task::spawn_blocking(write).await??;
            }
            SnapshotFrame::End => break,
            SnapshotFrame::Begin { .. } => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
    let finish = move || {
        let file = incoming.finish(bytes)?;
        let found = file.verify()?;
        Ok::<_, io::Error>((file, found))
    };
    let reply = match tokio::task::spawn_blocking(finish).await? {
        Ok((file, found)) if found == meta => {
            let snapshot = Snapshot {
                meta,
                snapshot: file,
            };
            match raft.install_full_snapshot(vote, snapshot).await {
                Ok(response) => SnapshotReply::Installed(response),
                Err(error) => SnapshotReply::Refused(error.to_string()),
            }
        }
        Ok(_) => SnapshotReply::Refused("the snapshot is not the announced one".to_owned()),
        Err(error) => SnapshotReply::Refused(format!("the snapshot is damaged: {error}")),
    };
    within(CHUNK_WAIT, send(&mut connection, &reply)).await
}
