//! All measurements of what is promised, and the report of them.
//!
//! Each test that measures runs alone, at its full length, and what it says with `measured: ` are the
//! figures. A row is met when its tests pass and the figures reach its bars; it is not met when only the
//! figures do not; it has failed when a test has. The report also says what was not run.

mod figures;
mod table;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    debian, machine,
    process::{Ended, run, run_within},
    workspace::Workspace,
};

use figures::reaches;
use table::{CHAOS, CHECKS, Check, ELSEWHERE, Program, ROWS, Row};

/// Minutes of the campaign with faults that overlap, when not said.
const CAMPAIGN: u64 = 60;
/// Longest text that a failed check contributes.
const REASON: usize = 400;

/// What is asked for.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// Numbers of rows; none means all.
    pub(crate) rows: Vec<String>,
    /// Where the report goes instead of `RELIABILITY.md`.
    pub(crate) report: Option<PathBuf>,
    /// Minutes of the campaign.
    pub(crate) minutes: Option<u64>,
    /// What `cargo xtask mutants --report` has written.
    pub(crate) mutants: Option<PathBuf>,
}

/// Measures the rows and writes the report. Returns true when every row is met.
///
/// # Errors
///
/// There is no such row, something cannot be built, or the report cannot be written.
pub(crate) fn measure(workspace: &Workspace, wanted: &Wanted) -> Result<bool> {
    if let Some(unknown) = wanted
        .rows
        .iter()
        .find(|id| ROWS.iter().all(|row| row.id != **id))
    {
        let ids: Vec<_> = ROWS.iter().map(|row| row.id).collect();
        bail!("no row `{unknown}`; there are {}", ids.join(", "));
    }
    let is_wanted =
        |row: &&Row| wanted.rows.is_empty() || wanted.rows.iter().any(|id| id == row.id);
    let rows: Vec<_> = ROWS.iter().filter(is_wanted).collect();
    let mutants = match &wanted.mutants {
        None => None,
        Some(file) => Some(fs::read_to_string(file).with_context(|| file.display().to_string())?),
    };
    let campaign = wanted.minutes.unwrap_or(CAMPAIGN);
    let bench = Laboratory::build(workspace, campaign)?;
    let mut measured = BTreeMap::new();
    for check in &CHECKS {
        let needed = |row: &&Row| row.figures.iter().any(|(name, _)| *name == check.name);
        if rows.iter().any(needed) {
            println!("\n==> {}", check.name);
            let result = bench.run(check)?;
            println!(
                "    {}: {:.0} s",
                result.verdict.shown(),
                result.took.as_secs_f64()
            );
            measured.insert(check.name, result);
        }
    }
    let report = Report {
        rows: &rows,
        measured: &measured,
        campaign,
    };
    let text = report.text(workspace, mutants.as_deref())?;
    let usual = workspace.root().join("RELIABILITY.md");
    let file = wanted.report.as_deref().unwrap_or(&usual);
    fs::write(file, text).with_context(|| file.display().to_string())?;
    println!("\n{}", report.summary()?);
    println!("the report is {}", file.display());
    let met = |row: &&Row| report.verdict(row) == Verdict::Met;
    Ok(rows.iter().all(met))
}

/// What came of a check or a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Met,
    /// Nothing is wrong, and the figures are below the aim.
    NotMet,
    /// This machine cannot do it, or not all of it.
    Skipped,
    Late,
    Failed,
}

impl Verdict {
    const fn shown(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::NotMet => "not met",
            Self::Skipped => "skipped",
            Self::Late => "not in time",
            Self::Failed => "FAILED",
        }
    }
}

/// What a check has said.
#[derive(Debug)]
struct Measured {
    verdict: Verdict,
    took: Duration,
    /// Its figures, or why there are none.
    lines: Vec<String>,
    seeds: Vec<String>,
}

/// What the checks need.
struct Laboratory<'a> {
    workspace: &'a Workspace,
    logs: PathBuf,
    /// Minutes of the campaign.
    campaign: u64,
}

impl<'a> Laboratory<'a> {
    /// Builds the tests and the server that they run.
    fn build(workspace: &'a Workspace, campaign: u64) -> Result<Self> {
        run(workspace.cargo(&["build", "--locked", "--bin", "conclave"]))?;
        let tests = [
            "test",
            "--locked",
            "--package",
            "conclave-tests",
            "--test",
            "it",
            "--no-run",
        ];
        run(workspace.cargo(&tests))?;
        debian::try_libfaketime(workspace);
        let logs = workspace.target().join("reliability");
        fs::create_dir_all(&logs).context("a folder for the logs")?;
        Ok(Self {
            workspace,
            logs,
            campaign,
        })
    }

