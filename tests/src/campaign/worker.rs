//! One client that records: it asks one node for one thing at a time.

use std::time::Duration;

use serde_json::Value;

use crate::history::{Answer, Call, End, History, Operation, Stopwatch};
use crate::http::{Client, Failure, Request, Response};

/// Longest wait for an answer; then the operation is open.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// A client of all nodes, with the history of what it did.
#[derive(Debug)]
pub struct Worker {
    process: u32,
    /// Added to the process number after an operation that stays open: that process never ends it.
    processes: u32,
    clock: Stopwatch,
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
            node: usize::try_from(number).unwrap_or(0) % clients.len().max(1),
            clients,
            writes: 0,
            history: History::default(),
        }
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
        let request = request(key, &call, level);
        let invoked = self.clock.now();
        let answer = self.clients[self.node].send(&request).await;
        let end = classify(&call, &answer, self.clock.now());
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

fn request(key: &str, call: &Call, level: &str) -> Request {
    let target = format!("/api/keys/{key}");
    match call {
        Call::Get => Request::get(&format!("{target}?level={level}")),
        Call::Put { value } => Request::put(&target, value.as_bytes()),
        Call::Cas { expected, value } => {
            Request::put(&format!("{target}?cas={expected}"), value.as_bytes())
        }
        Call::Delete => Request::delete(&target),
    }
}

/// Returns how an operation ended: 200, 201, a 404 for the key and 412 are answers, whatever says
/// `"applied":"no"` and what was never sent has failed, everything else is open.
///
/// # Panics
///
/// An answer lacks what it must have.
#[must_use]
pub fn classify(call: &Call, answer: &Result<Response, Failure>, at: u64) -> End {
    let response = match answer {
        Ok(response) => response,
        Err(Failure::NotSent(_)) => return End::Failed,
        Err(Failure::Unknown(_)) => return End::Open,
    };
    let problem: Value = match response.status {
        200 | 201 => Value::Null,
        _ => serde_json::from_slice(&response.body).unwrap_or_default(),
    };
    let answer = match (call, response.status) {
        (Call::Get, 200) => Answer::Found {
            value: response.text(),
            revision: etag(response).unwrap_or_else(|| panic!("no `ETag` in {response:?}")),
        },
        (Call::Put { .. } | Call::Cas { .. }, 200 | 201) => Answer::Written {
            revision: written(response),
        },
        (Call::Delete, 200) => Answer::Deleted {
            revision: written(response),
        },
        (Call::Get | Call::Delete, 404) if problem["code"] == "key_not_found" => Answer::Absent,
        (Call::Cas { .. }, 412) => Answer::Mismatch {
            current: etag(response).unwrap_or(0),
        },
        _ if problem["applied"] == "no" => return End::Failed,
        _ => return End::Open,
    };
    End::Answered { at, answer }
}

fn etag(response: &Response) -> Option<u64> {
    response.header("etag")?.trim_matches('"').parse().ok()
}

fn written(response: &Response) -> u64 {
    let revision = response.json()["revision"].as_u64();
    revision.unwrap_or_else(|| panic!("no `revision` in {response:?}"))
}
