//! Nodes that are cut off while their processes run: what they still answer, and how old it is.

use std::time::Duration;

use conclave_tests::writers::Writers;
use conclave_tests::{Cluster, wait_for};

/// Longest wait for a cluster to take writes again, on a busy machine.
const RECOVERED_WITHIN: Duration = Duration::from_secs(20);

#[tokio::test]
async fn an_isolated_leader_is_replaced_and_takes_over_what_it_missed() {
    let mut cluster = Cluster::builder().links().start().await;
    let links = cluster.links();
    let old = cluster.leader().await;
    let others = cluster.followers().await;
    let majority: Vec<_> = others
        .iter()
        .map(|&index| cluster[index].http_address())
        .collect();
    links.isolate(old);
    wait_for("another leader", RECOVERED_WITHIN, async || {
        for &index in &others {
            let status = cluster[index].try_status().await?;
            if status["role"] == "leader" {
                return Ok(());
            }
        }
        Err("none yet".to_owned())
    })
    .await;
    let missing_from = cluster[old].status_number("applied_index").await;
    let writers = Writers::start(&majority, 4);
    writers.wait_acknowledged(100, RECOVERED_WITHIN).await;
    let applied = cluster[old].status_number("applied_index").await;
    assert_eq!(applied, missing_from, "nothing reaches it");
    // A process that comes back is known by its new number.
    cluster[old].kill();
    cluster[old].spawn();
    writers.wait_acknowledged(100, RECOVERED_WITHIN).await;
    links.heal();
    cluster[old].wait_ready().await;
    let history = writers.stop().await;
    cluster.assert_converged().await;
    history.assert_kept(&cluster[old], "stale").await;
}
