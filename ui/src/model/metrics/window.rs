//! The seconds that a page holds of a node's figures: the newest ones are appended to the rest, so that
//! a chart costs a few numbers a second and not all of its range.

use std::collections::BTreeMap;

use conclave_shared::metrics::{MetricsSeries, Points};

/// Appends what `newer` has to `held` and keeps the newest `keep` points. Where both have a point, the
/// newer one is right: the newest step was still growing. False when the two do not fit together, by
/// node, step or time: all of it must then be asked for again.
#[must_use]
pub fn append(held: &mut MetricsSeries, newer: MetricsSeries, keep: usize) -> bool {
    let Some(start) = place_of(held, &newer) else {
        return false;
    };
    let length = start + newer.times.len();
    let cut = newer.times[0];
    held.times.truncate(start);
    held.times.extend(newer.times);
    merge(&mut held.series, newer.series, start, length);
    merge(&mut held.follower_lag, newer.follower_lag, start, length);
    for mark in newer.marks {
        // Times are counted back from a clock that is set now and then: one mark may come as two.
        let is_known = |known: &conclave_shared::metrics::Mark| {
            known.text == mark.text && known.time_ms.abs_diff(mark.time_ms) < held.step_ms
        };
        if !held.marks.iter().any(is_known) {
            held.marks.push(mark);
        }
    }
    held.now_ms = newer.now_ms;
    forget(held, length.saturating_sub(keep));
    debug_assert!(held.times.last() >= Some(&cut));
    true
}

/// Returns the index of a moment, the nearest point to it; none outside of what is held.
#[must_use]
pub fn index_of(held: &MetricsSeries, time_ms: u64) -> Option<usize> {
    let first = *held.times.first()?;
    let steps = (time_ms + held.step_ms / 2).checked_sub(first)? / held.step_ms.max(1);
    let at = usize::try_from(steps).ok()?;
    (at < held.times.len()).then_some(at)
}

fn place_of(held: &MetricsSeries, newer: &MetricsSeries) -> Option<usize> {
    let (first, next) = (*held.times.first()?, *newer.times.first()?);
    if held.node != newer.node || held.step_ms != newer.step_ms || held.step_ms == 0 {
        return None;
    }
    let steps = (next + held.step_ms / 2).checked_sub(first)? / held.step_ms;
    let start = usize::try_from(steps).ok()?;
    (start <= held.times.len()).then_some(start)
}

/// Writes each of `newer` from `start` on; what is in one of the two only is null in the other's time.
fn merge(
    held: &mut BTreeMap<String, Points>,
    newer: BTreeMap<String, Points>,
    start: usize,
    length: usize,
) {
    for (name, points) in newer {
        let all = held.entry(name).or_default();
        all.resize(start, None);
        all.extend(points);
    }
    for all in held.values_mut() {
        if all.len() < length {
            all.truncate(start);
            all.resize(length, None);
        }
    }
}

fn forget(held: &mut MetricsSeries, surplus: usize) {
    held.times.drain(..surplus);
    for points in held.series.values_mut() {
        points.drain(..surplus.min(points.len()));
    }
    for points in held.follower_lag.values_mut() {
        points.drain(..surplus.min(points.len()));
    }
    held.follower_lag
        .retain(|_, points| points.iter().any(Option::is_some));
    let first = held.times.first().copied().unwrap_or_default();
    held.marks.retain(|mark| mark.time_ms >= first);
}

#[cfg(test)]
pub(super) mod tests {
    use conclave_shared::metrics::{Mark, MarkKind};

    use super::*;

    pub(crate) fn series(first: u64, keys: &[Option<f64>]) -> MetricsSeries {
        let times: Vec<u64> = (0..keys.len() as u64)
            .map(|at| first + at * 1_000)
            .collect();
        MetricsSeries {
            node: "n1".to_owned(),
            now_ms: times.last().map_or(first, |last| last + 500),
            step_ms: 1_000,
            times,
            series: BTreeMap::from([("keys".to_owned(), keys.to_vec())]),
            follower_lag: BTreeMap::new(),
            marks: Vec::new(),
        }
    }

    #[test]
    fn newer_seconds_are_appended_and_the_oldest_forgotten() {
        let mut held = series(10_000, &[Some(1.0), Some(2.0), Some(3.0)]);
        // The last second was still growing, and the clock is a millisecond off.
        assert!(append(
            &mut held,
            series(12_001, &[Some(4.0), Some(5.0)]),
            3
        ));
        assert_eq!(held.series["keys"], [Some(2.0), Some(4.0), Some(5.0)]);
        assert_eq!(held.times, [11_000, 12_001, 13_001]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut held = series(10_000, &[Some(1.0), Some(2.0)]);
        assert!(!append(&mut held.clone(), series(14_000, &[Some(9.0)]), 3));
        assert!(!append(&mut held.clone(), series(5_000, &[Some(9.0)]), 3));
        let mut other = series(12_000, &[Some(9.0)]);
        other.node = "n2".to_owned();
        assert!(!append(&mut held, other, 3));
    }

    #[test]
    fn a_follower_that_comes_or_goes_is_null_for_the_rest() {
        let mut held = series(10_000, &[Some(1.0), Some(2.0)]);
        held.follower_lag
            .insert("old".to_owned(), vec![Some(0.0); 2]);
        let mut newer = series(12_000, &[Some(3.0)]);
        newer.follower_lag.insert("new".to_owned(), vec![Some(7.0)]);
        assert!(append(&mut held, newer, 3));
        assert_eq!(held.follower_lag["old"], [Some(0.0), Some(0.0), None]);
        assert_eq!(held.follower_lag["new"], [None, None, Some(7.0)]);
    }

    #[test]
    fn a_mark_is_kept_once_and_as_long_as_its_moment() {
        let mark = |time_ms| Mark {
            time_ms,
            kind: MarkKind::Leader,
            text: "n2 leads".to_owned(),
        };
        let mut held = series(10_000, &[Some(1.0), Some(2.0)]);
        held.marks.push(mark(11_200));
        let mut newer = series(11_000, &[Some(2.0), Some(3.0)]);
        newer.marks.push(mark(11_201));
        assert!(append(&mut held, newer, 3));
        assert_eq!(held.marks, [mark(11_200)]);
        assert!(append(&mut held, series(13_000, &[Some(4.0); 3]), 3));
        assert_eq!(held.marks, []);
    }

    #[test]
    fn a_moment_is_found_by_its_time() {
        let held = series(10_000, &[None, None, None]);
        assert_eq!(index_of(&held, 11_400), Some(1));
        assert_eq!(index_of(&held, 12_499), Some(2));
        assert_eq!(index_of(&held, 13_000), None);
        assert_eq!(index_of(&held, 9_000), None);
    }
}
