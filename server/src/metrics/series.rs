//! The series: one sample per second in a ring, and how they are shown.
//!
//! A sample has the number of its second on the steady clock since the start. A second that nobody
//! sampled is simply not there, and is shown as null.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use conclave_shared::metrics::{Aggregation, Points, RANGE_S};
use conclave_shared::{Mark, MarkKind, MetricsSeries, NodeStatus, SeriesName};

use super::histogram::Counts;
use super::requests::{Level, Method, RequestLabels, Route, Status};

/// Marks that are kept.
const MARKS: usize = 256;
/// Followers in a sample: a leader's six voters and some learners.
const FOLLOWERS: usize = 8;
const SERIES: usize = SeriesName::ALL.len();

/// Everything counted since the start, as far as rates and percentiles need it.
#[derive(Debug, Clone, Default)]
pub(super) struct Cumulative {
    pub(super) writes: u64,
    /// Stale, default, consistent.
    pub(super) reads: [u64; 3],
    pub(super) requests: u64,
    pub(super) errors: u64,
    pub(super) applied: u64,
    pub(super) commit: Counts,
    pub(super) apply: Counts,
    pub(super) sync: Counts,
    pub(super) durations: Counts,
}

impl Cumulative {
    pub(super) fn add_requests(&mut self, labels: RequestLabels, count: u64) {
        let writes_state = matches!(
            labels.route,
            Route::Keys | Route::Raftdb | Route::Consens | Route::Txn | Route::Locks
        );
        self.requests += count;
        if labels.status == Status::ServerError {
            self.errors += count;
        }
        match (labels.method, labels.level) {
            (Method::Write, _) if writes_state && labels.status == Status::Success => {
                self.writes += count;
            }
            (Method::Read, Level::Stale) => self.reads[0] += count,
            (Method::Read, Level::Default) => self.reads[1] += count,
            (Method::Read, Level::Consistent) => self.reads[2] += count,
            _ => {}
        }
    }
}

/// All counts at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Moment {
    /// Time since the start.
    pub(super) at: Duration,
    pub(super) sums: Cumulative,
}

/// One second. Absent values are not numbers.
#[derive(Debug, Clone)]
struct Sample {
    second: u64,
    values: [f64; SERIES],
    /// Raft ids, 0 for none, and the entries they are behind.
    followers: [(u64, u64); FOLLOWERS],
}

/// The steps that are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    step_s: u64,
    /// Number of the last step; step n begins with second n × `step_s`.
    last: u64,
    steps: usize,
}

impl Window {
    pub(super) fn ending(newest_second: u64, range_s: u64, step_s: u64) -> Self {
        Self {
            step_s,
            last: newest_second / step_s,
            steps: usize::try_from(range_s.div_ceil(step_s)).unwrap_or(usize::MAX),
        }
    }

    /// Returns a second's place among the points.
    fn place(&self, second: u64) -> Option<usize> {
        let back = self.last.checked_sub(second / self.step_s)?;
        (self.steps - 1).checked_sub(usize::try_from(back).ok()?)
    }

    /// Returns the begin of each step, in milliseconds after `origin_ms`, which may be before it.
    fn times(&self, origin_ms: u64) -> Vec<u64> {
        let step_ms = self.step_s * 1_000;
        let last_ms = origin_ms + self.last * step_ms;
        let back = (0..self.steps as u64).rev();
        back.map(|steps| last_ms.saturating_sub(steps * step_ms))
            .collect()
    }
}

/// Samples and marks.
#[derive(Debug, Default)]
pub(super) struct Ring {
    samples: VecDeque<Sample>,
    marks: VecDeque<(Duration, MarkKind, String)>,
    /// The newest sample's counts; all 0 at the start.
    before: Moment,
}

