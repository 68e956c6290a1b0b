//! How times of one kind are spread, for what a test says that it has measured.

use std::fmt;
use std::time::Duration;

/// Times of one kind, shortest first.
#[derive(Debug, Clone, Default)]
pub struct Spread(Vec<Duration>);

impl Spread {
    /// Sorts the times.
    #[must_use]
    pub fn of(times: impl IntoIterator<Item = Duration>) -> Self {
        let mut times: Vec<_> = times.into_iter().collect();
        times.sort_unstable();
        Self(times)
    }

    /// Returns the number of times.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.0.len()
    }

    /// Returns the shortest time that so many of a hundred do not exceed; zero when there is none.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> Duration {
        let place = (self.0.len() * percent).div_ceil(100).max(1) - 1;
        self.0.get(place).copied().unwrap_or_default()
    }

    /// Returns the longest time; zero when there is none.
    #[must_use]
    pub fn longest(&self) -> Duration {
        self.percentile(100)
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "p50 {} ms, p99 {} ms, max {} ms",
            self.percentile(50).as_millis(),
            self.percentile(99).as_millis(),
            self.longest().as_millis()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_times() {
        let spread = Spread::of((1..=200).rev().map(Duration::from_millis));
        assert_eq!(spread.to_string(), "p50 100 ms, p99 198 ms, max 200 ms");
        let one = Spread::of([Duration::from_millis(7)]);
        assert_eq!(one.to_string(), "p50 7 ms, p99 7 ms, max 7 ms");
        assert_eq!(Spread::default().longest(), Duration::ZERO);
    }
}
