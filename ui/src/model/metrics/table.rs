//! A chart as a table: a row for some seconds, newest first.

use conclave_shared::metrics::Aggregation;

/// Rows of a table, whatever the range.
pub const ROWS: usize = 30;

/// Returns what one row says: of `points`, the `row`-th block of `count` from the newest.
#[must_use]
pub fn cell(
    points: &[Option<f64>],
    row: usize,
    count: usize,
    aggregation: Aggregation,
) -> Option<f64> {
    let to = points.len().checked_sub(row * count)?;
    let block = points.get(to.saturating_sub(count)..to)?;
    let values: Vec<f64> = block.iter().copied().flatten().collect();
    let last = *values.last()?;
    Some(match aggregation {
        Aggregation::Last => last,
        Aggregation::Max => values.iter().copied().fold(last, f64::max),
        Aggregation::Mean => {
            let count = u32::try_from(values.len()).unwrap_or(u32::MAX);
            values.iter().sum::<f64>() / f64::from(count)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_what_its_seconds_say_together() {
        let points = [Some(9.0), Some(1.0), Some(4.0), None, Some(2.0)];
        let row = |row, aggregation| cell(&points, row, 2, aggregation);
        assert_eq!(row(0, Aggregation::Mean), Some(2.0));
        assert_eq!(row(1, Aggregation::Mean), Some(2.5));
        assert_eq!(row(1, Aggregation::Max), Some(4.0));
        assert_eq!(row(1, Aggregation::Last), Some(4.0));
        assert_eq!(row(2, Aggregation::Last), Some(9.0));
        assert_eq!(row(3, Aggregation::Last), None);
        assert_eq!(cell(&[None, None], 0, 2, Aggregation::Max), None);
    }
}
