//! Free ports for the nodes of one test.
//!
//! They lie below the range from which the kernel takes the local ports of outgoing connections: a
//! port from that range could be taken by some client while its node is down. The Raft port is the
//! HTTP port + 10,000, which is also what a node without `-raddr` uses when it is given `PORT`; the
//! port that a node behind a proxy listens on is 5,000 above that.

use std::collections::HashSet;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::{Mutex, PoisonError};

use crate::random::{Random, fresh_seed};

const FIRST: u16 = 11_100;
const COUNT: u16 = 4_900;
/// Distance from a node's HTTP port to its Raft port.
const RAFT_OFFSET: u16 = 10_000;
/// Distance from a node's HTTP port to the port behind its proxy.
const LISTEN_OFFSET: u16 = 15_000;

static TAKEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);

/// The ports of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    pub http: u16,
    /// What other nodes dial.
    pub raft: u16,
    /// Where the node listens for them: `raft`, unless a proxy has that one.
    pub listen: u16,
}

impl Ports {
    /// Returns ports that are free now and that no other test of this process gets.
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
            let raft = http + RAFT_OFFSET;
            let all = [http, raft, http + LISTEN_OFFSET];
            if all.into_iter().all(is_free) && take(http) {
                let listen = raft;
                return Self { http, raft, listen };
            }
        }
        panic!("no free ports between {FIRST} and {}", FIRST + COUNT);
    }

    /// Leaves the Raft port to a proxy; the node listens on a third port.
    #[must_use]
    pub(crate) const fn behind_proxy(self) -> Self {
        Self {
            listen: self.http + LISTEN_OFFSET,
            ..self
        }
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
