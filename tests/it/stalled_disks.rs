//! Disks whose syncs do not end: what needs a sync is not given meanwhile, neither an acknowledgement
//! nor a vote. Needs a C compiler, and is skipped with a counted line where there is none.

use std::time::{Duration, Instant};

use conclave_tests::cluster::RECOVERED_WITHIN;
use conclave_tests::faults::native::has_compiler;
use conclave_tests::faults::stalled_disk::StalledDisk;
use conclave_tests::said::skipped;
use conclave_tests::{Cluster, wait_for};

/// Several elections would be over in this time.
const WATCHED: Duration = Duration::from_secs(5);

/// Starts three nodes on disks that can stand still.
async fn start() -> (Cluster, Vec<StalledDisk>) {
    let mut cluster = Cluster::builder().prepare().await;
    let folder = cluster.folder().to_owned();
    let nodes = cluster.nodes_mut().iter_mut();
    let disks = nodes.map(|node| StalledDisk::of(node, &folder)).collect();
    cluster.form().await;
    (cluster, disks)
}

#[tokio::test]
async fn a_write_that_no_majority_has_synced_is_not_acknowledged() {
    if !has_compiler() {
        return skipped("a disk that stands still needs a C compiler");
    }
    let (cluster, disks) = start().await;
    let leader = cluster.leader().await;
    for follower in cluster.followers().await {
        disks[follower].stop();
    }
    let written = cluster[leader].put("/api/keys/a", "1").await;
    assert!(
        matches!(written.status, 503 | 504),
        "acknowledged with one disk of three: {written:?}"
    );
    disks.iter().for_each(StalledDisk::go_on);
    wait_for("writes again", RECOVERED_WITHIN, async || {
        let written = cluster[leader].put("/api/keys/b", "1").await;
        match written.status {
            200 | 201 => Ok(()),
            _ => Err(format!("{written:?}")),
        }
    })
    .await;
    cluster.assert_converged().await;
}

#[tokio::test]
async fn a_vote_that_is_not_synced_elects_nobody() {
    if !has_compiler() {
        return skipped("a disk that stands still needs a C compiler");
    }
    let (mut cluster, disks) = start().await;
    let leader = cluster.leader().await;
    let others = cluster.followers().await;
    // Neither of the two can be elected without a vote of the one whose disk stands still.
    disks[others[0]].stop();
    cluster[leader].kill();
    let until = Instant::now() + WATCHED;
    wait_for("no leader all the time", 2 * WATCHED, async || {
        for &node in &others {
            let status = cluster[node].try_status().await?;
            assert_ne!(status["role"], "leader", "elected by one disk: {status}");
        }
        match Instant::now() >= until {
            true => Ok(()),
            false => Err("not yet".to_owned()),
        }
    })
    .await;
    disks[others[0]].go_on();
    cluster.leader().await;
    cluster[leader].start().await;
    cluster.assert_converged().await;
}
