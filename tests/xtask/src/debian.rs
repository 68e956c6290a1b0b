//! Debian packages that a step needs, installed once where this user may.

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use anyhow::{Context, Result, bail};

use crate::{
    process::{output_of, run, which},
    workspace::Workspace,
};

/// The scripts of packages ask this program whether they may start a service.
const POLICY: &str = "/usr/sbin/policy-rc.d";
const NO_SERVICE: &str = "#!/bin/sh\nexit 101\n";

/// Installs a package.
///
/// # Errors
///
/// When this is no Debian, the user is not root, or apt-get fails.
pub(crate) fn install(workspace: &Workspace, package: &str) -> Result<()> {
    check_may_install(workspace, package)?;
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

fn check_may_install(workspace: &Workspace, package: &str) -> Result<()> {
    let mut id = workspace.command("id");
    id.arg("-u");
    if output_of(id).as_deref() != Some("0") || which("apt-get").is_none() {
        bail!("installing {package} needs root and apt-get");
    }
    Ok(())
}

/// Installs a package of which only a program is wanted: its services are not started.
///
/// # Errors
///
/// As [`install`], and when the policy of services cannot be set.
pub(crate) fn install_without_services(workspace: &Workspace, package: &str) -> Result<()> {
    check_may_install(workspace, package)?;
    let _policy = NoServices::set()?;
    install(workspace, package)
}

/// While it lives, packages start no services.
struct NoServices;

impl NoServices {
    /// Sets the policy; returns nothing when the machine has one already, which then counts.
    fn set() -> Result<Option<Self>> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o755);
        let mut file = match options.open(POLICY) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(None),
            Err(error) => return Err(error).context(POLICY),
        };
        let policy = Self;
        file.write_all(NO_SERVICE.as_bytes()).context(POLICY)?;
        Ok(Some(policy))
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(POLICY) {
            println!("    {POLICY} is left: {error}");
        }
    }
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
