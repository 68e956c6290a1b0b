//! Processes that are killed, frozen and stopped under load: nothing acknowledged is lost.

use std::time::{Duration, Instant};

use conclave_tests::cluster::RECOVERED_WITHIN;
use conclave_tests::http::assert_problem;
use conclave_tests::said::measured;
use conclave_tests::settings::rounds;
use conclave_tests::spread::Spread;
use conclave_tests::{Cluster, Request, Writers, wait_for};

#[tokio::test]
async fn a_killed_leader_loses_no_acknowledged_write() {
    let mut cluster = Cluster::start().await;
    let writers = Writers::start(&cluster.addresses(), 8);
    writers.wait_acknowledged(300, RECOVERED_WITHIN).await;
    let leader = cluster.leader().await;
    cluster[leader].kill();
    writers.wait_acknowledged(300, RECOVERED_WITHIN).await;

    // It comes back by itself, with nothing but its directory.
    cluster[leader].start().await;
    writers.wait_acknowledged(100, RECOVERED_WITHIN).await;
    let history = writers.stop().await;
    cluster.assert_converged().await;
    for node in cluster.nodes() {
        history.assert_kept(node, "stale").await;
    }
    history.assert_kept(&cluster[leader], "consistent").await;
}

#[tokio::test]
async fn leaders_killed_one_after_another_lose_no_acknowledged_write() {
    let mut cluster = Cluster::start().await;
    let writers = Writers::start(&cluster.addresses(), 4);
    for _ in 0..4 {
        writers.wait_acknowledged(50, RECOVERED_WITHIN).await;
        let leader = cluster.leader().await;
        cluster[leader].kill();
        writers.wait_acknowledged(50, RECOVERED_WITHIN).await;
        cluster[leader].start().await;
    }
    let history = writers.stop().await;
    cluster.assert_converged().await;
    history.assert_kept(&cluster[0], "consistent").await;
}

#[tokio::test]
async fn a_frozen_leader_is_replaced_and_follows_when_it_thaws() {
    let cluster = Cluster::start().await;
    let frozen = cluster.leader().await;
    let others = cluster.followers().await;
    let addresses = cluster.addresses_of(&others);
    let writers = Writers::start(&addresses, 4);
    writers.wait_acknowledged(50, RECOVERED_WITHIN).await;
    cluster[frozen].pause();
    writers.wait_acknowledged(100, RECOVERED_WITHIN).await;
    // The thawed leader must not answer from the time before it was frozen.
    cluster[others[0]]
        .put("/api/keys/after", "new")
        .await
        .expect_status(201);
    cluster[frozen].resume();
    let read = cluster[frozen]
        .get("/api/keys/after?level=consistent")
        .await;
    assert_eq!(
        (read.status, read.text().as_str()),
        (200, "new"),
        "{read:?}"
    );
    let history = writers.stop().await;
    cluster.assert_converged().await;
    history.assert_kept(&cluster[frozen], "stale").await;
}

#[tokio::test]
async fn a_node_that_missed_more_than_the_log_keeps_catches_up_by_snapshot() {
    // The log is purged in steps of 4,096 entries, behind what `-snapshot-log-keep` keeps.
    const KEEP: u64 = 100;
    const PURGE_STEP: u64 = 4_096;
    let flags = ["-snapshot-log-bytes", "65536", "-snapshot-log-keep", "100"];
    let mut cluster = Cluster::builder().args(&flags).start().await;
    let away = cluster.followers().await[0];
    let behind = cluster[away].status_number("last_log_index").await;
    cluster[away].kill();

    let writers = Writers::start(&cluster.addresses(), 32);
    let leader = cluster.leader().await;
    let needed = behind + KEEP + 2 * PURGE_STEP;
    wait_for(
        "a snapshot far ahead of the absent node",
        Duration::from_secs(120),
        async || {
            let status = cluster[leader].try_status().await?;
            let snapshot = status["snapshot_index"].as_u64();
            // Shown by nodes that know it; the distance alone is enough where it is not.
            let purged = status["purged_index"].as_u64().unwrap_or(needed);
            let far = snapshot >= Some(needed) && purged > behind;
            if far {
                Ok(())
            } else {
                Err(format!("needed {needed}: {status}"))
            }
        },
    )
    .await;
    let history = writers.stop().await;

    cluster[away].start().await;
    cluster.assert_converged().await;
    assert!(cluster[away].status_number("snapshot_index").await > behind);
    history.assert_kept(&cluster[away], "stale").await;

    // What came by snapshot is as durable as what came by log.
    cluster[away].kill();
    cluster[away].start().await;
    cluster.assert_converged().await;
    cluster[away]
        .put("/api/keys/after", "1")
        .await
        .expect_status(201);
}

