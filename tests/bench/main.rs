//! `conclave-bench`: one table of what three nodes and their load do on this machine, alone or
//! beside etcd.
//!
//! It prints what it measured and nothing that it did not: a row with errors shows them, and an
//! example of one.
#![expect(clippy::print_stdout, reason = "the table is the product")]

mod etcd;
mod floor;
mod goals;
mod grpc;
mod histogram;
mod http;
mod http2;
mod load;
mod options;
mod profile;
mod protobuf;
mod rows;
mod stalled;
mod stamped;
mod stamps;
mod table;
mod target;
mod watch;
mod watching;

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::runtime::Runtime;

use goals::Facts;
use load::{Load, Operation};
use options::{Options, USAGE, Watch};
use rows::{LOAD, Row, Through, rows};
use table::{Measured, Pairs};
use target::Target;

/// Before each measurement beside etcd, for what the system measured before still has to write.
const SETTLE: Duration = Duration::from_millis(500);
/// For the processor time of systems that nobody uses.
const IDLE: Duration = Duration::from_secs(5);

fn main() -> Result<()> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    if let Some((floor::SERVE, args)) = args
        .split_first()
        .map(|(first, rest)| (first.as_str(), rest))
    {
        return floor::serve(args);
    }
    let Some(options) = Options::parse(args.into_iter())? else {
        println!("{USAGE}");
        return Ok(());
    };
    if let Some(binary) = &options.binary {
        use_binary(binary)?;
    }
    // The nodes' own part and the load take turns on this thread.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let target = runtime.block_on(Target::open(&options))?;
    let device = target::measure_device(options.value_bytes)?;
    println!(
        "device: append + fdatasync of {} bytes: p50 {} ms, p99 {} ms",
        options.value_bytes,
        table::milliseconds(device.percentile(50)),
        table::milliseconds(device.percentile(99)),
    );
    println!(
        "{} nodes, {} keys, values of {} bytes, {} s per row",
        target.addresses.len(),
        options.keys,
        options.value_bytes,
        options.seconds.as_secs()
    );
    match &options.watch {
        Some(Watch::Readers(rows)) => return watching::measure(&runtime, &options, &target, rows),
        Some(Watch::Stalled(count)) => {
            return stalled::measure(&runtime, &options, &target, *count);
        }
        None => {}
    }
    match &options.etcd {
        None => alone(&runtime, &options, target),
        Some(binary) => {
            println!(
                "beside {}, {} of each row, in turns",
                etcd::version(binary)?,
                options.repeat
            );
            let etcd = runtime.block_on(Target::open_etcd(binary, options.value_bytes))?;
            let sync = device.percentile(50);
            beside_etcd(&runtime, &options, [target, etcd], sync)
        }
    }
}

/// The harness finds its binary by the environment, which a process must not change while it runs:
/// so the bench starts itself once more.
fn use_binary(binary: &Path) -> Result<()> {
    use std::os::unix::process::CommandExt as _;
    let binary = binary
        .canonicalize()
        .with_context(|| binary.display().to_string())?;
    let position = |arg: &String| Path::new(arg).canonicalize().ok() != Some(binary.clone());
    let args = std::env::args().skip(1).filter(position);
    let own = std::env::current_exe()?;
    let error = std::process::Command::new(own)
        .args(args)
        .env("CONCLAVE_BIN", &binary)
        .exec();
    Err(error).context("start again")
}

fn alone(runtime: &Runtime, options: &Options, mut target: Target) -> Result<()> {
    println!();
    table::header();
    table::row(LOAD, &measure(runtime, &mut target, options, LOAD)?);
    let loaded = target.resident_bytes();
    for row in chosen(options) {
        table::row(row, &measure(runtime, &mut target, options, row)?);
        std::io::stdout().flush()?;
    }
    println!();
    table::memory(target.name, "after loading", &loaded);
    table::memory(target.name, "at the end", &target.resident_bytes());
    Ok(())
}

