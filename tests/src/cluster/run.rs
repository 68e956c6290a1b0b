//! Starts that are expected to fail: run the binary to its end and keep what it said.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

use crate::cluster::binary::command;

/// What became of a process.
#[derive(Debug)]
pub struct Exit {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

impl Exit {
    /// Checks that the process refused to start: non-zero, no panic, and one line of stderr that
    /// names everything in `names` (whatever its case).
    ///
    /// # Panics
    ///
    /// It did not.
    pub fn assert_refused(&self, names: &[&str]) {
        assert!(!self.status.success(), "the start succeeded: {self:#?}");
        assert!(
            self.status.code().is_some(),
            "killed by a signal: {self:#?}"
        );
        assert!(!self.stderr.contains("panicked at"), "{}", self.stderr);
        assert!(!self.stderr.contains("stack backtrace"), "{}", self.stderr);
        let lower: Vec<_> = names.iter().map(|name| name.to_lowercase()).collect();
        let named = self.stderr.lines().any(|line| {
            let line = line.to_lowercase();
            lower.iter().all(|name| line.contains(name))
        });
        assert!(
            named,
            "no line of stderr names all of {names:?}:\n{}",
            self.stderr
        );
    }
}

/// Runs `conclave` with the arguments in an empty working directory until it ends.
///
/// # Panics
///
/// It cannot be started, or still runs after `bound`.
pub async fn run_node<S: AsRef<str>>(args: &[S], env: &[(&str, &str)], bound: Duration) -> Exit {
    let folder = TempDir::new().expect("a temporary folder");
    run_in(folder.path(), args, env, bound).await
}

/// Like [`run_node`], in a working directory of the caller's.
///
/// # Panics
///
/// As [`run_node`].
pub async fn run_in<S: AsRef<str>>(
    folder: &Path,
    args: &[S],
    env: &[(&str, &str)],
    bound: Duration,
) -> Exit {
    let args: Vec<_> = args.iter().map(AsRef::as_ref).collect();
    let started = Instant::now();
    let mut command = Command::from(command(None, None));
    command
        .args(&args)
        .envs(env.iter().copied())
        .current_dir(folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let child = command.spawn().expect("the binary starts");
    let output = timeout(bound, child.wait_with_output())
        .await
        .unwrap_or_else(|_| panic!("conclave {args:?} still runs after {bound:?}"))
        .expect("output of the process");
    Exit {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        took: started.elapsed(),
    }
}
