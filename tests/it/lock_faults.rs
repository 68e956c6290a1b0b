//! Locks under contention and faults: the fence holds whoever sleeps, stops or dies.
//!
//! CI grants the lock 300 times; `CONCLAVE_TEST_FULL=1` 1,000 times.

use std::path::PathBuf;
use std::time::Duration;

use conclave_tests::cluster::RECOVERED_WITHIN;
use conclave_tests::load::lock_contenders::{Contenders, Contest, judge};
use conclave_tests::said::measured;
use conclave_tests::settings::{rounds, seed};
use conclave_tests::sse::Subscription;
use conclave_tests::watch::Canon;
use conclave_tests::{Cluster, Node};

/// Kills of the leader.
const KILLS: usize = 3;
/// Longest time for the grants between two kills.
const GRANTED_WITHIN: Duration = Duration::from_secs(120);
const ENDED_WITHIN: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_token_that_is_too_old_never_writes() {
    let seed = seed();
    let mut cluster = Cluster::start().await;
    let addresses: Vec<_> = cluster.nodes().iter().map(Node::http_address).collect();
    let contest = Contest {
        addresses: addresses.clone(),
        lock: "fence".to_owned(),
        guarded: "fence-guarded".to_owned(),
        cell: cluster.folder().join("cell"),
        ttl: Duration::from_secs(1),
        contenders: 20,
        processes: 6,
        program: PathBuf::from(env!("CARGO_BIN_EXE_conclave-contender")),
        seed,
    };
    let contenders = Contenders::start(&contest);
    let grants = rounds(300, 1_000);
    for kill in 1..=KILLS {
        contenders
            .wait_grants(kill * grants / (KILLS + 1), GRANTED_WITHIN)
            .await;
        let leader = cluster.leader().await;
        cluster[leader].kill();
        let now = contenders.grants();
        contenders.wait_grants(now + 5, RECOVERED_WITHIN).await;
        cluster[leader].start().await;
    }
    contenders.wait_grants(grants, GRANTED_WITHIN).await;
    let (entries, stops) = contenders.finish(ENDED_WITHIN).await;

    cluster.assert_converged().await;
    let end = cluster[0].put("/api/keys/end", "x").await.json()["revision"].as_u64();
    let canon = Canon::read(&addresses[0], end.expect("a revision")).await;
    let changes = canon.select(&Subscription::all().prefix("fence"));
    let fence = judge(&entries, &changes);
    measured(&format!(
        "{} contenders, {stops} stops, {KILLS} kills of the leader: {fence} (seed {seed})",
        contest.contenders
    ));
    assert!(fence.wrong.is_empty(), "{}", fence.wrong.join("\n"));
    assert!(stops > 0 && fence.refused > 0, "nobody slept: {fence}");
}
