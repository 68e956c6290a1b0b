//! A run of writes: for each node when its own state showed each of them.

use crate::model::nodes::probe::millis;
use crate::model::order::sort;

/// One node's part of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Strip {
    /// Microseconds from the write's answer to the first stale answer that showed the value.
    pub seen: Vec<u64>,
    /// Writes that it did not show in time.
    pub missed: usize,
}

impl Strip {
    /// Notes one write.
    pub fn note(&mut self, seen_us: Option<u64>) {
        match seen_us {
            Some(us) => self.seen.push(us),
            None => self.missed += 1,
        }
    }

    /// Says it in words.
    #[must_use]
    pub fn sentence(&self) -> String {
        let all = self.seen.len() + self.missed;
        if all == 0 {
            return "nothing yet".to_owned();
        }
        let mut sorted = self.seen.clone();
        sort(&mut sorted, Ord::cmp);
        let Some(slowest) = sorted.last() else {
            return format!("0 of {all} seen");
        };
        let median = sorted[sorted.len() / 2];
        format!(
            "{} of {all} seen, median {}, slowest {}",
            sorted.len(),
            millis(median),
            millis(*slowest)
        )
    }
}

/// Returns the time at the right edge of the strips, microseconds: a round number that all of them
/// fit below.
#[must_use]
pub fn scale<'a>(strips: impl IntoIterator<Item = &'a Strip>) -> u64 {
    let slowest = strips.into_iter().flat_map(|strip| &strip.seen).max();
    let slowest = slowest.copied().unwrap_or(0).max(1_000);
    let mut edge = 10_000;
    while edge < slowest {
        // 10, 20, 50, 100, …
        edge = match edge.to_string().as_bytes().first() {
            Some(b'2') => edge / 2 * 5,
            _ => edge * 2,
        };
    }
    edge
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strip_says_its_median_and_its_slowest() {
        let mut strip = Strip::default();
        assert_eq!(strip.sentence(), "nothing yet");
        strip.note(None);
        assert_eq!(strip.sentence(), "0 of 1 seen");
        for us in [3_000, 1_000, 42_000] {
            strip.note(Some(us));
        }
        assert_eq!(
            strip.sentence(),
            "3 of 4 seen, median 3.0 ms, slowest 42 ms"
        );
    }

    #[test]
    fn the_scale_is_a_round_number_above_all() {
        let strip = |us| Strip {
            seen: vec![us],
            missed: 0,
        };
        assert_eq!(scale(&[]), 10_000);
        assert_eq!(scale(&[strip(900), strip(9_000)]), 10_000);
        assert_eq!(scale(&[strip(12_000)]), 20_000);
        assert_eq!(scale(&[strip(21_000)]), 50_000);
        assert_eq!(scale(&[strip(51_000)]), 100_000);
        assert_eq!(scale(&[strip(1_900_000)]), 2_000_000);
    }
}
