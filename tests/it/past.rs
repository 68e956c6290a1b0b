//! Older versions: values as they were, histories, restoring, and what is no longer kept.

use std::fs;

use conclave_tests::http::assert_problem;
use conclave_tests::{Cluster, Node, Request, wait_for};
use serde_json::Value;

async fn put(node: &Node, key: &str, value: &str) -> u64 {
    let answer = node.put(&format!("/api/keys/{key}"), value).await;
    assert!(matches!(answer.status, 200 | 201), "{answer:?}");
    answer.json()["revision"].as_u64().expect("a number")
}

async fn history(node: &Node, key: &str) -> Value {
    let target = format!("/api/keys/{key}?history=true&level=consistent");
    node.get(&target).await.expect_status(200).json()
}

async fn value_at(node: &Node, key: &str, revision: u64) -> Option<String> {
    let answer = node
        .get(&format!("/api/keys/{key}?revision={revision}"))
        .await;
    match answer.status {
        404 => None,
        _ => Some(answer.expect_status(200).text()),
    }
}

#[tokio::test]
async fn a_value_is_read_as_it_was_and_written_back_as_a_new_revision() {
    let cluster = Cluster::start().await;
    let before = put(&cluster[0], "other", "x").await;
    let first = put(&cluster[0], "k", "one").await;
    let second = put(&cluster[1], "k", "two").await;
    let deleted = cluster[2].delete("/api/keys/k").await.expect_status(200);
    let deleted = deleted.json()["revision"].as_u64().unwrap();
    let third = put(&cluster[1], "k", "three").await;
    for node in cluster.nodes() {
        assert_eq!(value_at(node, "k", before).await, None);
        assert_eq!(value_at(node, "k", first).await.as_deref(), Some("one"));
        assert_eq!(value_at(node, "k", second).await.as_deref(), Some("two"));
        assert_eq!(value_at(node, "k", deleted).await, None);
        assert_eq!(value_at(node, "k", third).await.as_deref(), Some("three"));
        let shown = node
            .get(&format!("/api/keys/k?revision={second}&format=json"))
            .await;
        let shown = shown.expect_status(200).json();
        assert_eq!(
            (&shown["value"], &shown["version"]),
            (&"two".into(), &2.into())
        );
    }
    let all = history(&cluster[2], "k").await;
    let found: Vec<_> = all["versions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| {
            (
                v["revision"].as_u64().unwrap(),
                v["change"].as_str().unwrap(),
            )
        })
        .collect();
    let wanted = [
        (third, "put"),
        (deleted, "delete"),
        (second, "put"),
        (first, "put"),
    ];
    assert_eq!(found, wanted);
    assert_eq!(all["complete"], true, "{all}");
    let page = cluster[0]
        .get("/api/keys/k?history=true&limit=1")
        .await
        .json();
    assert_eq!(
        (&page["more"], page["versions"].as_array().unwrap().len()),
        (&true.into(), 1)
    );
    let next = cluster[0]
        .get(&format!("/api/keys/k?history=true&before={third}&limit=1"))
        .await
        .json();
    assert_eq!(next["versions"][0]["revision"], deleted, "{next}");

    // Restoring makes a new revision, on its conditions.
    let stale = Request::post(&format!("/api/keys/k?restore={first}&cas={second}"), "");
    assert_problem(&cluster[1].send(&stale).await, 412, "precondition_failed");
    let restore = Request::post(&format!("/api/keys/k?restore={first}&cas={third}"), "");
    let restored = cluster[1].send(&restore).await.expect_status(200).json();
    assert!(restored["revision"].as_u64() > Some(third), "{restored}");
    assert_eq!(cluster[2].get("/api/keys/k?consistent").await.text(), "one");
    let gone = Request::post(&format!("/api/keys/k?restore={deleted}"), "");
    assert_problem(&cluster[0].send(&gone).await, 404, "key_not_found");
}

#[tokio::test]
async fn a_value_is_read_as_it_was_at_a_time() {
    let cluster = Cluster::start().await;
    put(&cluster[0], "k", "one").await;
    let after_one = wall_time(&cluster[0], "k").await;
    // The next write must be at a later millisecond.
    wait_for(
        "the clock to go on",
        std::time::Duration::from_secs(5),
        async || {
            let now = cluster[0].status_number("now_ms").await;
            (now > after_one + 20).then_some(()).ok_or(now.to_string())
        },
    )
    .await;
    put(&cluster[0], "k", "two").await;
    let after_two = wall_time(&cluster[0], "k").await;
    for node in cluster.nodes() {
        let at = async |ms: u64| {
            let answer = node
                .get(&format!("/api/keys/k?at={}&consistent", rfc3339(ms)))
                .await;
            (answer.status == 200).then(|| answer.text())
        };
        assert_eq!(at(after_one - 5_000).await, None);
        assert_eq!(at(after_one).await.as_deref(), Some("one"));
        assert_eq!(at(after_two - 1).await.as_deref(), Some("one"));
        assert_eq!(at(after_two).await.as_deref(), Some("two"));
        assert_eq!(at(after_two + 3_600_000).await.as_deref(), Some("two"));
    }
}

async fn wall_time(node: &Node, key: &str) -> u64 {
    history(node, key).await["versions"][0]["wall_time_ms"]
        .as_u64()
        .expect("a number")
}

/// Seconds of a day and days since 1970 as RFC 3339 writes them.
fn rfc3339(ms: u64) -> String {
    let (days, of_day) = (ms / 86_400_000, ms % 86_400_000);
    // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
    let z = days + 719_468;
    let era = z / 146_097;
    let of_era = z % 146_097;
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let mp = (5 * of_year + 2) / 153;
    let day = of_year - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    let (hour, minute) = (of_day / 3_600_000, of_day / 60_000 % 60);
    let seconds = (of_day % 60_000) as f64 / 1_000.0;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{seconds:06.3}Z")
}