impl Ring {
    /// Appends the sample of a second that has none.
    pub(super) fn append(&mut self, now: Moment, status: &NodeStatus, resident: Option<u64>) {
        let second = now.at.as_secs();
        let newest = self.samples.back().map(|sample| sample.second);
        if newest.is_some_and(|newest| newest >= second) {
            return;
        }
        let mut values = [f64::NAN; SERIES];
        gauges(&mut values, status, resident);
        // After a gap nobody knows when in it things happened.
        if newest.unwrap_or(0) + 1 == second {
            rates(&mut values, &self.before, &now);
        }
        let oldest = (second + 1).saturating_sub(RANGE_S);
        while self
            .samples
            .front()
            .is_some_and(|sample| sample.second < oldest)
        {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample {
            second,
            values,
            followers: followers(status),
        });
        self.before = now;
    }

    pub(super) fn mark(&mut self, at: Duration, kind: MarkKind, text: String) {
        if self.marks.len() == MARKS {
            self.marks.pop_front();
        }
        self.marks.push_back((at, kind, text));
    }

    /// Returns the last second to show: this one, or the one before when this one's sample is about
    /// to be taken.
    pub(super) fn newest_second(&self, elapsed: Duration) -> u64 {
        let now = elapsed.as_secs();
        let newest = self.samples.back().map_or(0, |sample| sample.second);
        if newest + 1 == now { newest } else { now }
    }

    pub(super) fn show(
        &self,
        window: &Window,
        status: &NodeStatus,
        origin_ms: u64,
        now_ms: u64,
    ) -> MetricsSeries {
        let times = window.times(origin_ms);
        let first_ms = times.first().copied().unwrap_or(now_ms);
        let series = SeriesName::ALL.iter().map(|name| {
            let value = |sample: &Sample| sample.values[*name as usize];
            let points = self.points(window, name.aggregation(), value);
            (name.as_str().to_owned(), points)
        });
        let marks = self.marks.iter().map(|(at, kind, text)| Mark {
            time_ms: origin_ms + crate::clock::millis(*at),
            kind: *kind,
            text: text.clone(),
        });
        MetricsSeries {
            node: status.node.clone(),
            now_ms,
            step_ms: window.step_s * 1_000,
            series: series.collect(),
            follower_lag: self.follower_lag(window, status),
            marks: marks.filter(|mark| mark.time_ms >= first_ms).collect(),
            times,
        }
    }

    fn follower_lag(&self, window: &Window, status: &NodeStatus) -> BTreeMap<String, Points> {
        let mut lags = BTreeMap::new();
        for member in &status.members {
            let lag = |sample: &Sample| {
                let mut all = sample.followers.iter();
                let own = all.find(|(id, _)| *id == member.id);
                own.map_or(f64::NAN, |(_, entries)| *entries as f64)
            };
            let points = self.points(window, Aggregation::Last, lag);
            if points.iter().any(Option::is_some) {
                lags.insert(member.node.clone(), points);
            }
        }
        lags
    }

    fn points(
        &self,
        window: &Window,
        aggregation: Aggregation,
        value: impl Fn(&Sample) -> f64,
    ) -> Points {
        let mut points = vec![None; window.steps];
        let mut counts = vec![0_u32; window.steps];
        for sample in &self.samples {
            let value = value(sample);
            let place = window.place(sample.second).filter(|_| !value.is_nan());
            let Some(place) = place else { continue };
            let until_now = points[place].unwrap_or(value);
            counts[place] += 1;
            points[place] = Some(match aggregation {
                Aggregation::Mean => until_now + (value - until_now) / f64::from(counts[place]),
                Aggregation::Last => value,
                Aggregation::Max => value.max(until_now),
            });
        }
        for point in points.iter_mut().flatten() {
            *point = (*point * 1_000.0).round() / 1_000.0;
        }
        points
    }
}

