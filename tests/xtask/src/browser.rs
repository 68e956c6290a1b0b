//! The browser tests: Debian's Chromium driven by playwright-core under `node --test`.

use std::{env, fs, path::Path, path::PathBuf};

use anyhow::{Context, Result};

use crate::{
    debian,
    process::{run, run_reading, which},
    report::Tally,
    workspace::Workspace,
};

/// Runs the browser tests against the server binary of the dev profile.
///
/// # Errors
///
/// When Chromium or the npm packages cannot be had; a failed test is a count, not an error.
pub(crate) fn test(workspace: &Workspace) -> Result<Tally> {
    let chromium = chromium(workspace)?;
    let folder = workspace.root().join("tests/browser");
    packages(workspace, &folder)?;
    let mut node = workspace.command("node");
    node.current_dir(&folder)
        .args(["--test", "--test-reporter=spec"])
        .env("CONCLAVE_BIN", workspace.dev_server())
        .env("CONCLAVE_CHROMIUM", chromium);
    for file in test_files(&folder)? {
        node.arg(file);
    }
    let mut tally = Tally::default();
    let ended = run_reading(node, |line| tally.read_node(line));
    if ended.is_err() && tally.failed == 0 {
        tally.failed = 1;
    }
    Ok(tally)
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
