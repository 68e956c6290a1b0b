//! One client that watches, breaks off and resumes, and writes down all that came.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::Message;
use super::stream::{Heard, Opening, Stream};
use crate::campaign::Dialect;
use crate::etcd;
use crate::http::Request;
use crate::random::Random;
use crate::sse::Subscription;
use crate::wait::{self, before_retry, wait_for};

/// Longest wait for the head of a stream; a frozen node sends none.
const OPENED_WITHIN: Duration = Duration::from_secs(1);
/// Between two looks at whether to go on.
const LOOK: Duration = Duration::from_millis(100);
/// A stream that says nothing for so long is given up: `progress` comes every five seconds.
const DEAD_AFTER: Duration = Duration::from_secs(12);
/// Longest time that a watcher stays away on purpose.
const AWAY: Duration = Duration::from_secs(5);
/// Longest wait for what was written before the end.
const DRAINED_WITHIN: Duration = Duration::from_secs(30);
/// Entries of one log; a watcher of a test never sees so many.
const ENTRIES: usize = 2_000_000;

/// When a watcher breaks off by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// Every second or so: after some messages, some time, or some bytes of one.
    Often,
    /// Never: only faults end its streams.
    Never,
    /// As often, and it reads nothing for a while before.
    Slowly,
    /// As often, and it stays away for some seconds.
    Away,
}

/// What a watcher does.
#[derive(Debug, Clone)]
pub struct Plan {
    pub name: String,
    pub subscription: Subscription,
    pub since: u64,
    pub breaks: Break,
    pub seed: u64,
}

impl Plan {
    /// Returns a plan for each of what is asked for; all of them begin after the same revision.
    #[must_use]
    pub fn each<const N: usize>(
        asked: [(&str, Subscription, Break); N],
        since: u64,
        seed: u64,
    ) -> Vec<Self> {
        let mut random = Random::new(seed);
        let plans = asked.map(|(name, subscription, breaks)| Self {
            name: name.to_owned(),
            subscription,
            since,
            breaks,
            seed: random.number(),
        });
        plans.into()
    }
}

/// What happened to a watcher.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    Opened {
        address: String,
        after: u64,
    },
    Message(Message),
    /// Something that breaks the contract.
    Malformed(String),
    /// 410: the history begins later.
    Gone {
        oldest: u64,
    },
    Closed(String),
}

/// An entry and its time.
#[derive(Debug, Clone)]
pub struct Seen {
    pub at: Instant,
    pub entry: Entry,
}

/// All that happened to one watcher.
#[derive(Debug, Clone)]
pub struct WatcherLog {
    pub name: String,
    pub subscription: Subscription,
    /// It wanted all after this revision.
    pub start: u64,
    /// And up to this one.
    pub end: u64,
    pub entries: Vec<Seen>,
}

/// A running watcher.
#[derive(Debug)]
pub struct Watcher {
    resumes: Arc<AtomicU64>,
    /// The revision to end at; 0 before it is known.
    end: Arc<AtomicU64>,
    task: JoinHandle<WatcherLog>,
}

impl Watcher {
    /// Starts it; it goes around the addresses by chance.
    #[must_use]
    pub fn start(addresses: &[String], plan: Plan) -> Self {
        Self::start_speaking(Dialect::Conclave, addresses, plan)
    }

    /// Like [`Self::start`], at the nodes of another system.
    #[must_use]
    pub fn start_speaking(dialect: Dialect, addresses: &[String], plan: Plan) -> Self {
        let resumes = Arc::new(AtomicU64::new(0));
        let end = Arc::new(AtomicU64::new(0));
        let running = Running {
            dialect,
            addresses: addresses.to_vec(),
            random: Random::new(plan.seed),
            position: plan.since,
            log: WatcherLog {
                name: plan.name,
                subscription: plan.subscription,
                start: plan.since,
                end: 0,
                entries: Vec::new(),
            },
            breaks: plan.breaks,
            resumes: Arc::clone(&resumes),
            end: Arc::clone(&end),
        };
        Self {
            resumes,
            end,
            task: tokio::spawn(running.run()),
        }
    }

    /// Returns how often it has resumed.
    #[must_use]
    pub fn resumes(&self) -> u64 {
        self.resumes.load(Ordering::Relaxed)
    }

    /// Waits until watchers have resumed so often together.
    ///
    /// # Panics
    ///
    /// They have not within `deadline`.
    pub async fn wait_resumes(watchers: &[Self], wanted: u64, deadline: Duration) {
        wait_for(&format!("{wanted} resumes"), deadline, async || {
            let done: u64 = watchers.iter().map(Self::resumes).sum();
            if done >= wanted {
                Ok(())
            } else {
                Err(format!("{done}"))
            }
        })
        .await;
    }

    /// Lets it read up to a revision without breaking off, and returns its log. One that does not get
    /// there within thirty seconds ends where it is, which its log says.
    ///
    /// # Panics
    ///
    /// It has panicked.
    pub async fn finish(self, end: u64) -> WatcherLog {
        self.end.store(end.max(1), Ordering::Relaxed);
        self.task.await.expect("a watcher does not panic")
    }

    /// Sets the revision to end at, for [`Self::finish`] to be called later.
    pub fn end_at(&self, end: u64) {
        self.end.store(end.max(1), Ordering::Relaxed);
    }
}

struct Running {
    dialect: Dialect,
    addresses: Vec<String>,
    random: Random,
    position: u64,
    log: WatcherLog,
    breaks: Break,
    resumes: Arc<AtomicU64>,
    end: Arc<AtomicU64>,
}

/// Why a stream is left.
enum Left {
    Ended(String),
    /// The revision to end at was reached.
    Done,
}

