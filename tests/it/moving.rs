//! Joins that must not happen, and a node that moves into another cluster while it runs.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::Duration;

use conclave_tests::{Cluster, Node, Ports};

const JOINED_WITHIN: Duration = Duration::from_secs(30);
/// Longest time until a start that cannot succeed has ended.
const REFUSED_WITHIN: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_join_through_a_node_without_a_cluster_ends_after_its_timeout() {
    let mut cluster = Cluster::builder().nodes(2).prepare().await;
    let nobody = format!("localhost:{}", Ports::reserve().http);
    cluster[0].add_args(["-cluster", &nobody]);
    cluster[0].spawn();
    cluster[0].wait_says(&[&nobody]).await;
    let target = cluster[0].http_address();
    cluster[1].add_args(["-join", &target, "-join-timeout", "2s"]);
    cluster[1].spawn();
    assert_eq!(cluster[1].wait_exit(REFUSED_WITHIN).await.code(), Some(1));
    let log = cluster[1].stderr();
    assert!(log.contains(&target) && log.contains(&nobody), "{log}");
    assert!(!cluster[1].data_dir().join("node.json").exists());
}

/// Speaks for a node whose peer protocol is of another version, until the test ends.
fn other_version(reason: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut start = [0; 4];
            let read = stream.read_exact(&mut start);
            if read.is_err() || start == *b"POST" || start == *b"GET " {
                continue;
            }
            // The acknowledgement: its length, variant 1, and a text.
            let length = u8::try_from(reason.len()).expect("a short text");
            let mut frame = vec![0, 0, 0, length + 2, 1, length];
            frame.extend(reason.as_bytes());
            drop(stream.write_all(&frame));
            // What is still to be read would turn the close into a reset.
            drop(stream.read(&mut [0; 256]));
        }
    });
    address
}

#[tokio::test]
async fn a_cluster_of_another_protocol_version_is_refused_with_both_versions() {
    let reason = "it speaks peer protocol 99, and not 3";
    let address = other_version(reason);
    let mut cluster = Cluster::builder().nodes(1).prepare().await;
    cluster[0].add_args(["-join", &address]);
    cluster[0].spawn();
    assert_eq!(cluster[0].wait_exit(REFUSED_WITHIN).await.code(), Some(1));
    assert!(
        cluster[0].stderr().contains(reason),
        "{}",
        cluster[0].stderr()
    );
    assert!(!cluster[0].data_dir().join("node.json").exists());
}

#[tokio::test]
async fn a_node_refuses_another_protocol_version_by_name() {
    let cluster = Cluster::single().await;
    let stream = std::net::TcpStream::connect(cluster[0].raft_address());
    let mut stream = stream.expect("the node listens");
    // Version 99, purpose `Form`, no cluster, no id, no name, to nobody.
    let mut hello = b"CNCL\x63\x06".to_vec();
    hello.extend([0; 19]);
    let length = u8::try_from(hello.len()).expect("a short frame");
    stream.write_all(&[0, 0, 0, length]).expect("sent");
    stream.write_all(&hello).expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    let answer = String::from_utf8_lossy(&answer);
    assert!(
        answer.contains("`node0` speaks peer protocol 3, and `(no name yet)` speaks 99"),
        "{answer}"
    );
}

/// Starts two nodes that are a cluster each.
async fn strangers() -> Cluster {
    let mut cluster = Cluster::builder().nodes(2).prepare().await;
    for node in cluster.nodes_mut() {
        node.start().await;
    }
    cluster
}

fn peers(address: &str) -> String {
    format!(r#"{{"Peers": ["{address}"]}}"#)
}

#[tokio::test]
async fn a_node_that_holds_nothing_moves_into_another_cluster() {
    for by_raft_address in [false, true] {
        let mut cluster = strangers().await;
        cluster[0].put("/api/keys/a", "1").await.expect_status(201);
        let target = match by_raft_address {
            false => cluster[0].http_address(),
            true => cluster[0].raft_address(),
        };
        let moved = cluster[1].post("/cluster/join", &peers(&target)).await;
        let moved = moved.expect_status(200).json();
        assert_eq!(
            (&moved["Status"], &moved["Error"]),
            (&"ok".into(), &"".into())
        );
        let joined = cluster[0].status().await["cluster_id"].clone();
        assert_eq!(moved["Data"]["cluster_id"], joined, "{moved}");
        cluster.wait_formed(&[0, 1], JOINED_WITHIN).await;
        assert_eq!(cluster[1].get("/api/keys/a").await.text(), "1");
        let left = cluster[1].data_dir().join("left-1");
        assert!(
            left.join("node.json").is_file(),
            "its old files are set aside"
        );
        // The new identity is the directory's.
        cluster[1].kill();
        cluster[1].start().await;
        assert_eq!(cluster[1].status().await["cluster_id"], joined);
    }
}

#[tokio::test]
async fn a_move_that_would_lose_anything_is_refused_and_changes_nothing() {
    let mut cluster = strangers().await;
    let before = cluster[1].status().await["cluster_id"].clone();
    let refused = async |node: &Node, address: &str, word: &str| {
        let answer = node.post("/cluster/join", &peers(address)).await;
        let problem = answer.expect_status(409).json();
        assert_eq!(problem["Status"], "error");
        let detail = problem["Error"].as_str().unwrap_or_default();
        assert!(detail.contains(word), "no {word} in {problem}");
    };
    let (first, own) = (cluster[0].http_address(), cluster[1].http_address());
    refused(&cluster[1], &own, "own cluster").await;
    let nobody = format!("localhost:{}", Ports::reserve().http);
    refused(&cluster[1], &nobody, &nobody).await;
    cluster[1]
        .post("/cluster/join", "{}")
        .await
        .expect_status(400);
    cluster[1]
        .post("/cluster/join", &peers("nonsense"))
        .await
        .expect_status(400);

    cluster[1]
        .put("/api/keys/mine", "1")
        .await
        .expect_status(201);
    refused(&cluster[1], &first, "1 keys").await;
    cluster[1].delete("/api/keys/mine").await.expect_status(200);

    // The other cluster refuses it: a live member has its name.
    let index = cluster.add_node();
    let twin = Node::new(
        "node1",
        &cluster.folder().join("twin"),
        cluster[index].ports(),
    );
    cluster[index] = twin;
    cluster[index].add_args(["-join", &first]);
    cluster[index].start().await;
    refused(&cluster[1], &first, "node1").await;
    cluster[1].wait_ready().await;
    assert_eq!(cluster[1].status().await["cluster_id"], before);
    cluster[1]
        .put("/api/keys/mine", "2")
        .await
        .expect_status(201);
    cluster[1].kill();
    cluster[1].start().await;
    assert_eq!(cluster[1].get("/api/keys/mine").await.text(), "2");
    refused(&cluster[0], &own, "other members").await;
}
