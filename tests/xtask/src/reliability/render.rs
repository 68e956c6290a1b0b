//! The report for a reader: the table, each row with its figures, what was not measured, and what was
//! found.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use anyhow::Result;

use super::{
    CAMPAIGN, Verdict,
    figures::reaches,
    findings::FINDINGS,
    record::{Measured, Record},
    shown,
    table::{CHECKS, ELSEWHERE, ROWS, Row},
};

const OPENING: &str = "\
# What was measured

Written by `cargo xtask reliability`; every figure is what a test of `tests/it` or the bench said.
A row is *met* when its tests passed and the figures reach what was aimed at, *not met* when the
tests passed and the figures do not. What one run does not measure stays from the runs before;
each figure says of which day, which commit and which build of the server it is.

";

/// The report of a record.
pub(super) struct Report<'a> {
    record: &'a Record,
}

impl<'a> Report<'a> {
    pub(super) const fn of(record: &'a Record) -> Self {
        Self { record }
    }

    /// Returns all of it.
    pub(super) fn text(&self) -> Result<String> {
        let mut text = String::from(OPENING);
        self.machines(&mut text)?;
        text.push_str(&self.summary()?);
        for row in &ROWS {
            self.details(row, &mut text)?;
        }
        text.push_str("\n## Not measured by this command\n\n");
        for (id, promise, place) in ELSEWHERE {
            writeln!(text, "- {id}. {promise}: {place}")?;
        }
        self.mutants(&mut text)?;
        findings(&mut text)?;
        Ok(text)
    }

    /// Returns the table.
    pub(super) fn summary(&self) -> Result<String> {
        let mut text =
            String::from("| # | promise | aim | s | measured | |\n|---|---|---|---:|---|---|\n");
        for row in &ROWS {
            let took: Duration = self.measured(row).map(|check| check.took).sum();
            let mut origins: Vec<_> = self
                .measured(row)
                .map(|check| format!("{} of {}", check.origin.date, check.origin.commit))
                .collect();
            origins.sort();
            origins.dedup();
            writeln!(
                text,
                "| {} | {} | {} | {:.0} | {} | {} |",
                row.id,
                row.promise,
                row.aim,
                took.as_secs_f64(),
                origins.join("; "),
                self.verdict(row).shown()
            )?;
        }
        Ok(text)
    }

    pub(super) fn verdict(&self, row: &Row) -> Verdict {
        let Some(worst) = self.measured(row).map(|check| check.verdict).max() else {
            return Verdict::Missing;
        };
        if self.measured(row).count() < row.figures.len() {
            return worst.max(Verdict::Partly);
        }
        let lines: Vec<_> = row
            .figures
            .iter()
            .flat_map(|(name, words)| self.lines(name, words))
            .collect();
        match worst {
            Verdict::Met if row.bars.iter().all(|bar| reaches(*bar, &lines)) => Verdict::Met,
            Verdict::Met => Verdict::NotMet,
            worst => worst,
        }
    }

    /// Returns the checks of a row that have run.
    fn measured(&self, row: &Row) -> impl Iterator<Item = &'a Measured> {
        let checks = &self.record.checks;
        row.figures
            .iter()
            .filter_map(move |(name, _)| checks.get(*name))
    }

    /// Returns the lines of a check that a row wants; all when they are no figures.
    fn lines(&self, check: &str, words: &[&str]) -> Vec<&'a str> {
        let Some(measured) = self.record.checks.get(check) else {
            return Vec::new();
        };
        let all = measured.lines.iter().map(String::as_str);
        let is_wanted = |line: &&str| {
            measured.verdict != Verdict::Met || words.iter().any(|word| line.contains(word))
        };
        all.filter(is_wanted).collect()
    }

    /// Says where it was measured, and what where if that was not one machine.
    fn machines(&self, text: &mut String) -> Result<()> {
        let mut machines = BTreeMap::<_, Vec<_>>::new();
        for (name, measured) in &self.record.checks {
            let machine = measured.origin.machine.as_str();
            machines.entry(machine).or_default().push(name.as_str());
        }
        for (machine, checks) in &machines {
            match machines.len() {
                1 => writeln!(text, "- {machine}")?,
                _ => writeln!(text, "- {machine} ({})", checks.join(", "))?,
            }
        }
        if !machines.is_empty() {
            text.push('\n');
        }
        Ok(())
    }

    fn details(&self, row: &Row, text: &mut String) -> Result<()> {
        let verdict = self.verdict(row).shown();
        write!(
            text,
            "\n## {}. {}\n\nAim: {}. **{verdict}**\n",
            row.id, row.promise, row.aim
        )?;
        for (name, words) in row.figures {
            let Some(check) = CHECKS.iter().find(|check| check.name == *name) else {
                continue;
            };
            let Some(measured) = self.record.checks.get(*name) else {
                writeln!(text, "\n{}: not measured yet", shown(check, CAMPAIGN))?;
                continue;
            };
            let origin = &measured.origin;
            let seeds = match measured.seeds.is_empty() {
                true => String::new(),
                false => format!(", seed {}", measured.seeds.join(", ")),
            };
            writeln!(
                text,
                "\n{} ({:.0} s{seeds}; {}, commit {}, server {}):\n",
                origin.command,
                measured.took.as_secs_f64(),
                origin.date,
                origin.commit,
                origin.server
            )?;
            for line in self.lines(name, words) {
                match line.starts_with('|') {
                    true => writeln!(text, "    {line}")?,
                    false => writeln!(text, "- {line}")?,
                }
            }
        }
        Ok(())
    }

    fn mutants(&self, text: &mut String) -> Result<()> {
        let table = match self.record.mutants.is_empty() {
            true => "Not measured yet.".to_owned(),
            false => self.record.mutants.join("\n"),
        };
        write!(
            text,
            "\n## Mutants\n\nServers with a defect each, and the tests that noticed it (`cargo xtask \
             mutants`).\n\n{table}\n"
        )?;
        Ok(())
    }
}

