//! Reads of every level at every node while nothing may fail: each answer is judged as it comes, and
//! one that is no success is wrong. They read one key that only counts up, by conditional writes.
//!
//! A `default` or `consistent` read sees the newest write that was acknowledged before it was sent; a
//! `stale` one the newest that was acknowledged before the age that it says; and no reader ever goes
//! back.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::http::{Client, Request, Response};
use crate::wait::{before_retry, wait_for};

const KEY: &str = "/api/keys/counter";
const LEVELS: [&str; 3] = ["stale", "default", "consistent"];
/// What the age of a stale answer may lack: one message on a busy machine.
const MESSAGE: Duration = Duration::from_secs(1);
/// The most that a node may say of its age in a cluster in which nothing fails.
const MOST_AGE: Duration = Duration::from_secs(30);
/// Complaints kept; a broken cluster makes thousands of the same.
const COMPLAINTS: usize = 20;

/// The running writer and readers.
#[derive(Debug)]
pub struct StrictReads {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

/// What they have seen.
#[derive(Debug)]
pub struct Verdict {
    pub writes: u64,
    pub reads: u64,
    /// The first of the wrong answers.
    pub wrong: Vec<String>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    /// The newest number that may be in the key.
    sent: AtomicU64,
    /// When each number was acknowledged: the first is 1.
    acknowledged: Mutex<Vec<Instant>>,
    /// Answers of each client; the writer is the last.
    answers: Vec<AtomicU64>,
    wrong: Mutex<Vec<String>>,
}

impl StrictReads {
    /// Starts a writer that goes around the addresses, and a reader of each level at each.
    #[must_use]
    pub fn start(addresses: &[String]) -> Self {
        let clients = addresses.len() * LEVELS.len() + 1;
        let shared = Arc::new(Shared {
            answers: (0..clients).map(|_| AtomicU64::new(0)).collect(),
            ..Shared::default()
        });
        let writer = write(Arc::clone(&shared), addresses.to_vec());
        let mut tasks = vec![tokio::spawn(writer)];
        for (number, address) in addresses.iter().enumerate() {
            for (place, level) in LEVELS.into_iter().enumerate() {
                let number = number * LEVELS.len() + place;
                let reader = read(Arc::clone(&shared), number, address.clone(), level);
                tasks.push(tokio::spawn(reader));
            }
        }
        Self { shared, tasks }
    }

    /// Waits until each client has got `more` further answers, or one of them was wrong.
    ///
    /// # Panics
    ///
    /// A client has not got them within `deadline`.
    pub async fn wait_answers(&self, more: u64, deadline: Duration) {
        let seen = || {
            let each = self.shared.answers.iter();
            each.map(|n| n.load(Ordering::Relaxed)).collect::<Vec<_>>()
        };
        let before = seen();
        wait_for("answers for every client", deadline, async || {
            let now = seen();
            let enough = before.iter().zip(&now).all(|(old, new)| *new >= old + more);
            if enough || !locked(&self.shared.wrong).is_empty() {
                Ok(())
            } else {
                Err(format!("{before:?}, now {now:?}"))
            }
        })
        .await;
    }

    /// Stops all clients and returns what they have seen.
    ///
    /// # Panics
    ///
    /// One has panicked.
    pub async fn stop(mut self) -> Verdict {
        self.shared.stop.store(true, Ordering::Relaxed);
        for task in self.tasks.drain(..) {
            task.await.expect("a client does not panic");
        }
        let total = self.shared.answers.iter();
        let total: u64 = total.map(|n| n.load(Ordering::Relaxed)).sum();
        let writes = locked(&self.shared.acknowledged).len() as u64;
        Verdict {
            writes,
            reads: total.saturating_sub(writes),
            wrong: locked(&self.shared.wrong).clone(),
        }
    }
}

impl Drop for StrictReads {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn complain(&self, what: String) {
        let mut wrong = locked(&self.wrong);
        if wrong.len() < COMPLAINTS {
            wrong.push(what);
        }
    }

    /// Returns the newest number that was acknowledged at a moment.
    fn newest_at(&self, moment: Instant) -> u64 {
        locked(&self.acknowledged).partition_point(|at| *at <= moment) as u64
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }
}

/// Counts up: every write is conditional on the one before it, and one on an older revision fails.
async fn write(shared: Arc<Shared>, addresses: Vec<String>) {
    let mut clients: Vec<_> = addresses.into_iter().map(Client::new).collect();
    let mut revision: Option<String> = None;
    let mut number = 0;
    while shared.goes_on() && !clients.is_empty() {
        number += 1;
        clients.rotate_left(1);
        let client = &mut clients[0];
        let put = Request::put(KEY, number.to_string());
        let (put, status) = match &revision {
            None => (put.header("If-None-Match", "*"), 201),
            Some(etag) => (put.header("If-Match", etag), 200),
        };
        shared.sent.store(number, Ordering::SeqCst);
        match client.send(&put).await {
            Ok(answer) if answer.status == status => {
                locked(&shared.acknowledged).push(Instant::now());
                let new = answer.header("conclave-revision").unwrap_or_default();
                revision = Some(format!("\"{new}\""));
            }
            other => {
                return shared.complain(format!("{number} at {}: {other:?}", client.address()));
            }
        }
        let old = Request::put(KEY, "old").header("If-Match", "\"1\"");
        match client.send(&old).await {
            Ok(answer) if answer.status == 412 => {}
            other => shared.complain(format!("old at {}: {other:?}", client.address())),
        }
        if let Some(answers) = shared.answers.last() {
            answers.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn read(shared: Arc<Shared>, place: usize, address: String, level: &'static str) {
    let mut client = Client::new(address);
    let get = Request::get(&format!("{KEY}?level={level}"));
    let mut last = 0;
    while shared.goes_on() {
        before_retry().await;
        let sent = Instant::now();
        let judged = match client.send(&get).await {
            Ok(answer) => judge(&shared, level, sent, last, &answer)
                .map_err(|why| format!("{why}: {answer:?}")),
            Err(failure) => Err(failure.to_string()),
        };
        match judged {
            Ok(number) => last = number,
            Err(why) => shared.complain(format!("{level} at {}: {why}", client.address())),
        }
        shared.answers[place].fetch_add(1, Ordering::Relaxed);
    }
}

/// Returns the number that was read when it is right.
fn judge(
    shared: &Shared,
    level: &str,
    sent: Instant,
    last: u64,
    answer: &Response,
) -> Result<u64, String> {
    let age = answer.header("conclave-last-contact");
    let age = age.and_then(|age| age.parse().ok());
    let age = Duration::from_millis(age.ok_or("no age")?);
    if age > MOST_AGE {
        return Err(format!("an age of {age:?}"));
    }
    let moment = if level == "stale" {
        sent.checked_sub(age + MESSAGE).unwrap_or(sent)
    } else {
        sent
    };
    let least = shared.newest_at(moment).max(last);
    if answer.status == 404 && least == 0 {
        // Before the first write.
        return Ok(0);
    }
    if answer.status != 200 {
        return Err("no success".to_owned());
    }
    let number = answer.text().parse().ok().ok_or("no number")?;
    let most = shared.sent.load(Ordering::SeqCst);
    if (least..=most).contains(&number) {
        Ok(number)
    } else {
        Err(format!("{number} is not between {least} and {most}"))
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
