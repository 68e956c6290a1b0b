//! Writers whose writes can be told apart: as fast as they can, or so many a second.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::task::LocalSet;

use crate::http::Http;
use crate::load::{Answer, Request, Session as _};
use crate::stamps::Stamps;

/// What all keys begin with.
pub(crate) const PREFIX: &str = "watched/";

/// What is written.
#[derive(Debug, Clone)]
pub(crate) struct Writing {
    /// Client n uses the n-th, round and round.
    pub(crate) addresses: Vec<String>,
    pub(crate) clients: usize,
    /// Writes per second of all clients together; `None`: each sends when it was answered.
    pub(crate) rate: Option<u64>,
    pub(crate) keys: usize,
    pub(crate) value_bytes: usize,
    /// Longest time; ends earlier when it is stopped.
    pub(crate) duration: Duration,
}

/// Writers on a thread of their own.
#[derive(Debug)]
pub(crate) struct Writers {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<Vec<String>>>,
}

impl Writers {
    /// Starts to write.
    pub(crate) fn start(writing: Writing, stamps: Arc<Stamps>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || run(&writing, &stamps, &stop))
        };
        Self { stop, thread }
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Stops the writers after their current writes, and returns what went wrong: no answer, or
    /// another one than an acknowledgement.
    ///
    /// # Errors
    ///
    /// There was no runtime to be had.
    pub(crate) fn stop(self) -> io::Result<Vec<String>> {
        self.stop.store(true, Ordering::Relaxed);
        let joined = self.thread.join();
        joined.map_err(|_panic| io::Error::other("a writer has panicked"))?
    }
}

fn run(writing: &Writing, stamps: &Arc<Stamps>, stop: &Arc<AtomicBool>) -> io::Result<Vec<String>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let tasks = LocalSet::new();
    let started = Instant::now();
    let clients: Vec<_> = (0..writing.clients)
        .map(|number| {
            let client = Client {
                number,
                writing: writing.clone(),
                stamps: Arc::clone(stamps),
                stop: Arc::clone(stop),
                started,
            };
            tasks.spawn_local(client.run())
        })
        .collect();
    runtime.block_on(tasks);
    let mut failures = Vec::new();
    for client in clients {
        let own = runtime.block_on(client).map_err(io::Error::other)?;
        failures.extend(own);
    }
    Ok(failures)
}

struct Client {
    number: usize,
    writing: Writing,
    stamps: Arc<Stamps>,
    stop: Arc<AtomicBool>,
    started: Instant,
}

impl Client {
    async fn run(self) -> Vec<String> {
        let mut failures = Vec::new();
        let mut sent = 0;
        while !self.is_over() {
            if let Err(error) = self.requests(&mut sent, &mut failures).await {
                failures.push(error.to_string());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        failures
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.started.elapsed() >= self.writing.duration
    }

    async fn requests(&self, sent: &mut u64, failures: &mut Vec<String>) -> io::Result<()> {
        let addresses = &self.writing.addresses;
        let mut session = Http::open(&addresses[self.number % addresses.len()]).await?;
        let mut value = vec![b'v'; self.writing.value_bytes];
        loop {
            self.wait_for_turn(*sent).await;
            if self.is_over() {
                return Ok(());
            }
            let Some(number) = self.stamps.send(&mut value) else {
                self.stop.store(true, Ordering::Relaxed);
                return Ok(());
            };
            *sent += 1;
            let key = number % self.writing.keys;
            let key = format!("{PREFIX}{key:08}");
            let request = Request::Put {
                key: &key,
                value: &value,
            };
            match session.exchange(request).await? {
                Answer::Done => self.stamps.acknowledge(number),
                Answer::Refused(text) => failures.push(text),
            }
        }
    }

    /// Waits until this client's next write is due: those of all clients are spread evenly. One that is
    /// late sends at once.
    async fn wait_for_turn(&self, sent: u64) {
        let Some(rate) = self.writing.rate else {
            return;
        };
        let turn = self.number as u64 + sent * self.writing.clients as u64;
        let due = self.started + Duration::from_micros(turn * 1_000_000 / rate);
        tokio::time::sleep_until(due.into()).await;
    }
}
