//! Keys with a time to live: never gone before it, always gone soon after it, whatever the clocks and
//! the leaders do.

use std::time::{Duration, Instant};

use conclave_tests::cluster::RECOVERED_WITHIN;
use conclave_tests::faults::clocks::{self, Faked, WallClock};
use conclave_tests::http::assert_problem;
use conclave_tests::load::ttl_keys::{LATE, Outages, TtlKeys};
use conclave_tests::said::{measured, skipped};
use conclave_tests::settings::{rounds, seed};
use conclave_tests::{Cluster, Node, Random, Request, wait_for};

const HOUR: i64 = 3_600;
/// Between two keys.
const PACE: Duration = Duration::from_millis(25);

async fn exists(node: &Node, key: &str) -> bool {
    let read = node.get(&format!("/api/keys/{key}?level=consistent")).await;
    assert!(matches!(read.status, 200 | 404), "{read:?}");
    read.status == 200
}

async fn wait_gone(node: &Node, key: &str, bound: Duration) {
    wait_for("the key is gone", bound, async || {
        let read = node.get(&format!("/api/keys/{key}?level=consistent")).await;
        if read.status == 404 {
            Ok(())
        } else {
            Err(format!("{read:?}"))
        }
    })
    .await;
}

#[tokio::test]
async fn a_key_lives_for_its_time_and_not_for_much_longer() {
    let cluster = Cluster::start().await;
    let header = Request::put("/api/keys/header", "x").header("ttl", "2");
    for request in [Request::put("/api/keys/query?ttl=2s", "x"), header] {
        let key = request.target.trim_start_matches("/api/keys/");
        let key = key.split('?').next().unwrap_or_default();
        let sent = Instant::now();
        cluster[0].send(&request).await.expect_status(201);
        let acknowledged = Instant::now();
        let read = cluster[1]
            .get(&format!("/api/keys/{key}?level=consistent"))
            .await;
        let left = read.expect_status(200).expect_number("conclave-ttl-ms");
        assert!((1..=2_000).contains(&left), "{left} ms left");
        wait_gone(&cluster[2], key, Duration::from_secs(2) + LATE).await;
        assert!(
            sent.elapsed() >= Duration::from_secs(2),
            "gone after {:?}",
            sent.elapsed()
        );
        let late = acknowledged.elapsed();
        assert!(late <= Duration::from_secs(2) + LATE, "gone after {late:?}");
        // Created again, it begins again.
        cluster[1]
            .put(&format!("/api/keys/{key}"), "y")
            .await
            .expect_status(201);
        let again = cluster[0]
            .get(&format!("/api/keys/{key}?level=consistent"))
            .await;
        assert_eq!(again.expect_number("conclave-version"), 1);
        assert_eq!(again.header("conclave-ttl-ms"), None, "{again:?}");
    }
    cluster.assert_converged().await;
}

#[tokio::test]
async fn another_put_takes_the_time_away_or_begins_it_anew() {
    let cluster = Cluster::start().await;
    let began = Instant::now();
    for key in ["kept", "longer", "gone"] {
        let target = format!("/api/keys/{key}?ttl=1s");
        cluster[0].put(&target, "x").await.expect_status(201);
    }
    cluster[1]
        .put("/api/keys/kept", "y")
        .await
        .expect_status(200);
    cluster[1]
        .put("/api/keys/longer?ttl=30s", "y")
        .await
        .expect_status(200);
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "too slow to say anything"
    );
    wait_gone(&cluster[2], "gone", Duration::from_secs(1) + LATE).await;
    wait_for(
        "more than the first time",
        Duration::from_secs(10),
        async || {
            let passed = began.elapsed();
            if passed > Duration::from_secs(1) + LATE {
                Ok(())
            } else {
                Err(format!("{passed:?}"))
            }
        },
    )
    .await;
    for key in ["kept", "longer"] {
        assert!(exists(&cluster[2], key).await, "{key}");
    }
}