    /// Runs a check to its end.
    fn run(&self, check: &Check) -> Result<Measured> {
        let mut command = match check.program {
            Program::Test(name) => {
                let start = [
                    "test",
                    "--locked",
                    "--package",
                    "conclave-tests",
                    "--test",
                    "it",
                ];
                let mut cargo = self.workspace.cargo(&start);
                cargo.args(["--", "--exact", name, "--nocapture"]);
                cargo.env("CONCLAVE_BIN", self.workspace.dev_server());
                cargo
            }
            Program::Bench(arguments) => {
                let bins = ["--bin", "conclave", "--bin", "conclave-bench"];
                let mut build = self.workspace.cargo(&["build", "--release", "--locked"]);
                build.args(bins);
                run(build)?;
                let bench = self.workspace.target().join("release/conclave-bench");
                let mut bench = self.workspace.command(bench);
                bench.args(arguments);
                bench
            }
        };
        let mut limit = check.minutes;
        for (name, value) in check.settings {
            if *name == CHAOS {
                // The check's own time is for what the campaign takes beside its length.
                limit += self.campaign;
                command.env(name, (60 * self.campaign).to_string());
            } else {
                command.env(name, value);
            }
        }
        let log = self
            .logs
            .join(format!("{}.log", check.name.replace(' ', "-")));
        let began = Instant::now();
        let ended = run_within(command, &log, Duration::from_secs(60 * limit))?;
        let took = began.elapsed();
        let said = fs::read(&log).context("a check's log")?;
        let said = String::from_utf8_lossy(&said);
        if matches!(check.program, Program::Test(_)) && !said.contains("running 1 test") {
            bail!("{} has run no test: {}", check.name, log.display());
        }
        Ok(judge(check, ended, &said, took))
    }
}

/// Returns what a check's log says.
fn judge(check: &Check, ended: Ended, said: &str, took: Duration) -> Measured {
    let after = |start: &str| -> Vec<String> {
        let lines = said.lines().filter_map(|line| line.strip_prefix(start));
        lines.map(str::to_owned).collect()
    };
    let skipped = after("skipped: ");
    let (verdict, lines) = match ended {
        Ended::Late => (Verdict::Late, vec!["it was ended".to_owned()]),
        Ended::Badly => (Verdict::Failed, vec![reason(said)]),
        Ended::Well if !skipped.is_empty() => (Verdict::Skipped, skipped),
        Ended::Well => match check.program {
            Program::Test(_) => (Verdict::Met, after("measured: ")),
            Program::Bench(_) => (Verdict::Met, said.lines().map(str::to_owned).collect()),
        },
    };
    let mut seeds = after("CONCLAVE_TEST_SEED=");
    seeds.dedup();
    Measured {
        verdict,
        took,
        lines,
        seeds,
    }
}

/// Returns the beginning of what a failed test complains of.
fn reason(said: &str) -> String {
    let mut lines = said.lines();
    let panicked = lines.any(|line| line.contains("panicked at"));
    let rest = lines.take(3).collect::<Vec<_>>().join(" ");
    match panicked {
        true => rest.chars().take(REASON).collect(),
        false => "it has ended without saying why".to_owned(),
    }
}

/// The report of some rows.
struct Report<'a> {
    rows: &'a [&'a Row],
    measured: &'a BTreeMap<&'static str, Measured>,
    campaign: u64,
}

