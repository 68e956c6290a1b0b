//! Starting programs: shown before they run, checked after.

use std::{
    env,
    ffi::OsString,
    fs::File,
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Error, Result, bail};

/// Time between two looks at a program that is given a limited time.
const LOOK: Duration = Duration::from_millis(50);

/// Runs a program and waits for it.
///
/// # Errors
///
/// When it cannot be started or does not succeed.
pub(crate) fn run(command: Command) -> Result<()> {
    run_reading(command, |_| ())
}

/// Runs a program, passes its lines through and shows each to `reader`.
///
/// # Errors
///
/// When it cannot be started or does not succeed.
pub(crate) fn run_reading(mut command: Command, mut reader: impl FnMut(&str)) -> Result<()> {
    println!("    $ {}", shown(&command));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", shown(&command)))?;
    let out = child.stdout.take().context("no output to read")?;
    for line in BufReader::new(out).split(b'\n') {
        let line = line.context("reading a program's output")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        reader(&line);
    }
    let status = child.wait().context("waiting for a program")?;
    if !status.success() {
        bail!("{} failed: {status}", shown(&command));
    }
    Ok(())
}

/// How a program ended that was given a limited time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Well,
    Badly,
    /// It was killed, with all that it had started.
    Late,
}

/// Runs a program with its output in a file, for at most `limit`.
///
/// # Errors
///
/// When it cannot be started or watched, or the file cannot be made.
pub(crate) fn run_within(mut command: Command, output: &Path, limit: Duration) -> Result<Ended> {
    println!("    $ {} > {}", shown(&command), output.display());
    let file = File::create(output).with_context(|| output.display().to_string())?;
    let copy = file.try_clone().context("a second handle of a file")?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(copy)
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {}", shown(&command)))?;
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().context("waiting for a program")? {
            let well = status.success();
            return Ok(if well { Ended::Well } else { Ended::Badly });
        }
        if Instant::now() >= end {
            let mut kill = Command::new("kill");
            kill.args(["-KILL", "--", &format!("-{}", child.id())]);
            kill.status().context("cannot kill a program")?;
            child.wait().context("waiting for a program")?;
            return Ok(Ended::Late);
        }
        thread::sleep(LOOK);
    }
}

/// Returns what a program prints, or nothing when it cannot be started or fails.
pub(crate) fn output_of(mut command: Command) -> Option<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Replaces this program by another, so that signals reach it. Returns only an error.
pub(crate) fn become_it(mut command: Command) -> Error {
    println!("    $ {}", shown(&command));
    Error::new(command.exec()).context(format!("cannot start {}", shown(&command)))
}

/// Finds a program on PATH.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// Returns PATH with folders put before it.
///
/// # Errors
///
/// When a folder's name cannot stand in PATH.
pub(crate) fn path_with(folders: &[PathBuf]) -> Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    let all = folders.iter().cloned().chain(env::split_paths(&path));
    env::join_paths(all).context("a folder that PATH cannot hold")
}

fn shown(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}
