//! Rows of watchers that read: so many at one node, at so many writes a second.

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use conclave_tests::cluster::usage;
use tokio::runtime::Runtime;

use crate::options::Options;
use crate::stamped::{Writers, Writing};
use crate::stamps::Stamps;
use crate::table::milliseconds;
use crate::target::Target;
use crate::watch::{Watchers, locally};

/// How long watchers may take after the last write until they have everything.
const PATIENCE: Duration = Duration::from_secs(60);
const CLIENTS: usize = 256;
/// Writes of the whole run at most.
const MOST: usize = 4_000_000;

/// Prints a row for each number of watchers. All are at the leader, whose writes they watch.
///
/// # Errors
///
/// A stream cannot be opened.
pub(crate) fn measure(
    runtime: &Runtime,
    options: &Options,
    target: &Target,
    rows: &[usize],
) -> Result<()> {
    println!(
        "\nEach watcher is a connection to the leader. Latency: from the moment that the writer has \
         read the acknowledgement (after commit; zero where the change came first), and from the moment \
         that it sent the write. CPU: cores in use by the serving node, by all nodes and by this program.\n"
    );
    println!(
        "| watchers | writes/s | deliveries/s | lost | p50 ms | p99 ms | p50 ms since sent \
         | p99 ms since sent | last one after ms | CPU node, all, bench | errors |"
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    for &watchers in rows {
        locally(runtime, row(options, target, watchers))?;
        std::io::stdout().flush()?;
    }
    Ok(())
}

async fn row(options: &Options, target: &Target, count: usize) -> Result<()> {
    let address = &target.addresses[0];
    let seconds = options.seconds.as_secs();
    let most = usize::try_from(options.rate * (seconds + 1))?;
    ensure!(most <= MOST, "more than {MOST} writes");
    let stamps = Arc::new(Stamps::new(most));
    let watchers = Watchers::open(address, count, &stamps).await?;
    let node = target.process_at(address);
    let cpu = || {
        [
            node.and_then(usage::cpu_time),
            target.cpu_time(),
            Some(usage::own_cpu_time()),
        ]
    };
    let before = cpu();
    let started = Instant::now();
    let writing = Writing {
        addresses: vec![address.clone()],
        clients: CLIENTS,
        rate: Some(options.rate),
        keys: options.keys,
        value_bytes: options.value_bytes,
        duration: options.seconds,
    };
    let writers = Writers::start(writing, Arc::clone(&stamps));
    while !writers.is_finished() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let failures = writers.stop()?;
    let wrote = started.elapsed();
    let written = stamps.acknowledged();
    let lost = watchers.complete(written, PATIENCE).await;
    let took = started.elapsed();
    let used = cpu();
    let seen = watchers.take();
    let cores = before.iter().zip(used).map(|(before, used)| {
        let used = used?.checked_sub((*before)?)?;
        Some(format!("{:.2}", used.as_secs_f64() / took.as_secs_f64()))
    });
    let cores: Vec<_> = cores
        .map(|used| used.unwrap_or_else(|| "?".into()))
        .collect();
    let per_second = |count: u64, time: Duration| count * 1_000 / (time.as_millis() as u64).max(1);
    println!(
        "| {count} | {} | {} | {lost} | {} | {} | {} | {} | {} | {} | {} |",
        per_second(written, wrote),
        per_second(seen.deliveries, took),
        milliseconds(seen.since_acknowledged.percentile(50)),
        milliseconds(seen.since_acknowledged.percentile(99)),
        milliseconds(seen.since_sent.percentile(50)),
        milliseconds(seen.since_sent.percentile(99)),
        milliseconds(took.saturating_sub(wrote)),
        cores.join(", "),
        seen.wrong + failures.len() as u64,
    );
    if let Some(line) = seen.example.or_else(|| failures.first().cloned()) {
        let line: String = line.chars().filter(|c| !c.is_control()).take(300).collect();
        println!("|   such as: {line} | | | | | | | | | | |");
    }
    Ok(())
}
