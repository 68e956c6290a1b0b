//! Locks over HTTP without faults: who is granted when, what everybody is told, what is refused.

use std::time::{Duration, Instant};

use conclave_tests::http::assert_is_problem;
use conclave_tests::wait::before_retry;
use conclave_tests::{Client, Cluster, Node, Request, Response, wait_for};
use serde_json::{Value, json};

pub(crate) const SOON: Duration = Duration::from_secs(5);
/// What a claim may outlive its TTL by.
pub(crate) const LATE: Duration = Duration::from_secs(3);

fn claim(name: &str, owner: &str, ttl_ms: u64, wait_ms: u64) -> Request {
    let body = json!({"owner": owner, "ttl_ms": ttl_ms, "wait_ms": wait_ms});
    Request::post(&format!("/api/locks/{name}"), body.to_string())
}

pub(crate) fn again(name: &str, session: &str, wait_ms: u64) -> Request {
    let body = json!({"session": session, "owner": "o", "ttl_ms": 60_000, "wait_ms": wait_ms});
    Request::post(&format!("/api/locks/{name}"), body.to_string())
}

/// A claim that was granted.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    name: String,
    session: String,
    token: u64,
}

fn held(answer: &Response) -> Held {
    assert_eq!(answer.status, 200, "{answer:?}");
    let body = answer.json();
    let text = |field: &str| {
        let text = body[field].as_str().filter(|text| !text.is_empty());
        text.unwrap_or_else(|| panic!("no `{field}` in {answer:?}"))
            .to_owned()
    };
    assert!(body["ttl_ms"].is_u64(), "{answer:?}");
    Held {
        name: text("name"),
        session: text("session"),
        token: body["token"]
            .as_u64()
            .unwrap_or_else(|| panic!("no token in {answer:?}")),
    }
}

/// Returns what a claim that was not granted is told of the lock.
fn told(answer: &Response) -> Value {
    assert_eq!(answer.status, 423, "{answer:?}");
    assert_is_problem(answer);
    let lock = answer.json()["lock"].clone();
    assert!(lock.is_object(), "{answer:?}");
    lock
}

async fn take(node: &Node, name: &str, owner: &str) -> Held {
    held(&node.send(&claim(name, owner, 60_000, 0)).await)
}

/// Joins the queue and gives up at once; the place stays for the TTL. Returns the session.
pub(crate) async fn queue(node: &Node, name: &str, owner: &str, position: u64) -> String {
    let body = told(&node.send(&claim(name, owner, 60_000, 1)).await);
    assert_eq!(body["position"], position, "{body}");
    let session = body["session"].as_str();
    session
        .unwrap_or_else(|| panic!("no session in {body}"))
        .to_owned()
}

async fn release(node: &Node, held: &Held) -> Response {
    let Held {
        name,
        session,
        token,
    } = held;
    node.delete(&format!(
        "/api/locks/{name}?session={session}&token={token}"
    ))
    .await
}

/// Returns what a lock's page says, whoever asks.
pub(crate) async fn page(node: &Node, name: &str) -> Response {
    let request = Request::get(&format!("/api/locks/{name}?level=consistent"));
    node.send(&request.header("Accept", "application/json"))
        .await
}

pub(crate) async fn is_free(node: &Node, name: &str) -> bool {
    let body = page(node, name).await.expect_status(200).json();
    assert!(body.get("holder").is_some(), "{body}");
    body["holder"].is_null()
}

/// Returns the owners that wait for a lock, in order.
pub(crate) async fn waiting(node: &Node, name: &str) -> Vec<String> {
    let body = page(node, name).await.expect_status(200).json();
    let next = body["next"]
        .as_array()
        .unwrap_or_else(|| panic!("no `next` in {body}"));
    let owner = |claim: &Value| claim["owner"].as_str().unwrap_or_default().to_owned();
    next.iter().map(owner).collect()
}

#[tokio::test]
async fn a_lock_is_granted_once_with_the_revision_of_the_grant_as_token() {
    let cluster = Cluster::start().await;
    let first = take(&cluster[0], "l", "one").await;
    assert_eq!(first.name, "l");
    let revision = cluster[0].put("/api/keys/k", "x").await.json()["revision"].clone();
    assert!(
        revision.as_u64() > Some(first.token),
        "{revision} {first:?}"
    );
    for node in cluster.nodes() {
        let body = page(node, "l").await.expect_status(200).json();
        assert_eq!(body["token"], first.token, "{body}");
        assert_eq!(body["holder"]["owner"], "one", "{body}");
        assert_eq!(body["holder"]["session"], first.session.as_str(), "{body}");
        assert_eq!(body["holder"]["node"], cluster[0].name(), "{body}");
    }
    release(&cluster[1], &first).await.expect_status(200);
    let second = take(&cluster[2], "l", "two").await;
    assert!(second.token > first.token, "{second:?} after {first:?}");
    assert_ne!(second.session, first.session);
    // Of another lock as well.
    assert!(take(&cluster[1], "m", "two").await.token > second.token);
    cluster.assert_converged().await;
}

