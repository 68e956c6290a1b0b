//! The seeds' own commands, unchanged, against nodes that are started as the seeds start theirs.

use std::time::Duration;

use conclave_tests::http::transcript::{Engine, Streaming, Transcript, fill};
use conclave_tests::sse::Event;
use conclave_tests::{Cluster, Request, wait_for};
use serde_json::Value;

const RAFTDB: &str = include_str!("../golden/raftdb.txt");
const KEYVAL: &str = include_str!("../golden/keyval.txt");
const TANSU: &str = include_str!("../golden/tansu.txt");
const CONSENS: &str = include_str!("../golden/consens.txt");

/// Returns the addresses of a cluster under the names node0, node1, ….
fn places(cluster: &Cluster) -> Vec<(&str, String)> {
    cluster
        .nodes()
        .iter()
        .map(|node| (node.name(), node.http_address()))
        .collect()
}

#[tokio::test]
async fn raftdb_keys_and_levels() {
    let cluster = Cluster::start().await;
    let transcript = Transcript::parse(RAFTDB);
    let names = ["node01", "node02", "node03"];
    let places: Vec<_> = names
        .into_iter()
        .zip(cluster.nodes())
        .map(|(name, node)| (name, node.http_address()))
        .collect();
    for engine in Engine::available() {
        for section in [
            "reading and writing keys",
            "three read consistency levels",
            "delete",
            "redirected instead of forwarded",
        ] {
            transcript.play(section, &places, engine).await;
        }
    }
    cluster.assert_converged().await;
}

