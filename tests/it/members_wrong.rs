//! Changes of members that are refused, and nodes that turn up where another is expected.

use std::time::Duration;

use conclave_tests::cluster::RECOVERED_WITHIN;
use conclave_tests::http::assert_problem;
use conclave_tests::{Cluster, Node, Request, wait_for};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longest wait for a line in a log.
const SAID_WITHIN: Duration = Duration::from_secs(15);

/// Waits until a line of a node's log has all of the words.
async fn wait_said(node: &Node, words: &[&str]) {
    let what = format!("{} says {words:?}", node.name());
    wait_for(&what, SAID_WITHIN, async || {
        let log = node.stderr();
        let said = log
            .lines()
            .any(|line| words.iter().all(|word| line.contains(word)));
        if said { Ok(()) } else { Err(log) }
    })
    .await;
}

#[tokio::test]
async fn the_last_voter_stays_whatever_is_asked() {
    let cluster = Cluster::single().await;
    let before = cluster[0].status().await["members"].clone();
    for query in ["", "?force=true"] {
        let target = format!("/api/cluster/members/node0{query}");
        assert_problem(&cluster[0].delete(&target).await, 409, "last_voter");
    }
    let leave = cluster[0]
        .post("/cluster/leave", "")
        .await
        .expect_status(409)
        .json();
    assert_eq!(
        (&leave["Status"], &leave["Data"]),
        (&"error".into(), &serde_json::Value::Null)
    );
    assert!(
        leave["Error"]
            .as_str()
            .is_some_and(|text| text.contains("only voter")),
        "{leave}"
    );
    let dry = cluster[0]
        .delete("/api/cluster/members/node0?dry_run=true")
        .await;
    let plan = dry.expect_status(200).json();
    assert_eq!(
        (&plan["allowed"], &plan["refusal"]),
        (&false.into(), &"last_voter".into()),
        "{plan}"
    );
    assert_eq!(cluster[0].status().await["members"], before);
    cluster[0].put("/api/keys/a", "1").await.expect_status(201);
}

#[tokio::test]
async fn a_change_of_nobody_or_to_nothing_new_is_refused() {
    let cluster = Cluster::builder().nodes(2).start().await;
    let node = &cluster[cluster.followers().await[0]];
    let before = node.status().await["members"].clone();
    let own = format!(
        r#"{{"name":"other","http":"{}","raft":"{}"}}"#,
        node.http_address(),
        node.raft_address()
    );
    for (request, status, code) in [
        (
            Request::delete("/api/cluster/members/nobody"),
            404,
            "member_not_found",
        ),
        (
            Request::delete("/api/cluster/members/nobody?dry_run=true"),
            404,
            "member_not_found",
        ),
        (
            Request::post("/api/cluster/members/nobody/promote", ""),
            404,
            "member_not_found",
        ),
        (
            Request::post("/api/cluster/members/node0/promote", ""),
            409,
            "already_voter",
        ),
        (
            Request::post("/api/cluster/members/node0/promote?force=true", ""),
            400,
            "invalid_argument",
        ),
        (
            Request::delete("/api/cluster/members/node0?when=now"),
            400,
            "invalid_argument",
        ),
        (
            Request::delete("/api/cluster/members/%ff"),
            400,
            "invalid_argument",
        ),
        (
            Request::post("/api/cluster/members/node0/demote", ""),
            404,
            "route_not_found",
        ),
        (
            Request::get("/api/cluster/members/node0"),
            405,
            "method_not_allowed",
        ),
        // A member cannot join itself.
        (
            Request::post("/api/cluster/members", own.as_str()),
            409,
            "not_waiting",
        ),
    ] {
        assert_problem(&node.send(&request).await, status, code);
    }
    assert_eq!(node.status().await["members"], before);
    cluster.assert_converged().await;
}

