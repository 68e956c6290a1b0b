//! openraft's adapter over [`crate::state`]: applies a batch, lets readers see it, then answers.
//!
//! Readers see the state between two batches, under a lock that a batch holds for as long as it
//! takes ([`BATCH_WORK`]); a write is answered only after that. Who needs a revision for longer
//! freezes it. A view frozen for every batch would make every write copy the way to its key: with
//! 64 writers on two cores that was 8 points of a profile, idle time included.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use conclave_shared::{MemberAddress, limits};
use futures::{FutureExt, Stream, StreamExt, TryStreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use parking_lot::RwLock;
use tokio::sync::Notify;

use super::snapshot_file::{Contents, SnapshotFile};
use super::{DiskSpace, IncomingSnapshot, Snapshot, Snapshots, approximate_size};
use crate::clock;
use crate::events::{Events, TAIL_BYTES, Tail};
use crate::metrics::Metrics;
use crate::mutants::{self, Mutant};
use crate::raft::{Entry, LogId, Member, Membership, NodeId, SnapshotMeta, TypeConfig};
use crate::runtime;
use crate::state::{
    self, Change, ChangeSet, Command, Op, Outcome, Position, RequestId, Requests, SettledRequest,
    State, View,
};

/// Work of one batch, in units of about a microsecond: readers wait for it, and the writers in it
/// for each other. A single command may be more, a recursive delete some milliseconds.
const BATCH_WORK: usize = 512;
/// What a record has in a snapshot at most, beside key and value; for an estimate.
const RECORD_BYTES: u64 = 256;
/// What an entry has in the log beside its payload: the record's frame, ids, stamps and names. A start
/// replays all of it, which for small writes is most of the work.
const ENTRY_BYTES: usize = 96;

#[derive(Debug, Default)]
struct Live {
    view: View,
    requests: Requests,
}

/// What the state machine shows to readers.
#[derive(Debug)]
pub struct Published {
    /// Only the state machine writes it, one batch at a time.
    live: RwLock<Live>,
    /// Wakes those who wait for an index after each batch.
    applied: Notify,
    /// The changes, for whoever watches.
    events: Events,
    /// Voters of the newest applied membership.
    voters: ArcSwap<Vec<NodeId>>,
    /// Log bytes applied since the last snapshot was built or installed.
    bytes_since_snapshot: AtomicU64,
    /// Size of the last snapshot.
    snapshot_bytes: AtomicU64,
}

impl Published {
    fn new(events: Events) -> Self {
        Self {
            live: RwLock::default(),
            applied: Notify::new(),
            events,
            voters: ArcSwap::default(),
            bytes_since_snapshot: AtomicU64::new(0),
            snapshot_bytes: AtomicU64::new(0),
        }
    }

    /// Reads the newest revision in place. `read` must be short: the next batch waits for it.
    pub fn read<T>(&self, read: impl FnOnce(&View) -> T) -> T {
        read(&self.live.read().view)
    }

    /// Returns where in the log the newest revision is.
    #[must_use]
    pub fn position(&self) -> Position {
        self.read(View::position)
    }

    /// Returns the changes as they are applied.
    #[must_use]
    pub const fn events(&self) -> &Events {
        &self.events
    }

    /// Returns what became of a request; `None` when nothing is known of it, or no longer.
    #[must_use]
    pub fn settled(&self, id: &RequestId) -> Option<SettledRequest> {
        self.live.read().requests.get(id).cloned()
    }

    /// Waits until a log index is applied. Cancel safe.
    pub async fn reached(&self, wanted: u64) {
        loop {
            let next = self.applied.notified();
            if self.position().applied_index >= wanted {
                return;
            }
            next.await;
        }
    }

    /// Returns log bytes applied since the last snapshot, and that snapshot's size.
    #[must_use]
    pub fn snapshot_backlog(&self) -> (u64, u64) {
        (
            self.bytes_since_snapshot.load(Ordering::Relaxed),
            self.snapshot_bytes.load(Ordering::Relaxed),
        )
    }

    /// Returns about how many bytes a snapshot would have at most.
    #[must_use]
    pub fn snapshot_estimate(&self) -> u64 {
        let live = self.live.read();
        let records = live.view.state.len() + live.requests.len();
        live.view.state.bytes() + records as u64 * RECORD_BYTES + TAIL_BYTES as u64
    }

    /// Returns the voters of the newest applied membership.
    #[must_use]
    pub fn voters(&self) -> Arc<Vec<NodeId>> {
        self.voters.load_full()
    }

    /// Tells watchers what a command would change now; see [`Mutant::EventBeforeCommit`].
    pub fn announce(&self, command: &Command) {
        let (mut state, mut requests) = self.freeze();
        let before = self.position().applied_index;
        let applied = state::apply(&mut state, &mut requests, before + 1, command);
        let set = ChangeSet {
            revision: before + 1,
            log_time_ms: state.log_time_ms(),
            wall_time_ms: command.wall_time_ms,
            origin: command.origin.clone(),
            client: command.client.clone(),
            changes: applied.changes,
        };
        let sets = Vec::from_iter(Some(set).filter(|set| !set.changes.is_empty()));
        self.events.publish(sets, before);
    }

    fn freeze(&self) -> (State, Requests) {
        let live = self.live.read();
        (live.view.state.clone(), live.requests.clone())
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
    applied: Option<LogId>,
    membership: Membership,
    published: Arc<Published>,
    snapshots: Snapshots,
    disk: DiskSpace,
    metrics: Metrics,
    /// Wrong on purpose: what the view says to have applied, beyond what it has.
    #[cfg(feature = "simulation")]
    ahead: u64,
}

impl StateMachine {
    /// Returns an empty state machine; openraft installs the current snapshot and replays the log.
    #[must_use]
    pub fn new(snapshots: Snapshots, events: Events) -> Self {
        Self {
            applied: None,
            membership: Membership::default(),
            published: Arc::new(Published::new(events)),
            snapshots,
            disk: DiskSpace::default(),
            metrics: Metrics::default(),
            #[cfg(feature = "simulation")]
            ahead: 0,
        }
    }

    /// Counts what it applies in `metrics`.
    #[must_use]
    pub fn measured(mut self, metrics: Metrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// Builds snapshots only where the disk has room for them.
    #[must_use]
    pub fn on_disk(mut self, disk: DiskSpace) -> Self {
        self.disk = disk;
        self
    }

    /// Makes the view claim one entry more than it has, to see that the simulation notices.
    #[cfg(feature = "simulation")]
    pub fn run_ahead(&mut self) {
        self.ahead = 1;
    }

    /// Returns what readers see.
    #[must_use]
    pub fn published(&self) -> Arc<Published> {
        self.published.clone()
    }

    /// Starts over with what a snapshot holds.
    pub(super) fn load(&mut self, meta: SnapshotMeta, contents: Contents) {
        let Contents {
            state,
            requests,
            floor,
            tail,
        } = contents;
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership;
        self.published.note_membership(&self.membership);
        {
            let mut live = self.published.live.write();
            live.view.state = state;
            live.requests = requests;
            self.stamp(&mut live);
        }
        self.published.applied.notify_waiters();
        let applied = self.applied.map_or(0, |id| id.index());
        self.published.events.restore(floor, tail, applied);
    }

    /// Returns everything that a snapshot of it would hold.
    pub(super) fn whole(&self) -> (SnapshotMeta, State, Requests, Tail) {
        let meta = SnapshotMeta {
            last_log_id: self.applied,
            last_membership: self.membership.clone(),
        };
        let (state, requests) = self.published.freeze();
        (meta, state, requests, self.published.events.tail())
    }

    /// Applies entries in their order, and answers whoever waits for them once readers see it.
    async fn apply_batch(&mut self, batch: &mut Vec<EntryResponder<TypeConfig>>) {
        let bytes: usize = batch
            .iter()
            .map(|(entry, _)| ENTRY_BYTES + approximate_size(&entry.payload))
            .sum();
        self.published
            .bytes_since_snapshot
            .fetch_add(bytes as u64, Ordering::Relaxed);
        let published = self.published.clone();
        let (began, entries) = (clock::now(), batch.len());
        let mut answers = Vec::with_capacity(entries);
        let mut changes = Vec::with_capacity(entries);
        let applied = {
            let mut live = published.live.write();
            for (entry, responder) in batch.drain(..) {
                let outcome = self.apply_entry(entry, &mut live, &mut changes);
                answers.extend(responder.map(|responder| (responder, outcome)));
            }
            self.stamp(&mut live);
            live.view.applied_index
        };
        self.metrics.applied(entries, clock::since(began));
        published.applied.notify_waiters();
        // Whoever is told of a change finds it in the state.
        let must_wait = published.events.publish(changes, applied);
        for (responder, outcome) in answers {
            responder.send(outcome);
        }
        if must_wait {
            published.events.wait_for_archive().await;
        }
    }

    fn apply_entry(&mut self, entry: Entry, live: &mut Live, sets: &mut Vec<ChangeSet>) -> Outcome {
        let index = entry.log_id.index();
        let state = &mut live.view.state;
        let outcome = match entry.payload {
            EntryPayload::Blank => Outcome::Nothing,
            EntryPayload::Normal(mut command) => {
                if mutants::is(Mutant::LocalClock) {
                    Arc::make_mut(&mut command).log_time_ms = clock::wall_ms();
                }
                let applied = state::apply(state, &mut live.requests, index, &command);
                if !applied.changes.is_empty() {
                    sets.push(ChangeSet {
                        revision: index,
                        log_time_ms: state.log_time_ms(),
                        wall_time_ms: command.wall_time_ms,
                        origin: command.origin.clone(),
                        client: command.client.clone(),
                        changes: applied.changes,
                    });
                }
                applied.outcome
            }
            EntryPayload::Membership(membership) => {
                let before = members(&self.membership);
                self.membership = Membership::new(Some(entry.log_id), membership);
                let change = state.apply_membership(index, before, members(&self.membership));
                sets.extend(change.map(|change| by_the_cluster(index, state, change)));
                self.published.note_membership(&self.membership);
                Outcome::Nothing
            }
        };
        self.applied = Some(entry.log_id);
        outcome
    }

    /// Brings what a view says beside its state up to what is applied.
    fn stamp(&self, live: &mut Live) {
        let applied_index = self.applied.map_or(0, |id| id.index());
        #[cfg(feature = "simulation")]
        let applied_index = applied_index + self.ahead;
        live.view.applied_index = applied_index;
        live.view.applied_term = self.applied.map_or(0, |id| id.leader_id.term);
        live.view.requests_hash = live.requests.hash();
        live.view.oldest_outcome = live.requests.oldest();
    }
}

/// A change of the membership carries no times, and no client asked for it: those of the last command
/// stand in for them.
fn by_the_cluster(index: u64, state: &State, change: Change) -> ChangeSet {
    ChangeSet {
        revision: index,
        log_time_ms: state.log_time_ms(),
        wall_time_ms: state.wall_time_ms(),
        origin: Arc::default(),
        client: None,
        changes: vec![change],
    }
}

fn members(membership: &Membership) -> Vec<MemberAddress> {
    let voters: Vec<NodeId> = membership.voter_ids().collect();
    let member = |(id, member): (&NodeId, &Member)| MemberAddress {
        node: member.name.clone(),
        id: *id,
        http: member.http.clone(),
        raft: member.raft.clone(),
        voter: voters.contains(id),
    };
    membership.membership().nodes().map(member).collect()
}

/// Estimates what an entry costs to apply.
fn work(entry: &Entry) -> usize {
    let EntryPayload::Normal(command) = &entry.payload else {
        return 1;
    };
    let keys = match &command.op {
        Op::PutMany { puts } => puts.len(),
        Op::DeletePrefix { .. } => limits::RECURSIVE_DELETE_KEYS,
        Op::Transaction(transaction) => transaction.work(),
        Op::KeepClaims { claims } => claims.len(),
        Op::Tick => limits::EXPIRIES_PER_TICK,
        _ => 1,
    };
    // Hashing a value takes a microsecond for some KiB.
    keys + (command.op.bytes() >> 13)
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
        let mut batch = Vec::new();
        while let Some(first) = entries.try_next().await? {
            let mut left = BATCH_WORK.saturating_sub(work(&first.0));
            batch.push(first);
            // As many as are there already, without waiting for more.
            while left > 0 {
                let Some(next) = entries.next().now_or_never().flatten().transpose()? else {
                    break;
                };
                left = left.saturating_sub(work(&next.0));
                batch.push(next);
            }
            self.apply_batch(&mut batch).await;
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<SnapshotBuilder> {
        let mut builder = self.get_snapshot_builder().await;
        if !force {
            // Room for all of it, or none: a snapshot that meets a full disk is the end of the node.
            let bytes = self.published.snapshot_estimate();
            let snapshots = self.snapshots.clone();
            let begin = move || snapshots.begin_with(bytes);
            let begun = match self.disk.fits(bytes) {
                true => runtime::blocking(begin).await.flatten(),
                false => Err(io::ErrorKind::StorageFull.into()),
            };
            match begun {
                Ok(incoming) => builder.incoming = Some(incoming),
                Err(error) => {
                    tracing::warn!(%error, "no snapshot is built now: {error}");
                    return None;
                }
            }
        }
        Some(builder)
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        let (meta, state, requests, tail) = self.whole();
        SnapshotBuilder {
            incoming: None,
            meta,
            frozen: (state, requests),
            tail,
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
        let install = move || snapshots.install(file);
        let (meta, contents) = runtime::blocking(install).await??;
        self.load(meta, contents);
        self.published.note_snapshot(bytes);
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
    /// The file, with room for all of it.
    incoming: Option<IncomingSnapshot>,
    meta: SnapshotMeta,
    frozen: (State, Requests),
    tail: Tail,
    published: Arc<Published>,
    snapshots: Snapshots,
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let mut meta = self.meta.clone();
        let (state, requests) = std::mem::take(&mut self.frozen);
        let published = self.published.clone();
        let tail = std::mem::take(&mut self.tail);
        let incoming = self.incoming.take();
        let (snapshots, events) = (self.snapshots.clone(), self.published.events.clone());
        let build = move || {
            // With the snapshot the log may let go of what the archive was made from.
            events.sync_archive();
            if mutants::is(Mutant::AppliedApart) {
                let now = published.position();
                meta.last_log_id = Some(LogId::new_term_index(now.applied_term, now.applied_index));
            }
            let incoming = incoming.map_or_else(|| snapshots.begin(), Ok)?;
            let snapshot = snapshots.build(incoming, &meta, &state, &requests, &tail)?;
            Ok::<_, io::Error>(Snapshot { meta, snapshot })
        };
        let snapshot = runtime::blocking(build).await??;
        self.published.note_snapshot(snapshot.snapshot.bytes);
        Ok(snapshot)
    }
}
