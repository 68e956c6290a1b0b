//! What a member answers this browser when it is asked directly.

use std::{collections::BTreeMap, sync::Arc};

use crate::model::order::sort;

use conclave_shared::NodeStatus;

/// Time between two questions to the same member while the screen is visible, milliseconds.
pub const EVERY_MS: u64 = 5_000;
/// Longest wait for a member's answer to this browser, milliseconds.
pub const LIMIT_MS: u32 = 2_000;
/// Difference of two wall clocks above which a node is marked, milliseconds.
pub const SKEW_MS: u64 = 2_000;

/// What came of asking a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// Its own view.
    Answered(Arc<NodeStatus>),
    /// No answer that could be used, in words.
    Silent(String),
    /// It joined after this page was opened: the page's policy does not know its address.
    NotAllowed,
}

/// One question to one member and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    pub word: Word,
    /// The page's time when it came, milliseconds since 1970.
    pub at_ms: u64,
    /// Time from the question to the answer, microseconds.
    pub took_us: u64,
    /// The node's wall clock less this browser's at the middle of the question, milliseconds.
    pub offset_ms: i64,
    /// The answer as it came.
    pub raw: Arc<str>,
}

impl Probe {
    /// Returns the member's own view.
    #[must_use]
    pub const fn status(&self) -> Option<&Arc<NodeStatus>> {
        match &self.word {
            Word::Answered(status) => Some(status),
            Word::Silent(_) | Word::NotAllowed => None,
        }
    }
}

/// Returns by how much each node's wall clock is off, of those that are off by more than
/// [`SKEW_MS`] and half a round trip, milliseconds. Three clocks and more are compared with their
/// median, fewer with that of the serving node: with two nobody can say which is wrong.
#[must_use]
pub fn skews(serving: &str, probes: &BTreeMap<String, Probe>) -> BTreeMap<String, i64> {
    let answered = || probes.iter().filter(|(_, probe)| probe.status().is_some());
    let mut offsets: Vec<i64> = answered().map(|(_, probe)| probe.offset_ms).collect();
    sort(&mut offsets, Ord::cmp);
    let of_serving = answered().find(|(name, _)| *name == serving);
    let reference = match (offsets.len(), of_serving) {
        (3.., _) => offsets[offsets.len() / 2],
        (_, Some((_, probe))) => probe.offset_ms,
        _ => return BTreeMap::new(),
    };
    let skew = |(name, probe): (&String, &Probe)| {
        let skew = probe.offset_ms - reference;
        let certain = SKEW_MS + probe.took_us / 2_000;
        (skew.unsigned_abs() > certain).then(|| (name.clone(), skew))
    };
    answered().filter_map(skew).collect()
}

/// Turns a browser's milliseconds into whole microseconds.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a time that a request took"
)]
pub fn micros(millis: f64) -> u64 {
    (millis.max(0.0) * 1_000.0) as u64
}

/// Writes a time in milliseconds with one decimal below ten: `1.2 ms`, `38 ms`.
#[must_use]
pub fn millis(micros: u64) -> String {
    if micros < 10_000 {
        format!("{}.{} ms", micros / 1_000, micros % 1_000 / 100)
    } else {
        format!("{} ms", micros / 1_000)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use conclave_shared::cluster::Role;

    use super::*;
    use crate::model::seats::tests::status;

    pub(in crate::model::nodes) fn answered(name: &str, role: Role, offset_ms: i64) -> Probe {
        let mut status = status(role, 3);
        status.node = name.to_owned();
        Probe {
            word: Word::Answered(Arc::new(status)),
            at_ms: 1_000,
            took_us: 1_200,
            offset_ms,
            raw: "{}".into(),
        }
    }

    fn probes(offsets: &[(&str, i64)]) -> BTreeMap<String, Probe> {
        let probe = |(name, offset): &(&str, i64)| {
            let probe = answered(name, Role::Follower, *offset);
            ((*name).to_owned(), probe)
        };
        offsets.iter().map(probe).collect()
    }

    #[test]
    fn of_three_clocks_the_odd_one_is_marked_and_not_the_browsers() {
        let off = skews(
            "n1",
            &probes(&[("n1", 60_000), ("n2", 60_010), ("n3", 63_000)]),
        );
        assert_eq!(off, BTreeMap::from([("n3".to_owned(), 2_990)]));
    }

    #[test]
    fn the_serving_nodes_own_clock_is_marked_when_the_others_agree() {
        let off = skews("n1", &probes(&[("n1", -9_000), ("n2", 5), ("n3", 0)]));
        assert_eq!(off.keys().collect::<Vec<_>>(), ["n1"]);
    }

    #[test]
    fn of_two_clocks_the_other_one_is_compared_with_the_serving_node() {
        let off = skews("n1", &probes(&[("n1", 0), ("n2", 2_500)]));
        assert_eq!(off, BTreeMap::from([("n2".to_owned(), 2_500)]));
        assert!(skews("n9", &probes(&[("n1", 0), ("n2", 2_500)])).is_empty());
    }

    #[test]
    fn half_a_slow_round_trip_is_no_skew() {
        let mut probes = probes(&[("n1", 0), ("n2", 2_500)]);
        probes.get_mut("n2").unwrap().took_us = 1_500_000;
        assert!(skews("n1", &probes).is_empty());
    }

    #[test]
    fn a_short_time_keeps_one_decimal() {
        assert_eq!(millis(940), "0.9 ms");
        assert_eq!(millis(38_900), "38 ms");
    }
}