impl Report<'_> {
    fn text(&self, workspace: &Workspace, mutants: Option<&str>) -> Result<String> {
        let mut text = String::from("# What was measured\n\n");
        text.push_str("Written by `cargo xtask reliability`; every figure is what a test of `tests/it` or the bench\n");
        text.push_str("said in that run. A row is *met* when its tests passed and the figures reach what was aimed\n");
        text.push_str("at, *not met* when the tests passed and the figures do not.\n\n");
        text.push_str(&machine::describe(workspace));
        write!(text, "\n{}", self.summary()?)?;
        for row in self.rows {
            self.details(row, &mut text)?;
        }
        self.absent(&mut text)?;
        if let Some(mutants) = mutants {
            let table = mutants.trim_start_matches("# Mutants").trim();
            write!(
                text,
                "\n## Mutants\n\nServers with a defect each, and the tests that noticed it.\n\n{table}\n"
            )?;
        }
        Ok(text)
    }

    /// Returns the table.
    fn summary(&self) -> Result<String> {
        let mut text = String::from("| # | promise | aim | s | |\n|---|---|---|---:|---|\n");
        for row in self.rows {
            let checks = row
                .figures
                .iter()
                .filter_map(|(name, _)| self.measured.get(name));
            let took: Duration = checks.map(|check| check.took).sum();
            writeln!(
                text,
                "| {} | {} | {} | {:.0} | {} |",
                row.id,
                row.promise,
                row.aim,
                took.as_secs_f64(),
                self.verdict(row).shown()
            )?;
        }
        Ok(text)
    }

    fn verdict(&self, row: &Row) -> Verdict {
        let checks = row
            .figures
            .iter()
            .filter_map(|(name, _)| self.measured.get(name));
        let worst = checks.map(|check| check.verdict).max();
        let lines: Vec<_> = row
            .figures
            .iter()
            .flat_map(|(name, words)| self.lines(name, words))
            .collect();
        match worst.unwrap_or(Verdict::Skipped) {
            Verdict::Met if row.bars.iter().all(|bar| reaches(*bar, &lines)) => Verdict::Met,
            Verdict::Met => Verdict::NotMet,
            worst => worst,
        }
    }

    /// Returns the lines of a check that a row wants; all when they are no figures.
    fn lines(&self, check: &str, words: &[&str]) -> Vec<&str> {
        let Some(measured) = self.measured.get(check) else {
            return Vec::new();
        };
        let all = measured.lines.iter().map(String::as_str);
        let is_wanted = |line: &&str| {
            measured.verdict != Verdict::Met || words.iter().any(|word| line.contains(word))
        };
        all.filter(is_wanted).collect()
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
            let Some(measured) = self.measured.get(name) else {
                continue;
            };
            write!(text, "\n{}", self.command(check))?;
            let seeds = match measured.seeds.is_empty() {
                true => String::new(),
                false => format!(", seed {}", measured.seeds.join(", ")),
            };
            writeln!(text, " ({:.0} s{seeds}):\n", measured.took.as_secs_f64())?;
            for line in self.lines(name, words) {
                match line.starts_with('|') {
                    true => writeln!(text, "    {line}")?,
                    false => writeln!(text, "- {line}")?,
                }
            }
        }
        Ok(())
    }

    /// Returns what a check has run.
    fn command(&self, check: &Check) -> String {
        let mut shown = String::from("`");
        for (name, value) in check.settings {
            let campaign = (60 * self.campaign).to_string();
            let value = if *name == CHAOS { &campaign } else { *value };
            shown.push_str(&format!("{name}={value} "));
        }
        match check.program {
            Program::Test(name) => shown.push_str(name),
            Program::Bench(arguments) => {
                shown.push_str(&format!("conclave-bench {}", arguments.join(" ")));
            }
        }
        shown.push('`');
        shown
    }

    /// Says what was not run.
    fn absent(&self, text: &mut String) -> Result<()> {
        text.push_str("\n## Not run\n\n");
        for row in &ROWS {
            if self.rows.iter().all(|run| run.id != row.id) {
                writeln!(text, "- {}. {}: not asked for", row.id, row.promise)?;
            }
        }
        for (id, promise, place) in ELSEWHERE {
            writeln!(text, "- {id}. {promise}: {place}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_names_checks_that_there_are_and_every_check_is_named() {
        let mut named = Vec::new();
        for (name, _) in ROWS.iter().flat_map(|row| row.figures) {
            assert!(CHECKS.iter().any(|check| check.name == *name), "{name}");
            named.push(*name);
        }
        for check in &CHECKS {
            assert!(named.contains(&check.name), "{}", check.name);
        }
    }

    fn measured(verdict: Verdict, line: &str) -> Measured {
        Measured {
            verdict,
            took: Duration::from_secs(7),
            lines: vec![line.to_owned()],
            seeds: vec!["9".to_owned()],
        }
    }

    #[test]
    fn a_row_is_met_only_when_its_checks_pass_and_its_figures_reach_the_bars() {
        let row = ROWS.iter().find(|row| row.id == "15").unwrap();
        let verdict = |check: Measured| {
            let report = Report {
                rows: &[row],
                measured: &[("chaos", check)].into(),
                campaign: 1,
            };
            let mut text = report.summary().unwrap();
            report.details(row, &mut text).unwrap();
            report.absent(&mut text).unwrap();
            assert!(text.contains("- 14. five nodes"), "{text}");
            assert!(
                text.contains("CONCLAVE_TEST_CHAOS_SECONDS=60 chaos::"),
                "{text}"
            );
            report.verdict(row)
        };
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
    fn a_log_says_figures_seeds_and_why_it_failed() {
        let check = &CHECKS[0];
        let said = "running 1 test\nCONCLAVE_TEST_SEED=5\n\nmeasured: a 1\n\nthread 'x' panicked at y:\nlost\nb\nc\nd";
        let well = judge(check, Ended::Well, said, Duration::ZERO);
        assert_eq!(
            (well.lines, well.seeds),
            (vec!["a 1".to_owned()], vec!["5".to_owned()])
        );
        let badly = judge(check, Ended::Badly, said, Duration::ZERO);
        assert_eq!(badly.lines, ["lost b c"]);
        let skipped = judge(check, Ended::Well, "skipped: no root", Duration::ZERO);
        assert_eq!(skipped.verdict, Verdict::Skipped);
    }
}
