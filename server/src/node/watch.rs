//! Change streams: what a watcher is told, in which order, and what it costs.
//!
//! A watcher is a place in the revision order. It takes the changes after it, wherever they are
//! kept (`events`), and tells them to its client as fast as that reads: nothing waits for it, and
//! nothing is kept for it but a handful of changes under way (`TAKE_BYTES`). Its guarantees are
//! etcd's: ordered, unique, reliable, atomic, resumable, bookmarkable (etcd, "API guarantees", watch
//! APIs). A gap is never silent: [`WatchEvent::Reset`] or [`WatchEvent::Lagged`] says so.

use std::sync::Arc;
use std::time::{Duration, Instant};

use conclave_shared::{ClusterStatus, NodeStatus};
use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::{Node, ServiceError};
use crate::clock;
use crate::events::{Events, Filter, Kind, Selection, Taken};
use crate::metrics::Watcher;
use crate::mutants::{self, Mutant};
use crate::runtime;
use crate::state::{Key, Lock, LockName, Record, View};

/// Streams of one node at a time.
const WATCHERS: u64 = 2_048;
/// Changes that a watcher takes at a time. Kept small: those of a client that does not read stay in
/// memory.
const TAKE: usize = 64;
const TAKE_BYTES: usize = 16 << 10;
/// Time for which changes gather before they are told, for each watcher of the node; and the longest
/// such time. With many of them, telling each change to each of them at once would be a system call
/// for every delivery, and soon all of them would be late.
const GATHER_EACH: Duration = Duration::from_micros(20);
const GATHER_MOST: Duration = Duration::from_millis(20);
/// A shorter time than a timer's is none.
const GATHER_LEAST: Duration = Duration::from_millis(1);
/// Keys or locks of a state that are told at a time.
const STATE: usize = 64;
/// Longest time that telling a state takes: until then its memory is held. A client that reads more
/// slowly is told that it lags.
const STATE_LIMIT: Duration = Duration::from_secs(120);
/// Time without an id after which the client gets one to resume from.
const PROGRESS: Duration = Duration::from_secs(5);
/// Time between two heartbeats for those who name none.
pub const HEARTBEAT: Duration = Duration::from_secs(2);
/// Age up to which a heartbeat's view of the cluster is shared by all watchers.
const HEARTBEAT_SHARED: Duration = Duration::from_millis(900);
/// Longest time between two looks at who leads.
const LOOK: Duration = Duration::from_secs(1);

/// What a client wants to watch.
#[derive(Debug, Clone)]
pub struct WatchRequest {
    pub filter: Filter,
    /// The first change told is the first one after this revision; `None`: the next one to come.
    pub since: Option<u64>,
    /// Tells the state instead when `since` is no longer kept.
    pub reset_when_gone: bool,
    /// Tells who leads whenever that changes.
    pub leader: bool,
    /// Tells how the node and its cluster are, so often.
    pub heartbeat: Option<Duration>,
}

/// What a watcher is told.
#[derive(Debug)]
pub enum WatchEvent {
    /// First of all: where the watcher stands.
    Hello(Hello),
    /// Changes in revision order; there is at least one.
    Changes(Arc<Selection>),
    /// Everything up to this revision has been told.
    Progress(u64),
    /// The changes after `since` are no longer kept: the matching state follows, as of `revision`.
    Reset { revision: u64, oldest: u64 },
    /// A part of that state.
    State(StatePart),
    /// The state is told; changes after this revision follow.
    Synced(u64),
    /// Another leader, or none, is known.
    Leader { leader: Option<Arc<str>>, term: u64 },
    /// This node as it is now, and the cluster as it was when all members were last asked.
    Heartbeat(Box<NodeStatus>, Arc<Heartbeat>),
    /// The client has read too slowly: changes after `resume` are no longer kept. The last event.
    Lagged { resume: u64, oldest: u64 },
}

/// Where a watcher stands at its start.
#[derive(Debug, Clone)]
pub struct Hello {
    pub node: Arc<str>,
    pub leader: Option<Arc<str>>,
    pub term: u64,
    /// The revision of the node's state.
    pub revision: u64,
    /// First revision from which on every change is kept.
    pub oldest: u64,
}

