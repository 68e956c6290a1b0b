//! `conclave-bench`: one table of what three nodes and their load do on this machine.
//!
//! It prints what it measured and nothing that it did not: a row with errors shows them, and an
//! example of one.
#![expect(clippy::print_stdout, reason = "the table is the product")]

mod histogram;
mod load;
mod options;
mod target;

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context, Result};

use load::{Load, Operation, Outcome};
use options::{Options, USAGE};
use target::Target;

/// Where the clients of a row connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Through {
    Leader,
    Followers,
    AllNodes,
}

impl Through {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Followers => "followers",
            Self::AllNodes => "all nodes",
        }
    }

    /// Returns the addresses out of those with the leader first.
    fn addresses(self, all: &[String]) -> Vec<String> {
        match self {
            Self::Followers if all.len() > 1 => all[1..].to_vec(),
            Self::Leader | Self::Followers => all[..1].to_vec(),
            Self::AllNodes => all.to_vec(),
        }
    }
}

/// A row before it is measured.
#[derive(Debug, Clone, Copy)]
struct Row {
    operation: Operation,
    through: Through,
    clients: usize,
}

impl Row {
    fn name(self) -> String {
        let what = match self.operation {
            Operation::Put => "put",
            Operation::Load => "load",
            Operation::Get("stale") => "get stale",
            Operation::Get("default") => "get default",
            Operation::Get(_) => "get consistent",
        };
        let plural = if self.clients == 1 { "" } else { "s" };
        format!(
            "{what}, {} client{plural}, {}",
            self.clients,
            self.through.as_str()
        )
    }
}

fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for through in [Through::Leader, Through::Followers, Through::AllNodes] {
        // One client of all nodes would be one of the leader.
        let few = if through == Through::AllNodes {
            &[][..]
        } else {
            &[1][..]
        };
        for &clients in few.iter().chain(&[16, 64, 256]) {
            rows.push(Row {
                operation: Operation::Put,
                through,
                clients,
            });
        }
    }
    for level in ["stale", "default", "consistent"] {
        for through in [Through::AllNodes, Through::Leader] {
            rows.push(Row {
                operation: Operation::Get(level),
                through,
                clients: 64,
            });
        }
    }
    rows
}

fn main() -> Result<()> {
    let Some(options) = Options::parse(std::env::args().skip(1))? else {
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
    let mut target = runtime.block_on(Target::open(&options))?;
    let device = target::measure_device(options.value_bytes)?;
    println!(
        "device: append + fdatasync of {} bytes: p50 {} ms, p99 {} ms",
        options.value_bytes,
        milliseconds(device.percentile(50)),
        milliseconds(device.percentile(99)),
    );
    println!(
        "{} nodes, {} keys, values of {} bytes, {} s per row\n",
        target.addresses.len(),
        options.keys,
        options.value_bytes,
        options.seconds.as_secs()
    );
    header();
    let load = Row {
        operation: Operation::Load,
        through: Through::Leader,
        clients: 64,
    };
    measure(&runtime, &mut target, &options, load)?;
    let loaded = target.resident_bytes();
    for row in rows() {
        if row.name().contains(&options.only) {
            measure(&runtime, &mut target, &options, row)?;
        }
    }
    println!();
    memory("after loading", &loaded);
    memory("at the end", &target.resident_bytes());
    Ok(())
}

/// The harness finds its binary by the environment, which a process must not change while it runs:
/// so the bench starts itself once more.
fn use_binary(binary: &std::path::Path) -> Result<()> {
    use std::os::unix::process::CommandExt as _;
    let binary = binary
        .canonicalize()
        .with_context(|| binary.display().to_string())?;
    let position =
        |arg: &String| std::path::Path::new(arg).canonicalize().ok() != Some(binary.clone());
    let args = std::env::args().skip(1).filter(position);
    let own = std::env::current_exe()?;
    let error = std::process::Command::new(own)
        .args(args)
        .env("CONCLAVE_BIN", &binary)
        .exec();
    Err(error).context("start again")
}

fn header() {
    println!("| row | ops/s | p50 ms | p99 ms | errors |");
    println!("|---|---:|---:|---:|---:|");
}

fn measure(
    runtime: &tokio::runtime::Runtime,
    target: &mut Target,
    options: &Options,
    row: Row,
) -> Result<()> {
    runtime.block_on(target.leader_first())?;
    let duration = match row.operation {
        Operation::Load => Duration::from_secs(600),
        Operation::Put | Operation::Get(_) => options.seconds,
    };
    let outcome = load::run(&Load {
        operation: row.operation,
        clients: row.clients,
        addresses: row.through.addresses(&target.addresses),
        keys: options.keys,
        value_bytes: options.value_bytes,
        duration,
    })?;
    print_row(&row.name(), &outcome);
    std::io::stdout().flush()?;
    Ok(())
}

fn print_row(name: &str, outcome: &Outcome) {
    let millis = u64::try_from(outcome.took.as_millis())
        .unwrap_or(u64::MAX)
        .max(1);
    println!(
        "| {name} | {} | {} | {} | {} |",
        outcome.latencies.total() * 1_000 / millis,
        milliseconds(outcome.latencies.percentile(50)),
        milliseconds(outcome.latencies.percentile(99)),
        outcome.errors
    );
    if let Some(example) = &outcome.example {
        let line: String = example
            .chars()
            .filter(|c| !c.is_control())
            .take(300)
            .collect();
        println!("|   such as: {line} | | | | |");
    }
}

fn memory(when: &str, nodes: &[(String, u64)]) {
    if nodes.is_empty() {
        println!("resident memory {when}: not known of nodes that were not started here");
    }
    for (name, bytes) in nodes {
        println!("resident memory {when}: {name} {} MB", bytes / 1_000_000);
    }
}

fn milliseconds(duration: Duration) -> String {
    let micros = duration.as_micros();
    format!("{}.{:02}", micros / 1_000, micros % 1_000 / 10)
}
