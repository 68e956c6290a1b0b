//! Watchers that come back too late, to nodes that keep little and that were given a snapshot: each
//! gap is announced, and the state that comes instead of the history is the state of its revision.

use std::time::Duration;

use conclave_tests::load::watched_writes::WatchedWrites;
use conclave_tests::said::{measured, skipped};
use conclave_tests::settings::{rounds, seed};
use conclave_tests::sse::{EventStream, Subscription};
use conclave_tests::watch::{
    Break, Canon, Entry, Message, Plan, Watcher, WatcherLog, Written, check,
};
use conclave_tests::{Cluster, Node, Request, wait_for};

const WRITERS: usize = 4;
const PACE: Duration = Duration::from_millis(20);
/// So large that what a node has in memory is soon less than all of it.
const VALUE_BYTES: usize = 48 << 10;
/// What a node keeps, and after how much a snapshot takes the place of its log.
const KEEPS_LITTLE: [&str; 6] = [
    "-history-revisions",
    "50",
    "-snapshot-log-bytes",
    "2000000",
    "-snapshot-log-keep",
    "10",
];
/// Acknowledged large writes between two faults: more than the history keeps.
const BETWEEN: u64 = 100;
/// Clients that write as fast as they can while a node is away.
const FAST: usize = 24;
const WRITTEN_WITHIN: Duration = Duration::from_secs(60);

fn plans(start: u64, seed: u64) -> Vec<Plan> {
    let all = Subscription::all;
    let asked = [
        ("all", all(), Break::Away),
        ("all or the state", all().or_snapshot(), Break::Away),
        (
            "a or the state",
            all().prefix("a/").or_snapshot(),
            Break::Away,
        ),
        (
            "names or the state",
            all().names_only().or_snapshot(),
            Break::Away,
        ),
        ("b, slowly", all().prefix("b/"), Break::Slowly),
        ("stays where it is", all(), Break::Never),
        (
            "stays, or the state",
            all().prefix("c/").or_snapshot(),
            Break::Never,
        ),
        ("often", all().or_snapshot(), Break::Often),
    ];
    Plan::each(asked, start, seed)
}

#[tokio::test]
async fn a_gap_is_always_announced() {
    let seed = seed();
    let mut cluster = Cluster::builder().args(&KEEPS_LITTLE).start().await;
    let addresses: Vec<_> = cluster.nodes().iter().map(Node::http_address).collect();
    let victim = cluster.followers().await[0];
    let witness = cluster.leader().await;
    let start = cluster[witness].status_number("revision").await;
    let witnesses = Plan {
        name: "witness".to_owned(),
        subscription: Subscription::all(),
        since: start,
        breaks: Break::Never,
        seed,
    };
    let witness = Watcher::start(&addresses[witness..=witness], witnesses);
    let watchers: Vec<_> = plans(start, seed)
        .into_iter()
        .map(|plan| match plan.breaks {
            // Its stream is open while the node gets a snapshot.
            Break::Never => Watcher::start(&addresses[victim..=victim], plan),
            _ => Watcher::start(&addresses, plan),
        })
        .collect();
    let writers = WatchedWrites::start_with_values(&addresses, WRITERS, PACE, seed, VALUE_BYTES);
    let faults = rounds(2, 20);
    let mut known = give_snapshots(&mut cluster, victim, &writers, faults, seed).await;
    written(&writers, BETWEEN).await;
    known.extend(writers.stop().await);
    cluster.assert_converged().await;
    let last = cluster[victim].put("/api/keys/z", "x").await;
    let end = last.json()["revision"].as_u64().expect("a revision");
    watchers.iter().for_each(|watcher| watcher.end_at(end));
    let mut logs = Vec::new();
    for watcher in watchers {
        logs.push(watcher.finish(end).await);
    }

    // Keys may have expired meanwhile.
    let later = cluster[0].put("/api/keys/z", "x").await;
    let later = later.json()["revision"].as_u64().expect("a revision");
    let witness = witness.finish(later).await;

    assert!(is_whole(&witness), "the witness has missed something");
    let canon = Canon::of(witness.changes());
    let mut wrong = check(&witness, &canon, None).violations;
    // The writers know of one put less, the last.
    let unknown = |what: &&conclave_tests::watch::Violation| !what.what.contains("\"z\"");
    wrong.extend(canon.against(&known).iter().filter(unknown).cloned());
    let (mut gaps, mut resumes, mut states) = (0, 0, 0);
    for log in &logs {
        let verdict = check(log, &canon, None);
        gaps += verdict.gaps;
        resumes += verdict.resumes;
        states += count(log, |message| matches!(message, Message::Synced { .. }));
        wrong.extend(verdict.violations);
    }
    let lagged: usize = logs
        .iter()
        .map(|log| count(log, |m| *m == Message::Lagged))
        .sum();
    measured(&format!(
        "{faults} nodes given a snapshot, {resumes} resumes: {gaps} announced gaps, {states} of them \
         with the state, {lagged} in the middle of a stream; {} violations (seed {seed})",
        wrong.len()
    ));
    let told: Vec<_> = wrong.iter().map(ToString::to_string).collect();
    assert!(told.is_empty(), "{}", told.join("\n"));
    assert!(gaps > 0 && states > 0, "nobody was late");
}

