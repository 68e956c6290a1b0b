//! Joins that were begun and never finished: what becomes of the directory.

use std::fs;
use std::time::Duration;

use conclave_tests::{Client, Cluster, Node, Ports, Request, wait_closely_for, wait_for};
use serde_json::{Value, json};

/// Longest time until a start that cannot succeed has ended.
const REFUSED_WITHIN: Duration = Duration::from_secs(20);
const JOINED_WITHIN: Duration = Duration::from_secs(30);

fn identity(node: &Node) -> Value {
    let path = node.data_dir().join("node.json");
    let text = fs::read_to_string(path).expect("an identity");
    serde_json::from_str(&text).expect("JSON")
}

/// Changes what a stopped node's directory says of it, and takes the checksum out, as nothing is damaged.
fn change_identity(node: &Node, changes: &[(&str, Value)]) {
    let mut identity = identity(node);
    if let Some(fields) = identity.as_object_mut() {
        fields.remove("checksum");
    }
    for (name, value) in changes {
        identity[*name] = value.clone();
    }
    let path = node.data_dir().join("node.json");
    fs::write(path, identity.to_string()).expect("a written file");
}

/// Has it look like that of a node whose leader died before it had added it, and which was told so.
fn as_never_added(node: &Node) {
    change_identity(
        node,
        &[
            ("formation", json!("removed")),
            ("unconfirmed", json!(true)),
        ],
    );
}

async fn assert_refuses(node: &mut Node, words: &[&str]) {
    node.spawn();
    let status = node.wait_exit(REFUSED_WITHIN).await;
    assert_eq!(status.code(), Some(1), "{}", node.log_tail());
    let log = node.stderr();
    let last = log.lines().last().unwrap_or_default();
    for word in words {
        assert!(last.contains(word), "`{word}` in {last}");
    }
}

/// Adds a node that stays a learner: with a voter away, another voter would be one more to lose.
async fn with_learner() -> (Cluster, usize) {
    let mut cluster = Cluster::start().await;
    let away = cluster.followers().await[0];
    let leader = cluster.leader().await;
    cluster[away].kill();
    wait_for("the leader misses a voter", JOINED_WITHIN, async || {
        let status = cluster[leader].try_status().await?;
        let followers = status["followers"].as_array().cloned().unwrap_or_default();
        let silent = followers.iter().map(|one| one["silent_ms"].as_u64());
        match silent.max() > Some(Some(3_000)) {
            true => Ok(()),
            false => Err(status.to_string()),
        }
    })
    .await;
    let index = cluster.add_node();
    let first = cluster[leader].http_address();
    cluster[index].add_args(["-join", &first]);
    cluster[index].start().await;
    (cluster, index)
}

#[tokio::test]
async fn a_join_that_was_never_finished_is_made_anew_under_another_id() {
    let (mut cluster, index) = with_learner().await;
    let leader = cluster.leader().await;
    wait_for(
        "it notes that it is a member",
        JOINED_WITHIN,
        async || match identity(&cluster[index])["unconfirmed"].is_null() {
            true => Ok(()),
            false => Err(identity(&cluster[index]).to_string()),
        },
    )
    .await;
    let old = cluster[index].status_number("id").await;
    cluster[index].kill();
    let member = format!("/api/cluster/members/{}", cluster[index].name());
    cluster[leader].delete(&member).await.expect_status(200);
    as_never_added(&cluster[index]);

    cluster[index].start().await;
    let new = identity(&cluster[index]);
    assert!(new["node_id"].as_u64() > Some(old), "{new}");
    assert_eq!(new["formation"], "joined");
    let left = cluster[index].data_dir().join("left-1/node.json");
    assert!(left.is_file(), "its old files are kept");
    assert!(!cluster[index].data_dir().join("moving.json").exists());
    let written = cluster[leader].put("/api/keys/a", "1").await;
    let revision = written.expect_status(201).json()["revision"].clone();
    let read = format!("/api/keys/a?level=stale&min_revision={revision}&wait=10s");
    assert_eq!(cluster[index].get(&read).await.text(), "1");
    // It is this one at every later start, too.
    assert_eq!(cluster[index].stop().await.code(), Some(0));
    cluster[index].start().await;
    assert_eq!(identity(&cluster[index])["node_id"], new["node_id"]);
}

#[tokio::test]
async fn a_join_anew_that_comes_to_nothing_changes_nothing() {
    let (mut cluster, index) = with_learner().await;
    let leader = cluster.leader().await;
    cluster[index].kill();
    let member = format!("/api/cluster/members/{}", cluster[index].name());
    cluster[leader].delete(&member).await.expect_status(200);
    as_never_added(&cluster[index]);
    let before = identity(&cluster[index]);

    let usual = cluster[index].usual_args();
    let nobody = format!("localhost:{}", Ports::reserve().http);
    let mut args = usual.clone();
    args.extend(["-join", &nobody, "-join-timeout", "1s"].map(str::to_owned));
    cluster[index].set_args(args);
    assert_refuses(&mut cluster[index], &["could not join", &nobody]).await;
    // Without -join it is what it was: nothing may begin a cluster of its own here.
    cluster[index].set_args(usual);
    assert_refuses(&mut cluster[index], &["removed", "-join", "data directory"]).await;
    assert_eq!(identity(&cluster[index]), before);
}

