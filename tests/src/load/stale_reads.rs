//! Stale reads while nodes fail, and the check afterwards that none was older than it said.
//!
//! They read one counter, written as fast as it goes. Every attempt writes a higher number, and only
//! over the revision that was read before it, so that a write of unknown outcome cannot come back
//! over a later one: the counter never falls.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::http::{Client, Request, Response};
use crate::wait::before_retry;

/// Longest wait of the writer for one answer: then it asks the next node.
const WRITTEN_WITHIN: Duration = Duration::from_millis(1_500);
/// Longest wait of a reader for one answer; a node may be frozen meanwhile.
const READ_WITHIN: Duration = Duration::from_secs(5);
/// Lies that are shown.
const SHOWN: usize = 12;

/// An acknowledged write.
#[derive(Debug, Clone, Copy)]
pub struct Written {
    pub value: u64,
    /// When the acknowledgement was here.
    pub at: Instant,
}

/// An answered stale read.
#[derive(Debug, Clone, Copy)]
pub struct Read {
    pub node: usize,
    /// When it was sent: the node has looked no earlier.
    pub began: Instant,
    /// 0 for none.
    pub value: u64,
    /// What the node says of its state's age; `None` says nothing.
    pub age: Option<Duration>,
}

/// A running writer.
#[derive(Debug)]
pub struct Writer {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Vec<Written>>,
}

impl Writer {
    /// Starts writing `key`; a failure turns to the next of the addresses.
    #[must_use]
    pub fn start(key: &str, addresses: &[String]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(write(key.to_owned(), addresses.to_vec(), Arc::clone(&stop)));
        Self { stop, task }
    }

    /// Stops after the current write and returns all that were acknowledged, in order.
    ///
    /// # Panics
    ///
    /// The writer has panicked.
    pub async fn stop(self) -> Vec<Written> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("the writer does not panic")
    }
}

async fn write(key: String, mut addresses: Vec<String>, stop: Arc<AtomicBool>) -> Vec<Written> {
    let mut acknowledged = Vec::new();
    let mut value = 0;
    let mut client = client_of(&addresses);
    let mut known = None;
    while !stop.load(Ordering::Relaxed) {
        let next = match known {
            Some(revision) => {
                value += 1;
                let revision = put(&mut client, &key, revision, value).await;
                let at = Instant::now();
                acknowledged.extend(revision.map(|_| Written { value, at }));
                revision
            }
            None => look(&mut client, &key).await,
        };
        if next.is_none() {
            addresses.rotate_left(1);
            client = client_of(&addresses);
            before_retry().await;
        }
        known = next;
    }
    acknowledged
}

fn client_of(addresses: &[String]) -> Client {
    let address = addresses.first().cloned().unwrap_or_default();
    Client::new(address).with_timeout(WRITTEN_WITHIN)
}

/// Writes over a revision, 0 for none, and returns the new one when that is acknowledged.
async fn put(client: &mut Client, key: &str, over: u64, value: u64) -> Option<u64> {
    let request = Request::put(
        &format!("/api/keys/{key}?cas={over}"),
        value.to_string().into_bytes(),
    );
    let response = client.send(&request).await.ok()?;
    let is_written = matches!(response.status, 200 | 201);
    is_written.then(|| response.json()["revision"].as_u64())?
}

/// Returns the revision to write over.
async fn look(client: &mut Client, key: &str) -> Option<u64> {
    let request = Request::get(&format!("/api/keys/{key}?level=consistent"));
    let response = client.send(&request).await.ok()?;
    match response.status {
        200 => response
            .expect_header("etag")
            .trim_matches('"')
            .parse()
            .ok(),
        404 => Some(0),
        _ => None,
    }
}

/// Running readers.
#[derive(Debug)]
pub struct Readers {
    answered: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Vec<Read>>>,
}

impl Readers {
    /// Starts `each` clients per node that read now and then, and without a pause while `closely`
    /// is true.
    #[must_use]
    pub fn start(key: &str, addresses: &[String], each: usize, closely: &Arc<AtomicBool>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicUsize::new(0));
        let nodes = addresses.iter().enumerate();
        let readers = nodes.flat_map(|reader| std::iter::repeat_n(reader, each));
        let tasks = readers.map(|(node, address)| {
            let client = Client::new(address.clone()).with_timeout(READ_WITHIN);
            let target = format!("/api/keys/{key}?level=stale");
            let reader = Reader {
                node,
                client,
                request: Request::get(&target),
                answered: Arc::clone(&answered),
                stop: Arc::clone(&stop),
                closely: Arc::clone(closely),
            };
            tokio::spawn(reader.run())
        });
        let tasks = tasks.collect();
        Self {
            answered,
            stop,
            tasks,
        }
    }

    /// Returns the number of answers so far.
    #[must_use]
    pub fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    /// Stops after the current reads and returns all answers.
    ///
    /// # Panics
    ///
    /// A reader has seen something that a stale read must not answer.
    pub async fn stop(self) -> Vec<Read> {
        self.stop.store(true, Ordering::Relaxed);
        let mut reads = Vec::new();
        for task in self.tasks {
            reads.extend(task.await.expect("no reader has failed"));
        }
        reads
    }
}

