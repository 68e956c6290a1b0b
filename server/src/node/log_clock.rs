//! The cluster's own clock: what a leader stamps into commands.

use std::time::Instant;

use parking_lot::Mutex;

use crate::clock;

/// Log time of one leader: the log time applied when it was elected plus its monotonic time since.
/// A jump of the wall clock changes nothing, and a new leader goes on where the log is.
#[derive(Debug, Default)]
pub(super) struct LogClock(Mutex<Option<Base>>);

#[derive(Debug, Clone, Copy)]
struct Base {
    term: u64,
    log_time_ms: u64,
    since: Instant,
}

impl LogClock {
    /// Returns the log time for a proposal in `term`; `applied_ms` is the newest log time applied.
    pub(super) fn now_ms(&self, term: u64, applied_ms: u64) -> u64 {
        let now = clock::now();
        let mut base = self.0.lock();
        let base = match &mut *base {
            Some(base) if base.term == term => base,
            other => other.insert(Base {
                term,
                log_time_ms: applied_ms,
                since: now,
            }),
        };
        base.log_time_ms + clock::millis(now.saturating_duration_since(base.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_leader_goes_on_from_the_applied_log_time() {
        let clock = LogClock::default();
        let first = clock.now_ms(1, 1_000);
        assert!((1_000..1_500).contains(&first), "{first}");
        assert!(
            clock.now_ms(1, 9_000_000) < 2_000,
            "within a term only its own time counts"
        );
        let second = clock.now_ms(2, 50_000);
        assert!((50_000..50_500).contains(&second), "{second}");
    }
}
