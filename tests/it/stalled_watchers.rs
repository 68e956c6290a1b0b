//! Watchers that never read: what they cost the node in memory, and that it closes them while the others
//! get everything. The figures of 200 of them for a minute are the bench's: `conclave-bench --stalled`.

use std::time::{Duration, Instant};

use conclave_tests::cluster::usage::open_connections;
use conclave_tests::load::feed::{Feed, FeedEvent};
use conclave_tests::load::stalled::Stalled;
use conclave_tests::said::measured;
use conclave_tests::{Cluster, Node, Request, wait_for};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

const STALLED: usize = 20;
const HEALTHY: usize = 5;
const CLIENTS: u64 = 8;
/// Keys of each client: written again and again, so that the state does not grow.
const KEYS: u64 = 50;
const VALUE_BYTES: usize = 4_000;
/// Changes that a stalled watcher begins with. The kernels take a part of them, the node's memory is
/// asked for the rest; a watcher that reads has had them all.
const BEHIND: u64 = 900;
/// How long is written without the stalled ones, and then as long with them.
const LOAD: Duration = Duration::from_secs(10);
/// 200 may cost 32 MiB, and these a tenth of that; and 1 MiB for what else the process does.
const MOST_GROWTH: u64 = (32 << 20) * STALLED as u64 / 200 + (1 << 20);
/// A client that accepts no byte for 30 s is closed.
const CLOSED_WITHIN: Duration = Duration::from_secs(30 + 5);
const SETTLED_WITHIN: Duration = Duration::from_secs(10);
/// Longest wait of the healthy ones for what was written last.
const TOLD_WITHIN: Duration = Duration::from_secs(10);
const TARGET: &str = "/api/events?prefix=stalled/&types=put";

#[tokio::test]
async fn watchers_that_never_read_cost_little_and_are_closed() {
    let cluster = Cluster::single().await;
    let node = &cluster[0];
    let mut healthy = Vec::new();
    for _ in 0..HEALTHY {
        healthy.push(Healthy::start(node).await);
    }
    let mut written = write(node, LOAD).await;
    let last = *written.last().expect("writes");
    for one in &mut healthy {
        one.told_up_to(last).await;
    }

    // Nothing is written meanwhile: what the node uses more, it uses for them.
    let before = settled_memory(node).await;
    let stalled = stall(node, last - BEHIND).await;
    let after = settled_memory(node).await;
    let grown = after.saturating_sub(before);

    written.extend(write(node, LOAD).await);
    let last = *written.last().expect("writes");
    for mut one in healthy {
        let told = one.told_up_to(last).await;
        assert!(told == written, "told {} of {}", told.len(), written.len());
    }
    let closed = closed(&stalled).await;
    measured(&format!(
        "{STALLED} watchers that never read cost {} KiB and were closed after {:.1} to {:.1} s; \
         {HEALTHY} others got all of {} writes",
        grown >> 10,
        closed[0].as_secs_f64(),
        closed[STALLED - 1].as_secs_f64(),
        written.len(),
    ));
    assert!(grown <= MOST_GROWTH, "{grown} bytes");
    for one in stalled {
        let end = one.read_end().await;
        assert!(!end.contains("still open"), "{end}");
    }
    cluster.assert_converged().await;
}

/// Opens the stalled watchers at a place in the past.
async fn stall(node: &Node, since: u64) -> Vec<Stalled> {
    let target = format!("{TARGET}&since={since}");
    let mut stalled = Vec::new();
    for _ in 0..STALLED {
        let one = Stalled::open(&node.http_address(), &target).await;
        stalled.push(one.expect("a connection"));
    }
    wait_for("all of them watch", SETTLED_WITHIN, async || {
        match node.try_status().await?["watchers"].as_u64() {
            Some(watchers) if watchers == (STALLED + HEALTHY) as u64 => Ok(()),
            other => Err(format!("{other:?} watchers")),
        }
    })
    .await;
    stalled
}

