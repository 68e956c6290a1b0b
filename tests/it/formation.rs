//! Clusters that form from a list: start orders, wiped disks, other lists, consens' environment.

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use conclave_tests::http::transcript::{Engine, Transcript};
use conclave_tests::{Cluster, Node, Ports, Random, run_node, settings, wait_for};
use serde_json::Value;
use tempfile::TempDir;

const CONSENS: &str = include_str!("../golden/consens.txt");
/// Longest time until a write is everywhere.
const READ_WITHIN: Duration = Duration::from_secs(20);
/// A lost member's name is free after 10 s, and a join is tried again all the time.
const HEALED_WITHIN: Duration = Duration::from_secs(60);
/// Longest time until a start that cannot succeed has ended.
const REFUSED_WITHIN: Duration = Duration::from_secs(20);

/// In which order the nodes are started.
#[derive(Debug, Clone, Copy)]
enum Order {
    AtOnce,
    /// The next one only when the one before it waits.
    OneByOne,
    Reversed,
}

const ORDERS: [Order; 3] = [Order::AtOnce, Order::OneByOne, Order::Reversed];

/// Starts all prepared nodes and waits until they are one cluster.
async fn start(cluster: &mut Cluster, order: Order) -> Value {
    let count = cluster.nodes().len();
    let mut indexes: Vec<usize> = (0..count).collect();
    if matches!(order, Order::Reversed) {
        indexes.reverse();
    }
    for (started, index) in indexes.into_iter().enumerate() {
        cluster[index].spawn();
        if !matches!(order, Order::AtOnce) && started + 1 < count {
            cluster[index].wait_says(&["does not answer"]).await;
        }
    }
    assert_one_cluster(cluster).await
}

/// Waits until all nodes are voters of one cluster with equal states.
async fn assert_one_cluster(cluster: &Cluster) -> Value {
    let all: Vec<usize> = (0..cluster.nodes().len()).collect();
    let id = cluster.wait_formed(&all, HEALED_WITHIN).await;
    cluster.assert_converged().await;
    id
}

/// Prepares nodes that are all given the whole list.
async fn listed(count: usize) -> Cluster {
    let mut cluster = Cluster::builder().nodes(count).prepare().await;
    let list: Vec<_> = cluster
        .nodes()
        .iter()
        .map(|node| format!("http://{}", node.http_address()))
        .collect();
    for node in cluster.nodes_mut() {
        node.add_args(["-cluster".to_owned(), list.join(",")]);
    }
    cluster
}

#[tokio::test]
async fn a_list_forms_one_cluster_whatever_the_order() {
    for order in ORDERS {
        for _ in 0..settings::rounds(1, 7) {
            let mut cluster = listed(3).await;
            start(&mut cluster, order).await;
        }
    }
}

#[tokio::test]
async fn nodes_killed_while_they_form_become_one_cluster() {
    let seed = settings::seed();
    let mut random = Random::new(seed);
    for _ in 0..settings::rounds(2, 20) {
        let mut cluster = listed(3).await;
        for node in cluster.nodes_mut() {
            node.spawn();
        }
        for _ in 0..6 {
            let index = random.below(3);
            // Any moment of forming, which takes a few hundred milliseconds.
            let look = random.below(20);
            for _ in 0..look {
                drop(cluster[index].here().await);
                conclave_tests::wait::before_retry().await;
            }
            cluster[index].kill();
            cluster[index].spawn();
        }
        assert_one_cluster(&cluster).await;
    }
}

#[tokio::test]
async fn a_wiped_member_of_a_list_joins_again_by_itself() {
    let mut cluster = listed(3).await;
    start(&mut cluster, Order::AtOnce).await;
    let wiped = cluster.leader().await;
    let old = cluster[wiped].status_number("id").await;
    cluster[wiped].kill();
    fs::remove_dir_all(cluster[wiped].data_dir()).expect("wipe");
    cluster[wiped].spawn();
    // Its old member may still be thought alive.
    cluster[wiped].wait_says(&["cannot join yet"]).await;
    assert_one_cluster(&cluster).await;
    assert!(cluster[wiped].status_number("id").await > old);
}

