//! What a cluster is started with, and the room that it waits for.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::Cluster;
use crate::faults::clocks;
use crate::faults::links::Links;

/// Nodes alive at once: three clusters of three.
const NODES_ALIVE: u32 = 9;

static ALIVE: Semaphore = Semaphore::const_new(NODES_ALIVE as usize);

/// Waits until there is room for so many more nodes, of whatever system.
pub(crate) async fn room(nodes: u32) -> SemaphorePermit<'static> {
    let permit = ALIVE.acquire_many(nodes).await;
    permit.expect("the semaphore is never closed")
}

/// How much of the machine a test needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Share {
    OwnNodes,
    /// No other cluster runs meanwhile.
    Whole,
}

/// What a cluster is started with.
#[derive(Debug)]
pub struct Builder {
    nodes: usize,
    args: Vec<String>,
    env: Vec<(String, String)>,
    binary: Option<PathBuf>,
    share: Share,
    disk_mib: Option<u64>,
    wiring: Wiring,
}

/// How the nodes reach each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wiring {
    Direct,
    /// Through proxies that a test can cut.
    Links,
}

impl Builder {
    /// Begins with three nodes and the usual flags.
    pub(super) const fn new() -> Self {
        Self {
            nodes: 3,
            args: Vec::new(),
            env: Vec::new(),
            binary: None,
            share: Share::OwnNodes,
            disk_mib: None,
            wiring: Wiring::Direct,
        }
    }

    /// Sets the number of nodes; 3 when not said.
    #[must_use]
    pub const fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes;
        self
    }

    /// Adds flags for every node.
    #[must_use]
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|&arg| arg.to_owned()));
        self
    }

    /// Gives the nodes clocks that a test can hold back with [`clocks::hold_back`].
    #[must_use]
    pub fn clocks(mut self, library: &Path) -> Self {
        self.env.extend(clocks::environment(library));
        self
    }

    /// Sets what the nodes run; the binary under test when not said, or `None`.
    #[must_use]
    pub fn binary(mut self, binary: Option<&Path>) -> Self {
        self.binary = binary.map(Path::to_owned);
        self
    }

    /// Waits until no other cluster runs and keeps others out: for tests that measure time.
    #[must_use]
    pub const fn alone(mut self) -> Self {
        self.share = Share::Whole;
        self
    }

    /// Gives every node a disk of its own of that size; see [`crate::faults::loop_disk::missing`].
    #[must_use]
    pub const fn disks(mut self, mib: u64) -> Self {
        self.disk_mib = Some(mib);
        self
    }

    /// Puts a proxy in front of each node's peer port; see [`Cluster::links`].
    #[must_use]
    pub const fn links(mut self) -> Self {
        self.wiring = Wiring::Links;
        self
    }

    /// Starts the first node and joins the others to it; returns when all are voters.
    ///
    /// # Panics
    ///
    /// A node does not start.
    pub async fn start(self) -> Cluster {
        let mut cluster = self.prepare().await;
        cluster.form().await;
        cluster
    }

    /// Prepares directories and ports, and starts nothing.
    ///
    /// # Panics
    ///
    /// There is no room for the directories.
    pub async fn prepare(self) -> Cluster {
        let wanted = match self.share {
            Share::OwnNodes => u32::try_from(self.nodes)
                .unwrap_or(NODES_ALIVE)
                .min(NODES_ALIVE),
            Share::Whole => NODES_ALIVE,
        };
        let permit = room(wanted).await;
        let root = TempDir::with_prefix("conclave-test-").expect("a temporary folder");
        let mut cluster = Cluster {
            nodes: Vec::new(),
            args: self.args,
            env: self.env,
            binary: self.binary,
            links: (self.wiring == Wiring::Links).then(Links::start),
            root,
            _permit: permit,
        };
        for _ in 0..self.nodes {
            let index = cluster.add_node();
            if let Some(mib) = self.disk_mib {
                cluster.nodes[index].attach_disk(mib);
            }
        }
        cluster
    }
}
