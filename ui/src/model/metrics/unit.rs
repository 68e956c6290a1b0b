//! Units of the charts: how a value is written, and how an axis is divided.

use super::chart;
use crate::model::text::{grouped, size};

/// Most ticks above zero on an axis.
const TICKS: u32 = 3;

/// What a value counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    PerSecond,
    Millis,
    Count,
    Bytes,
}

impl Unit {
    /// Writes a value with its unit: `412 /s`, `1.25 ms`, `48,211`, `4.0 KiB`.
    #[must_use]
    pub fn text(self, value: f64) -> String {
        match self {
            Self::PerSecond => format!("{} /s", decimal(value, places(value).min(1))),
            Self::Millis if value >= 10_000.0 => format!("{} s", decimal(value / 1_000.0, 1)),
            Self::Millis => format!("{} ms", decimal(value, places(value))),
            Self::Count => decimal(value, 0),
            Self::Bytes => size(whole(value)),
        }
    }

    /// Returns the distance of ticks for values up to `max`.
    #[must_use]
    pub fn tick(self, max: f64) -> f64 {
        match self {
            Self::Count => chart::tick(max, TICKS, 1.0),
            Self::PerSecond => chart::tick(max, TICKS, 0.5),
            Self::Millis => chart::tick(max, TICKS, 0.01),
            Self::Bytes => {
                let mut unit = 1.0;
                while max / unit >= 1_024.0 {
                    unit *= 1_024.0;
                }
                unit * chart::tick(max / unit, TICKS, 0.1)
            }
        }
    }

    /// Writes the value at a tick, with as many decimals as the distance of ticks needs.
    #[must_use]
    pub fn tick_text(self, value: f64, tick: f64) -> String {
        let places = match tick {
            tick if tick >= 1.0 => 0,
            tick if tick >= 0.1 => 1,
            _ => 2,
        };
        match self {
            Self::PerSecond | Self::Count => decimal(value, places),
            Self::Millis if tick >= 1_000.0 => format!("{} s", decimal(value / 1_000.0, 0)),
            Self::Millis => format!("{} ms", decimal(value, places)),
            Self::Bytes => size(whole(value)),
        }
    }
}

/// Decimals that make about three digits.
fn places(value: f64) -> u32 {
    match value {
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        _ => 2,
    }
}

/// Writes a number that is not negative with so many decimals, without zeros at its end.
fn decimal(value: f64, places: u32) -> String {
    let scale = 10_u64.pow(places);
    #[expect(clippy::cast_precision_loss, reason = "at most 100")]
    let scaled = whole(value * scale as f64);
    let mut text = grouped(scaled / scale);
    let rest = scaled % scale;
    if rest > 0 {
        let digits = format!("{:0>width$}", rest, width = places as usize);
        text.push('.');
        text.push_str(digits.trim_end_matches('0'));
    }
    text
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast from a float stops at the ends"
)]
fn whole(value: f64) -> u64 {
    value.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_with_about_three_digits() {
        assert_eq!(Unit::PerSecond.text(48_211.4), "48,211 /s");
        assert_eq!(Unit::PerSecond.text(4.5), "4.5 /s");
        assert_eq!(Unit::Millis.text(1.254), "1.25 ms");
        assert_eq!(Unit::Millis.text(12_345.0), "12.3 s");
        assert_eq!(Unit::Count.text(7.0), "7");
        assert_eq!(Unit::Bytes.text(4_096.0), "4.0 KiB");
        assert_eq!(Unit::Millis.text(0.05), "0.05 ms");
    }

    #[test]
    fn an_axis_is_divided_as_its_unit_wants() {
        assert_eq!(Unit::Count.tick_text(2.0, Unit::Count.tick(2.0)), "2");
        assert_eq!(
            Unit::Millis.tick_text(0.4, Unit::Millis.tick(0.5)),
            "0.4 ms"
        );
        let tick = Unit::Bytes.tick(3.0 * 1_048_576.0);
        assert_eq!(Unit::Bytes.tick_text(tick, tick), "1.0 MiB");
    }
}