/// A part of a state, in the order of names.
#[derive(Debug, Default)]
pub struct StatePart {
    pub revision: u64,
    pub log_time_ms: u64,
    pub keys: Vec<(Key, Arc<Record>)>,
    pub locks: Vec<(LockName, Lock)>,
}

/// How the cluster is.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    pub cluster: ClusterStatus,
    taken: Instant,
}

/// One client's stream.
pub struct Watch {
    node: Node,
    events: Events,
    request: WatchRequest,
    stage: Stage,
    /// Every change up to here has been told, or did not match.
    told: u64,
    /// When the client last got an id.
    id_given: Instant,
    /// The client was told all there was: until then, further changes gather.
    gathers_until: Option<Instant>,
    heartbeat_due: Instant,
    /// Members are being asked. One that is down takes its time, and changes do not wait for that.
    asking: Option<BoxFuture<'static, Arc<Heartbeat>>>,
    /// What they answered, to be told next.
    asked: Option<Arc<Heartbeat>>,
    leader: (Option<Arc<str>>, u64),
    _counted: Watcher,
}

enum Stage {
    Hello(Hello),
    /// The client must first be told that there is a gap.
    Reset,
    State(Box<Telling>),
    Follow,
    Ended,
}

/// A frozen state that is told part by part.
struct Telling {
    view: Arc<View>,
    began: Instant,
    /// Where the next part starts; `None` when all are told.
    keys_from: Option<String>,
    locks_from: Option<String>,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch")
            .field("request", &self.request)
            .field("told", &self.told)
            .finish_non_exhaustive()
    }
}

impl Node {
    /// Starts a stream of what is applied on this node from now on, or after `since`.
    ///
    /// # Errors
    ///
    /// `RevisionGone` when the changes after `since` are no longer kept and the client did not ask
    /// for the state instead; `TooManyStreams`.
    pub fn watch(&self, request: WatchRequest) -> Result<Watch, ServiceError> {
        let metrics = &self.0.options.metrics;
        if metrics.watchers() >= WATCHERS {
            return Err(ServiceError::TooManyStreams { most: WATCHERS });
        }
        let counted = metrics.watcher();
        let events = self.0.consensus.published().events().clone();
        let facts = self.facts();
        let leader = facts.leader.as_ref().map(|leader| leader.name.clone());
        let mut told = request.since.unwrap_or_else(|| events.applied());
        if mutants::is(Mutant::ResumeOffByOne) && request.since.is_some() {
            told += 1;
        }
        let hello = Hello {
            node: self.0.name.clone(),
            leader: leader.clone(),
            term: facts.term,
            revision: self.0.consensus.published().position().revision,
            oldest: events.oldest(),
        };
        if told.saturating_add(1) < hello.oldest && !request.reset_when_gone {
            return Err(ServiceError::RevisionGone {
                wanted: told + 1,
                oldest: hello.oldest,
                current: hello.revision,
            });
        }
        let now = clock::now();
        Ok(Watch {
            node: self.clone(),
            events,
            stage: Stage::Hello(hello),
            told,
            id_given: now,
            gathers_until: None,
            heartbeat_due: now,
            asking: None,
            asked: None,
            leader: (leader, facts.term),
            request,
            _counted: counted,
        })
    }

    /// Returns how the cluster is, asked at most about once a second for all watchers.
    async fn heartbeat(self) -> Arc<Heartbeat> {
        let mut last = self.0.heartbeat.lock().await;
        if let Some(last) = last.as_ref()
            && clock::since(last.taken) < HEARTBEAT_SHARED
        {
            return last.clone();
        }
        let heartbeat = Arc::new(Heartbeat {
            cluster: self.cluster().await,
            taken: clock::now(),
        });
        *last = Some(heartbeat.clone());
        heartbeat
    }
}

