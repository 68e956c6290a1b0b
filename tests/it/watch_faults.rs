//! Change streams under faults, and beyond the history that is kept: nothing lost, nothing twice,
//! nothing out of order, and every gap announced.
//!
//! CI resumes 500 times; `CONCLAVE_TEST_FULL=1` 5,000 times.

use std::collections::BTreeMap;
use std::time::Duration;

use conclave_tests::campaign::{Kind, Nemesis, Schedule};
use conclave_tests::http::assert_problem;
use conclave_tests::load::watched_writes::{WatchedWrites, keys_below, wait_expired};
use conclave_tests::said::measured;
use conclave_tests::settings::{rounds, seed};
use conclave_tests::sse::{EventStream, Opened, Subscription};
use conclave_tests::watch::{Break, Canon, Plan, Watcher, check};
use conclave_tests::{Cluster, Node, Request, wait_for};
use serde_json::Value;

/// Time between two writes of one client: some hundreds a second in all, as a busy machine can.
const PACE: Duration = Duration::from_millis(20);
const WRITERS: usize = 4;
/// Longest time for all resumes, by what CI wants.
const RESUMED_WITHIN: Duration = Duration::from_secs(90);
const SOON: Duration = Duration::from_secs(5);

/// Returns what the watchers of the test ask for and how they break off.
fn plans(start: u64, seed: u64) -> Vec<Plan> {
    let all = Subscription::all;
    let asked = [
        ("all", all(), Break::Often),
        ("all to the end", all(), Break::Never),
        ("all, slowly", all(), Break::Slowly),
        ("a", all().prefix("a/"), Break::Often),
        ("b and c", all().prefix("b/").prefix("c/"), Break::Often),
        ("puts", all().types(&["put"]), Break::Often),
        (
            "what ends",
            all().types(&["delete", "expire"]),
            Break::Often,
        ),
        ("names", all().names_only(), Break::Often),
        ("one key", all().prefix("d/3"), Break::Often),
        ("nothing", all().prefix("e/"), Break::Often),
        (
            "or the state",
            all().prefix("c/").or_snapshot(),
            Break::Often,
        ),
        (
            "a and d, slowly",
            all().prefix("a/").prefix("d/"),
            Break::Slowly,
        ),
    ];
    Plan::each(asked, start, seed)
}

#[tokio::test]
async fn watchers_that_resume_anywhere_see_every_change_once_and_in_order() {
    let seed = seed();
    let mut cluster = Cluster::builder().links().start().await;
    let addresses: Vec<_> = cluster.nodes().iter().map(Node::http_address).collect();
    let start = cluster[0].status_number("revision").await;
    let writers = WatchedWrites::start(&addresses, WRITERS, PACE, seed);
    let watchers = plans(start, seed).into_iter();
    let watchers: Vec<_> = watchers
        .map(|plan| Watcher::start(&addresses, plan))
        .collect();

    let wanted = rounds(500, 5_000) as u64;
    let mut nemesis = Nemesis::default();
    let schedule = Schedule::new(seed, &Kind::ALL);
    let round = schedule.round();
    let resumed = || watchers.iter().map(Watcher::resumes).sum::<u64>();
    for event in schedule {
        nemesis.perform(event, &mut cluster).await;
        if nemesis.done.len() >= round && resumed() >= wanted {
            break;
        }
        assert!(nemesis.done.len() < 40 * round, "{} resumes", resumed());
    }
    Watcher::wait_resumes(&watchers, wanted, RESUMED_WITHIN).await;
    let written = writers.stop().await;
    cluster.leader().await;
    wait_expired("", &cluster[0]).await;
    let last = cluster[1].put("/api/keys/last", "x").await;
    let end = last.json()["revision"].as_u64().expect("a revision");
    let resumes = resumed();
    watchers.iter().for_each(|watcher| watcher.end_at(end));
    let mut logs = Vec::new();
    for watcher in watchers {
        logs.push(watcher.finish(end).await);
    }

    let canon = Canon::read(&addresses[0], end).await;
    for address in &addresses[1..] {
        assert!(
            canon == Canon::read(address, end).await,
            "{address} tells another history"
        );
    }
    let mut known = written;
    known.push(conclave_tests::watch::Written {
        effects: vec![("put", "last".to_owned(), Some("x".to_owned()))],
        revision: Some(end),
        refused: false,
    });
    let mut wrong = canon.against(&known);
    assert_same_state(&cluster[2], &canon, end).await;
    let mut delivered = 0;
    let mut gaps = 0;
    for log in &logs {
        let verdict = check(log, &canon, None);
        delivered += verdict.delivered;
        gaps += verdict.gaps;
        wrong.extend(verdict.violations);
    }
    measured(&format!(
        "{resumes} resumes of {} watchers through {} faults: {delivered} events of {} changes \
         delivered, {} violations, {gaps} announced gaps (seed {seed})",
        logs.len(),
        nemesis.done.len(),
        canon.changes(),
        wrong.len(),
    ));
    let told: Vec<_> = wrong.iter().map(ToString::to_string).collect();
    assert!(told.is_empty(), "{}", told.join("\n"));
    cluster.assert_converged().await;
}

