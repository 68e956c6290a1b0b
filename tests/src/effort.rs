//! How much the long tests do: what fits in CI, and much more by hand.
//!
//! `CONCLAVE_TEST_FULL=1` runs the long tests with larger numbers; minutes to hours. Each such test
//! names both numbers where it asks.

/// The variable that asks for the larger numbers.
pub const FULL: &str = "CONCLAVE_TEST_FULL";

/// Returns `usual`, or `full` when the larger numbers are asked for.
#[must_use]
pub fn rounds(usual: usize, full: usize) -> usize {
    match std::env::var(FULL) {
        Ok(text) if !matches!(text.as_str(), "" | "0") => full,
        _ => usual,
    }
}