struct Reader {
    node: usize,
    client: Client,
    request: Request,
    answered: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    closely: Arc<AtomicBool>,
}

impl Reader {
    async fn run(mut self) -> Vec<Read> {
        let mut reads = Vec::new();
        while !self.stop.load(Ordering::Relaxed) {
            let began = Instant::now();
            let answer = self.client.send(&self.request).await;
            let is_answered = answer.is_ok();
            // A failure says nothing about any age.
            if let Ok(response) = answer {
                reads.push(Read {
                    node: self.node,
                    began,
                    value: value_of(&response),
                    age: age_of(&response),
                });
                self.answered.fetch_add(1, Ordering::Relaxed);
            }
            if !is_answered || !self.closely.load(Ordering::Relaxed) {
                before_retry().await;
            }
        }
        reads
    }
}

fn value_of(response: &Response) -> u64 {
    match response.status {
        200 => response.text().parse().expect("a number"),
        404 => 0,
        _ => panic!("a stale read waits for nothing: {response:?}"),
    }
}

/// Returns what an answer says of its state's age.
///
/// # Panics
///
/// The header is no number.
#[must_use]
pub fn age_of(response: &Response) -> Option<Duration> {
    response.header("conclave-last-contact")?;
    let ms = response.expect_number("conclave-last-contact");
    Some(Duration::from_millis(ms))
}

/// What reads said of their age, and how old they were.
#[derive(Debug)]
pub struct Verdict {
    /// Reads that said something.
    pub claims: usize,
    /// Those that were older than they said, by more than the allowance.
    pub lies: Vec<Lie>,
    /// By how many milliseconds, at worst, a read was older than it said; negative for younger.
    pub worst_ms: i128,
    /// The oldest read of all.
    pub oldest: Duration,
}

/// A read that was older than it said.
#[derive(Debug, Clone, Copy)]
pub struct Lie {
    pub read: Read,
    /// The state was at least that old.
    pub true_age: Duration,
}

/// Compares the age that each read claims with the writes acknowledged before it, which are in
/// order. A state is as old as the first acknowledged write that it lacks.
#[must_use]
pub fn judge(written: &[Written], reads: &[Read], allowance: Duration) -> Verdict {
    let mut verdict = Verdict {
        claims: 0,
        lies: Vec::new(),
        worst_ms: i128::MIN,
        oldest: Duration::ZERO,
    };
    for read in reads {
        let lacks = written.partition_point(|write| write.value <= read.value);
        let true_age = written.get(lacks).map_or(Duration::ZERO, |write| {
            read.began.saturating_duration_since(write.at)
        });
        verdict.oldest = verdict.oldest.max(true_age);
        let Some(age) = read.age else { continue };
        verdict.claims += 1;
        let ms = |duration: Duration| i128::try_from(duration.as_millis()).unwrap_or(i128::MAX);
        verdict.worst_ms = verdict.worst_ms.max(ms(true_age) - ms(age));
        if true_age > age + allowance {
            verdict.lies.push(Lie {
                read: *read,
                true_age,
            });
        }
    }
    verdict.lies.sort_by_key(|lie| lie.read.began);
    verdict
}

impl Verdict {
    /// Lists some of the lies, each with what `context` knows of its moment.
    #[must_use]
    pub fn report(&self, context: impl Fn(Instant) -> String) -> String {
        let mut text = String::new();
        let every = self.lies.len().div_ceil(SHOWN).max(1);
        for lie in self.lies.iter().step_by(every) {
            let said = lie.read.age.unwrap_or_default();
            let line = writeln!(
                text,
                "  node{} said {said:?}, was {:.0?} old ({})",
                lie.read.node,
                lie.true_age,
                context(lie.read.began),
            );
            line.expect("a string takes all");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_is_as_old_as_the_first_write_that_it_lacks() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let written: Vec<_> = [(1, 0), (3, 100), (4, 200)]
            .map(|(value, ms)| Written { value, at: at(ms) })
            .into();
        let judged = |value, began, age: Option<u64>| {
            let age = age.map(Duration::from_millis);
            let read = Read {
                node: 0,
                began: at(began),
                value,
                age,
            };
            judge(&written, &[read], Duration::from_millis(50))
        };
        // It lacks the write at 100 ms.
        assert!(judged(2, 400, Some(250)).lies.is_empty());
        let verdict = judged(2, 400, Some(249));
        assert_eq!(verdict.lies[0].true_age, Duration::from_millis(300));
        assert_eq!(verdict.worst_ms, 51);
        // The newest, or sent before the next was acknowledged.
        assert!(judged(4, 9_000, Some(0)).lies.is_empty());
        assert!(judged(3, 150, Some(0)).lies.is_empty());
        // A read that says nothing tells no lie.
        let verdict = judged(0, 9_000, None);
        assert!(verdict.lies.is_empty() && verdict.claims == 0);
    }
}
