//! Real processes of the real binary: one [`Node`] each, several a [`Cluster`].
//!
//! A cluster is killed and its directories are removed when it is dropped; when the test fails its
//! logs are printed and the directories stay. The nodes alive at once in one test process are
//! bounded, so that the cases of a many-threaded run do not starve each other.

mod binary;
mod builder;
mod here;
pub mod node;
pub mod ports;
pub(crate) mod process;
pub mod run;
pub mod usage;

use std::fs;
use std::io::ErrorKind;
use std::ops::{Index, IndexMut};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::SemaphorePermit;

use crate::faults::links::{Links, ProcessId};
use crate::wait::wait_for;

pub use builder::Builder;
pub(crate) use builder::room;
pub use node::Node;
use node::READY_WITHIN;
pub use ports::Ports;

/// Longest wait for a cluster to take writes again after a fault, on a busy machine.
pub const RECOVERED_WITHIN: Duration = Duration::from_secs(20);
/// Starts tried when somebody takes a reserved port.
const STARTS: usize = 5;
/// Longest time for an election, or for equal states after the last write.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);

/// The nodes of one test. A test has one cluster at a time: two would wait for each other's room.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    args: Vec<String>,
    env: Vec<(String, String)>,
    /// What the nodes run, when that is not the binary under test.
    binary: Option<PathBuf>,
    links: Option<Links>,
    root: TempDir,
    _permit: SemaphorePermit<'static>,
}

impl Cluster {
    /// Begins with three nodes and the usual flags.
    #[must_use]
    pub const fn builder() -> Builder {
        Builder::new()
    }

    /// Starts three nodes.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// Starts one node.
    pub async fn single() -> Self {
        Self::builder().nodes(1).start().await
    }

    /// Starts the first of the prepared nodes and joins the others to it; returns when all are voters.
    ///
    /// # Panics
    ///
    /// A node does not start.
    pub async fn form(&mut self) {
        self.form_of(self.nodes.len()).await;
    }

    /// Does the same with the first `wanted` of the nodes; the others stay down.
    ///
    /// # Panics
    ///
    /// A node does not start.
    pub async fn form_of(&mut self, wanted: usize) {
        self.start_fresh(0).await;
        let first = self.nodes[0].http_address();
        for index in 1..wanted {
            self.nodes[index].add_args(["-join", &first]);
            self.start_fresh(index).await;
        }
        self.wait_voters(wanted).await;
    }

    /// Adds a node with its directory and ports and the cluster's flags, and does not start it.
    pub fn add_node(&mut self) -> usize {
        let index = self.nodes.len();
        let mut node = self.new_node(index);
        node.add_args(self.args.iter().cloned());
        self.nodes.push(node);
        index
    }

    /// Makes a node with ports of its own, behind a proxy when there are links.
    fn new_node(&self, index: usize) -> Node {
        let name = format!("node{index}");
        let mut node = match &self.links {
            Some(links) => {
                let process = ProcessId::default();
                let ports = links.add(index, &process);
                Node::new(&name, self.root.path(), ports).behind_links(process)
            }
            None => Node::new(&name, self.root.path(), Ports::reserve()),
        };
        let env = self.env.iter();
        let env: Vec<_> = env
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        node.set_env(&env);
        node.set_binary(self.binary.as_deref());
        node
    }

    /// Kills a node, takes its data away, and lets it join through those addresses when it is started.
    ///
    /// # Panics
    ///
    /// Its directory cannot be removed.
    pub fn wipe(&mut self, index: usize, join: &[String]) {
        let node = &mut self.nodes[index];
        node.kill();
        let removed = fs::remove_dir_all(node.data_dir());
        let is_gone = match &removed {
            Ok(()) => true,
            Err(error) => error.kind() == ErrorKind::NotFound,
        };
        assert!(is_gone, "wipe {}: {removed:?}", node.name());
        let usual = node.usual_args();
        node.set_args(usual);
        node.add_args(self.args.iter().cloned());
        for address in join {
            node.add_args(["-join", address]);
        }
    }

