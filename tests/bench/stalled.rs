//! What watchers that never read do to the node that serves them and to the others.
//!
//! The same load runs three times: without them, with them, and without them again. One that the
//! node has closed is replaced at once, so that all the time there are as many.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use conclave_tests::cluster::usage;
use conclave_tests::load::stalled::Stalled;
use tokio::runtime::Runtime;

use crate::options::Options;
use crate::stamped::{Writers, Writing};
use crate::stamps::Stamps;
use crate::table::milliseconds;
use crate::target::Target;
use crate::watch::{Seen, Watchers, locally, target as events};

/// Watchers that read.
const HEALTHY: usize = 20;
const CLIENTS: usize = 64;
/// Keys that the writes are spread over: few, so that the state does not grow meanwhile.
const KEYS: usize = 10_000;
/// Writes of the whole run at most.
const MOST: usize = 8_000_000;
/// Changes that a stalled watcher begins with: more than the kernels take for it.
const BEHIND: u64 = 8_000;
/// Time without load before memory is looked at.
const SETTLE: Duration = Duration::from_secs(3);
/// Of the first load nothing is printed: it fills the keys, the ring and the allocator.
const WARM_UP: Duration = Duration::from_secs(10);
/// Time between two looks at memory and connections.
const LOOK: Duration = Duration::from_millis(250);
/// Time at the end of a load whose memory counts as what the node uses under it.
const LAST: usize = 40;
/// Stalled watchers whose end is looked at.
const LOOKED_AT: usize = 10;
const PATIENCE: Duration = Duration::from_secs(60);

struct Run<'a> {
    options: &'a Options,
    address: &'a str,
    process: u32,
    stamps: Arc<Stamps>,
    watchers: Watchers,
}

/// One load.
struct Phase {
    seen: Seen,
    written: u64,
    took: Duration,
    /// Resident bytes of the serving node.
    resident: VecDeque<u64>,
    /// How long those that were closed had been open.
    closed: Vec<Duration>,
    ends: Vec<String>,
}

