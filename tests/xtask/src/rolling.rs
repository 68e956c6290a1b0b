//! Rolling restarts from the server of an earlier commit to that of this checkout.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{
    process::{output_of, run, run_reading},
    workspace::Workspace,
};

/// The tests, by the beginning of their names.
const TESTS: &str = "rolling::";
/// What each prints at its end.
const RESULT: &str = "measured: rolling restart from the earlier server";

/// Builds the server of a commit, unless that was done before, and runs the tests with it.
///
/// # Errors
///
/// When there is no such commit, its server cannot be built, or a test fails or does not run.
pub(crate) fn from_commit(workspace: &Workspace, commit: &str) -> Result<()> {
    let server = server_of(workspace, commit)?;
    let mut cargo = workspace.cargo(&["test", "--locked", "--package", "conclave-tests"]);
    cargo
        .args(["--test", "it", "--", TESTS, "--nocapture"])
        .env("CONCLAVE_EARLIER_BIN", server);
    let mut results = 0;
    run_reading(cargo, |line| {
        results += usize::from(line.starts_with(RESULT));
    })?;
    if results == 0 {
        bail!("no test of rolling restarts has run");
    }
    Ok(())
}

/// Returns the server of a commit. It is kept below the target directory, by the commit's id.
fn server_of(workspace: &Workspace, commit: &str) -> Result<PathBuf> {
    let mut git = workspace.command("git");
    let revision = format!("{commit}^{{commit}}");
    git.args(["rev-parse", "--verify", "--quiet", "--end-of-options"])
        .arg(revision);
    let id =
        output_of(git).with_context(|| format!("`{commit}` is no commit of this repository"))?;
    let folder = workspace.target().join("rolling");
    let server = folder.join(format!("conclave-{id}"));
    if server.is_file() {
        return Ok(server);
    }
    fs::create_dir_all(&folder).context("a folder for the earlier server")?;
    let checkout = Checkout::of(workspace, &id, folder.join(&id))?;
    let target = folder.join("target");
    let mut cargo = workspace.cargo(&["build", "--locked", "--package", "conclave-server"]);
    cargo
        .args(["--bin", "conclave", "--target-dir"])
        .arg(&target)
        .current_dir(&checkout.folder);
    run(cargo)?;
    // Under another name first: one that is cut off is not taken for the server.
    let copy = folder.join("unfinished");
    fs::copy(target.join("debug/conclave"), &copy).context("copying the earlier server")?;
    fs::rename(&copy, &server).context("naming the earlier server")?;
    Ok(server)
}

/// The files of a commit, removed when it is dropped.
struct Checkout<'a> {
    workspace: &'a Workspace,
    folder: PathBuf,
}

impl<'a> Checkout<'a> {
    fn of(workspace: &'a Workspace, id: &str, folder: PathBuf) -> Result<Self> {
        // What an earlier run that was cut off has left.
        remove(workspace, &folder);
        let mut git = workspace.command("git");
        git.args(["worktree", "add", "--quiet", "--detach"])
            .arg(&folder)
            .arg(id);
        run(git)?;
        Ok(Self { workspace, folder })
    }
}

impl Drop for Checkout<'_> {
    fn drop(&mut self) {
        remove(self.workspace, &self.folder);
        if self.folder.exists() {
            println!("    {} is left", self.folder.display());
        }
    }
}

fn remove(workspace: &Workspace, folder: &Path) {
    if folder.exists() {
        let mut git = workspace.command("git");
        git.args(["worktree", "remove", "--force"]).arg(folder);
        // Whoever needs it to be gone looks whether it is.
        drop(run(git));
    }
}