#[tokio::test]
async fn who_does_not_wait_is_told_the_holder_and_leaves_no_trace() {
    let cluster = Cluster::start().await;
    take(&cluster[0], "l", "one").await;
    for node in cluster.nodes() {
        let began = Instant::now();
        let answer = node.send(&claim("l", "two", 60_000, 0)).await;
        assert!(
            began.elapsed() < Duration::from_secs(2),
            "{:?}",
            began.elapsed()
        );
        let body = told(&answer);
        assert_eq!(body["holder"]["owner"], "one", "{body}");
        assert_eq!(body["position"], 1, "{body}");
        assert!(body["session"].is_null(), "{body}");
    }
    assert_eq!(waiting(&cluster[0], "l").await, Vec::<String>::new());
}

#[tokio::test]
async fn the_queue_is_first_come_first_served_over_all_nodes() {
    const WAITERS: usize = 6;
    let cluster = Cluster::start().await;
    let mut holder = take(&cluster[0], "l", "holder").await;
    let mut tasks = Vec::new();
    for number in 0..WAITERS {
        let mut client = cluster[number % 3].client();
        let request = claim("l", &format!("w{number}"), 60_000, 30_000);
        tasks.push(tokio::spawn(async move { client.send(&request).await }));
        // The next one comes when this one is in the queue.
        wait_for("a waiter in the queue", SOON, async || {
            let waiting = waiting(&cluster[1], "l").await;
            if waiting.len() == number + 1 {
                Ok(())
            } else {
                Err(format!("{waiting:?}"))
            }
        })
        .await;
    }
    let owners: Vec<_> = (0..WAITERS).map(|number| format!("w{number}")).collect();
    assert_eq!(waiting(&cluster[2], "l").await, owners);
    for (number, task) in tasks.into_iter().enumerate() {
        assert!(!task.is_finished(), "w{number} has the lock too early");
        release(&cluster[2], &holder).await.expect_status(200);
        let answer = task.await.expect("no panic").expect("an answer");
        let next = held(&answer);
        assert!(next.token > holder.token, "{next:?} after {holder:?}");
        let owner = page(&cluster[0], "l").await.json()["holder"]["owner"].clone();
        assert_eq!(owner, owners[number].as_str());
        holder = next;
    }
}

#[tokio::test]
async fn a_session_keeps_its_place_and_the_holder_its_token() {
    let cluster = Cluster::start().await;
    let holder = take(&cluster[0], "l", "holder").await;
    let first = queue(&cluster[1], "l", "first", 1).await;
    let second = queue(&cluster[2], "l", "second", 2).await;
    for node in cluster.nodes() {
        let body = told(&node.send(&again("l", &first, 0)).await);
        assert_eq!(body["position"], 1, "{body}");
        assert_eq!(body["session"], first.as_str(), "{body}");
        assert_eq!(
            held(&node.send(&again("l", &holder.session, 0)).await),
            holder
        );
    }
    release(&cluster[1], &holder).await.expect_status(200);
    let body = told(&cluster[0].send(&again("l", &second, 0)).await);
    assert_eq!(body["position"], 1, "{body}");
    let granted = held(&cluster[2].send(&again("l", &first, 0)).await);
    assert_eq!(granted.session, first);
    // A session that has nothing any more does not get a new place by itself.
    let gone = cluster[0].send(&again("l", &holder.session, 0)).await;
    assert_eq!(gone.status, 409, "{gone:?}");
    assert_eq!(gone.json()["token"], granted.token, "{gone:?}");
}

#[tokio::test]
async fn a_claim_lives_as_long_as_it_is_renewed_and_then_ends_in_time() {
    const TTL: Duration = Duration::from_secs(1);
    let cluster = Cluster::start().await;
    let holder = held(&cluster[0].send(&claim("l", "one", 1_000, 0)).await);
    let began = Instant::now();
    let mut renewed = began;
    while began.elapsed() < 3 * TTL {
        renewed = Instant::now();
        let body = json!({"session": holder.session}).to_string();
        let answer = cluster[1]
            .post("/api/locks/l/renew", &body)
            .await
            .expect_status(200);
        assert!(
            (1..=1_000).contains(&answer.json()["ttl_ms"].as_u64().unwrap_or(0)),
            "{answer:?}"
        );
        before_retry().await;
    }
    let next = held(&cluster[2].send(&claim("l", "two", 60_000, 10_000)).await);
    let took = renewed.elapsed();
    assert!(took >= TTL && took <= TTL + LATE, "granted after {took:?}");
    assert!(next.token > holder.token);

    let body = json!({"session": holder.session}).to_string();
    let lost = cluster[0]
        .post("/api/locks/l/renew", &body)
        .await
        .expect_status(409);
    assert_is_problem(&lost);
    assert_eq!(lost.json()["token"], next.token, "{lost:?}");
}