#[tokio::test]
async fn twenty_kills_of_a_single_node_lose_no_acknowledged_write() {
    let mut cluster = Cluster::single().await;
    let mut kept = None;
    for round in 0..20 {
        let writers = Writers::start(&cluster.addresses(), 4);
        // Another distance each time, so that snapshot and kill meet other moments. What is left is the
        // snapshot of a state that went on, and the log after it.
        let distance = 10 + 4 * round;
        writers.wait_acknowledged(distance, RECOVERED_WITHIN).await;
        let snapshot = cluster[0].post("/api/cluster/snapshot", "").await;
        snapshot.expect_status(200);
        writers.wait_acknowledged(distance, RECOVERED_WITHIN).await;
        cluster[0].kill();
        let history = writers.stop().await;
        assert!(history.acknowledged() > 0, "no write in round {round}");
        cluster[0].start().await;
        history.assert_kept(&cluster[0], "consistent").await;
        match &mut kept {
            None => kept = Some(history),
            Some(all) => all.extend(history),
        }
    }
    let all = kept.expect("twenty rounds");
    all.assert_kept(&cluster[0], "consistent").await;
    cluster.assert_converged().await;
}

#[tokio::test]
async fn a_leader_that_is_asked_to_stop_hands_over_first() {
    let mut cluster = Cluster::builder().alone().start().await;
    let leader = cluster.leader().await;
    let others = cluster.followers().await;
    let addresses = cluster.addresses_of(&others);
    let writers = Writers::start(&addresses, 4);
    writers.wait_acknowledged(200, RECOVERED_WITHIN).await;
    let status = cluster[leader].stop().await;
    assert_eq!(status.code(), Some(0), "{}", cluster[leader].log_tail());
    writers.wait_acknowledged(200, RECOVERED_WITHIN).await;
    let history = writers.stop().await;
    let pause = history.longest_pause();
    assert!(
        pause < Duration::from_secs(1),
        "writes paused for {pause:?}"
    );

    cluster[leader].start().await;
    cluster.assert_converged().await;
    history.assert_kept(&cluster[leader], "stale").await;
}

#[tokio::test]
async fn a_node_that_stops_ends_within_bounds_with_requests_under_way() {
    let mut cluster = Cluster::single().await;
    let mut idle = cluster[0].client();
    idle.send(&Request::get("/livez"))
        .await
        .expect("an answer")
        .expect_status(200);
    let writers = Writers::start(&cluster.addresses(), 4);
    writers.wait_acknowledged(50, RECOVERED_WITHIN).await;
    let started = Instant::now();
    let status = cluster[0].stop().await;
    assert_eq!(status.code(), Some(0), "{}", cluster[0].log_tail());
    assert!(
        started.elapsed() < Duration::from_secs(15),
        "{:?}",
        started.elapsed()
    );
    let history = writers.stop().await;
    cluster[0].start().await;
    history.assert_kept(&cluster[0], "consistent").await;
}