#[tokio::test]
async fn raftdb_delete_is_one_log_entry() {
    let cluster = Cluster::single().await;
    let node = &cluster[0];
    node.post("/key", r#"{"foo": "bar"}"#)
        .await
        .expect_status(200);
    let before = node.status_number("last_log_index").await;
    node.delete("/key/foo").await.expect_status(200);
    assert_eq!(node.status_number("last_log_index").await, before + 1);
}

#[tokio::test]
async fn keyval_single_node() {
    let cluster = Cluster::single().await;
    let transcript = Transcript::parse(KEYVAL);
    for engine in Engine::available() {
        transcript
            .play("reading and writing keys", &places(&cluster), engine)
            .await;
        transcript
            .play("running keyval", &places(&cluster), engine)
            .await;
    }
}

#[tokio::test]
async fn keyval_cluster_and_failure() {
    let transcript = Transcript::parse(KEYVAL);
    for engine in Engine::available() {
        let mut cluster = Cluster::builder().nodes(1).start().await;
        transcript
            .play("running keyval", &places(&cluster), engine)
            .await;
        // `-join :11000`: a port alone means this machine.
        let join = format!(":{}", cluster[0].ports().http);
        for _ in 1..3 {
            let index = cluster.add_node();
            cluster[index].add_args(["-join", &join]);
            cluster[index].start().await;
        }
        cluster.wait_voters(3).await;
        transcript
            .play("bring up a cluster", &places(&cluster), engine)
            .await;

        let killed = cluster.leader().await;
        cluster[killed].kill();
        let leader = cluster.leader().await;
        let other = (0..3)
            .find(|index| ![killed, leader].contains(index))
            .expect("a third node");
        let roles = |cluster: &Cluster| {
            [("leader", leader), ("other", other), ("back", killed)]
                .map(|(role, index)| (role, cluster[index].http_address()))
        };
        transcript
            .play("the leader is killed", &roles(&cluster), engine)
            .await;

        cluster[killed].start().await;
        transcript
            .play("the first node is restarted", &roles(&cluster), engine)
            .await;
        cluster.assert_converged().await;
    }
}

#[tokio::test]
async fn tansu_keys_through_any_node() {
    let cluster = Cluster::start().await;
    let transcript = Transcript::parse(TANSU);
    for engine in Engine::available() {
        transcript.play("keys", &places(&cluster), engine).await;
    }
    cluster.assert_converged().await;
}

#[tokio::test]
async fn tansu_streams_through_any_node() {
    let cluster = Cluster::start().await;
    let transcript = Transcript::parse(TANSU);
    for engine in Engine::available() {
        for section in ["streams", "streams of children"] {
            transcript.play(section, &places(&cluster), engine).await;
        }
    }
    cluster.assert_converged().await;
}

#[tokio::test]
async fn tansu_stream_embeds_a_json_value_as_json() {
    let cluster = Cluster::start().await;
    let command = "curl -i -s http://{any}/api/keys/j?stream=true";
    let mut stream = Streaming::start(&fill(command, &places(&cluster)), Engine::Own).await;
    let json = Request::put("/api/keys/j", r#"{"a":[1,true]}"#);
    let json = json.header("Content-Type", "application/json");
    let revision = cluster[0].send(&json).await.json()["revision"].to_string();
    let set = stream.next(Duration::from_secs(5)).await.expect("an event");
    assert_eq!(
        (set.name.as_str(), &set.id),
        ("set", &Some(revision)),
        "{set:?}"
    );
    let value: Value = serde_json::from_str(r#"{"a":[1,true]}"#).expect("JSON");
    assert_eq!(set.json()["value"], value, "{set:?}");
}

/// Three shells ask for the lock "abc"; `^C` on the holder gives it to one of the others, and so on.
#[tokio::test]
async fn tansu_locks_pass_on_when_their_holder_is_interrupted() {
    const SHELLS: usize = 3;
    let cluster = Cluster::start().await;
    let command = "curl -i -s http://{any}/api/locks/abc";
    for engine in Engine::available() {
        let mut shells = Vec::new();
        for number in 0..SHELLS {
            let command = fill(command, &places(&cluster));
            let mut shell = Streaming::start(&command, engine).await;
            let told = first(&mut shell).await;
            let wanted = if number == 0 {
                "granted"
            } else {
                "not_granted"
            };
            assert_eq!(told.name, wanted, "{told:?}");
            assert!(told.json().is_object(), "{told:?}");
            shells.push(shell);
        }
        loop {
            shells.remove(0).interrupt();
            if shells.is_empty() {
                break;
            }
            let granted = first(&mut shells[0]).await;
            assert_eq!(granted.name, "granted", "{granted:?}");
            for other in &mut shells[1..] {
                while let Some(event) = other.next(Duration::from_millis(100)).await {
                    assert_ne!(event.name, "granted", "two shells have it");
                }
            }
        }
        wait_for("the lock is free", Duration::from_secs(5), async || {
            let page = Request::get("/api/locks/abc?level=consistent");
            let page = page.header("Accept", "application/json");
            let holder = cluster[0].send(&page).await.json()["holder"].clone();
            if holder.is_null() {
                Ok(())
            } else {
                Err(holder.to_string())
            }
        })
        .await;
    }
    cluster.assert_converged().await;
}

/// Returns the next event that says anything.
async fn first(shell: &mut Streaming) -> Event {
    loop {
        let event = shell.next(Duration::from_secs(10)).await.expect("an event");
        if event.name != "ping" {
            return event;
        }
    }
}

#[tokio::test]
async fn tansu_form_value_is_stored_as_text() {
    let cluster = Cluster::single().await;
    let node = &cluster[0];
    let form = Request::post("/api/keys/hello", "value=hello+wide%20world")
        .header("Content-Type", "application/x-www-form-urlencoded");
    node.send(&form).await.expect_status(201);
    let read = node.get("/api/keys/hello").await.expect_status(200);
    assert_eq!(read.text(), "hello wide world");
    assert!(
        read.expect_header("content-type").starts_with("text/plain"),
        "{read:?}"
    );
    // The same key in the other dialects: one key space for all.
    assert_eq!(
        node.get("/key/hello").await.text().trim(),
        r#"{"hello":"hello wide world"}"#
    );
    assert_eq!(node.get("/hello").await.text(), "hello wide world");
}

#[tokio::test]
async fn consens_single_node_started_with_port_alone() {
    let mut cluster = Cluster::builder().nodes(1).prepare().await;
    let node = &mut cluster[0];
    let port = node.ports().http.to_string();
    node.set_args(Vec::<String>::new());
    node.set_env(&[("PORT", &port)]);
    node.start().await;
    let transcript = Transcript::parse(CONSENS);
    transcript
        .play("one node", &places(&cluster), Engine::Own)
        .await;
    // The Raft port is the HTTP port + 10,000.
    let raft = cluster[0].status().await["members"][0]["raft"].clone();
    assert_eq!(raft, cluster[0].raft_address());
}

#[tokio::test]
async fn consens_answers_created_with_a_line_break_every_time() {
    let cluster = Cluster::single().await;
    for value in ["first", "second"] {
        let written = cluster[0].put("/mykey", value).await.expect_status(201);
        assert_eq!(written.text(), "created\n");
        assert_eq!(cluster[0].get("/mykey").await.text(), value);
    }
    cluster[0].get("/nokey").await.expect_status(404);
}

#[tokio::test]
async fn consens_three_nodes() {
    let cluster = Cluster::start().await;
    let transcript = Transcript::parse(CONSENS);
    for engine in Engine::available() {
        transcript
            .play("three nodes", &places(&cluster), engine)
            .await;
    }
    cluster.assert_converged().await;
}

#[tokio::test]
async fn consens_one_node_disconnected_still_writes_and_majority_gone_does_not() {
    let mut cluster = Cluster::start().await;
    let followers = cluster.followers().await;
    let leader = cluster.leader().await;
    cluster[followers[0]].kill();
    cluster[followers[1]]
        .put("/mykey", "one down")
        .await
        .expect_status(201);
    assert_eq!(cluster[leader].get("/mykey").await.text(), "one down");

    cluster[leader].kill();
    let last = &cluster[followers[1]];
    wait_for(
        "the last node knows no leader",
        Duration::from_secs(15),
        async || {
            let status = last.try_status().await?;
            if status["leader"].is_null() {
                Ok(())
            } else {
                Err(status.to_string())
            }
        },
    )
    .await;
    // 410 `gone` there.
    last.put("/mykey", "two down").await.expect_status(503);
}