fn followers(status: &NodeStatus) -> [(u64, u64); FOLLOWERS] {
    let mut all = [(0, 0); FOLLOWERS];
    for (place, follower) in all.iter_mut().zip(&status.followers) {
        let mut members = status.members.iter();
        let id = members.find(|member| member.node == follower.node);
        let lag = status.last_log_index.saturating_sub(follower.match_index);
        *place = (id.map_or(0, |member| member.id), lag);
    }
    all
}

fn gauges(values: &mut [f64; SERIES], status: &NodeStatus, resident: Option<u64>) {
    use SeriesName as S;
    let last = status.last_log_index;
    let behind = status.followers.iter();
    let behind = behind.map(|follower| last.saturating_sub(follower.match_index));
    let lag = status.commit_index.saturating_sub(status.applied_index);
    let figures = [
        (S::ApplyLagEntries, Some(lag)),
        (S::ReplicationLagEntries, behind.max()),
        (S::Term, Some(status.term)),
        (S::CommitIndex, Some(status.commit_index)),
        (S::QuorumAgeMs, status.quorum_ack_age_ms),
        (S::Watchers, Some(status.watchers)),
        (S::Locks, Some(status.locks)),
        (S::Keys, Some(status.keys)),
        (S::Bytes, Some(status.bytes)),
        (S::ResidentBytes, resident),
    ];
    for (name, value) in figures {
        values[name as usize] = value.map_or(f64::NAN, |value| value as f64);
    }
}

fn rates(values: &mut [f64; SERIES], before: &Moment, now: &Moment) {
    use SeriesName as S;
    let seconds = now.at.saturating_sub(before.at).as_secs_f64();
    let (old, new) = (&before.sums, &now.sums);
    let counts = [
        (S::WritesPerS, old.writes, new.writes),
        (S::ReadsStalePerS, old.reads[0], new.reads[0]),
        (S::ReadsDefaultPerS, old.reads[1], new.reads[1]),
        (S::ReadsConsistentPerS, old.reads[2], new.reads[2]),
        (S::RequestsPerS, old.requests, new.requests),
        (S::ErrorsPerS, old.errors, new.errors),
        (S::AppliedPerS, old.applied, new.applied),
    ];
    for (name, old, new) in counts {
        values[name as usize] = new.saturating_sub(old) as f64 / seconds;
    }
    let commit = new.commit.since(&old.commit);
    let percentiles = [
        (S::CommitP50Ms, commit.quantile_ms(0.5)),
        (S::CommitP99Ms, commit.quantile_ms(0.99)),
        (S::ApplyP99Ms, new.apply.since(&old.apply).quantile_ms(0.99)),
        (S::FsyncP99Ms, new.sync.since(&old.sync).quantile_ms(0.99)),
        (
            S::RequestP99Ms,
            new.durations.since(&old.durations).quantile_ms(0.99),
        ),
    ];
    for (name, value) in percentiles {
        values[name as usize] = value.unwrap_or(f64::NAN);
    }
}

#[cfg(test)]
mod tests {
    use conclave_shared::Role;
    use conclave_shared::cluster::{FollowerProgress, StateHash};

    use super::*;

    fn status(keys: u64) -> NodeStatus {
        let member = |(id, node): (u64, &str)| conclave_shared::MemberAddress {
            node: node.to_owned(),
            id,
            http: String::new(),
            raft: String::new(),
            voter: true,
        };
        NodeStatus {
            node: "node0".to_owned(),
            id: 1,
            cluster_id: String::new(),
            env: String::new(),
            role: Role::Leader,
            term: 3,
            leader: None,
            last_log_index: 100,
            commit_index: 90,
            applied_index: 88,
            snapshot_index: 0,
            purged_index: 0,
            revision: 0,
            oldest_revision: None,
            oldest_outcome: None,
            state_hash: StateHash {
                revision: 0,
                hash: String::new(),
            },
            quorum_ack_age_ms: None,
            leader_contact_age_ms: None,
            followers: vec![FollowerProgress {
                node: "node1".to_owned(),
                match_index: 95,
                silent_ms: 0,
                last_ack_ms: None,
            }],
            members: [(1, "node0"), (2, "node1")].map(member).into(),
            foreign_peers: Vec::new(),
            watchers: 0,
            locks: 0,
            keys,
            bytes: 0,
            uptime_ms: 0,
            version: String::new(),
            ui_build: String::new(),
            read_only: false,
            disk: None,
            joint: false,
            now_ms: 0,
        }
    }