/// `sync` is the device's own time for a write, for the goals.
fn beside_etcd(
    runtime: &Runtime,
    options: &Options,
    mut targets: [Target; 2],
    sync: Duration,
) -> Result<()> {
    println!();
    table::header_beside_etcd();
    let mut all = Vec::new();
    let mut loaded: Vec<Vec<(String, u64)>> = Vec::new();
    for row in std::iter::once(LOAD).chain(chosen(options)) {
        let pairs = measure_both(runtime, options, &mut targets, row)?;
        table::row_beside_etcd(&pairs);
        std::io::stdout().flush()?;
        all.push(pairs);
        if row.operation == Operation::Load {
            loaded = targets.iter().map(Target::resident_bytes).collect();
        }
    }
    table::cpu_beside_etcd(&all);
    println!();
    let before: Vec<_> = targets.iter().map(Target::cpu_time).collect();
    runtime.block_on(async { tokio::time::sleep(IDLE).await });
    for (target, before) in targets.iter().zip(before) {
        table::idle(target.name, used_since(before, target), IDLE);
    }
    for (target, loaded) in targets.iter().zip(&loaded) {
        table::memory(target.name, "after loading", loaded);
        table::memory(target.name, "at the end", &target.resident_bytes());
    }
    if options.goals {
        let [mut conclave, _etcd] = targets;
        profile::print(runtime, options, &mut conclave)?;
        let floor = beside_floor(runtime, options, conclave)?;
        let is_loaded = (options.keys, options.value_bytes) == goals::LOADED;
        let resident = loaded.first().filter(|_| is_loaded);
        goals::print(&Facts {
            pairs: &all,
            floor: Some(&floor),
            sync,
            cores: std::thread::available_parallelism()?.get(),
            resident: resident.map_or(&[], Vec::as_slice),
        });
    }
    Ok(())
}

/// Measures stale reads beside the floor, while nobody asks anything of etcd.
fn beside_floor(runtime: &Runtime, options: &Options, conclave: Target) -> Result<Pairs> {
    let floor = runtime.block_on(Target::open_floor(options.value_bytes))?;
    let row = Row {
        operation: Operation::Get("stale"),
        through: Through::AllNodes,
        clients: 64,
    };
    let pairs = measure_both(runtime, options, &mut [conclave, floor], row)?;
    table::row_beside_floor(&pairs);
    Ok(pairs)
}

fn chosen(options: &Options) -> impl Iterator<Item = Row> {
    rows()
        .into_iter()
        .filter(|row| row.name().contains(&options.only))
}

/// Measures both systems in turns. Each one goes first as often as the other: a machine that gets
/// slower or faster meanwhile favours nobody.
fn measure_both(
    runtime: &Runtime,
    options: &Options,
    [conclave, other]: &mut [Target; 2],
    row: Row,
) -> Result<Pairs> {
    let one = |target: &mut Target| {
        runtime.block_on(async { tokio::time::sleep(SETTLE).await });
        measure(runtime, target, options, row)
    };
    let turns = match row.operation {
        // A second one would find the keys there.
        Operation::Load => 1,
        Operation::Put | Operation::Get(_) => options.repeat,
    };
    let mut pairs = Vec::new();
    for turn in 0..turns {
        if turn % 2 == 0 {
            let ours = one(conclave)?;
            pairs.push([ours, one(other)?]);
        } else {
            let theirs = one(other)?;
            pairs.push([one(conclave)?, theirs]);
        }
    }
    Ok(Pairs { row, pairs })
}

fn measure(
    runtime: &Runtime,
    target: &mut Target,
    options: &Options,
    row: Row,
) -> Result<Measured> {
    runtime.block_on(target.leader_first())?;
    let duration = match row.operation {
        Operation::Load => Duration::from_secs(600),
        Operation::Put | Operation::Get(_) => options.seconds,
    };
    let before = target.cpu_time();
    let outcome = load::run(&Load {
        protocol: target.protocol,
        operation: row.operation,
        clients: row.clients,
        addresses: row.through.addresses(&target.addresses),
        keys: options.keys,
        value_bytes: options.value_bytes,
        duration,
    })?;
    Ok(Measured {
        outcome,
        servers_cpu: used_since(before, target),
    })
}

fn used_since(before: Option<Duration>, target: &Target) -> Option<Duration> {
    Some(target.cpu_time()?.saturating_sub(before?))
}
