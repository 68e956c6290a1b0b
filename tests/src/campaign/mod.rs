//! A cluster under load and faults, and what its clients saw.
//!
//! Clients work on a few keys at a time while nodes are killed, frozen and cut off, one after
//! another, by a schedule that follows from the seed. Afterwards everything is healed, and every
//! key must take a write and be read. The history is for `history::check`. With many kinds of load
//! and several faults at once it is [`chaos`].

pub mod chaos;
mod dialect;
mod keys;
mod load;
mod nemesis;
mod paused;
mod system;
mod worker;

use std::fmt;
use std::time::{Duration, Instant};

use crate::history::{Counts, History};
pub use dialect::{Dialect, classify};
use load::{Load, Plan};
pub use nemesis::{Done, Event, Kind, Nemesis, Schedule};
pub use paused::{Clocks, Paused, pause_leaders};
pub use system::System;
pub use worker::Worker;

/// A campaign on a busy machine goes on for this many times its length to get its answers.
const LONGER: u32 = 3;

/// A campaign to be run.
#[derive(Debug, Clone)]
pub struct Campaign {
    seed: u64,
    level: &'static str,
    length: Duration,
    answers: usize,
    clients: u32,
    kinds: Vec<Kind>,
}

impl Campaign {
    /// Makes a campaign of one minute and 50,000 answers, with 15 clients that read at `consistent`
    /// and with faults of all kinds.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            level: "consistent",
            length: Duration::from_secs(60),
            answers: 50_000,
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

    /// Sets how long clients and faults go on at least. They go on until every fault has happened
    /// and the wanted number of operations got an answer, but not for much more than three times
    /// as long.
    #[must_use]
    pub const fn length(mut self, length: Duration) -> Self {
        self.length = length;
        self
    }

    /// Sets how many operations must get an answer; clients do not do many more in their time.
    #[must_use]
    pub const fn answers(mut self, answers: usize) -> Self {
        self.answers = answers;
        self
    }

    /// Sets the kinds of faults.
    #[must_use]
    pub fn kinds(mut self, kinds: &[Kind]) -> Self {
        self.kinds = kinds.into();
        self
    }

    fn plan(&self, dialect: Dialect) -> Plan {
        Plan {
            seed: self.seed,
            dialect,
            prefix: format!("c/{:x}", self.seed),
            level: self.level,
            clients: self.clients,
            answers: self.answers,
            length: self.length,
        }
    }

    /// Runs its clients on a healthy cluster, which is healthy again afterwards, with `work` instead of
    /// the faults, for as long as that takes. Returns what came of the work, and what the clients saw.
    ///
    /// # Panics
    ///
    /// A key does not take a write, the nodes differ afterwards, or an answer breaks the contract.
    pub async fn during<S: System, T>(
        self,
        cluster: &mut S,
        work: impl AsyncFnOnce(&mut S) -> T,
    ) -> (T, History) {
        let addresses = cluster.all_addresses();
        let load = Load::start(&addresses, &self.plan(S::DIALECT));
        let done = work(cluster).await;
        let ran = load.stop().await;
        cluster.leader().await;
        let history = ran.settle(&addresses).await;
        cluster.assert_converged().await;
        (done, history)
    }

    /// Runs it on a healthy cluster, which is healthy again afterwards.
    ///
    /// # Panics
    ///
    /// A node does not come back, a key does not take a write, or an answer breaks the contract.
    pub async fn run<S: System>(self, cluster: &mut S) -> Record {
        let began = Instant::now();
        let addresses = cluster.all_addresses();
        let load = Load::start(&addresses, &self.plan(S::DIALECT));
        let mut nemesis = Nemesis::default();
        let schedule = Schedule::new(self.seed, &self.kinds);
        let round = schedule.round();
        for event in schedule {
            nemesis.perform(event, cluster).await;
            let enough = began.elapsed() >= self.length && load.answered() >= self.answers;
            let late = began.elapsed() >= LONGER * self.length;
            if nemesis.done.len() >= round && (enough || late) {
                break;
            }
        }
        let took = began.elapsed();
        let ran = load.stop().await;
        let counts = ran.history.counts();

        cluster.leader().await;
        let history = ran.settle(&addresses).await;
        cluster.assert_converged().await;
        Record {
            seed: self.seed,
            level: self.level,
            took,
            counts,
            answers: self.answers,
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
    /// How many of them had to get an answer.
    pub answers: usize,
    pub kinds: Vec<Kind>,
    pub done: Vec<Done>,
    pub history: History,
}

impl Record {
    /// Checks that the campaign was one: each kind of fault happened, to the leader and to another
    /// node, and enough operations got an answer.
    ///
    /// # Panics
    ///
    /// It was not.
    pub fn assert_covered(&self) {
        for kind in &self.kinds {
            for led in [true, false] {
                let happened = |done: &&Done| done.kind == *kind && done.led == led;
                let count = self.done.iter().filter(happened).count();
                assert!(count > 0, "no {kind:?} with led={led}: {self}");
            }
        }
        assert!(
            self.counts.answered >= self.answers,
            "{} answers are wanted: {self}",
            self.answers
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
            write!(f, " {kind:?} {} ({led} of the leader)", of_kind.count())?;
        }
        Ok(())
    }
}