    /// Samples of the given seconds: their number in keys, ten times as much applied.
    fn ring(seconds: impl IntoIterator<Item = u64>) -> Ring {
        let mut ring = Ring::default();
        for second in seconds {
            let mut sums = Cumulative {
                applied: second * 10,
                ..Cumulative::default()
            };
            let labels = RequestLabels {
                route: Route::Keys,
                method: Method::Write,
                level: Level::Consistent,
                status: Status::Success,
            };
            sums.add_requests(labels, second * second);
            let at = Duration::from_secs(second);
            ring.append(Moment { at, sums }, &status(second), None);
        }
        ring
    }

    fn shown(ring: &Ring, newest: u64, range_s: u64, step_s: u64) -> MetricsSeries {
        let window = Window::ending(newest, range_s, step_s);
        ring.show(&window, &status(0), 1_000_000, 1_000_000 + newest * 1_000)
    }

    fn points(series: &MetricsSeries, name: SeriesName) -> Vec<Option<f64>> {
        series.get(name).unwrap().to_vec()
    }

    #[test]
    fn a_second_without_a_sample_is_a_gap_in_every_series() {
        let ring = ring([1, 2, 3, 7, 8]);
        let series = shown(&ring, 8, 8, 1);
        let keys = [1, 2, 3, 0, 0, 0, 7, 8].map(|n| (n > 0).then_some(f64::from(n)));
        assert_eq!(points(&series, SeriesName::Keys), keys);
        // The sample after the gap does not know its rate; the first one counts from the start.
        let none = None;
        let ten = Some(10.0);
        let applied = [ten, ten, ten, none, none, none, none, ten];
        assert_eq!(points(&series, SeriesName::AppliedPerS), applied);
        for (name, points) in &series.series {
            assert_eq!(points.len(), 8, "{name}");
            assert!(points[3..6].iter().all(Option::is_none), "{name}");
        }
        let times: Vec<_> = (1..=8).map(|second| 1_000_000 + second * 1_000).collect();
        assert_eq!(series.times, times);
    }

    #[test]
    fn steps_average_rates_keep_the_last_gauge_and_the_worst_percentile() {
        let ring = ring(0..10);
        let series = shown(&ring, 9, 10, 5);
        assert_eq!((series.times.len(), series.step_ms), (2, 5_000));
        assert_eq!(series.times, [1_000_000, 1_005_000]);
        assert_eq!(points(&series, SeriesName::Keys), [Some(4.0), Some(9.0)]);
        // Squares rise by 1, 3, 5 and 7, then by 9 to 17.
        let writes = [Some(4.0), Some(13.0)];
        assert_eq!(points(&series, SeriesName::WritesPerS), writes);
        let window = Window::ending(9, 10, 5);
        let value = |sample: &Sample| (sample.second % 4) as f64;
        let worst = ring.points(&window, Aggregation::Max, value);
        assert_eq!(worst, [Some(3.0), Some(3.0)]);
    }

    #[test]
    fn a_point_keeps_its_place_while_later_ones_come() {
        let ring = ring(0..40);
        let (early, late) = (shown(&ring, 31, 30, 7), shown(&ring, 39, 30, 7));
        let at = |series: &MetricsSeries, time| {
            let place = series.times.iter().position(|one| *one == time).unwrap();
            points(series, SeriesName::Keys)[place]
        };
        for time in [1_014_000, 1_021_000] {
            assert_eq!(at(&early, time), at(&late, time), "{time}");
        }
    }