#[tokio::test]
async fn history_survives_a_restart_and_a_kill() {
    let mut cluster = Cluster::single().await;
    let mut revisions = Vec::new();
    for i in 0..50 {
        revisions.push(put(&cluster[0], "k", &i.to_string()).await);
    }
    cluster[0].kill();
    cluster[0].start().await;
    revisions.push(put(&cluster[0], "k", "50").await);
    assert!(cluster[0].stop().await.success());
    cluster[0].start().await;
    for (i, revision) in revisions.iter().enumerate() {
        assert_eq!(
            value_at(&cluster[0], "k", *revision).await,
            Some(i.to_string())
        );
    }
    let all = history(&cluster[0], "k").await;
    assert_eq!(all["versions"].as_array().unwrap().len(), 51);
}

#[tokio::test]
async fn older_than_what_is_kept_is_410_with_what_is() {
    let args = ["-history-revisions", "200"];
    let cluster = Cluster::builder().nodes(1).args(&args).start().await;
    let node = &cluster[0];
    let first = put(node, "k", "old").await;
    put(node, "untouched", "old").await;
    for i in 0..2_000 {
        put(node, &format!("fill/{}", i % 10), &"x".repeat(500)).await;
    }
    put(node, "k", "new").await;
    let wanted = format!("/api/keys/k?revision={first}");
    let gone = wait_for(
        "old revisions to go",
        std::time::Duration::from_secs(30),
        async || {
            let answer = node.get(&wanted).await;
            if answer.status == 410 {
                Ok(answer)
            } else {
                Err(answer.status.to_string())
            }
        },
    )
    .await;
    assert_problem(&gone, 410, "revision_gone");
    let oldest = gone.json()["oldest"].as_u64().unwrap();
    assert!(oldest > first, "{}", gone.text());
    let restore = Request::post(&format!("/api/keys/k?restore={first}"), "");
    assert_problem(&node.send(&restore).await, 410, "revision_gone");
    let all = history(node, "k").await;
    assert_eq!(all["complete"], false, "{all}");
    assert_eq!(value_at(node, "k", oldest).await.as_deref(), Some("old"));
    // A key that exists is known, also when nothing of its past is kept.
    let untouched = history(node, "untouched").await;
    assert_eq!(untouched["versions"].as_array().unwrap().len(), 0);
    assert_eq!(untouched["complete"], false, "{untouched}");
    let never = node.get("/api/keys/never?history=true").await;
    assert_problem(&never, 404, "key_not_found");
}

#[tokio::test]
async fn a_damaged_history_is_set_aside_and_the_node_serves() {
    let mut cluster = Cluster::single().await;
    for i in 0..200 {
        put(&cluster[0], "k", &format!("{i}{}", "x".repeat(2_000))).await;
    }
    let snapshot = cluster[0].post("/api/cluster/snapshot", "").await;
    snapshot.expect_status(200);
    assert!(cluster[0].stop().await.success());
    let folder = cluster[0].data_dir().join("history");
    let db = folder.join("db");
    let length = fs::metadata(&db).unwrap().len();
    let mut bytes = fs::read(&db).unwrap();
    for at in (0..bytes.len()).step_by(97) {
        bytes[at] ^= 0x5a;
    }
    fs::write(&db, &bytes).unwrap();
    assert!(length > 0);
    cluster[0].start().await;
    let node = &cluster[0];
    let log = node.stderr();
    let lines: Vec<_> = log
        .lines()
        .filter(|line| line.contains("set aside"))
        .collect();
    assert_eq!(lines.len(), 1, "{log}");
    let value = node.get("/api/keys/k?consistent").await.text();
    assert!(value.starts_with("199x"), "the state is whole");
    let revision = put(node, "k", "after").await;
    assert_eq!(
        value_at(node, "k", revision).await.as_deref(),
        Some("after")
    );
    let oldest = node.status_number("oldest_revision").await;
    let all = history(node, "k").await;
    let kept = all["versions"].as_array().unwrap();
    assert!(
        kept.iter()
            .all(|v| v["revision"].as_u64().unwrap() >= oldest),
        "{oldest}"
    );
    // Once more: what is new is kept across a restart.
    assert!(cluster[0].stop().await.success());
    cluster[0].start().await;
    assert_eq!(
        value_at(&cluster[0], "k", revision).await.as_deref(),
        Some("after")
    );
}

#[tokio::test]
async fn bad_moments_are_refused() {
    let cluster = Cluster::single().await;
    let node = &cluster[0];
    put(node, "k", "v").await;
    for query in [
        "revision=x",
        "revision=-1",
        "at=yesterday",
        "at=2026-13-01T00:00:00Z",
        "revision=1&at=2026-01-01T00:00:00Z",
        "revision=1&children=true",
        "history=true&limit=0",
        "history=true&limit=1001",
        "history=true&before=x",
    ] {
        let answer = node.get(&format!("/api/keys/k?{query}")).await;
        assert_problem(&answer, 400, "invalid_argument");
    }
    let ahead = node.get("/api/keys/k?revision=999999&wait=10ms").await;
    assert_problem(&ahead, 503, "not_caught_up");
    let never = node.get("/api/keys/never?history=true").await;
    assert_problem(&never, 404, "key_not_found");
    let restore = Request::post("/api/keys/k?restore=x", "");
    assert_problem(&node.send(&restore).await, 400, "invalid_argument");
}
