//! Wall clocks that jump by an hour: no read, no outcome and no leader changes.
//!
//! Needs Debian's `libfaketime` and is skipped with a counted line where it is missing.

use std::time::Duration;

use conclave_tests::faults::clocks::{self, Faked, WallClock};
use conclave_tests::load::strict_reads::StrictReads;
use conclave_tests::said::{measured, skipped};
use conclave_tests::{Cluster, Writers};

const HOUR: i64 = 3_600;
/// Answers that each client gets between two jumps.
const BETWEEN: u64 = 20;
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_clock_that_jumps_by_an_hour_changes_no_read_and_no_outcome() {
    let Some(library) = clocks::library(Faked::Wall) else {
        return skipped("clock jumps need libfaketime");
    };
    let mut cluster = Cluster::builder().alone().prepare().await;
    let folder = cluster.folder().to_owned();
    let nodes = cluster.nodes_mut().iter_mut();
    let clocks: Vec<_> = nodes
        .map(|node| WallClock::of(node, &library, &folder))
        .collect();
    cluster.form().await;
    let leader = cluster.leader().await;
    let term = cluster[leader].status_number("term").await;
    let writers = Writers::start(&cluster.addresses(), 2);
    let reads = StrictReads::start(&cluster.addresses());
    reads.wait_answers(BETWEEN, ANSWERED_WITHIN).await;

    let mut jumps = 0;
    for shift in 0..cluster.nodes().len() {
        let node = (leader + shift) % cluster.nodes().len();
        for seconds in [HOUR, -HOUR, 0] {
            clocks[node].jump(&cluster[node], seconds).await;
            reads.wait_answers(BETWEEN, ANSWERED_WITHIN).await;
            jumps += 1;
        }
    }
    // Nobody agrees with anybody.
    for (node, seconds) in [(0, HOUR), (1, -HOUR), (2, 0), (0, -HOUR), (1, HOUR)] {
        clocks[node].jump(&cluster[node], seconds).await;
        jumps += 1;
    }
    reads.wait_answers(BETWEEN, ANSWERED_WITHIN).await;

    let counts = reads.stop().await;
    let history = writers.stop().await;
    assert!(counts.wrong.is_empty(), "{:#?}", counts.wrong);
    assert_eq!(
        history.acknowledged(),
        history.attempts.len(),
        "a write failed"
    );
    cluster.assert_converged().await;
    for node in cluster.nodes() {
        assert_eq!(node.status_number("term").await, term, "a new leader");
        history.assert_kept(node, "stale").await;
    }
    measured(&format!(
        "{jumps} clock jumps of an hour: 0 of {} reads and 0 of {} writes wrong, no leader change",
        counts.reads,
        counts.writes + history.acknowledged() as u64,
    ));
}
