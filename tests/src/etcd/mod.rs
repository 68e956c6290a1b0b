//! etcd under the same harness: what judges Conclave must find nothing in it that is not there, and
//! must see what is.
//!
//! [`Members`] are its processes, [`EtcdCluster`] makes them a [`System`] of campaigns. Clients and
//! watchers speak to the JSON gateway of each member (`/v3/…`), in which keys and values are base64
//! and 64-bit numbers are strings. Nothing here is compacted and no key has a lease.

mod json;
mod keys;
mod members;
mod watch;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::SemaphorePermit;

use crate::campaign::{Dialect, System};
use crate::cluster::room;
use crate::faults::links::Links;
use crate::http::{Client, Request, Response};
use crate::settings;
use crate::wait::wait_for;
use json::number;
pub(crate) use keys::{classify, request};
use members::MEMBERS;
pub use members::Members;
pub use watch::canon;
pub(crate) use watch::{WatchStream, watch_request};

/// Longest time from the start of a process until it answers, an election included.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Longest time for an election, or for equal states after the last write.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);
/// Longest wait for one answer of those that are asked again and again.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Returns the etcd server that is on PATH.
#[must_use]
pub fn binary() -> Option<PathBuf> {
    settings::on_path("etcd")
}

/// Three members as a campaign sees them.
#[derive(Debug)]
pub struct EtcdCluster {
    members: Members,
    _permit: SemaphorePermit<'static>,
}

impl EtcdCluster {
    /// Starts three members; returns when all are healthy.
    ///
    /// # Panics
    ///
    /// One is not within thirty seconds.
    pub async fn start(binary: &Path) -> Self {
        let permit = room(u32::try_from(MEMBERS).unwrap_or(u32::MAX)).await;
        let mut cluster = Self {
            members: Members::start(binary),
            _permit: permit,
        };
        for index in 0..MEMBERS {
            cluster.wait_healthy(index).await;
        }
        cluster
    }

    /// Waits until a member takes part in the cluster.
    async fn wait_healthy(&mut self, index: usize) {
        let address = self.members.addresses()[index].clone();
        wait_for("the member is healthy", READY_WITHIN, async || {
            if let Err(error) = self.members.check_alive() {
                panic!("{error}");
            }
            let body = ask(&address, &Request::get("/health")).await?;
            match body["health"].as_str() {
                Some("true") => Ok(()),
                _ => Err(body.to_string()),
            }
        })
        .await;
    }

    /// Asks every running member for the same and returns what they say.
    async fn ask_all(&self, target: &str, body: &Value) -> Result<Vec<(usize, Value)>, String> {
        let addresses = self.members.addresses();
        let request = Request::post(target, body.to_string());
        let mut answers = Vec::new();
        for index in self.members.running() {
            answers.push((index, ask(&addresses[index], &request).await?));
        }
        Ok(answers)
    }
}

/// Returns what a member answers, when that is 200.
async fn ask(address: &str, request: &Request) -> Result<Value, String> {
    let mut client = Client::new(address).with_timeout(ANSWER_WITHIN);
    match client.send(request).await {
        Ok(response) if response.status == 200 => Ok(body_of(&response)),
        Ok(response) => Err(format!("{address}: {response:?}")),
        Err(failure) => Err(format!("{address}: {failure}")),
    }
}

/// Returns the body of an answer; null when it is no JSON.
fn body_of(response: &Response) -> Value {
    serde_json::from_slice(&response.body).unwrap_or_default()
}

impl System for EtcdCluster {
    const DIALECT: Dialect = Dialect::Etcd;

    fn size(&self) -> usize {
        MEMBERS
    }

    fn all_addresses(&self) -> Vec<String> {
        self.members.addresses()
    }

    async fn leader(&self) -> usize {
        wait_for(
            "the members agree on a leader",
            SETTLED_WITHIN,
            async || {
                let statuses = self.ask_all("/v3/maintenance/status", &json!({})).await?;
                let leader = statuses.first().and_then(|(_, one)| number(&one["leader"]));
                let agreed = statuses
                    .iter()
                    .all(|(_, one)| number(&one["leader"]) == leader);
                let leads = |one: &Value| number(&one["header"]["member_id"]) == leader;
                let found = statuses.iter().find(|(_, one)| leads(one));
                match found {
                    Some((index, _)) if leader.is_some() && agreed => Ok(*index),
                    _ => Err(format!("{statuses:?}")),
                }
            },
        )
        .await
    }

    fn kill_node(&mut self, node: usize) {
        self.members.kill(node);
    }

    async fn start_node(&mut self, node: usize) {
        self.members.spawn(node);
        self.wait_healthy(node).await;
    }

    fn pause_node(&self, node: usize) {
        self.members.pause(node);
    }

    fn resume_node(&self, node: usize) {
        self.members.resume(node);
    }

    fn links(&self) -> Links {
        panic!("the members of etcd have no links that can be cut");
    }

    /// The hash is that of all keys with their history, at the newest revision.
    async fn assert_converged(&self) {
        wait_for("equal states on all members", SETTLED_WITHIN, async || {
            let hashes = self.ask_all("/v3/maintenance/hash", &json!({})).await?;
            let state = |one: &Value| (number(&one["header"]["revision"]), number(&one["hash"]));
            let first = hashes.first().map(|(_, one)| state(one));
            let whole = first.is_some_and(|(revision, hash)| revision.is_some() && hash.is_some());
            let equal = hashes.iter().all(|(_, one)| Some(state(one)) == first);
            match whole && equal {
                true => Ok(()),
                false => Err(format!("{hashes:?}")),
            }
        })
        .await;
        for log in self.members.stderr() {
            assert!(!log.contains("panic:"), "a member has panicked:\n{log}");
        }
    }
}

impl Drop for EtcdCluster {
    #[expect(clippy::print_stderr, reason = "the report of a failed test")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprint!("{}", self.members.log_tails());
        }
    }
}

#[cfg(test)]
mod tests;
