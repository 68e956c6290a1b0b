//! The goals, and whether what was measured meets them.

use std::time::Duration;

use crate::load::Operation;
use crate::rows::Through;
use crate::table::{Measured, Pairs, decimal, hundredths, milliseconds};

/// Most resident bytes of a node after 100,000 keys of 256 bytes.
const RESIDENT: u64 = 120_000_000;
/// The keys and bytes that this goal speaks of.
pub(crate) const LOADED: (usize, usize) = (100_000, 256);
const NOT_MEASURED: &str = "not measured";

/// What is compared with the goals.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    /// The rows beside etcd.
    pub(crate) pairs: &'a [Pairs],
    /// A stale read beside the floor.
    pub(crate) floor: Option<&'a Pairs>,
    /// Median of an append with its sync.
    pub(crate) sync: Duration,
    /// Of this machine.
    pub(crate) cores: usize,
    /// Resident bytes of Conclave's nodes after the load, when it was [`LOADED`].
    pub(crate) resident: &'a [(String, u64)],
}

/// A goal: what it asks for, what was measured, and whether that is enough.
struct Goal {
    what: &'static str,
    bar: &'static str,
    measured: String,
    is_met: Option<bool>,
}

/// Prints the table of the goals.
pub(crate) fn print(facts: &Facts<'_>) {
    println!("\n| goal | bar | measured | |\n|---|---|---|---|");
    for goal in facts.goals() {
        let verdict = match goal.is_met {
            Some(true) => "met",
            Some(false) => "**not met**",
            None => "",
        };
        println!(
            "| {} | {} | {} | {verdict} |",
            goal.what, goal.bar, goal.measured
        );
    }
}

