//! All measurements of what is promised, and the report of them.
//!
//! Each test that measures runs alone, at its full length, and what it says with `measured: ` are the
//! figures. A row is met when its tests pass and the figures reach its bars; it is not met when only the
//! figures do not; it has failed when a test has. The report keeps what earlier runs measured, and says
//! of each figure when and of what it is; it also says what was not run.

mod figures;
mod findings;
mod record;
mod render;
mod table;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    debian,
    gates::SIMULATION,
    machine,
    process::{Ended, run, run_within},
    workspace::Workspace,
};

use record::{Measured, Origin, Record};
use render::Report;
use table::{CHAOS, CHECKS, Check, Program, ROWS, is_figure};

/// Minutes of the campaign with faults that overlap, when not said.
const CAMPAIGN: u64 = 60;
/// Longest text that a failed check contributes.
const REASON: usize = 400;
/// The test of the simulation that runs seeds.
const SEEDS: &str = "every_promise_holds_for_every_seed";
/// Asks for no check: the report is written anew from what it has.
const NONE: &str = "none";

/// What is asked for.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// Numbers of rows and names of checks; none means all.
    pub(crate) rows: Vec<String>,
    /// Where the report is instead of `RELIABILITY.md`.
    pub(crate) report: Option<PathBuf>,
    /// Minutes of the campaign.
    pub(crate) minutes: Option<u64>,
    /// What `cargo xtask mutants --report` has written.
    pub(crate) mutants: Option<PathBuf>,
    /// The tests measure the server's release build, which has no assertions for debugging.
    pub(crate) release: bool,
}

/// Measures the rows and writes the report, after each check, with what it has from earlier runs.
/// Returns true when every check passes and every row that is asked for is met.
///
/// # Errors
///
/// There is no such row or check, something cannot be built, the report cannot be written, or there is
/// one that this command has not written as it is.
pub(crate) fn measure(workspace: &Workspace, wanted: &Wanted) -> Result<bool> {
    let checks = chosen(&wanted.rows)?;
    let usual = workspace.root().join("RELIABILITY.md");
    let file = wanted.report.as_deref().unwrap_or(&usual);
    let mut record = Record::read(file)?;
    let is_known = |name: &str| CHECKS.iter().any(|check| check.name == name);
    record.checks.retain(|name, _| {
        let is_known = is_known(name);
        if !is_known {
            println!("the report has figures of `{name}`, which is no check any more: left out");
        }
        is_known
    });
    if let Some(mutants) = &wanted.mutants {
        record.mutants = table_of_mutants(mutants)?;
    }
    record.write(&Report::of(&record).text()?, file)?;
    let mut all_pass = true;
    if !checks.is_empty() {
        let campaign = wanted.minutes.unwrap_or(CAMPAIGN);
        let laboratory = Laboratory::build(workspace, campaign, wanted.release)?;
        for check in checks {
            println!("\n==> {}", check.name);
            let measured = laboratory.run(check)?;
            let seconds = measured.took.as_secs_f64();
            println!("    {}: {seconds:.0} s", measured.verdict.shown());
            all_pass &= measured.verdict == Verdict::Met;
            // Another run of this command may have written meanwhile.
            record = Record::read(file)?;
            record.checks.insert(check.name.to_owned(), measured);
            // Whatever becomes of the next one, this is kept.
            record.write(&Report::of(&record).text()?, file)?;
        }
    }
    let report = Report::of(&record);
    println!("\n{}", report.summary()?);
    println!("the report is {}", file.display());
    let mut rows = ROWS.iter().filter(|row| is_asked(&wanted.rows, row.id));
    Ok(all_pass && rows.all(|row| report.verdict(row) == Verdict::Met))
}

