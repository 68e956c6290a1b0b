//! Connections of peers that vanished without a word: they look healthy for ever, and must not keep
//! the same peers out when they are back.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use conclave_tests::cluster::usage::open_connections;
use conclave_tests::{Cluster, wait_for};
use serde_json::Value;

/// More than a node serves at once.
const CONNECTIONS: usize = 700;
/// Longest wait for a node's word on one connection.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// More than a node keeps of one peer, and than its other peers need.
const KEPT: usize = 40;

/// What a connection is for.
#[derive(Clone, Copy)]
enum Purpose {
    Append = 0,
    Control = 1,
}

/// Returns the first frame of a connection from one member to another. The bytes are those of the peer
/// protocol, whose first frame never changes.
fn hello(purpose: Purpose, from: &Value, to: &Value) -> Vec<u8> {
    let id = |status: &Value| {
        let id = status["id"].as_u64().and_then(|id| u8::try_from(id).ok());
        id.filter(|id| *id < 128).expect("an id of one byte")
    };
    let text = |field: &str| from[field].as_str().expect("a text").to_owned();
    let (name, cluster) = (text("node"), text("cluster_id"));
    let cluster = u128::from_str_radix(&cluster, 16).expect("hex");
    let mut frame = b"CNCL\x03".to_vec();
    frame.push(purpose as u8);
    frame.extend(cluster.to_be_bytes());
    frame.push(id(from));
    frame.push(u8::try_from(name.len()).expect("a short name"));
    frame.extend(name.bytes());
    frame.push(id(to));
    let length = u32::try_from(frame.len()).expect("a short frame");
    [&length.to_be_bytes()[..], &frame].concat()
}

/// Makes a connection and returns it once the node has welcomed it.
fn connect(address: &str, hello: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the node listens");
    let limited = stream.set_read_timeout(Some(ANSWERED_WITHIN));
    limited.expect("a limit");
    stream.write_all(hello).expect("sent");
    let mut welcome = [0; 5];
    if let Err(error) = stream.read_exact(&mut welcome) {
        panic!("no welcome from {address}: {error}");
    }
    assert_eq!(welcome, [0, 0, 0, 1, 0], "length and `Welcome`");
    stream
}

#[tokio::test]
async fn connections_of_a_peer_that_vanished_do_not_keep_it_out() {
    let mut cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let node = cluster.followers().await[0];
    let (from, to) = (cluster[leader].status().await, cluster[node].status().await);
    let members = to["members"].as_array().expect("members");
    let member = members.iter().find(|member| member["node"] == to["node"]);
    let address = member.and_then(|member| member["raft"].as_str());
    let address = address.expect("an address");
    let hellos = [Purpose::Append, Purpose::Control].map(|purpose| hello(purpose, &from, &to));
    let connections: Vec<_> = (0..CONNECTIONS)
        .map(|n| connect(address, &hellos[n % hellos.len()]))
        .collect();
    let port = address
        .rsplit_once(':')
        .and_then(|(_, port)| port.parse().ok());
    let port = port.expect("a port");
    wait_for("few open connections", ANSWERED_WITHIN, async || {
        let open = open_connections(port).len();
        if open <= KEPT {
            Ok(())
        } else {
            Err(format!("{open} are open"))
        }
    })
    .await;

    // What its peers need of it, they connect for anew.
    cluster[leader].kill();
    cluster[leader].start().await;
    cluster.assert_converged().await;
    for n in [leader, node] {
        let put = cluster[n].put("/api/keys/half-open", "value").await;
        assert!([200, 201].contains(&put.status), "{put:?}");
    }
    drop(connections);
}
