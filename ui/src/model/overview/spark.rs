//! The line of a sparkline: a path through the points that are there.

/// Returns the path in a box of this size and the largest value. Zero is at the bottom; where a point
/// is missing the line breaks.
#[must_use]
#[expect(
    clippy::cast_precision_loss,
    reason = "a line has a few hundred points"
)]
pub fn path(points: &[Option<f64>], width: f64, height: f64) -> (String, f64) {
    let most = points.iter().flatten().copied().fold(0.0, f64::max);
    let step = width / (points.len().max(2) - 1) as f64;
    // Half a stroke stays inside on either side.
    let scale = if most > 0.0 {
        (height - 2.0) / most
    } else {
        0.0
    };
    let floor = height - 1.0;
    let mut path = String::new();
    let mut pen = 'M';
    for (at, point) in points.iter().enumerate() {
        let Some(value) = point else {
            pen = 'M';
            continue;
        };
        let (x, y) = (at as f64 * step, value.mul_add(-scale, floor));
        path.push_str(&format!("{pen}{x:.1} {y:.1}"));
        if pen == 'M' {
            // A lone point is a dot: a line with round ends and no length.
            path.push_str("h0");
        }
        pen = 'L';
    }
    (path, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_point_touches_the_top_and_zero_the_bottom() {
        let (path, most) = path(&[Some(0.0), Some(4.0)], 10.0, 20.0);
        assert_eq!(path, "M0.0 19.0h0L10.0 1.0");
        assert!((most - 4.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_missing_point_breaks_the_line() {
        let (path, _) = path(&[Some(1.0), None, Some(1.0)], 10.0, 20.0);
        assert_eq!(path, "M0.0 1.0h0M10.0 1.0h0");
    }

    #[test]
    fn nothing_and_zeroes_are_lines_too() {
        assert_eq!(path(&[], 10.0, 20.0), (String::new(), 0.0));
        assert_eq!(path(&[Some(0.0)], 10.0, 20.0).0, "M0.0 19.0h0");
    }
}
