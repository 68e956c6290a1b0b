//! How long writes pause when the leader is killed.
//!
//! CI kills 8 leaders; `CONCLAVE_TEST_FULL=1` kills 200.

use std::time::Duration;

use conclave_tests::cluster::RECOVERED_WITHIN;
use conclave_tests::said::measured;
use conclave_tests::settings::rounds;
use conclave_tests::spread::Spread;
use conclave_tests::{Cluster, Writers};

/// The promise for 99 of 100 kills.
const PAUSE: Duration = Duration::from_secs(3);
/// Acknowledged writes of each client before and after a kill.
const AROUND: u64 = 20;

#[tokio::test]
async fn writes_pause_only_briefly_when_the_leader_is_killed() {
    let mut cluster = Cluster::builder().alone().start().await;
    let mut pauses = Vec::new();
    let mut kept = None;
    for _ in 0..rounds(8, 200) {
        let mut addresses = cluster.addresses();
        // One client per node, each with a pause of its own: the worst counts.
        let mut clients = Vec::new();
        for _ in 0..addresses.len() {
            clients.push(Writers::start(&addresses, 1));
            addresses.rotate_left(1);
        }
        acknowledged(&clients).await;
        let leader = cluster.leader().await;
        cluster[leader].kill();
        acknowledged(&clients).await;
        let mut longest = Duration::ZERO;
        for client in clients {
            let history = client.stop().await;
            longest = longest.max(history.longest_pause());
            match &mut kept {
                None => kept = Some(history),
                Some(all) => all.extend(history),
            }
        }
        pauses.push(longest);
        cluster[leader].start().await;
        cluster.assert_converged().await;
    }
    let pauses = Spread::of(pauses);
    measured(&format!(
        "writes paused after {} kills of the leader: {pauses}",
        pauses.count()
    ));
    kept.expect("a round")
        .assert_kept(&cluster[0], "consistent")
        .await;
    assert!(pauses.percentile(99) <= PAUSE, "{pauses:?}");
}

async fn acknowledged(clients: &[Writers]) {
    for client in clients {
        client.wait_acknowledged(AROUND, RECOVERED_WITHIN).await;
    }
}
