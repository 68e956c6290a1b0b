//! Geometry of line charts, in whole units of a frame of [`COLUMNS`] by [`ROWS`]: whatever draws it
//! stretches the frame to its place. A value that is not there is never drawn over.

/// Width of the frame. A chart is about as many pixels wide, so a column is a pixel.
pub const COLUMNS: usize = 320;
/// Height of the frame, from its top.
pub const ROWS: u32 = 1_000;

/// Writes a line through `points`, which are equally spaced over the whole width, as the data of a path.
/// `top` is the value at the frame's top; its foot is zero. Points that share a column give its lowest
/// and its highest one in their order, so that no spike is lost. A point without neighbours is a dot.
#[must_use]
pub fn path(points: &[Option<f64>], top: f64) -> String {
    let mut out = String::with_capacity(points.len() * 8);
    let last = points.len().saturating_sub(1).max(1);
    let mut pen = Pen::new(&mut out);
    for (at, point) in points.iter().enumerate() {
        match point {
            Some(value) => pen.point(small(at * COLUMNS / last), height(*value, top)),
            None => pen.lift(),
        }
    }
    pen.lift();
    out
}

/// Returns the place of a point of `count` in the frame's width, as a share of it.
#[must_use]
pub fn share(at: usize, count: usize) -> f64 {
    f64::from(small(at)) / f64::from(small(count.saturating_sub(1).max(1)))
}

/// Runs of points that have no value, as `from..to`.
#[must_use]
pub fn gaps(points: &[Option<f64>]) -> Vec<(usize, usize)> {
    let mut gaps: Vec<(usize, usize)> = Vec::new();
    for (at, _) in points.iter().enumerate().filter(|(_, p)| p.is_none()) {
        match gaps.last_mut() {
            Some(last) if last.1 == at => last.1 += 1,
            _ => gaps.push((at, at + 1)),
        }
    }
    gaps
}

/// Returns the distance of ticks for values up to `max`: 1, 2 or 5 times a power of ten, at least
/// `least`, so that at most `most` of them reach `max`.
#[must_use]
pub fn tick(max: f64, most: u32, least: f64) -> f64 {
    let wanted = max / f64::from(most.max(1));
    if !wanted.is_finite() || wanted <= 0.0 {
        return least;
    }
    let mut power = 1.0;
    while power > wanted {
        power /= 10.0;
    }
    while power * 10.0 <= wanted {
        power *= 10.0;
    }
    // What is just above a step only by rounding is that step.
    let fits = |times: f64| power * times >= wanted * (1.0 - 1e-9);
    let times = [1.0, 2.0, 5.0].into_iter().find(|times| fits(*times));
    (power * times.unwrap_or(10.0)).max(least)
}

/// Writes points as path data, a column at a time.
struct Pen<'a> {
    out: &'a mut String,
    /// The column that is being gathered: first and last of its lowest and highest point.
    column: Option<Column>,
    /// Points written since the pen was lifted.
    drawn: usize,
}

#[derive(Clone, Copy)]
struct Column {
    x: u32,
    earlier: u32,
    later: u32,
}

impl<'a> Pen<'a> {
    const fn new(out: &'a mut String) -> Self {
        Self {
            out,
            column: None,
            drawn: 0,
        }
    }

    fn point(&mut self, x: u32, y: u32) {
        match &mut self.column {
            Some(column) if column.x == x => {
                let (low, high) = if column.earlier < column.later {
                    (column.earlier, column.later)
                } else {
                    (column.later, column.earlier)
                };
                if y < low {
                    (column.earlier, column.later) = (high, y);
                } else if y > high {
                    (column.earlier, column.later) = (low, y);
                }
            }
            _ => {
                self.flush();
                self.column = Some(Column {
                    x,
                    earlier: y,
                    later: y,
                });
            }
        }
    }

    fn flush(&mut self) {
        let Some(column) = self.column.take() else {
            return;
        };
        self.write(column.x, column.earlier);
        if column.later != column.earlier {
            self.write(column.x, column.later);
        }
    }

    fn write(&mut self, x: u32, y: u32) {
        self.out.push(if self.drawn == 0 { 'M' } else { ' ' });
        digits(self.out, x);
        self.out.push(' ');
        digits(self.out, y);
        self.drawn += 1;
    }

    fn lift(&mut self) {
        self.flush();
        if self.drawn == 1 {
            self.out.push_str("h0");
        }
        self.drawn = 0;
    }
}

/// Returns how far below the frame's top a value lies.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "within 0 and ROWS"
)]
fn height(value: f64, top: f64) -> u32 {
    let share = if top > 0.0 { value / top } else { 0.0 };
    let rows = f64::from(ROWS);
    ROWS - (share * rows).round().clamp(0.0, rows) as u32
}

/// Appends a number; several times as fast as formatting it, which counts at 26 lines a second.
fn digits(out: &mut String, number: u32) {
    if number >= 10 {
        digits(out, number / 10);
    }
    out.push(char::from(b'0' + u8::try_from(number % 10).unwrap_or(0)));
}

fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_through_its_points() {
        let points = [Some(0.0), Some(5.0), Some(10.0)];
        assert_eq!(path(&points, 10.0), "M0 1000 160 500 320 0");
    }

    #[test]
    fn a_missing_value_is_a_gap_and_a_lonely_one_a_dot() {
        let points = [Some(1.0), None, Some(1.0), Some(1.0), None];
        assert_eq!(path(&points, 1.0), "M0 0h0M160 0 240 0");
        assert_eq!(gaps(&points), [(1, 2), (4, 5)]);
        assert_eq!(path(&[None, None], 1.0), "");
    }

    #[test]
    fn points_of_one_column_keep_the_lowest_and_the_highest() {
        let mut points = vec![Some(1.0); 60_001];
        points[30_000] = Some(10.0);
        points[30_001] = Some(0.0);
        let path = path(&points, 10.0);
        assert!(path.contains(" 160 0 160 1000 161"), "{path}");
        assert!(path.len() < 9 * COLUMNS, "{} bytes", path.len());
    }

    #[test]
    fn what_is_above_or_below_the_frame_stays_at_its_edge() {
        assert_eq!(path(&[Some(-1.0), Some(99.0)], 10.0), "M0 1000 320 0");
        assert_eq!(path(&[Some(1.0)], 0.0), "M0 1000h0");
    }

    #[test]
    fn ticks_are_1_2_or_5_times_a_power_of_ten() {
        for (max, expected) in [
            (0.3, 0.1),
            (1.0, 0.5),
            (3.0, 1.0),
            (4.0, 2.0),
            (48.0, 20.0),
            (150.0, 50.0),
            (301.0, 200.0),
        ] {
            let tick = tick(max, 3, 0.0);
            assert!((tick - expected).abs() < 1e-9, "{max}: {tick}");
        }
        assert!(
            (tick(2.0, 3, 1.0) - 1.0).abs() < 1e-9,
            "counts have no halves"
        );
        assert!((tick(0.0, 3, 1.0) - 1.0).abs() < 1e-9);
    }
}
