//! A cluster under load and faults, and what its clients saw.
//!
//! Clients work on a few keys at a time while nodes are killed, frozen and cut off, one after
//! another, by a schedule that follows from the seed. Afterwards everything is healed, and every
//! key must take a write and be read. The history is for `history::check`.

mod keys;
mod load;
mod nemesis;
mod worker;

use std::fmt;
use std::time::{Duration, Instant};

use crate::cluster::Cluster;
use crate::history::{Counts, History};
use crate::wait;
use load::Load;
pub use nemesis::{Done, Kind};
use nemesis::{Nemesis, schedule};
pub use worker::{Worker, classify};

/// A campaign to be run.
#[derive(Debug, Clone)]
pub struct Campaign {
    seed: u64,
    level: &'static str,
    length: Duration,
    clients: usize,
    kinds: Vec<Kind>,
}

impl Campaign {
    /// Makes a campaign of one minute with 15 clients that read at `consistent`, and with faults of
    /// all kinds.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            level: "consistent",
            length: Duration::from_secs(60),
            clients: 15,
            kinds: Kind::ALL.into(),
        }
    }

    /// Sets the level of the reads.
    #[must_use]
    pub const fn level(mut self, level: &'static str) -> Self {
        self.level = level;
        self
    }

    /// Sets how long clients and faults go on; every fault happens at least once.
    #[must_use]
    pub const fn length(mut self, length: Duration) -> Self {
        self.length = length;
        self
    }

    /// Sets the kinds of faults.
    #[must_use]
    pub fn kinds(mut self, kinds: &[Kind]) -> Self {
        self.kinds = kinds.into();
        self
    }

    /// Runs it on a healthy cluster, which is healthy again afterwards.
    ///
    /// # Panics
    ///
    /// A node does not come back, a key does not take a write, or an answer breaks the contract.
    pub async fn run(self, cluster: &mut Cluster) -> Record {
        let began = Instant::now();
        let plan = schedule(self.seed, &self.kinds, self.length);
        let load = Load::start(cluster, self.seed, self.level, self.clients);
        let mut nemesis = Nemesis::default();
        for event in &plan {
            nemesis.perform(*event, cluster).await;
        }
        wait::until(began + self.length).await;
        let took = began.elapsed();
        let ran = load.stop().await;
        let counts = ran.history.counts();

        cluster.leader().await;
        let history = ran.settle().await;
        cluster.assert_converged().await;
        Record {
            seed: self.seed,
            level: self.level,
            took,
            counts,
            planned: plan.len(),
            kinds: self.kinds,
            done: nemesis.done,
            history,
        }
    }
}

/// What happened in a campaign.
#[derive(Debug)]
pub struct Record {
    pub seed: u64,
    pub level: &'static str,
    /// How long clients and faults went on.
    pub took: Duration,
    /// Operations of that time; `history` holds those of the settling, too.
    pub counts: Counts,
    pub planned: usize,
    pub kinds: Vec<Kind>,
    pub done: Vec<Done>,
    pub history: History,
}

impl Record {
    /// Checks that the campaign was one: all planned faults happened, each kind to the leader and
    /// to another node, and at least `answered` operations got an answer.
    ///
    /// # Panics
    ///
    /// It was not.
    pub fn assert_covered(&self, answered: usize) {
        assert_eq!(self.done.len(), self.planned, "planned faults: {self}");
        for kind in &self.kinds {
            for led in [true, false] {
                let happened = |done: &&Done| done.kind == *kind && done.led == led;
                let count = self.done.iter().filter(happened).count();
                assert!(count > 0, "no {kind:?} with led={led}: {self}");
            }
        }
        assert!(
            self.counts.answered >= answered,
            "{answered} answered operations are wanted: {self}"
        );
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seed {}, level {}: {} operations in {:.1?};",
            self.seed, self.level, self.counts, self.took
        )?;
        for kind in &self.kinds {
            let of_kind = self.done.iter().filter(|done| done.kind == *kind);
            let led = of_kind.clone().filter(|done| done.led).count();
            write!(f, " {kind:?} {} ({led} of the leader),", of_kind.count())?;
        }
        write!(f, " {} planned", self.planned)
    }
}
