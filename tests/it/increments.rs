//! Increments by compare-and-set that are never given up: each counts once, whatever is cut.
//!
//! CI makes 10,000; `CONCLAVE_TEST_FULL=1` 100,000.

use std::time::{Duration, Instant};

use conclave_tests::load::increments::{Increments, Plan};
use conclave_tests::said::measured;
use conclave_tests::{Cluster, Links, Random, settings, wait_for};

/// Longest wait for the increments, or for a part of them, on a busy machine.
const COUNTED_WITHIN: Duration = Duration::from_secs(180);
/// Longest time of a fault.
const RECOVERED_WITHIN: Duration = Duration::from_secs(20);

#[tokio::test]
async fn ten_thousand_increments_count_once_each_whatever_is_cut() {
    // Of the increments and of the failures under them.
    let seed = settings::seed();
    let rounds = settings::rounds(1, 10);
    let wanted = 10_000 * rounds as u64;
    let plan = Plan {
        seed,
        prefix: "counter/".to_owned(),
        clients: 12,
        counters: 8,
        increments: wanted,
    };
    let mut cluster = Cluster::builder().links().start().await;
    let links = cluster.links();
    let mut random = Random::new(seed);
    let faults = (0..rounds).flat_map(|_| Fault::shuffled(&mut random));
    let faults: Vec<_> = faults.collect();
    let started = Instant::now();
    let increments = Increments::start(&cluster.addresses(), plan);
    let step = wanted / (faults.len() as u64 + 1);
    for (number, fault) in (1..).zip(&faults) {
        increments.wait_done(number * step, COUNTED_WITHIN).await;
        let hold = Duration::from_millis(300 + random.below(1_200) as u64);
        fault.make(&mut cluster, &links, &mut random, hold).await;
    }
    let tally = increments.finish(COUNTED_WITHIN).await;
    println!("{:?} with {faults:?}", started.elapsed());
    cluster.assert_converged().await;
    assert_eq!(tally.successes(), wanted);
    for node in cluster.nodes() {
        tally.assert_counted_once(node).await;
    }
    measured(&format!(
        "{} increments through {} faults: 0 lost, 0 counted twice; {} refused, {} replays, {} unclear, \
         of them settled as applied {} and as not applied {} (seed {seed})",
        tally.successes(),
        faults.len(),
        tally.refused,
        tally.replays,
        tally.unclear,
        tally.settled.0,
        tally.settled.1,
    ));
    assert!(tally.replays > 0, "nothing was repeated: no coverage");
    let (applied, not_applied) = tally.settled;
    assert!(
        applied + not_applied > 0,
        "nothing was settled: no coverage"
    );
}

/// What is done to a cluster while it counts.
#[derive(Debug, Clone, Copy)]
enum Fault {
    IsolateLeader,
    IsolateFollower,
    /// A follower hears nothing of the leader, neither answers nor heartbeats.
    CutFromLeader,
    /// The leader hears nothing of a follower.
    CutToLeader,
    /// Every connection between the nodes breaks.
    Reset,
    /// `kill -9`, and a start.
    KillLeader,
}

impl Fault {
    /// Returns each fault twice, in an order of its own.
    fn shuffled(random: &mut Random) -> Vec<Self> {
        let each = [
            Self::IsolateLeader,
            Self::IsolateFollower,
            Self::CutFromLeader,
            Self::CutToLeader,
            Self::Reset,
            Self::KillLeader,
        ];
        let mut faults = [each, each].concat();
        for end in (1..faults.len()).rev() {
            faults.swap(end, random.below(end + 1));
        }
        faults
    }

    /// Makes the fault, and takes it back after `hold`.
    async fn make(self, cluster: &mut Cluster, links: &Links, random: &mut Random, hold: Duration) {
        let leader = cluster.leader().await;
        let follower = (leader + 1 + random.below(2)) % 3;
        match self {
            Self::IsolateLeader => links.isolate(leader),
            Self::IsolateFollower => links.isolate(follower),
            Self::CutFromLeader => links.cut(leader, follower),
            Self::CutToLeader => links.cut(follower, leader),
            Self::Reset => {}
            Self::KillLeader => cluster[leader].kill(),
        }
        let until = Instant::now() + hold;
        wait_for("the fault lasts", RECOVERED_WITHIN, async || {
            if Instant::now() >= until {
                Ok(())
            } else {
                Err("not yet".to_owned())
            }
        })
        .await;
        // Some of what was held arrives late, and some never.
        if matches!(self, Self::Reset) || random.one_in(2) {
            for (one, other) in [(0, 1), (0, 2), (1, 2)] {
                links.reset(one, other);
            }
        }
        links.heal();
        if matches!(self, Self::KillLeader) {
            cluster[leader].start().await;
        }
    }
}
