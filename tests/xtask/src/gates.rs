//! The gates, in order: what `cargo xtask test` and CI check.
//!
//! A step that fails does not stop the next one: one run says everything that is wrong.

use std::{fs, process::Command, thread, time::Instant};

use anyhow::{Context, Result, bail};

use crate::{
    browser, dashboard, debian,
    process::{run as run_it, run_reading},
    report::{Report, Tally},
    tools::WASM,
    workspace::Workspace,
};

/// A step: its name for `--only`, what it checks, and how.
struct Step {
    name: &'static str,
    title: &'static str,
    check: fn(&Workspace) -> Result<Tally>,
}

/// The steps. The dashboard comes before everything that compiles the server, which embeds it.
const STEPS: [Step; 12] = [
    Step {
        name: "fmt",
        title: "formatting",
        check: fmt,
    },
    Step {
        name: "dashboard",
        title: "dashboard: build and size",
        check: build_dashboard,
    },
    Step {
        name: "clippy",
        title: "lints",
        check: clippy,
    },
    Step {
        name: "clippy-ui",
        title: "lints of the dashboard",
        check: clippy_ui,
    },
    Step {
        name: "build",
        title: "server",
        check: build,
    },
    Step {
        name: "test",
        title: "tests",
        check: test,
    },
    Step {
        name: "clippy-simulation",
        title: "lints of the simulation",
        check: clippy_simulation,
    },
    Step {
        name: "simulation",
        title: "simulated clusters, by seed",
        check: simulation,
    },
    Step {
        name: "doc",
        title: "documentation",
        check: doc,
    },
    Step {
        name: "doc-ui",
        title: "documentation of the dashboard",
        check: doc_ui,
    },
    Step {
        name: "browser",
        title: "browser tests",
        check: browser::test,
    },
    Step {
        name: "lock",
        title: "Cargo.lock is complete",
        check: lock,
    },
];

/// Runs the steps named in `only`, or all, and prints what they found.
///
/// # Errors
///
/// When `only` names an unknown step or the lock cannot be read. A failed step is in the report.
pub(crate) fn run(workspace: &Workspace, only: &[String]) -> Result<Report> {
    if let Some(unknown) = only
        .iter()
        .find(|name| STEPS.iter().all(|step| step.name != **name))
    {
        let names: Vec<_> = STEPS.iter().map(|step| step.name).collect();
        bail!("no step `{unknown}`; there are {}", names.join(", "));
    }
    let mut report = Report::default();
    for step in &STEPS {
        if !only.is_empty() && only.iter().all(|name| name != step.name) {
            continue;
        }
        println!("\n==> {}: {}", step.name, step.title);
        let begin = Instant::now();
        let tally = (step.check)(workspace).unwrap_or_else(|error| {
            println!("    {error:#}");
            Tally::FAIL
        });
        report.note(step.name, tally, begin.elapsed());
        println!(
            "    {} took {:.1} s",
            step.name,
            begin.elapsed().as_secs_f64()
        );
    }
    println!("\n{report}");
    Ok(report)
}

fn fmt(workspace: &Workspace) -> Result<Tally> {
    pass(workspace.cargo(&["fmt", "--all", "--check"]))
}

fn build_dashboard(workspace: &Workspace) -> Result<Tally> {
    dashboard::build(workspace)?;
    dashboard::check_size(workspace)?;
    Ok(Tally::PASS)
}

fn clippy(workspace: &Workspace) -> Result<Tally> {
    let deny = [
        "clippy",
        "--locked",
        "--workspace",
        "--all-targets",
        "--",
        "-Dwarnings",
    ];
    pass(workspace.cargo(&deny))
}

/// On the host the dashboard is its logic only: its pages exist for the browser's target, and with
/// the feature that releases have.
fn clippy_ui(workspace: &Workspace) -> Result<Tally> {
    let package = [
        "clippy",
        "--locked",
        "--package",
        "conclave-ui",
        "--features",
        "split",
        "--target",
        WASM,
    ];
    let mut cargo = workspace.cargo(&package);
    cargo.args(["--", "-Dwarnings"]);
    pass(cargo)
}

fn build(workspace: &Workspace) -> Result<Tally> {
    pass(workspace.cargo(&["build", "--locked", "--bin", "conclave"]))
}

/// Tests that run at a time, beyond one for each core: most wait most of the time, for elections and
/// deadlines, and leave two thirds of two cores idle.
const MORE_TESTS: usize = 1;

fn test(workspace: &Workspace) -> Result<Tally> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let mut cargo = workspace.cargo(&["test", "--locked", "--workspace", "--no-fail-fast"]);
    cargo.env("CONCLAVE_BIN", workspace.dev_server());
    cargo.env("RUST_TEST_THREADS", (cores + MORE_TESTS).to_string());
    debian::try_libfaketime(workspace);
    Ok(count_tests(cargo))
}

/// The arguments that name the simulation, whose feature makes another program of the server.
pub(crate) const SIMULATION: [&str; 7] = [
    "--locked",
    "--package",
    "conclave-server",
    "--features",
    "simulation",
    "--example",
    "simulation",
];

fn clippy_simulation(workspace: &Workspace) -> Result<Tally> {
    let mut cargo = workspace.cargo(&["clippy"]);
    cargo.args(SIMULATION).args(["--", "-Dwarnings"]);
    pass(cargo)
}

fn simulation(workspace: &Workspace) -> Result<Tally> {
    let mut cargo = workspace.cargo(&["test"]);
    cargo.args(SIMULATION).args(["--", "--nocapture"]);
    Ok(count_tests(cargo))
}

/// Runs tests and counts them by what they print.
fn count_tests(cargo: Command) -> Tally {
    let mut tally = Tally::default();
    let mut skipped = Tally::default();
    let ended = run_reading(cargo, |line| {
        tally.read_cargo(line);
        skipped.read_skipped(line);
    });
    let mut tally = tally.without_skipped(skipped);
    // A crate that does not compile has no failed test, and no test at all is no success either.
    if tally.failed == 0 && (ended.is_err() || tally.passed == 0) {
        tally.failed = 1;
    }
    tally
}

fn doc(workspace: &Workspace) -> Result<Tally> {
    pass(doc_of(
        workspace,
        &["--workspace", "--exclude", "conclave-ui"],
    ))
}

fn doc_ui(workspace: &Workspace) -> Result<Tally> {
    pass(doc_of(
        workspace,
        &["--package", "conclave-ui", "--lib", "--target", WASM],
    ))
}

fn doc_of(workspace: &Workspace, packages: &[&str]) -> Command {
    let mut cargo = workspace.cargo(&["doc", "--locked", "--no-deps", "--document-private-items"]);
    cargo.args(packages).env("RUSTDOCFLAGS", "-Dwarnings");
    cargo
}

/// Every step above is `--locked`; this says which file is wrong when the lock misses a package.
fn lock(workspace: &Workspace) -> Result<Tally> {
    let path = workspace.root().join("Cargo.lock");
    let before = fs::read(&path).context("Cargo.lock")?;
    pass(workspace.cargo(&["tree", "--locked", "--workspace", "--depth", "0"]))?;
    if fs::read(&path).context("Cargo.lock")? != before {
        bail!("Cargo.lock changed: commit it");
    }
    Ok(Tally::PASS)
}

fn pass(command: Command) -> Result<Tally> {
    run_it(command)?;
    Ok(Tally::PASS)
}
