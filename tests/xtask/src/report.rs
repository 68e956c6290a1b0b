//! What the gates found: counts of tests and steps, read from the runners' own summary lines.

use std::{fmt, time::Duration};

/// Checks that passed and checks that failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Tally {
    /// One check that passed.
    pub(crate) const PASS: Self = Self {
        passed: 1,
        failed: 0,
        skipped: 0,
    };
    /// One check that failed.
    pub(crate) const FAIL: Self = Self {
        passed: 0,
        failed: 1,
        skipped: 0,
    };

    /// Adds the counts of another.
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }

    /// Adds what a line of `cargo test` says, when it is a summary.
    pub(crate) fn read_cargo(&mut self, line: &str) {
        let Some(summary) = line.strip_prefix("test result: ") else {
            return;
        };
        let (_, counts) = summary.split_once(". ").unwrap_or_default();
        for part in counts.split(';') {
            match part.trim().split_once(' ') {
                Some((number, "passed")) => self.passed += number.parse().unwrap_or(0),
                Some((number, "failed")) => self.failed += number.parse().unwrap_or(0),
                Some((number, "ignored")) => self.skipped += number.parse().unwrap_or(0),
                _ => (),
            }
        }
    }

    /// Notes a test that says that it could check nothing: a line of `cargo test` that begins with
    /// `skipped: `. The runner takes it for one that passed; see [`Self::without_skipped`].
    pub(crate) fn read_skipped(&mut self, line: &str) {
        if line.starts_with("skipped: ") {
            self.skipped += 1;
        }
    }

    /// Takes the tests that `skipped` counts from those that passed, and counts them as skipped.
    pub(crate) fn without_skipped(mut self, skipped: Self) -> Self {
        self.passed = self.passed.saturating_sub(skipped.skipped);
        self.skipped += skipped.skipped;
        self
    }

    /// Adds what a line of `node --test` in its `spec` form says, when it is a summary.
    pub(crate) fn read_node(&mut self, line: &str) {
        let Some(summary) = line.strip_prefix("ℹ ") else {
            return;
        };
        match summary.split_once(' ') {
            Some(("pass", number)) => self.passed += number.parse().unwrap_or(0),
            Some(("fail" | "cancelled", number)) => self.failed += number.parse().unwrap_or(0),
            Some(("skipped" | "todo", number)) => self.skipped += number.parse().unwrap_or(0),
            _ => (),
        }
    }
}

/// The steps that ran, in order.
#[derive(Debug, Default)]
pub(crate) struct Report {
    steps: Vec<(String, Tally, Duration)>,
}

impl Report {
    /// Notes a step that has ended.
    pub(crate) fn note(&mut self, step: &str, tally: Tally, took: Duration) {
        self.steps.push((step.to_owned(), tally, took));
    }

    /// Returns true when nothing failed and something passed.
    pub(crate) fn is_green(&self) -> bool {
        let total = self.total();
        total.failed == 0 && total.passed > 0
    }

    fn total(&self) -> Tally {
        self.steps
            .iter()
            .fold(Tally::default(), |mut sum, (_, tally, _)| {
                sum.add(*tally);
                sum
            })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (step, tally, took) in &self.steps {
            let verdict = if tally.failed == 0 { "ok  " } else { "FAIL" };
            let Tally {
                passed,
                failed,
                skipped,
            } = tally;
            let seconds = took.as_secs_f64();
            writeln!(
                f,
                "{verdict} {step:<12} {seconds:>7.1} s  {passed:>5} passed {failed:>3} failed {skipped:>3} skipped"
            )?;
        }
        let total = self.total();
        write!(
            f,
            "\n{} passed, {} failed, {} skipped",
            total.passed, total.failed, total.skipped
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_of_cargo_are_added_up() {
        let mut tally = Tally::default();
        tally.read_cargo("running 3 tests");
        tally.read_cargo("test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s");
        tally.read_cargo(
            "test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out",
        );
        assert_eq!(
            tally,
            Tally {
                passed: 7,
                failed: 2,
                skipped: 1
            }
        );
    }

    #[test]
    fn a_test_that_says_it_is_skipped_has_not_passed() {
        let mut skipped = Tally::default();
        let mut tally = Tally::default();
        for line in [
            "skipped: power cuts need root",
            "test power::cut ... ok",
            "test cluster::skipped: is no such line ... ok",
            "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out",
        ] {
            skipped.read_skipped(line);
            tally.read_cargo(line);
        }
        let tally = tally.without_skipped(skipped);
        assert_eq!((tally.passed, tally.failed, tally.skipped), (1, 0, 1));
    }

    #[test]
    fn summaries_of_node_are_added_up() {
        let mut tally = Tally::default();
        for line in [
            "ℹ tests 4",
            "ℹ pass 2",
            "ℹ fail 1",
            "ℹ cancelled 1",
            "ℹ skipped 0",
        ] {
            tally.read_node(line);
        }
        assert_eq!(
            tally,
            Tally {
                passed: 2,
                failed: 2,
                skipped: 0
            }
        );
    }

    #[test]
    fn the_last_line_stands_alone() {
        let mut report = Report::default();
        report.note("fmt", Tally::PASS, Duration::from_millis(1_500));
        report.note(
            "test",
            Tally {
                passed: 7,
                failed: 2,
                skipped: 1,
            },
            Duration::ZERO,
        );
        assert_eq!(
            report.to_string().lines().last(),
            Some("8 passed, 2 failed, 1 skipped")
        );
        assert!(!report.is_green());
    }

    #[test]
    fn a_report_of_nothing_is_not_green() {
        assert!(!Report::default().is_green());
    }
}
