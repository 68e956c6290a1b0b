//! Where the repository, its target directory and its cargo are, and how commands start in it.

use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

/// The repository that this program was built from.
#[derive(Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

impl Workspace {
    /// Finds the repository and the target directory in use.
    ///
    /// # Errors
    ///
    /// When this program does not stand in a target directory.
    pub(crate) fn here() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let root = root
            .canonicalize()
            .context("the repository of this program is gone")?;
        // <target>/debug/xtask: right whatever sets the target directory.
        let exe = env::current_exe().context("own path")?;
        let target = exe
            .ancestors()
            .nth(2)
            .context("not started from a target directory")?;
        Ok(Self {
            root,
            target: target.to_path_buf(),
        })
    }

    /// Returns the repository's root.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the target directory of this build.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Returns the server binary that the tests use.
    pub(crate) fn dev_server(&self) -> PathBuf {
        self.target.join("debug/conclave")
    }

    /// Returns where the server's release build is.
    pub(crate) fn release_server(&self) -> PathBuf {
        self.target.join("release/conclave")
    }

    /// Returns a command in the repository's root, without what `cargo run` says of this package.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(&self.root)
            .env("CARGO_TARGET_DIR", &self.target);
        for (name, _) in env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
                command.env_remove(name.as_ref());
            }
        }
        command
    }

    /// Returns a cargo command of the toolchain that built this program.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(arguments);
        command
    }

    /// Returns the version that `Cargo.lock` has of a package.
    ///
    /// # Errors
    ///
    /// When the lock cannot be read or does not name the package.
    pub(crate) fn locked_version(&self, package: &str) -> Result<String> {
        let lock = fs::read_to_string(self.root.join("Cargo.lock")).context("Cargo.lock")?;
        let name = format!("name = \"{package}\"");
        lock.lines()
            .skip_while(|line| *line != name)
            .nth(1)
            .and_then(|line| line.strip_prefix("version = \"")?.strip_suffix('"'))
            .map(str::to_owned)
            .with_context(|| format!("Cargo.lock does not name {package}"))
    }
}
