//! What is printed of the measurements.

use std::time::Duration;

use crate::load::Outcome;
use crate::rows::Row;

/// One row of one system.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    pub(crate) outcome: Outcome,
    /// Processor time of all its nodes; not known of nodes elsewhere.
    pub(crate) servers_cpu: Option<Duration>,
}

impl Measured {
    pub(crate) fn per_second(&self) -> u64 {
        let millis = u64::try_from(self.outcome.took.as_millis()).unwrap_or(u64::MAX);
        self.outcome.latencies.total() * 1_000 / millis.max(1)
    }

    /// Returns how many operations a second `cores` that never wait can do, as each takes of them what it
    /// took here.
    pub(crate) fn most_per_second(&self, cores: usize) -> Option<u64> {
        let busy = self.outcome.own_cpu + self.servers_cpu?;
        let all = Duration::from_secs(1).as_nanos() * cores as u128;
        let most = u128::from(self.outcome.latencies.total()) * all / busy.as_nanos().max(1);
        u64::try_from(most).ok()
    }

    fn cells(&self) -> String {
        format!(
            "{} | {} | {}",
            self.per_second(),
            milliseconds(self.outcome.latencies.percentile(50)),
            milliseconds(self.outcome.latencies.percentile(99)),
        )
    }

    fn cpu_cells(&self) -> String {
        let servers = self.servers_cpu;
        format!(
            "{} | {}",
            self.per_operation(self.outcome.own_cpu),
            servers.map_or_else(|| "?".to_owned(), |time| self.per_operation(time))
        )
    }

    /// Returns microseconds.
    fn per_operation(&self, time: Duration) -> String {
        let operations = u128::from(self.outcome.latencies.total().max(1));
        let tenths = time.as_nanos() / 100 / operations;
        format!("{}.{}", tenths / 10, tenths % 10)
    }

    fn example(&self) -> Option<String> {
        let example = self.outcome.example.as_ref()?;
        let plain = example.chars().filter(|c| !c.is_control());
        Some(plain.take(300).collect())
    }
}

/// The same row of both systems, each as often as was asked for: Conclave and etcd by turns.
#[derive(Debug)]
pub(crate) struct Pairs {
    pub(crate) row: Row,
    pub(crate) pairs: Vec<[Measured; 2]>,
}

impl Pairs {
    /// Returns the measurement in the middle of those of one system.
    pub(crate) fn median(&self, system: usize) -> Option<&Measured> {
        let mut of_system: Vec<_> = self.pairs.iter().map(|pair| &pair[system]).collect();
        of_system.sort_by_key(|measured| measured.per_second());
        of_system.get(of_system.len() / 2).copied()
    }

    fn errors(&self, system: usize) -> u64 {
        let all = self.pairs.iter().map(|pair| &pair[system].outcome);
        all.map(|outcome| outcome.errors).sum()
    }

    /// Returns the ratio of the medians, and that of the worst and the best pair.
    fn ratios(&self, ours: &Measured, theirs: &Measured) -> String {
        let mut ratios: Vec<_> = self
            .pairs
            .iter()
            .map(|[ours, theirs]| hundredths(ours, theirs))
            .collect();
        ratios.sort_unstable();
        let middle = decimal(hundredths(ours, theirs));
        match ratios[..] {
            [low, .., high] => format!("{middle} ({} to {})", decimal(low), decimal(high)),
            _ => middle,
        }
    }
}

pub(crate) fn header() {
    println!("| row | ops/s | p50 ms | p99 ms | errors |");
    println!("|---|---:|---:|---:|---:|");
}

pub(crate) fn row(row: Row, measured: &Measured) {
    let errors = measured.outcome.errors;
    println!("| {} | {} | {errors} |", row.name(), measured.cells());
    if let Some(line) = measured.example() {
        println!("|   such as: {line} | | | | |");
    }
}

pub(crate) fn header_beside_etcd() {
    println!(
        "| row | Conclave ops/s | p50 ms | p99 ms | etcd ops/s | p50 ms | p99 ms \
         | Conclave / etcd | errors |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|");
}

pub(crate) fn row_beside_etcd(pairs: &Pairs) {
    let (Some(ours), Some(theirs)) = (pairs.median(0), pairs.median(1)) else {
        return;
    };
    println!(
        "| {} | {} | {} | {} | {}, {} |",
        pairs.row.name_beside_etcd(),
        ours.cells(),
        theirs.cells(),
        pairs.ratios(ours, theirs),
        pairs.errors(0),
        pairs.errors(1),
    );
    let mut examples = pairs.pairs.iter().flatten().filter_map(Measured::example);
    if let Some(line) = examples.next() {
        println!("|   such as: {line} | | | | | | | | |");
    }
}

