//! Listings: pages of one revision while writes go on, folders, streams of lines, counts.

use std::collections::BTreeSet;
use std::time::Duration;

use conclave_tests::http::assert_problem;
use conclave_tests::load::writers::Outcome;
use conclave_tests::{Cluster, Node, Request, Response, Writers};
use serde_json::Value;

/// Returns the keys of a page, in its order.
fn keys(page: &Response) -> Vec<String> {
    let body = page.json();
    let entries = body["keys"]
        .as_array()
        .unwrap_or_else(|| panic!("no `keys` in {page:?}"));
    let key = |entry: &Value| entry["key"].as_str().map(str::to_owned);
    entries
        .iter()
        .map(|entry| key(entry).unwrap_or_else(|| panic!("no key in {entry}")))
        .collect()
}

/// Returns the folders of a page with their counts.
fn folders(page: &Response) -> Vec<(String, u64)> {
    let body = page.json();
    let entries = body["folders"]
        .as_array()
        .unwrap_or_else(|| panic!("no `folders` in {page:?}"));
    let folder = |entry: &Value| {
        Some((
            entry["prefix"].as_str()?.to_owned(),
            entry["count"].as_u64()?,
        ))
    };
    entries
        .iter()
        .map(|entry| folder(entry).unwrap_or_else(|| panic!("{entry}")))
        .collect()
}

