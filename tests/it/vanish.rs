//! A lock client whose host vanishes without FIN or RST: the lock goes to the next one.
//!
//! Needs root and `ip`, and is skipped with a counted line where one is missing.

use std::time::{Duration, Instant};

use conclave_tests::faults::far_host::{self, FarHost};
use conclave_tests::load::feed::{Feed, FeedEvent};
use conclave_tests::said::{measured, skipped};
use conclave_tests::{Cluster, Node, Request, wait_for};
use serde_json::Value;
use tokio::net::TcpStream;

/// Longest time until the next one has the lock.
const LOST_WITHIN: Duration = Duration::from_secs(25);
/// Who loses its lock sooner has not lost it by silence: `TCP_USER_TIMEOUT` is 10 s.
const SILENCE: Duration = Duration::from_secs(5);
const GRANTED_WITHIN: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_lock_client_that_vanishes_loses_its_lock_to_the_next_one() {
    if let Some(what) = far_host::missing() {
        return skipped(&format!("a vanishing lock client needs {what}"));
    }
    let mut cluster = Cluster::builder().nodes(1).prepare().await;
    let port = cluster[0].ports().http;
    let listen = format!("0.0.0.0:{port}");
    cluster[0].add_args(["-hlisten", &listen]);
    cluster[0].start().await;
    let node = &cluster[0];
    let host = FarHost::create();

    let (holder, first) = claim(&host, port).await;
    assert_eq!(first, "granted");
    let (waiter, second) = claim(&host, port).await;
    assert_eq!(second, "not_granted");
    let token = lock(node).await["token"].as_u64();
    let mut next = node.client().with_timeout(2 * LOST_WITHIN);
    let wanted = r#"{"owner":"next","ttl_ms":60000,"wait_ms":40000}"#;
    let next = tokio::spawn(async move {
        let request = Request::post("/api/locks/vanishing", wanted);
        let granted = next.send(&request).await.expect("an answer");
        (granted, Instant::now())
    });
    wait_for("two who wait", GRANTED_WITHIN, async || {
        let lock = lock(node).await;
        match lock["next"].as_array().map(Vec::len) {
            Some(2) => Ok(()),
            _ => Err(lock.to_string()),
        }
    })
    .await;

    host.vanish();
    let vanished = Instant::now();
    let (granted, at) = next.await.expect("the one who waits does not panic");
    let took = at.duration_since(vanished);
    let granted = granted.expect_status(200).json();
    assert!(granted["token"].as_u64() > token, "{granted}");
    measured(&format!(
        "the lock of a client that vanished was granted to the next after {:.1} s",
        took.as_secs_f64()
    ));
    assert!(took <= LOST_WITHIN, "{took:?}");
    assert!(
        took >= SILENCE,
        "{took:?}: somebody has told the node that the client is gone"
    );
    let shown = lock(node).await;
    assert_eq!(shown["holder"]["owner"], "next", "{shown}");
    // Closed only now: what these say reaches nobody.
    drop((holder, waiter, host));
    cluster.assert_converged().await;
}

/// Claims a lock as Tansu's clients do, from the far host, and returns the first event's name.
async fn claim(host: &FarHost, port: u16) -> (Feed, String) {
    let stream = host.connect(port).expect("the node listens");
    stream.set_nonblocking(true).expect("a socket of ours");
    let stream = TcpStream::from_std(stream).expect("a socket of ours");
    let address = format!("{}:{port}", host.near_address());
    let feed = Feed::over(stream, &address, "/api/locks/vanishing").await;
    let mut feed = feed.expect("a stream");
    let mut first = None;
    while first.is_none() {
        let name = |event: FeedEvent<'_>| String::from_utf8_lossy(event.name).into_owned();
        let read = feed.read(|event| {
            first.get_or_insert(name(event));
        });
        assert!(read.await.expect("a stream"), "it ended without an event");
    }
    (feed, first.expect("an event"))
}

async fn lock(node: &Node) -> Value {
    let request = Request::get("/api/locks/vanishing").header("accept", "application/json");
    node.send(&request).await.expect_status(200).json()
}
