//! The load: clients with one request under way each, on one thread.
//!
//! Requests are rendered into a buffer that is used again; of an answer only the status and the
//! content length are looked at. A generator that costs more than the servers measures itself.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use conclave_tests::Random;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use crate::histogram::Histogram;

/// What each request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Put,
    /// Writes every key once, in order.
    Load,
    Get(&'static str),
}

/// One row of the table.
#[derive(Debug, Clone)]
pub(crate) struct Load {
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
    let started = Instant::now();
    for number in 0..load.clients {
        let client = Client {
            number,
            random: Random::new(number as u64),
            load: load.clone(),
            request: Vec::with_capacity(1024),
            answer: Vec::with_capacity(4096),
            outcome: Outcome::default(),
            end: started + load.duration,
        };
        let outcome = Rc::clone(&outcome);
        tasks.spawn_local(async move {
            let own = client.run().await;
            let mut all = outcome.borrow_mut();
            all.latencies.merge(&own.latencies);
            all.errors += own.errors;
            all.example = all.example.take().or(own.example);
        });
    }
    runtime.block_on(tasks);
    let mut outcome = outcome.take();
    outcome.took = started.elapsed();
    Ok(outcome)
}

struct Client {
    number: usize,
    random: Random,
    load: Load,
    request: Vec<u8>,
    answer: Vec<u8>,
    outcome: Outcome,
    end: Instant,
}

impl Client {
    async fn run(mut self) -> Outcome {
        while Instant::now() < self.end {
            let address = &self.load.addresses[self.number % self.load.addresses.len()];
            let failure = match connect(address).await {
                Ok(mut stream) => match self.requests(&mut stream).await {
                    Ok(()) => break,
                    Err(error) => error,
                },
                Err(error) => error,
            };
            self.fail(|| failure.to_string());
            // A server that is down is asked again soon, and not in a busy loop.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.outcome
    }

    /// Sends requests over one connection until the end.
    async fn requests(&mut self, stream: &mut TcpStream) -> io::Result<()> {
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
            stream.write_all(&self.request).await?;
            let status = self.read_answer(stream).await?;
            if matches!(status, 200 | 201) {
                self.outcome.latencies.record(sent.elapsed());
            } else {
                let body = String::from_utf8_lossy(&self.answer).into_owned();
                self.fail(|| body);
            }
            key += self.load.clients;
        }
    }

    fn render(&mut self, key: usize) {
        use io::Write as _;
        let host = &self.load.addresses[self.number % self.load.addresses.len()];
        self.request.clear();
        let request = &mut self.request;
        // Writing into a vector cannot fail.
        let written = match self.load.operation {
            Operation::Get(level) => write!(
                request,
                "GET /api/keys/bench/{key:08}?level={level} HTTP/1.1\r\nHost: {host}\r\n\r\n"
            ),
            Operation::Put | Operation::Load => write!(
                request,
                "PUT /api/keys/bench/{key:08} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n\r\n",
                self.load.value_bytes
            ),
        };
        debug_assert!(written.is_ok());
        if !matches!(self.load.operation, Operation::Get(_)) {
            let end = request.len() + self.load.value_bytes;
            let noise = self.random.number().to_le_bytes();
            request.extend(noise.iter().map(|byte| b'a' + byte % 26));
            request.resize(end, b'v');
        }
    }

    /// Reads one answer whole and returns its status.
    async fn read_answer(&mut self, stream: &mut TcpStream) -> io::Result<u16> {
        self.answer.clear();
        loop {
            if stream.read_buf(&mut self.answer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some((status, length)) = parse(&self.answer)? {
                while self.answer.len() < length {
                    if stream.read_buf(&mut self.answer).await? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                return Ok(status);
            }
        }
    }

    fn fail(&mut self, text: impl FnOnce() -> String) {
        self.outcome.errors += 1;
        self.outcome.example.get_or_insert_with(text);
    }
}

async fn connect(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Returns the status and the length of the whole answer, once its head is there.
fn parse(answer: &[u8]) -> io::Result<Option<(u16, usize)>> {
    let Some(head) = answer.windows(4).position(|part| part == b"\r\n\r\n") else {
        return Ok(None);
    };
    let bad = || {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "not an answer with a content length",
        )
    };
    let text = std::str::from_utf8(&answer[..head]).ok();
    let text = text.ok_or_else(bad)?;
    let status = text
        .get(9..12)
        .and_then(|status| status.parse().ok())
        .ok_or_else(bad)?;
    let length = text
        .split("\r\n")
        .skip(1)
        .find_map(content_length)
        .ok_or_else(bad)?;
    Ok(Some((status, head + 4 + length)))
}

fn content_length(line: &str) -> Option<usize> {
    let (name, value) = line.split_once(':')?;
    name.eq_ignore_ascii_case("content-length")
        .then(|| value.trim().parse().ok())?
}
