//! Several faults at once, under all kinds of load at once, for as long as one likes.
//!
//! Five nodes, and a sixth that comes and goes. Streams of faults run side by side: kills, pauses, cuts,
//! bad links, clocks an hour off, changes of the members; a quorum is lost now and then and comes back,
//! because every fault ends and is undone. The campaign goes on in legs. Each has a seed, which plans it,
//! and begins with a quiet time; at its end everything is healed, everything that clients saw is judged,
//! and what they wrote is removed, so that a long campaign takes no more memory than a short one. A
//! leg's seed is the one after that of the leg before: it repeats the leg on its own.

mod loads;
mod members;
mod plan;
mod record;
mod stage;
mod verdict;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::cluster::Cluster;
use crate::faults::clocks::{self, Faked, WallClock};
use crate::wait;
use loads::{Leg, Loads};
pub use plan::Class;
use plan::Plan;
pub use record::Record;
pub use stage::Happened;
use stage::Stage;

/// Members; the node after them is one only for a time.
const NODES: usize = 5;
/// Every revision of a leg must be in the history at its end, and a join may take long.
const FLAGS: [&str; 4] = ["-history-revisions", "1000000", "-join-timeout", "10m"];
/// Time of a leg before its faults.
const QUIET: Duration = Duration::from_secs(5);
/// Longest and shortest time of a leg.
const LEG: Duration = Duration::from_secs(180);
const LEAST: Duration = Duration::from_secs(10);

/// A campaign to be run.
#[derive(Debug, Clone)]
pub struct Chaos {
    seed: u64,
    length: Duration,
    contender: PathBuf,
}

impl Chaos {
    /// Makes a campaign of twenty seconds; `contender` is the crate's program `conclave-contender`.
    #[must_use]
    pub const fn new(seed: u64, contender: PathBuf) -> Self {
        Self {
            seed,
            length: Duration::from_secs(20),
            contender,
        }
    }

    /// Sets how long its legs are together, their checks included; there is at least one.
    #[must_use]
    pub const fn length(mut self, length: Duration) -> Self {
        self.length = length;
        self
    }

    /// Runs it on a cluster of its own.
    ///
    /// # Panics
    ///
    /// A promise is broken, or a node ends by itself; the message has the seed of the leg.
    pub async fn run(self) -> Record {
        let cluster = Cluster::builder().nodes(NODES + 1).args(&FLAGS).links();
        let mut cluster = cluster.prepare().await;
        let clocks = wall_clocks(&mut cluster);
        cluster.form_of(NODES).await;
        let began = Instant::now();
        let mut record = Record {
            seed: self.seed,
            ..Record::default()
        };
        while record.legs == 0 || began.elapsed() < self.length {
            let left = self.length.saturating_sub(began.elapsed());
            let leg = Leg {
                number: record.legs,
                seed: self.seed.wrapping_add(record.legs as u64),
                start: cluster[0].status_number("revision").await,
                length: left.clamp(LEAST, LEG),
                contender: self.contender.clone(),
            };
            run(leg, &mut cluster, &clocks, &mut record).await;
            record.legs += 1;
            record.took = began.elapsed();
        }
        record
    }
}

/// Gives every node a wall clock that can be set; none where libfaketime is missing.
fn wall_clocks(cluster: &mut Cluster) -> Vec<WallClock> {
    let Some(library) = clocks::library(Faked::Wall) else {
        return Vec::new();
    };
    let folder = cluster.folder().to_owned();
    let nodes = cluster.nodes_mut().iter_mut();
    nodes
        .map(|node| WallClock::of(node, &library, &folder))
        .collect()
}

/// Runs one leg on a healthy cluster, which is healthy again afterwards.
async fn run(leg: Leg, cluster: &mut Cluster, clocks: &[WallClock], record: &mut Record) {
    let plan = Plan::new(leg.seed, leg.length, !clocks.is_empty());
    say(&format!("leg {}, {plan}", leg.number));
    let loads = Loads::start(leg, cluster);
    wait::pass(QUIET).await;
    record.note_quiet(loads.answered(), QUIET);

    let (happened, gave_up) = Stage::new(cluster, clocks).perform(&plan).await;
    let healed = Instant::now();
    record.note_faults(&plan, &happened);
    record.gave_up += gave_up;
    for node in 0..NODES {
        cluster[node].wait_ready().await;
    }
    let stopped = loads.stop().await;
    cluster.assert_converged().await;
    record.converged.push(healed.elapsed());
    stopped.check(&plan, &happened, cluster, record).await;
    say(&format!(
        "after {} legs:\n{}",
        record.legs + 1,
        record.lines().join("\n")
    ));
}

#[expect(clippy::print_stdout, reason = "what repeats a failed run")]
fn say(text: &str) {
    println!("{text}");
}
