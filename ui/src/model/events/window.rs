//! Which rows of a long list stand in the document: those that can be seen and a few around them.

/// Rows above and below those that can be seen.
const AROUND: usize = 10;
/// Most rows in the document.
pub const MOST: usize = 80;

/// A list of rows of one height, one of which may be opened and is higher.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct List {
    pub rows: usize,
    /// Height of a row, pixels.
    pub row: f64,
    /// Place of the opened row.
    pub open: Option<usize>,
    /// By how much the opened row is higher, pixels.
    pub more: f64,
}

/// A part of the list.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Part {
    pub first: usize,
    /// One behind the last.
    pub end: usize,
    /// Where the first of them stands, pixels from the top of the list.
    pub top: f64,
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "places in a list of thousands of rows, none below zero"
)]
impl List {
    /// Returns the height of the whole list, pixels.
    #[must_use]
    pub fn height(&self) -> f64 {
        self.top(self.rows)
    }

    /// Returns where a row begins, pixels from the top.
    #[must_use]
    pub fn top(&self, place: usize) -> f64 {
        let more = if self.open.is_some_and(|open| open < place) {
            self.more
        } else {
            0.0
        };
        place as f64 * self.row + more
    }

    /// Returns the part that a view of `height` pixels shows when it begins `from` pixels below the
    /// list's top.
    #[must_use]
    pub fn part(&self, from: f64, height: f64) -> Part {
        let opened = self.open.map_or(f64::INFINITY, |open| self.top(open + 1));
        let from = if from >= opened {
            from - self.more
        } else {
            from
        };
        let seen = ((height / self.row).ceil() as usize + 1).min(MOST - 2 * AROUND);
        let last_first = self.rows.saturating_sub(seen);
        let first = ((from.max(0.0) / self.row) as usize).min(last_first);
        let begin = first.saturating_sub(AROUND);
        Part {
            first: begin,
            end: (first + seen + AROUND).min(self.rows),
            top: self.top(begin),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: List = List {
        rows: 5_000,
        row: 28.0,
        open: None,
        more: 0.0,
    };

    #[test]
    fn what_is_seen_is_in_the_part_wherever_the_view_stands() {
        for from in 0..5_000_u32 {
            let from = f64::from(from) * 28.0 - 7.0;
            let part = LIST.part(from, 600.0);
            assert!(part.end - part.first <= MOST);
            assert!(part.top <= from.max(0.0));
            let bottom = LIST.top(part.end);
            assert!(
                bottom >= (from + 600.0).min(LIST.height()),
                "{from}: {part:?}"
            );
        }
    }

    #[test]
    fn an_opened_row_moves_what_is_below_it() {
        let list = List {
            open: Some(3),
            more: 240.0,
            ..LIST
        };
        assert!((list.height() - (LIST.height() + 240.0)).abs() < 1e-9);
        assert!((list.top(3) - 84.0).abs() < 1e-9);
        assert!((list.top(4) - 352.0).abs() < 1e-9);
        // A view that begins within the opened row still has it.
        let part = list.part(200.0, 600.0);
        assert!(part.first <= 3 && part.end > 15);
    }

    #[test]
    fn a_short_list_is_there_as_a_whole() {
        let list = List { rows: 3, ..LIST };
        let part = list.part(0.0, 600.0);
        assert_eq!((part.first, part.end), (0, 3));
        assert_eq!(List { rows: 0, ..LIST }.part(0.0, 600.0).end, 0);
    }
}
