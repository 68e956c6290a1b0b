//! Clients that write while something fails, and the check that nothing acknowledged is lost.
//!
//! Every write has its own key and value. 200 and 201 acknowledge it; an answer that says
//! `"applied":"no"`, or no connection, means that it is certainly not there; everything else is
//! unknown: it may or may not be there, but only with its own value.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::cluster::Node;
use crate::http::{Client, Failure, Request, Response};
use crate::random::{Random, fresh_seed};
use crate::wait::{before_retry, wait_for};

/// Keys in one folder: fewer than one recursive delete takes.
const FOLDER: usize = 1_000;
/// Clients that read what was written, at the end.
const READERS: usize = 4;
/// Longest wait of a writer for one answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// What the client knows of one write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Acknowledged { revision: u64 },
    NotApplied,
    Unknown,
}

/// One write as its client saw it.
#[derive(Debug, Clone)]
pub struct Attempt {
    pub key: String,
    pub value: String,
    pub outcome: Outcome,
    pub ended: Instant,
}

/// Where clients may write, at any moment.
type Addresses = Arc<Mutex<Vec<String>>>;

/// Running clients.
#[derive(Debug)]
pub struct Writers {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    addresses: Addresses,
    tasks: Vec<JoinHandle<Vec<Attempt>>>,
    started: Instant,
}

impl Writers {
    /// Starts `clients` clients, each with one write under way; a client whose node fails turns to
    /// the next address.
    #[must_use]
    pub fn start(addresses: &[String], clients: usize) -> Self {
        Self::start_with_values(addresses, clients, 0)
    }

    /// Like [`Self::start`], with keys that begin with `prefix`.
    #[must_use]
    pub fn start_below(prefix: &str, addresses: &[String], clients: usize) -> Self {
        Self::begin(prefix, addresses, clients, 0)
    }

    /// Like [`Self::start`], with values of all lengths up to about `most` bytes.
    #[must_use]
    pub fn start_with_values(addresses: &[String], clients: usize, most: usize) -> Self {
        Self::begin("", addresses, clients, most)
    }

    fn begin(prefix: &str, addresses: &[String], clients: usize, most: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let addresses: Addresses = Arc::new(Mutex::new(addresses.to_vec()));
        let run = fresh_seed();
        let tasks = (0..clients).map(|number| {
            let writer = Writer {
                prefix: format!("{prefix}w/{run:x}/{number}"),
                addresses: Arc::clone(&addresses),
                place: number,
                padding: (Random::new(run), most),
                stop: Arc::clone(&stop),
                acknowledged: Arc::clone(&acknowledged),
            };
            tokio::spawn(writer.run())
        });
        let tasks = tasks.collect();
        Self {
            stop,
            acknowledged,
            addresses,
            tasks,
            started: Instant::now(),
        }
    }

    /// Says where the clients may write from now on; one turns to it after its next failure.
    pub fn set_addresses(&self, addresses: Vec<String>) {
        *self
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = addresses;
    }

    /// Returns the number of acknowledged writes so far.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits until `more` further writes are acknowledged.
    ///
    /// # Panics
    ///
    /// They are not within `deadline`.
    pub async fn wait_acknowledged(&self, more: u64, deadline: Duration) {
        let goal = self.acknowledged() + more;
        wait_for(
            &format!("{goal} acknowledged writes"),
            deadline,
            async || {
                let now = self.acknowledged();
                if now >= goal {
                    Ok(())
                } else {
                    Err(format!("{now} acknowledged"))
                }
            },
        )
        .await;
    }