impl WatcherLog {
    /// Returns all changes that came with the history, in order and each once; those of a revision
    /// that was not ended are left out.
    #[must_use]
    pub fn changes(&self) -> Vec<super::Change> {
        let mut changes = Vec::new();
        let mut group = Vec::new();
        for seen in &self.entries {
            match &seen.entry {
                Entry::Message(Message::Change {
                    change,
                    id,
                    snapshot: false,
                }) => {
                    group.push(change.clone());
                    if id.is_some() {
                        changes.append(&mut group);
                    }
                }
                Entry::Opened { .. } => group.clear(),
                _ => {}
            }
        }
        changes
    }
}

impl Running {
    async fn run(mut self) -> WatcherLog {
        let mut opened = 0;
        let mut ending: Option<Instant> = None;
        loop {
            let end = self.end.load(Ordering::Relaxed);
            if end > 0 {
                self.log.end = end;
                let since = *ending.get_or_insert_with(Instant::now);
                if self.position >= end || since.elapsed() > DRAINED_WITHIN {
                    return self.log;
                }
            }
            let address = self.addresses[self.random.below(self.addresses.len())].clone();
            let Some(stream) = self.open(&address).await else {
                before_retry().await;
                continue;
            };
            opened += 1;
            if opened > 1 {
                self.resumes.fetch_add(1, Ordering::Relaxed);
            }
            let left = self.read(stream).await;
            if let Left::Ended(why) = left {
                self.note(Entry::Closed(why));
                self.stay_away().await;
            }
        }
    }

    /// Waits until much has happened, or the end is near.
    async fn stay_away(&mut self) {
        let left = Instant::now();
        let most = u64::try_from(AWAY.as_millis()).unwrap_or(0);
        let away = Duration::from_millis(self.random.number() % most.max(1));
        let is_away = || {
            let goes_on = self.end.load(Ordering::Relaxed) == 0;
            self.breaks == Break::Away && goes_on && left.elapsed() < away
        };
        while is_away() {
            before_retry().await;
        }
    }

    /// Adds an entry; a full log keeps its end open, which is noticed.
    fn note(&mut self, entry: Entry) {
        if self.log.entries.len() < ENTRIES {
            let at = Instant::now();
            self.log.entries.push(Seen { at, entry });
        }
    }

    fn request(&mut self) -> Request {
        let asked = &self.log.subscription;
        if self.dialect == Dialect::Etcd {
            return etcd::watch_request(asked, self.position);
        }
        if self.position == self.log.start || self.random.one_in(2) {
            asked.since(self.position)
        } else {
            // It wins over what is older.
            let old = self
                .random
                .below(usize::try_from(self.position).unwrap_or(1));
            let mut request = asked.since(old as u64);
            let id = self.position.to_string();
            request.headers.push(("Last-Event-ID".to_owned(), id));
            request
        }
    }

    async fn open(&mut self, address: &str) -> Option<Stream> {
        let request = self.request();
        let opened = Stream::open(self.dialect, address, &request);
        match timeout(OPENED_WITHIN, opened).await {
            Ok(Ok(Opening::Stream(stream))) => {
                self.note(Entry::Opened {
                    address: address.to_owned(),
                    after: self.position,
                });
                Some(stream)
            }
            Ok(Ok(Opening::Refused(response))) if response.status == 410 => {
                let oldest = response.json()["oldest"].as_u64().unwrap_or(0);
                self.note(Entry::Gone { oldest });
                self.position = self.position.max(oldest.saturating_sub(1));
                None
            }
            Ok(Ok(Opening::Refused(response))) => {
                if !matches!(response.status, 429 | 503) {
                    self.note(Entry::Malformed(format!("{request}: {response:?}")));
                }
                None
            }
            Ok(Err(_)) | Err(_) => None,
        }
    }

    async fn read(&mut self, mut stream: Stream) -> Left {
        let mut messages = 1 + self.random.below(40);
        let lasts = Duration::from_millis(50 + self.random.number() % 1_000);
        let opened = Instant::now();
        let mut heard = opened;
        let mut first = true;
        if self.breaks != Break::Never && self.random.one_in(3) {
            stream.cut_after(200 + self.random.below(8_000));
        }
        if self.breaks == Break::Slowly {
            wait::pass(lasts).await;
        }
        loop {
            let ending = self.end.load(Ordering::Relaxed);
            if ending > 0 && self.position >= ending {
                return Left::Done;
            }
            let breaks = self.breaks != Break::Never && ending == 0;
            if breaks && (messages == 0 || opened.elapsed() > lasts) {
                return Left::Ended("left".to_owned());
            }
            match stream.next(LOOK).await {
                Heard::Message(message) => {
                    heard = Instant::now();
                    messages = messages.saturating_sub(1);
                    if first && !matches!(message, Message::Hello { .. }) {
                        self.note(Entry::Malformed(format!("begins with {message:?}")));
                    } else {
                        self.position = message.mark().unwrap_or(self.position);
                        self.note(Entry::Message(message));
                    }
                    first = false;
                }
                Heard::Malformed(what) => {
                    heard = Instant::now();
                    messages = messages.saturating_sub(1);
                    self.note(Entry::Malformed(what));
                    first = false;
                }
                Heard::Silence if heard.elapsed() > DEAD_AFTER => {
                    return Left::Ended(format!("silent for {DEAD_AFTER:?}"));
                }
                Heard::Silence => {}
                Heard::End(how) => {
                    if let Some(what) = stream.complaint() {
                        self.note(Entry::Malformed(what));
                    }
                    return Left::Ended(how);
                }
            }
        }
    }
}
