//! Where the round table's seats and labels are: pure geometry, in pixels from the picture's corner.
//!
//! Seats stand on a circle in the order of the names, the first one at the top, and go clockwise. No
//! seat and no label overlaps another for up to eleven seats in at least [`MIN_WIDTH`].

use std::f64::consts::TAU;

use crate::model::order::sort;

/// Narrowest picture; below it the list of members stands in for it.
pub const MIN_WIDTH: f64 = 500.0;
/// Radius of all that belongs to a seat: mark, arc and seal.
pub const SEAT: f64 = 28.0;
/// Size of a label.
pub const LABEL: (f64, f64) = (112.0, 50.0);

const LARGEST_RADIUS: f64 = 178.0;
/// Between a seat's middle and its label.
const GAP: f64 = SEAT + 10.0;
/// Above and below the outermost seat or label.
const MARGIN: f64 = 4.0;
/// Sine of the angle to the vertical up to which a label stands above or below its seat.
const UPRIGHT: f64 = 0.2;

/// Which edge of its label a text begins at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

impl Anchor {
    /// Returns the value of `text-anchor`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Middle => "middle",
            Self::End => "end",
        }
    }
}

/// One seat.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seat {
    pub x: f64,
    pub y: f64,
    /// Clockwise from the top, degrees.
    pub angle: f64,
    /// Left edge and top of its label.
    pub label: (f64, f64),
    pub anchor: Anchor,
}

impl Seat {
    /// Returns how far down a label's first line begins when it has only two of its three lines.
    #[must_use]
    pub fn short_by(&self) -> f64 {
        match self.anchor {
            Anchor::Middle if self.label.1 < self.y => 16.0,
            Anchor::Middle => 0.0,
            Anchor::Start | Anchor::End => 8.0,
        }
    }

    /// Returns where the label's lines of text begin.
    #[must_use]
    pub fn text_x(&self) -> f64 {
        match self.anchor {
            Anchor::Start => self.label.0,
            Anchor::Middle => self.label.0 + LABEL.0 / 2.0,
            Anchor::End => self.label.0 + LABEL.0,
        }
    }
}

/// The whole picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    pub width: f64,
    pub height: f64,
    /// The table's middle.
    pub x: f64,
    pub y: f64,
    pub radius: f64,
    pub seats: Vec<Seat>,
}

impl Layout {
    /// Places `count` seats in a picture of this width, which grows to [`MIN_WIDTH`].
    #[must_use]
    pub fn of(count: usize, width: f64) -> Self {
        let width = width.max(MIN_WIDTH);
        let radius = ((width / 2.0) - GAP - LABEL.0).min(LARGEST_RADIUS);
        let mut seats: Vec<Seat> = (0..count).map(|at| seat(at, count, radius)).collect();
        for side in [Anchor::Start, Anchor::End] {
            spread(&mut seats, side);
        }
        for at in 0..count {
            clear_of_seats(&mut seats, at);
        }
        let tops = seats.iter().map(|seat| seat.label.1.min(seat.y - SEAT));
        let bottoms = seats
            .iter()
            .map(|seat| (seat.label.1 + LABEL.1).max(seat.y + SEAT));
        let top = tops.fold(-radius, f64::min) - MARGIN;
        let bottom = bottoms.fold(radius, f64::max) + MARGIN;
        let (x, y) = (width / 2.0, -top);
        for seat in &mut seats {
            seat.x += x;
            seat.y += y;
            seat.label.0 += x;
            seat.label.1 += y;
        }
        Self {
            width,
            height: bottom - top,
            x,
            y,
            radius,
            seats,
        }
    }

    /// Returns the chord from the rim of one seat to the rim of another: where it begins, its angle in
    /// degrees clockwise from "to the right", and its length.
    #[must_use]
    pub fn chord(&self, from: usize, to: usize) -> Option<(f64, f64, f64, f64)> {
        let (from, to) = (self.seats.get(from)?, self.seats.get(to)?);
        let (dx, dy) = (to.x - from.x, to.y - from.y);
        let whole = dx.hypot(dy);
        let length = whole - 2.0 * SEAT;
        (length > 0.0).then(|| {
            (
                from.x + dx / whole * SEAT,
                from.y + dy / whole * SEAT,
                dy.atan2(dx).to_degrees(),
                length,
            )
        })
    }
}

