//! Locks under contention and faults: the fence holds whoever sleeps, stops or dies.
//!
//! CI grants the lock 300 times and loses 50 holders; `CONCLAVE_TEST_FULL=1` 1,000 times and 500.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use conclave_tests::cluster::RECOVERED_WITHIN;
use conclave_tests::load::lock_contenders::{Contenders, Contest, judge};
use conclave_tests::said::measured;
use conclave_tests::settings::{rounds, seed};
use conclave_tests::spread::Spread;
use conclave_tests::sse::Subscription;
use conclave_tests::wait::before_retry;
use conclave_tests::watch::Canon;
use conclave_tests::{Client, Cluster, Node, Random, Request};

/// Kills of the leader.
const KILLS: usize = 3;
/// Longest time for the grants between two kills.
const GRANTED_WITHIN: Duration = Duration::from_secs(120);
const ENDED_WITHIN: Duration = Duration::from_secs(30);
/// Of a holder that goes without a word, and what its claim may outlive it by.
const TTL: Duration = Duration::from_secs(2);
const LATE: Duration = Duration::from_secs(3);
/// Holders at a time, each with a lock of its own.
const AT_ONCE: usize = 25;

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

#[tokio::test]
async fn a_lock_whose_holder_is_gone_is_granted_to_the_next() {
    let mut random = Random::new(seed());
    let holders = rounds(50, 500);
    let cluster = Cluster::start().await;
    let addresses = cluster.addresses();
    let mut late = Vec::new();
    for first in (0..holders).step_by(AT_ONCE) {
        let losses = (first..holders.min(first + AT_ONCE)).map(|number| {
            let mut addresses = addresses.clone();
            addresses.rotate_left(number % 3);
            tokio::spawn(lose(number, addresses, Random::new(random.number())))
        });
        for loss in losses.collect::<Vec<_>>() {
            late.push(loss.await.expect("the next one is granted the lock"));
        }
    }
    let late = Spread::of(late);
    measured(&format!(
        "{holders} holders gone without a word: the next one had the lock {late} after the TTL"
    ));
    assert!(late.longest() <= LATE, "{late}");
    cluster.assert_converged().await;
}

/// Loses the holder of a lock for which another one waits, after some renewals; returns how much later
/// than the TTL, counted from the last acknowledgement, the other one has it.
async fn lose(number: usize, addresses: Vec<String>, mut random: Random) -> Duration {
    let target = format!("/api/locks/gone-{number}");
    let claim = |owner: &str, wait_ms: u64| {
        let ttl = TTL.as_millis();
        let body = format!(r#"{{"owner":"{owner}","ttl_ms":{ttl},"wait_ms":{wait_ms}}}"#);
        Request::post(&target, body)
    };
    let mut holder = Client::new(addresses[0].clone());
    let mut sent = Instant::now();
    let granted = holder.send(&claim("holder", 0)).await.expect("an answer");
    let mut acknowledged = Instant::now();
    let session = granted.expect_status(200).json()["session"].clone();

    let wanted = claim("next", 20_000);
    let mut next = Client::new(addresses[1].clone());
    let next = tokio::spawn(async move {
        let granted = next.send(&wanted).await.expect("an answer");
        granted.expect_status(200);
        Instant::now()
    });
    let renew = format!("{target}/renew");
    let renew = Request::post(&renew, format!(r#"{{"session":{session}}}"#));
    for _ in 0..random.below(4) {
        for _ in 0..1 + random.below(15) {
            before_retry().await;
        }
        sent = Instant::now();
        let renewed = holder.send(&renew).await.expect("an answer");
        renewed.expect_status(200);
        acknowledged = Instant::now();
    }
    drop(holder);
    let at = next.await.expect("who waits does not panic");
    let held = at.duration_since(sent);
    assert!(held >= TTL, "the lock was gone after {held:?}");
    at.saturating_duration_since(acknowledged + TTL)
}