/// Returns the checks of rows and the checks of these names, in the order in which they run.
///
/// # Errors
///
/// There is no such row and no such check.
fn chosen(words: &[String]) -> Result<Vec<&'static Check>> {
    let is_row = |word: &str| ROWS.iter().any(|row| row.id == word);
    let is_check = |word: &str| CHECKS.iter().any(|check| check.name == word);
    let unknown = |word: &&String| !is_row(word) && !is_check(word) && *word != NONE;
    if let Some(unknown) = words.iter().find(unknown) {
        let rows: Vec<_> = ROWS.iter().map(|row| row.id).collect();
        let checks: Vec<_> = CHECKS.iter().map(|check| check.name).collect();
        bail!(
            "no row and no check `{unknown}`; there are the rows {} and the checks {}",
            rows.join(", "),
            checks.join(", ")
        );
    }
    let is_wanted = |check: &&Check| {
        let mut rows = ROWS.iter().filter(|row| is_asked(words, row.id));
        is_asked(words, check.name) || rows.any(|row| row.needs(check.name))
    };
    Ok(CHECKS.iter().filter(is_wanted).collect())
}

fn is_asked(words: &[String], word: &str) -> bool {
    words.is_empty() || words.iter().any(|asked| asked == word)
}

/// Returns the lines of what `cargo xtask mutants --report` has written, without its heading.
fn table_of_mutants(file: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let table = text.trim_start_matches("# Mutants").trim();
    Ok(table.lines().map(str::to_owned).collect())
}

/// What came of a check or a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Met,
    /// Nothing is wrong, and the figures are below the aim.
    NotMet,
    /// This machine cannot do it, or not all of it.
    Skipped,
    /// Some checks of the row have never run.
    Partly,
    /// None has.
    Missing,
    Late,
    Failed,
}

impl Verdict {
    /// Those that a check has.
    const OF_CHECKS: [Self; 4] = [Self::Met, Self::Skipped, Self::Late, Self::Failed];

    const fn shown(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::NotMet => "not met",
            Self::Skipped => "skipped",
            Self::Partly => "measured in part",
            Self::Missing => "not measured yet",
            Self::Late => "not in time",
            Self::Failed => "FAILED",
        }
    }
}

/// What the checks need.
struct Laboratory<'a> {
    workspace: &'a Workspace,
    /// What the tests measure.
    server: PathBuf,
    logs: PathBuf,
    /// Minutes of the campaign.
    campaign: u64,
}

impl<'a> Laboratory<'a> {
    /// Builds the tests and the server that they run.
    fn build(workspace: &'a Workspace, campaign: u64, release: bool) -> Result<Self> {
        let mut build = workspace.cargo(&["build", "--locked", "--bin", "conclave"]);
        let server = if release {
            build.arg("--release");
            workspace.release_server()
        } else {
            workspace.dev_server()
        };
        run(build)?;
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
            server,
            logs,
            campaign,
        })
    }

    /// Runs a check to its end.
    fn run(&self, check: &Check) -> Result<Measured> {
        let (mut command, server) = self.program(check)?;
        let mut limit = check.minutes;
        for (name, value) in settings(check, self.campaign) {
            command.env(name, value);
            if name == CHAOS {
                // The check's own time is for what the campaign takes beside its length.
                limit += self.campaign;
            }
        }
        let origin = Origin {
            command: shown(check, self.campaign),
            date: machine::date(self.workspace),
            commit: machine::commit(self.workspace),
            server: machine::build(self.workspace, &server),
            machine: machine::hardware(self.workspace),
        };
        let log = self
            .logs
            .join(format!("{}.log", check.name.replace(' ', "-")));
        let began = Instant::now();
        let ended = run_within(command, &log, Duration::from_secs(60 * limit))?;
        let took = began.elapsed();
        let said = fs::read(&log).context("a check's log")?;
        let said = String::from_utf8_lossy(&said);
        let is_test = matches!(check.program, Program::Test(_) | Program::Simulation);
        if is_test && !said.contains("running 1 test") {
            bail!("{} has run no test: {}", check.name, log.display());
        }
        let mut measured = judge(check, ended, &said);
        if measured.verdict == Verdict::Met {
            measured.lines.retain(|line| is_figure(check.name, line));
        }
        Ok(Measured {
            took,
            origin,
            ..measured
        })
    }

    /// Returns what a check runs, and the server that it measures. The bench is built first.
    fn program(&self, check: &Check) -> Result<(Command, PathBuf)> {
        match check.program {
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
                cargo.env("CONCLAVE_BIN", &self.server);
                Ok((cargo, self.server.clone()))
            }
            Program::Simulation => {
                let mut cargo = self.workspace.cargo(&["test"]);
                cargo.args(SIMULATION).args(["--", "--nocapture", SEEDS]);
                Ok((cargo, self.workspace.dev_server()))
            }
            Program::Bench(arguments) => {
                let bins = ["--bin", "conclave", "--bin", "conclave-bench"];
                let mut build = self.workspace.cargo(&["build", "--release", "--locked"]);
                build.args(bins);
                run(build)?;
                let server = self.workspace.release_server();
                let mut bench = self
                    .workspace
                    .command(server.with_file_name("conclave-bench"));
                bench.args(arguments);
                Ok((bench, server))
            }
        }
    }
}