impl Watch {
    /// Waits for what the client is to be told next; `None` after the last event.
    ///
    /// Not cancel safe: a dropped future may have taken changes along.
    ///
    /// # Errors
    ///
    /// What is kept on disk cannot be read.
    pub async fn next(&mut self) -> Result<Option<WatchEvent>, ServiceError> {
        match std::mem::replace(&mut self.stage, Stage::Follow) {
            Stage::Hello(hello) => {
                if self.told.saturating_add(1) < hello.oldest {
                    self.stage = Stage::Reset;
                }
                Ok(Some(WatchEvent::Hello(hello)))
            }
            Stage::Reset => Ok(Some(self.reset())),
            Stage::State(telling) => Ok(Some(self.tell_state(telling))),
            Stage::Follow => self.follow().await.map(Some),
            Stage::Ended => {
                self.stage = Stage::Ended;
                Ok(None)
            }
        }
    }

    fn reset(&mut self) -> WatchEvent {
        let published = self.node.0.consensus.published();
        let view = Arc::new(published.read(View::clone));
        let revision = view.applied_index;
        self.stage = Stage::State(Box::new(Telling {
            view,
            began: clock::now(),
            keys_from: Some(String::new()),
            locks_from: Some(String::new()),
        }));
        WatchEvent::Reset {
            revision,
            oldest: self.events.oldest(),
        }
    }

    /// Tells the next part of a frozen state, or that it is told.
    fn tell_state(&mut self, mut telling: Box<Telling>) -> WatchEvent {
        if clock::since(telling.began) > STATE_LIMIT {
            self.stage = Stage::Ended;
            return WatchEvent::Lagged {
                resume: self.told,
                oldest: self.events.oldest(),
            };
        }
        let filter = &self.request.filter;
        let state = &telling.view.state;
        let mut part = StatePart {
            revision: state.revision(),
            log_time_ms: state.log_time_ms(),
            ..StatePart::default()
        };
        if let Some(from) = telling.keys_from.take().filter(|_| filter.has(Kind::Put)) {
            let (mut walked, mut bytes) = (0, 0);
            for (key, record) in state.from(&from) {
                if walked == 16 * STATE || part.keys.len() == STATE || bytes > TAKE_BYTES {
                    telling.keys_from = Some(key.to_string());
                    break;
                }
                walked += 1;
                if filter.has_name(key) {
                    bytes += record.value.len();
                    part.keys.push((key.clone(), record.clone()));
                }
            }
        } else if let Some(from) = telling.locks_from.take().filter(|_| filter.has(Kind::Lock)) {
            for (name, lock) in state.locks().from(&from) {
                if part.locks.len() == STATE {
                    telling.locks_from = Some(name.to_string());
                    break;
                }
                if filter.has_name(name) {
                    part.locks.push((name.clone(), lock.clone()));
                }
            }
        } else {
            self.told = telling.view.applied_index;
            self.id_given = clock::now();
            return WatchEvent::Synced(self.told);
        }
        self.stage = Stage::State(telling);
        WatchEvent::State(part)
    }

    async fn follow(&mut self) -> Result<WatchEvent, ServiceError> {
        loop {
            if let Some(event) = self.due() {
                return Ok(event);
            }
            if self.gathers_until.is_some_and(|until| clock::now() < until) {
                self.wait().await;
                continue;
            }
            self.gathers_until = None;
            let slots = self.slots();
            let before = slots.map(|slots| slots.began(clock::now()));
            let (filter, told) = (&self.request.filter, self.told);
            let taken = self.events.select(told, filter, before, TAKE, TAKE_BYTES);
            match taken
                .await
                .map_err(|error| ServiceError::Internal(error.to_string()))?
            {
                Taken::Changes(selection) => {
                    self.told = selection.upto();
                    if selection.is_all() {
                        self.gathers_until = slots.map(|slots| slots.end(clock::now()));
                    }
                    if !selection.entries().is_empty() {
                        self.id_given = clock::now();
                        return Ok(WatchEvent::Changes(selection));
                    }
                    runtime::yield_now().await;
                }
                Taken::UpTo(applied) => {
                    self.told = self.told.max(applied);
                    self.wait().await;
                }
                Taken::Gone { .. } if mutants::is(Mutant::SilentLag) => {
                    self.told = self.events.applied();
                }
                Taken::Gone { oldest } => {
                    self.stage = Stage::Ended;
                    return Ok(WatchEvent::Lagged {
                        resume: self.told,
                        oldest,
                    });
                }
            }
        }
    }

