//! `/metrics` for Prometheus, and the series of the last minutes for charts.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use conclave_tests::http::assert_problem;
use conclave_tests::http::openmetrics::Page;
use conclave_tests::{Cluster, Node, wait_for};
use serde_json::Value;

/// Longest wait for something that comes with the next sample, on a busy machine.
const SOON: Duration = Duration::from_secs(20);

async fn scrape(node: &Node) -> Page {
    let response = node.get("/metrics").await.expect_status(200);
    assert_eq!(
        response.expect_header("content-type"),
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    Page::parse(&response.text())
}

/// Returns what a node's `/metrics` says of requests for keys that came since.
fn requests(now: &Page, before: &Page) -> BTreeMap<String, f64> {
    let mut grown = now.grown(before, "conclave_http_requests_total");
    grown.retain(|name, _| name.contains("route=\"keys\""));
    grown
}

fn request(method: &str, level: &str, status: &str) -> String {
    format!(
        "conclave_http_requests_total{{level=\"{level}\",method=\"{method}\",route=\"keys\",status=\"{status}\"}}"
    )
}

#[tokio::test]
async fn counters_say_exactly_what_was_done() {
    let cluster = Cluster::start().await;
    let (leader, follower) = (cluster.leader().await, cluster.followers().await[0]);
    let (leader, follower) = (&cluster[leader], &cluster[follower]);
    let before = (scrape(leader).await, scrape(follower).await);

    for number in 0..7 {
        let target = format!("/api/keys/l{number}");
        leader.put(&target, "value").await.expect_status(201);
    }
    for number in 0..5 {
        let target = format!("/api/keys/f{number}");
        follower.put(&target, "value").await.expect_status(201);
    }
    for (level, count) in [("stale", 4), ("default", 3), ("consistent", 2)] {
        for _ in 0..count {
            let read = follower.get(&format!("/api/keys?level={level}")).await;
            read.expect_status(200);
        }
    }
    for _ in 0..6 {
        leader.get("/api/keys/l0").await.expect_status(200);
    }
    leader.get("/api/keys/absent").await.expect_status(404);
    leader.get("/api/keys/l0?level=x").await.expect_status(400);
    let last = leader.status_number("applied_index").await;
    cluster.wait_applied(last).await;

    let after = (scrape(leader).await, scrape(follower).await);
    let wanted = [
        (request("write", "consistent", "2xx"), 7.0),
        (request("read", "default", "2xx"), 6.0),
        (request("read", "default", "4xx"), 1.0),
        (request("read", "none", "4xx"), 1.0),
    ];
    assert_eq!(requests(&after.0, &before.0), BTreeMap::from(wanted));
    let wanted = [
        (request("write", "consistent", "2xx"), 5.0),
        (request("read", "stale", "2xx"), 4.0),
        (request("read", "default", "2xx"), 3.0),
        (request("read", "consistent", "2xx"), 2.0),
    ];
    assert_eq!(requests(&after.1, &before.1), BTreeMap::from(wanted));

    // All twelve were proposed by the leader, and applied by both.
    let proposed = |after: &Page, before: &Page| after.grown(before, "conclave_proposals_total");
    let committed = "conclave_proposals_total{outcome=\"committed\"}".to_owned();
    let twelve = BTreeMap::from([(committed, 12.0)]);
    assert_eq!(proposed(&after.0, &before.0), twelve);
    assert_eq!(proposed(&after.1, &before.1), BTreeMap::new());
    let grown = |sample: &str| after.0.value(sample) - before.0.value(sample);
    assert_eq!(grown("conclave_commit_duration_seconds_count"), 12.0);
    assert_eq!(grown("conclave_proposal_batch_proposals_sum"), 12.0);
    assert_eq!(grown("conclave_state_keys"), 12.0);
    // The others may be a majority before the leader's own sync, which then is of the next write, too.
    let syncs = grown("conclave_log_sync_duration_seconds_count");
    assert!((6.0..=40.0).contains(&syncs), "{syncs} syncs of 12 writes");
    for (after, before) in [(&after.0, &before.0), (&after.1, &before.1)] {
        let grown = |sample: &str| after.value(sample) - before.value(sample);
        let applied = grown("conclave_applied_entries_total");
        assert_eq!(applied, grown("conclave_raft_applied_index"));
        assert!(applied >= 12.0, "{applied}");
    }
    cluster.assert_converged().await;
}

#[tokio::test]
async fn every_node_says_its_part_and_how_far_the_others_are() {
    let cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    for (index, node) in cluster.nodes().iter().enumerate() {
        let page = scrape(node).await;
        for family in page.families() {
            let known = ["conclave_", "process_"];
            assert!(known.iter().any(|k| family.starts_with(k)), "{family}");
        }
        let leads = f64::from(u8::from(index == leader));
        let role = |role: &str| page.value(&format!("conclave_raft_role{{role=\"{role}\"}}"));
        assert_eq!((role("leader"), role("follower")), (leads, 1.0 - leads));
        let members = "conclave_raft_members{kind=\"voter\"}";
        assert_eq!(
            (page.value(members), page.value("conclave_raft_has_leader")),
            (3.0, 1.0)
        );
        assert!(page.value("process_resident_memory_bytes") > 1e6);
        assert!(page.value("process_open_fds") > 3.0);
        assert!(page.value("process_start_time_seconds") > 1.7e9);
        let lags = page
            .samples()
            .filter(|name| name.starts_with("conclave_raft_replication_lag_entries"));
        assert_eq!(lags.count(), if index == leader { 2 } else { 0 });
    }
    let followers = cluster.followers().await;
    let names: Vec<_> = followers
        .iter()
        .map(|index| cluster[*index].name())
        .collect();
    wait_for("lags in the leader's series", SOON, async || {
        let series = series(&cluster[leader], "range=5s").await;
        let lags = series["follower_lag"].as_object().expect("an object");
        let said: Vec<_> = lags.keys().map(String::as_str).collect();
        if said == names {
            Ok(())
        } else {
            Err(format!("{said:?}"))
        }
    })
    .await;
    let series = series(&cluster[followers[0]], "range=5s").await;
    assert_eq!(series["follower_lag"], serde_json::json!({}));
}

#[tokio::test]
async fn the_leader_counts_the_voters_that_are_dead_to_it() {
    const DEAD: &str = "conclave_dead_voters";
    const DEAD_WITHIN: Duration = Duration::from_secs(20);
    let mut cluster = Cluster::start().await;
    let followers = cluster.followers().await;
    let leader = cluster.leader().await;
    assert_eq!(scrape(&cluster[leader]).await.value(DEAD), 0.0);
    let page = scrape(&cluster[followers[1]]).await;
    assert!(page.samples().all(|sample| sample != DEAD));
    cluster[followers[0]].kill();
    let counts = async |cluster: &Cluster, wanted: f64| {
        wait_for("the number of dead voters", DEAD_WITHIN, async || {
            let dead = scrape(&cluster[leader]).await.value(DEAD);
            (dead == wanted).then_some(()).ok_or(dead.to_string())
        })
        .await;
    };
    counts(&cluster, 1.0).await;
    cluster[followers[0]].spawn();
    counts(&cluster, 0.0).await;
}

async fn series(node: &Node, query: &str) -> Value {
    let target = format!("/api/metrics/series?{query}");
    node.get(&target).await.expect_status(200).json()
}

fn points(series: &Value, name: &str) -> Vec<Option<f64>> {
    let points = series["series"][name].as_array();
    let points = points.unwrap_or_else(|| panic!("no series `{name}` in {series}"));
    points.iter().map(Value::as_f64).collect()
}

/// Checks what holds for every answer.
fn assert_shape(series: &Value, length: usize, step_ms: u64) {
    let numbers = series["times"].as_array().expect("times");
    let times: Vec<_> = numbers.iter().filter_map(Value::as_u64).collect();
    assert_eq!(times.len(), length);
    assert_eq!(series["step_ms"].as_u64(), Some(step_ms));
    assert!(
        times.windows(2).all(|two| two[1] == two[0] + step_ms),
        "{times:?}"
    );
    let now = series["now_ms"].as_u64().expect("now");
    let newest = times.last().copied().expect("a time");
    assert!(
        newest <= now && newest + step_ms + 2_000 > now,
        "{newest} at {now}"
    );
    for (name, points) in series["series"].as_object().expect("series") {
        let points = points.as_array().expect("points");
        assert_eq!(points.len(), length, "{name}");
        assert!(
            points.iter().all(|point| point.is_null() || point.is_f64()),
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_paused_node_has_a_gap_in_its_series() {
    let cluster = Cluster::single().await;
    let node = &cluster[0];
    wait_for("a sample", SOON, async || {
        let keys = points(&series(node, "range=5s").await, "keys");
        let sampled = keys.iter().any(Option::is_some);
        sampled.then_some(()).ok_or(format!("{keys:?}"))
    })
    .await;
    for number in 0..20 {
        node.put("/api/keys/a", &format!("value {number}")).await;
    }
    wait_for("writes in the series", SOON, async || {
        let series = series(node, "range=20s").await;
        let sum = |name| -> f64 { points(&series, name).into_iter().flatten().sum() };
        let (writes, syncs) = (sum("writes_per_s"), sum("fsync_p99_ms"));
        let seen = format!("{writes} writes, {syncs} ms");
        (writes > 0.0 && syncs > 0.0).then_some(()).ok_or(seen)
    })
    .await;

    node.pause();
    let paused = Instant::now();
    let long = Duration::from_secs(3) + Duration::from_millis(500);
    wait_for("3 seconds", SOON, async || {
        let left = long.saturating_sub(paused.elapsed());
        left.is_zero().then_some(()).ok_or(format!("{left:?}"))
    })
    .await;
    node.resume();
    let series = wait_for("a sample after the pause", SOON, async || {
        let series = series(node, "range=60s").await;
        let keys = points(&series, "keys");
        let tail = keys.iter().rev().take(3).all(Option::is_some);
        tail.then_some(series).ok_or(format!("{keys:?}"))
    })
    .await;

    assert_shape(&series, 60, 1_000);
    let keys = points(&series, "keys");
    let first = keys.iter().position(Option::is_some).expect("a sample");
    let gap: Vec<_> = (first..60).filter(|at| keys[*at].is_none()).collect();
    // The first sample after the pause is of the second in which the pause ended.
    assert!((2..=5).contains(&gap.len()), "gap {gap:?} in {keys:?}");
    for name in series["series"].as_object().expect("series").keys() {
        let points = points(&series, name);
        assert!(gap.iter().all(|at| points[*at].is_none()), "{name}");
    }
    // Nobody knows when within the gap things happened.
    let after = gap.last().expect("a gap") + 1;
    assert_eq!(points(&series, "requests_per_s")[after], None);
    assert_eq!(keys[after], Some(1.0));
    let marks = series["marks"].as_array().expect("marks");
    let elected = |mark: &Value| {
        let text = mark["text"].as_str().unwrap_or_default();
        mark["kind"] == "leader"
            && text.starts_with("leader of term ")
            && text.ends_with(" is node0")
    };
    assert!(marks.iter().any(elected), "{marks:?}");
    let member = |mark: &Value| mark["kind"] == "member" && mark["text"] == "node0 is a voter";
    assert!(marks.iter().any(member), "{marks:?}");
}

#[tokio::test]
async fn range_and_step_are_what_was_asked_for_or_refused() {
    let cluster = Cluster::single().await;
    let node = &cluster[0];
    for (query, length, step_ms) in [
        ("", 900, 1_000),
        ("range=15m&step=1s", 900, 1_000),
        ("range=1s", 1, 1_000),
        ("range=90s&step=60s", 2, 60_000),
        ("range=15m&step=1m", 15, 60_000),
    ] {
        assert_shape(&series(node, query).await, length, step_ms);
    }
    for query in [
        "range=0s",
        "range=901s",
        "range=1500ms",
        "range=15",
        "range=",
        "range=1h",
        "range=2s&step=3s",
        "step=0s",
        "step=61s",
        "step=200ms",
        "step=-1s",
        "step=1s&step=1s",
    ] {
        let refused = node.get(&format!("/api/metrics/series?{query}")).await;
        assert_problem(&refused, 400, "invalid_argument");
    }
}
