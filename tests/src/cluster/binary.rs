//! Finds the binary under test, and builds it when it may be missing or old.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail, ensure};

use crate::faults::bridge::Host;
use crate::settings;

static BINARY: OnceLock<PathBuf> = OnceLock::new();

/// Returns the path of `conclave`.
///
/// # Panics
///
/// There is no binary and none can be built.
pub(super) fn conclave() -> &'static Path {
    BINARY.get_or_init(|| match locate() {
        Ok(path) => path,
        Err(error) => panic!("no conclave binary to test: {error:#}"),
    })
}

/// Returns a command of a binary, or of the one under test, on this host or another one, that
/// inherits no setting from the environment but how much it logs and what is wrong with it on purpose.
pub(crate) fn command(binary: Option<&Path>, host: Option<&Host>) -> Command {
    let binary = binary.unwrap_or_else(|| conclave());
    let mut command = match host {
        None => Command::new(binary),
        Some(host) => host.command(binary),
    };
    command.stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let seeds_own = matches!(text.as_ref(), "CLUSTER" | "PORT" | "JOIN");
        let is_kept = text.starts_with("CONCLAVE_LOG") || text == "CONCLAVE_MUTANT";
        if (text.starts_with("CONCLAVE_") && !is_kept) || seeds_own {
            command.env_remove(name);
        }
    }
    command
}

fn locate() -> Result<PathBuf> {
    if let Some(path) = settings::binary() {
        ensure!(
            path.is_file(),
            "{}={} is not a file",
            settings::BINARY,
            path.display()
        );
        return Ok(path.canonicalize()?);
    }
    let own = std::env::current_exe().context("path of the test executable")?;
    let Some(profile) = own.ancestors().skip(1).find(|dir| !dir.ends_with("deps")) else {
        bail!("{} is in no target folder", own.display());
    };
    let binary = profile.join("conclave");
    // Under cargo a binary from before the last edit is brought up to date: a test must never
    // speak for code that it did not run. Elsewhere the binary was put there on purpose.
    if !binary.is_file() || std::env::var_os("CARGO").is_some() {
        build(profile)?;
    }
    ensure!(
        binary.is_file(),
        "{} is missing after the build",
        binary.display()
    );
    Ok(binary)
}

/// Builds with the profile and into the folder that the tests were built with. cargo itself keeps
/// builds that run at the same time apart.
fn build(profile_dir: &Path) -> Result<()> {
    let profile = match profile_dir.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        Some(name) => name,
        None => bail!("{} names no profile", profile_dir.display()),
    };
    let target = profile_dir.parent().context("target folder")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "build",
            "--quiet",
            "--locked",
            "-p",
            "conclave-server",
            "--bin",
            "conclave",
        ])
        .args(["--profile", profile])
        .env("CARGO_TARGET_DIR", target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .context("cargo build")?;
    ensure!(
        output.status.success(),
        "cargo build failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