    /// Starts a node with an empty directory, on other ports when its own were taken meanwhile.
    async fn start_fresh(&mut self, index: usize) {
        for _ in 0..STARTS {
            let node = &mut self.nodes[index];
            node.spawn();
            let Err(status) = node.ready_or_exit().await else {
                return;
            };
            let taken = node.stderr().to_lowercase().contains("in use");
            assert!(
                taken,
                "{} ended with {status}:\n{}",
                node.name(),
                node.log_tail()
            );
            let mut node = self.new_node(index);
            node.take_over(&mut self.nodes[index]);
            self.nodes[index] = node;
        }
        panic!("node{index} found its ports taken {STARTS} times");
    }

    /// Returns the links between the nodes.
    ///
    /// # Panics
    ///
    /// The cluster was not built with [`Builder::links`].
    #[must_use]
    pub fn links(&self) -> Links {
        self.links.clone().expect("a cluster with links")
    }

    /// Returns the nodes, running or not.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Returns the nodes, to start and stop them.
    pub fn nodes_mut(&mut self) -> &mut [Node] {
        &mut self.nodes
    }

    /// Returns the folder of this test; `path` below it belongs to nobody else.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.root.path()
    }

    /// Returns the API addresses of the running nodes.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.running().map(Node::http_address).collect()
    }

    /// Returns where clients reach some of the nodes.
    #[must_use]
    pub fn addresses_of(&self, nodes: &[usize]) -> Vec<String> {
        nodes
            .iter()
            .map(|&index| self[index].http_address())
            .collect()
    }

    fn running(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.is_started())
    }

    /// Waits until some nodes are exactly the voters of one cluster that takes writes, whatever
    /// their names are, and returns its id.
    ///
    /// # Panics
    ///
    /// They are not.
    pub async fn wait_formed(&self, nodes: &[usize], deadline: Duration) -> Value {
        let what = format!("nodes {nodes:?} are one cluster");
        let id = wait_for(&what, deadline, async || {
            let mut statuses = Vec::new();
            for &index in nodes {
                let node = &self.nodes[index];
                let status = node.try_status().await?;
                let ready = node.try_get("/readyz?verbose").await;
                match ready.map_err(|failure| failure.to_string())? {
                    response if response.status == 200 => statuses.push(status),
                    response => return Err(format!("{}: {response:?}", node.name())),
                }
            }
            let id = statuses[0]["cluster_id"].clone();
            let is_formed = |status: &Value| {
                let members = status["members"].as_array().map_or(&[][..], Vec::as_slice);
                let is_voter = |member: &&Value| member["voter"] == true;
                status["cluster_id"] == id
                    && members.len() == nodes.len()
                    && members.iter().filter(is_voter).count() == nodes.len()
            };
            match statuses.iter().all(is_formed) {
                true => Ok(id),
                false => Err(summary(&statuses)),
            }
        });
        let id = id.await;
        let last = &self.nodes[nodes[nodes.len() - 1]];
        let written = last.put("/api/keys/formed", "1").await;
        assert!(written.status < 300, "{written:?}");
        id
    }

    /// Waits until the running nodes agree on a leader that runs, and returns its index.
    ///
    /// # Panics
    ///
    /// They do not.
    pub async fn leader(&self) -> usize {
        wait_for("the nodes agree on a leader", SETTLED_WITHIN, async || {
            let statuses = self.statuses().await?;
            let names: Vec<_> = statuses
                .iter()
                .map(|status| status["leader"].as_str())
                .collect();
            let leader = names.first().copied().flatten();
            let leads =
                |status: &Value| status["role"] == "leader" && status["node"].as_str() == leader;
            let agreed = leader.is_some() && names.iter().all(|name| *name == leader);
            if !agreed || !statuses.iter().any(leads) {
                return Err(summary(&statuses));
            }
            let index = self
                .nodes
                .iter()
                .position(|node| Some(node.name()) == leader);
            index.ok_or_else(|| summary(&statuses))
        })
        .await
    }

    /// Returns the indexes of the running nodes that do not lead.
    pub async fn followers(&self) -> Vec<usize> {
        let leader = self.leader().await;
        let running = |&index: &usize| self.nodes[index].is_started();
        (0..self.nodes.len())
            .filter(|&index| index != leader)
            .filter(running)
            .collect()
    }

    /// Waits until every running node sees `wanted` voters.
    ///
    /// # Panics
    ///
    /// One does not.
    pub async fn wait_voters(&self, wanted: usize) {
        let what = format!("{wanted} voters on every node");
        wait_for(&what, SETTLED_WITHIN, async || {
            let statuses = self.statuses().await?;
            let voters = |status: &Value| {
                let members = status["members"].as_array().map_or(&[][..], Vec::as_slice);
                members
                    .iter()
                    .filter(|member| member["voter"] == true)
                    .count()
            };
            // In a joint configuration the voters before must agree as well: one of two would be missed.
            let settled = |status: &Value| status["joint"] == false && voters(status) == wanted;
            let all = statuses.iter().all(settled);
            if all { Ok(()) } else { Err(summary(&statuses)) }
        })
        .await;
        self.leader().await;
    }

    /// Kills all nodes and starts them again; returns when all are ready.
    ///
    /// # Panics
    ///
    /// A node does not start.
    pub async fn restart_all(&mut self) {
        for node in self.nodes_mut() {
            node.kill();
        }
        for node in self.nodes_mut() {
            node.spawn();
        }
        for node in self.nodes_mut() {
            node.wait_ready().await;
        }
    }

    /// Waits until all running nodes have applied the same and have the same state hash, and
    /// checks that none of them has panicked. Every cluster test ends with it.
    ///
    /// # Panics
    ///
    /// The nodes differ, or one has panicked.
    pub async fn assert_converged(&self) {
        wait_for("equal states on all nodes", SETTLED_WITHIN, async || {
            let statuses = self.statuses().await?;
            let state = |status: &Value| {
                (
                    status["applied_index"].clone(),
                    status["state_hash"].clone(),
                )
            };
            let first = statuses.first().map(state);
            let hashed = statuses
                .iter()
                .all(|status| status["state_hash"]["hash"].is_string());
            let equal = statuses.iter().all(|status| Some(state(status)) == first);
            if hashed && equal {
                Ok(())
            } else {
                Err(summary(&statuses))
            }
        })
        .await;
        for node in &self.nodes {
            let log = node.stderr();
            assert!(
                !log.contains("panicked at"),
                "{} has panicked:\n{log}",
                node.name()
            );
        }
    }

    /// Waits until every running node has applied `index`.
    ///
    /// # Panics
    ///
    /// One does not.
    pub async fn wait_applied(&self, index: u64) {
        let what = format!("index {index} applied on every node");
        wait_for(&what, READY_WITHIN, async || {
            let statuses = self.statuses().await?;
            let applied = |status: &Value| status["applied_index"].as_u64() >= Some(index);
            if statuses.iter().all(applied) {
                Ok(())
            } else {
                Err(summary(&statuses))
            }
        })
        .await;
    }

    async fn statuses(&self) -> Result<Vec<Value>, String> {
        let mut statuses = Vec::new();
        for node in self.running() {
            statuses.push(node.try_status().await?);
        }
        if statuses.is_empty() {
            Err("no node runs".to_owned())
        } else {
            Ok(statuses)
        }
    }
}

