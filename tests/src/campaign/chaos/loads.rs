//! All that clients do in a leg at the same time; [`super::verdict`] judges it.

use std::path::PathBuf;
use std::time::Duration;

use crate::campaign::Dialect;
use crate::campaign::load::{self, Load, Ran};
use crate::cluster::{Cluster, Node};
use crate::load::increments::{self, Increments, Tally};
use crate::load::lock_contenders::{Contenders, Contest, Entry};
use crate::load::watched_writes::WatchedWrites;
use crate::load::writers::{WriteLog, Writers};
use crate::sse::Subscription;
use crate::watch::{self, Break, Watcher, Written};

/// Clients with a history, and the answers that they get in a second when all is well: no more, because
/// the others want something of the machine, too.
const REGISTERS: u32 = 10;
const ANSWERS_PER_SECOND: u64 = 300;
/// Clients that write keys of their own, that count, and that write what is watched.
const WRITERS: usize = 3;
const COUNTING: usize = 3;
const COUNTERS: usize = 6;
const WATCHED: usize = 5;
const WATCHED_PACE: Duration = Duration::from_millis(12);
/// Contenders for the lock, and those that are processes.
const CONTENDERS: usize = 6;
const PROCESSES: usize = 2;
const LOCK_TTL: Duration = Duration::from_secs(1);
/// Longest time until clients have ended what they have begun, with everything healed.
const ENDED_WITHIN: Duration = Duration::from_secs(60);

/// Running clients of a leg. Their keys and their lock are the leg's own.
#[derive(Debug)]
pub(super) struct Loads {
    leg: Leg,
    addresses: Vec<String>,
    registers: Load,
    writers: Writers,
    increments: Increments,
    contenders: Contenders,
    watched: WatchedWrites,
    watchers: Vec<Watcher>,
}

/// What a leg is known by.
#[derive(Debug, Clone)]
pub(super) struct Leg {
    pub(super) number: usize,
    pub(super) seed: u64,
    /// The revision before it.
    pub(super) start: u64,
    pub(super) length: Duration,
    /// What contenders run.
    pub(super) contender: PathBuf,
}

impl Leg {
    /// Begins all of its keys but the guarded one.
    pub(super) fn folder(&self) -> String {
        format!("leg-{}/", self.number)
    }

    /// Begins those that are watched.
    pub(super) fn watched(&self) -> String {
        format!("{}watched/", self.folder())
    }

    /// Begins the names of its lock and of what that guards.
    pub(super) fn fence(&self) -> String {
        format!("fence-{}.", self.number)
    }

    fn contest(&self, addresses: &[String], cluster: &Cluster) -> Contest {
        Contest {
            addresses: addresses.to_vec(),
            lock: format!("{}lock", self.fence()),
            guarded: format!("{}key", self.fence()),
            cell: cluster.folder().join(format!("cell-{}", self.number)),
            ttl: LOCK_TTL,
            contenders: CONTENDERS,
            processes: PROCESSES,
            program: self.contender.clone(),
            seed: self.seed,
        }
    }

    /// Returns what the watchers ask for, and how they break off.
    fn plans(&self) -> Vec<watch::Plan> {
        let base = self.watched();
        let below = |rest: &str| Subscription::all().prefix(&format!("{base}{rest}"));
        let asked = [
            ("all", below(""), Break::Often),
            ("all to the end", below(""), Break::Never),
            ("all, slowly", below(""), Break::Slowly),
            ("all, away", below(""), Break::Away),
            ("a", below("a/"), Break::Often),
            ("puts", below("").types(&["put"]), Break::Often),
            (
                "what ends",
                below("").types(&["delete", "expire"]),
                Break::Often,
            ),
            ("names", below("").names_only(), Break::Often),
            ("or the state", below("c/").or_snapshot(), Break::Often),
        ];
        watch::Plan::each(asked, self.start, self.seed)
    }
}

impl Loads {
    /// Starts all of them.
    pub(super) fn start(leg: Leg, cluster: &Cluster) -> Self {
        let addresses: Vec<_> = cluster.nodes().iter().map(Node::http_address).collect();
        let folder = leg.folder();
        let registers = load::Plan {
            seed: leg.seed,
            dialect: Dialect::Conclave,
            prefix: format!("{folder}registers"),
            level: "consistent",
            clients: REGISTERS,
            answers: usize::try_from(ANSWERS_PER_SECOND * leg.length.as_secs()).unwrap_or(0),
            length: leg.length,
        };
        let counting = increments::Plan {
            seed: leg.seed,
            prefix: format!("{folder}counters/"),
            clients: COUNTING,
            counters: COUNTERS,
            increments: u64::MAX,
        };
        let (watched, seed) = (leg.watched(), leg.seed);
        let plans = leg.plans().into_iter();
        Self {
            registers: Load::start(&addresses, &registers),
            writers: Writers::start_below(&folder, &addresses, WRITERS),
            increments: Increments::start(&addresses, counting),
            contenders: Contenders::start(&leg.contest(&addresses, cluster)),
            watched: WatchedWrites::start_below(&watched, &addresses, WATCHED, WATCHED_PACE, seed),
            watchers: plans.map(|plan| Watcher::start(&addresses, plan)).collect(),
            addresses,
            leg,
        }
    }

    /// Returns the answers to the clients with a history so far.
    pub(super) fn answered(&self) -> usize {
        self.registers.answered()
    }

    /// Lets everybody but the watchers end.
    pub(super) async fn stop(self) -> Stopped {
        let resumes = self.watchers.iter().map(Watcher::resumes).sum();
        let (registers, writers, tally, (entries, stops), watched) = tokio::join!(
            self.registers.stop(),
            self.writers.stop(),
            self.increments.stop(ENDED_WITHIN),
            self.contenders.finish(ENDED_WITHIN),
            self.watched.stop(),
        );
        Stopped {
            leg: self.leg,
            addresses: self.addresses,
            registers,
            writers,
            tally,
            entries,
            stops,
            watched,
            watchers: self.watchers,
            resumes,
        }
    }
}

/// What the clients have seen, and the watchers, which go on.
#[derive(Debug)]
pub(super) struct Stopped {
    pub(super) leg: Leg,
    pub(super) addresses: Vec<String>,
    pub(super) registers: Ran,
    pub(super) writers: WriteLog,
    pub(super) tally: Tally,
    pub(super) entries: Vec<Entry>,
    /// How often a contender's process was stopped.
    pub(super) stops: usize,
    pub(super) watched: Vec<Written>,
    pub(super) watchers: Vec<Watcher>,
    pub(super) resumes: u64,
}
