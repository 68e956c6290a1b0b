//! A clock for deadlines of this tab. It never goes back, and it goes on while the computer sleeps.

/// Difference of the two clocks that is taken for a sleep, milliseconds.
const SLEPT_MS: f64 = 250.0;

/// Browsers may stop their monotonic clock while the computer sleeps; the wall clock goes on but can be
/// set. Of both the one that moved further counts: a deadline is rather met too early than too late.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock {
    now: f64,
    last: Option<(f64, f64)>,
}

impl Clock {
    /// Returns the time now, given both clocks, all in milliseconds.
    pub fn now(&mut self, monotonic: f64, wall: f64) -> f64 {
        if let Some((last_monotonic, last_wall)) = self.last {
            let passed = (monotonic - last_monotonic).max(0.0);
            let on_wall = wall - last_wall;
            self.now += if on_wall > passed + SLEPT_MS {
                on_wall
            } else {
                passed
            };
        }
        self.last = Some((monotonic, wall));
        self.now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_counts_and_a_wall_clock_set_back_does_not() {
        let mut clock = Clock::default();
        assert!(clock.now(5.0, 1_000.0).abs() < 1e-9);
        assert!((clock.now(105.0, 1_101.0) - 100.0).abs() < 1e-9);
        assert!((clock.now(106.0, 61_101.0) - 60_100.0).abs() < 1e-9);
        assert!((clock.now(206.0, 0.0) - 60_200.0).abs() < 1e-9);
        assert!((clock.now(306.0, 100.0) - 60_300.0).abs() < 1e-9);
    }
}
