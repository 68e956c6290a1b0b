//! Leaders that are frozen with reads waiting for them, and thawed when another one leads.
//!
//! The reads lie in the frozen process' sockets. Some were asked before the pause, some after
//! another leader had acknowledged newer writes: none of those may get a value from before.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Barrier;

use super::load::joined;
use super::worker::Worker;
use crate::cluster::{Cluster, Node};
use crate::faults::clocks::hold_back;
use crate::faults::links::Links;
use crate::history::{Call, Counts, End, History, Stopwatch};
use crate::random::{Random, fresh_seed};
use crate::wait::{self, before_retry, wait_for};

/// Clients that read all the time, and as many that ask once, late in the pause.
const READERS: u32 = 8;
/// Writes of another leader before the late reads are sent.
const NEWER_WRITES: usize = 3;
/// Longest wait for them: an election on a busy machine.
const ELECTED_WITHIN: Duration = Duration::from_secs(30);
/// A read must outlast the pause.
const READ_WITHIN: Duration = Duration::from_secs(30);

/// What the clocks of a leader do while it is frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clocks {
    Run,
    /// They go on where they were, as after the suspension of a virtual machine; the cluster was
    /// built with [`Builder::clocks`](crate::cluster::Builder::clocks).
    StandStill,
    /// So they do, and the leader is cut off until the late reads are answered: no news from the
    /// others can depose it meanwhile. Needs [`Builder::links`](crate::cluster::Builder::links).
    StandStillAlone,
}

/// What happened in the rounds.
#[derive(Debug)]
pub struct Paused {
    pub history: History,
    pub rounds: usize,
    /// What became of the reads that were asked after newer writes were acknowledged.
    pub late: Counts,
}

/// Freezes and thaws the leader so many times, with a load of reads of the level on it.
///
/// # Panics
///
/// No other leader takes writes during a pause.
pub async fn pause_leaders(
    cluster: &Cluster,
    level: &'static str,
    clocks: Clocks,
    rounds: usize,
    seed: u64,
) -> Paused {
    let clock = Stopwatch::start();
    let mut random = Random::new(seed);
    let mut late = History::default();
    let mut history = History::default();
    let mut behind = vec![Duration::ZERO; cluster.nodes().len()];
    for number in 0..rounds {
        let leader = cluster.leader().await;
        let round = Round {
            // With the same seed a test may come here more than once.
            key: format!("paused/{:x}/{number}", fresh_seed()).into(),
            level,
            leader,
            addresses: cluster.nodes().iter().map(Node::http_address).collect(),
            clock,
            over: Arc::default(),
            newer: Arc::default(),
        };
        let alone = (clocks == Clocks::StandStillAlone).then(|| cluster.links());
        let thaw = |paused: Duration| {
            if clocks != Clocks::Run {
                behind[leader] += paused;
                hold_back(&cluster[leader], behind[leader]);
            }
            cluster[leader].resume();
        };
        let seen = round.run(cluster, &mut random, alone, thaw).await;
        history.extend(seen.others);
        late.extend(seen.late);
    }
    let counts = late.counts();
    history.extend(late);
    Paused {
        history,
        rounds,
        late: counts,
    }
}

struct Seen {
    others: History,
    late: History,
}

#[derive(Clone)]
struct Round {
    key: Arc<str>,
    level: &'static str,
    leader: usize,
    addresses: Vec<String>,
    clock: Stopwatch,
    over: Arc<AtomicBool>,
    /// Acknowledged writes.
    newer: Arc<AtomicUsize>,
}

impl Round {
    async fn run(
        self,
        cluster: &Cluster,
        random: &mut Random,
        alone: Option<Links>,
        thaw: impl FnOnce(Duration),
    ) -> Seen {
        let writer = tokio::spawn(self.clone().write());
        self.wait_writes(1).await;
        let frozen = Arc::new(Barrier::new(READERS as usize + 1));
        let readers: Vec<_> = (1..=READERS)
            .map(|number| tokio::spawn(self.clone().read(number)))
            .collect();
        let late: Vec<_> = (READERS + 1..=2 * READERS)
            .map(|number| tokio::spawn(self.clone().read_late(number, Arc::clone(&frozen))))
            .collect();
        // Another moment each time; all late readers have their connections by then.
        frozen.wait().await;
        wait::pass(Duration::from_micros(random.number() % 60_000)).await;

        let began = Instant::now();
        cluster[self.leader].pause();
        if let Some(links) = &alone {
            links.isolate(self.leader);
        }
        let before = self.newer.load(Ordering::SeqCst);
        // One write may have been acknowledged by the frozen leader and noted only now.
        self.wait_writes(before + 1 + NEWER_WRITES).await;
        frozen.wait().await;
        wait::pass(Duration::from_micros(5_000 + random.number() % 30_000)).await;
        thaw(began.elapsed());

        let late = joined(late).await;
        if let Some(links) = alone {
            links.heal();
        }
        self.over.store(true, Ordering::SeqCst);
        let mut others = joined(readers).await;
        others.extend(joined([writer]).await);
        Seen { others, late }
    }

    async fn wait_writes(&self, wanted: usize) {
        wait_for("acknowledged writes", ELECTED_WITHIN, async || {
            let newer = self.newer.load(Ordering::SeqCst);
            if newer >= wanted {
                Ok(())
            } else {
                Err(format!("{newer} of {wanted}"))
            }
        })
        .await;
    }

    fn worker(&self, number: u32) -> Worker {
        let mut worker = Worker::new(number, 2 * READERS + 1, self.clock, &self.addresses);
        worker.turn_to(self.leader);
        worker
    }

    /// Writes through the nodes that are not frozen.
    async fn write(self) -> History {
        let mut worker = self.worker(0);
        worker.turn_to(self.leader + 1);
        while !self.over.load(Ordering::SeqCst) {
            let value = worker.next_value();
            let end = worker
                .perform(&self.key, Call::Put { value }, self.level)
                .await;
            if matches!(end, End::Answered { .. }) {
                self.newer.fetch_add(1, Ordering::SeqCst);
            }
            // Slow enough for the checker: a key has a few hundred writes.
            before_retry().await;
        }
        worker.into_history()
    }

    async fn read(self, number: u32) -> History {
        let mut worker = self.worker(number);
        worker.set_timeout(READ_WITHIN);
        while !self.over.load(Ordering::SeqCst) {
            worker.perform(&self.key, Call::Get, self.level).await;
            before_retry().await;
        }
        worker.into_history()
    }

    /// Opens a connection, waits for the late moment, and asks once.
    async fn read_late(self, number: u32, frozen: Arc<Barrier>) -> History {
        let mut worker = self.worker(number);
        worker.set_timeout(READ_WITHIN);
        worker.connect().await;
        frozen.wait().await;
        frozen.wait().await;
        worker.perform(&self.key, Call::Get, self.level).await;
        worker.into_history()
    }
}