#[tokio::test]
async fn a_time_to_live_has_its_limits() {
    let cluster = Cluster::single().await;
    let node = &cluster[0];
    let year: u64 = 365 * 24 * 60 * 60;
    let ten_years = format!("{}s", 10 * year);
    let above = format!("{}s", year + 1);
    for ttl in [
        "0", "0s", "-1s", "500ms", "999ms", &ten_years, &above, "soon", "", "1h1", "1e9",
    ] {
        let answer = node.put(&format!("/api/keys/k?ttl={ttl}"), "x").await;
        assert_problem(&answer, 400, "invalid_argument");
    }
    for ttl in ["0", "-1", "soon", "", "315360000"] {
        let request = Request::put("/api/keys/k", "x").header("ttl", ttl);
        assert_problem(&node.send(&request).await, 400, "invalid_argument");
    }
    assert!(!exists(node, "k").await, "a bad time was taken");
    for ttl in ["1s", "1000ms", &format!("{year}s")] {
        let answer = node.put(&format!("/api/keys/k?ttl={ttl}"), "x").await;
        assert!(matches!(answer.status, 200 | 201), "{ttl}: {answer:?}");
    }
}

#[tokio::test]
async fn keys_expire_in_their_time_while_leaders_die_and_clocks_jump() {
    let Some(library) = clocks::library(Faked::Wall) else {
        return skipped("clock jumps need libfaketime");
    };
    let seed = seed();
    let mut random = Random::new(seed);
    let mut cluster = Cluster::builder().prepare().await;
    let folder = cluster.folder().to_owned();
    let nodes = cluster.nodes_mut().iter_mut();
    let clocks: Vec<_> = nodes
        .map(|node| WallClock::of(node, &library, &folder))
        .collect();
    cluster.form().await;
    let addresses: Vec<_> = cluster.nodes().iter().map(Node::http_address).collect();
    let outages = Outages::default();
    let keys = TtlKeys::start(&addresses, &outages, PACE, seed);

    let kills = rounds(3, 30);
    for round in 0..kills {
        for _ in 0..3 {
            let node = random.below(3);
            let seconds = [HOUR, -HOUR, 0][random.below(3)];
            clocks[node].jump(&cluster[node], seconds).await;
        }
        let leader = cluster.leader().await;
        outages.begin();
        cluster[leader].kill();
        takes_writes(&cluster[(leader + 1) % 3]).await;
        outages.end();
        let follower = (leader + 1 + round % 2) % 3;
        begun(&keys, 40).await;
        cluster[leader].start().await;
        // Perhaps the new leader, perhaps not.
        outages.begin();
        cluster[follower].kill();
        takes_writes(&cluster[leader]).await;
        outages.end();
        cluster[follower].start().await;
        begun(&keys, 40).await;
    }
    let lives = keys.finish().await;
    measured(&format!(
        "{kills} killed leaders, clocks an hour off: {lives} (seed {seed})"
    ));
    assert!(lives.wrong.is_empty(), "{}", lives.wrong.join("\n"));
    assert!(lives.expired > 70 * kills, "{lives}");
    cluster.assert_converged().await;
    for node in cluster.nodes() {
        for key in &lives.kept {
            node.get(&format!("/api/keys/{key}?level=stale"))
                .await
                .expect_status(200);
        }
    }
}

async fn takes_writes(node: &Node) {
    wait_for("a leader takes writes", RECOVERED_WITHIN, async || {
        let mut client = node.client().with_timeout(Duration::from_secs(2));
        match client.send(&Request::put("/api/keys/alive", "x")).await {
            Ok(answer) if matches!(answer.status, 200 | 201) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

/// Waits until so many further keys are begun.
async fn begun(keys: &TtlKeys, more: usize) {
    let goal = keys.started() + more;
    wait_for("further keys", Duration::from_secs(30), async || {
        let started = keys.started();
        if started >= goal {
            Ok(())
        } else {
            Err(started.to_string())
        }
    })
    .await;
}
