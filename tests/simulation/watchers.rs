//! Watchers: each follows the change stream of one node for a while, moves to another and resumes
//! there after the last revision that it knows of, whatever has become of either node.

use std::sync::Arc;
use std::time::Duration;

use conclave_server::clock;
use conclave_server::events::{Entry, Filter, Kind};
use conclave_server::node::ServiceError;
use conclave_server::node::watch::{StatePart, Watch, WatchEvent, WatchRequest};
use conclave_server::raft::NodeId;
use conclave_server::runtime;
use parking_lot::Mutex;

use crate::cluster::Cluster;
use crate::random;
use crate::workload::Notes;

/// Watchers of one run.
pub(crate) const WATCHERS: usize = 3;
/// Longest time that a watcher follows one stream, milliseconds.
const FOLLOWED_MS: u64 = 2_500;
/// Time that it follows one when nothing fails any more, milliseconds: longer than a run.
const CALM_MS: u64 = 60_000;
/// Longest time that it stays away, when it does, milliseconds.
const AWAY_MS: u64 = 3_000;
/// Longest time that a slow one takes for an event, milliseconds.
const SLOWNESS_MS: u64 = 1_500;

/// What a watcher was told.
#[derive(Debug)]
pub(crate) enum Told {
    Changes(Vec<Arc<Entry>>),
    /// Everything up to this revision has been told.
    UpTo(u64),
    /// The state follows, for changes are gone.
    Reset,
    State(StatePart),
    /// The state up to this revision has been told.
    Synced(u64),
    /// Changes up to this revision are gone.
    Gone(u64),
    /// Something that no stream may say.
    Wrong(String),
}

/// One watcher's log.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) filter: Filter,
    pub(crate) told: Vec<Told>,
    /// Streams that were opened.
    pub(crate) streams: u64,
}

/// One watcher.
pub(crate) struct Watcher {
    number: usize,
    cluster: Cluster,
    notes: Arc<Mutex<Notes>>,
    /// Everything up to this revision has been told, or has been said to be gone.
    position: u64,
}

/// Returns what a watcher asks for: all, some names, or locks.
fn filter(number: usize) -> Filter {
    let some = ["register/a", "counter/", "lock/a", "guarded/"].map(str::to_owned);
    match number {
        0 => Filter::prefixes(Kind::ALL, Vec::new()),
        1 => Filter::prefixes(Kind::ALL, some.into()),
        _ => Filter::prefixes([Kind::Lock, Kind::Member], Vec::new()),
    }
}

impl Watcher {
    /// Enters a new watcher into the notes.
    pub(crate) fn new(cluster: &Cluster, notes: &Arc<Mutex<Notes>>) -> Self {
        let mut entered = notes.lock();
        let number = entered.watched.len();
        entered.watched.push(Watched {
            filter: filter(number),
            told: Vec::new(),
            streams: 0,
        });
        Self {
            number,
            cluster: cluster.clone(),
            notes: notes.clone(),
            position: 0,
        }
    }

    fn note(&self, told: Told) {
        self.notes.lock().watched[self.number].told.push(told);
    }

    /// Goes from node to node, and stays with one when nothing fails any more. Never ends.
    pub(crate) async fn run(mut self) {
        loop {
            let is_away = !self.cluster.is_calm() && random::once_in(4);
            let away = if is_away { AWAY_MS } else { 100 };
            runtime::sleep(Duration::from_millis(random::below(away))).await;
            self.visit().await;
        }
    }

    /// Follows one node's stream for a while.
    async fn visit(&mut self) {
        let id = random::pick(&self.cluster.ids);
        let Some(process) = self.cluster.network.process(id) else {
            return;
        };
        let request = WatchRequest {
            filter: filter(self.number),
            since: Some(self.position),
            reset_when_gone: random::once_in(2),
            leader: random::once_in(2),
            heartbeat: None,
        };
        match process.node.watch(request) {
            Ok(watch) => {
                self.notes.lock().watched[self.number].streams += 1;
                self.follow(watch, id, process.number).await;
            }
            Err(ServiceError::RevisionGone { oldest, .. }) => {
                self.position = oldest - 1;
                self.note(Told::Gone(oldest - 1));
            }
            Err(error) => self.note(Told::Wrong(error.to_string())),
        }
    }

    /// Takes a stream's events for as long as its process lives and has any, or for a while.
    async fn follow(&mut self, mut watch: Watch, id: NodeId, number: u64) {
        let is_calm = self.cluster.is_calm();
        let is_slow = !is_calm && random::once_in(3);
        let followed = if is_calm {
            CALM_MS
        } else {
            random::below(FOLLOWED_MS)
        };
        let until = clock::now() + Duration::from_millis(followed);
        let mut first = true;
        loop {
            let left = until.saturating_duration_since(clock::now());
            let Ok(next) = runtime::timeout(left, watch.next()).await else {
                return;
            };
            // What a crashed process said never left it.
            let process = self.cluster.network.process(id);
            if process.is_none_or(|process| process.number != number) {
                return;
            }
            match next {
                Ok(Some(event)) if first == matches!(event, WatchEvent::Hello(_)) => {
                    self.take(event);
                }
                Ok(Some(event)) => {
                    let what = format!("`{event:?}` at the wrong place");
                    return self.note(Told::Wrong(what));
                }
                Ok(None) => return,
                Err(error) => return self.note(Told::Wrong(error.to_string())),
            }
            first = false;
            if !is_calm && (clock::now() >= until || random::once_in(20)) {
                return;
            }
            if is_slow {
                runtime::sleep(Duration::from_millis(random::below(SLOWNESS_MS))).await;
            }
        }
    }

    fn take(&mut self, event: WatchEvent) {
        let told = match event {
            WatchEvent::Hello(_) | WatchEvent::Leader { .. } | WatchEvent::Heartbeat(..) => return,
            WatchEvent::Changes(selection) => {
                let entries = selection.entries().to_vec();
                self.position = entries.last().map_or(self.position, |e| e.revision());
                Told::Changes(entries)
            }
            // After the last event the stream says no more; what comes next is for another one.
            WatchEvent::Progress(revision)
            | WatchEvent::Lagged {
                resume: revision, ..
            } => {
                self.position = revision;
                Told::UpTo(revision)
            }
            WatchEvent::Reset { .. } => Told::Reset,
            WatchEvent::State(part) => Told::State(part),
            WatchEvent::Synced(revision) => {
                self.position = revision;
                Told::Synced(revision)
            }
        };
        self.note(told);
    }
}
