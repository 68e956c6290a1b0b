//! Clients that write what watchers shall see: puts, deletes, several keys at once, keys that expire.
//!
//! All write the same few keys, each value is written once, and everything is written down as
//! [`Written`]: what it changes, and the revision or that it was refused or may be anywhere.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::task::JoinHandle;

use crate::cluster::Node;
use crate::http::{Client, Failure, Request, Response};
use crate::random::Random;
use crate::wait::{self, before_retry, wait_for};
use crate::watch::Written;

/// First parts of the keys; watchers ask for some of them.
pub const FOLDERS: [&str; 4] = ["a/", "b/", "c/", "d/"];
/// Keys in each folder.
const KEYS: usize = 8;
/// Longest wait for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Most keys of one transaction.
const TOGETHER: usize = 5;
/// Longest time until all keys with a time to live are gone.
const EXPIRED_WITHIN: Duration = Duration::from_secs(15);
/// Longest padding of a value when none is said, bytes.
const PADDING: usize = 200;

/// Running clients.
#[derive(Debug)]
pub struct WatchedWrites {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<Vec<Written>>>,
}

impl WatchedWrites {
    /// Starts so many clients, with values of the seed's own, each of which pauses for about `pace` between two writes.
    #[must_use]
    pub fn start(addresses: &[String], clients: usize, pace: Duration, seed: u64) -> Self {
        Self::begin("", addresses, clients, pace, seed, PADDING)
    }

    /// Like [`Self::start`], with keys that begin with `prefix`.
    #[must_use]
    pub fn start_below(
        prefix: &str,
        addresses: &[String],
        clients: usize,
        pace: Duration,
        seed: u64,
    ) -> Self {
        Self::begin(prefix, addresses, clients, pace, seed, PADDING)
    }

    /// Like [`Self::start`], with values of all lengths up to about `most` bytes.
    #[must_use]
    pub fn start_with_values(
        addresses: &[String],
        clients: usize,
        pace: Duration,
        seed: u64,
        most: usize,
    ) -> Self {
        Self::begin("", addresses, clients, pace, seed, most)
    }

    fn begin(
        prefix: &str,
        addresses: &[String],
        clients: usize,
        pace: Duration,
        seed: u64,
        most: usize,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let tasks = (0..clients).map(|number| {
            let writer = Writer {
                name: format!("{seed:x}-{number}"),
                prefix: prefix.to_owned(),
                addresses: addresses.to_vec(),
                random: Random::new(seed ^ (number as u64 + 1)),
                pace,
                most,
                values: 0,
                stop: Arc::clone(&stop),
                acknowledged: Arc::clone(&acknowledged),
                written: Vec::new(),
            };
            tokio::spawn(writer.run())
        });
        let tasks = tasks.collect();
        Self {
            stop,
            acknowledged,
            tasks,
        }
    }

    /// Returns the number of acknowledged writes so far.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Stops the clients after their current write and returns all that they know.
    ///
    /// # Panics
    ///
    /// A client has panicked.
    pub async fn stop(mut self) -> Vec<Written> {
        self.stop.store(true, Ordering::Relaxed);
        let mut written = Vec::new();
        for task in self.tasks.drain(..) {
            written.extend(task.await.expect("a writer does not panic"));
        }
        written
    }
}

