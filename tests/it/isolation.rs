//! Nodes that are cut off while their processes run: what they still answer, and how old it is.
//! Replay the random faults: `CONCLAVE_TEST_SEED`; more: `CONCLAVE_TEST_READS`.

use std::time::{Duration, Instant};

use conclave_tests::cluster::RECOVERED_WITHIN;
use conclave_tests::faults::Faults;
use conclave_tests::http::assert_is_problem;
use conclave_tests::load::stale_reads::{Readers, Writer, age_of, judge};
use conclave_tests::said::measured;
use conclave_tests::spread::Spread;
use conclave_tests::sse::{EventStream, Subscription};
use conclave_tests::wait::before_retry;
use conclave_tests::{Cluster, Node, Request, Writers, settings, wait_for};

/// Longest election timeout, which is the leader's lease.
const LEASE: Duration = Duration::from_millis(800);
/// The harness and a busy machine may be that much later than the server.
const SLACK: Duration = Duration::from_millis(500);
/// Longest time until a `consistent` read at a node without a quorum is refused.
const REFUSED_WITHIN: Duration = Duration::from_secs(3);
/// How long a cut-off node is watched, from the cut on.
const WATCHED: Duration = Duration::from_millis(4_500);
/// By how much the age told may differ from the clock.
const CLOCK_SLACK: Duration = Duration::from_millis(100);
/// By how much a stale read may be older than it says: one message delay, and the harness.
const AGE_SLACK: Duration = Duration::from_millis(50);