#[tokio::test]
async fn a_waiter_that_does_not_come_back_loses_its_place() {
    let cluster = Cluster::single().await;
    let node = &cluster[0];
    let holder = take(node, "l", "holder").await;
    node.send(&claim("l", "gone", 500, 1))
        .await
        .expect_status(423);
    queue(node, "l", "there", 2).await;
    wait_for(
        "only one waits",
        Duration::from_millis(500) + LATE,
        async || {
            let waiting = waiting(node, "l").await;
            if waiting == ["there"] {
                Ok(())
            } else {
                Err(format!("{waiting:?}"))
            }
        },
    )
    .await;
    release(node, &holder).await.expect_status(200);
    assert_eq!(page(node, "l").await.json()["holder"]["owner"], "there");
}

#[tokio::test]
async fn only_the_holder_releases_unless_somebody_forces_it() {
    let cluster = Cluster::start().await;
    let node = &cluster[0];
    let old = take(node, "l", "old").await;
    release(node, &old).await.expect_status(200);
    let new = take(node, "l", "new").await;
    for wrong in [
        old.clone(),
        Held {
            token: new.token + 1,
            ..new.clone()
        },
        Held {
            token: old.token,
            ..new.clone()
        },
        Held {
            session: old.session.clone(),
            ..new.clone()
        },
    ] {
        let answer = release(&cluster[1], &wrong).await.expect_status(409);
        assert_is_problem(&answer);
    }
    assert_eq!(page(&cluster[2], "l").await.json()["token"], new.token);
    let waiter = queue(node, "l", "waiter", 1).await;
    cluster[1]
        .delete("/api/locks/l?force=true")
        .await
        .expect_status(200);
    let body = page(&cluster[2], "l").await.json();
    assert_eq!(body["holder"]["session"], waiter.as_str(), "{body}");
    release(node, &new).await.expect_status(409);
    // A waiter leaves the queue by its session.
    let second = queue(node, "l", "second", 1).await;
    node.delete(&format!("/api/locks/l?session={second}"))
        .await
        .expect_status(200);
    assert_eq!(waiting(node, "l").await, Vec::<String>::new());
}

#[tokio::test]
async fn locks_are_listed_by_prefix_with_those_who_wait() {
    let cluster = Cluster::start().await;
    for name in ["b", "a%2F2", "a%2F1"] {
        take(&cluster[0], name, name).await;
    }
    queue(&cluster[1], "a%2F1", "w1", 1).await;
    queue(&cluster[2], "a%2F1", "w2", 2).await;
    for node in cluster.nodes() {
        let listed = node
            .get("/api/locks?prefix=a/&level=consistent")
            .await
            .expect_status(200);
        let body = listed.json();
        let locks = body["locks"]
            .as_array()
            .unwrap_or_else(|| panic!("no `locks` in {body}"));
        let names: Vec<_> = locks.iter().map(|lock| lock["name"].clone()).collect();
        assert_eq!(names, ["a/1", "a/2"], "{body}");
        let next = locks[0]["next"]
            .as_array()
            .unwrap_or_else(|| panic!("{body}"));
        let owners: Vec<_> = next.iter().map(|claim| claim["owner"].clone()).collect();
        assert_eq!(owners, ["w1", "w2"], "{body}");
    }
    let all = cluster[0].get("/api/locks?level=consistent").await.json();
    assert_eq!(all["locks"].as_array().map(Vec::len), Some(3), "{all}");
    assert!(is_free(&cluster[0], "free").await);
}

