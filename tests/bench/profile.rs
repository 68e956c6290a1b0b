//! Where the processor time of a put goes, by the threads of the nodes, and what it would allow at most.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use conclave_tests::cluster::usage::{self, Times};
use tokio::runtime::Runtime;

use crate::load::Operation;
use crate::options::Options;
use crate::rows::{Row, Through};
use crate::target::Target;

const ROW: Row = Row {
    operation: Operation::Put,
    through: Through::Leader,
    clients: 64,
};
/// Threads that took less than this of a put together are left out.
const LEAST: Duration = Duration::from_nanos(500);

/// Loads Conclave once more, and prints it.
///
/// # Errors
///
/// As for any row.
pub(crate) fn print(runtime: &Runtime, options: &Options, target: &mut Target) -> Result<()> {
    runtime.block_on(target.leader_first())?;
    let (leader, followers) = target.leader_and_followers();
    let of = |processes: &[u32]| {
        let threads = processes.iter().flat_map(|one| usage::threads(*one));
        sum(threads)
    };
    let before = [
        of(&leader),
        of(&followers),
        sum(usage::threads(std::process::id())),
    ];
    let idle = usage::idle_time();
    let began = Instant::now();
    let measured = crate::measure(runtime, target, options, ROW)?;
    let (took, idle) = (began.elapsed(), usage::idle_time().zip(idle));
    let after = [
        of(&leader),
        of(&followers),
        sum(usage::threads(std::process::id())),
    ];
    let puts = measured.outcome.latencies.total().max(1);
    let [leader, followers, own] = std::array::from_fn(|at| since(&before[at], &after[at]));
    println!(
        "\nprocessor time by threads, {}, in µs per put ({} puts/s):\n",
        ROW.name(),
        measured.per_second()
    );
    println!("| thread | leader | of it in the kernel | both followers | of it in the kernel |");
    println!("|---|---:|---:|---:|---:|");
    let mut all = Times::default();
    let none = Times::default();
    let names: std::collections::BTreeSet<_> = leader.keys().chain(followers.keys()).collect();
    for name in names {
        let [ours, theirs] = [&leader, &followers].map(|one| one.get(name).unwrap_or(&none));
        all = all + *ours + *theirs;
        if per_put(ours.total() + theirs.total(), puts) < LEAST {
            continue;
        }
        let cells = [ours.total(), ours.kernel, theirs.total(), theirs.kernel];
        let cells = cells.map(|time| micros(per_put(time, puts)));
        println!("| {name} | {} |", cells.join(" | "));
    }
    let own = own
        .into_values()
        .fold(Times::default(), |all, one| all + one);
    let whole = per_put(all.total() + own.total(), puts);
    let cores = std::thread::available_parallelism()?.get();
    let most = Duration::from_secs(1).as_nanos() * cores as u128 / whole.as_nanos().max(1);
    println!(
        "\nnodes {} µs, {} of it in the kernel; generator {} µs: with {cores} cores that never wait, at \
         most {most} puts/s",
        micros(per_put(all.total(), puts)),
        micros(per_put(all.kernel, puts)),
        micros(per_put(own.total(), puts)),
    );
    if let Some((after, before)) = idle {
        let idle = after.saturating_sub(before).as_millis() * 100;
        let share = idle / (took.as_millis() * cores as u128).max(1);
        println!("idle meanwhile: {share} % of the machine");
    }
    Ok(())
}

fn sum(threads: impl IntoIterator<Item = (String, Times)>) -> BTreeMap<String, Times> {
    let mut all = BTreeMap::new();
    for (name, times) in threads {
        let known: &mut Times = all.entry(name).or_default();
        *known = *known + times;
    }
    all
}

/// Returns what was used meanwhile. Threads that have ended meanwhile are missing.
fn since(
    before: &BTreeMap<String, Times>,
    after: &BTreeMap<String, Times>,
) -> BTreeMap<String, Times> {
    let used = after.iter().map(|(name, after)| {
        let before = before.get(name).copied().unwrap_or_default();
        (name.clone(), after.since(before))
    });
    used.collect()
}

fn per_put(time: Duration, puts: u64) -> Duration {
    Duration::from_nanos(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX) / puts)
}

fn micros(time: Duration) -> String {
    let tenths = time.as_nanos() / 100;
    format!("{}.{}", tenths / 10, tenths % 10)
}
