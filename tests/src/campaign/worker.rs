//! One client that records: it asks one node for one thing at a time.

use std::time::Duration;

use super::dialect::Dialect;
use crate::history::{Call, End, History, Operation, Stopwatch};
use crate::http::{Client, Request};

/// Longest wait for an answer; then the operation is open.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// A client of all nodes, with the history of what it did.
#[derive(Debug)]
pub struct Worker {
    process: u32,
    /// Added to the process number after an operation that stays open: that process never ends it.
    processes: u32,
    clock: Stopwatch,
    dialect: Dialect,
    clients: Vec<Client>,
    /// The node that it asks.
    node: usize,
    writes: u64,
    history: History,
}

impl Worker {
    /// Makes the `number`th of so many workers.
    #[must_use]
    pub fn new(number: u32, of: u32, clock: Stopwatch, addresses: &[String]) -> Self {
        let client = |address: &String| Client::new(address).with_timeout(ANSWER_WITHIN);
        let clients: Vec<_> = addresses.iter().map(client).collect();
        Self {
            process: number,
            processes: of,
            clock,
            dialect: Dialect::Conclave,
            node: usize::try_from(number).unwrap_or(0) % clients.len().max(1),
            clients,
            writes: 0,
            history: History::default(),
        }
    }

    /// Sets the system that it speaks to; Conclave when not said.
    #[must_use]
    pub const fn speaking(mut self, dialect: Dialect) -> Self {
        self.dialect = dialect;
        self
    }

    /// Sets the longest wait for an answer.
    pub fn set_timeout(&mut self, timeout: Duration) {
        let clients = self.clients.drain(..);
        self.clients = clients.map(|client| client.with_timeout(timeout)).collect();
    }

    /// Turns to another node.
    pub fn turn_to(&mut self, node: usize) {
        self.node = node % self.clients.len();
    }

    /// Returns the node that it asks.
    #[must_use]
    pub const fn node(&self) -> usize {
        self.node
    }

    /// Opens the connection to its node, which is kept for what it asks next.
    pub async fn connect(&mut self) {
        let livez = Request::get("/livez");
        // Without one, the next request opens it.
        let _unneeded = self.clients[self.node].send(&livez).await;
    }

    /// Returns a value that nobody else writes in this history.
    pub fn next_value(&mut self) -> String {
        self.writes += 1;
        format!("p{}-{}", self.process, self.writes)
    }

    /// Does one thing and records it.
    ///
    /// # Panics
    ///
    /// The answer is none that the contract knows.
    pub async fn perform(&mut self, key: &str, call: Call, level: &str) -> End {
        let request = self.dialect.request(key, &call, level);
        let invoked = self.clock.now();
        let answer = self.clients[self.node].send(&request).await;
        let end = self.dialect.end(&call, &answer, self.clock.now());
        let operation = Operation {
            process: self.process,
            call,
            invoked,
            end: end.clone(),
        };
        self.history.push(key, operation);
        if end == End::Open {
            self.process += self.processes;
        }
        end
    }

    /// Gives the history.
    #[must_use]
    pub fn into_history(self) -> History {
        self.history
    }
}
