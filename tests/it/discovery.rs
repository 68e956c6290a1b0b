//! Zero configuration: nodes that find each other by multicast DNS, on one machine and on hosts of
//! their own.
//!
//! The hosts are network namespaces; those tests need root and `ip`, and are skipped with a counted
//! line where one is missing.

use std::fs;
use std::time::{Duration, Instant};

use conclave_tests::faults::bridge::Bridge;
use conclave_tests::faults::far_host;
use conclave_tests::said::{measured, skipped};
use conclave_tests::{Cluster, Node, Ports, settings};

/// A lost member's name is free after 10 s, and a join is tried again all the time.
const HEALED_WITHIN: Duration = Duration::from_secs(60);

/// An environment that no other test and nobody else on this network has.
fn environment() -> String {
    format!("test-{}-{}", std::process::id(), Ports::reserve().http)
}

fn discover(node: &mut Node, environment: &str) {
    node.add_args(["-discover", "mdns", "-env", environment]);
}

/// Writes through one node, and reads through another.
async fn assert_works(cluster: &Cluster) {
    let written = cluster[0].put("/api/keys/a", "1").await;
    assert!(matches!(written.status, 200 | 201), "{written:?}");
    let read = cluster[2].get("/api/keys/a?level=consistent").await;
    assert_eq!(read.expect_status(200).text(), "1");
}

/// Kills a node, empties its directory and starts it again.
fn wipe(node: &mut Node) {
    node.kill();
    fs::remove_dir_all(node.data_dir()).expect("wipe");
    node.spawn();
}

#[tokio::test]
async fn nodes_of_one_machine_find_each_other_on_localhost() {
    let mut cluster = Cluster::builder().nodes(3).prepare().await;
    let environment = environment();
    for node in cluster.nodes_mut() {
        discover(node, &environment);
        node.spawn();
    }
    let id = cluster.wait_formed(&[0, 1, 2], HEALED_WITHIN).await;
    // A used directory resumes, and others still find it.
    cluster[0].stop().await;
    cluster[0].spawn();
    assert_eq!(cluster.wait_formed(&[0, 1, 2], HEALED_WITHIN).await, id);
    let fourth = cluster.add_node();
    discover(&mut cluster[fourth], &environment);
    cluster[fourth].spawn();
    assert_eq!(cluster.wait_formed(&[0, 1, 2, 3], HEALED_WITHIN).await, id);
    cluster.assert_converged().await;
}

#[tokio::test]
async fn hosts_of_a_network_form_one_cluster_in_any_order_and_heal() {
    if let Some(what) = far_host::missing() {
        return skipped(&format!("discovery between hosts needs {what}"));
    }
    for round in 0..settings::rounds(2, 20) {
        let bridge = Bridge::create(4);
        let mut cluster = Cluster::builder().nodes(4).prepare().await;
        let environment = environment();
        for (node, host) in cluster.nodes_mut().iter_mut().zip(bridge.hosts()) {
            node.live_on(host);
            discover(node, &environment);
        }
        // At once, one by one, and the other way round.
        let order = if round % 3 == 2 { [2, 1, 0] } else { [0, 1, 2] };
        let started = Instant::now();
        for index in order {
            cluster[index].spawn();
            if round % 3 > 0 && index != order[2] {
                cluster[index].wait_says(&["environment"]).await;
            }
        }
        let id = cluster.wait_formed(&[0, 1, 2], HEALED_WITHIN).await;
        let took = started.elapsed().as_secs_f64();
        measured(&format!(
            "three hosts found each other and formed after {took:.1} s"
        ));
        if round % 2 == 0 {
            cluster[3].spawn();
            assert_eq!(cluster.wait_formed(&[0, 1, 2, 3], HEALED_WITHIN).await, id);
        } else {
            wipe(&mut cluster[1]);
            assert_eq!(cluster.wait_formed(&[0, 1, 2], HEALED_WITHIN).await, id);
        }
        cluster.assert_converged().await;
    }
}

#[tokio::test]
async fn hosts_that_keep_everything_in_memory_find_each_other_as_well() {
    if let Some(what) = far_host::missing() {
        return skipped(&format!("discovery between hosts needs {what}"));
    }
    let bridge = Bridge::create(3);
    let mut cluster = Cluster::builder().nodes(3).prepare().await;
    let environment = environment();
    for (node, host) in cluster.nodes_mut().iter_mut().zip(bridge.hosts()) {
        node.live_on(host);
        discover(node, &environment);
        node.add_args(["-inmem"]);
        node.spawn();
    }
    let id = cluster.wait_formed(&[0, 1, 2], HEALED_WITHIN).await;
    assert_works(&cluster).await;
    // Every start is a new member, which takes the place of its name.
    cluster[1].kill();
    cluster[1].spawn();
    assert_eq!(cluster.wait_formed(&[0, 1, 2], HEALED_WITHIN).await, id);
    assert_works(&cluster).await;
    assert!(!cluster[0].data_dir().join("node.json").exists());
}

#[tokio::test]
async fn two_environments_on_one_network_stay_two_clusters() {
    if let Some(what) = far_host::missing() {
        return skipped(&format!("discovery between hosts needs {what}"));
    }
    let bridge = Bridge::create(4);
    let mut cluster = Cluster::builder().nodes(4).prepare().await;
    let environments = [environment(), environment()];
    for (index, host) in bridge.hosts().iter().enumerate() {
        cluster[index].live_on(host);
        discover(&mut cluster[index], &environments[index % 2]);
        cluster[index].add_args(["-expect", "2"]);
        cluster[index].spawn();
    }
    let even = cluster.wait_formed(&[0, 2], HEALED_WITHIN).await;
    let odd = cluster.wait_formed(&[1, 3], HEALED_WITHIN).await;
    assert_ne!(even, odd);
}
