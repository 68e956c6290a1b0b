//! Clients that count by compare-and-set under an `Idempotency-Key`, and never give a write up.
//!
//! An increment reads a counter and writes the next value on the condition that nobody else did. A
//! write without a clear answer is repeated, the same one under the same id, through another node,
//! or is settled there. So each increment counts exactly once, whatever happens between the nodes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinHandle;

use crate::cluster::Node;
use crate::http::{Client, Failure, Request, Response};
use crate::load::repeats::under;
use crate::random::Random;
use crate::wait::{before_retry, wait_for};

/// Longest wait of a client for one answer; shorter than a node's own, so that a client gives up
/// while its write is under way.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// One unclear write in so many is settled, the others are repeated.
const SETTLED_ONE_IN: usize = 4;

/// How much is counted, and by whom.
#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    /// Begins the names of the counters.
    pub prefix: String,
    pub clients: usize,
    pub counters: usize,
    /// Increments of all clients together.
    pub increments: u64,
}

/// Running clients.
#[derive(Debug)]
pub struct Increments {
    plan: Plan,
    /// Increments that nobody has begun.
    tickets: Arc<AtomicU64>,
    done: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<Tally>>,
}

impl Increments {
    /// Starts the clients; each increment begins at a node of its own choice.
    #[must_use]
    pub fn start(addresses: &[String], plan: Plan) -> Self {
        let tickets = Arc::new(AtomicU64::new(plan.increments));
        let done = Arc::new(AtomicU64::new(0));
        let tasks = (0..plan.clients).map(|number| {
            let nodes = addresses.iter().map(Client::new);
            let client = Counting {
                name: format!("{:x}-{number}", plan.seed),
                nodes: nodes.map(|node| node.with_timeout(ANSWER_WITHIN)).collect(),
                node: 0,
                prefix: plan.prefix.clone(),
                counters: plan.counters,
                random: Random::new(plan.seed ^ (number as u64 + 1)),
                requests: 0,
                tickets: Arc::clone(&tickets),
                done: Arc::clone(&done),
                tally: Tally::default(),
            };
            tokio::spawn(client.run())
        });
        let tasks = tasks.collect();
        Self {
            plan,
            tickets,
            done,
            tasks,
        }
    }

    /// Lets nobody begin another increment, and returns what the clients saw.
    ///
    /// # Panics
    ///
    /// What was begun is not done within `deadline`, or a client has panicked.
    pub async fn stop(self, deadline: Duration) -> Tally {
        self.tickets.store(0, Ordering::Relaxed);
        self.finish(deadline).await
    }

    /// Waits until `increments` are done in all.
    ///
    /// # Panics
    ///
    /// They are not within `deadline`, or a client has panicked.
    pub async fn wait_done(&self, increments: u64, deadline: Duration) {
        let goal = increments.min(self.plan.increments);
        wait_for(&format!("{goal} increments"), deadline, async || {
            let done = self.done.load(Ordering::Relaxed);
            let idle = self.tasks.iter().all(JoinHandle::is_finished);
            if done >= goal || idle {
                Ok(())
            } else {
                Err(format!("{done} done"))
            }
        })
        .await;
    }

    /// Waits until all increments are done and returns what the clients saw.
    ///
    /// # Panics
    ///
    /// They are not within `deadline`, or a client has panicked.
    pub async fn finish(mut self, deadline: Duration) -> Tally {
        self.wait_done(self.plan.increments, deadline).await;
        let mut all = Tally::default();
        for task in self.tasks.drain(..) {
            all.add(task.await.expect("a client does not panic"));
        }
        all
    }
}

impl Drop for Increments {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// What the clients saw.
#[derive(Debug, Default)]
pub struct Tally {
    /// Values that were counted, with their revisions, by counter.
    counted: BTreeMap<String, Vec<(u64, u64)>>,
    /// Answers that were those of an earlier attempt.
    pub replays: u64,
    /// Attempts of which the client did not learn whether they were applied.
    pub unclear: u64,
    /// Unclear writes that were settled as applied, and as not applied.
    pub settled: (u64, u64),
    /// Increments that another client was faster with.
    pub refused: u64,
}

impl Tally {
    /// Returns the number of increments that count.
    #[must_use]
    pub fn successes(&self) -> u64 {
        self.counted
            .values()
            .map(|values| values.len() as u64)
            .sum()
    }

    fn add(&mut self, other: Self) {
        for (counter, values) in other.counted {
            self.counted.entry(counter).or_default().extend(values);
        }
        self.replays += other.replays;
        self.unclear += other.unclear;
        self.settled.0 += other.settled.0;
        self.settled.1 += other.settled.1;
        self.refused += other.refused;
    }