    #[test]
    fn the_ring_holds_a_quarter_of_an_hour_and_no_more() {
        let ring = ring(0..2_000);
        assert_eq!(ring.samples.len(), 900);
        let series = shown(&ring, 1_999, 900, 1);
        let keys = points(&series, SeriesName::Keys);
        assert_eq!((keys.len(), keys[0]), (900, Some(1_100.0)));
        // A pause empties what is too old.
        let mut paused = ring;
        let sums = Cumulative::default();
        let at = Duration::from_secs(2_500);
        paused.append(Moment { at, sums }, &status(1), None);
        assert_eq!(paused.samples.len(), 400);
    }

    #[test]
    fn before_the_start_there_is_nothing_but_the_length_is_what_was_asked_for() {
        let series = shown(&ring([0, 1]), 1, 900, 60);
        let keys = points(&series, SeriesName::Keys);
        assert_eq!((keys.len(), keys[14]), (15, Some(1.0)));
        assert!(keys[..14].iter().all(Option::is_none));
        assert!(series.times.is_sorted());
    }

    #[test]
    fn one_second_has_one_sample_and_the_next_one_is_awaited() {
        let mut ring = ring([5]);
        let at = Duration::from_millis(5_900);
        let sums = Cumulative::default();
        ring.append(Moment { at, sums }, &status(77), None);
        assert_eq!(ring.samples.len(), 1);
        assert_eq!(ring.newest_second(Duration::from_millis(5_999)), 5);
        assert_eq!(ring.newest_second(Duration::from_millis(6_001)), 5);
        assert_eq!(ring.newest_second(Duration::from_millis(7_001)), 7);
    }

    #[test]
    fn the_leader_shows_how_far_each_follower_is_behind() {
        let series = shown(&ring([1]), 1, 2, 1);
        let lag = SeriesName::ReplicationLagEntries;
        assert_eq!(points(&series, lag), [None, Some(5.0)]);
        let apply = points(&series, SeriesName::ApplyLagEntries);
        assert_eq!(apply, [None, Some(2.0)]);
        let expected = BTreeMap::from([("node1".to_owned(), vec![None, Some(5.0)])]);
        assert_eq!(series.follower_lag, expected);
    }

    #[test]
    fn marks_are_bounded_and_only_those_within_the_range_are_shown() {
        let mut ring = ring([500]);
        for second in 0..500 {
            let text = format!("m{second}");
            ring.mark(Duration::from_secs(second), MarkKind::Leader, text);
        }
        assert_eq!(ring.marks.len(), MARKS);
        let series = shown(&ring, 500, 100, 1);
        let texts: Vec<_> = series.marks.iter().map(|mark| mark.text.as_str()).collect();
        assert_eq!((texts.len(), texts[0]), (99, "m401"));
        assert_eq!(series.marks[0].time_ms, 1_401_000);
    }

    #[test]
    fn reads_and_writes_are_told_apart() {
        let mut sums = Cumulative::default();
        let mut add = |route, method, level, status| {
            let labels = RequestLabels {
                route,
                method,
                level,
                status,
            };
            sums.add_requests(labels, 1);
        };
        add(
            Route::Keys,
            Method::Write,
            Level::Consistent,
            Status::Success,
        );
        add(Route::Keys, Method::Write, Level::None, Status::Redirection);
        add(Route::Cluster, Method::Write, Level::None, Status::Success);
        add(
            Route::Keys,
            Method::Read,
            Level::Consistent,
            Status::ClientError,
        );
        add(Route::Keys, Method::Read, Level::None, Status::ServerError);
        add(Route::Raftdb, Method::Read, Level::Stale, Status::Success);
        assert_eq!((sums.writes, sums.reads), (1, [1, 0, 1]));
        assert_eq!((sums.requests, sums.errors), (6, 1));
    }
}
