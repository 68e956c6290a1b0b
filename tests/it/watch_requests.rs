//! Requests for change streams: how they are answered, and what is refused.

use std::time::{Duration, Instant};

use conclave_tests::http::assert_problem;
use conclave_tests::sse::{EventStream, Next, Opened, Subscription};
use conclave_tests::{Client, Cluster, Node, Request, Response, wait_for};

use crate::watch::{IDLE, SOON, open, put};

async fn refused(node: &Node, request: &Request) -> Response {
    match EventStream::open(&node.http_address(), request).await {
        Ok(Opened::Refused(response)) => response,
        other => panic!("{request}: {other:?}"),
    }
}

#[tokio::test]
async fn a_stream_begins_at_once_with_hello() {
    let cluster = Cluster::start().await;
    let newest = put(&cluster[0], "a/1", "x").await;
    cluster.wait_applied(newest).await;
    for node in cluster.nodes() {
        let request = Subscription::all()
            .request()
            .header("Accept-Encoding", "gzip, br");
        let mut stream = open(node, &request).await;
        let head = stream.head().clone();
        let kind = head.expect_header("content-type");
        assert!(kind.starts_with("text/event-stream"), "{head:?}");
        let cache = head.expect_header("cache-control").to_owned();
        assert!(
            cache.contains("no-store") && cache.contains("no-transform"),
            "{head:?}"
        );
        assert_eq!(head.expect_header("x-accel-buffering"), "no");
        assert_eq!(head.header("content-encoding"), None);
        let Next::Event(hello) = stream.next(Duration::from_secs(1)).await else {
            panic!("nothing at once from {}", node.name());
        };
        let body = hello.json();
        assert_eq!(
            (hello.name.as_str(), &hello.id),
            ("hello", &None),
            "{hello:?}"
        );
        assert_eq!(body["node"], node.name(), "{hello:?}");
        assert!(body["term"].as_u64() > Some(0), "{hello:?}");
        assert!(body["revision"].as_u64() >= Some(newest), "{hello:?}");
        assert!(body["oldest"].is_u64(), "{hello:?}");
    }
}

#[tokio::test]
async fn heartbeats_come_only_to_those_who_want_them() {
    let cluster = Cluster::single().await;
    let mut request = Subscription::all().request();
    request.target.push_str("?heartbeat=true");
    let mut stream = open(&cluster[0], &request).await;
    for _ in 0..2 {
        let beat = stream.expect("hb", SOON).await;
        assert_eq!(beat.id, None, "{beat:?}");
        assert!(beat.json().is_object(), "{beat:?}");
    }
    let mut plain = open(&cluster[0], &Subscription::all().request()).await;
    let events = plain
        .expect_until("progress", IDLE, |event| event.name == "progress")
        .await;
    assert!(events.iter().all(|event| event.name != "hb"), "{events:?}");
}

/// Members are asked beside the stream, for as many heartbeats as it lasts.
#[tokio::test]
async fn heartbeats_come_at_the_pace_that_was_asked_for_also_while_a_member_is_down() {
    let mut cluster = Cluster::start().await;
    cluster[2].kill();
    let mut request = Subscription::all().request();
    request.target.push_str("?heartbeat=500ms&values=false");
    let mut stream = open(&cluster[0], &request).await;
    let begin = Instant::now();
    for _ in 0..6 {
        stream
            .expect_until("hb", SOON, |event| event.name == "hb")
            .await;
    }
    // At the usual pace the sixth would come after 10 s.
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(9), "{took:?}");
}

#[tokio::test]
async fn bad_parameters_are_refused() {
    let cluster = Cluster::single().await;
    let many = "prefix=a&".repeat(200);
    for query in [
        "since=abc",
        "since=-1",
        "since=",
        "since=99999999999999999999",
        "since=1.5",
        "types=put,surprise",
        "types=PUT",
        "values=perhaps",
        "heartbeat=perhaps",
        "heartbeat=499ms",
        "heartbeat=61s",
        "on_compacted=ignore",
        many.as_str(),
    ] {
        let request = Request::get(&format!("/api/events?{query}"));
        let answer = refused(&cluster[0], &request).await;
        assert_problem(&answer, 400, "invalid_argument");
    }
    for id in ["abc", "-1", "99999999999999999999"] {
        let answer = refused(&cluster[0], &Subscription::all().after(id)).await;
        assert_problem(&answer, 400, "invalid_argument");
    }
}

#[tokio::test]
async fn other_methods_open_no_stream() {
    let cluster = Cluster::single().await;
    for method in ["PUT", "POST", "DELETE", "PATCH"] {
        let answer = cluster[0].send(&Request::new(method, "/api/events")).await;
        assert_eq!(answer.status, 405, "{answer:?}");
        let allow = answer.expect_header("allow");
        assert!(allow.contains("GET"), "{answer:?}");
    }
    let mut client = Client::new(cluster[0].http_address()).with_timeout(SOON);
    let head = client.send(&Request::new("HEAD", "/api/events")).await;
    let head = head.expect("an answer").expect_status(200);
    assert!(
        head.expect_header("content-type")
            .starts_with("text/event-stream")
    );
    // Nothing follows it: the connection serves the next request.
    let next = client.send(&Request::get("/livez")).await;
    next.expect("an answer").expect_status(200);
    assert_eq!(cluster[0].status_number("watchers").await, 0);
}

#[tokio::test]
async fn a_watcher_that_leaves_is_forgotten() {
    let cluster = Cluster::single().await;
    let node = &cluster[0];
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(open(node, &Subscription::all().request()).await);
    }
    assert_eq!(node.status_number("watchers").await, 20);
    streams.truncate(3);
    wait_for("three watchers are left", IDLE, async || {
        match node.status_number("watchers").await {
            3 => Ok(()),
            watchers => Err(watchers.to_string()),
        }
    })
    .await;
}
