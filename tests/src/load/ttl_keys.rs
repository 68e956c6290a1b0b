//! Keys that expire: each is written with a time to live and watched until it is gone.
//!
//! What a client can know bounds it on both sides. A key exists until its TTL has passed since the
//! put was *sent*; a read that was *answered* before and does not find it is wrong. It is gone when
//! its TTL, three seconds and all time without a leader have passed since the put was *acknowledged*; a
//! read that was *sent* after that and finds it is wrong.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::http::{Client, Request};
use crate::random::Random;
use crate::wait;

/// What a key may outlive its TTL by, time without a leader not counted.
pub const LATE: Duration = Duration::from_secs(3);
/// TTLs in seconds: from, and up to that many more.
const TTL_SECONDS: (u64, usize) = (1, 5);
/// Longest wait for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Between two reads of a key that should be gone soon.
const LOOK: Duration = Duration::from_millis(150);
/// A key that is never gone ends here.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(60);
/// Complaints kept.
const COMPLAINTS: usize = 20;

/// Times without a leader.
#[derive(Debug, Clone, Default)]
pub struct Outages(Arc<Mutex<Vec<Outage>>>);

/// When it began, and when it was over.
type Outage = (Instant, Option<Instant>);

impl Outages {
    /// A leader is about to end.
    pub fn begin(&self) {
        locked(&self.0).push((Instant::now(), None));
    }

    /// There is a leader for sure.
    pub fn end(&self) {
        if let Some((_, end)) = locked(&self.0).last_mut() {
            end.get_or_insert_with(Instant::now);
        }
    }

    /// Returns how much of the time between two moments there may have been no leader.
    #[must_use]
    pub fn between(&self, from: Instant, to: Instant) -> Duration {
        let outages = locked(&self.0);
        let parts = outages.iter().map(|(began, ended)| {
            let ended = ended.unwrap_or(to).min(to);
            ended.saturating_duration_since((*began).max(from))
        });
        parts.sum()
    }
}

/// Running clients.
#[derive(Debug)]
pub struct TtlKeys {
    shared: Arc<Shared>,
    writer: tokio::task::JoinHandle<JoinSet<()>>,
}

/// What they have seen.
#[derive(Debug, Default)]
pub struct Lives {
    /// Keys that expired, with and without a second put.
    pub expired: usize,
    /// Keys whose TTL was taken away, which stay.
    pub kept: Vec<String>,
    /// Reads that found a key in its time.
    pub present: usize,
    /// By how much keys outlived their TTLs, time without a leader not counted.
    pub late: Vec<Duration>,
    pub wrong: Vec<String>,
}

impl fmt::Display for Lives {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut late = self.late.clone();
        late.sort_unstable();
        let at = |percent: usize| late.get(late.len() * percent / 100).or(late.last());
        let at = |percent: usize| at(percent).copied().unwrap_or_default().as_millis();
        write!(
            f,
            "{} keys expired, p50 {} ms, p99 {} ms, max {} ms after their time; {} kept; {} reads \
             in their time; {} wrong",
            self.expired,
            at(50),
            at(99),
            at(100),
            self.kept.len(),
            self.present,
            self.wrong.len()
        )
    }
}

#[derive(Debug)]
struct Shared {
    addresses: Vec<String>,
    outages: Outages,
    stop: AtomicBool,
    started: AtomicUsize,
    lives: Mutex<Lives>,
}

impl Shared {
    fn complain(&self, what: String) {
        let mut lives = locked(&self.lives);
        if lives.wrong.len() < COMPLAINTS {
            lives.wrong.push(what);
        }
    }
}

impl TtlKeys {
    /// Starts a key about every `pace`.
    #[must_use]
    pub fn start(addresses: &[String], outages: &Outages, pace: Duration, seed: u64) -> Self {
        let shared = Arc::new(Shared {
            addresses: addresses.to_vec(),
            outages: outages.clone(),
            stop: AtomicBool::new(false),
            started: AtomicUsize::new(0),
            lives: Mutex::default(),
        });
        let writer = tokio::spawn(begin_keys(Arc::clone(&shared), pace, Random::new(seed)));
        Self { shared, writer }
    }

