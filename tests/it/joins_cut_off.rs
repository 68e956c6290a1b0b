//! Joins that were begun and never finished: what becomes of the directory.

use std::fs;
use std::time::Duration;

use conclave_tests::{Cluster, Node, wait_closely_for, wait_for};
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
    let nobody = format!("localhost:{}", conclave_tests::Ports::reserve().http);
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

/// The leader dies when the invited node has written down who it is, before it was added: the next
/// leader knows of no such node.
#[tokio::test]
async fn a_join_whose_leader_dies_is_made_anew_by_itself() {
    const ROUNDS: usize = 8;
    let mut cluster = Cluster::start().await;
    for round in 1..=ROUNDS {
        let leader = cluster.leader().await;
        let others = cluster.followers().await;
        let index = cluster.add_node();
        for address in cluster.addresses_of(&others) {
            cluster[index].add_args(["-join", &address]);
        }
        cluster[index].spawn();
        let invited = wait_for_identity(&cluster[index]).await;
        cluster[leader].kill();
        cluster[index].wait_ready().await;
        let now = identity(&cluster[index])["node_id"].as_u64();
        cluster[leader].start().await;
        if now != Some(invited) {
            assert!(now > Some(invited), "{now:?} after {invited}");
            cluster.assert_converged().await;
            println!("cut off in round {round}");
            return;
        }
        // It was added before the leader died.
        let member = format!("/api/cluster/members/{}", cluster[index].name());
        cluster[others[0]].delete(&member).await.expect_status(200);
        cluster[index].kill();
    }
    panic!("no join was cut off in {ROUNDS} rounds");
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