/// Prints a table of the three loads.
///
/// # Errors
///
/// The nodes run elsewhere, or a stream cannot be opened.
pub(crate) fn measure(
    runtime: &Runtime,
    options: &Options,
    target: &Target,
    count: usize,
) -> Result<()> {
    let address = target.addresses[0].as_str();
    let process = target.process_at(address);
    let process = process.context("--stalled needs nodes that this program has started")?;
    println!(
        "\n{HEALTHY} watchers that read and {CLIENTS} writers, all at the leader; latency from the \
         moment that the writer has read the acknowledgement, and since it sent the write\n"
    );
    println!(
        "| stalled | writes/s | deliveries/s | p50 ms | p99 ms | p50 ms since sent | p99 ms since sent \
         | RSS MiB before, median of last 10 s, most | closed |"
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    locally(runtime, async {
        let stamps = Arc::new(Stamps::new(MOST));
        let watchers = Watchers::open(address, HEALTHY, &stamps).await?;
        let run = Run {
            options,
            address,
            process,
            stamps,
            watchers,
        };
        run.all(count).await
    })
}

impl Run<'_> {
    async fn all(&self, count: usize) -> Result<()> {
        self.load(&mut [], WARM_UP).await?;
        let mut before = self.resident();
        let without = self.load(&mut [], self.options.seconds).await?;
        print(0, before, &without);
        // Nothing is written meanwhile: what the node uses more, it uses for them.
        tokio::time::sleep(SETTLE).await;
        before = self.resident();
        let since = without.seen.revision.saturating_sub(BEHIND);
        let mut crowd = Vec::new();
        for _ in 0..count {
            let target = format!("{}&since={since}", events());
            crowd.push(Stalled::open(self.address, &target).await?);
        }
        tokio::time::sleep(SETTLE).await;
        let cost = self.resident().saturating_sub(before);
        let least = before;
        before += cost;
        let with = self.load(&mut crowd, self.options.seconds).await?;
        print(count, before, &with);
        drop(crowd);
        let again = self.load(&mut [], self.options.seconds).await?;
        print(0, with.median(), &again);
        let missing = self
            .watchers
            .complete(self.stamps.acknowledged(), PATIENCE)
            .await;
        println!("\nlost to the watchers that read: {missing}");
        println!(
            "memory for {count} stalled ones: {} MiB without load, at most {} MiB under load; the load \
             alone took {} MiB more in the time after them",
            mib(cost),
            mib(with.most().saturating_sub(least)),
            mib(again.most().saturating_sub(with.most())),
        );
        println!("how the first of them ended: {}", with.ends.join(", "));
        Ok(())
    }

    fn resident(&self) -> u64 {
        usage::resident_bytes(self.process).unwrap_or(0)
    }

    async fn load(&self, crowd: &mut [Stalled], duration: Duration) -> Result<Phase> {
        self.watchers.take();
        let before = self.stamps.acknowledged();
        let started = Instant::now();
        let writing = Writing {
            addresses: vec![self.address.to_owned()],
            clients: CLIENTS,
            rate: None,
            keys: KEYS,
            value_bytes: self.options.value_bytes,
            duration,
        };
        let writers = Writers::start(writing, Arc::clone(&self.stamps));
        let mut phase = Phase {
            seen: Seen::default(),
            written: 0,
            took: duration,
            resident: VecDeque::new(),
            closed: Vec::new(),
            ends: Vec::new(),
        };
        while !writers.is_finished() {
            tokio::time::sleep(LOOK).await;
            phase.resident.push_back(self.resident());
            self.replace(crowd, &mut phase).await?;
        }
        let failures = writers.stop()?;
        if let Some(failure) = failures.first() {
            bail!("{} writes failed, such as: {failure}", failures.len());
        }
        phase.took = started.elapsed();
        phase.written = self.stamps.acknowledged() - before;
        phase.seen = self.watchers.take();
        Ok(phase)
    }

    /// Replaces those that the node has closed.
    async fn replace(&self, crowd: &mut [Stalled], phase: &mut Phase) -> Result<()> {
        let open = usage::open_connections(crowd.first().map_or(0, Stalled::server));
        for stalled in crowd {
            if !open.contains(&stalled.client()) {
                phase.closed.push(stalled.opened().elapsed());
                let new = Stalled::open(self.address, &events()).await?;
                let old = std::mem::replace(stalled, new);
                if phase.ends.len() < LOOKED_AT {
                    phase.ends.push(old.read_end().await);
                }
            }
        }
        Ok(())
    }
}

impl Phase {
    fn median(&self) -> u64 {
        let mut last: Vec<_> = self.resident.iter().rev().take(LAST).copied().collect();
        last.sort_unstable();
        last.get(last.len() / 2).copied().unwrap_or(0)
    }

    fn most(&self) -> u64 {
        self.resident.iter().copied().max().unwrap_or(0)
    }
}

fn print(stalled: usize, before: u64, phase: &Phase) {
    let per_second = |count: u64| count * 1_000 / (phase.took.as_millis() as u64).max(1);
    let seen = &phase.seen;
    let mut ages = phase.closed.clone();
    ages.sort_unstable();
    let closed = match ages[..] {
        [] => "0".to_owned(),
        [first, ..] => format!(
            "{} after {:.1} to {:.1} s",
            ages.len(),
            first.as_secs_f64(),
            ages[ages.len() - 1].as_secs_f64()
        ),
    };
    println!(
        "| {stalled} | {} | {} | {} | {} | {} | {} | {}, {}, {} | {closed} |",
        per_second(phase.written),
        per_second(seen.deliveries),
        milliseconds(seen.since_acknowledged.percentile(50)),
        milliseconds(seen.since_acknowledged.percentile(99)),
        milliseconds(seen.since_sent.percentile(50)),
        milliseconds(seen.since_sent.percentile(99)),
        mib(before),
        mib(phase.median()),
        mib(phase.most()),
    );
    if let Some(line) = &seen.example {
        println!(
            "|   {} wrong, such as: {line} | | | | | | | | |",
            seen.wrong
        );
    }
}

fn mib(bytes: u64) -> String {
    let tenths = bytes * 10 / (1 << 20);
    format!("{}.{}", tenths / 10, tenths % 10)
}
