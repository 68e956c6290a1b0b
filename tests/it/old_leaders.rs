//! Leaders that were frozen while another was elected: what they say of the members when they thaw, in
//! the moment before they know.

use conclave_tests::cluster::RECOVERED_WITHIN;
use conclave_tests::settings::rounds;
use conclave_tests::wait::before_retry;
use conclave_tests::{Client, Cluster, Request, wait_for};

/// Waits until one of these nodes leads; returns which.
async fn leader_of(cluster: &Cluster, nodes: &[usize]) -> usize {
    let mut found = None;
    wait_for("another leader", RECOVERED_WITHIN, async || {
        for &index in nodes {
            if cluster[index].try_status().await?["role"] == "leader" {
                found = Some(index);
                return Ok(());
            }
        }
        Err("none yet".to_owned())
    })
    .await;
    found.expect("one that leads")
}

#[tokio::test]
async fn a_member_that_a_frozen_leader_has_missed_is_removed_through_it() {
    let mut cluster = Cluster::start().await;
    let added = cluster.add_node();
    for _ in 0..rounds(3, 20) {
        let (frozen, others) = (cluster.leader().await, cluster.followers().await);
        cluster[frozen].pause();
        let leader = leader_of(&cluster, &others).await;
        let through = cluster.addresses_of(&[leader]);
        cluster.wipe(added, &through);
        cluster[added].start().await;
        let id = cluster[added].status_number("id").await;

        let target = format!("/api/cluster/members/{}", cluster[added].name());
        // It has the request when it thaws.
        let (removed, ()) = tokio::join!(cluster[frozen].delete(&target), async {
            before_retry().await;
            cluster[frozen].resume();
        });
        let removed = removed.expect_status(200);
        assert_eq!(removed.json()["id"], id, "{removed:?}");
        cluster[added].kill();
    }
    cluster.assert_converged().await;
}

#[tokio::test]
async fn a_node_whose_name_a_frozen_leader_takes_for_a_members_joins_through_it() {
    let mut cluster = Cluster::builder().nodes(4).start().await;
    for _ in 0..rounds(2, 20) {
        let (frozen, others) = (cluster.leader().await, cluster.followers().await);
        cluster[frozen].pause();
        let leader = leader_of(&cluster, &others).await;
        let moved = *others.iter().find(|one| **one != leader).expect("a third");
        let target = format!("/api/cluster/members/{}", cluster[moved].name());
        wait_for("its removal", RECOVERED_WITHIN, async || {
            let removed = cluster[leader].delete(&target).await;
            match removed.status {
                200 => Ok(()),
                _ => Err(format!("{removed:?}")),
            }
        })
        .await;

        let through = cluster.addresses_of(&[frozen]);
        cluster.wipe(moved, &through);
        cluster[moved].spawn();
        wait_for("its question", RECOVERED_WITHIN, async || {
            let mut client = Client::new(cluster[moved].http_address());
            match client.send(&Request::get("/api/cluster/here")).await {
                Ok(here) if here.status == 200 => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        before_retry().await;
        cluster[frozen].resume();
        cluster[moved].wait_ready().await;
        wait_voters(&cluster, 4).await;
    }
    cluster.assert_converged().await;
}

/// Waits until so many vote.
async fn wait_voters(cluster: &Cluster, count: u64) {
    wait_for("all vote", RECOVERED_WITHIN, async || {
        let view = cluster[0].get("/api/cluster").await.json();
        match view["quorum"]["voters"].as_u64() {
            Some(voters) if voters == count => Ok(()),
            _ => Err(view.to_string()),
        }
    })
    .await;
}
