//! Clients that write while something fails, and the check that nothing acknowledged is lost.
//!
//! Every write has its own key and value. 200 and 201 acknowledge it; an answer that says
//! `"applied":"no"`, or no connection, means that it is certainly not there; everything else is
//! unknown: it may or may not be there, but only with its own value.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::JoinHandle;

use crate::cluster::Node;
use crate::http::{Client, Failure, Request, Response};
use crate::random::{Random, fresh_seed};
use crate::wait::{before_retry, wait_for};

/// Keys in one folder: what one page has, and fewer than one recursive delete takes.
const FOLDER: usize = 1_000;
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
            let problem: Value = serde_json::from_slice(&response.body).unwrap_or_default();
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

    /// Lists what `node` has: what was acknowledged is there under its revision, what was refused is
    /// not, and nothing is there that nobody wrote.
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
        let mut client = node.client();
        let mut wrong = Vec::new();
        for (folder, attempts) in self.folders() {
            match list(&mut client, folder, level).await {
                Ok(found) => wrong.extend(wrong_of(&attempts, found)),
                Err(reason) => wrong.push(format!("{folder}: {reason}")),
            }
        }
        wrong
    }

    /// Returns the writes of each folder.
    fn folders(&self) -> BTreeMap<&str, Vec<&Attempt>> {
        let mut folders = BTreeMap::<_, Vec<_>>::new();
        for attempt in &self.attempts {
            let (folder, _) = attempt.key.rsplit_once('/').unwrap_or_default();
            folders.entry(folder).or_default().push(attempt);
        }
        folders
    }

    /// Deletes all that may be there.
    ///
    /// # Panics
    ///
    /// A delete fails.
    pub async fn remove_all(&self, node: &Node) {
        for folder in self.folders().into_keys() {
            let target = format!("/api/keys/{folder}/?recursive=true");
            node.delete(&target).await.expect_status(200);
        }
    }
}

/// A key's value and revision.
type Found = BTreeMap<String, (String, u64)>;

/// Returns what is in a folder.
///
/// # Errors
///
/// There is no answer, or another one than pages; the text says which.
async fn list(client: &mut Client, folder: &str, level: &str) -> Result<Found, String> {
    let mut found = Found::new();
    let mut next = Some(format!(
        "/api/keys?prefix={folder}/&limit={FOLDER}&level={level}"
    ));
    while let Some(target) = next {
        let page = client.send(&Request::get(&target)).await;
        let page = page.map_err(|failure| failure.to_string())?;
        let body: Value = serde_json::from_slice(&page.body).unwrap_or_default();
        let entries = body["keys"].as_array().filter(|_| page.status == 200);
        for entry in entries.ok_or_else(|| format!("{page:?}"))? {
            let (key, value) = (entry["key"].as_str(), entry["value"].as_str());
            let revision = entry["mod_revision"].as_u64();
            let ((Some(key), Some(value)), Some(revision)) = ((key, value), revision) else {
                return Err(format!("no key: {entry}"));
            };
            found.insert(key.to_owned(), (value.to_owned(), revision));
        }
        let link = page.header("link").and_then(|link| link.split_once(">;"));
        next = link.map(|(target, _)| target.trim_start_matches('<').to_owned());
    }
    Ok(found)
}

/// Returns what is wrong with what was found in a folder.
fn wrong_of(attempts: &[&Attempt], mut found: Found) -> Vec<String> {
    let judged = attempts
        .iter()
        .filter_map(|attempt| judge(attempt, found.remove(&attempt.key).as_ref()));
    let mut wrong: Vec<_> = judged.collect();
    let foreign = found
        .into_iter()
        .map(|(key, found)| format!("{key} is {found:?}, and nobody wrote it"));
    wrong.extend(foreign);
    wrong
}

/// Returns what is wrong with the attempt's key.
fn judge(attempt: &Attempt, found: Option<&(String, u64)>) -> Option<String> {
    let is_own = found.is_some_and(|(value, _)| *value == attempt.value);
    let right = match attempt.outcome {
        Outcome::Acknowledged { revision } => {
            is_own && found.is_some_and(|(_, at)| *at == revision)
        }
        Outcome::NotApplied => found.is_none(),
        Outcome::Unknown => is_own || found.is_none(),
    };
    (!right).then(|| format!("{} was {:?}, now {found:?}", attempt.key, attempt.outcome))
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

    #[test]
    fn each_outcome_allows_what_it_allows_and_nothing_else() {
        let attempt = |outcome| Attempt {
            key: "w/0/0".to_owned(),
            value: "own".to_owned(),
            outcome,
            ended: Instant::now(),
        };
        let outcomes = [
            Outcome::Acknowledged { revision: 7 },
            Outcome::NotApplied,
            Outcome::Unknown,
        ];
        let found = [None, Some(("own", 7)), Some(("own", 8)), Some(("other", 7))];
        let expected = [
            [false, true, false, false],
            [true, false, false, false],
            [true, true, true, false],
        ];
        for (outcome, expected) in outcomes.into_iter().zip(expected) {
            let attempt = attempt(outcome);
            for (found, expected) in found.into_iter().zip(expected) {
                let found = found.map(|(value, at)| (attempt.key.clone(), (value.to_owned(), at)));
                let wrong = wrong_of(&[&attempt], found.into_iter().collect());
                assert_eq!(wrong.is_empty(), expected, "{outcome:?}: {wrong:?}");
            }
        }
        let foreign = ("w/0/1".to_owned(), ("own".to_owned(), 7));
        assert_eq!(wrong_of(&[], [foreign].into()).len(), 1);
    }
}