/// Places one seat round the origin, with its label beside it.
#[expect(clippy::cast_precision_loss, reason = "a cluster has few members")]
fn seat(at: usize, count: usize, radius: f64) -> Seat {
    let angle = TAU * at as f64 / count as f64;
    let (sin, cos) = angle.sin_cos();
    let (x, y) = (radius * sin, -radius * cos);
    let (label, anchor) = if sin.abs() < UPRIGHT {
        let top = if cos > 0.0 {
            y - GAP - LABEL.1
        } else {
            y + GAP
        };
        ((x - LABEL.0 / 2.0, top), Anchor::Middle)
    } else if sin > 0.0 {
        ((x + GAP, y - LABEL.1 / 2.0), Anchor::Start)
    } else {
        ((x - GAP - LABEL.0, y - LABEL.1 / 2.0), Anchor::End)
    };
    Seat {
        x,
        y,
        angle: angle.to_degrees(),
        label,
        anchor,
    }
}

/// Moves the labels of one side apart until none overlaps the next.
fn spread(seats: &mut [Seat], side: Anchor) {
    let mut places: Vec<usize> = (0..seats.len())
        .filter(|at| seats[*at].anchor == side)
        .collect();
    sort(&mut places, |a, b| {
        seats[*a].label.1.total_cmp(&seats[*b].label.1)
    });
    // Each pass halves what is left of an overlap between neighbours.
    for _ in 0..64 {
        for pair in places.windows(2) {
            let overlap = seats[pair[0]].label.1 + LABEL.1 - seats[pair[1]].label.1;
            if overlap > 0.0 {
                seats[pair[0]].label.1 -= overlap / 2.0;
                seats[pair[1]].label.1 += overlap / 2.0;
            }
        }
    }
}

/// Moves a label outwards until it touches no seat.
fn clear_of_seats(seats: &mut [Seat], at: usize) {
    let Seat { label, anchor, .. } = seats[at];
    let beside = |other: &&Seat| {
        let y = other.y;
        y + SEAT > label.1 && y - SEAT < label.1 + LABEL.1
    };
    let xs = seats.iter().filter(beside).map(|other| other.x);
    let label_x = match anchor {
        Anchor::Middle => return,
        Anchor::Start => xs.fold(label.0, |x, seat| x.max(seat + GAP)),
        Anchor::End => xs.fold(label.0, |x, seat| x.min(seat - GAP - LABEL.0)),
    };
    seats[at].label.0 = label_x;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Left, top, right, bottom.
    type Rect = (f64, f64, f64, f64);

    fn label(seat: &Seat) -> Rect {
        let (x, y) = seat.label;
        (x, y, x + LABEL.0, y + LABEL.1)
    }

    fn overlap(a: Rect, b: Rect) -> bool {
        let slack = 0.5;
        a.0 + slack < b.2 && b.0 + slack < a.2 && a.1 + slack < b.3 && b.1 + slack < a.3
    }

    #[test]
    fn no_seat_and_no_label_overlaps_another() {
        for voters in [1, 3, 5, 7] {
            for learners in 0..=4 {
                for width in (0..=2_560).step_by(20).map(f64::from) {
                    check(voters + learners, width);
                }
            }
        }
    }

    fn check(count: usize, width: f64) {
        let layout = Layout::of(count, width);
        let case = format!("{count} seats in {width}");
        for (at, seat) in layout.seats.iter().enumerate() {
            let (left, top, right, bottom) = label(seat);
            assert!(left >= 0.0 && right <= layout.width, "{case}: label {at}");
            assert!(top >= 0.0 && bottom <= layout.height, "{case}: label {at}");
            for (with, other) in layout.seats.iter().enumerate() {
                let circle = (
                    other.x - SEAT,
                    other.y - SEAT,
                    other.x + SEAT,
                    other.y + SEAT,
                );
                assert!(
                    !overlap(label(seat), circle),
                    "{case}: label {at} on seat {with}"
                );
                if at != with {
                    let apart = (seat.x - other.x).hypot(seat.y - other.y);
                    assert!(apart >= 2.0 * SEAT, "{case}: seats {at} and {with}");
                    assert!(
                        !overlap(label(seat), label(other)),
                        "{case}: labels {at} and {with}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_first_seat_is_at_the_top_and_seats_go_clockwise() {
        let layout = Layout::of(4, 900.0);
        assert!((layout.seats[0].x - layout.x).abs() < 0.001);
        assert!(layout.seats[0].y < layout.y);
        assert!(layout.seats[1].x > layout.x, "the second is on the right");
        assert_eq!(layout.seats[1].anchor, Anchor::Start);
    }

    #[test]
    fn a_chord_goes_from_rim_to_rim() {
        let layout = Layout::of(2, 900.0);
        let (x, y, angle, length) = layout.chord(0, 1).unwrap();
        assert!((x - layout.x).abs() < 0.001);
        assert!((y - (layout.seats[0].y + SEAT)).abs() < 0.001);
        assert!((angle - 90.0).abs() < 0.001, "downwards: {angle}");
        assert!((length - 2.0 * (layout.radius - SEAT)).abs() < 0.001);
        assert_eq!(layout.chord(0, 0), None);
    }
}
