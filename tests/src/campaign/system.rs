//! What a campaign is run against: nodes that clients ask and that faults happen to.

use super::dialect::Dialect;
use crate::cluster::{Cluster, Node};
use crate::faults::links::Links;

/// Nodes of one system, by their indexes. A node that is down stays one of them.
pub trait System {
    /// What its clients speak.
    const DIALECT: Dialect;

    /// Returns the number of nodes, running or not.
    fn size(&self) -> usize;

    /// Returns the `host:port` of every node's API, running or not.
    fn all_addresses(&self) -> Vec<String>;

    /// Waits until the running nodes agree on a leader that runs, and returns it.
    ///
    /// # Panics
    ///
    /// They do not.
    fn leader(&self) -> impl Future<Output = usize>;

    /// Kills a node as `kill -9` does.
    fn kill_node(&mut self, node: usize);

    /// Starts a node that is down, with the data that it had, and waits until it is ready.
    ///
    /// # Panics
    ///
    /// It does not get ready.
    fn start_node(&mut self, node: usize) -> impl Future<Output = ()>;

    /// Freezes a node (`SIGSTOP`).
    fn pause_node(&self, node: usize);

    /// Lets a frozen node go on.
    fn resume_node(&self, node: usize);

    /// Returns the links between the nodes.
    ///
    /// # Panics
    ///
    /// There are none that can be cut.
    fn links(&self) -> Links;

    /// Waits until all nodes have the same state, and checks that none has panicked.
    ///
    /// # Panics
    ///
    /// They differ, or one has.
    fn assert_converged(&self) -> impl Future<Output = ()>;
}

impl System for Cluster {
    const DIALECT: Dialect = Dialect::Conclave;

    fn size(&self) -> usize {
        self.nodes().len()
    }

    fn all_addresses(&self) -> Vec<String> {
        self.nodes().iter().map(Node::http_address).collect()
    }

    async fn leader(&self) -> usize {
        Self::leader(self).await
    }

    fn kill_node(&mut self, node: usize) {
        self[node].kill();
    }

    async fn start_node(&mut self, node: usize) {
        self[node].start().await;
    }

    fn pause_node(&self, node: usize) {
        self[node].pause();
    }

    fn resume_node(&self, node: usize) {
        self[node].resume();
    }

    fn links(&self) -> Links {
        Self::links(self)
    }

    async fn assert_converged(&self) {
        Self::assert_converged(self).await;
    }
}