    /// Returns what must be told before any further change.
    fn due(&mut self) -> Option<WatchEvent> {
        if self.request.leader {
            let facts = self.node.facts();
            let now = (
                facts.leader.as_ref().map(|leader| leader.name.clone()),
                facts.term,
            );
            if now != self.leader {
                self.leader = now.clone();
                let (leader, term) = now;
                return Some(WatchEvent::Leader { leader, term });
            }
        }
        let now = clock::now();
        if let Some(interval) = self.request.heartbeat
            && now >= self.heartbeat_due
            && self.asking.is_none()
        {
            self.heartbeat_due = now + interval;
            self.asking = Some(self.node.clone().heartbeat().boxed());
        }
        if self.asked.is_none()
            && let Some(asking) = &mut self.asking
        {
            self.asked = asking.now_or_never();
        }
        if let Some(asked) = self.asked.take() {
            self.asking = None;
            let status = Box::new(self.node.status());
            return Some(WatchEvent::Heartbeat(status, asked));
        }
        if now.duration_since(self.id_given) >= PROGRESS {
            self.id_given = now;
            return Some(WatchEvent::Progress(self.told));
        }
        None
    }

    /// Returns the slots in which changes gather; `None` when there are few watchers.
    fn slots(&self) -> Option<Slots> {
        let watchers = self.node.0.options.metrics.watchers();
        let length = GATHER_EACH * u32::try_from(watchers).unwrap_or(u32::MAX);
        let length = length.min(GATHER_MOST);
        (length >= GATHER_LEAST).then_some(Slots {
            origin: self.node.0.started,
            length,
        })
    }

    /// Waits until there may be something to tell.
    async fn wait(&mut self) {
        let mut until = self.id_given + PROGRESS;
        if self.request.heartbeat.is_some() && self.asking.is_none() {
            until = until.min(self.heartbeat_due);
        }
        let mut limit = until.saturating_duration_since(clock::now());
        if self.request.leader {
            limit = limit.min(LOOK);
        }
        let (slots, gathers_until) = (self.slots(), self.gathers_until);
        let facts_changed = self.node.0.facts_changed.notified();
        let asking = &mut self.asking;
        let asked = async {
            match asking {
                Some(asking) => asking.await,
                None => std::future::pending().await,
            }
        };
        let changes = async {
            if gathers_until.is_none() {
                self.events.changed(self.told).await;
            }
            let now = clock::now();
            let end = gathers_until.or_else(|| slots.map(|slots| slots.end(now)));
            if let Some(rest) = end.and_then(|end| end.checked_duration_since(now)) {
                runtime::sleep(rest).await;
            }
        };
        let something = async {
            tokio::select! {
                asked = asked => self.asked = Some(asked),
                () = changes => {}
                () = facts_changed, if self.request.leader => {}
            }
        };
        // If the time ran out, something is due now.
        let (Ok(()) | Err(runtime::Elapsed)) = runtime::timeout(limit, something).await;
    }
}

/// Slots of time: the changes of one are told in the next, to all watchers of the node the same ones.
#[derive(Debug, Clone, Copy)]
struct Slots {
    origin: Instant,
    length: Duration,
}

impl Slots {
    /// Returns when the slot of a moment began.
    fn began(self, now: Instant) -> Instant {
        let since = now.saturating_duration_since(self.origin).as_nanos();
        let into = since % self.length.as_nanos();
        now - Duration::from_nanos(u64::try_from(into).unwrap_or(0))
    }

    /// Returns when it ends.
    fn end(self, now: Instant) -> Instant {
        self.began(now) + self.length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_of_one_slot_have_one_beginning_and_one_end() {
        let origin = clock::now();
        let slots = Slots {
            origin,
            length: Duration::from_millis(20),
        };
        let at = |ms| origin + Duration::from_millis(ms);
        for ms in [40, 41, 59] {
            assert_eq!(slots.began(at(ms)), at(40), "{ms}");
            assert_eq!(slots.end(at(ms)), at(60), "{ms}");
        }
        assert_eq!(slots.began(at(60)), at(60));
    }
}
