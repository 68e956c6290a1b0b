//! Histograms that many threads record into with two atomic additions and no lock.
//!
//! `prometheus-client` has one of its own, but behind a mutex.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets of a [`Latencies`], nanoseconds; one more bucket is above them.
const BOUNDS_NS: [u64; 36] = {
    let steps = [10, 15, 20, 30, 40, 50, 70];
    let mut bounds = [10_000_000_000; 36];
    let (mut at, mut decade) = (0, 10_000);
    while at < 35 {
        bounds[at] = steps[at % 7] * decade;
        at += 1;
        if at.is_multiple_of(7) {
            decade *= 10;
        }
    }
    bounds
};
const BUCKETS: usize = BOUNDS_NS.len() + 1;

/// Upper bounds of the buckets of a [`Sizes`]; one more bucket is above them.
const SIZES: [u64; 10] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];

/// A histogram of durations.
#[derive(Debug)]
pub(super) struct Latencies {
    buckets: [AtomicU64; BUCKETS],
    sum_ns: AtomicU64,
}

impl Default for Latencies {
    fn default() -> Self {
        Self {
            buckets: [const { AtomicU64::new(0) }; BUCKETS],
            sum_ns: AtomicU64::new(0),
        }
    }
}

impl Latencies {
    pub(super) fn record(&self, duration: Duration) {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_NS.partition_point(|bound| *bound < ns);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_ns.fetch_add(ns, Ordering::Relaxed);
    }

    /// Returns what was recorded until now. Records that come meanwhile may be in it or not.
    pub(super) fn counts(&self) -> Counts {
        Counts(std::array::from_fn(|at| {
            self.buckets[at].load(Ordering::Relaxed)
        }))
    }

    /// Returns what the exposition shows: bounds of 1, 2 and 5, and infinity, in seconds.
    pub(super) fn shown(&self) -> Shown {
        let Counts(counts) = self.counts();
        let mut buckets = Vec::with_capacity(18);
        let mut gathered = 0;
        for (at, count) in counts.iter().enumerate() {
            gathered += count;
            let bound = BOUNDS_NS.get(at).copied();
            let is_shown = bound.is_none() || matches!(at % 7, 0 | 2 | 5);
            if is_shown {
                let seconds = bound.map_or(f64::INFINITY, |ns| ns as f64 / 1e9);
                buckets.push((seconds, std::mem::take(&mut gathered)));
            }
        }
        Shown {
            sum: self.sum_ns.load(Ordering::Relaxed) as f64 / 1e9,
            count: counts.iter().sum(),
            buckets,
        }
    }
}

/// What a [`Latencies`] has counted, per bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts([u64; BUCKETS]);

impl Default for Counts {
    fn default() -> Self {
        Self([0; BUCKETS])
    }
}

impl Counts {
    /// Returns what was recorded since an earlier look.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        Self(std::array::from_fn(|at| {
            self.0[at].saturating_sub(earlier.0[at])
        }))
    }

    /// Returns the counts of both.
    pub(super) fn and(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|at| self.0[at] + other.0[at]))
    }

    /// Returns the value that `share` of the records do not exceed, milliseconds, interpolated within
    /// its bucket; `None` without records. Above 10 s it is 10 s.
    pub(super) fn quantile_ms(&self, share: f64) -> Option<f64> {
        let total: u64 = self.0.iter().sum();
        if total == 0 {
            return None;
        }
        let rank = share * total as f64;
        let (mut below, mut low) = (0.0, 0.0);
        for (count, bound) in self.0.iter().zip(BOUNDS_NS) {
            let (count, high) = (*count as f64, bound as f64 / 1e6);
            if count > 0.0 && below + count >= rank {
                let inside = ((rank - below) / count).clamp(0.0, 1.0);
                return Some(low + (high - low) * inside);
            }
            below += count;
            low = high;
        }
        Some(low)
    }
}

/// A histogram of counts from 1 to 512.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    buckets: [AtomicU64; SIZES.len() + 1],
    sum: AtomicU64,
}

impl Sizes {
    pub(super) fn record(&self, size: usize) {
        let size = size as u64;
        let bucket = SIZES.partition_point(|bound| *bound < size);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(size, Ordering::Relaxed);
    }

