//! The cluster's own clock: what a leader stamps into commands.

use std::time::Instant;

use parking_lot::Mutex;

use crate::clock;

/// Log time of one leader: the newest log time that an earlier leader gave plus its own monotonic
/// time since.
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
        let own = base.log_time_ms + clock::millis(now.saturating_duration_since(base.since));
        if applied_ms > own {
            // It was elected before it had applied what an earlier leader had committed.
            (base.log_time_ms, base.since) = (applied_ms, now);
        }
        own.max(applied_ms)
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
        assert!(clock.now_ms(1, 500) < 2_000, "its own time goes on");
        let behind = clock.now_ms(1, 9_000);
        assert!((9_000..9_500).contains(&behind), "{behind}");
        assert!((9_000..9_500).contains(&clock.now_ms(1, 0)));
        let second = clock.now_ms(2, 50_000);
        assert!((50_000..50_500).contains(&second), "{second}");
    }
}
