//! The load: clients with one request under way each, on one thread.
//!
//! A generator that costs more than the servers measures itself: so each protocol is written by hand
//! and as lean as it can be, and what the generator used is part of the outcome.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use conclave_tests::Random;
use conclave_tests::cluster::usage;
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use crate::grpc::Grpc;
use crate::histogram::Histogram;
use crate::http::Http;

/// What each request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Put,
    /// Writes every key once, in order.
    Load,
    Get(&'static str),
}

/// How the servers are spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Conclave's API.
    Http,
    /// etcd's.
    Grpc,
}

/// One request, whatever the protocol.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Request<'a> {
    Put { key: &'a str, value: &'a [u8] },
    Get { key: &'a str, level: &'a str },
}

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Done,
    /// It said no, or a get found nothing.
    Refused(String),
}

/// A connection that carries one request at a time.
pub(crate) trait Session: Sized {
    /// Connects.
    ///
    /// # Errors
    ///
    /// Nobody is there.
    async fn open(address: &str) -> io::Result<Self>;

    /// Sends a request and reads its answer whole.
    ///
    /// # Errors
    ///
    /// The connection is of no more use.
    async fn exchange(&mut self, request: Request<'_>) -> io::Result<Answer>;
}

/// One row of the table.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) protocol: Protocol,
    pub(crate) operation: Operation,
    pub(crate) clients: usize,
    /// `host:port`; client n uses the n-th, round and round.
    pub(crate) addresses: Vec<String>,
    pub(crate) keys: usize,
    pub(crate) value_bytes: usize,
    /// Longest time; a `Load` ends with its last key.
    pub(crate) duration: Duration,
}

/// What came out.
#[derive(Debug, Default, Clone)]
pub(crate) struct Outcome {
    pub(crate) latencies: Histogram,
    pub(crate) errors: u64,
    pub(crate) took: Duration,
    /// Processor time of the generator.
    pub(crate) own_cpu: Duration,
    /// The first failure, as an example.
    pub(crate) example: Option<String>,
}

/// Runs a load on the calling thread.
///
/// # Errors
///
/// There is no runtime to be had.
pub(crate) fn run(load: &Load) -> io::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let tasks = LocalSet::new();
    let outcome = Rc::new(RefCell::new(Outcome::default()));
    let cpu_before = usage::own_cpu_time();
    let started = Instant::now();
    for number in 0..load.clients {
        let client = Client {
            number,
            random: Random::new(number as u64),
            load: load.clone(),
            key: String::new(),
            value: vec![b'v'; load.value_bytes],
            outcome: Outcome::default(),
            end: started + load.duration,
        };
        let outcome = Rc::clone(&outcome);
        tasks.spawn_local(async move {
            let own = match client.load.protocol {
                Protocol::Http => client.run::<Http>().await,
                Protocol::Grpc => client.run::<Grpc>().await,
            };
            let mut all = outcome.borrow_mut();
            all.latencies.merge(&own.latencies);
            all.errors += own.errors;
            all.example = all.example.take().or(own.example);
        });
    }
    runtime.block_on(tasks);
    let mut outcome = outcome.take();
    outcome.took = started.elapsed();
    outcome.own_cpu = usage::own_cpu_time().saturating_sub(cpu_before);
    Ok(outcome)
}

struct Client {
    number: usize,
    random: Random,
    load: Load,
    key: String,
    value: Vec<u8>,
    outcome: Outcome,
    end: Instant,
}

impl Client {
    async fn run<S: Session>(mut self) -> Outcome {
        while Instant::now() < self.end {
            let address = &self.load.addresses[self.number % self.load.addresses.len()];
            let failure = match S::open(address).await {
                Ok(mut session) => match self.requests(&mut session).await {
                    Ok(()) => break,
                    Err(error) => error,
                },
                Err(error) => error,
            };
            self.fail(failure.to_string());
            // A server that is down is asked again soon, and not in a busy loop.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.outcome
    }

    /// Sends requests over one connection until the end.
    async fn requests<S: Session>(&mut self, session: &mut S) -> io::Result<()> {
        let mut key = self.number;
        loop {
            if self.load.operation == Operation::Load {
                if key >= self.load.keys {
                    return Ok(());
                }
            } else {
                key = self.random.below(self.load.keys);
            }
            self.render(key);
            let sent = Instant::now();
            if sent >= self.end {
                return Ok(());
            }
            match session.exchange(self.request()).await? {
                Answer::Done => self.outcome.latencies.record(sent.elapsed()),
                Answer::Refused(text) => self.fail(text),
            }
            key += self.load.clients;
        }
    }

    fn render(&mut self, key: usize) {
        self.key.clear();
        let written = write!(self.key, "bench/{key:08}");
        // Writing into a string cannot fail.
        debug_assert!(written.is_ok());
        if !matches!(self.load.operation, Operation::Get(_)) {
            let noise = self.random.number().to_le_bytes();
            for (byte, noise) in self.value.iter_mut().zip(noise) {
                *byte = b'a' + noise % 26;
            }
        }
    }

    fn request(&self) -> Request<'_> {
        match self.load.operation {
            Operation::Get(level) => Request::Get {
                key: &self.key,
                level,
            },
            Operation::Put | Operation::Load => Request::Put {
                key: &self.key,
                value: &self.value,
            },
        }
    }

    fn fail(&mut self, text: String) {
        self.outcome.errors += 1;
        self.outcome.example.get_or_insert(text);
    }
}

/// Connects as both protocols do.
///
/// # Errors
///
/// Nobody is there.
pub(crate) async fn connect(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
