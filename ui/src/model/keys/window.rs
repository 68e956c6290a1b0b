//! Which rows are elements: those in sight and some around them.

use std::ops::Range;

/// Most rows that are elements at a time; the one with the focus may come on top.
const MOST: usize = 76;
/// Rows kept ready above and below those in sight.
const SPARE: usize = 16;

/// What of a list is in sight, pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sight {
    /// How much of the list lies above.
    pub top: f64,
    pub height: f64,
    /// Height of a row.
    pub row: f64,
}

impl Sight {
    /// Returns the rows to be made of a list of `count`.
    #[must_use]
    pub fn rows(&self, count: usize) -> Range<usize> {
        let shown = (whole(self.height / self.row) + 2).min(MOST);
        let spare = SPARE.min((MOST - shown) / 2);
        let first = self.first().min(count.saturating_sub(shown));
        first.saturating_sub(spare)..(first + shown + spare).min(count)
    }

    /// Returns the first row in sight.
    #[must_use]
    pub fn first(&self) -> usize {
        whole(self.top / self.row)
    }

    /// Returns the `top` at which a row is in sight, by the shortest way.
    #[must_use]
    pub fn show(&self, row: usize) -> f64 {
        let begin = self.px(row);
        if begin < self.top {
            begin
        } else if begin + self.row > self.top + self.height {
            begin + self.row - self.height
        } else {
            self.top
        }
    }

    /// Returns the height of so many rows.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "a list has fewer rows than 2^52"
    )]
    pub fn px(&self, rows: usize) -> f64 {
        rows as f64 * self.row
    }

    /// Returns the row that a key leads to from a row; none for a key that leads nowhere.
    #[must_use]
    pub fn step(&self, key: &str, from: Option<usize>, count: usize) -> Option<usize> {
        let last = count.checked_sub(1)?;
        let page = whole(self.height / self.row).saturating_sub(1).max(1);
        let at = from.unwrap_or(0);
        let to = match key {
            "ArrowDown" | "j" => from.map_or(0, |at| at + 1),
            "ArrowUp" | "k" => at.saturating_sub(1),
            "PageDown" => at + page,
            "PageUp" => at.saturating_sub(page),
            "Home" => 0,
            "End" => last,
            _ => return None,
        };
        Some(to.min(last))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is positive and no longer than a list"
)]
fn whole(number: f64) -> usize {
    number.max(0.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn sight(top: f64, height: f64) -> Sight {
        Sight {
            top,
            height,
            row: 32.0,
        }
    }

    #[test]
    fn rows_in_sight_are_made_and_never_more_than_the_most() {
        for height in [0.0, 100.0, 640.0, 1_440.0, 10_000.0] {
            for top in [0.0, 31.0, 5_000.0, 3_199_000.0, 9_000_000.0] {
                for count in [0, 1, 20, 100_000] {
                    let sight = sight(top, height);
                    let made = sight.rows(count);
                    assert!(made.len() <= MOST && made.end <= count, "{made:?}");
                    let end = sight.px(count).min(top + height.min(2_000.0));
                    if top < end && top + height <= sight.px(count) {
                        assert!(sight.px(made.start) <= top, "{made:?}");
                        assert!(sight.px(made.end) >= end, "{made:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_list_that_shrank_shows_its_end() {
        assert_eq!(sight(100_000.0, 320.0).rows(20).end, 20);
    }

    #[test]
    fn keys_lead_to_rows_of_the_list() {
        let sight = sight(0.0, 320.0);
        assert_eq!(sight.step("j", None, 5), Some(0));
        assert_eq!(sight.step("ArrowDown", Some(4), 5), Some(4));
        assert_eq!(sight.step("k", Some(0), 5), Some(0));
        assert_eq!(sight.step("PageDown", Some(3), 100), Some(12));
        assert_eq!(sight.step("PageUp", Some(3), 100), Some(0));
        assert_eq!(sight.step("End", Some(3), 100), Some(99));
        assert_eq!(sight.step("Home", Some(3), 100), Some(0));
        assert_eq!(sight.step("End", None, 0), None);
        assert_eq!(sight.step("x", Some(3), 100), None);
    }

    #[test]
    fn a_row_comes_into_sight_by_the_shortest_way() {
        let sight = sight(64.0, 320.0);
        for (row, top) in [(0, 0.0), (5, 64.0), (12, 96.0)] {
            assert!((sight.show(row) - top).abs() < 0.1, "{row}");
        }
    }
}