#[tokio::test]
async fn an_isolated_leader_is_replaced_and_takes_over_what_it_missed() {
    let mut cluster = Cluster::builder().links().start().await;
    let links = cluster.links();
    let old = cluster.leader().await;
    let others = cluster.followers().await;
    let majority = cluster.addresses_of(&others);
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

#[tokio::test]
async fn a_cut_off_leader_refuses_what_needs_a_quorum_and_tells_its_age() {
    let cluster = Cluster::builder().links().alone().start().await;
    let leader = cluster.leader().await;
    let node = &cluster[leader];
    node.put("/api/keys/k", "before").await.expect_status(201);
    let cut = Instant::now();
    cluster.links().isolate(leader);
    let (worst, last_default, (), written) = tokio::join!(
        slowest_refusal(node, cut),
        last_default_answer(node, cut),
        assert_age_keeps_pace(node, cut),
        node.put("/api/keys/after", "the cut"),
    );
    println!(
        "consistent refused within {worst:?}, the last default read answered after {last_default:?}"
    );
    assert!(worst <= REFUSED_WITHIN, "{worst:?}");
    assert!(last_default <= LEASE + SLACK, "{last_default:?}");
    assert!(matches!(written.status, 503 | 504), "{written:?}");
    assert_is_problem(&written);

    cluster.links().heal();
    wait_for("a young state again", RECOVERED_WITHIN, async || {
        let response = stale(node, "k").await;
        match age_of(&response) {
            Some(age) if age < LEASE / 2 => Ok(()),
            age => Err(format!("{age:?}")),
        }
    })
    .await;
    cluster.assert_converged().await;
    if written.json()["applied"] == "no" {
        node.get("/api/keys/after?level=consistent")
            .await
            .expect_status(404);
    }
}

/// Reads `consistent` until the watch ends, expects 503 and returns the longest wait for it.
async fn slowest_refusal(node: &Node, cut: Instant) -> Duration {
    let mut worst = Duration::ZERO;
    let mut client = node.client();
    while cut.elapsed() < WATCHED {
        let began = Instant::now();
        let request = Request::get("/api/keys/k?level=consistent");
        let response = client.send(&request).await.expect("an answer");
        worst = worst.max(began.elapsed());
        assert_eq!(response.status, 503, "{response:?}");
        assert_is_problem(&response);
        assert_eq!(response.json()["applied"], "no", "{response:?}");
        before_retry().await;
    }
    worst
}

/// Reads `default` until the watch ends, expects 200 or 503 and returns how long after the cut
/// the last 200 came.
async fn last_default_answer(node: &Node, cut: Instant) -> Duration {
    let mut last = Duration::ZERO;
    let mut client = node.client();
    while cut.elapsed() < WATCHED {
        let request = Request::get("/api/keys/k");
        let response = client.send(&request).await.expect("an answer");
        match response.status {
            200 => last = cut.elapsed(),
            503 => assert_is_problem(&response),
            _ => panic!("{response:?}"),
        }
        before_retry().await;
    }
    last
}

async fn stale(node: &Node, key: &str) -> conclave_tests::Response {
    let response = node.get(&format!("/api/keys/{key}?level=stale")).await;
    let response = response.expect_status(200);
    assert_eq!(response.expect_header("conclave-consistency"), "stale");
    assert_eq!(response.expect_header("conclave-served-by"), node.name());
    let known = response.expect_header("conclave-known-leader") == "true";
    assert_eq!(known, response.header("conclave-leader").is_some());
    response
}

/// Reads `stale` from a moment after the cut until the watch ends: always 200, and an age that
/// grows as the clock does.
async fn assert_age_keeps_pace(node: &Node, cut: Instant) {
    let mut first = None;
    let mut samples = 0;
    let mut longest = Duration::ZERO;
    while cut.elapsed() < WATCHED {
        let began = Instant::now();
        let response = stale(node, "k").await;
        let ended = Instant::now();
        let age = age_of(&response).unwrap_or_else(|| panic!("{}: {response:?}", node.name()));
        // What was on its way when the links were cut has arrived by then.
        if began.duration_since(cut) >= SLACK {
            let (first_began, first_ended, first_age) = *first.get_or_insert((began, ended, age));
            let grown = age.checked_sub(first_age).expect("an age that grows");
            let least = began.saturating_duration_since(first_ended);
            let most = ended.duration_since(first_began);
            assert!(
                grown + CLOCK_SLACK >= least && grown <= most + CLOCK_SLACK,
                "{} grew by {grown:?} in {least:?} to {most:?}",
                node.name()
            );
            samples += 1;
            longest = most;
        }
        before_retry().await;
    }
    assert!(
        samples >= 10 && longest >= Duration::from_secs(3),
        "{samples} in {longest:?}"
    );
}

#[tokio::test]
async fn a_node_that_has_much_to_catch_up_on_shows_the_newest_at_consistent_or_nothing() {
    // More than goes over and is applied before the first answer of the leader.
    const WRITES: usize = 200;
    let cluster = Cluster::builder().links().start().await;
    let leader = cluster.leader().await;
    let away = cluster.followers().await[0];
    cluster.links().isolate(away);
    let value = "v".repeat(48 << 10);
    let mut client = cluster[leader].client();
    for number in 0..WRITES {
        let request = Request::put(&format!("/api/keys/much/{number}"), value.as_bytes());
        let written = client.send(&request).await.expect("an answer");
        written.expect_status(201);
    }
    cluster.links().heal();
    let last = format!("/api/keys/much/{}?level=consistent", WRITES - 1);
    wait_for("the newest write", RECOVERED_WITHIN, async || {
        let read = cluster[away].get(&last).await;
        match read.status {
            200 => Ok(()),
            503 => Err(format!("{read:?}")),
            _ => panic!("older than what was acknowledged: {read:?}"),
        }
    })
    .await;
    cluster.assert_converged().await;
}

#[tokio::test]
async fn a_watcher_of_a_cut_off_leader_is_told_of_nothing_that_is_never_committed() {
    let cluster = Cluster::builder().links().start().await;
    let old = cluster.leader().await;
    let others = cluster.followers().await;
    let request = Subscription::all().prefix("w/").types(&["put"]).request();
    let mut stream = EventStream::expect_open(&cluster[old].http_address(), &request).await;
    stream.expect("hello", SLACK).await;
    cluster.links().isolate(old);
    let (lost, ()) = tokio::join!(cluster[old].put("/api/keys/w/lost", "x"), async {
        wait_for("a write elsewhere", RECOVERED_WITHIN, async || {
            let kept = cluster[others[0]].put("/api/keys/w/kept", "x").await;
            match kept.status {
                200 | 201 => Ok(()),
                _ => Err(format!("{kept:?}")),
            }
        })
        .await;
    });
    assert!(matches!(lost.status, 503 | 504), "{lost:?}");
    cluster.links().heal();
    cluster.assert_converged().await;
    cluster[old]
        .get("/api/keys/w/lost")
        .await
        .expect_status(404);
    let told = stream.expect("put", RECOVERED_WITHIN).await.json();
    assert_eq!(
        told["key"], "w/kept",
        "told of what was never there: {told}"
    );
}

#[tokio::test]
async fn a_follower_of_a_cut_off_leader_tells_the_age_that_its_leader_has() {
    let cluster = Cluster::builder().nodes(5).links().alone().start().await;
    let leader = cluster.leader().await;
    let others = cluster.followers().await;
    let (&follower, majority) = others.split_first().expect("followers");
    cluster[leader]
        .put("/api/keys/k", "before")
        .await
        .expect_status(201);
    let index = cluster[leader].status_number("applied_index").await;
    cluster.wait_applied(index).await;
    let cut = Instant::now();
    cluster.links().partition(&[leader, follower], majority);
    tokio::join!(
        assert_age_keeps_pace(&cluster[leader], cut),
        assert_age_keeps_pace(&cluster[follower], cut),
    );
    // It still hears that leader: its contact is young, and proves nothing.
    let name = cluster[leader].name();
    wait_for("its leader's heartbeat", RECOVERED_WITHIN, async || {
        let status = cluster[follower].try_status().await?;
        let contact = status["leader_contact_age_ms"].as_u64();
        let hears = status["leader"] == name && contact.is_some_and(|ms| ms < 1_000);
        if hears {
            Ok(())
        } else {
            Err(status.to_string())
        }
    })
    .await;
    cluster.links().heal();
    cluster.assert_converged().await;
}

#[tokio::test]
async fn no_stale_read_is_older_than_it_says() {
    const KEY: &str = "counter";
    const READERS_PER_NODE: usize = 4;
    const FAULTS: usize = 28;
    const CALM_READS: usize = 1_000;
    let goal = settings::number(settings::READS, 20_000);
    let seed = settings::seed();
    let cluster = Cluster::builder().links().alone().start().await;
    let addresses = cluster.addresses();
    let started = Instant::now();
    let writer = Writer::start(KEY, &addresses);
    let mut faults = Faults::new(&cluster, seed);
    let closely = faults.unsettled();
    let readers = Readers::start(KEY, &addresses, READERS_PER_NODE, &closely);
    wait_for("reads before any fault", RECOVERED_WITHIN, async || {
        let answered = readers.answered();
        match answered >= CALM_READS {
            true => Ok(()),
            false => Err(answered.to_string()),
        }
    })
    .await;
    let calm = Instant::now();
    while readers.answered() < goal || faults.count() < FAULTS {
        faults.one().await;
    }
    let reads = readers.stop().await;
    let written = writer.stop().await;
    let took = started.elapsed();
    let verdict = judge(&written, &reads, AGE_SLACK);
    let silent = reads.len() - verdict.claims;
    let before_faults = reads.iter().filter(|read| read.began < calm);
    measured(&format!(
        "{} stale reads, {silent} without an age, {} writes, {} faults in {took:.0?}; oldest {:.0?}, older \
         than said by {} ms at most, {} older than they said by more than {AGE_SLACK:?}; ages before \
         the faults: {}",
        reads.len(),
        written.len(),
        faults.count(),
        verdict.oldest,
        verdict.worst_ms,
        verdict.lies.len(),
        Spread::of(before_faults.filter_map(|read| read.age)),
    ));
    for node in 0..cluster.nodes().len() {
        let answers = reads.iter().filter(|read| read.node == node).count();
        assert!(answers > goal / 10, "{answers} from node{node}");
    }
    // The run has seen what it is about.
    assert!(written.len() > goal / 40, "{} writes", written.len());
    assert!(verdict.oldest > AGE_SLACK * 4, "{:?}", verdict.oldest);
    assert!(silent * 10 < reads.len() * 3, "{silent} of {}", reads.len());
    assert!(
        verdict.lies.is_empty(),
        "seed {seed}: {} of {} reads were older than they said, by {} ms at most:\n{}",
        verdict.lies.len(),
        verdict.claims,
        verdict.worst_ms,
        verdict.report(|moment| faults.before(moment)),
    );
    cluster.assert_converged().await;
}