impl Facts<'_> {
    fn goals(&self) -> Vec<Goal> {
        let put = Operation::Put;
        vec![
            self.beside_etcd("put, 1 client", "2 × etcd", (put, Through::Leader, 1), 200),
            self.latency_of_one(),
            self.beside_etcd(
                "put, 64 clients",
                "3 × etcd",
                (put, Through::Leader, 64),
                300,
            ),
            self.tail("put, 64 clients, p99", 64),
            self.beside_etcd(
                "put, 256 clients",
                "4 × etcd",
                (put, Through::Leader, 256),
                400,
            ),
            self.tail("put, 256 clients, p99", 256),
            self.through_followers(),
            self.beside_etcd(
                "get consistent, 64 clients, all nodes",
                "3 × etcd's linearizable",
                (Operation::Get("consistent"), Through::AllNodes, 64),
                300,
            ),
            self.beside_etcd(
                "get stale, 64 clients, all nodes",
                "3 × etcd's serializable",
                (Operation::Get("stale"), Through::AllNodes, 64),
                300,
            ),
            self.beside_floor(),
            self.resident(),
        ]
    }

    fn find(&self, row: (Operation, Through, usize)) -> Option<(&Measured, &Measured)> {
        let pairs = self.pairs.iter().find(|pairs| {
            let of = pairs.row;
            (of.operation, of.through, of.clients) == row
        })?;
        Some((pairs.median(0)?, pairs.median(1)?))
    }

    fn beside_etcd(
        &self,
        what: &'static str,
        bar: &'static str,
        row: (Operation, Through, usize),
        least: u64,
    ) -> Goal {
        let found = self.find(row);
        let ratio = found.map(|(ours, theirs)| hundredths(ours, theirs));
        let mut goal = Goal::ratio(what, bar, ratio, least);
        if goal.is_met == Some(false)
            && let Some((ours, theirs)) = found
            && let Some(most) = ours.most_per_second(self.cores)
        {
            let most = most * 100 / theirs.per_second().max(1);
            let text = format!(
                "; {} cores that never wait: {} ×",
                self.cores,
                decimal(most)
            );
            goal.measured.push_str(&text);
        }
        goal
    }

    fn latency_of_one(&self) -> Goal {
        let row = (Operation::Put, Through::Leader, 1);
        let found = self.find(row);
        let p50 = found.map(|(ours, _)| ours.outcome.latencies.percentile(50));
        let bar = self.sync * 4;
        Goal {
            what: "put, 1 client, p50",
            bar: "4 × append + fdatasync",
            measured: p50.map_or_else(
                || NOT_MEASURED.to_owned(),
                |p50| format!("{} ms of {}", milliseconds(p50), milliseconds(bar)),
            ),
            is_met: p50.map(|p50| p50 <= bar),
        }
    }

    fn tail(&self, what: &'static str, clients: usize) -> Goal {
        let found = self.find((Operation::Put, Through::Leader, clients));
        let p99 = |measured: &Measured| measured.outcome.latencies.percentile(99);
        let both = found.map(|(ours, theirs)| (p99(ours), p99(theirs)));
        Goal {
            what,
            bar: "etcd's",
            measured: both.map_or_else(
                || NOT_MEASURED.to_owned(),
                |(ours, theirs)| format!("{} ms of {}", milliseconds(ours), milliseconds(theirs)),
            ),
            is_met: both.map(|(ours, theirs)| ours <= theirs),
        }
    }

    fn through_followers(&self) -> Goal {
        let through = |through| self.find((Operation::Put, through, 64));
        let both = through(Through::Followers).zip(through(Through::Leader));
        let ratio = both.map(|((ours, _), (leader, _))| hundredths(ours, leader));
        let what = "put through followers, 64 clients";
        Goal::ratio(what, "0.8 × through the leader", ratio, 80)
    }

    fn beside_floor(&self) -> Goal {
        let both = self
            .floor
            .and_then(|pairs| pairs.median(0).zip(pairs.median(1)));
        let ratio = both.map(|(ours, floor)| hundredths(ours, floor));
        let what = "get stale, 64 clients, all nodes, beside an empty axum handler";
        Goal::ratio(what, "0.7 ×", ratio, 70)
    }

    fn resident(&self) -> Goal {
        let most = self.resident.iter().map(|(_, bytes)| *bytes).max();
        Goal {
            what: "resident memory of a node after 100,000 keys of 256 bytes",
            bar: "120 MB",
            measured: most.map_or_else(
                || NOT_MEASURED.to_owned(),
                |most| format!("{} MB", most / 1_000_000),
            ),
            is_met: most.map(|most| most <= RESIDENT),
        }
    }
}

impl Goal {
    /// A ratio in hundredths that must be at least `least`.
    fn ratio(what: &'static str, bar: &'static str, ratio: Option<u64>, least: u64) -> Self {
        Self {
            what,
            bar,
            measured: ratio.map_or_else(
                || NOT_MEASURED.to_owned(),
                |it| format!("{} ×", decimal(it)),
            ),
            is_met: ratio.map(|it| it >= least),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::Row;
    use crate::table::tests::measured;

    fn pairs(operation: Operation, through: Through, clients: usize, both: [u64; 2]) -> Pairs {
        Pairs {
            row: Row {
                operation,
                through,
                clients,
            },
            pairs: vec![both.map(measured)],
        }
    }

    #[test]
    fn a_goal_is_met_missed_or_not_measured() {
        let put = Operation::Put;
        let all = [
            pairs(put, Through::Leader, 64, [300, 100]),
            pairs(put, Through::Leader, 256, [399, 100]),
            pairs(put, Through::Followers, 64, [239, 100]),
        ];
        let floor = pairs(Operation::Get("stale"), Through::AllNodes, 64, [70, 100]);
        let facts = Facts {
            pairs: &all,
            floor: Some(&floor),
            sync: Duration::from_millis(1),
            cores: 2,
            resident: &[("node0".to_owned(), RESIDENT + 1)],
        };
        let verdicts: Vec<_> = facts.goals().iter().map(|goal| goal.is_met).collect();
        let (met, missed) = (Some(true), Some(false));
        let expected = [
            None, None, met, met, missed, met, missed, None, None, met, missed,
        ];
        assert_eq!(verdicts, expected);
    }
}