    pub(super) fn shown(&self) -> Shown {
        let bounds = SIZES.iter().map(|size| *size as f64);
        let counts = self.buckets.iter().map(|one| one.load(Ordering::Relaxed));
        let buckets: Vec<_> = bounds.chain([f64::INFINITY]).zip(counts).collect();
        Shown {
            sum: self.sum.load(Ordering::Relaxed) as f64,
            count: buckets.iter().map(|(_, count)| count).sum(),
            buckets,
        }
    }
}

/// A histogram as the exposition wants it; the buckets are not cumulative.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) sum: f64,
    pub(super) count: u64,
    pub(super) buckets: Vec<(f64, u64)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(micros: impl IntoIterator<Item = u64>) -> Latencies {
        let latencies = Latencies::default();
        for us in micros {
            latencies.record(Duration::from_micros(us));
        }
        latencies
    }

    #[test]
    fn bounds_rise_from_a_tenth_of_a_millisecond_to_ten_seconds() {
        assert!(BOUNDS_NS.is_sorted_by(|a, b| a < b), "{BOUNDS_NS:?}");
        assert_eq!((BOUNDS_NS[0], BOUNDS_NS[35]), (100_000, 10_000_000_000));
        let widest = BOUNDS_NS.windows(2).map(|two| two[1] * 10 / two[0]).max();
        assert_eq!(widest, Some(15), "a bucket is half its lower bound wide");
    }

    #[test]
    fn a_percentile_lies_in_the_bucket_of_its_rank() {
        // 98 of about 1 ms, two of about 40 ms.
        let counts = recorded((0..98).map(|_| 900).chain([39_000, 39_500])).counts();
        let p50 = counts.quantile_ms(0.5).unwrap();
        assert!((0.7..=1.0).contains(&p50), "{p50}");
        let p99 = counts.quantile_ms(0.99).unwrap();
        assert!((30.0..=40.0).contains(&p99), "{p99}");
        let spread = recorded(1..=1_000).counts();
        let median = spread.quantile_ms(0.5).unwrap();
        assert!((0.45..=0.55).contains(&median), "{median}");
    }

    #[test]
    fn a_percentile_of_nothing_is_nothing_and_of_the_endless_is_the_last_bound() {
        assert_eq!(Counts::default().quantile_ms(0.99), None);
        let endless = recorded([60_000_000]).counts();
        assert_eq!(endless.quantile_ms(0.5), Some(10_000.0));
    }

    #[test]
    fn a_difference_holds_only_what_came_in_between() {
        let latencies = recorded([200, 200]);
        let before = latencies.counts();
        latencies.record(Duration::from_secs(1));
        let between = latencies.counts().since(&before);
        let p50 = between.quantile_ms(0.5).unwrap();
        assert!((700.0..=1_000.0).contains(&p50), "{p50}");
        assert_eq!(before.and(&between), latencies.counts());
    }

    #[test]
    fn what_is_shown_loses_no_record() {
        let latencies = recorded([1, 100, 101, 140, 5_000, 5_001, 20_000_000]);
        let shown = latencies.shown();
        assert_eq!(shown.count, 7);
        assert_eq!(shown.buckets.iter().map(|(_, n)| n).sum::<u64>(), 7);
        let upto = |bound: f64| -> u64 {
            let within = shown.buckets.iter().filter(|(le, _)| *le <= bound);
            within.map(|(_, n)| n).sum()
        };
        assert_eq!((upto(0.000_1), upto(0.000_2), upto(0.005)), (2, 4, 5));
        assert_eq!((upto(10.0), upto(f64::INFINITY)), (6, 7));
        let les: Vec<_> = shown.buckets.iter().map(|(le, _)| *le).collect();
        assert_eq!(les[..4], [0.000_1, 0.000_2, 0.000_5, 0.001]);
        assert_eq!(les.len(), 17);

        let sizes = Sizes::default();
        for size in [1, 2, 3, 512, 513] {
            sizes.record(size);
        }
        let shown = sizes.shown();
        assert_eq!((shown.count, shown.sum), (5, 1_031.0));
        assert_eq!(shown.buckets[2], (4.0, 1));
        assert_eq!(shown.buckets[10], (f64::INFINITY, 1));
    }
}
