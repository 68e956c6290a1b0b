//! Latencies in buckets that grow with the value: 64 to each doubling, so about 1.1 % of error.

use std::time::Duration;

const SUB_BITS: u32 = 6;
const SUB: usize = 1 << SUB_BITS;
/// From nanoseconds to hours.
const BUCKETS: usize = SUB * 40;

/// Counts of nanoseconds.
#[derive(Debug, Clone)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            total: 0,
        }
    }
}

impl Histogram {
    pub(crate) fn record(&mut self, value: Duration) {
        let nanos = u64::try_from(value.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanos)] += 1;
        self.total += 1;
    }

    pub(crate) const fn total(&self) -> u64 {
        self.total
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
    }

    /// Returns the value that `percent` of the values do not exceed.
    pub(crate) fn percentile(&self, percent: u64) -> Duration {
        let rank = (self.total * percent).div_ceil(100).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_nanos(upper_end(index));
            }
        }
        Duration::ZERO
    }
}

fn bucket(nanos: u64) -> usize {
    let sub = SUB as u64;
    if nanos < sub {
        return usize::try_from(nanos).unwrap_or(0);
    }
    let shift = nanos.ilog2() - SUB_BITS;
    let within = (nanos >> shift) - sub;
    let index = (shift as usize + 1) * SUB + usize::try_from(within).unwrap_or(0);
    index.min(BUCKETS - 1)
}

fn upper_end(index: usize) -> u64 {
    if index < SUB {
        return index as u64;
    }
    let shift = index / SUB - 1;
    let within = (index % SUB + SUB) as u64;
    ((within + 1) << shift) - 1
}
