//! The charts: which series each of them shows, and under which words.

use std::borrow::Cow;

use conclave_shared::metrics::{Aggregation, MetricsSeries, SeriesName};

use super::unit::Unit;

/// One chart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chart {
    /// The word in addresses.
    pub id: &'static str,
    pub title: &'static str,
    pub unit: Unit,
    /// Series and the word that a reader sees.
    pub series: &'static [(SeriesName, &'static str)],
    /// Whether the followers' lag belongs to it, a line for each.
    pub followers: Followers,
    /// What it means that there is nothing to draw.
    pub empty: &'static str,
}

/// Whether a chart has a line for each follower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Followers {
    Left,
    Shown,
}

/// One line of a chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Line<'a> {
    pub name: Cow<'static, str>,
    pub points: &'a [Option<f64>],
    pub aggregation: Aggregation,
}

/// Most followers that a node names at a time.
const MOST_FOLLOWERS: usize = 8;

const NO_SAMPLE: &str = "Nothing was measured in this range.";

/// All charts, in their order.
pub const CHARTS: [Chart; 12] = [
    chart(
        "writes",
        "Writes",
        Unit::PerSecond,
        &[
            (SeriesName::AppliedPerS, "applied, whole cluster"),
            (SeriesName::WritesPerS, "asked of this node"),
        ],
        NO_SAMPLE,
    ),
    chart(
        "reads",
        "Reads by level",
        Unit::PerSecond,
        &[
            (SeriesName::ReadsDefaultPerS, "default"),
            (SeriesName::ReadsConsistentPerS, "consistent"),
            (SeriesName::ReadsStalePerS, "stale"),
        ],
        NO_SAMPLE,
    ),
    chart(
        "requests",
        "HTTP answers",
        Unit::PerSecond,
        &[
            (SeriesName::RequestsPerS, "all"),
            (SeriesName::ErrorsPerS, "status 500 or above"),
        ],
        NO_SAMPLE,
    ),
    chart(
        "commit",
        "Commit time",
        Unit::Millis,
        &[
            (SeriesName::CommitP99Ms, "p99"),
            (SeriesName::CommitP50Ms, "p50"),
        ],
        "No write was proposed on this node: the leader does that.",
    ),
    chart(
        "disk",
        "Apply and fsync",
        Unit::Millis,
        &[
            (SeriesName::FsyncP99Ms, "fsync p99"),
            (SeriesName::ApplyP99Ms, "apply p99"),
        ],
        "Nothing was written in this range.",
    ),
    chart(
        "answers",
        "Time to answer",
        Unit::Millis,
        &[(SeriesName::RequestP99Ms, "p99")],
        "Nothing was asked in this range.",
    ),
    Chart {
        followers: Followers::Shown,
        ..chart(
            "lag",
            "Lag, log entries",
            Unit::Count,
            &[
                (SeriesName::ApplyLagEntries, "not applied here"),
                (SeriesName::ReplicationLagEntries, "furthest follower"),
            ],
            NO_SAMPLE,
        )
    },
    chart(
        "watchers",
        "Watchers and locks",
        Unit::Count,
        &[
            (SeriesName::Watchers, "watchers"),
            (SeriesName::Locks, "locks held"),
        ],
        NO_SAMPLE,
    ),
    chart(
        "term",
        "Elections",
        Unit::Count,
        &[(SeriesName::Term, "term")],
        NO_SAMPLE,
    ),
    chart(
        "keys",
        "Keys",
        Unit::Count,
        &[(SeriesName::Keys, "keys")],
        NO_SAMPLE,
    ),
    chart(
        "bytes",
        "Data",
        Unit::Bytes,
        &[(SeriesName::Bytes, "keys and values")],
        NO_SAMPLE,
    ),
    chart(
        "memory",
        "Memory",
        Unit::Bytes,
        &[(SeriesName::ResidentBytes, "process")],
        NO_SAMPLE,
    ),
];

const fn chart(
    id: &'static str,
    title: &'static str,
    unit: Unit,
    series: &'static [(SeriesName, &'static str)],
    empty: &'static str,
) -> Chart {
    Chart {
        id,
        title,
        unit,
        series,
        followers: Followers::Left,
        empty,
    }
}

impl Chart {
    /// Most lines that it ever has.
    #[must_use]
    pub const fn most_lines(&self) -> usize {
        match self.followers {
            Followers::Left => self.series.len(),
            Followers::Shown => self.series.len() + MOST_FOLLOWERS,
        }
    }

    /// Returns its lines, each with as many points as there are times.
    #[must_use]
    pub fn lines<'a>(&self, data: &'a MetricsSeries) -> Vec<Line<'a>> {
        let own = self.series.iter().filter_map(|(series, word)| {
            Some(Line {
                name: Cow::Borrowed(word),
                points: data.get(*series)?,
                aggregation: series.aggregation(),
            })
        });
        let followers = data.follower_lag.iter().map(|(node, points)| Line {
            name: Cow::Owned(format!("of {node}")),
            points,
            aggregation: Aggregation::Last,
        });
        let followers = followers.take(match self.followers {
            Followers::Left => 0,
            Followers::Shown => MOST_FOLLOWERS,
        });
        own.chain(followers).collect()
    }
}

/// Seconds in which the node measured nothing at all: it did not run, or was paused. The newest one may
/// not be there yet, so a gap at the end counts from its third second.
#[must_use]
pub fn unmeasured(data: &MetricsSeries) -> Vec<(usize, usize)> {
    let Some(points) = data.get(SeriesName::Term) else {
        return Vec::new();
    };
    let mut gaps = super::chart::gaps(points);
    gaps.retain(|(from, to)| *to < points.len() || to - from > 2);
    gaps
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::model::metrics::window::tests::series;

    #[test]
    fn charts_have_words_of_their_own() {
        let ids: HashSet<_> = CHARTS.iter().map(|chart| chart.id).collect();
        assert_eq!(ids.len(), CHARTS.len());
    }

    #[test]
    fn followers_have_lines_where_they_belong() {
        let mut data = series(10_000, &[Some(1.0)]);
        data.series
            .insert("apply_lag_entries".to_owned(), vec![Some(0.0)]);
        data.follower_lag.insert("n2".to_owned(), vec![Some(4.0)]);
        let names = |id: &str| {
            let chart = CHARTS.iter().find(|chart| chart.id == id).unwrap();
            let lines = chart.lines(&data);
            lines.into_iter().map(|line| line.name).collect::<Vec<_>>()
        };
        assert_eq!(names("lag"), ["not applied here", "of n2"]);
        assert_eq!(names("keys"), ["keys"]);
        assert_eq!(names("memory"), Vec::<String>::new());
    }

    #[test]
    fn a_second_that_is_still_growing_is_no_gap() {
        let mut data = series(10_000, &[None; 6]);
        let term = vec![None, Some(1.0), None, Some(1.0), Some(1.0), None];
        data.series.insert("term".to_owned(), term);
        assert_eq!(unmeasured(&data), [(0, 1), (2, 3)]);
    }
}