    /// Stops the clients after their current write and returns all that they saw.
    ///
    /// # Panics
    ///
    /// A client has panicked.
    pub async fn stop(mut self) -> WriteLog {
        self.stop.store(true, Ordering::Relaxed);
        let mut attempts = Vec::new();
        for task in self.tasks.drain(..) {
            attempts.extend(task.await.expect("a writer does not panic"));
        }
        WriteLog {
            attempts,
            started: self.started,
        }
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Writer {
    prefix: String,
    addresses: Addresses,
    /// Which of the addresses is in use.
    place: usize,
    /// Chooses how much is appended to a value, and the most of it.
    padding: (Random, usize),
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
}

impl Writer {
    async fn run(mut self) -> Vec<Attempt> {
        let mut attempts = Vec::new();
        let mut client = self.connect();
        while !self.stop.load(Ordering::Relaxed) {
            let number = attempts.len();
            let key = format!("{}/{}/{number}", self.prefix, number / FOLDER);
            let (random, most) = &mut self.padding;
            let padding = "+".repeat(random.below(*most + 1));
            let value = format!("value of {key}{padding}");
            let request = Request::put(&format!("/api/keys/{key}"), value.as_bytes());
            let outcome = classify(&client.send(&request).await);
            attempts.push(Attempt {
                key,
                value,
                outcome,
                ended: Instant::now(),
            });
            if matches!(outcome, Outcome::Acknowledged { .. }) {
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
            } else {
                self.place += 1;
                client = self.connect();
                before_retry().await;
            }
        }
        attempts
    }

    fn connect(&self) -> Client {
        let addresses = self
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let place = self.place % addresses.len().max(1);
        let address = addresses.get(place).cloned().unwrap_or_default();
        Client::new(address).with_timeout(ANSWER_WITHIN)
    }
}

fn classify(answer: &Result<Response, Failure>) -> Outcome {
    match answer {
        Ok(response) if matches!(response.status, 200 | 201) => {
            let header = response.header("conclave-revision");
            let revision = header.and_then(|text| text.parse().ok()).unwrap_or(0);
            Outcome::Acknowledged { revision }
        }
        Ok(response) => {
            let problem: serde_json::Value =
                serde_json::from_slice(&response.body).unwrap_or_default();
            if problem["applied"] == "no" {
                Outcome::NotApplied
            } else {
                Outcome::Unknown
            }
        }
        Err(Failure::NotSent(_)) => Outcome::NotApplied,
        Err(Failure::Unknown(_)) => Outcome::Unknown,
    }
}

/// All writes as their clients saw them.
#[derive(Debug)]
pub struct WriteLog {
    pub attempts: Vec<Attempt>,
    started: Instant,
}

impl WriteLog {
    /// Adds another log.
    pub fn extend(&mut self, other: Self) {
        self.attempts.extend(other.attempts);
    }

    /// Returns the number of acknowledged writes.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        let acknowledged = |a: &&Attempt| matches!(a.outcome, Outcome::Acknowledged { .. });
        self.attempts.iter().filter(acknowledged).count()
    }

    /// Returns the number of writes that were acknowledged in the `last` time before a moment.
    #[must_use]
    pub fn acknowledged_before(&self, moment: Instant, last: Duration) -> usize {
        let counts = |a: &&Attempt| {
            let in_time = a.ended <= moment && a.ended + last > moment;
            in_time && matches!(a.outcome, Outcome::Acknowledged { .. })
        };
        self.attempts.iter().filter(counts).count()
    }

    /// Returns the longest time in which no write was acknowledged, all clients together.
    #[must_use]
    pub fn longest_pause(&self) -> Duration {
        let ends = self.acknowledgements();
        let pauses = ends.windows(2).map(|pair| pair[1] - pair[0]);
        pauses.max().unwrap_or_default()
    }

    /// Returns for each time, from and to, the longest such pause of which at least a part is in it.
    #[must_use]
    pub fn longest_pauses(&self, times: &[(Instant, Instant)]) -> Vec<Duration> {
        let ends = self.acknowledgements();
        let longest = times.iter().map(|(from, to)| {
            let first = ends.partition_point(|end| end <= from).saturating_sub(1);
            let last = ends.partition_point(|end| end < to) + 1;
            let within = &ends[first.min(ends.len())..last.min(ends.len())];
            let pauses = within.windows(2).map(|pair| pair[1] - pair[0]);
            pauses.max().unwrap_or_default()
        });
        longest.collect()
    }

    /// Returns when writes were acknowledged, in order, after the start of the clients.
    fn acknowledgements(&self) -> Vec<Instant> {
        let acknowledged = self
            .attempts
            .iter()
            .filter(|attempt| matches!(attempt.outcome, Outcome::Acknowledged { .. }));
        let mut ends: Vec<_> = acknowledged.map(|attempt| attempt.ended).collect();
        ends.push(self.started);
        ends.sort_unstable();
        ends
    }

    /// Reads every key at `node`: what was acknowledged is there under its revision, what was
    /// refused is not, and nothing has a value that nobody wrote.
    ///
    /// # Panics
    ///
    /// Something is lost, or there that should not be; all such keys are listed.
    pub async fn assert_kept(&self, node: &Node, level: &str) {
        let wrong = self.wrong_at(node, level).await;
        assert!(
            wrong.is_empty(),
            "{} of {} writes are wrong on {}:\n{}",
            wrong.len(),
            self.attempts.len(),
            node.name(),
            wrong.join("\n")
        );
    }

    /// Returns what [`Self::assert_kept`] would complain of, a line for each key.
    pub async fn wrong_at(&self, node: &Node, level: &str) -> Vec<String> {
        let share = self.attempts.len().div_ceil(READERS).max(1);
        let mut shares = self.attempts.chunks(share);
        let mut read = || wrong_of(shares.next().unwrap_or_default(), node, level);
        let (a, b, c, d) = tokio::join!(read(), read(), read(), read());
        [a, b, c, d].concat()
    }

    /// Deletes all that may be there.
    ///
    /// # Panics
    ///
    /// A delete fails.
    pub async fn remove_all(&self, node: &Node) {
        let folder = |attempt: &Attempt| attempt.key.rsplit_once('/').map(|(to, _)| to.to_owned());
        let folders: BTreeSet<_> = self.attempts.iter().filter_map(folder).collect();
        for folder in folders {
            let target = format!("/api/keys/{folder}/?recursive=true");
            node.delete(&target).await.expect_status(200);
        }
    }
}

/// Reads some of what was written.
async fn wrong_of(attempts: &[Attempt], node: &Node, level: &str) -> Vec<String> {
    let mut client = node.client();
    let mut wrong = Vec::new();
    for attempt in attempts {
        let request = Request::get(&format!("/api/keys/{}?level={level}", attempt.key));
        match client.send(&request).await {
            Ok(response) => wrong.extend(judge(attempt, &response)),
            Err(failure) => wrong.push(format!("{}: {failure}", attempt.key)),
        }
    }
    wrong
}

/// Returns what is wrong with a read of the attempt's key.
fn judge(attempt: &Attempt, read: &Response) -> Option<String> {
    let there = read.status == 200 && read.body == attempt.value.as_bytes();
    let right = match attempt.outcome {
        Outcome::Acknowledged { revision } => {
            let etag = format!("\"{revision}\"");
            there && read.header("etag") == Some(&etag)
        }
        Outcome::NotApplied => read.status == 404,
        Outcome::Unknown => there || read.status == 404,
    };
    (!right).then(|| format!("{} was {:?}, now {read:?}", attempt.key, attempt.outcome))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_belongs_to_every_time_that_it_touches() {
        let started = Instant::now();
        let at = |ms| started + Duration::from_millis(ms);
        let attempt = |(ms, outcome)| Attempt {
            key: String::new(),
            value: String::new(),
            outcome,
            ended: at(ms),
        };
        let acknowledged = Outcome::Acknowledged { revision: 1 };
        let attempts = [
            (10, acknowledged),
            (40, Outcome::Unknown),
            (110, acknowledged),
            (120, acknowledged),
            (320, acknowledged),
        ];
        let log = WriteLog {
            attempts: attempts.map(attempt).into(),
            started,
        };
        assert_eq!(log.longest_pause(), Duration::from_millis(200));
        let times = [
            (20, 30),
            (105, 115),
            (115, 118),
            (0, 400),
            (50, 130),
            (330, 400),
        ];
        let times = times.map(|(from, to)| (at(from), at(to)));
        let pauses = log.longest_pauses(&times);
        let pauses: Vec<_> = pauses.iter().map(Duration::as_millis).collect();
        assert_eq!(pauses, [100, 100, 10, 200, 200, 0]);
    }
}