/// Returns the target that `Link: <…>; rel="next"` names.
fn next(page: &Response) -> Option<String> {
    let link = page.header("link")?;
    let (target, rel) = link
        .split_once(">;")
        .unwrap_or_else(|| panic!("link `{link}`"));
    assert_eq!(rel.trim(), r#"rel="next""#);
    Some(target.trim_start_matches('<').to_owned())
}

async fn fill(node: &Node, prefix: &str, count: usize) {
    let mut client = node.client();
    for first in (0..count).step_by(100) {
        let fields: Vec<_> = (first..count.min(first + 100))
            .map(|number| format!(r#""{prefix}{number:04}": "value {number}""#))
            .collect();
        let body = format!("{{{}}}", fields.join(","));
        let written = client
            .send(&Request::post("/key", body))
            .await
            .expect("an answer");
        written.expect_status(200);
    }
}

#[tokio::test]
async fn pages_show_one_revision_while_writes_go_on() {
    let cluster = Cluster::start().await;
    let node = &cluster[cluster.followers().await[0]];
    fill(node, "w/page/", 250).await;
    // They write below the same prefix.
    let writers = Writers::start(&cluster.addresses(), 4);
    writers.wait_acknowledged(20, Duration::from_secs(20)).await;

    let first = node
        .get("/api/keys?prefix=w/&limit=40&keys=true&level=consistent")
        .await;
    let revision = first.json()["revision"].clone();
    let mut seen = keys(&first.clone().expect_status(200));
    let mut page = first;
    while let Some(target) = next(&page) {
        writers.wait_acknowledged(5, Duration::from_secs(20)).await;
        page = node.get(&target).await.expect_status(200);
        assert_eq!(page.json()["revision"], revision, "{page:?}");
        let more = keys(&page);
        assert!(more.len() <= 40 && !more.is_empty(), "{page:?}");
        seen.extend(more);
    }
    let mut sorted = seen.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(seen, sorted, "ordered, and nothing twice");
    let filled: BTreeSet<_> = (0..250)
        .map(|number| format!("w/page/{number:04}"))
        .collect();
    let listed: BTreeSet<_> = seen.into_iter().collect();
    assert!(
        listed.is_superset(&filled),
        "missing: {:?}",
        filled.difference(&listed)
    );

    // Exactly what was there at that revision, judged by each key's own creation.
    let revision = revision.as_u64().expect("a revision");
    for attempt in writers.stop().await.attempts {
        if let Outcome::Acknowledged { revision: created } = attempt.outcome {
            assert_eq!(
                listed.contains(&attempt.key),
                created <= revision,
                "{attempt:?}"
            );
        }
    }
    cluster.assert_converged().await;
}

#[tokio::test]
async fn a_page_shows_records_or_keys_alone() {
    let cluster = Cluster::single().await;
    let node = &cluster[0];
    fill(node, "a/", 3).await;
    let page = node.get("/api/keys?prefix=a/").await.expect_status(200);
    let record = page.json()["keys"][1].clone();
    assert_eq!(record["key"], "a/0001", "{record}");
    assert_eq!(record["value"], "value 1", "{record}");
    assert_eq!(record["version"], 1, "{record}");
    assert!(record["mod_revision"].as_u64() > Some(0), "{record}");
    assert_eq!(next(&page), None);

    let page = node
        .get("/api/keys?prefix=a/&keys=true")
        .await
        .expect_status(200);
    assert_eq!(keys(&page), ["a/0000", "a/0001", "a/0002"]);
    assert!(page.json()["keys"][1]["value"].is_null(), "{page:?}");
    let page = node.get("/api/keys?prefix=none/").await.expect_status(200);
    assert_eq!(keys(&page), Vec::<String>::new());
}

#[tokio::test]
async fn start_and_limit_bound_a_page() {
    let cluster = Cluster::single().await;
    let node = &cluster[0];
    fill(node, "a/", 10).await;
    fill(node, "b/", 10).await;
    let page = node.get("/api/keys?prefix=a/&start=a/0004&limit=3").await;
    assert_eq!(keys(&page), ["a/0004", "a/0005", "a/0006"]);
    let page = node.get(&next(&page).expect("a next page")).await;
    assert_eq!(keys(&page), ["a/0007", "a/0008", "a/0009"]);
    assert_eq!(next(&page), None, "the prefix ends here");
    // Without a limit a page has one too.
    fill(node, "c/", 1_500).await;
    for (query, most) in [("", 1_000), ("&limit=1000", 1_000), ("&limit=1", 1)] {
        let page = node
            .get(&format!("/api/keys?prefix=c/&keys=true{query}"))
            .await;
        let count = keys(&page).len();
        assert!((1..=most).contains(&count), "{query}: {count}");
        assert!(next(&page).is_some(), "{query}");
    }
}

#[tokio::test]
async fn the_delimiter_groups_folders_and_counts_them() {
    let cluster = Cluster::single().await;
    let node = &cluster[0];
    fill(node, "tree/a/", 30).await;
    fill(node, "tree/b/deep/", 7).await;
    node.put("/api/keys/tree/b/x", "1").await.expect_status(201);
    node.put("/api/keys/tree/leaf", "1")
        .await
        .expect_status(201);
    node.put("/api/keys/treehouse", "1")
        .await
        .expect_status(201);

    let page = node
        .get("/api/keys?prefix=tree/&delimiter=/")
        .await
        .expect_status(200);
    assert_eq!(
        folders(&page),
        [("tree/a/".to_owned(), 30), ("tree/b/".to_owned(), 8)]
    );
    assert_eq!(keys(&page), ["tree/leaf"]);
    let page = node.get("/api/keys?delimiter=/").await.expect_status(200);
    assert_eq!(folders(&page), [("tree/".to_owned(), 39)]);
    assert_eq!(keys(&page), ["treehouse"]);

    // A folder is one entry of a page, however much is in it.
    let mut seen = Vec::new();
    let mut target = Some("/api/keys?prefix=tree/&delimiter=/&limit=1".to_owned());
    while let Some(page_target) = target {
        let page = node.get(&page_target).await.expect_status(200);
        seen.extend(folders(&page).into_iter().map(|(prefix, _)| prefix));
        seen.extend(keys(&page));
        target = next(&page);
    }
    assert_eq!(seen, ["tree/a/", "tree/b/", "tree/leaf"]);
}

#[tokio::test]
async fn children_are_the_key_and_what_is_directly_below() {
    let cluster = Cluster::single().await;
    let node = &cluster[0];
    for key in ["a", "a/b", "a/c/d", "ab"] {
        node.put(&format!("/api/keys/{key}"), key)
            .await
            .expect_status(201);
    }
    let page = node
        .get("/api/keys/a?children=true")
        .await
        .expect_status(200);
    assert_eq!(keys(&page), ["a/b"]);
    assert_eq!(folders(&page), [("a/c/".to_owned(), 1)]);
    assert!(
        page.text().contains(r#""value":"a""#),
        "the key itself: {page:?}"
    );
    node.get("/api/keys/none?children=true")
        .await
        .expect_status(404);
}

#[tokio::test]
async fn count_counts_the_prefix_and_not_the_page() {
    let cluster = Cluster::single().await;
    let node = &cluster[0];
    fill(node, "a/", 120).await;
    fill(node, "b/", 5).await;
    let page = node
        .get("/api/keys?prefix=a/&limit=10&count=true")
        .await
        .expect_status(200);
    assert_eq!(page.json()["count"], 120, "{page:?}");
    let page = node.get("/api/keys?count=true").await.expect_status(200);
    assert_eq!(page.json()["count"], 125, "{page:?}");
}

#[tokio::test]
async fn a_stream_of_lines_is_the_whole_prefix() {
    let cluster = Cluster::start().await;
    let node = &cluster[cluster.followers().await[0]];
    fill(node, "a/", 2_500).await;
    fill(node, "b/", 5).await;
    let request = Request::get("/api/keys?prefix=a/&level=consistent")
        .header("Accept", "application/x-ndjson");
    let stream = node.send(&request).await.expect_status(200);
    let content_type = stream.expect_header("content-type");
    assert!(
        content_type.starts_with("application/x-ndjson"),
        "{content_type}"
    );
    let text = stream.text();
    assert!(text.ends_with('\n'), "the last line is whole");
    for (number, line) in text.lines().enumerate() {
        let record: Value = serde_json::from_str(line).expect("one JSON text per line");
        assert_eq!(record["key"], format!("a/{number:04}"), "{line}");
        assert_eq!(record["value"], format!("value {number}"), "{line}");
    }
    assert_eq!(text.lines().count(), 2_500);
    cluster.assert_converged().await;
}

#[tokio::test]
async fn a_cursor_that_no_page_gave_is_an_error() {
    let cluster = Cluster::single().await;
    let node = &cluster[0];
    fill(node, "a/", 5).await;
    let long = "A".repeat(5_000);
    for cursor in ["", "x", "!!!", "AAAA", "%00", "%FF", "-1", long.as_str()] {
        let page = node
            .get(&format!("/api/keys?prefix=a/&cursor={cursor}"))
            .await;
        assert_problem(&page, 400, "invalid_argument");
    }
    for query in [
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=x",
        "keys=perhaps",
        "count=x",
    ] {
        let page = node.get(&format!("/api/keys?{query}")).await;
        assert_problem(&page, 400, "invalid_argument");
    }
}

#[tokio::test]
async fn a_cursor_of_a_node_that_is_gone_is_refused_and_not_misread() {
    let mut cluster = Cluster::single().await;
    fill(&cluster[0], "a/", 50).await;
    let page = cluster[0]
        .get("/api/keys?prefix=a/&limit=10")
        .await
        .expect_status(200);
    let target = next(&page).expect("a next page");
    cluster[0]
        .put("/api/keys/a/0010", "changed")
        .await
        .expect_status(200);
    cluster[0].kill();
    cluster[0].start().await;
    // The pin died with the process and the state has moved on: start again.
    assert_problem(&cluster[0].get(&target).await, 410, "cursor_expired");
}
