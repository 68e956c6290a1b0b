//! Several hosts on one bridge: a network namespace each, where nodes can run. They see each other's
//! multicast, and this host reaches them all. It needs root and `ip`, as `far_host` does.
//!
//! ```text
//! this host ── veth ── [bridge, in a namespace of its own] ── veth ── [host 0], [host 1], …
//! ```

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, id};
use std::sync::atomic::{AtomicU8, Ordering};

use crate::faults::far_host::{ip, remove_leftovers};

/// Begins every name; the number of the process that made it follows.
const PREFIX: &str = "bridge-";

/// Bridges of this process so far: each has a network of its own.
static COUNT: AtomicU8 = AtomicU8::new(0);

/// A host on a bridge; it is there as long as the bridge is.
#[derive(Debug, Clone)]
pub struct Host {
    name: String,
    address: Ipv4Addr,
}

impl Host {
    /// Returns the address that everybody reaches it under.
    #[must_use]
    pub const fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Returns a command that runs a program there.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("ip");
        // `ip` becomes the program: signals reach it under the same number.
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }
}

/// A bridge with its hosts. It is removed when it is dropped.
#[derive(Debug)]
pub struct Bridge {
    name: String,
    hosts: Vec<Host>,
}

impl Bridge {
    /// Makes a bridge with that many hosts; see [`crate::faults::far_host::missing`].
    ///
    /// # Panics
    ///
    /// It cannot be done.
    #[must_use]
    pub fn create(count: u8) -> Self {
        remove_leftovers(PREFIX);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let process = id();
        let [.., high, low] = process.to_be_bytes();
        // Of 10.0.0.0/8, and hardly anybody's; `far_host` has the second half of it.
        let (a, b, c) = (10, low & 0x7f, number ^ high);
        let name = format!("{PREFIX}{process}-{number}");
        let near = format!("br{high:02x}{low:02x}{number:02x}");
        let mut this = Self {
            name: name.clone(),
            hosts: Vec::new(),
        };
        let mut lines = vec![
            format!("netns add {name}"),
            format!("-n {name} link add bridge type bridge"),
            format!("-n {name} link set bridge up"),
            format!("link add {near} type veth peer name near netns {name}"),
            format!("-n {name} link set near master bridge up"),
            format!("addr add {a}.{b}.{c}.1/24 dev {near}"),
            format!("link set {near} up"),
        ];
        for index in 0..count {
            let host = format!("{name}-{index}");
            let address = Ipv4Addr::new(a, b, c, 2 + index);
            lines.extend([
                format!("netns add {host}"),
                format!("-n {name} link add h{index} type veth peer name eth0 netns {host}"),
                format!("-n {name} link set h{index} master bridge up"),
                format!("-n {host} addr add {address}/24 dev eth0"),
                format!("-n {host} link set eth0 up"),
                format!("-n {host} link set lo up"),
            ]);
            let name = host;
            this.hosts.push(Host { name, address });
        }
        for line in lines {
            ip(&line).unwrap_or_else(|error| panic!("{error}"));
        }
        this
    }

    /// Returns the hosts.
    #[must_use]
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let hosts = self.hosts.iter().map(|host| &host.name);
        for name in std::iter::once(&self.name).chain(hosts) {
            drop(ip(&format!("netns del {name}")));
        }
    }
}
