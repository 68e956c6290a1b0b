//! Where a node's log stands among the newest entries of the cluster, as parts of a bar.

use conclave_shared::NodeStatus;

/// Entries that the bar shows: the newest ones.
pub const SHOWN: u64 = 256;

/// What a part of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// In the node's state.
    Applied,
    /// Committed and on its disk, not yet in its state.
    Committed,
    /// On its disk, not known to be committed.
    Stored,
    /// Committed elsewhere; this node does not have it.
    Missing,
}

impl Part {
    /// Returns the word on `data-part`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Committed => "committed",
            Self::Stored => "stored",
            Self::Missing => "missing",
        }
    }
}

/// The bar: parts of it by where they begin and end, in entries from its left edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Log index at the left edge; the right edge is `from + SHOWN`.
    pub from: u64,
    pub parts: Vec<(Part, u64, u64)>,
    /// Where the snapshot ends, when the bar shows it.
    pub snapshot: Option<u64>,
}

impl Position {
    /// Lays out a node's log against the newest entry that any member told.
    #[must_use]
    pub fn of(status: &NodeStatus, newest: u64) -> Self {
        let newest = newest.max(status.last_log_index);
        let from = (newest + 1).saturating_sub(SHOWN);
        let place = |index: u64| (index + 1).saturating_sub(from).min(SHOWN);
        let committed = status.commit_index.min(status.last_log_index);
        let ends = [
            (Part::Applied, status.applied_index),
            (Part::Committed, committed),
            (Part::Stored, status.last_log_index),
            (Part::Missing, newest),
        ];
        let mut begin = 0;
        let mut parts = Vec::new();
        for (part, index) in ends {
            let end = place(index);
            if end > begin {
                parts.push((part, begin, end));
                begin = end;
            }
        }
        let snapshot = Some(place(status.snapshot_index)).filter(|place| *place > 0);
        Self {
            from,
            parts,
            snapshot,
        }
    }

    /// Says it in words, for those who do not see the bar.
    #[must_use]
    pub fn sentence(&self) -> String {
        let of = |part: Part| {
            let found = self.parts.iter().find(|(p, _, _)| *p == part);
            found.map_or(0, |(_, begin, end)| end - begin)
        };
        let waiting = of(Part::Committed) + of(Part::Stored);
        let missing = of(Part::Missing);
        match (waiting, missing) {
            (0, 0) => "It has applied every entry that is known of.".to_owned(),
            (0, missing) => format!("It lacks the newest {}.", entries(missing)),
            (waiting, 0) => format!("It has yet to apply {}.", entries(waiting)),
            (waiting, missing) => format!(
                "It has yet to apply {} and lacks the newest {}.",
                entries(waiting),
                entries(missing)
            ),
        }
    }
}

fn entries(count: u64) -> String {
    match count {
        1 => "entry".to_owned(),
        SHOWN.. => format!("{SHOWN} entries or more"),
        _ => format!("{count} entries"),
    }
}

#[cfg(test)]
mod tests {
    use conclave_shared::cluster::Role;

    use super::*;
    use crate::model::seats::tests::status;

    fn log(applied: u64, commit: u64, last: u64) -> NodeStatus {
        let mut status = status(Role::Follower, 3);
        (status.applied_index, status.commit_index) = (applied, commit);
        status.last_log_index = last;
        status
    }

    #[test]
    fn a_node_that_has_everything_fills_the_bar() {
        let position = Position::of(&log(1_000, 1_000, 1_000), 1_000);
        assert_eq!(position.from, 745);
        assert_eq!(position.parts, [(Part::Applied, 0, 256)]);
        assert!(position.sentence().contains("every entry"));
    }

    #[test]
    fn each_part_follows_the_one_before() {
        let position = Position::of(&log(990, 995, 998), 1_000);
        assert_eq!(
            position.parts,
            [
                (Part::Applied, 0, 246),
                (Part::Committed, 246, 251),
                (Part::Stored, 251, 254),
                (Part::Missing, 254, 256),
            ]
        );
        assert_eq!(
            position.sentence(),
            "It has yet to apply 8 entries and lacks the newest 2 entries."
        );
    }

    #[test]
    fn a_young_log_fills_a_part_of_the_bar() {
        let position = Position::of(&log(10, 10, 10), 10);
        assert_eq!(position.from, 0);
        assert_eq!(position.parts, [(Part::Applied, 0, 11)]);
    }

    #[test]
    fn a_node_far_behind_has_nothing_of_what_is_shown() {
        let position = Position::of(&log(10, 10, 10), 10_000);
        assert_eq!(position.parts, [(Part::Missing, 0, 256)]);
        assert!(position.sentence().contains("256 entries or more"));
    }
}
