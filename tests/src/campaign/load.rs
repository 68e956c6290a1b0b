//! The clients of a campaign.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::dialect::Dialect;
use super::keys::{Keys, Ticket};
use super::worker::Worker;
use crate::history::{Call, End, History, Stopwatch};
use crate::random::Random;
use crate::wait::before_retry;

/// A client turns to another node by itself after about this many operations.
const STAY: usize = 100;
/// Longest time until a key takes a write after everything was healed.
const SETTLED_WITHIN: Duration = Duration::from_secs(20);

/// What the clients do.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) seed: u64,
    /// What the nodes speak.
    pub(super) dialect: Dialect,
    /// Begins all of their keys, and those of nobody else.
    pub(super) prefix: String,
    /// Level of the reads.
    pub(super) level: &'static str,
    pub(super) clients: u32,
    /// Answers that they need, and the time in which they are to get them.
    pub(super) answers: usize,
    pub(super) length: Duration,
}

/// Running clients.
#[derive(Debug)]
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    pace: Pace,
    setting: Setting,
    tasks: Vec<JoinHandle<History>>,
}

/// Keeps clients from using the whole machine, which they share with other tests: they are at most
/// a third ahead of what they need to get their answers in time, and catch up after a fault.
#[derive(Debug, Clone)]
struct Pace {
    answered: Arc<AtomicUsize>,
    wanted: usize,
    began: Instant,
    length: Duration,
}

impl Pace {
    fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    fn is_ahead(&self) -> bool {
        let milliseconds = |time: Duration| usize::try_from(time.as_millis()).unwrap_or(usize::MAX);
        let part = milliseconds(self.began.elapsed()).saturating_mul(4);
        let whole = milliseconds(self.length).saturating_mul(3).max(1);
        self.answered() > self.wanted.saturating_mul(part) / whole
    }
}

/// What all clients of one campaign share.
#[derive(Debug, Clone)]
struct Setting {
    seed: u64,
    clients: u32,
    dialect: Dialect,
    addresses: Vec<String>,
    clock: Stopwatch,
}

impl Load {
    pub(super) fn start(addresses: &[String], plan: &Plan) -> Self {
        let setting = Setting {
            seed: plan.seed,
            clients: plan.clients,
            dialect: plan.dialect,
            addresses: addresses.to_vec(),
            clock: Stopwatch::start(),
        };
        let stop = Arc::new(AtomicBool::new(false));
        let pace = Pace {
            answered: Arc::default(),
            wanted: plan.answers,
            began: Instant::now(),
            length: plan.length,
        };
        let keys = Arc::new(Mutex::new(Keys::new(plan.prefix.clone())));
        let tasks = (0..setting.clients).map(|number| {
            let client = Client {
                worker: setting.worker(number),
                random: setting.random(number),
                level: plan.level,
                stop: Arc::clone(&stop),
                pace: pace.clone(),
                keys: Arc::clone(&keys),
            };
            tokio::spawn(client.run())
        });
        let tasks = tasks.collect();
        Self {
            stop,
            pace,
            setting,
            tasks,
        }
    }

    /// Returns the number of operations that got an answer so far.
    pub(super) fn answered(&self) -> usize {
        self.pace.answered()
    }

    /// Lets every client end its operation and returns what they saw.
    pub(super) async fn stop(mut self) -> Ran {
        self.stop.store(true, Ordering::Relaxed);
        let history = joined(self.tasks.drain(..)).await;
        Ran {
            history,
            setting: self.setting.clone(),
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Waits for the clients and puts what they saw together.
pub(super) async fn joined(tasks: impl IntoIterator<Item = JoinHandle<History>>) -> History {
    let mut history = History::default();
    for task in tasks {
        history.extend(task.await.expect("a client gets answers of the contract"));
    }
    history
}

impl Setting {
    fn worker(&self, number: u32) -> Worker {
        // Those that settle come after those that ran: their values differ.
        let worker = Worker::new(number, 2 * self.clients, self.clock, &self.addresses);
        worker.speaking(self.dialect)
    }

    /// Each client has numbers of its own.
    fn random(&self, number: u32) -> Random {
        let mut random = Random::new(self.seed ^ (u64::from(number) << 32));
        Random::new(random.number())
    }
}

struct Client {
    worker: Worker,
    random: Random,
    level: &'static str,
    stop: Arc<AtomicBool>,
    pace: Pace,
    keys: Arc<Mutex<Keys>>,
}

impl Client {
    async fn run(mut self) -> History {
        while !self.stop.load(Ordering::Relaxed) {
            if self.pace.is_ahead() {
                before_retry().await;
                continue;
            }
            let ticket = self.with_keys(|keys, random| keys.take(random));
            let call = self.next_call(&ticket);
            let end = self.worker.perform(&ticket.key, call, self.level).await;
            self.with_keys(|keys, _| keys.give_back(&ticket, &end));
            if !matches!(end, End::Answered { .. }) {
                self.worker.turn_to(self.worker.node() + 1);
                before_retry().await;
                continue;
            }
            self.pace.answered.fetch_add(1, Ordering::Relaxed);
            if self.random.one_in(STAY) {
                self.worker.turn_to(self.random.below(usize::MAX));
            }
        }
        self.worker.into_history()
    }

    fn with_keys<T>(&mut self, call: impl FnOnce(&mut Keys, &mut Random) -> T) -> T {
        // A panic elsewhere leaves the keys whole.
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        call(&mut keys, &mut self.random)
    }

    fn next_call(&mut self, ticket: &Ticket) -> Call {
        match self.random.below(100) {
            0..45 => Call::Get,
            45..70 => Call::Put {
                value: self.worker.next_value(),
            },
            70..90 => Call::Cas {
                expected: ticket.seen[usize::from(self.random.one_in(4))],
                value: self.worker.next_value(),
            },
            _ => Call::Delete,
        }
    }
}

/// Clients that have stopped.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) history: History,
    setting: Setting,
}

impl Ran {
    /// Reads every key, writes it and reads it again, at those nodes, and returns everything.
    ///
    /// # Panics
    ///
    /// A key does not take it within [`SETTLED_WITHIN`] although everything is healed.
    pub(super) async fn settle(mut self, addresses: &[String]) -> History {
        self.setting.addresses = addresses.to_vec();
        let clients = self.setting.clients;
        let mut shares = vec![Vec::new(); self.setting.clients as usize];
        let places = (0..shares.len()).cycle();
        for (place, key) in places.zip(self.history.keys()) {
            shares[place].push(key.to_owned());
        }
        let tasks = (clients..).zip(shares).map(|(number, keys)| {
            let worker = self.setting.worker(number);
            tokio::spawn(settle(worker, keys))
        });
        // All are started before the first is awaited.
        let tasks: Vec<_> = tasks.collect();
        let mut history = joined(tasks).await;
        history.extend(self.history);
        history
    }
}

async fn settle(mut worker: Worker, keys: Vec<String>) -> History {
    let end = Instant::now() + SETTLED_WITHIN;
    for key in keys {
        for is_write in [false, true, false] {
            loop {
                let call = if is_write {
                    let value = worker.next_value();
                    Call::Put { value }
                } else {
                    Call::Get
                };
                let done = worker.perform(&key, call, "consistent").await;
                if matches!(done, End::Answered { .. }) {
                    break;
                }
                assert!(Instant::now() < end, "`{key}` is not usable: {done:?}");
                before_retry().await;
            }
        }
    }
    worker.into_history()
}
