//! One process of a test: how it is started, stopped for a while, killed, and what it wrote.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};

use rustix::process::{Pid, Signal, kill_process};

/// Lines of each output that a report shows.
const TAIL_LINES: usize = 60;

/// A process, or the place of one that is down. It is killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    /// Holds `stdout` and `stderr`, of all starts together.
    folder: PathBuf,
    child: Option<Child>,
}

impl Process {
    /// Makes the place of a process whose outputs go to a folder.
    pub(crate) fn new(name: &str, folder: &Path) -> Self {
        Self {
            name: name.to_owned(),
            folder: folder.to_owned(),
            child: None,
        }
    }

    /// Starts the process, with its outputs added to those of earlier starts.
    ///
    /// # Panics
    ///
    /// It runs already, or cannot be started.
    pub(crate) fn spawn(&mut self, command: &mut Command) {
        assert!(self.child.is_none(), "{} runs already", self.name);
        command
            .stdout(self.output("stdout"))
            .stderr(self.output("stderr"));
        match command.spawn() {
            Ok(child) => self.child = Some(child),
            Err(error) => panic!("start {}: {error}", self.name),
        }
    }

    fn output(&self, name: &str) -> File {
        let path = self.folder.join(name);
        match OpenOptions::new().create(true).append(true).open(&path) {
            Ok(file) => file,
            Err(error) => panic!("open {}: {error}", path.display()),
        }
    }

    /// Returns the exit status of a process that has ended by itself.
    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().ok().flatten()?;
        self.child = None;
        Some(status)
    }

    /// Kills the process as `kill -9` does; does nothing when it is down.
    ///
    /// # Panics
    ///
    /// The kernel refuses.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let killed = child.kill().and_then(|()| child.wait());
            assert!(killed.is_ok(), "kill {}: {killed:?}", self.name);
        }
    }

    /// Sends a signal.
    ///
    /// # Panics
    ///
    /// The process is down.
    pub(crate) fn signal(&self, signal: Signal) {
        let sent = kill_process(self.pid(), signal);
        assert!(sent.is_ok(), "signal {signal:?} to {}: {sent:?}", self.name);
    }

    /// Returns the number of the process.
    ///
    /// # Panics
    ///
    /// The process is down.
    pub(crate) fn pid(&self) -> Pid {
        let child = self.child.as_ref();
        let pid = child.and_then(|child| Pid::from_raw(i32::try_from(child.id()).ok()?));
        pid.unwrap_or_else(|| panic!("{} is down", self.name))
    }

    /// Returns whether the process was started and has not been stopped by the test.
    pub(crate) const fn is_started(&self) -> bool {
        self.child.is_some()
    }

    /// Returns what the process wrote to stderr, all starts together.
    pub(crate) fn stderr(&self) -> String {
        self.said("stderr")
    }

    fn said(&self, output: &str) -> String {
        let bytes = fs::read(self.folder.join(output)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Returns the end of both outputs.
    pub(crate) fn log_tail(&self) -> String {
        let mut text = String::new();
        for name in ["stdout", "stderr"] {
            let log = self.said(name);
            let lines: Vec<_> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
            text.push_str(&format!("--- {} {name}\n{tail}\n", self.name));
        }
        text
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
