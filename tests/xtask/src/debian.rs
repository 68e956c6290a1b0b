//! Debian packages that a step needs, installed once where this user may.

use std::{fs, path::Path};

use anyhow::{Result, bail};

use crate::{
    process::{output_of, run, which},
    workspace::Workspace,
};

/// Installs a package.
///
/// # Errors
///
/// When this is no Debian, the user is not root, or apt-get fails.
pub(crate) fn install(workspace: &Workspace, package: &str) -> Result<()> {
    let mut id = workspace.command("id");
    id.arg("-u");
    if output_of(id).as_deref() != Some("0") || which("apt-get").is_none() {
        bail!("installing {package} needs root and apt-get");
    }
    println!("==> installing Debian's {package} (once)");
    for arguments in [
        &["update", "-qq"][..],
        &["install", "-y", "-qq", "--no-install-recommends", package],
    ] {
        let mut apt = workspace.command("apt-get");
        apt.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        run(apt)?;
    }
    Ok(())
}

/// Installs the library that shifts the clock of a process. The tests that need it are skipped, and
/// say so, where it cannot be had.
pub(crate) fn try_libfaketime(workspace: &Workspace) {
    let machines = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let there = |folder: &Path| folder.join("faketime/libfaketime.so.1").is_file();
    if machines.into_iter().any(|machine| there(&machine.path())) {
        return;
    }
    if let Err(error) = install(workspace, "libfaketime") {
        println!("    the tests of clock jumps will be skipped: {error:#}");
    }
}
