//! Servers with a defect each, and whether the tests notice it.
//!
//! A mutant is caught when its check fails with the words that it should fail with, within its time,
//! and passes without the mutant on the same binary. A check that passes by luck is tried again while
//! there is time.

mod table;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    machine,
    process::{Ended, run, run_within},
    workspace::Workspace,
};

use table::{MUTANTS, Mutant};

/// Chooses the defect of a server that was built with the feature.
const CHOICE: &str = "CONCLAVE_MUTANT";
/// Longest time of a check without a mutant.
const CONTROL: Duration = Duration::from_secs(600);

/// Runs the mutants named in `ids`, or all, prints what caught them, and writes that to `report`.
/// Returns true when all are caught.
///
/// # Errors
///
/// When there is no such mutant, something cannot be built, or the report cannot be written.
pub(crate) fn hunt(workspace: &Workspace, ids: &[String], report: Option<&Path>) -> Result<bool> {
    if let Some(unknown) = ids
        .iter()
        .find(|id| MUTANTS.iter().all(|mutant| mutant.id != **id))
    {
        bail!("no mutant `{unknown}`: there are M1 to M{}", MUTANTS.len());
    }
    let range = Range::build(workspace)?;
    let wanted = |mutant: &&Mutant| ids.is_empty() || ids.iter().any(|id| id == mutant.id);
    let mutants: Vec<_> = MUTANTS.iter().filter(wanted).collect();
    let mut table =
        String::from("| | what is wrong | caught by | seconds | |\n|---|---|---|---|---|\n");
    let (mut controls, mut caught) = (BTreeMap::new(), 0);
    for mutant in &mutants {
        println!("\n==> {}: {}", mutant.id, mutant.what);
        let (verdict, took) = range.judge(mutant, &mut controls)?;
        caught += usize::from(verdict == Verdict::Caught);
        let seconds = took.as_secs_f64();
        let row = format!(
            "| {} | {} | `{}` | {seconds:.1} of {} | {} |",
            mutant.id,
            mutant.what,
            mutant.check,
            mutant.budget,
            verdict.shown()
        );
        println!("    {row}");
        writeln!(table, "{row}").context("a row")?;
    }
    let end = format!("{caught} of {} caught", mutants.len());
    println!("\n{table}\n{end}");
    if let Some(report) = report {
        let origin = machine::describe(workspace);
        let text = format!("# Mutants\n\n{origin}\n{table}\n{end}\n");
        fs::write(report, text).with_context(|| report.display().to_string())?;
    }
    Ok(caught == mutants.len())
}

/// What came of a mutant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Caught,
    /// The check has not failed.
    Missed,
    /// It failed, and for another reason.
    OtherWords,
    Late,
    /// This machine cannot run the check.
    Skipped,
    /// The check fails without the mutant too.
    Broken,
}

impl Verdict {
    const fn shown(self) -> &'static str {
        match self {
            Self::Caught => "caught",
            Self::Missed => "MISSED",
            Self::OtherWords => "FAILED OTHERWISE",
            Self::Late => "NOT IN TIME",
            Self::Skipped => "SKIPPED",
            Self::Broken => "FAILS WITHOUT IT",
        }
    }
}

/// The binaries, and where their output goes.
struct Range<'a> {
    workspace: &'a Workspace,
    server: PathBuf,
    logs: PathBuf,
    /// A failed test leaves the files of its nodes: here, and only until the next one.
    scratch: PathBuf,
}

impl<'a> Range<'a> {
    /// Builds the tests, and beside the usual server one with the feature.
    fn build(workspace: &'a Workspace) -> Result<Self> {
        let target = workspace.target().join("mutants");
        let mut cargo = workspace.cargo(&["build", "--locked", "--package", "conclave-server"]);
        cargo
            .args(["--bin", "conclave", "--features", "mutants", "--target-dir"])
            .arg(&target);
        run(cargo)?;
        run(workspace.cargo(&[
            "test",
            "--locked",
            "--package",
            "conclave-tests",
            "--test",
            "it",
            "--no-run",
        ]))?;
        let logs = target.join("logs");
        fs::create_dir_all(&logs).context("a folder for the logs")?;
        Ok(Self {
            workspace,
            server: target.join("debug/conclave"),
            logs,
            scratch: target.join("tmp"),
        })
    }

    /// Runs a mutant's check with it and, unless `controls` knows already, without it.
    fn judge(
        &self,
        mutant: &Mutant,
        controls: &mut BTreeMap<&'static str, Verdict>,
    ) -> Result<(Verdict, Duration)> {
        let began = Instant::now();
        let budget = Duration::from_secs(mutant.budget);
        let mut verdict = Verdict::Missed;
        while verdict == Verdict::Missed && began.elapsed() < budget {
            let left = budget.saturating_sub(began.elapsed());
            verdict = self.run(mutant, mutant.id, left)?;
        }
        let took = began.elapsed();
        if verdict != Verdict::Caught {
            return Ok((verdict, took));
        }
        let control = match controls.get(mutant.check) {
            Some(known) => *known,
            None => self.run(mutant, "", CONTROL)?,
        };
        controls.insert(mutant.check, control);
        Ok(match control {
            Verdict::Missed => (Verdict::Caught, took),
            _ => (Verdict::Broken, took),
        })
    }

    /// Runs a mutant's check once, on the server with the defect of that name or with none.
    fn run(&self, mutant: &Mutant, choice: &str, limit: Duration) -> Result<Verdict> {
        let mut cargo = self.workspace.cargo(&["test", "--locked", "--package"]);
        cargo
            .args(["conclave-tests", "--test", "it", "--", "--exact"])
            .args([mutant.check, "--nocapture"])
            .env("CONCLAVE_BIN", &self.server)
            .env("TMPDIR", &self.scratch)
            .env(CHOICE, choice);
        let with = if choice.is_empty() { "without" } else { "with" };
        let log = self.logs.join(format!("{}-{with}.log", mutant.id));
        fs::create_dir_all(&self.scratch).context("a folder for the nodes")?;
        let ended = run_within(cargo, &log, limit)?;
        // What was killed may still have its disks in there.
        drop(fs::remove_dir_all(&self.scratch));
        let said = fs::read(&log).context("a check's log")?;
        let said = String::from_utf8_lossy(&said);
        let has_run = said.contains("running 1 test");
        Ok(match ended {
            Ended::Late => Verdict::Late,
            Ended::Well if !has_run => bail!("no test `{}`", mutant.check),
            Ended::Well if said.lines().any(|line| line.starts_with("skipped: ")) => {
                Verdict::Skipped
            }
            Ended::Well => Verdict::Missed,
            Ended::Badly if has_run && said.contains(mutant.words) => Verdict::Caught,
            Ended::Badly => Verdict::OtherWords,
        })
    }
}