    /// Returns the number of keys begun.
    #[must_use]
    pub fn started(&self) -> usize {
        self.shared.started.load(Ordering::Relaxed)
    }

    /// Begins no further key, waits until all are gone, and returns what was seen.
    ///
    /// # Panics
    ///
    /// A client has panicked.
    pub async fn finish(self) -> Lives {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut lives = self.writer.await.expect("the writer does not panic");
        while let Some(ended) = lives.join_next().await {
            ended.expect("a client does not panic");
        }
        std::mem::take(&mut *locked(&self.shared.lives))
    }
}

async fn begin_keys(shared: Arc<Shared>, pace: Duration, mut random: Random) -> JoinSet<()> {
    let mut lives = JoinSet::new();
    while !shared.stop.load(Ordering::Relaxed) {
        let number = shared.started.fetch_add(1, Ordering::Relaxed);
        let life = Life {
            key: format!("ttl/{number}"),
            random: Random::new(random.number()),
            shared: Arc::clone(&shared),
        };
        lives.spawn(life.run());
        wait::pass(pace).await;
    }
    lives
}

/// The client of one key.
struct Life {
    key: String,
    random: Random,
    shared: Arc<Shared>,
}

/// When a put was sent and acknowledged, and its TTL.
#[derive(Debug, Clone, Copy)]
struct Put {
    sent: Instant,
    acknowledged: Instant,
    ttl: Duration,
}

enum Found {
    Present,
    Absent,
    /// No answer that says it.
    Nothing,
}

impl Life {
    async fn run(mut self) {
        let Some(mut put) = self.put_with_ttl().await else {
            return;
        };
        match self.random.below(8) {
            0 => return self.keep(put).await,
            1 => {
                // A second put in its time begins another time.
                self.watch_until(put, put.sent + put.ttl / 2).await;
                match self.put_with_ttl().await {
                    Some(second) => put = second,
                    None => return,
                }
            }
            _ => {}
        }
        self.watch_until(put, put.sent + put.ttl).await;
        self.watch_end(put).await;
    }

    async fn put_with_ttl(&mut self) -> Option<Put> {
        let (least, more) = TTL_SECONDS;
        let seconds = least + self.random.below(more) as u64;
        let ttl = Duration::from_secs(seconds);
        let (sent, acknowledged) = self.put(&format!("?ttl={seconds}s")).await?;
        Some(Put {
            sent,
            acknowledged,
            ttl,
        })
    }

    /// Puts the key; `None` when nobody knows whether it did.
    async fn put(&mut self, query: &str) -> Option<(Instant, Instant)> {
        let request = Request::put(&format!("/api/keys/{}{query}", self.key), "x");
        let sent = Instant::now();
        let answer = self.client().send(&request).await;
        let done = answer.is_ok_and(|response| matches!(response.status, 200 | 201));
        done.then(|| (sent, Instant::now()))
    }

    fn client(&mut self) -> Client {
        let addresses = &self.shared.addresses;
        let address = &addresses[self.random.below(addresses.len())];
        Client::new(address).with_timeout(ANSWER_WITHIN)
    }

    async fn read(&mut self) -> (Instant, Found) {
        let request = Request::get(&format!("/api/keys/{}?level=consistent", self.key));
        let sent = Instant::now();
        let answer = self.client().send(&request).await;
        let found = match answer {
            Ok(response) if response.status == 200 => Found::Present,
            Ok(response) if response.status == 404 => Found::Absent,
            _ => Found::Nothing,
        };
        (sent, found)
    }