/// Reads every key that the canon may know.
async fn state_of(node: &Node) -> BTreeMap<String, Value> {
    let state = keys_below("", node).await;
    state.unwrap_or_else(|seen| panic!("{seen}"))
}

/// The state is what the history adds up to.
async fn assert_same_state(node: &Node, canon: &Canon, revision: u64) {
    let state = state_of(node).await;
    let wanted = canon.state_at(revision);
    let names: Vec<_> = state.keys().map(String::as_str).collect();
    assert!(
        names.iter().copied().eq(wanted.keys().copied()),
        "{names:?}, not {wanted:?}"
    );
    for (name, record) in wanted {
        for field in ["value", "mod_revision", "create_revision", "version"] {
            assert_eq!(state[name][field], record[field], "{field} of {name}");
        }
    }
}

#[tokio::test]
async fn history_survives_the_end_of_every_node() {
    let mut cluster = Cluster::start().await;
    let addresses = cluster.addresses();
    let writers = WatchedWrites::start(&addresses, 2, Duration::from_millis(1), 1);
    wait_for(
        "two hundred writes",
        Duration::from_secs(20),
        async || match writers.acknowledged() {
            200.. => Ok(()),
            few => Err(few.to_string()),
        },
    )
    .await;
    let written = writers.stop().await;
    let newest = written.iter().filter_map(|write| write.revision).max();
    let newest = newest.expect("a write");
    cluster.wait_applied(newest).await;
    cluster.restart_all().await;
    cluster.leader().await;
    for address in &addresses {
        let canon = Canon::read(address, newest).await;
        let wrong = canon.against(&written);
        assert!(wrong.is_empty(), "{address}: {wrong:#?}");
    }
}

const KEPT: usize = 100;
/// So large that what a node has in memory is soon less than all of it.
const VALUE_BYTES: usize = 32 << 10;
/// Looks at the oldest revision in which it does not change, when nothing more goes.
const QUIET_LOOKS: usize = 15;

/// One node that keeps the changes of only a hundred revisions, with many more written, and their
/// revisions.
async fn forgetful() -> (Cluster, Vec<u64>) {
    let kept = KEPT.to_string();
    let builder = Cluster::builder().nodes(1);
    let cluster = builder.args(&["-history-revisions", &kept]).start().await;
    let mut client = cluster[0].client();
    let mut revisions = Vec::new();
    for number in 0..8 * KEPT {
        let key = format!("/api/keys/k/{}", number % 7);
        let written = client
            .send(&Request::put(&key, "v".repeat(VALUE_BYTES)))
            .await;
        let body = written.expect("an answer").json();
        revisions.push(body["revision"].as_u64().expect("a revision"));
    }
    let mut looks = (0, 0);
    wait_for(
        "old changes are gone",
        Duration::from_secs(30),
        async || {
            let oldest = cluster[0].status_number("oldest_revision").await;
            looks = (oldest, if looks.0 == oldest { looks.1 + 1 } else { 0 });
            if oldest > revisions[KEPT] && looks.1 >= QUIET_LOOKS {
                Ok(())
            } else {
                Err(format!("the oldest is {oldest} of {revisions:?}"))
            }
        },
    )
    .await;
    (cluster, revisions)
}