/// Returns what makes a check long: the campaign in seconds, and the others as the table has them.
fn settings(check: &Check, campaign: u64) -> impl Iterator<Item = (&'static str, String)> {
    check.settings.iter().map(move |(name, value)| {
        let is_campaign = *name == CHAOS;
        let seconds = is_campaign.then(|| (60 * campaign).to_string());
        (*name, seconds.unwrap_or_else(|| (*value).to_owned()))
    })
}

/// Returns what a check runs, for a reader.
fn shown(check: &Check, campaign: u64) -> String {
    let mut words: Vec<_> = settings(check, campaign)
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    match check.program {
        Program::Test(name) => words.push(name.to_owned()),
        Program::Simulation => words.push("cargo xtask test --only simulation".to_owned()),
        Program::Bench(arguments) => words.push(format!("conclave-bench {}", arguments.join(" "))),
    }
    format!("`{}`", words.join(" "))
}

/// Returns what a check's log says. How long it took, and where, is not in it.
fn judge(check: &Check, ended: Ended, said: &str) -> Measured {
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
            Program::Test(_) | Program::Simulation => (Verdict::Met, after("measured: ")),
            Program::Bench(_) => (Verdict::Met, said.lines().map(str::to_owned).collect()),
        },
    };
    let mut seeds = after("CONCLAVE_TEST_SEED=");
    seeds.dedup();
    Measured {
        verdict,
        took: Duration::ZERO,
        lines,
        seeds,
        origin: Origin::default(),
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

    #[test]
    fn checks_are_asked_for_by_their_rows_or_by_name() {
        let names = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(|&word| word.to_owned()).collect();
            let checks = chosen(&words).map_err(|error| error.to_string());
            checks.map(|checks| checks.iter().map(|check| check.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&[]).map(|all| all.len()), Ok(CHECKS.len()));
        assert_eq!(names(&[NONE]), Ok(vec![]));
        assert_eq!(names(&["1"]), Ok(vec!["chaos", "kills"]));
        assert_eq!(
            names(&["kills", "2"]),
            Ok(vec!["kills", "cuts of one", "cuts of all"])
        );
        let unknown = names(&["1", "99"]).unwrap_err();
        assert!(
            unknown.contains("`99`") && unknown.contains("cuts of one"),
            "{unknown}"
        );
    }

    #[test]
    fn a_command_shows_its_settings() {
        let check = CHECKS.iter().find(|check| check.name == "chaos").unwrap();
        let shown = shown(check, 2);
        assert!(
            shown.starts_with("`CONCLAVE_TEST_CHAOS_SECONDS=120 chaos::"),
            "{shown}"
        );
    }

    #[test]
    fn a_log_says_figures_seeds_and_why_it_failed() {
        let check = &CHECKS[0];
        let said = "running 1 test\nCONCLAVE_TEST_SEED=5\n\nmeasured: a 1\n\nthread 'x' panicked at y:\nlost\nb\nc\nd";
        let well = judge(check, Ended::Well, said);
        assert_eq!(
            (well.lines, well.seeds),
            (vec!["a 1".to_owned()], vec!["5".to_owned()])
        );
        let badly = judge(check, Ended::Badly, said);
        assert_eq!(badly.lines, ["lost b c"]);
        let skipped = judge(check, Ended::Well, "skipped: no root");
        assert_eq!(skipped.verdict, Verdict::Skipped);
    }
}