/// Asking a voter that is away to take over would hold up writes for nothing.
#[tokio::test]
async fn a_hand_over_to_a_dead_member_is_refused() {
    let mut cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let dead = cluster.followers().await[0];
    let body = format!(r#"{{"to":"{}"}}"#, cluster[dead].name());
    cluster[dead].kill();
    wait_for("the leader misses it", RECOVERED_WITHIN, async || {
        let status = cluster[leader].try_status().await?;
        let followers = status["followers"].as_array().cloned().unwrap_or_default();
        let silent = followers.iter().map(|one| one["silent_ms"].as_u64());
        match silent.max() > Some(Some(3_000)) {
            true => Ok(()),
            false => Err(status.to_string()),
        }
    })
    .await;
    let term = cluster[leader].status_number("term").await;
    let answer = cluster[leader].post("/api/cluster/transfer", &body).await;
    assert_problem(&answer, 409, "membership_conflict");
    assert!(answer.text().contains("does not answer"), "{answer:?}");
    let written = cluster[leader].put("/api/keys/a", "1").await;
    written.expect_status(201);
    assert_eq!(cluster[leader].status_number("term").await, term);
    cluster[dead].start().await;
    cluster.assert_converged().await;
}

#[tokio::test]
async fn a_dry_run_says_what_can_fail_and_changes_nothing() {
    let mut cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let [dead, alive] = cluster.followers().await[..] else {
        panic!("two followers")
    };
    let names = [dead, alive].map(|index| cluster[index].name().to_owned());
    let before = cluster[leader].status().await["members"].clone();
    let target = |name: &str, query: &str| format!("/api/cluster/members/{name}?{query}");
    let dry = cluster[alive]
        .delete(&target(&names[0], "dry_run=true"))
        .await;
    let plan = dry.expect_status(200).json();
    assert_eq!(
        (&plan["done"], &plan["allowed"]),
        (&false.into(), &true.into()),
        "{plan}"
    );
    assert_eq!(
        (&plan["before"]["healthy"], &plan["after"]["healthy"]),
        (&3.into(), &2.into())
    );
    let text = plan["text"].as_str().unwrap_or_default();
    assert!(
        text.contains("can lose 1; after") && text.contains("can lose none"),
        "{text}"
    );

    cluster[dead].kill();
    wait_for("the leader misses it", RECOVERED_WITHIN, async || {
        let dry = cluster[leader]
            .delete(&target(&names[1], "dry_run=true"))
            .await;
        let plan = dry.expect_status(200).json();
        match plan["refusal"] == "would_lose_quorum" && plan["after"]["healthy"] == 1 {
            true => Ok(()),
            false => Err(plan.to_string()),
        }
    })
    .await;
    let refused = cluster[alive]
        .delete(&target(&names[1], "force=false"))
        .await;
    assert_problem(&refused, 409, "would_lose_quorum");
    assert_eq!(cluster[leader].status().await["members"], before);
    // The one that is dead can go.
    let dry = cluster[leader]
        .delete(&target(&names[0], "dry_run=true"))
        .await
        .json();
    assert_eq!(dry["allowed"], true, "{dry}");
    cluster[dead].start().await;
    cluster.assert_converged().await;
}

#[tokio::test]
async fn an_address_that_another_cluster_has_now_is_reported_on_both_sides() {
    let mut cluster = Cluster::builder().nodes(3).start().await;
    let moved = cluster.followers().await[0];
    let leader = cluster.leader().await;
    cluster[moved].stop().await;
    let mut other = Node::new(
        "stranger",
        &cluster.folder().join("other"),
        cluster[moved].ports(),
    );
    other.start().await;
    let cluster_id = cluster[leader].status().await["cluster_id"].clone();
    let name = cluster[leader].name().to_owned();
    wait_for("the stranger shows who dials it", SAID_WITHIN, async || {
        let status = other.try_status().await?;
        let peers = status["foreign_peers"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let shown = peers
            .iter()
            .any(|peer| peer["node"] == name.as_str() && peer["cluster_id"] == cluster_id);
        if shown {
            Ok(())
        } else {
            Err(status.to_string())
        }
    })
    .await;
    wait_said(
        &other,
        &["refused", "`stranger` is a member of cluster", &name],
    )
    .await;
    let words = [
        cluster[moved].name(),
        "refuses this node",
        "`stranger`",
        &name,
    ];
    wait_said(&cluster[leader], &words).await;
    assert_eq!(
        cluster[leader].status().await["foreign_peers"],
        serde_json::json!([])
    );
    other.kill();
    cluster[moved].start().await;
    cluster.assert_converged().await;
}

#[tokio::test]
async fn an_address_that_another_member_has_now_is_no_danger() {
    let mut cluster = Cluster::builder().nodes(3).start().await;
    let dead = cluster.followers().await[0];
    let leader = cluster.leader().await;
    let old_id = cluster[dead].status_number("id").await.to_string();
    cluster[dead].kill();
    let mut node = Node::new(
        "newcomer",
        &cluster.folder().join("new"),
        cluster[dead].ports(),
    );
    node.add_args(["-join", &cluster[leader].http_address()]);
    node.start().await;
    let meant = format!("and not {old_id}");
    wait_said(
        &node,
        &["`newcomer` has id", &meant, cluster[leader].name()],
    )
    .await;
    cluster[leader]
        .put("/api/keys/a", "1")
        .await
        .expect_status(201);
    cluster[dead] = node;
    cluster.wait_voters(4).await;
    cluster.assert_converged().await;
}

#[tokio::test]
async fn a_peer_of_another_protocol_is_told_both_names() {
    let cluster = Cluster::single().await;
    let mut stream = TcpStream::connect(cluster[0].raft_address())
        .await
        .expect("a connection");
    // Magic, protocol 99, purpose `Control`, cluster, id 7, name, id 1.
    let mut hello = b"CNCL\x63\x01".to_vec();
    hello.extend([9; 16]);
    hello.extend(b"\x07\x08prophecy\x01");
    let length = u32::try_from(hello.len()).expect("short").to_be_bytes();
    stream
        .write_all(&[&length[..], &hello].concat())
        .await
        .expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("an answer");
    let text = String::from_utf8_lossy(&answer).into_owned();
    for word in ["`node0`", "`prophecy`", "99", "version"] {
        assert!(text.contains(word), "{text}");
    }
    wait_said(
        &cluster[0],
        &["refused the node `prophecy`", "`node0` speaks"],
    )
    .await;
}