    /// Reads now and then, and shortly before the end.
    async fn watch_until(&mut self, put: Put, end: Instant) {
        loop {
            let now = Instant::now();
            let left = end.saturating_duration_since(now);
            if left.is_zero() {
                return;
            }
            let part = u64::try_from(left.as_millis()).unwrap_or(0) / 2;
            let pause = Duration::from_millis(part + self.random.number() % (part + 1));
            wait::pass(pause.min(left).max(Duration::from_millis(5))).await;
            match self.read().await.1 {
                Found::Absent if Instant::now() < put.sent + put.ttl => {
                    let early = put.sent + put.ttl - Instant::now();
                    let what = format!("{} is gone {early:?} before its time: {put:?}", self.key);
                    return self.shared.complain(what);
                }
                Found::Present => locked(&self.shared.lives).present += 1,
                Found::Absent | Found::Nothing => {}
            }
        }
    }

    /// Reads until it is gone.
    async fn watch_end(&mut self, put: Put) {
        let over = put.acknowledged + put.ttl;
        loop {
            let (sent, found) = self.read().await;
            let outage = self.shared.outages.between(put.acknowledged, sent);
            let late = sent.saturating_duration_since(over).saturating_sub(outage);
            match found {
                Found::Present if late > LATE => {
                    let what = format!("{} is there {late:?} after its time: {put:?}", self.key);
                    return self.shared.complain(what);
                }
                Found::Absent => {
                    let mut lives = locked(&self.shared.lives);
                    lives.expired += 1;
                    lives.late.push(late);
                    return;
                }
                Found::Present | Found::Nothing => {}
            }
            if over.elapsed() > GIVEN_UP_AFTER {
                let what = format!("nobody says whether {} is there: {put:?}", self.key);
                return self.shared.complain(what);
            }
            wait::pass(LOOK).await;
        }
    }

    /// Takes the TTL away, and looks when it would have been over.
    async fn keep(mut self, put: Put) {
        self.watch_until(put, put.sent + put.ttl / 2).await;
        // Expired before, it is a new key without a TTL: the same.
        if self.put("").await.is_none() {
            return;
        }
        wait::pass(put.ttl + LATE).await;
        match self.read().await.1 {
            Found::Absent => {
                let what = format!("{} is gone although its TTL was taken away", self.key);
                self.shared.complain(what);
            }
            Found::Present => locked(&self.shared.lives).kept.push(self.key),
            Found::Nothing => {}
        }
    }
}

/// A panic elsewhere leaves nothing half changed here.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn an_outage_counts_as_far_as_it_is_between() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let outages = Outages::default();
        *locked(&outages.0) = vec![(at(1), Some(at(3))), (at(10), None)];
        let between = |from, to| outages.between(at(from), at(to)).as_secs();
        assert_eq!(
            [between(0, 5), between(2, 5), between(4, 9), between(2, 14)],
            [2, 1, 0, 5]
        );
    }

    /// Serves a store that answers every put with 201 and every read with `status`.
    async fn store(status: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut bytes = [0; 1024];
                let read = stream.read(&mut bytes).await.unwrap_or(0);
                let status = if bytes[..read].starts_with(b"PUT") {
                    "201 Created"
                } else {
                    status
                };
                let answer =
                    format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                drop(stream.write_all(answer.as_bytes()).await);
            }
        });
        address
    }

    async fn wrong_with(status: &'static str) -> Vec<String> {
        let address = store(status).await;
        let keys = TtlKeys::start(
            &[address],
            &Outages::default(),
            Duration::from_millis(10),
            7,
        );
        wait::wait_for("keys", Duration::from_secs(5), async || {
            if keys.started() >= 10 {
                Ok(())
            } else {
                Err(String::new())
            }
        })
        .await;
        keys.finish().await.wrong
    }

    #[tokio::test]
    async fn a_key_that_is_gone_at_once_or_never_is_noticed() {
        let (early, late) = tokio::join!(wrong_with("404 Not Found"), wrong_with("200 OK"));
        assert!(
            early.iter().any(|what| what.contains("before its time")),
            "{early:?}"
        );
        assert!(
            late.iter().any(|what| what.contains("after its time")),
            "{late:?}"
        );
    }
}
