//! Logic of the screen Lab: what each member answers at each read level, how far that is behind, and
//! what the answers prove together.

pub mod cell;
pub mod strip;
pub mod verdict;

pub use cell::{Cell, Read, promise};
pub use strip::Strip;
pub use verdict::{Line, verdict};

/// The key that is offered when none is chosen.
pub const PROBE_KEY: &str = "lab/probe";
/// Longest wait for a member that may be out of this browser's reach, milliseconds.
pub const REACH_LIMIT_MS: u32 = 2_000;
/// Longest wait for the answer of a member that is in reach, milliseconds. A node without leader
/// says so earlier.
pub const ANSWER_LIMIT_MS: u32 = 6_000;
/// Writes of one run.
pub const RUN: usize = 50;

/// Returns the counter after the one that a key holds; `None` when it holds something else, which
/// the lab must not overwrite.
#[must_use]
pub fn next_counter(value: Option<&str>) -> Option<u64> {
    match value {
        None => Some(1),
        Some(text) => text.trim().parse::<u64>().ok()?.checked_add(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_counter_is_counted_on() {
        assert_eq!(next_counter(None), Some(1));
        assert_eq!(next_counter(Some("41")), Some(42));
        assert_eq!(next_counter(Some("41\n")), Some(42));
        for other in ["", "on", "-1", "1.5", "{\"a\":1}", "18446744073709551615"] {
            assert_eq!(next_counter(Some(other)), None, "{other}");
        }
    }
}
