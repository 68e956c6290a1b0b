//! Locks whose claim is an open connection: who takes one, what it is told, and how it ends.

use std::time::{Duration, Instant};

use conclave_tests::sse::{EventStream, Next, Opened};
use conclave_tests::{Cluster, Node, Request, wait_for};

use crate::locks::{LATE, SOON, again, is_free, page, queue, waiting};

/// The TTL of an open connection's claim.
const CONNECTION_TTL: Duration = Duration::from_secs(10);

fn connection(name: &str) -> Request {
    Request::get(&format!("/api/locks/{name}")).header("Accept", "text/event-stream")
}

async fn connect(node: &Node, request: &Request) -> EventStream {
    EventStream::expect_open(&node.http_address(), request).await
}

#[tokio::test]
async fn an_open_connection_is_a_claim_and_its_end_passes_the_lock_on() {
    let cluster = Cluster::start().await;
    let mut first = connect(&cluster[0], &connection("abc")).await;
    let granted = first.expect("granted", SOON).await.json();
    assert!(
        granted["token"].is_u64() && granted["session"].is_string(),
        "{granted}"
    );
    let mut others = Vec::new();
    for position in 1..3_usize {
        let mut other = connect(&cluster[position], &connection("abc")).await;
        let told = other.expect("not_granted", SOON).await.json();
        assert_eq!(told["position"], position, "{told}");
        assert!(
            !told["locked_by"].is_null() && told["session"].is_string(),
            "{told}"
        );
        others.push(other);
    }
    // A claim of the other kind waits in the same queue, behind them.
    let fourth = queue(&cluster[0], "abc", "fourth", 3).await;
    let mut token = granted["token"].as_u64();
    drop(first);
    for mut other in others {
        let began = Instant::now();
        let granted = other.expect("granted", SOON).await.json();
        assert!(
            began.elapsed() < Duration::from_secs(2),
            "{:?}",
            began.elapsed()
        );
        assert!(
            granted["token"].as_u64() > token,
            "{granted} after {token:?}"
        );
        token = granted["token"].as_u64();
    }
    wait_for("the last is granted", SOON, async || {
        let answer = cluster[1].send(&again("abc", &fourth, 0)).await;
        if answer.status == 200 {
            Ok(())
        } else {
            Err(format!("{answer:?}"))
        }
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_leaves_the_queue_is_passed_over() {
    let cluster = Cluster::start().await;
    let mut holder = connect(&cluster[0], &connection("l")).await;
    holder.expect("granted", SOON).await;
    let mut leaves = connect(&cluster[1], &connection("l")).await;
    leaves.expect("not_granted", SOON).await;
    let mut stays = connect(&cluster[2], &connection("l")).await;
    stays.expect("not_granted", SOON).await;
    drop(leaves);
    wait_for("one waits", SOON, async || {
        match waiting(&cluster[0], "l").await.len() {
            1 => Ok(()),
            more => Err(more.to_string()),
        }
    })
    .await;
    drop(holder);
    stays.expect("granted", SOON).await;
}

#[tokio::test]
async fn a_connection_is_kept_alive_and_told_when_its_claim_is_gone() {
    let cluster = Cluster::start().await;
    let mut holder = connect(&cluster[0], &connection("l")).await;
    let granted = holder.expect("granted", SOON).await.json();
    let mut waiter = connect(&cluster[1], &connection("l")).await;
    waiter.expect("not_granted", SOON).await;
    // Longer than the TTL: it is renewed.
    for _ in 0..3 {
        for stream in [&mut holder, &mut waiter] {
            let ping = stream.expect("ping", Duration::from_secs(7)).await;
            assert!(!ping.data.is_empty(), "{ping:?}");
        }
    }
    assert_eq!(
        page(&cluster[2], "l").await.json()["token"],
        granted["token"]
    );
    cluster[2]
        .delete("/api/locks/l?force=true")
        .await
        .expect_status(200);
    holder.expect("lost", SOON).await;
    waiter.expect("granted", SOON).await;
}

#[tokio::test]
async fn only_who_asks_for_a_stream_takes_the_lock() {
    let cluster = Cluster::single().await;
    let node = &cluster[0];
    let plain = Request::get("/api/locks/l");
    let with = |name: &str, value: &str| plain.clone().header(name, value);
    for request in [
        Request::new("HEAD", "/api/locks/l"),
        Request::new("HEAD", "/api/locks/l").header("Accept", "text/event-stream"),
        with("Accept", "application/json"),
        with("Accept", "*/*").header("Sec-Fetch-Mode", "navigate"),
        with("Accept", "*/*").header("Sec-Fetch-Site", "none"),
        with("Accept", "*/*").header("Sec-Purpose", "prefetch"),
        with("Accept", "text/html,application/xhtml+xml,*/*;q=0.8"),
        plain.clone().header("Sec-Fetch-Dest", "document"),
        with("Accept", "text/event-stream").header("Sec-Fetch-Site", "cross-site"),
        with("Accept", "text/event-stream").header("Origin", "http://elsewhere.example"),
    ] {
        match EventStream::open(&node.http_address(), &request).await {
            Ok(Opened::Refused(response)) => {
                let status = response.status;
                let foreign = request
                    .headers
                    .iter()
                    .any(|(_, value)| value == "cross-site" || value.starts_with("http"));
                assert_eq!(status == 403, foreign, "{request:?}: {response:?}");
            }
            other => panic!("{request:?}: {other:?}"),
        }
        assert!(is_free(node, "l").await, "{request:?} took it");
    }
    for request in [
        plain.clone(),
        with("Accept", "*/*"),
        with("Accept", "text/event-stream"),
        with("Accept", "application/json, text/event-stream"),
        with("Accept", "text/event-stream").header("Sec-Fetch-Site", "same-origin"),
    ] {
        let mut stream = connect(node, &request).await;
        stream.expect("granted", SOON).await;
        drop(stream);
        wait_for("the lock is free", SOON, async || {
            if is_free(node, "l").await {
                Ok(())
            } else {
                Err("it is held".to_owned())
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_connection_whose_node_is_killed_loses_its_lock_in_time() {
    let mut cluster = Cluster::start().await;
    let node = cluster.followers().await[0];
    let other = (0..3).find(|index| *index != node).expect("another");
    let mut holder = connect(&cluster[node], &connection("l")).await;
    holder.expect("granted", SOON).await;
    let mut waiter = connect(&cluster[other], &connection("l")).await;
    waiter.expect("not_granted", SOON).await;
    let killed = Instant::now();
    cluster[node].kill();
    assert!(matches!(
        holder.next(SOON).await,
        Next::Event(_) | Next::End(_)
    ));
    waiter.expect("granted", CONNECTION_TTL + LATE).await;
    let took = killed.elapsed();
    assert!(took <= CONNECTION_TTL + LATE, "{took:?}");
}
