//! Clients: they write, read at all levels and count, and note what they saw and when.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use conclave_server::clock;
use conclave_server::node::{Answer, Node, ReadOptions, Routing, ServiceError, WriteRequest};
use conclave_server::raft::NodeId;
use conclave_server::runtime;
use conclave_server::state::{
    Condition, Guard, Key, Op, Outcome, Put, Record, Rejection, RequestId, Settled,
};
use conclave_shared::ReadLevel;
use parking_lot::Mutex;

use crate::cluster::Cluster;
use crate::lockers::LockNotes;
use crate::random;
use crate::watchers::Watched;

/// Registers that all clients write and read.
pub(crate) const REGISTERS: [&str; 4] = ["register/a", "register/b", "register/c", "register/d"];
/// Counters that all clients raise.
pub(crate) const COUNTERS: [&str; 2] = ["counter/a", "counter/b"];
/// A client's own patience for one answer.
const ANSWER: Duration = Duration::from_secs(3);
/// Attempts under one id before a client settles it.
pub(crate) const ATTEMPTS: u32 = 4;

/// What a client got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Saw {
    Wrote {
        revision: u64,
    },
    /// The revision of the record read; 0 for none.
    Read {
        level: ReadLevel,
        revision: u64,
        age: Option<Duration>,
    },
}

/// One finished operation on a register.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Event {
    pub(crate) key: &'static str,
    pub(crate) node: NodeId,
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    pub(crate) saw: Saw,
}

/// How a request ended for good.
#[derive(Debug)]
pub(crate) enum End {
    Outcome(Outcome),
    /// Its answer was lost, and it was settled.
    Settled(Settled),
    /// It is certainly not applied.
    Not,
    /// Nobody knows.
    Open,
}

/// How a put ended for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Applied { revision: u64 },
    Not,
    Open,
}

/// All that the clients saw.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) events: Vec<Event>,
    /// Writes of keys that nobody else writes.
    pub(crate) singles: BTreeMap<String, Fate>,
    /// Increments that count, and those of which nobody knows.
    pub(crate) counted: BTreeMap<&'static str, u64>,
    pub(crate) open_counts: BTreeMap<&'static str, u64>,
    pub(crate) replays: u64,
    pub(crate) settled: u64,
    pub(crate) locks: LockNotes,
    /// What each watcher was told.
    pub(crate) watched: Vec<Watched>,
    /// Clients that have come to their end.
    pub(crate) done: u64,
}

/// One client.
pub(crate) struct Client {
    pub(crate) number: u64,
    pub(crate) cluster: Cluster,
    pub(crate) notes: Arc<Mutex<Notes>>,
    written: u64,
}

/// What one attempt of a write came to.
enum Attempt {
    Outcome(Outcome),
    /// Certainly not applied, and under this id it may be tried again.
    NotApplied,
    Unclear,
}

impl Client {
    pub(crate) fn new(number: u64, cluster: &Cluster, notes: &Arc<Mutex<Notes>>) -> Self {
        Self {
            number,
            cluster: cluster.clone(),
            notes: notes.clone(),
            written: 0,
        }
    }

    /// Returns whether clients are to write nothing at the moment.
    pub(crate) fn must_be_quiet(&self) -> bool {
        self.cluster.quiet.load(Ordering::SeqCst)
    }

    /// Works until `end`.
    pub(crate) async fn run(mut self, end: Instant) {
        while clock::now() < end {
            runtime::sleep(Duration::from_millis(random::below(40))).await;
            let first = if self.must_be_quiet() { 4 } else { 0 };
            match first + random::below(10 - first) {
                0..=1 => self.write_register().await,
                2 => self.write_single().await,
                3 => self.count().await,
                4..=6 => self.read(ReadLevel::Consistent).await,
                7..=8 => self.read(ReadLevel::Default).await,
                _ => self.read(ReadLevel::Stale).await,
            }
        }
    }

    /// Calls a node; nothing comes back from one that has crashed meanwhile.
    pub(crate) async fn ask<T, F>(&self, call: impl FnOnce(Node) -> F) -> Option<(NodeId, T)>
    where
        T: Send,
        F: Future<Output = T> + Send,
    {
        let id = random::pick(&self.cluster.ids);
        let process = self.cluster.network.process(id)?;
        let answer = runtime::timeout(ANSWER, call(process.node)).await.ok()?;
        let now = self.cluster.network.process(id)?;
        (now.number == process.number).then_some((id, answer))
    }

    async fn attempt(&self, request: WriteRequest) -> Attempt {
        let asked = self.ask(|node| async move { node.write(request).await });
        match asked.await {
            Some((_, Ok(Answer { value, meta }))) => {
                self.notes.lock().replays += u64::from(meta.replayed);
                Attempt::Outcome(value)
            }
            Some((
                _,
                Err(
                    ServiceError::NoLeader { .. }
                    | ServiceError::Overloaded
                    | ServiceError::NotCaughtUp { .. },
                ),
            )) => Attempt::NotApplied,
            Some((_, Err(_))) | None => Attempt::Unclear,
        }
    }