/// Keeps a node away until it needs a snapshot, again and again, and returns what was written to that
/// end.
async fn give_snapshots(
    cluster: &mut Cluster,
    victim: usize,
    writers: &WatchedWrites,
    faults: usize,
    seed: u64,
) -> Vec<Written> {
    let mut known = Vec::new();
    for number in 0..faults {
        written(writers, BETWEEN).await;
        let missed = cluster[victim].status_number("last_log_index").await;
        // A stopped node goes on with its watchers, and without what it missed.
        let stopped = number % 2 == 0;
        if stopped {
            cluster[victim].pause();
        } else {
            cluster[victim].kill();
        }
        known.extend(purge(cluster, victim, missed, seed + number as u64 + 1).await);
        if stopped {
            cluster[victim].resume();
        } else {
            cluster[victim].start().await;
        }
        wait_for("the node has a snapshot", WRITTEN_WITHIN, async || {
            let status = cluster[victim].try_status().await?;
            let has = status["snapshot_index"].as_u64() > Some(missed + 64);
            if has { Ok(()) } else { Err(status.to_string()) }
        })
        .await;
    }
    known
}

fn count(log: &WatcherLog, wanted: impl Fn(&Message) -> bool) -> usize {
    let messages = log.entries.iter().filter_map(|seen| match &seen.entry {
        Entry::Message(message) => Some(message),
        _ => None,
    });
    messages.filter(|message| wanted(message)).count()
}

/// Writes until the others no longer have the log that a node has missed.
async fn purge(cluster: &Cluster, victim: usize, missed: u64, seed: u64) -> Vec<Written> {
    let others: Vec<_> = (0..3).filter(|node| *node != victim).collect();
    let addresses = cluster.addresses_of(&others);
    let writers = WatchedWrites::start(&addresses, FAST, Duration::ZERO, seed);
    wait_for("the log is purged", WRITTEN_WITHIN, async || {
        for node in &others {
            let status = cluster[*node].try_status().await?;
            if status["purged_index"].as_u64() <= Some(missed) {
                return Err(status.to_string());
            }
        }
        Ok(())
    })
    .await;
    writers.stop().await
}

/// Nobody has told it of a gap.
fn is_whole(log: &WatcherLog) -> bool {
    let gone = log
        .entries
        .iter()
        .any(|seen| matches!(seen.entry, Entry::Gone { .. }));
    !gone
        && count(log, |message| {
            matches!(message, Message::Lagged | Message::Reset { .. })
        }) == 0
}

async fn written(writers: &WatchedWrites, more: u64) {
    let goal = writers.acknowledged() + more;
    wait_for(
        "acknowledged writes",
        WRITTEN_WITHIN,
        async || match writers.acknowledged() {
            now if now >= goal => Ok(()),
            now => Err(now.to_string()),
        },
    )
    .await;
}

#[tokio::test]
async fn a_watcher_that_does_not_read_for_half_a_minute_is_closed() {
    /// More than all buffers on the way hold.
    const WRITES: usize = 2_000;
    if rounds(0, 1) == 0 {
        return skipped(
            "a watcher that does not read is waited for only with CONCLAVE_TEST_FULL=1",
        );
    }
    let cluster = Cluster::single().await;
    let node = &cluster[0];
    let request = Subscription::all().request();
    let mut stream = EventStream::expect_open(&node.http_address(), &request).await;
    stream.expect("hello", Duration::from_secs(5)).await;
    let mut client = node.client();
    let value = "v".repeat(VALUE_BYTES);
    for _ in 0..WRITES {
        let written = client
            .send(&Request::put("/api/keys/k", value.as_bytes()))
            .await;
        written.expect("an answer");
    }
    wait_for(
        "no watcher is left",
        Duration::from_secs(45),
        async || match node.status_number("watchers").await {
            0 => Ok(()),
            watchers => Err(watchers.to_string()),
        },
    )
    .await;
    let ended = stream.ended_within(Duration::from_secs(30)).await;
    let (events, end) = ended.expect("the end of the stream");
    assert!(events.len() < WRITES, "{} events, then {end}", events.len());
}
