//! The log ribbon: which of the last entries each member has, in columns of one index each.

use super::seen::Log;

/// Indexes that the ribbon shows.
pub const COLUMNS: u64 = 256;
/// Between two ticks of its axis.
pub const TICK: u64 = 64;

/// One member's row. Columns count from the left edge; each run ends where the next begins, and what
/// is behind `stored` is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extent {
    /// Columns that are committed and applied.
    pub applied: u64,
    /// Columns up to the end of its log.
    pub stored: u64,
    /// The snapshot's last index, when it is in sight.
    pub post: Option<u64>,
}

/// Returns a member's row below a ribbon that ends at `head`.
#[must_use]
pub fn extent(log: &Log, head: u64) -> Extent {
    let column = |index: u64| column(index, head).map_or(0, |column| column + 1);
    let applied = column(log.applied.min(log.commit));
    Extent {
        applied,
        stored: column(log.last).max(applied),
        post: (log.snapshot > 0)
            .then(|| self::column(log.snapshot, head))
            .flatten(),
    }
}

/// Returns the column of an index; none left of the ribbon. What is newer than `head` is at its end.
#[must_use]
pub const fn column(index: u64, head: u64) -> Option<u64> {
    let first = first(head);
    if index < first || index == 0 {
        return None;
    }
    let column = index - first;
    Some(if column < COLUMNS {
        column
    } else {
        COLUMNS - 1
    })
}

/// Returns the index in a column, if the log has begun there.
#[must_use]
pub const fn index(column: u64, head: u64) -> Option<u64> {
    let index = first(head) + column;
    if index == 0 || index > head {
        return None;
    }
    Some(index)
}

/// The index in the first column. A young log begins at the left edge: its end is the ribbon's end
/// only from the 256th entry on.
const fn first(head: u64) -> u64 {
    let first = (head + 1).saturating_sub(COLUMNS);
    if first == 0 { 1 } else { first }
}

/// Returns the indexes that have a tick, oldest first.
#[must_use]
pub fn ticks(head: u64) -> Vec<u64> {
    let begin = first(head).div_ceil(TICK) * TICK;
    (0..COLUMNS / TICK + 1)
        .map(|tick| begin + tick * TICK)
        .filter(|index| *index <= head)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn log(last: u64, commit: u64, applied: u64, snapshot: u64) -> Log {
        Log {
            last,
            commit,
            applied,
            snapshot,
        }
    }

    #[test]
    fn a_member_that_has_all_fills_its_row() {
        let row = extent(&log(1_000, 1_000, 1_000, 900), 1_000);
        assert_eq!((row.applied, row.stored), (256, 256));
        assert_eq!(row.post, Some(155));
    }

    #[test]
    fn what_is_stored_and_not_committed_is_behind_what_is_applied() {
        let row = extent(&log(1_000, 990, 990, 0), 1_000);
        assert_eq!((row.applied, row.stored, row.post), (246, 256, None));
    }

    #[test]
    fn a_member_that_is_cut_off_falls_off_the_edge() {
        let cut = log(1_000, 1_000, 1_000, 0);
        assert_eq!(extent(&cut, 1_100).stored, 156);
        assert_eq!(extent(&cut, 1_255).stored, 1);
        assert_eq!(extent(&cut, 1_256), Extent::default());
    }

    #[test]
    fn a_young_log_begins_at_the_left() {
        let row = extent(&log(16, 16, 16, 0), 16);
        assert_eq!((row.applied, row.stored), (16, 16));
        assert_eq!(index(0, 16), Some(1));
        assert_eq!(index(16, 16), None);
    }

    #[test]
    fn columns_and_indexes_agree() {
        for head in [1, 255, 256, 257, 48_211] {
            for column in 0..COLUMNS {
                if let Some(index) = index(column, head) {
                    assert_eq!(self::column(index, head), Some(column), "{head}");
                }
            }
        }
        assert_eq!(index(255, 48_211), Some(48_211));
    }

    #[test]
    fn ticks_stand_at_every_64th_index() {
        assert_eq!(ticks(200), [64, 128, 192]);
        assert_eq!(ticks(320), [128, 192, 256, 320]);
        assert_eq!(ticks(10), [0; 0]);
    }
}