/// Prints a row beside the floor.
pub(crate) fn row_beside_floor(pairs: &Pairs) {
    let (Some(ours), Some(floor)) = (pairs.median(0), pairs.median(1)) else {
        return;
    };
    println!("\nbeside an axum handler that answers with one value:\n");
    println!(
        "| row | Conclave ops/s | p50 ms | p99 ms | empty handler ops/s | p50 ms | p99 ms \
         | Conclave / empty handler | errors |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|");
    println!(
        "| {} | {} | {} | {} | {}, {} |",
        pairs.row.name(),
        ours.cells(),
        floor.cells(),
        pairs.ratios(ours, floor),
        pairs.errors(0),
        pairs.errors(1),
    );
}

/// Prints what each operation cost, so that a reader sees whether the generator treats both alike.
pub(crate) fn cpu_beside_etcd(all: &[Pairs]) {
    println!("\nprocessor time per operation, in µs:\n");
    println!(
        "| row | generator for Conclave | Conclave's nodes | generator for etcd | etcd's members |"
    );
    println!("|---|---:|---:|---:|---:|");
    for pairs in all {
        if let (Some(ours), Some(theirs)) = (pairs.median(0), pairs.median(1)) {
            println!(
                "| {} | {} | {} |",
                pairs.row.name_beside_etcd(),
                ours.cpu_cells(),
                theirs.cpu_cells()
            );
        }
    }
}

/// Prints how much of one core the nodes of a system take while nobody asks anything of them.
pub(crate) fn idle(system: &str, used: Option<Duration>, during: Duration) {
    match used {
        Some(used) => {
            let tenths = used.as_micros() * 1_000 / during.as_micros().max(1);
            let (whole, part) = (tenths / 10, tenths % 10);
            println!("idle: the nodes of {system} take {whole}.{part} % of one core together");
        }
        None => println!("idle: not known of nodes that were not started here"),
    }
}

pub(crate) fn memory(system: &str, when: &str, nodes: &[(String, u64)]) {
    if nodes.is_empty() {
        println!("resident memory {when}: not known of nodes that were not started here");
    }
    for (name, bytes) in nodes {
        println!(
            "resident memory {when}: {system} {name} {} MB",
            bytes / 1_000_000
        );
    }
}

pub(crate) fn milliseconds(duration: Duration) -> String {
    let micros = duration.as_micros();
    format!("{}.{:02}", micros / 1_000, micros % 1_000 / 10)
}

/// Returns the ratio of the rates, in hundredths.
pub(crate) fn hundredths(ours: &Measured, theirs: &Measured) -> u64 {
    ours.per_second() * 100 / theirs.per_second().max(1)
}

pub(crate) fn decimal(hundredths: u64) -> String {
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::rows::LOAD;

    /// One second with so many operations of a millisecond each.
    pub(crate) fn measured(operations: u64) -> Measured {
        let mut outcome = Outcome {
            took: Duration::from_secs(1),
            own_cpu: Duration::from_millis(operations),
            ..Outcome::default()
        };
        for _ in 0..operations {
            outcome.latencies.record(Duration::from_millis(1));
        }
        Measured {
            outcome,
            servers_cpu: None,
        }
    }

    #[test]
    fn the_medians_are_compared_and_the_pairs_give_the_range() {
        let pairs = Pairs {
            row: LOAD,
            pairs: [(100, 100), (300, 100), (200, 50)]
                .map(|(ours, theirs)| [measured(ours), measured(theirs)])
                .into(),
        };
        let (ours, theirs) = (pairs.median(0).unwrap(), pairs.median(1).unwrap());
        assert_eq!((ours.per_second(), theirs.per_second()), (200, 100));
        assert_eq!(pairs.ratios(ours, theirs), "2.00 (1.00 to 4.00)");
    }

    #[test]
    fn what_cores_can_do_is_counted_from_what_nodes_and_generator_took() {
        let mut measured = measured(100);
        assert_eq!(measured.most_per_second(2), None);
        // Of 2 s there are 0.1 s for the generator and 0.3 s for the nodes.
        measured.servers_cpu = Some(Duration::from_millis(300));
        assert_eq!(measured.most_per_second(2), Some(500));
    }

    #[test]
    fn processor_time_is_per_operation() {
        assert_eq!(measured(20).cpu_cells(), "1000.0 | ?");
    }
}