/// Waits until the node's memory has stayed the same for a while, and returns it.
async fn settled_memory(node: &Node) -> u64 {
    const WHILE: Duration = Duration::from_secs(1);
    const SAME: u64 = 64 << 10;
    let (mut last, mut since) = (0, Instant::now());
    wait_for("memory that stays the same", SETTLED_WITHIN, async || {
        let now = node.resident_bytes();
        if now.abs_diff(last) > SAME {
            (last, since) = (now, Instant::now());
        }
        if since.elapsed() >= WHILE {
            Ok(now)
        } else {
            Err(format!("{now} bytes"))
        }
    })
    .await
}

/// Waits until the node has closed all of them, and returns how long each was open, shortest first.
async fn closed(stalled: &[Stalled]) -> Vec<Duration> {
    let mut closed: Vec<Option<Duration>> = vec![None; stalled.len()];
    wait_for("they are closed", CLOSED_WITHIN, async || {
        let open = open_connections(stalled[0].server());
        for (one, closed) in stalled.iter().zip(&mut closed) {
            if !open.contains(&one.client()) {
                closed.get_or_insert(one.opened().elapsed());
            }
        }
        let left = closed.iter().filter(|closed| closed.is_none()).count();
        if left == 0 {
            Ok(())
        } else {
            Err(format!("{left} are open"))
        }
    })
    .await;
    let mut closed: Vec<_> = closed.into_iter().flatten().collect();
    closed.sort_unstable();
    assert!(closed[STALLED - 1] <= CLOSED_WITHIN, "{closed:?}");
    closed
}

/// Writes for a while, and returns the revisions in order.
async fn write(node: &Node, time: Duration) -> Vec<u64> {
    let until = Instant::now() + time;
    let client = |number: u64| {
        let mut client = node.client();
        tokio::spawn(async move {
            let mut revisions = Vec::new();
            while Instant::now() < until {
                let key = revisions.len() as u64 % KEYS;
                let target = format!("/api/keys/stalled/{number}/{key}");
                let request = Request::put(&target, "x".repeat(VALUE_BYTES));
                let answer = client.send(&request).await.expect("an answer");
                assert!(matches!(answer.status, 200 | 201), "{answer:?}");
                revisions.push(answer.expect_number("conclave-revision"));
            }
            revisions
        })
    };
    let mut revisions = Vec::new();
    for client in (0..CLIENTS).map(client).collect::<Vec<_>>() {
        revisions.extend(client.await.expect("a client does not panic"));
    }
    revisions.sort_unstable();
    revisions
}

/// A watcher that reads. It ends when this is dropped.
struct Healthy {
    told: watch::Receiver<Vec<u64>>,
    task: JoinHandle<()>,
}

impl Healthy {
    /// Opens a stream, and returns when it has begun.
    async fn start(node: &Node) -> Self {
        let feed = Feed::open(&node.http_address(), TARGET).await;
        let mut feed = feed.expect("a stream");
        let mut has_begun = false;
        while !has_begun {
            let read = feed.read(|event| has_begun |= event.name == b"hello");
            assert!(read.await.expect("a stream"), "it ended at once");
        }
        let (sender, told) = watch::channel(Vec::new());
        let task = tokio::spawn(async move {
            loop {
                let mut new = Vec::new();
                let put = |event: FeedEvent<'_>| {
                    if event.name == b"put" {
                        new.push(event.id.expect("one change in a revision"));
                    }
                };
                // The end of the stream shows as a write that was not told.
                let Ok(true) = feed.read(put).await else {
                    return;
                };
                sender.send_modify(|told| told.append(&mut new));
            }
        });
        Self { told, task }
    }

    /// Waits until it was told of a revision, and returns all that it was told.
    async fn told_up_to(&mut self, revision: u64) -> Vec<u64> {
        let told = self.told.wait_for(|told| told.last() >= Some(&revision));
        let told = timeout(TOLD_WITHIN, told).await;
        told.expect("told in time")
            .expect("a stream that goes on")
            .clone()
    }
}

impl Drop for Healthy {
    fn drop(&mut self) {
        self.task.abort();
    }
}