#[tokio::test]
async fn a_node_that_has_voted_is_never_given_up() {
    let mut cluster = Cluster::builder().nodes(2).start().await;
    let member = format!("/api/cluster/members/{}", cluster[1].name());
    cluster[0].delete(&member).await.expect_status(200);
    cluster[1].kill();
    // Even if its directory does not know that it was a member: its log does.
    as_never_added(&cluster[1]);
    assert_refuses(&mut cluster[1], &["removed", "-join", "data directory"]).await;
    assert!(!cluster[1].data_dir().join("left-1").exists());
}

#[tokio::test]
async fn an_invitation_that_was_never_used_needs_a_join() {
    let mut cluster = Cluster::single().await;
    let cluster_id = cluster[0].status().await["cluster_id"].clone();
    cluster[0].kill();
    for part in ["raft", "snapshots", "history"] {
        fs::remove_dir_all(cluster[0].data_dir().join(part)).expect("removed");
    }
    change_identity(&cluster[0], &[("formation", json!("joined"))]);
    let cluster_id = cluster_id.as_str().expect("a cluster id");
    let words = ["was invited", cluster_id, "-join", "may be emptied"];
    assert_refuses(&mut cluster[0], &words).await;
}

/// Starts nodes that wait to be added, kills the leader when one has written down who it is, and goes on
/// until one was not added before that: the next leader knows of no such node, and adds it. `join` starts
/// the node and has it added; `tell` asks the next leader for it, too.
async fn cut_off_until_invited_twice(
    join: impl AsyncFn(&mut Cluster, usize, usize),
    tell: impl AsyncFn(&Node, &Node) -> String,
) {
    const ROUNDS: usize = 12;
    let mut cluster = Cluster::start().await;
    for _ in 0..ROUNDS {
        let leader = cluster.leader().await;
        let others = cluster.followers().await;
        let index = cluster.add_node();
        join(&mut cluster, index, leader).await;
        let invited = wait_for_identity(&cluster[index]).await;
        cluster[leader].kill();
        wait_for("the node is added", JOINED_WITHIN, async || {
            let node = cluster[index].try_get("/readyz").await;
            if node.is_ok_and(|answer| answer.status == 200) {
                return Ok(());
            }
            let told = tell(&cluster[others[0]], &cluster[index]).await;
            Err(format!("{told}\n{}", cluster[index].log_tail()))
        })
        .await;
        cluster[leader].start().await;
        let now = identity(&cluster[index])["node_id"].as_u64();
        assert_eq!(now, Some(invited), "{}", cluster[index].log_tail());
        if cluster[index]
            .stderr()
            .contains("an earlier leader has not added this node")
        {
            cluster.wait_voters(cluster.nodes().len()).await;
            cluster.assert_converged().await;
            return;
        }
        // It was added before the leader died.
        let member = format!("/api/cluster/members/{}", cluster[index].name());
        cluster[others[0]].delete(&member).await.expect_status(200);
        cluster[index].kill();
    }
    panic!("no join was cut off in {ROUNDS} rounds");
}

fn asked_for(node: &Node) -> String {
    let (name, http, raft) = (node.name(), node.http_address(), node.raft_address());
    json!({"name": name, "http": http, "raft": raft}).to_string()
}

#[tokio::test]
async fn a_join_whose_leader_dies_is_finished_by_the_next_one() {
    let join = async |cluster: &mut Cluster, index: usize, leader| {
        let others: Vec<_> = (0..3).filter(|it| *it != leader).collect();
        for address in cluster.addresses_of(&others) {
            cluster[index].add_args(["-join", &address]);
        }
        cluster[index].spawn();
    };
    // It asks by itself.
    let tell = async |_member: &Node, _node: &Node| String::new();
    cut_off_until_invited_twice(join, tell).await;
}

#[tokio::test]
async fn a_node_whose_leader_dies_while_it_adds_it_is_added_by_the_next_one() {
    let join = async |cluster: &mut Cluster, index: usize, leader| {
        let nobody = format!("localhost:{}", Ports::reserve().http);
        cluster[index].add_args(["-join", &nobody]);
        cluster[index].spawn();
        let ask = Request::post("/api/cluster/members", asked_for(&cluster[index]));
        let mut client = Client::new(cluster[leader].http_address());
        tokio::spawn(async move {
            // Until it is invited; the answer is lost.
            while let Ok(answer) = client.send(&ask).await
                && answer.status != 201
            {}
        });
    };
    let tell = async |member: &Node, node: &Node| {
        let target = "/api/cluster/members?replace=true";
        let answer = member.send(&Request::post(target, asked_for(node))).await;
        format!("{answer:?}")
    };
    cut_off_until_invited_twice(join, tell).await;
}

/// Waits until a node has written down who it is, and returns its id.
async fn wait_for_identity(node: &Node) -> u64 {
    let path = node.data_dir().join("node.json");
    wait_closely_for("an identity", JOINED_WITHIN, async || match path.exists() {
        true => Ok(identity(node)["node_id"].as_u64().expect("an id")),
        false => Err(node.log_tail()),
    })
    .await
}