/// Leaves of a member's directory what it had before it knew that its cluster was formed.
fn back_to_its_pledge(node: &Node) {
    let path = node.data_dir();
    let text = fs::read_to_string(path.join("node.json")).expect("an identity");
    let identity: Value = serde_json::from_str(&text).expect("JSON");
    let founding = &identity["founding"];
    let leader = &founding["founders"][0];
    let kept = serde_json::json!({
        "format": identity["format"], "directory_id": identity["directory_id"],
        "pledged_to": leader["directory_id"], "attempt": founding["attempt"],
        "name": leader["member"]["name"], "raft": leader["member"]["raft"],
    });
    fs::remove_dir_all(&path).expect("removed");
    fs::create_dir_all(&path).expect("a directory");
    fs::write(path.join("formation.json"), kept.to_string()).expect("a written file");
}

#[tokio::test]
async fn a_founder_that_was_removed_before_it_knew_its_place_becomes_a_new_member() {
    let mut cluster = listed(3).await;
    start(&mut cluster, Order::AtOnce).await;
    let leader = cluster.leader().await;
    // The first founder led the attempt: it is the one to be asked.
    let text = fs::read_to_string(cluster[0].data_dir().join("node.json")).expect("an identity");
    let identity: Value = serde_json::from_str(&text).expect("JSON");
    let first = &identity["founding"]["founders"][0]["member"]["name"];
    let mut others = (0..3).filter(|index| *index != leader && cluster[*index].name() != *first);
    let late = others.next().expect("a third one");
    let old = cluster[late].status_number("id").await;

    cluster[late].kill();
    back_to_its_pledge(&cluster[late]);
    let member = format!("/api/cluster/members/{}", cluster[late].name());
    cluster[leader].delete(&member).await.expect_status(200);
    cluster[late].spawn();
    assert_one_cluster(&cluster).await;
    assert!(cluster[late].status_number("id").await > old);
}

#[tokio::test]
async fn nodes_in_memory_form_from_a_list_and_replace_themselves() {
    let mut cluster = listed(3).await;
    for node in cluster.nodes_mut() {
        node.add_args(["-inmem"]);
    }
    start(&mut cluster, Order::AtOnce).await;
    cluster[0].put("/a", "1").await.expect_status(201);
    let old = cluster[1].status_number("id").await;
    cluster[1].kill();
    cluster[1].spawn();
    assert_one_cluster(&cluster).await;
    assert!(cluster[1].status_number("id").await > old);
    for node in cluster.nodes() {
        let read = node.get("/a?level=consistent").await.expect_status(200);
        assert_eq!(read.text(), "1");
        assert!(!node.data_dir().join("node.json").exists());
    }
}

#[tokio::test]
async fn two_of_three_wiped_disks_never_make_another_cluster() {
    let mut cluster = listed(3).await;
    let formed = start(&mut cluster, Order::AtOnce).await;
    for node in cluster.nodes_mut() {
        node.kill();
    }
    // Set aside instead of wiped, to bring them back later.
    let aside = |node: &Node| node.data_dir().with_extension("aside");
    for index in [0, 1] {
        let node = &cluster[index];
        fs::rename(node.data_dir(), aside(node)).expect("set aside");
        cluster[index].spawn();
    }
    // The one with the data is away: they wait for it, and say so.
    let third = cluster[2].http_address();
    cluster[0].wait_says(&[&third, "does not answer"]).await;
    cluster[1].wait_says(&[&third, "does not answer"]).await;

    cluster[2].spawn();
    cluster[2].wait_says(&["node0", "node1", "empty"]).await;
    let ready = cluster[2].get("/readyz?verbose").await.expect_status(503);
    assert!(ready.text().contains("waiting for"), "{}", ready.text());
    for index in [0, 1] {
        cluster[index].wait_says(&["cannot join yet"]).await;
        let here = cluster[index].here().await.expect("an answer");
        assert!(here["cluster_id"].is_null(), "{here}");
    }
    // With one of the old disks there is a majority again, and the wiped one joins.
    cluster[0].kill();
    fs::remove_dir_all(cluster[0].data_dir()).expect("wipe");
    fs::rename(aside(&cluster[0]), cluster[0].data_dir()).expect("brought back");
    cluster[0].spawn();
    assert_eq!(assert_one_cluster(&cluster).await, formed);
}

