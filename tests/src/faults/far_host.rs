//! A host that can vanish: a network namespace behind a bridge. It needs root and `ip`.
//!
//! ```text
//! this host ── veth ── [bridge, in a namespace of its own] ── veth ── [far host]
//! ```
//!
//! Taken off the bridge, the far host neither gets nor sends a packet any more, and nobody is told: this
//! host's link stays up, no FIN and no RST ever comes. The far host's half of a connection is an
//! ordinary socket of this process.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::process::{Command, id};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use rustix::process::{Pid, geteuid, test_kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Where `ip netns` keeps the names.
const NAMES: &str = "/var/run/netns";
/// Begins every name; the number of the process that made it follows.
const PREFIX: &str = "far-";
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Hosts of this process so far: each has a network of its own.
static COUNT: AtomicU8 = AtomicU8::new(0);

/// A host on the other side of a bridge. It is removed when it is dropped.
#[derive(Debug)]
pub struct FarHost {
    name: String,
    middle: String,
    near: String,
    network: [u8; 3],
}

/// Returns what is missing for hosts that vanish.
#[must_use]
pub fn missing() -> Option<&'static str> {
    static MISSING: OnceLock<Option<&'static str>> = OnceLock::new();
    *MISSING.get_or_init(|| {
        if !geteuid().is_root() {
            return Some("root");
        }
        if Command::new("ip").arg("-V").output().is_err() {
            return Some("ip (iproute2)");
        }
        remove_leftovers(PREFIX);
        FarHost::try_create()
            .err()
            .map(|_| "network namespaces, veth and bridges")
    })
}

impl FarHost {
    /// Makes a host.
    ///
    /// # Panics
    ///
    /// It cannot be done; [`missing`] would have said so.
    #[must_use]
    pub fn create() -> Self {
        Self::try_create().unwrap_or_else(|error| panic!("{error}"))
    }

    fn try_create() -> Result<Self, String> {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let process = id();
        let [.., high, low] = process.to_be_bytes();
        let host = Self {
            name: format!("{PREFIX}{process}-{number}"),
            middle: format!("{PREFIX}{process}-{number}m"),
            // The kernel takes 15 characters.
            near: format!("far{high:02x}{low:02x}{number:02x}"),
            // Of 10.0.0.0/8, and hardly anybody's: tests of one process differ, and so do most processes.
            network: [10, 128 | (low & 0x7f), number ^ high],
        };
        host.wire()?;
        Ok(host)
    }

    fn wire(&self) -> Result<(), String> {
        let Self {
            name, middle, near, ..
        } = self;
        let (here, there) = (self.near_address(), self.far_address());
        for line in [
            format!("netns add {name}"),
            format!("netns add {middle}"),
            format!("-n {middle} link add bridge type bridge"),
            format!("-n {middle} link set bridge up"),
            format!("link add {near} type veth peer name near netns {middle}"),
            format!("-n {middle} link set near master bridge up"),
            format!("-n {middle} link add far type veth peer name eth0 netns {name}"),
            format!("-n {middle} link set far master bridge up"),
            format!("addr add {here}/24 dev {near}"),
            format!("link set {near} up"),
            format!("-n {name} addr add {there}/24 dev eth0"),
            format!("-n {name} link set eth0 up"),
        ] {
            ip(&line)?;
        }
        // A router's address would not vanish along with the host behind it.
        let link = ip(&format!("-n {name} -br link show eth0"))?;
        let link = link.split_whitespace().nth(2).unwrap_or_default();
        ip(&format!(
            "neigh replace {there} lladdr {link} dev {near} nud permanent"
        ))?;
        Ok(())
    }

    /// Returns the address of this host as the far one sees it.
    #[must_use]
    pub const fn near_address(&self) -> Ipv4Addr {
        let [a, b, c] = self.network;
        Ipv4Addr::new(a, b, c, 1)
    }

    const fn far_address(&self) -> Ipv4Addr {
        let [a, b, c] = self.network;
        Ipv4Addr::new(a, b, c, 2)
    }

    /// Connects from the far host to a port of this one.
    ///
    /// # Errors
    ///
    /// Nobody listens there.
    ///
    /// # Panics
    ///
    /// The namespace is gone.
    pub fn connect(&self, port: u16) -> io::Result<TcpStream> {
        let name = File::open(format!("{NAMES}/{}", self.name)).expect("the namespace's name");
        let address = SocketAddr::from((self.near_address(), port));
        // A socket stays in the namespace that its thread was in when it was made.
        let thread = std::thread::spawn(move || {
            move_into_link_name_space(name.as_fd(), Some(LinkNameSpaceType::Network))?;
            TcpStream::connect_timeout(&address, CONNECT_WITHIN)
        });
        thread.join().expect("connecting does not panic")
    }

    /// Takes the host off the network, for good.
    ///
    /// # Panics
    ///
    /// The kernel refuses.
    pub fn vanish(&self) {
        let cut = ip(&format!("-n {} link set far nomaster", self.middle));
        cut.unwrap_or_else(|error| panic!("{error}"));
    }
}

impl Drop for FarHost {
    fn drop(&mut self) {
        // Its links go with it, and this host's end with them. What was never made is not there.
        for name in [&self.middle, &self.name] {
            drop(ip(&format!("netns del {name}")));
        }
    }
}

/// Removes the hosts of processes that have died.
pub(super) fn remove_leftovers(prefix: &str) {
    let names = fs::read_dir(NAMES).into_iter().flatten().flatten();
    for name in names.filter_map(|entry| entry.file_name().into_string().ok()) {
        let owner = name
            .strip_prefix(prefix)
            .and_then(|rest| rest.split('-').next());
        let owner = owner.and_then(|pid| Pid::from_raw(pid.parse().ok()?));
        if owner.is_some_and(|pid| test_kill_process(pid).is_err()) {
            drop(ip(&format!("netns del {name}")));
        }
    }
}

/// Runs `ip` with the words of a line, and returns what it prints.
pub(super) fn ip(line: &str) -> Result<String, String> {
    let output = Command::new("ip").args(line.split(' ')).output();
    let output = output.map_err(|error| format!("ip {line}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("ip {line}: {}: {}", output.status, said.trim()))
    }
}
