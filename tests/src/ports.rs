//! Free ports for the nodes of one test.
//!
//! They lie below the range from which the kernel takes the local ports of outgoing connections: a
//! port from that range could be taken by some client while its node is down. The Raft port is the
//! HTTP port + 10,000, which is also what a node without `-raddr` uses when it is given `PORT`.

use std::collections::HashSet;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::{Mutex, PoisonError};

use crate::random::{Random, fresh_seed};

const FIRST: u16 = 11_100;
const COUNT: u16 = 9_900;
/// Distance from a node's HTTP port to its Raft port.
const RAFT_OFFSET: u16 = 10_000;

static TAKEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);

/// The two ports of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    pub http: u16,
    pub raft: u16,
}

impl Ports {
    /// Returns two ports that are free now and that no other test of this process gets.
    ///
    /// # Panics
    ///
    /// Hardly any port is free.
    #[must_use]
    pub fn reserve() -> Self {
        let mut random = Random::new(fresh_seed());
        for _ in 0..10_000 {
            let offset = u16::try_from(random.below(COUNT.into())).unwrap_or(0);
            let http = FIRST + offset;
            let ports = Self {
                http,
                raft: http + RAFT_OFFSET,
            };
            if is_free(ports.http) && is_free(ports.raft) && take(http) {
                return ports;
            }
        }
        panic!("no free ports between {FIRST} and {}", FIRST + COUNT);
    }
}

fn take(port: u16) -> bool {
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    taken.get_or_insert_default().insert(port)
}

/// Tries both addresses that `localhost` may have; a machine without IPv6 has no second one.
fn is_free(port: u16) -> bool {
    let in_use = |address: SocketAddr| {
        TcpListener::bind(address).is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse)
    };
    !in_use((Ipv4Addr::LOCALHOST, port).into()) && !in_use((Ipv6Addr::LOCALHOST, port).into())
}
