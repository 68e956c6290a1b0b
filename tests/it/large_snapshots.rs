//! A follower that was away for longer than the log reaches, and a state that takes long to send: it
//! arrives whole or not at all, whenever the sender or the receiver is killed, while writes go on.

use std::fs;
use std::time::{Duration, Instant};

use conclave_tests::cluster::usage::peak_resident_bytes;
use conclave_tests::cluster::{Node, RECOVERED_WITHIN};
use conclave_tests::http::Client;
use conclave_tests::load::marks::{self, Marks};
use conclave_tests::said::measured;
use conclave_tests::settings::{self, SNAPSHOT_KILLS, rounds, seed};
use conclave_tests::{Cluster, Random, Request, Writers, wait_for};

/// Size of each large value, bytes.
const VALUE_BYTES: usize = 256 << 10;
/// Clients that write the large values.
const LOADERS: usize = 4;
/// The log is purged in steps of this many entries, behind what the flag keeps.
const PURGE_STEP: u64 = 4_096;
/// Kills between two checks; what was written is then removed, so that the state stays as large as it is.
const BETWEEN_CHECKS: usize = 20;
const FLAGS: [&str; 2] = ["-snapshot-log-keep", "100"];
const SENT_WITHIN: Duration = Duration::from_secs(300);

/// What the kills have met.
#[derive(Default)]
struct Met {
    /// Kills of the receiver and of the sender.
    receivers: usize,
    senders: usize,
    /// Of both, those with an unfinished snapshot on the receiver's disk.
    under_way: usize,
    /// Answers of the receiver that were looked at.
    looks: usize,
}

#[tokio::test]
async fn a_large_snapshot_arrives_whole_or_not_at_all() {
    let mut random = Random::new(seed());
    let large = rounds(160, 2_000);
    let kills = settings::number(SNAPSHOT_KILLS, rounds(4, 20));
    let mut cluster = Cluster::builder().args(&FLAGS).start().await;
    load(&cluster, large).await;
    let addresses = cluster.addresses();
    let marks = Marks::start(&addresses);
    let mut writers = Writers::start(&addresses, 8);
    wait_for("marks at each node", RECOVERED_WITHIN, async || {
        for node in cluster.nodes() {
            let first = node.try_get("/api/keys/mark/099?level=stale").await;
            if !first.is_ok_and(|answer| answer.status == 200) {
                return Err(format!("none at {}", node.name()));
            }
        }
        Ok(())
    })
    .await;

    let away = cluster.followers().await[0];
    let mut met = Met::default();
    // The first one is not disturbed: it shows how long it takes, and what memory.
    let behind = leave_behind(&mut cluster, away, &writers).await;
    let began = Instant::now();
    cluster[away].start().await;
    assert!(arrives(&cluster[away], behind, large, None, &mut met).await);
    let took = began.elapsed();
    let peak = report(&cluster, away, large, took).await;

    for round in 0..kills {
        let behind = leave_behind(&mut cluster, away, &writers).await;
        cluster[away].spawn();
        let until = moment(&cluster[away], round, took, &mut random).await;
        arrives(&cluster[away], behind, large, Some(until), &mut met).await;
        met.under_way += usize::from(has_unfinished(&cluster[away]));
        if round % 2 == 0 {
            met.receivers += 1;
            cluster[away].kill();
        } else {
            met.senders += 1;
            let sender = leader_of(&cluster, away).await;
            cluster[sender].kill();
            cluster[sender].start().await;
        }
        if round % 2 == 0 {
            cluster[away].spawn();
        }
        arrives(&cluster[away], behind, large, None, &mut met).await;
        cluster[away].wait_ready().await;
        if (round + 1) % BETWEEN_CHECKS == 0 {
            writers = begin_anew(&cluster, away, writers).await;
        }
    }

    let written = marks.stop().await;
    let history = writers.stop().await;
    cluster.assert_converged().await;
    history.assert_kept(&cluster[away], "stale").await;
    assert!(met.under_way > 0, "no kill met a snapshot on its way");
    assert!(met.looks > kills && written > 0);
    measured(&format!(
        "{} kills of the receiver and {} of the sender of a snapshot of {} MiB, {} of them while it was \
         on its way; {} looks at the receiver meanwhile, none at half a state; its peak was {} MiB",
        met.receivers,
        met.senders,
        (large * VALUE_BYTES) >> 20,
        met.under_way,
        met.looks,
        peak >> 20,
    ));
}

/// Writes the large values.
async fn load(cluster: &Cluster, large: usize) {
    let address = cluster[cluster.leader().await].http_address();
    let loaders = (0..LOADERS).map(|loader| {
        let address = address.clone();
        tokio::spawn(async move {
            let mut client = Client::new(address);
            for number in (loader..large).step_by(LOADERS) {
                let value = vec![b'0' + (number % 10) as u8; VALUE_BYTES];
                let request = Request::put(&format!("/api/keys/big/{number:05}"), value);
                let answer = client.send(&request).await;
                answer.expect("an answer").expect_status(201);
            }
        })
    });
    for loader in loaders.collect::<Vec<_>>() {
        loader.await.expect("a loader does not panic");
    }
}