#[tokio::test]
async fn nodes_with_other_lists_wait_and_name_the_difference() {
    let mut cluster = Cluster::builder().nodes(2).prepare().await;
    let (first, second) = (cluster[0].http_address(), cluster[1].http_address());
    let nobody = format!("localhost:{}", Ports::reserve().http);
    cluster[0].add_args(["-cluster", &format!("{first},{second}")]);
    cluster[1].add_args(["-cluster", &format!("{first},{nobody}")]);
    cluster[0].spawn();
    cluster[1].spawn();
    cluster[0]
        .wait_says(&["node1", "another -cluster list", &nobody])
        .await;
    cluster[1]
        .wait_says(&["node0", "another -cluster list", &nobody])
        .await;
}

#[tokio::test]
async fn a_list_of_only_itself_is_a_cluster_of_one() {
    let mut cluster = listed(1).await;
    start(&mut cluster, Order::AtOnce).await;
}

#[tokio::test]
async fn a_later_node_joins_a_listed_cluster() {
    let mut cluster = listed(2).await;
    start(&mut cluster, Order::AtOnce).await;
    let index = cluster.add_node();
    // Not all members need be listed, and one that is away is not waited for.
    let nobody = format!("localhost:{}", Ports::reserve().http);
    let list = format!("{},{nobody}", cluster[0].http_address());
    cluster[index].add_args(["-cluster", &list]);
    cluster[index].spawn();
    assert_one_cluster(&cluster).await;
}

/// Gives the nodes the environment that consens' document gives them, with their own ports.
fn as_consens(cluster: &mut Cluster) {
    let urls: Vec<_> = cluster
        .nodes()
        .iter()
        .map(|node| format!("http://{}", node.http_address()))
        .collect();
    for (index, node) in cluster.nodes_mut().iter_mut().enumerate() {
        let mut others = urls.clone();
        others.remove(index);
        let port = node.ports().http.to_string();
        node.set_args(Vec::<String>::new());
        node.set_env(&[("CLUSTER", &others.join(",")), ("PORT", &port)]);
    }
}

async fn play_consens(cluster: &Cluster) {
    let names = ["node0", "node1", "node2"];
    let nodes = cluster.nodes().iter().map(Node::http_address);
    let places: Vec<_> = names.into_iter().zip(nodes).collect();
    let transcript = Transcript::parse(CONSENS);
    for engine in Engine::available() {
        transcript.play("three nodes", &places, engine).await;
    }
}

#[tokio::test]
async fn consens_own_environment_forms_a_cluster_and_join_catches_up() {
    for round in 0..settings::rounds(1, 20) {
        let mut cluster = Cluster::builder().nodes(3).prepare().await;
        as_consens(&mut cluster);
        start(&mut cluster, ORDERS[round % 3]).await;
        play_consens(&cluster).await;

        // ^C, a write meanwhile, and the third one is back with JOIN.
        cluster[2].stop().await;
        cluster[0]
            .put("/mykey", "meanwhile")
            .await
            .expect_status(201);
        let others = [0, 1].map(|index| format!("http://{}", cluster[index].http_address()));
        let port = cluster[2].ports().http.to_string();
        let env = [
            ("CLUSTER", &*others.join(",")),
            ("PORT", &port),
            ("JOIN", "true"),
        ];
        cluster[2].set_env(&env);
        cluster[2].start().await;
        wait_for("it has caught up", READ_WITHIN, async || {
            let read = cluster[2].get("/mykey").await.text();
            if read == "meanwhile" {
                Ok(())
            } else {
                Err(read)
            }
        })
        .await;
        assert_one_cluster(&cluster).await;
    }
}

