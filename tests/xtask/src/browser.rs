//! The browser tests: Debian's Chromium driven by playwright-core under `node --test`; and the
//! pictures of the dashboard, which come from the same clusters and the same browser.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    dashboard, debian,
    process::{run, run_reading, which},
    report::Tally,
    workspace::Workspace,
};

/// Test files at a time. Each has a browser and up to three nodes of its own.
const FILES_AT_ONCE: &str = "--test-concurrency=2";
/// Longest time of a test, and of a file, milliseconds: nothing may keep the gates waiting.
const TIMEOUT: &str = "--test-timeout=300000";
/// One file at a time.
const ALONE: &str = "--test-concurrency=1";
/// Names a folder from which the pages come instead of from the nodes.
const DIST: &str = "CONCLAVE_UI_DIST";

/// Runs all browser tests against the server binary of the dev profile and the pages in it.
///
/// # Errors
///
/// When Chromium or the npm packages cannot be had; a failed test is a count, not an error.
pub(crate) fn test(workspace: &Workspace) -> Result<Tally> {
    run_tests(workspace, &[], Pages::OfTheServer)
}

/// Builds what the tests need and runs those whose file names contain one of `names`, or all. The
/// dashboard is not built when the environment says where its files are.
///
/// # Errors
///
/// When something cannot be had or built, or a test fails.
pub(crate) fn test_files_named(workspace: &Workspace, names: &[String]) -> Result<()> {
    build(workspace)?;
    let tally = run_tests(workspace, names, Pages::OfTheEnvironment)?;
    if tally.failed > 0 || tally.passed == 0 {
        bail!("{} passed, {} failed", tally.passed, tally.failed);
    }
    Ok(())
}

/// Builds what the pictures show and takes them; `arguments` are those of `shots.mjs`.
///
/// # Errors
///
/// When something cannot be had or built, or a picture cannot be taken.
pub(crate) fn shots(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    build(workspace)?;
    let mut node = node(workspace)?;
    node.arg("shots.mjs").args(arguments);
    if arguments.iter().all(|argument| argument.starts_with("--")) {
        let is_for_readme = arguments.iter().any(|argument| argument == "--readme");
        node.arg(if is_for_readme {
            workspace.root().join("assets/screenshots")
        } else {
            workspace.target().join("shots")
        });
    }
    run(node)
}

fn build(workspace: &Workspace) -> Result<()> {
    if env::var_os(DIST).is_none() {
        dashboard::build(workspace)?;
    }
    run(workspace.cargo(&["build", "--locked", "--bin", "conclave"]))
}

/// Returns a node.js that finds the packages, the browser and the server.
fn node(workspace: &Workspace) -> Result<Command> {
    let chromium = chromium(workspace)?;
    let folder = folder(workspace);
    packages(workspace, &folder)?;
    let mut node = workspace.command("node");
    node.current_dir(&folder)
        .env("CONCLAVE_BIN", workspace.dev_server())
        .env("CONCLAVE_CHROMIUM", chromium);
    Ok(node)
}

/// Runs the tests, and those files once more, alone, in which one failed: a machine of two cores that
/// runs two browsers and six nodes is late now and then. A test that fails twice has failed; one that
/// fails once is counted as passed, and named as unsteady where everybody looks.
fn run_tests(workspace: &Workspace, names: &[String], pages: Pages) -> Result<Tally> {
    let mut files = test_files(&folder(workspace))?;
    files.retain(|file| names.is_empty() || names.iter().any(|name| file.contains(name.as_str())));
    if files.is_empty() {
        bail!(
            "no test file of tests/browser is named like {}",
            names.join(" or ")
        );
    }
    let first = run_files(pages.node(workspace)?, workspace, FILES_AT_ONCE, &files)?;
    if first.tally.failed == 0 || first.files.is_empty() {
        return Ok(first.tally);
    }
    println!("    once more, alone: {}", first.files.join(" "));
    let again = run_files(pages.node(workspace)?, workspace, ALONE, &first.files)?;
    if again.tally.failed > 0 {
        return Ok(first.tally);
    }
    let Tally {
        passed,
        failed,
        skipped,
    } = first.tally;
    println!(
        "    UNSTEADY: {failed} failed above and passed alone, in {}",
        first.files.join(" ")
    );
    Ok(Tally {
        passed: passed + failed,
        failed: 0,
        skipped,
    })
}

/// Where the pages of a test come from.
#[derive(Clone, Copy)]
enum Pages {
    /// From the server binary.
    OfTheServer,
    /// From the folder that the environment names, if it names one.
    OfTheEnvironment,
}

impl Pages {
    fn node(self, workspace: &Workspace) -> Result<Command> {
        let mut node = node(workspace)?;
        if matches!(self, Self::OfTheServer) {
            node.env_remove(DIST);
        }
        Ok(node)
    }
}

/// What a run of test files found, and in which of them a test failed.
struct Run {
    tally: Tally,
    files: Vec<String>,
}

fn run_files(
    mut node: Command,
    workspace: &Workspace,
    at_once: &str,
    files: &[String],
) -> Result<Run> {
    let failed = workspace.target().join("browser-failed-files");
    node.args(["--test", at_once, TIMEOUT]);
    node.args(["--test-reporter=spec", "--test-reporter-destination=stdout"]);
    node.arg("--test-reporter=./failed-files.mjs");
    node.arg(format!("--test-reporter-destination={}", failed.display()));
    node.args(files);
    let mut tally = Tally::default();
    let ended = run_reading(node, |line| tally.read_node(line));
    if ended.is_err() && tally.failed == 0 {
        tally.failed = 1;
    }
    let files = fs::read_to_string(&failed)
        .with_context(|| failed.display().to_string())?
        .lines()
        .map(str::to_owned)
        .collect();
    Ok(Run { tally, files })
}

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.root().join("tests/browser")
}

fn chromium(workspace: &Workspace) -> Result<PathBuf> {
    if let Some(path) = env::var_os("CONCLAVE_CHROMIUM") {
        return Ok(path.into());
    }
    let find = || {
        ["chromium", "chromium-browser", "google-chrome"]
            .into_iter()
            .find_map(which)
    };
    if let Some(path) = find() {
        return Ok(path);
    }
    debian::install(workspace, "chromium")
        .context("no chromium on PATH: install one, or name it in CONCLAVE_CHROMIUM")?;
    find().context("Debian's chromium is installed but not on PATH")
}

/// Installs the locked npm packages unless they are there and as new as the lock.
fn packages(workspace: &Workspace, folder: &Path) -> Result<()> {
    let time = |file: &str| fs::metadata(folder.join(file)).and_then(|file| file.modified());
    let installed = time("node_modules/.package-lock.json").ok();
    if installed >= Some(time("package-lock.json").context("tests/browser/package-lock.json")?) {
        return Ok(());
    }
    let mut npm = workspace.command("npm");
    npm.current_dir(folder)
        .args(["ci", "--no-audit", "--no-fund", "--loglevel=error"])
        .env("PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD", "1");
    run(npm)
}

/// Returns the test files by name: `node --test` on a folder differs between versions of node.
fn test_files(folder: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).context("tests/browser")? {
        let name = entry
            .context("tests/browser")?
            .file_name()
            .to_string_lossy()
            .into_owned();
        if name.ends_with(".test.mjs") {
            files.push(name);
        }
    }
    files.sort();
    Ok(files)
}
