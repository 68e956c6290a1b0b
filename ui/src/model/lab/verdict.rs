//! What all answers prove together, in one sentence.

use conclave_shared::ErrorCode;

use super::{
    cell::{Cell, newest},
    strip::Strip,
};

/// Places of the levels in a line: weakest first.
const STALE: usize = 0;
const CONSISTENT: usize = 2;

/// One member's answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Line {
    pub node: String,
    pub http: String,
    /// By level, weakest first.
    pub cells: [Cell; 3],
    pub strip: Strip,
}

impl Line {
    fn is_cut_off(&self) -> bool {
        let refuses = matches!(
            self.cells[CONSISTENT],
            Cell::Refused {
                code: Some(
                    ErrorCode::NoLeader | ErrorCode::OutcomeUnknown | ErrorCode::NotCaughtUp
                ),
                ..
            }
        );
        refuses && self.cells[STALE].read().is_some()
    }

    fn is_out_of_reach(&self) -> bool {
        matches!(self.cells[STALE], Cell::OutOfReach { .. })
    }
}

/// Says what the answers prove; none while some are missing.
#[must_use]
pub fn verdict(lines: &[Line]) -> Option<String> {
    let all = || lines.iter().flat_map(|line| &line.cells);
    let is_waiting = all().any(|cell| matches!(cell, Cell::Empty | Cell::Asking));
    if lines.is_empty() || is_waiting {
        return None;
    }
    let names = |of: fn(&Line) -> bool| {
        let named = lines.iter().filter(|line| of(line));
        named.map(|line| line.node.as_str()).collect::<Vec<_>>()
    };
    let (cut_off, gone) = (names(Line::is_cut_off), names(Line::is_out_of_reach));
    let Some(newest) = newest(all()) else {
        return Some(if gone.len() == lines.len() {
            "This browser reaches no node: the answers prove nothing about the cluster.".to_owned()
        } else {
            "No node could read the key.".to_owned()
        });
    };
    let is_old = |line: &&Line| {
        let stale = line.cells[STALE].read();
        stale.is_some_and(|read| read.revision < newest.revision)
    };
    let old: Vec<&str> = lines
        .iter()
        .filter(is_old)
        .map(|line| line.node.as_str())
        .collect();
    let mut sentence = if !cut_off.is_empty() && cut_off.len() + gone.len() == lines.len() {
        format!(
            "No node can reach a majority: {} {} from what {} last applied and refuse{} consistent \
             reads, because nobody can say that it is still the newest.",
            and(&cut_off),
            verb(&cut_off, "answer"),
            its(&cut_off),
            singular(&cut_off)
        )
    } else if !cut_off.is_empty() {
        let what = if cut_off.iter().any(|node| old.contains(node)) {
            "an old value"
        } else {
            "what it last applied"
        };
        format!(
            "{} {} cut off: at stale it still gives {what}, at consistent it refuses. It says no \
             rather than something that may be old; the majority goes on.",
            and(&cut_off),
            if cut_off.len() == 1 { "is" } else { "are" }
        )
    } else if old.is_empty() {
        match lines.len() - gone.len() {
            1 => format!(
                "{} gives the newest value at every level.",
                answering(lines)
            ),
            n => format!("All {n} nodes that answered give the newest value at every level."),
        }
    } else {
        format!(
            "At stale {} {} an older value; at default and consistent every answer is the newest: \
             these ask the leader first.",
            and(&old),
            verb(&old, "give")
        )
    };
    if !gone.is_empty() {
        let gone = and(&gone);
        sentence.push_str(&format!(" This browser cannot reach {gone}."));
    }
    Some(sentence)
}

fn answering(lines: &[Line]) -> &str {
    let mut answering = lines.iter().filter(|line| !line.is_out_of_reach());
    answering.next().map_or("It", |line| &line.node)
}

fn verb(nodes: &[&str], word: &str) -> String {
    format!("{word}{}", singular(nodes))
}

const fn singular(nodes: &[&str]) -> &'static str {
    if nodes.len() == 1 { "s" } else { "" }
}

const fn its(nodes: &[&str]) -> &'static str {
    if nodes.len() == 1 { "it" } else { "they" }
}

/// Joins names: `n1`, `n1 and n2`, `n1, n2 and n3`.
fn and(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::lab::cell::tests::read;

    fn line(node: &str, cells: [Cell; 3]) -> Line {
        Line {
            node: node.to_owned(),
            cells,
            ..Line::default()
        }
    }

    fn value(revision: u64) -> Cell {
        Cell::Read(Box::new(read(revision, revision, "1")))
    }

    fn refused() -> Cell {
        Cell::Refused {
            code: Some(ErrorCode::NoLeader),
            reason: "no leader".to_owned(),
            took_us: 2_000_000,
        }
    }

    fn out_of_reach() -> Cell {
        Cell::OutOfReach {
            reason: "No answer within 2 s.".to_owned(),
        }
    }

    #[test]
    fn nothing_is_proven_while_an_answer_is_missing() {
        assert_eq!(verdict(&[]), None);
        let lines = [line("n1", [value(1), Cell::Asking, value(1)])];
        assert_eq!(verdict(&lines), None);
    }

    #[test]
    fn a_whole_cluster_gives_the_newest_everywhere() {
        let lines = ["n1", "n2"].map(|node| line(node, [value(7), value(7), value(7)]));
        let said = verdict(&lines).unwrap();
        assert_eq!(
            said,
            "All 2 nodes that answered give the newest value at every level."
        );
    }

    #[test]
    fn a_stale_copy_that_lags_is_named() {
        let lines = [
            line("n1", [value(7), value(7), value(7)]),
            line("n2", [value(6), value(7), value(7)]),
        ];
        assert!(
            verdict(&lines)
                .unwrap()
                .starts_with("At stale n2 gives an older value")
        );
    }

    #[test]
    fn the_minority_of_a_partition_says_no_rather_than_something_old() {
        let lines = [
            line("n1", [value(7), value(7), value(7)]),
            line("n2", [value(6), refused(), refused()]),
        ];
        let said = verdict(&lines).unwrap();
        assert!(
            said.starts_with("n2 is cut off: at stale it still gives an old value"),
            "{said}"
        );
        assert!(said.contains("the majority goes on"), "{said}");
    }

    #[test]
    fn without_any_majority_nobody_claims_to_have_the_newest() {
        let lines = [
            line("n1", [value(7), refused(), refused()]),
            line("n2", [out_of_reach(), out_of_reach(), out_of_reach()]),
        ];
        let said = verdict(&lines).unwrap();
        assert!(
            said.starts_with("No node can reach a majority: n1 answers"),
            "{said}"
        );
        assert!(said.ends_with("This browser cannot reach n2."), "{said}");
    }

    #[test]
    fn a_browser_without_network_proves_nothing() {
        let lines = [line("n1", [out_of_reach(), out_of_reach(), out_of_reach()])];
        assert!(verdict(&lines).unwrap().contains("prove nothing"));
    }
}