#[tokio::test]
async fn consens_document_as_it_is_written() {
    let ports = [3_000, 4_000, 5_000].map(|http| Ports {
        http,
        raft: http + 10_000,
        listen: http + 10_000,
    });
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    if !ports
        .iter()
        .all(|ports| is_free(ports.http) && is_free(ports.raft))
    {
        return conclave_tests::said::skipped("consens' own ports 3000, 4000 and 5000 are taken");
    }
    let mut cluster = Cluster::builder().nodes(3).prepare().await;
    for (index, ports) in ports.into_iter().enumerate() {
        cluster[index] = Node::new(&format!("node{index}"), cluster.folder(), ports);
        cluster[index].set_args(Vec::<String>::new());
    }
    let url = |port: &str| format!("http://localhost:{port}");
    let (first, second, third) = (url("3000"), url("4000"), url("5000"));
    cluster[0].set_env(&[("CLUSTER", &format!("{second},{third}"))]);
    cluster[1].set_env(&[("CLUSTER", &format!("{first},{third}")), ("PORT", "4000")]);
    cluster[2].set_env(&[("CLUSTER", &format!("{first},{second}")), ("PORT", "5000")]);
    start(&mut cluster, Order::AtOnce).await;
    play_consens(&cluster).await;
}

#[tokio::test]
async fn consens_join_fails_when_the_first_node_does_not_answer() {
    let cluster = Cluster::single().await;
    let nobody = Ports::reserve();
    let others = format!(
        "http://localhost:{},http://{}",
        nobody.http,
        cluster[0].http_address()
    );
    let port = Ports::reserve().http.to_string();
    let env = [
        ("CLUSTER", &*others),
        ("PORT", &port),
        ("JOIN", "true"),
        ("CONCLAVE_JOIN_TIMEOUT", "2s"),
    ];
    let exit = run_node::<&str>(&[], &env, REFUSED_WITHIN).await;
    exit.assert_refused(&[&nobody.http.to_string()]);
    assert_eq!(
        cluster[0].status().await["members"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
}

#[tokio::test]
async fn flags_that_exclude_each_other_are_refused() {
    let folder = TempDir::new().expect("a temporary folder");
    let data = folder.path().join("data").display().to_string();
    for (flags, words) in [
        (vec!["-cluster", ":1", "-join", ":2"], ["-join", "-cluster"]),
        (
            vec!["-cluster", ":1", "-discover", "mdns"],
            ["-cluster", "-discover"],
        ),
        (vec!["-cluster", "https://a:1"], ["-cluster", "https://a:1"]),
        (vec!["-discover", "mdns", "-expect", "8"], ["expect", "8"]),
    ] {
        let mut args = flags;
        args.push(&data);
        run_node(&args, &[], REFUSED_WITHIN)
            .await
            .assert_refused(&words);
    }
    assert!(!folder.path().join("data").exists(), "nothing was made");
}

#[tokio::test]
async fn a_pledged_directory_does_not_start_alone() {
    let mut cluster = Cluster::builder().nodes(1).prepare().await;
    let data = cluster[0].data_dir();
    fs::create_dir_all(&data).expect("a directory");
    let id = |digit: &str| digit.repeat(32);
    let kept = serde_json::json!({
        "format": format_of(&mut cluster).await, "directory_id": id("1"), "pledged_to": id("2"),
        "attempt": 7, "name": "elsewhere", "raft": "localhost:1",
    });
    fs::write(data.join("formation.json"), kept.to_string()).expect("a written file");
    cluster[0].spawn();
    let status = cluster[0].wait_exit(REFUSED_WITHIN).await;
    assert_eq!(status.code(), Some(1));
    assert!(cluster[0].stderr().contains("pledged to `elsewhere`"));
}

/// Returns the format that directories have, from one that is made and removed.
async fn format_of(cluster: &mut Cluster) -> Value {
    cluster[0].start().await;
    cluster[0].kill();
    let path = cluster[0].data_dir();
    let text = fs::read_to_string(path.join("node.json")).expect("an identity");
    fs::remove_dir_all(&path).expect("removed");
    fs::create_dir_all(&path).expect("a directory");
    let identity: Value = serde_json::from_str(&text).expect("JSON");
    identity["format"].clone()
}