impl Drop for WatchedWrites {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Returns the keys that begin with `prefix`, with what the API says of each; no more than a test
/// like these has.
///
/// # Errors
///
/// The node answers something else.
///
/// # Panics
///
/// It answers a list without keys.
pub async fn keys_below(prefix: &str, node: &Node) -> Result<BTreeMap<String, Value>, String> {
    let target = format!("/api/keys?prefix={prefix}&limit=1000&level=consistent");
    let listed = node.get(&target).await;
    if listed.status != 200 {
        return Err(format!("{listed:?}"));
    }
    let body = listed.json();
    let items = body["keys"].as_array();
    let items = items.unwrap_or_else(|| panic!("no list in {listed:?}"));
    let name = |one: &Value| one["key"].as_str().unwrap_or_default().to_owned();
    Ok(items.iter().map(|one| (name(one), one.clone())).collect())
}

/// Waits until no key that begins with `prefix` has a time to live any more.
///
/// # Panics
///
/// One has after fifteen seconds.
pub async fn wait_expired(prefix: &str, node: &Node) {
    wait_for("no key that expires", EXPIRED_WITHIN, async || {
        let keys = keys_below(prefix, node).await?;
        let expires = |one: &Value| one.get("ttl_ms").is_some_and(Value::is_u64);
        let left: Vec<_> = keys.values().filter(|one| expires(one)).collect();
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    })
    .await;
}

type Effect = (&'static str, String, Option<String>);

struct Writer {
    /// Begins all of its values; of no other writer's of the test.
    name: String,
    /// Begins all of their keys.
    prefix: String,
    addresses: Vec<String>,
    random: Random,
    pace: Duration,
    /// Longest padding of a value, bytes.
    most: usize,
    values: u64,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    written: Vec<Written>,
}

impl Writer {
    async fn run(mut self) -> Vec<Written> {
        let mut client = self.connect();
        while !self.stop.load(Ordering::Relaxed) {
            let (request, effects) = self.next();
            let answer = client.send(&request).await;
            let written = judge(&answer, effects);
            if written.revision.is_some() {
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
            } else if !answer.is_ok_and(|response| response.status == 404) {
                client = self.connect();
                before_retry().await;
            }
            self.written.push(written);
            let half = u64::try_from(self.pace.as_micros() / 2).unwrap_or(0);
            let more = self.random.number() % (2 * half).max(1);
            wait::pass(Duration::from_micros(half + more)).await;
        }
        self.written
    }

    fn connect(&mut self) -> Client {
        let address = &self.addresses[self.random.below(self.addresses.len())];
        Client::new(address).with_timeout(ANSWER_WITHIN)
    }

    fn key(&mut self) -> String {
        let folder = self.random.pick(&FOLDERS);
        let number = self.random.below(KEYS);
        format!("{}{folder}{number}", self.prefix)
    }

    fn value(&mut self) -> String {
        self.values += 1;
        let padding = "+".repeat(self.random.below(self.most));
        format!("{}-{}{padding}", self.name, self.values)
    }

    fn next(&mut self) -> (Request, Vec<Effect>) {
        let key = self.key();
        let path = format!("/api/keys/{key}");
        match self.random.below(10) {
            0 | 1 => (Request::delete(&path), vec![("delete", key, None)]),
            2 | 3 => self.together(),
            kind => {
                let value = self.value();
                let query = if kind == 4 { "?ttl=1s" } else { "" };
                let request = Request::put(&format!("{path}{query}"), value.as_bytes());
                (request, vec![("put", key, Some(value))])
            }
        }
    }

    /// Several keys, in one revision.
    fn together(&mut self) -> (Request, Vec<Effect>) {
        let mut body = Map::new();
        for _ in 0..2 + self.random.below(TOGETHER - 1) {
            let (key, value) = (self.key(), self.value());
            body.insert(key, Value::String(value));
        }
        let effects = body.iter().map(|(key, value)| {
            let value = value.as_str().map(str::to_owned);
            ("put", key.clone(), value)
        });
        let effects = effects.collect();
        let body = Value::Object(body).to_string();
        (Request::post("/key", body), effects)
    }
}

fn judge(answer: &Result<Response, Failure>, effects: Vec<Effect>) -> Written {
    let (revision, refused) = match answer {
        Ok(response) if matches!(response.status, 200 | 201) => {
            let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
            // Without one the write is unclear, and its watchers complain if it must not be.
            (body["revision"].as_u64(), false)
        }
        Ok(response) => {
            let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
            (None, body["applied"] == "no")
        }
        Err(Failure::NotSent(_)) => (None, true),
        Err(Failure::Unknown(_)) => (None, false),
    };
    Written {
        effects,
        revision,
        refused,
    }
}
