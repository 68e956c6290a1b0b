//! etcd under the campaigns and checkers of the tests: a check of these.

use anyhow::{Result, bail};

use crate::{
    debian,
    process::{run_reading, which},
    workspace::Workspace,
};

/// The tests of etcd, by the beginning of their names.
const TESTS: &str = "etcd::";
/// What they print when they have not only been skipped.
const RESULT: &str = "measured: etcd";

/// Installs Debian's etcd server when there is none, and runs the tests of it.
///
/// # Errors
///
/// When it cannot be installed, or a test fails or does not run.
pub(crate) fn judge(workspace: &Workspace) -> Result<()> {
    if which("etcd").is_none() {
        debian::install_without_services(workspace, "etcd-server")?;
    }
    let mut cargo = workspace.cargo(&["test", "--locked", "--package", "conclave-tests"]);
    cargo
        .args(["--test", "it", "--", TESTS, "--nocapture"])
        .env("CONCLAVE_TEST_FULL", "1");
    let mut results = 0;
    run_reading(cargo, |line| {
        results += usize::from(line.starts_with(RESULT));
    })?;
    if results == 0 {
        bail!("no test of etcd has run");
    }
    Ok(())
}
