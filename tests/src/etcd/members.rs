//! Three members of etcd on this machine: processes with etcd's own settings, so that they sync their
//! log as Conclave does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, bail};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::cluster::Ports;
use crate::cluster::process::Process;

/// Members of a cluster.
pub(super) const MEMBERS: usize = 3;

/// The members of one cluster, running or not. They are killed, and their folder is removed, when it
/// is dropped.
#[derive(Debug)]
pub struct Members {
    members: Vec<Member>,
    binary: PathBuf,
    /// As `--initial-cluster` has it.
    peers: String,
    root: TempDir,
}

#[derive(Debug)]
struct Member {
    name: String,
    ports: Ports,
    process: Process,
}

impl Members {
    /// Starts the processes and does not wait for them.
    ///
    /// # Panics
    ///
    /// The binary cannot be started.
    #[must_use]
    pub fn start(binary: &Path) -> Self {
        let root = TempDir::with_prefix("conclave-etcd-").expect("a temporary folder");
        let member = |number: usize| {
            let name = format!("e{number}");
            let folder = root.path().join(&name);
            fs::create_dir(&folder).expect("a folder in an empty one");
            Member {
                ports: Ports::reserve(),
                process: Process::new(&name, &folder),
                name,
            }
        };
        let members: Vec<_> = (1..=MEMBERS).map(member).collect();
        let peer = |member: &Member| format!("{}={}", member.name, url(member.ports.raft));
        let peers: Vec<_> = members.iter().map(peer).collect();
        let mut members = Self {
            members,
            binary: binary.to_owned(),
            peers: peers.join(","),
            root,
        };
        for index in 0..MEMBERS {
            members.spawn(index);
        }
        members
    }

    /// Starts a member that is down, with the data that it has, and does not wait for it.
    ///
    /// # Panics
    ///
    /// It runs, or cannot be started.
    pub fn spawn(&mut self, index: usize) {
        let mut command = self.command(&self.members[index]);
        self.members[index].process.spawn(&mut command);
    }

    fn command(&self, member: &Member) -> Command {
        let mut command = Command::new(&self.binary);
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("ETCD") {
                command.env_remove(variable);
            }
        }
        let folder = self.root.path().join(&member.name);
        let (client, peer) = (url(member.ports.http), url(member.ports.raft));
        command
            .args(["--name", &member.name, "--data-dir"])
            .arg(folder.join("data"))
            .args(["--listen-client-urls", &client])
            .args(["--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer])
            .args(["--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &self.peers])
            // It counts only for a member without data.
            .args(["--initial-cluster-state", "new"])
            .args(["--log-level", "error"])
            .current_dir(folder)
            .stdin(Stdio::null());
        command
    }

    /// Kills a member as `kill -9` does; does nothing when it is down.
    pub fn kill(&mut self, index: usize) {
        self.members[index].process.kill();
    }

    /// Freezes a member (`SIGSTOP`).
    ///
    /// # Panics
    ///
    /// It is down.
    pub fn pause(&self, index: usize) {
        self.members[index].process.signal(Signal::STOP);
    }

    /// Lets a frozen member go on.
    ///
    /// # Panics
    ///
    /// It is down.
    pub fn resume(&self, index: usize) {
        self.members[index].process.signal(Signal::CONT);
    }

    /// Checks that no member has ended by itself.
    ///
    /// # Errors
    ///
    /// One has, with what it said.
    pub fn check_alive(&mut self) -> Result<()> {
        for member in &mut self.members {
            if let Some(status) = member.process.exited() {
                let log = member.process.log_tail();
                bail!("etcd has ended with {status}:\n{log}");
            }
        }
        Ok(())
    }

    /// Returns `host:port` of each member's API.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        let ports = self.members.iter().map(|member| member.ports.http);
        ports.map(|port| format!("127.0.0.1:{port}")).collect()
    }

    /// Returns the name and the process of each member.
    ///
    /// # Panics
    ///
    /// One is down.
    #[must_use]
    pub fn processes(&self) -> Vec<(String, u32)> {
        let process = |member: &Member| {
            let pid = member.process.pid().as_raw_nonzero().get();
            (member.name.clone(), pid.unsigned_abs())
        };
        self.members.iter().map(process).collect()
    }

    /// Returns which members run.
    pub(super) fn running(&self) -> Vec<usize> {
        let runs = |index: &usize| self.members[*index].process.is_started();
        (0..self.members.len()).filter(runs).collect()
    }

    /// Returns what each member wrote to stderr.
    pub(super) fn stderr(&self) -> impl Iterator<Item = String> {
        self.members.iter().map(|member| member.process.stderr())
    }

    /// Returns the ends of all outputs.
    pub(super) fn log_tails(&self) -> String {
        let tails = self.members.iter().map(|member| member.process.log_tail());
        tails.collect()
    }
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}