#[tokio::test]
async fn without_a_majority_stale_reads_go_on_and_nothing_else() {
    let mut cluster = Cluster::start().await;
    cluster[0].put("/api/keys/a", "1").await.expect_status(201);
    cluster.assert_converged().await;
    let leader = cluster.leader().await;
    let followers = cluster.followers().await;
    let last = followers[1];
    cluster[leader].kill();
    cluster[followers[0]].kill();
    let node = &cluster[last];
    wait_for(
        "the last node knows no leader",
        RECOVERED_WITHIN,
        async || {
            let status = node.try_status().await?;
            if status["leader"].is_null() {
                Ok(())
            } else {
                Err(status.to_string())
            }
        },
    )
    .await;

    let stale = node.get("/api/keys/a?level=stale").await.expect_status(200);
    assert_eq!(stale.text(), "1");
    assert_eq!(stale.expect_header("conclave-known-leader"), "false");
    assert_eq!(stale.header("conclave-leader"), None, "{stale:?}");
    for request in [
        Request::get("/api/keys/a"),
        Request::get("/api/keys/a?level=consistent"),
        Request::get("/key/a?level=consistent"),
        Request::get("/api/keys/a?level=stale&max_stale=1ms"),
        Request::put("/api/keys/a", "2"),
        Request::post("/key", r#"{"a": "2"}"#),
        Request::delete("/api/keys/a"),
    ] {
        let started = Instant::now();
        let answer = node.send(&request).await;
        assert!(
            started.elapsed() < Duration::from_secs(5),
            "{request}: {:?}",
            started.elapsed()
        );
        assert_problem(&answer, 503, "no_leader");
        assert_eq!(answer.json()["applied"], "no", "{request}: {answer:?}");
    }
    // Its own view never needs a quorum; readiness does.
    assert_eq!(node.status().await["node"], node.name());
    node.get("/livez").await.expect_status(200);
    node.get("/readyz").await.expect_status(503);

    cluster[leader].start().await;
    cluster[followers[0]].start().await;
    cluster.assert_converged().await;
    assert_eq!(
        cluster[last].get("/api/keys/a?consistent").await.text(),
        "1"
    );
}

#[tokio::test]
async fn a_leader_that_lost_its_majority_promises_nothing() {
    let mut cluster = Cluster::start().await;
    cluster[0].put("/api/keys/a", "1").await.expect_status(201);
    let leader = cluster.leader().await;
    for follower in cluster.followers().await {
        cluster[follower].kill();
    }
    let node = &cluster[leader];
    let started = Instant::now();
    let read = node.get("/api/keys/a?level=consistent").await;
    assert_problem(&read, 503, "no_leader");
    // Its proposal may still be committed when the others return: unknown, or refused before.
    let write = node.put("/api/keys/a", "2").await;
    let body = write.json();
    match write.status {
        503 => assert_eq!(body["applied"], "no", "{write:?}"),
        504 => assert_eq!(body["applied"], "unknown", "{write:?}"),
        _ => panic!("{write:?}"),
    }
    assert!(
        started.elapsed() < RECOVERED_WITHIN,
        "{:?}",
        started.elapsed()
    );
    // The lease runs out, and then the level that relies on it gives nothing either.
    wait_for("the lease runs out", RECOVERED_WITHIN, async || {
        let read = node.get("/api/keys/a").await;
        if read.status == 503 {
            Ok(())
        } else {
            Err(format!("{read:?}"))
        }
    })
    .await;
    node.get("/api/keys/a?level=stale").await.expect_status(200);
}

#[tokio::test]
async fn a_restart_of_all_nodes_keeps_everything() {
    let mut cluster = Cluster::start().await;
    let writers = Writers::start(&cluster.addresses(), 8);
    writers.wait_acknowledged(300, RECOVERED_WITHIN).await;
    for node in cluster.nodes_mut() {
        node.kill();
    }
    let history = writers.stop().await;
    for node in cluster.nodes_mut() {
        node.spawn();
    }
    for node in cluster.nodes_mut() {
        node.wait_ready().await;
    }
    cluster.assert_converged().await;
    for node in cluster.nodes() {
        history.assert_kept(node, "consistent").await;
    }

    // And once more in the clean way.
    for node in cluster.nodes_mut() {
        node.terminate();
    }
    for node in cluster.nodes_mut() {
        let status = node.wait_exit(RECOVERED_WITHIN).await;
        assert_eq!(status.code(), Some(0), "{}", node.log_tail());
    }
    for node in cluster.nodes_mut() {
        node.spawn();
    }
    for node in cluster.nodes_mut() {
        node.wait_ready().await;
    }
    cluster.assert_converged().await;
    history.assert_kept(&cluster[1], "consistent").await;
}

#[tokio::test]
async fn a_follower_that_is_back_answers_at_consistent_at_once() {
    let mut cluster = Cluster::start().await;
    let follower = cluster.followers().await[0];
    let leader = cluster.leader().await;
    let writers = Writers::start(&cluster.addresses_of(&[leader]), 2);
    let mut times = Vec::new();
    for _ in 0..rounds(8, 50) {
        writers.wait_acknowledged(50, RECOVERED_WITHIN).await;
        cluster[follower].kill();
        writers.wait_acknowledged(50, RECOVERED_WITHIN).await;
        cluster[follower].start().await;
        let asked = Instant::now();
        let read = cluster[follower].get("/api/keys?limit=1&level=consistent");
        read.await.expect_status(200);
        times.push(asked.elapsed());
    }
    let history = writers.stop().await;
    measured(&format!(
        "consistent reads of a follower that is back: {}",
        Spread::of(times)
    ));
    cluster.assert_converged().await;
    history.assert_kept(&cluster[follower], "consistent").await;
}