    /// Checks what `node` has applied: every counter's value is the number of increments that
    /// count, each of them made one step, and later ones have later revisions.
    ///
    /// # Panics
    ///
    /// An increment is lost or counted twice.
    pub async fn assert_counted_once(&self, node: &Node) {
        let wrong = self.wrong_at(node).await;
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    /// Returns what [`Self::assert_counted_once`] would complain of.
    ///
    /// # Panics
    ///
    /// A counter cannot be read.
    pub async fn wrong_at(&self, node: &Node) -> Vec<String> {
        let mut sum = 0;
        let mut wrong = Vec::new();
        for (counter, values) in &self.counted {
            let read = node.get(&format!("/api/keys/{counter}?level=stale")).await;
            let value = number(&read.expect_status(200).text());
            sum += value;
            let mut steps = values.clone();
            steps.sort_unstable();
            let each_once = steps.iter().map(|(value, _)| *value).eq(1..=value);
            let in_order = steps.windows(2).all(|pair| pair[0].1 < pair[1].1);
            if !each_once || !in_order {
                wrong.push(format!("{counter} is {value} after {}", values.len()));
            }
        }
        let successes = self.successes();
        if sum != successes || !wrong.is_empty() {
            let name = node.name();
            wrong.push(format!(
                "{sum} counted at {name}, {successes} increments succeeded"
            ));
        }
        wrong
    }
}

/// What an answer to a write means.
enum Verdict {
    Applied {
        revision: u64,
    },
    Refused,
    /// This attempt was not applied; an earlier one may have been.
    NotThisTime,
    Unclear,
}

struct Counting {
    name: String,
    nodes: Vec<Client>,
    /// Where the next request goes.
    node: usize,
    prefix: String,
    counters: usize,
    random: Random,
    requests: u64,
    tickets: Arc<AtomicU64>,
    done: Arc<AtomicU64>,
    tally: Tally,
}

impl Counting {
    async fn run(mut self) -> Tally {
        let next = |left: u64| left.checked_sub(1);
        let (all, none) = (Ordering::Relaxed, Ordering::Relaxed);
        while self.tickets.fetch_update(all, none, next).is_ok() {
            let counter = format!("{}{}", self.prefix, self.random.below(self.counters));
            self.node = self.random.below(self.nodes.len());
            let (value, revision) = self.increment(&counter).await;
            let values = self.tally.counted.entry(counter).or_default();
            values.push((value, revision));
            self.done.fetch_add(1, Ordering::Relaxed);
        }
        self.tally
    }

    /// Counts one on, with as many writes as it takes; returns the new value and its revision.
    async fn increment(&mut self, counter: &str) -> (u64, u64) {
        loop {
            let (value, tag) = self.read(counter).await;
            let body = (value + 1).to_string();
            let target = format!("/api/keys/{counter}");
            let write = match tag {
                Some(tag) => Request::put(&target, body).header("If-Match", &tag),
                None => Request::put(&format!("{target}?cas=0"), body),
            };
            self.requests += 1;
            let id = format!("{}-{}", self.name, self.requests);
            match self.decide(&id, &under(&id, write)).await {
                Some(revision) => return (value + 1, revision),
                None => self.tally.refused += 1,
            }
        }
    }

    /// Reads a counter at `consistent`, with its entity tag when it exists.
    async fn read(&mut self, counter: &str) -> (u64, Option<String>) {
        let request = Request::get(&format!("/api/keys/{counter}?level=consistent"));
        loop {
            match self.nodes[self.node].send(&request).await {
                Ok(read) if read.status == 200 => {
                    let tag = read.expect_header("etag").to_owned();
                    return (number(&read.text()), Some(tag));
                }
                Ok(read) if read.status == 404 => return (0, None),
                Ok(_) | Err(_) => self.turn_elsewhere().await,
            }
        }
    }

    /// Sends a write until it is certain what became of it; returns its revision if it counts.
    async fn decide(&mut self, id: &str, write: &Request) -> Option<u64> {
        loop {
            match self.attempt(write).await {
                Verdict::Applied { revision } => return Some(revision),
                Verdict::Refused => return None,
                Verdict::NotThisTime => self.turn_elsewhere().await,
                Verdict::Unclear => {
                    self.tally.unclear += 1;
                    self.turn_elsewhere().await;
                    if self.random.one_in(SETTLED_ONE_IN) {
                        return self.settle(id).await;
                    }
                }
            }
        }
    }

    async fn attempt(&mut self, write: &Request) -> Verdict {
        let answer = match self.nodes[self.node].send(write).await {
            Ok(answer) => answer,
            Err(Failure::NotSent(_)) => return Verdict::NotThisTime,
            Err(Failure::Unknown(_)) => return Verdict::Unclear,
        };
        if answer.header("conclave-replayed").is_some() {
            self.tally.replays += 1;
        }
        match answer.status {
            200 | 201 => Verdict::Applied {
                revision: answer.expect_number("conclave-revision"),
            },
            412 => Verdict::Refused,
            429 | 503 if applied(&answer) == "no" => Verdict::NotThisTime,
            504 => Verdict::Unclear,
            _ => panic!("{write}: {answer:?}"),
        }
    }

    /// Has a request id settled; returns the revision of its write if it was applied.
    async fn settle(&mut self, id: &str) -> Option<u64> {
        let request = Request::delete(&format!("/api/requests/{id}"));
        loop {
            match self.nodes[self.node].send(&request).await {
                Ok(answer) if answer.status == 200 => {
                    let settled = answer.json();
                    return self.settled(&settled);
                }
                Ok(answer) if matches!(answer.status, 429 | 503 | 504) => {}
                Ok(answer) => panic!("{request}: {answer:?}"),
                Err(_) => {}
            }
            self.turn_elsewhere().await;
        }
    }

    fn settled(&mut self, settled: &Value) -> Option<u64> {
        match settled["status"].as_str() {
            Some("applied") => {
                self.tally.settled.0 += 1;
                settled["outcome"]["revision"].as_u64()
            }
            Some("not_applied") => {
                self.tally.settled.1 += 1;
                None
            }
            _ => panic!("no settlement: {settled}"),
        }
    }

    async fn turn_elsewhere(&mut self) {
        self.node = (self.node + 1) % self.nodes.len();
        before_retry().await;
    }
}

fn applied(problem: &Response) -> String {
    let body = problem.json();
    body["applied"].as_str().unwrap_or_default().to_owned()
}

fn number(text: &str) -> u64 {
    text.parse()
        .unwrap_or_else(|_| panic!("a counter is `{text}`"))
}