/// Checks and removes what was written so far, and lets other writers go on.
async fn begin_anew(cluster: &Cluster, away: usize, writers: Writers) -> Writers {
    let history = writers.stop().await;
    let leader = cluster.leader().await;
    let newest = cluster[leader].status_number("applied_index").await;
    cluster.wait_applied(newest).await;
    history.assert_kept(&cluster[away], "stale").await;
    history.remove_all(&cluster[away]).await;
    Writers::start(&cluster.addresses(), 8)
}

/// Kills a node, and lets the others go on until their logs no longer reach back to it. Returns the
/// last index that it has applied.
async fn leave_behind(cluster: &mut Cluster, away: usize, writers: &Writers) -> u64 {
    let behind = cluster[away].status_number("applied_index").await;
    cluster[away].kill();
    let others: Vec<usize> = (0..cluster.nodes().len())
        .filter(|it| *it != away)
        .collect();
    let needed = behind + 2 * PURGE_STEP + 200;
    let mut written = 0;
    while written < needed {
        writers.wait_acknowledged(200, RECOVERED_WITHIN).await;
        written = cluster[others[0]].status_number("applied_index").await;
    }
    for other in others {
        // Any of them may lead.
        let answer = cluster[other].post("/api/cluster/snapshot", "").await;
        answer.expect_status(200);
        wait_for("the log lets go", SENT_WITHIN, async || {
            let status = cluster[other].try_status().await?;
            match status["purged_index"].as_u64() {
                Some(purged) if purged > behind => Ok(()),
                _ => Err(format!("behind {behind}: {status}")),
            }
        })
        .await;
    }
    behind
}

/// Looks at a node until it has the snapshot, or, with `until`, until that moment. Returns whether
/// it has it.
async fn arrives(
    node: &Node,
    behind: u64,
    large: usize,
    until: Option<Instant>,
    met: &mut Met,
) -> bool {
    let end = Instant::now() + SENT_WITHIN;
    wait_for("the snapshot", SENT_WITHIN, async || {
        if until.is_some_and(|until| Instant::now() >= until) {
            return Ok(false);
        }
        met.looks += usize::from(look(node, large).await);
        let status = node.try_status().await?;
        match status["snapshot_index"].as_u64() {
            Some(index) if index > behind && until.is_none() => Ok(true),
            _ if Instant::now() > end => Err(status.to_string()),
            _ => Err(format!("behind {behind}: {status}")),
        }
    })
    .await
}

/// Checks that what a node shows is a state that was one. False when it does not answer.
async fn look(node: &Node, large: usize) -> bool {
    let target = "/api/keys?prefix=big/&limit=1&keys=true&count=true&level=stale";
    let Ok(page) = node.try_get(target).await else {
        return false;
    };
    if page.status != 200 {
        return false;
    }
    assert_eq!(page.json()["count"], large, "{}: {page:?}", node.name());
    marks::are_whole_at(node).await
}

async fn leader_of(cluster: &Cluster, away: usize) -> usize {
    let leader = cluster.leader().await;
    assert_ne!(leader, away, "who is behind cannot lead");
    leader
}

/// Chooses when something is killed: half of the times at any moment, half as soon as the snapshot is
/// seen to come, or a little later.
async fn moment(node: &Node, round: usize, took: Duration, random: &mut Random) -> Instant {
    let share = random.below(1_000) as f64 / 1_000.0;
    if round % 4 >= 2 {
        return Instant::now() + took.mul_f64(share);
    }
    wait_for(
        "a snapshot that comes",
        SENT_WITHIN,
        async || match has_unfinished(node) {
            true => Ok(()),
            false => Err("nothing".to_owned()),
        },
    )
    .await;
    Instant::now() + took.mul_f64(share / 10.0)
}

fn has_unfinished(node: &Node) -> bool {
    let entries = fs::read_dir(node.data_dir().join("snapshots"));
    let entries = entries.into_iter().flatten();
    entries
        .filter_map(Result::ok)
        .any(|entry| entry.path().extension().is_some_and(|it| it == "tmp"))
}

/// Says how long it took and what memory, and returns the receiver's peak.
async fn report(cluster: &Cluster, away: usize, large: usize, took: Duration) -> u64 {
    let state = (large * VALUE_BYTES) as u64;
    let leader = cluster.leader().await;
    let peak = |node: usize| peak_resident_bytes(cluster[node].process_id()).expect("a process");
    let (receiver, sender) = (peak(away), peak(leader));
    measured(&format!(
        "a snapshot of {} MiB was there {:.1} s after the start of the follower, with writes going on; most \
         memory of the receiver {} MiB, of the sender {} MiB",
        state >> 20,
        took.as_secs_f64(),
        receiver >> 20,
        sender >> 20,
    ));
    // Until the new state is whole, the old one is served.
    let most = 5 * state / 2 + (160 << 20);
    assert!(receiver < most, "{receiver} bytes are more than {most}");
    receiver
}