#[tokio::test]
async fn what_is_older_than_the_history_kept_is_refused_before_the_stream_starts() {
    let (cluster, revisions) = forgetful().await;
    let address = cluster[0].http_address();
    let opened = EventStream::open(&address, &Subscription::all().since(revisions[0])).await;
    let Ok(Opened::Refused(answer)) = opened else {
        panic!("{opened:?}");
    };
    assert_problem(&answer, 410, "revision_gone");
    let body = answer.json();
    let oldest = body["oldest"].as_u64().expect("the oldest revision");
    assert!(
        body["revision"].as_u64() >= revisions.last().copied(),
        "{body}"
    );
    assert!(
        oldest > revisions[0] && oldest <= revisions[revisions.len() - KEPT],
        "{body}"
    );
    assert_eq!(cluster[0].status_number("oldest_revision").await, oldest);
    // From there on there is no gap.
    let first = revisions.partition_point(|revision| *revision < oldest);
    let mut stream =
        EventStream::expect_open(&address, &Subscription::all().since(oldest - 1)).await;
    for revision in &revisions[first..] {
        let put = stream.expect("put", SOON).await.json();
        assert_eq!(put["revision"], *revision);
    }
    // One before is gone.
    let opened = EventStream::open(&address, &Subscription::all().since(oldest - 2)).await;
    assert!(
        matches!(&opened, Ok(Opened::Refused(answer)) if answer.status == 410),
        "{opened:?}"
    );
}

#[tokio::test]
async fn the_state_comes_instead_of_a_history_that_is_no_longer_kept() {
    let (cluster, revisions) = forgetful().await;
    let node = &cluster[0];
    let lock = r#"{"owner":"o","ttl_ms":60000,"wait_ms":0}"#;
    let granted = node
        .post("/api/locks/k%2Flock", lock)
        .await
        .expect_status(200);
    let asked = Subscription::all().prefix("k/").or_snapshot();
    let mut stream =
        EventStream::expect_open(&node.http_address(), &asked.since(revisions[0])).await;
    let events = stream
        .expect_until("synced", SOON, |event| event.name == "synced")
        .await;
    let names: Vec<_> = events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(&names[..2], ["hello", "reset"], "{names:?}");
    let state = &events[2..events.len() - 1];
    let puts: BTreeMap<_, _> = state
        .iter()
        .filter(|event| event.name == "put")
        .map(|event| {
            let body = event.json();
            assert!(event.id.is_none() && body["snapshot"] == true, "{event:?}");
            let record = body["record"].clone();
            (body["key"].as_str().unwrap_or_default().to_owned(), record)
        })
        .collect();
    for (name, record) in state_of(node).await {
        assert_eq!(
            puts[&name]["mod_revision"], record["mod_revision"],
            "{name}"
        );
    }
    assert_eq!(puts.len(), 7, "{puts:?}");
    let locks: Vec<_> = state.iter().filter(|event| event.name == "lock").collect();
    assert_eq!(locks.len(), 1, "{state:?}");
    assert_eq!(locks[0].json()["token"], granted.json()["token"]);
    let synced = &events[events.len() - 1];
    assert_eq!(synced.id, Some(synced.json()["revision"].to_string()));
    let next = node.put("/api/keys/k/next", "x").await.json()["revision"].clone();
    let put = stream.expect("put", SOON).await;
    assert_eq!(
        (&put.json()["revision"], put.id),
        (&next, Some(next.to_string()))
    );
}