#[tokio::test]
async fn names_and_times_have_their_limits() {
    let cluster = Cluster::single().await;
    let node = &cluster[0];
    let bad = async |request: Request| {
        let answer = node.send(&request).await;
        assert_eq!(answer.status, 400, "{request}: {answer:?}");
        assert_is_problem(&answer);
    };
    let longest = "n".repeat(256);
    assert_eq!(take(node, &longest, "o").await.name, longest);
    bad(claim(&"n".repeat(257), "o", 60_000, 0)).await;
    assert_eq!(take(node, "a%2Fb", "o").await.name, "a/b");
    let named = Request::post("/api/locks?name=c/d", claim("", "o", 60_000, 0).body);
    assert_eq!(held(&node.send(&named).await).name, "c/d");
    bad(Request::post("/api/locks?name=", named.body)).await;
    for ttl_ms in [500, 3_600_000] {
        held(
            &node
                .send(&claim(&format!("t{ttl_ms}"), "o", ttl_ms, 0))
                .await,
        );
    }
    for ttl_ms in [0, 499, 3_600_001, u64::MAX] {
        bad(claim("t", "o", ttl_ms, 0)).await;
    }
    for body in [
        "{",
        "[]",
        r#"{"owner":"o","ttl_ms":-1,"wait_ms":0}"#,
        r#"{"owner":"o","ttl_ms":"soon","wait_ms":0}"#,
        r#"{"owner":"o","ttl_ms":1000,"wait_ms":-1}"#,
        r#"{"owner":7,"ttl_ms":1000,"wait_ms":0}"#,
        r#"{"owner":"o","session":"nonsense","ttl_ms":1000,"wait_ms":0}"#,
    ] {
        bad(Request::post("/api/locks/t", body)).await;
    }
    assert!(is_free(node, "t").await, "a bad claim was granted");
}

#[tokio::test]
async fn a_write_under_a_lock_is_applied_only_while_it_is_held_under_that_token() {
    let cluster = Cluster::start().await;
    let guarded = async |method: &str, target: &str, token: u64| {
        let fence = format!("l;token={token}");
        let body: &[u8] = if target == "/key" {
            br#"{"k":"x"}"#
        } else {
            b"x"
        };
        let body = if method == "DELETE" { &[][..] } else { body };
        let request = Request::new(method, target)
            .body(body)
            .header("Conclave-Lock", &fence);
        cluster[1].send(&request).await
    };
    let old = take(&cluster[0], "l", "old").await;
    let every = [
        ("PUT", "/api/keys/k"),
        ("POST", "/key"),
        ("DELETE", "/api/keys/k"),
        ("PUT", "/k"),
    ];
    for (method, target) in every {
        let answer = guarded(method, target, old.token).await;
        assert!(
            matches!(answer.status, 200 | 201),
            "{method} {target}: {answer:?}"
        );
    }
    let before = cluster[0]
        .get("/api/keys/k?level=consistent")
        .await
        .expect_header("etag")
        .to_owned();
    release(&cluster[0], &old).await.expect_status(200);
    for (method, target) in every {
        let answer = guarded(method, target, old.token).await.expect_status(423);
        assert_is_problem(&answer);
    }
    let new = take(&cluster[2], "l", "new").await;
    for (method, target) in every {
        let answer = guarded(method, target, old.token).await.expect_status(412);
        assert_is_problem(&answer);
        let ahead = guarded(method, target, new.token + 1).await;
        assert!(matches!(ahead.status, 412 | 423), "{ahead:?}");
    }
    let now = cluster[0].get("/api/keys/k?level=consistent").await;
    assert_eq!(now.expect_header("etag"), before);
    for fence in ["l", "l;token=", "l;token=x", ";token=1", "l;tok=1"] {
        let request = Request::put("/api/keys/k", "x").header("Conclave-Lock", fence);
        cluster[0].send(&request).await.expect_status(400);
    }
}

#[tokio::test]
async fn a_lock_outlives_its_leader_and_its_token_stays() {
    let mut cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let follower = cluster.followers().await[0];
    let holder = take(&cluster[follower], "l", "holder").await;
    let waiter = queue(&cluster[follower], "l", "waiter", 1).await;
    cluster[leader].kill();
    cluster.leader().await;
    let node = &cluster[follower];
    assert_eq!(
        held(&node.send(&again("l", &holder.session, 0)).await),
        holder
    );
    release(node, &holder).await.expect_status(200);
    let next = held(&node.send(&again("l", &waiter, 0)).await);
    assert!(next.token > holder.token);
}

#[tokio::test]
async fn a_client_that_ends_without_a_word_is_passed_over_after_its_time() {
    const TTL: Duration = Duration::from_secs(2);
    let cluster = Cluster::start().await;
    let mut client = Client::new(cluster[0].http_address());
    let asked = Instant::now();
    let first = client.send(&claim("l", "ends", 2_000, 0)).await;
    let answered = Instant::now();
    let first = held(&first.expect("an answer"));
    drop(client);
    let next = held(&cluster[1].send(&claim("l", "next", 60_000, 10_000)).await);
    assert!(next.token > first.token);
    assert!(asked.elapsed() >= TTL, "too early: {:?}", asked.elapsed());
    assert!(
        answered.elapsed() <= TTL + LATE,
        "too late: {:?}",
        answered.elapsed()
    );
}
