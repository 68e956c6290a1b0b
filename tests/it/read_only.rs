//! A node that takes no changes from its clients, and is a member like any other.

use std::time::Duration;

use conclave_tests::cluster::RECOVERED_WITHIN;
use conclave_tests::http::assert_problem;
use conclave_tests::{Cluster, Node, Request, wait_for};
use serde_json::Value;

/// Longest time until a member that was asked to leads.
const LEADS_WITHIN: Duration = Duration::from_secs(20);

/// Every route that changes something, of every dialect.
fn changes() -> Vec<Request> {
    let member = r#"{"name":"n","http":"localhost:1","raft":"localhost:2"}"#;
    vec![
        Request::put("/api/keys/a", "2"),
        Request::post("/api/keys/a", "2"),
        Request::delete("/api/keys/a"),
        Request::delete("/api/keys/a?recursive=true"),
        Request::post(
            "/api/txn",
            r#"{"then":[{"op":"put","key":"a","value":"2"}]}"#,
        ),
        Request::post("/api/locks/l", r#"{"owner":"o"}"#),
        Request::post("/api/locks/l/renew", r#"{"session":"7"}"#),
        Request::delete("/api/locks/l?session=7"),
        Request::get("/api/locks/l").header("Accept", "text/event-stream"),
        Request::delete("/api/requests/r-1"),
        Request::post("/api/cluster/members", member),
        Request::delete("/api/cluster/members/node0"),
        Request::post("/api/cluster/members/node0/promote", ""),
        Request::post("/api/cluster/transfer", ""),
        Request::post("/key", r#"{"a":"2"}"#),
        Request::delete("/key/a"),
        Request::post("/join", r#"{"id":"n","addr":"localhost:2"}"#),
        Request::put("/a", "2"),
    ]
}

async fn assert_takes_no_changes(node: &Node) {
    for change in changes() {
        let answer = node.send(&change).await;
        assert_problem(&answer, 403, "read_only");
        let problem = answer.json();
        assert_eq!(problem["applied"], "no");
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(detail.contains("-read-only"), "{detail}");
    }
    // YzmaDB's own frame.
    for (target, body) in [
        ("/cluster/leave", ""),
        ("/cluster/join", r#"{"Peers":["localhost:1"]}"#),
    ] {
        let answer = node.post(target, body).await.expect_status(403);
        assert!(answer.text().contains("-read-only"), "{answer:?}");
    }
}

async fn assert_serves_reads(node: &Node) {
    // After a `consistent` read this node has it for `stale` too.
    for level in ["consistent", "default", "stale"] {
        let read = node.get(&format!("/api/keys/a?level={level}")).await;
        assert_eq!(read.expect_status(200).text(), "1");
    }
    for target in ["/api/keys?prefix=", "/api/locks", "/api/requests/r-1", "/a"] {
        node.get(target).await.expect_status(200);
    }
    // What only says what would be.
    let dry = node
        .delete("/api/cluster/members/node0?dry_run=true")
        .await
        .expect_status(200);
    assert_eq!(dry.json()["done"], false);
    let txn = r#"{"then":[{"op":"put","key":"a","value":"2"}]}"#;
    node.post("/api/txn?dry_run=true", txn)
        .await
        .expect_status(200);
}

fn shown(view: &Value, name: &str) -> Value {
    let members = view["members"].as_array().cloned().unwrap_or_default();
    let mut named = members.iter().filter(|member| member["node"] == name);
    let member = named.next().cloned().unwrap_or_default();
    member["status"]["read_only"].clone()
}

#[tokio::test]
async fn a_read_only_node_refuses_every_change_and_is_a_member_like_any_other() {
    let mut cluster = Cluster::start().await;
    let [quiet, other] = cluster.followers().await[..] else {
        panic!("two followers")
    };
    let leader = cluster.leader().await;
    cluster[leader]
        .put("/api/keys/a", "1")
        .await
        .expect_status(201);
    cluster[quiet].stop().await;
    cluster[quiet].add_args(["-read-only"]);
    cluster[quiet].start().await;

    assert_takes_no_changes(&cluster[quiet]).await;
    assert_serves_reads(&cluster[quiet]).await;
    assert_eq!(cluster[quiet].status().await["read_only"], true);
    assert_eq!(cluster[leader].status().await["read_only"], false);
    let view = cluster[leader].get("/api/cluster").await.json();
    assert_eq!(shown(&view, cluster[quiet].name()), true);
    assert_eq!(shown(&view, cluster[other].name()), false);

    // It counts for the quorum.
    cluster[other].kill();
    cluster[leader]
        .put("/api/keys/b", "1")
        .await
        .expect_status(201);
    cluster[other].start().await;
    // It leads, and takes what comes through others.
    let to = format!("{{\"to\":\"{}\"}}", cluster[quiet].name());
    wait_for("it leads", LEADS_WITHIN, async || {
        drop(cluster[other].post("/api/cluster/transfer", &to).await);
        let status = cluster[quiet].try_status().await?;
        match status["role"] == "leader" {
            true => Ok(()),
            false => Err(status.to_string()),
        }
    })
    .await;
    wait_for("a write through another", RECOVERED_WITHIN, async || {
        let written = cluster[other].put("/api/keys/c", "1").await;
        match written.status {
            200 | 201 => Ok(()),
            _ => Err(format!("{written:?}")),
        }
    })
    .await;
    assert_takes_no_changes(&cluster[quiet]).await;
    cluster.assert_converged().await;

    cluster[quiet].stop().await;
    let usual = cluster[quiet].usual_args();
    cluster[quiet].set_args(usual);
    cluster[quiet].start().await;
    let written = cluster[quiet].put("/api/keys/a", "2").await;
    written.expect_status(200);
}
