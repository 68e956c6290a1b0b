//! A node's own figures over the last minutes (`GET /api/metrics/series`), for charts.
//!
//! Every node keeps one sample per second for 15 minutes, in memory and of itself only. A second
//! without a sample (the process was paused, or did not run yet) is null in every series, and so is a
//! figure that does not apply at that moment; nothing is interpolated.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Seconds that a node remembers; the longest and the default `range`.
pub const RANGE_S: u64 = 15 * 60;
/// Longest `step`, seconds.
pub const STEP_S: u64 = 60;

/// What one point of a series is when a step is longer than a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregation {
    /// The mean of the step's seconds that have a value.
    Mean,
    /// The last value within the step.
    Last,
    /// The largest value within the step.
    Max,
}

macro_rules! series {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $aggregation:ident;)*) => {
        /// A series by its name on the wire.
        ///
        /// Percentiles are those of one second: they come from the difference of a latency histogram
        /// between two samples, interpolated within its bucket (36 bounds from 0.1 ms to 10 s, so at
        /// most half the value off), and are null when nothing happened in that second. Rates and
        /// percentiles are also null in the first sample after a gap, whose time nobody knows.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum SeriesName {
            $($(#[$doc])* $name,)*
        }

        impl SeriesName {
            /// All series, in the order of their declaration.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Returns the name on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// Returns what a point of several seconds is.
            #[must_use]
            pub const fn aggregation(self) -> Aggregation {
                match self {
                    $(Self::$name => Aggregation::$aggregation,)*
                }
            }
        }
    };
}

series! {
    /// Writes of keys, transactions and locks that this node's clients sent it and that were
    /// answered with a status below 400, forwarded or not.
    WritesPerS = "writes_per_s", Mean;
    /// Answers to this node's clients that show the state at `stale`.
    ReadsStalePerS = "reads_stale_per_s", Mean;
    /// The same at `default`.
    ReadsDefaultPerS = "reads_default_per_s", Mean;
    /// The same at `consistent`.
    ReadsConsistentPerS = "reads_consistent_per_s", Mean;
    /// All HTTP answers of this node.
    RequestsPerS = "requests_per_s", Mean;
    /// HTTP answers with a status of 500 or above.
    ErrorsPerS = "errors_per_s", Mean;
    /// Log entries applied to this node's state: the whole cluster's writes.
    AppliedPerS = "applied_per_s", Mean;
    /// Median time from a proposal to its outcome, of proposals made on this node: on a leader.
    CommitP50Ms = "commit_p50_ms", Max;
    /// The slowest hundredth of these.
    CommitP99Ms = "commit_p99_ms", Max;
    /// Applying a batch of log entries.
    ApplyP99Ms = "apply_p99_ms", Max;
    /// Making a group of log records durable.
    FsyncP99Ms = "fsync_p99_ms", Max;
    /// Time to the head of an HTTP answer, reads and writes alike.
    RequestP99Ms = "request_p99_ms", Max;
    /// Committed log entries that this node has not applied yet.
    ApplyLagEntries = "apply_lag_entries", Last;
    /// On a leader: log entries that the follower furthest behind does not have yet.
    ReplicationLagEntries = "replication_lag_entries", Last;
    /// Raft term.
    Term = "term", Last;
    /// Committed log index.
    CommitIndex = "commit_index", Last;
    /// On a leader: time since the start of the last round that a quorum answered.
    QuorumAgeMs = "quorum_age_ms", Last;
    /// Clients that watch for changes on this node.
    Watchers = "watchers", Last;
    /// Locks that are held, in the whole cluster.
    Locks = "locks", Last;
    /// Keys of the state.
    Keys = "keys", Last;
    /// Bytes of all keys and values.
    Bytes = "bytes", Last;
    /// Memory of the process.
    ResidentBytes = "resident_bytes", Last;
}

/// What happened to the cluster, as this node saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MarkKind {
    /// A leader was found or lost.
    Leader,
    /// A member was added, promoted or removed.
    Member,
    /// A kind that a newer node knows.
    #[serde(other)]
    Other,
}

/// A moment to be marked on every chart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Milliseconds since 1970, by the same clock as [`MetricsSeries::times`].
    pub time_ms: u64,
    pub kind: MarkKind,
    /// One line for a person.
    pub text: String,
}

/// One value per point in time; null where there is none.
pub type Points = Vec<Option<f64>>;

/// Answer to `GET /api/metrics/series?range=15m&step=1s`.
///
/// `range` is 1 s to 15 min and `step` 1 s to 60 s and not above the range, both in whole seconds
/// (`90s`, `15m`). Steps begin at whole multiples of the step since the node's start, so a point keeps
/// its place while later ones come; the newest step may still be growing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricsSeries {
    pub node: String,
    /// The node's wall clock when it answered.
    pub now_ms: u64,
    pub step_ms: u64,
    /// Begin of each step, equally spaced: counted back from `now_ms` on a clock that is never set.
    pub times: Vec<u64>,
    /// Every series by name ([`SeriesName`]), each as long as `times`.
    pub series: BTreeMap<String, Points>,
    /// On a leader: the log entries that each follower does not have yet, by node name; null while
    /// this node did not lead. At most 8 followers at a time.
    #[serde(default)]
    pub follower_lag: BTreeMap<String, Points>,
    /// Marks within the range, oldest first; at most 256 are kept.
    pub marks: Vec<Mark>,
}

impl MetricsSeries {
    /// Returns a series; `None` when the node does not know it.
    #[must_use]
    pub fn get(&self, name: SeriesName) -> Option<&[Option<f64>]> {
        self.series.get(name.as_str()).map(Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_snake_case_and_unique() {
        let mut names: Vec<_> = SeriesName::ALL.iter().map(|name| name.as_str()).collect();
        let is_snake = |name: &str| {
            name.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        };
        assert!(names.iter().all(|name| is_snake(name)), "{names:?}");
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SeriesName::ALL.len());
    }

    #[test]
    fn what_a_newer_node_adds_does_not_break_a_reader() {
        let text = r#"{"node":"n","now_ms":2000,"step_ms":1000,"times":[1000],
            "series":{"keys":[3.0],"new_one":[null]},"added":1,
            "marks":[{"time_ms":1,"kind":"eclipse","text":"dark"}]}"#;
        let read: MetricsSeries = serde_json::from_str(text).unwrap();
        assert_eq!(read.get(SeriesName::Keys), Some(&[Some(3.0)][..]));
        assert_eq!(read.get(SeriesName::Locks), None);
        assert_eq!(read.marks[0].kind, MarkKind::Other);
    }
}