/// Returns what matters of each status, one node per line.
fn summary(statuses: &[Value]) -> String {
    let fields = [
        "role",
        "leader",
        "term",
        "last_log_index",
        "applied_index",
        "state_hash",
    ];
    let mut text = String::new();
    for status in statuses {
        text.push_str(&format!("\n  {}:", status["node"]));
        for field in fields {
            text.push_str(&format!(" {field}={}", status[field]));
        }
        let members = status["members"].as_array().map_or(&[][..], Vec::as_slice);
        for member in members {
            text.push_str(&format!(" {}(voter={})", member["node"], member["voter"]));
        }
    }
    text
}

impl Index<usize> for Cluster {
    type Output = Node;

    fn index(&self, index: usize) -> &Node {
        &self.nodes[index]
    }
}

impl IndexMut<usize> for Cluster {
    fn index_mut(&mut self, index: usize) -> &mut Node {
        &mut self.nodes[index]
    }
}

impl Drop for Cluster {
    #[expect(clippy::print_stderr, reason = "the report of a failed test")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.root.disable_cleanup(true);
            eprintln!("the nodes' files stay in {}", self.root.path().display());
            for node in &self.nodes {
                eprint!("{}", node.log_tail());
            }
        }
        // Killed before their directories are removed.
        self.nodes.clear();
    }
}