    /// Returns an id that this client has not used.
    pub(crate) fn next_id(&mut self) -> RequestId {
        self.written += 1;
        let id = format!("c{}-{}", self.number, self.written);
        RequestId::new(&id).expect("visible characters")
    }

    /// Sends a write under one id until it is clear what became of it, or nobody can be asked.
    pub(crate) async fn send(&mut self, op: Op, guard: Option<Guard>) -> End {
        let id = self.next_id();
        let request = WriteRequest {
            request_id: Some(id.clone()),
            guard,
            ..WriteRequest::own(op)
        };
        let mut unclear = false;
        for _ in 0..ATTEMPTS {
            match self.attempt(request.clone()).await {
                Attempt::Outcome(outcome) => return End::Outcome(outcome),
                Attempt::NotApplied => {}
                Attempt::Unclear => unclear = true,
            }
            Self::pause().await;
        }
        match unclear {
            true => self.settle(id).await,
            false => End::Not,
        }
    }

    /// Waits before another attempt.
    pub(crate) async fn pause() {
        runtime::sleep(Duration::from_millis(50 + random::below(200))).await;
    }

    async fn settle(&self, id: RequestId) -> End {
        let asked = self.ask(|node| async move { node.settle(id, Routing::Forward).await });
        let Some((_, Ok(answer))) = asked.await else {
            return End::Open;
        };
        self.notes.lock().settled += 1;
        End::Settled(answer.value.settled)
    }

    async fn write_register(&mut self) {
        let key = random::pick(&REGISTERS);
        let began = clock::now();
        let fate = fate(&self.send(put(key, "v", Condition::default()), None).await);
        if let Fate::Applied { revision } = fate {
            self.note(key, 0, began, Saw::Wrote { revision });
        }
    }

    async fn write_single(&mut self) {
        let key = format!("single/{}/{}", self.number, self.written);
        let fate = fate(&self.send(put(&key, &key, Condition::default()), None).await);
        self.notes.lock().singles.insert(key, fate);
    }

    /// Raises a counter by one, with a condition on the revision that was read.
    async fn count(&mut self) {
        let counter = random::pick(&COUNTERS);
        let Some((_, record)) = self.get(counter, ReadLevel::Consistent).await else {
            return;
        };
        let text = record
            .as_ref()
            .map(|r| String::from_utf8_lossy(&r.value).into_owned());
        let next = text.map_or(0, |text| text.parse::<u64>().expect("a number")) + 1;
        let condition = Condition {
            exists: record.is_none().then_some(false),
            mod_revision: record.as_ref().map(|record| record.mod_revision),
            value: None,
        };
        let fate = fate(
            &self
                .send(put(counter, &next.to_string(), condition), None)
                .await,
        );
        let mut notes = self.notes.lock();
        match fate {
            Fate::Applied { .. } => *notes.counted.entry(counter).or_default() += 1,
            Fate::Open => *notes.open_counts.entry(counter).or_default() += 1,
            Fate::Not => {}
        }
    }

    async fn get(
        &self,
        key: &str,
        level: ReadLevel,
    ) -> Option<((NodeId, Option<Duration>), Option<Arc<Record>>)> {
        let key = Key::try_from(key).expect("a key");
        let options = ReadOptions::level(level);
        let asked = self.ask(|node| async move { node.get(&options, &key).await });
        match asked.await {
            Some((id, Ok(answer))) => Some(((id, answer.meta.last_contact), answer.value)),
            _ => None,
        }
    }

    async fn read(&self, level: ReadLevel) {
        let key = random::pick(&REGISTERS);
        let began = clock::now();
        if let Some(((node, age), record)) = self.get(key, level).await {
            let revision = record.map_or(0, |record| record.mod_revision);
            let saw = Saw::Read {
                level,
                revision,
                age,
            };
            self.note(key, node, began, saw);
        }
    }

    fn note(&self, key: &'static str, node: NodeId, began: Instant, saw: Saw) {
        self.notes.lock().events.push(Event {
            key,
            node,
            began,
            ended: clock::now(),
            saw,
        });
    }
}

pub(crate) fn put(key: &str, value: &str, condition: Condition) -> Op {
    Op::Put {
        put: Put {
            key: Key::try_from(key).expect("a key"),
            value: Bytes::copy_from_slice(value.as_bytes()),
            content_type: "text/plain".into(),
            ttl_ms: None,
        },
        condition,
        return_previous: false,
    }
}

/// Returns what became of a put.
pub(crate) fn fate(end: &End) -> Fate {
    match end {
        End::Outcome(Outcome::Put { stamps, .. }) | End::Settled(Settled::Put(stamps)) => {
            Fate::Applied {
                revision: stamps.mod_revision,
            }
        }
        End::Outcome(Outcome::Rejected(
            Rejection::PreconditionFailed { .. }
            | Rejection::TokenSuperseded { .. }
            | Rejection::LockNotHeld,
        ))
        | End::Settled(_)
        | End::Not => Fate::Not,
        End::Open => Fate::Open,
        End::Outcome(other) => panic!("a put came to {other:?}"),
    }
}
