//! The only place that reads a clock. Everything that decides something replicated gets its time
//! from the log instead (invariant 1).

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Returns the monotonic time.
#[cfg(not(feature = "simulation"))]
#[expect(clippy::disallowed_methods, reason = "the one reader of the clock")]
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// Returns the simulation's time.
#[cfg(feature = "simulation")]
#[expect(clippy::disallowed_methods, reason = "the one reader of the clock")]
#[must_use]
pub fn now() -> Instant {
    use openraft_rt::Instant as _;
    static ORIGIN: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    *ORIGIN + openraft_rt_sim::SimInstant::now().elapsed_since_start()
}

/// Returns the time since an earlier moment.
#[must_use]
pub fn since(earlier: Instant) -> Duration {
    now().saturating_duration_since(earlier)
}

/// Returns the wall clock, milliseconds since 1970; 0 for a clock set before that.
#[expect(clippy::disallowed_methods, reason = "the one reader of the clock")]
#[must_use]
pub fn wall_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    millis(since)
}

/// Returns a duration in whole milliseconds.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
