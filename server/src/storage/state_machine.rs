//! openraft's adapter over [`crate::state`]: applies a batch, publishes the view, then answers.
//!
//! Readers never touch the working state. They load the published [`View`], which is replaced as a
//! whole after each batch; a write is answered only after the view that shows it is published.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use futures::{FutureExt, Stream, StreamExt, TryStreamExt};
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use tokio::sync::watch;

use super::snapshot_file::SnapshotFile;
use super::{Snapshot, Snapshots, approximate_size};
use crate::raft::{Entry, LogId, Membership, NodeId, SnapshotMeta, TypeConfig};
use crate::state::{Outcome, State, View};

/// Entries applied before the view is published and their writers are answered.
const BATCH_ENTRIES: usize = 512;

/// What the state machine shows to readers.
#[derive(Debug)]
pub struct Published {
    view: ArcSwap<View>,
    applied: watch::Sender<u64>,
    /// Voters of the newest applied membership.
    voters: ArcSwap<Vec<NodeId>>,
    /// Log bytes applied since the last snapshot was built or installed.
    bytes_since_snapshot: AtomicU64,
    /// Size of the last snapshot.
    snapshot_bytes: AtomicU64,
}

impl Published {
    fn new() -> Self {
        Self {
            view: ArcSwap::default(),
            applied: watch::Sender::new(0),
            voters: ArcSwap::default(),
            bytes_since_snapshot: AtomicU64::new(0),
            snapshot_bytes: AtomicU64::new(0),
        }
    }

    /// Returns the newest view.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// Returns a receiver of the applied log index.
    #[must_use]
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    /// Returns log bytes applied since the last snapshot, and that snapshot's size.
    #[must_use]
    pub fn snapshot_backlog(&self) -> (u64, u64) {
        (
            self.bytes_since_snapshot.load(Ordering::Relaxed),
            self.snapshot_bytes.load(Ordering::Relaxed),
        )
    }

    /// Returns the voters of the newest applied membership.
    #[must_use]
    pub fn voters(&self) -> Arc<Vec<NodeId>> {
        self.voters.load_full()
    }

    fn note_membership(&self, membership: &Membership) {
        self.voters
            .store(Arc::new(membership.voter_ids().collect()));
    }

    fn note_snapshot(&self, bytes: u64) {
        self.bytes_since_snapshot.store(0, Ordering::Relaxed);
        self.snapshot_bytes.store(bytes, Ordering::Relaxed);
    }
}

/// The state machine of one node.
#[derive(Debug)]
pub struct StateMachine {
    state: State,
    applied: Option<LogId>,
    membership: Membership,
    published: Arc<Published>,
    snapshots: Snapshots,
}

impl StateMachine {
    /// Returns an empty state machine; openraft installs the current snapshot and replays the log.
    #[must_use]
    pub fn new(snapshots: Snapshots) -> Self {
        Self {
            state: State::default(),
            applied: None,
            membership: Membership::default(),
            published: Arc::new(Published::new()),
            snapshots,
        }
    }

    /// Returns what readers see.
    #[must_use]
    pub fn published(&self) -> Arc<Published> {
        self.published.clone()
    }

    fn apply_entry(&mut self, entry: Entry) -> Outcome {
        let index = entry.log_id.index();
        self.published
            .bytes_since_snapshot
            .fetch_add(approximate_size(&entry.payload) as u64, Ordering::Relaxed);
        let outcome = match entry.payload {
            EntryPayload::Blank => Outcome::Nothing,
            EntryPayload::Normal(command) => self.state.apply(index, &command),
            EntryPayload::Membership(membership) => {
                self.state.apply_membership(index);
                self.membership = Membership::new(Some(entry.log_id), membership);
                self.published.note_membership(&self.membership);
                Outcome::Nothing
            }
        };
        self.applied = Some(entry.log_id);
        outcome
    }

    fn publish(&self) {
        let applied_index = self.applied.map_or(0, |id| id.index());
        self.published.view.store(Arc::new(View {
            state: self.state.clone(),
            applied_index,
            applied_term: self.applied.map_or(0, |id| id.leader_id.term),
        }));
        self.published.applied.send_replace(applied_index);
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, Membership)> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        let mut answers: Vec<(ApplyResponder<TypeConfig>, Outcome)> = Vec::new();
        while let Some(mut item) = entries.try_next().await? {
            let mut applied = 0;
            loop {
                let (entry, responder) = item;
                let outcome = self.apply_entry(entry);
                answers.extend(responder.map(|responder| (responder, outcome)));
                applied += 1;
                // As many as are there already, without waiting for more.
                if applied == BATCH_ENTRIES {
                    break;
                }
                match entries.next().now_or_never().flatten().transpose()? {
                    Some(next) => item = next,
                    None => break,
                }
            }
            self.publish();
            for (responder, outcome) in answers.drain(..) {
                responder.send(outcome);
            }
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<SnapshotBuilder> {
        Some(self.get_snapshot_builder().await)
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder {
            meta: SnapshotMeta {
                last_log_id: self.applied,
                last_membership: self.membership.clone(),
            },
            state: self.state.clone(),
            published: self.published.clone(),
            snapshots: self.snapshots.clone(),
        }
    }

    async fn install_snapshot(
        &mut self,
        _meta: &SnapshotMeta,
        file: SnapshotFile,
    ) -> io::Result<()> {
        let snapshots = self.snapshots.clone();
        let bytes = file.bytes;
        let (meta, state) = tokio::task::spawn_blocking(move || snapshots.install(file)).await??;
        self.state = state;
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership;
        self.published.note_membership(&self.membership);
        self.published.note_snapshot(bytes);
        self.publish();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        let current = self.snapshots.current()?;
        Ok(current.map(|(meta, snapshot)| Snapshot { meta, snapshot }))
    }
}

/// A frozen state on its way to disk; applies go on meanwhile.
#[derive(Debug)]
pub struct SnapshotBuilder {
    meta: SnapshotMeta,
    state: State,
    published: Arc<Published>,
    snapshots: Snapshots,
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let (meta, state) = (self.meta.clone(), self.state.clone());
        let snapshots = self.snapshots.clone();
        let build = move || {
            let snapshot = snapshots.build(&meta, &state)?;
            Ok::<_, io::Error>(Snapshot { meta, snapshot })
        };
        let snapshot = tokio::task::spawn_blocking(build).await??;
        self.published.note_snapshot(snapshot.snapshot.bytes);
        Ok(snapshot)
    }
}