/// Says what the tests have found before.
fn findings(text: &mut String) -> Result<()> {
    text.push_str("\n## Bugs found by this harness\n\n| what was wrong | found by | guarded by |\n|---|---|---|\n");
    for finding in &FINDINGS {
        let guards: Vec<_> = finding
            .guards
            .iter()
            .map(|guard| format!("`{guard}`"))
            .collect();
        writeln!(
            text,
            "| {} | {} | {} |",
            finding.what,
            finding.found_by,
            match guards.is_empty() {
                true => "no test of its own".to_owned(),
                false => guards.join(", "),
            }
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::reliability::record::Origin;

    use super::*;

    fn measured(verdict: Verdict, line: &str) -> Measured {
        Measured {
            verdict,
            took: Duration::from_secs(7),
            lines: vec![line.to_owned()],
            seeds: vec!["9".to_owned()],
            origin: Origin {
                command: "`chaos::x`".to_owned(),
                date: "2026-02-03 04:05 UTC".to_owned(),
                commit: "0123456789ab".to_owned(),
                server: "debug 456789".to_owned(),
                machine: "two cores".to_owned(),
            },
        }
    }

    fn record<const N: usize>(checks: [(&str, Measured); N]) -> Record {
        Record {
            checks: checks.map(|(name, check)| (name.to_owned(), check)).into(),
            ..Record::default()
        }
    }

    fn row(id: &str) -> &'static Row {
        ROWS.iter().find(|row| row.id == id).unwrap()
    }

    #[test]
    fn a_row_is_met_only_when_its_checks_pass_and_its_figures_reach_the_bars() {
        let verdict = |check: Measured| Report::of(&record([("chaos", check)])).verdict(row("15"));
        let said =
            |seconds| format!("chaos: equal states at most {seconds} s after the last fault");
        assert_eq!(verdict(measured(Verdict::Met, &said("29.9"))), Verdict::Met);
        assert_eq!(
            verdict(measured(Verdict::Met, &said("31.0"))),
            Verdict::NotMet
        );
        assert_eq!(verdict(measured(Verdict::Met, "nothing")), Verdict::NotMet);
        assert_eq!(
            verdict(measured(Verdict::Failed, &said("1"))),
            Verdict::Failed
        );
    }

    #[test]
    fn a_row_of_which_checks_are_missing_is_not_met() {
        let verdict = |record: &Record| Report::of(record).verdict(row("1"));
        let said =
            "300 kills of the leader, 300 of all at once, 0 of 1000000 acknowledged writes lost";
        let met = || measured(Verdict::Met, said);
        assert_eq!(verdict(&Record::default()), Verdict::Missing);
        assert_eq!(verdict(&record([("kills", met())])), Verdict::Partly);
        let failed = measured(Verdict::Failed, "lost");
        assert_eq!(verdict(&record([("kills", failed)])), Verdict::Failed);
        let both = record([("kills", met()), ("chaos", measured(Verdict::Met, "-"))]);
        assert_eq!(verdict(&both), Verdict::Met);
    }

    #[test]
    fn every_row_says_when_and_of_what_it_was_measured_or_that_it_was_not() {
        let said = "chaos: equal states at most 1.0 s after the last fault";
        let record = record([("chaos", measured(Verdict::Met, said))]);
        let text = Report::of(&record).text().unwrap();
        let of_row = |id: &str| {
            let start = format!("| {id} |");
            text.lines().find(|line| line.starts_with(&start)).unwrap()
        };
        let origin = "| 7 | 2026-02-03 04:05 UTC of 0123456789ab | met |";
        assert!(of_row("15").ends_with(origin), "{text}");
        assert!(
            of_row("9").ends_with("| 0 |  | not measured yet |"),
            "{text}"
        );
        let details = "`chaos::x` (7 s, seed 9; 2026-02-03 04:05 UTC, commit 0123456789ab, server debug 456789):";
        assert!(text.contains(details), "{text}");
        assert!(
            text.contains("granted_to_the_next`: not measured yet"),
            "{text}"
        );
        assert!(text.contains("\n- two cores\n"), "{text}");
        assert!(text.contains("## Mutants\n\nServers") && text.contains("\nNot measured yet."));
    }

    #[test]
    fn machines_are_named_with_their_checks_when_there_are_several() {
        let mut record = record([
            ("chaos", measured(Verdict::Met, "")),
            ("kills", measured(Verdict::Met, "")),
        ]);
        record.checks.get_mut("kills").unwrap().origin.machine = "one core".to_owned();
        let text = Report::of(&record).text().unwrap();
        assert!(
            text.contains("\n- one core (kills)\n- two cores (chaos)\n"),
            "{text}"
        );
    }
}
