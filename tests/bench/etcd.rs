//! Three members of etcd on this machine, started by the bench and killed when they are dropped.
//!
//! They have etcd's own settings, so they sync their log like Conclave, and their data lies where
//! Conclave's does.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use conclave_tests::Ports;
use tempfile::TempDir;

use crate::grpc::{Grpc, RANGE_KVS};
use crate::load::{Answer, Request, Session};
use crate::protobuf::{find_bytes, find_number};

const MEMBERS: usize = 3;

const STATUS_HEADER: u64 = 1;
const STATUS_LEADER: u64 = 4;
const HEADER_MEMBER: u64 = 2;
const KV_VALUE: u64 = 5;

/// The members of one cluster.
#[derive(Debug)]
pub(crate) struct Members {
    members: Vec<Member>,
    root: TempDir,
}

#[derive(Debug)]
struct Member {
    name: String,
    ports: Ports,
    child: Child,
}

impl Members {
    /// Starts the processes and does not wait for them.
    ///
    /// # Errors
    ///
    /// The binary cannot be started.
    pub(crate) fn start(binary: &Path) -> Result<Self> {
        let mut members = Self {
            members: Vec::new(),
            root: TempDir::with_prefix("conclave-bench-etcd-")?,
        };
        let all: Vec<_> = (1..=MEMBERS)
            .map(|number| (format!("e{number}"), Ports::reserve()))
            .collect();
        let peers: Vec<_> = all
            .iter()
            .map(|(name, ports)| format!("{name}={}", url(ports.raft)))
            .collect();
        for (name, ports) in all {
            let child = members
                .command(binary, &name, ports, &peers.join(","))?
                .spawn()
                .with_context(|| format!("start {}", binary.display()))?;
            members.members.push(Member { name, ports, child });
        }
        Ok(members)
    }

    fn command(&self, binary: &Path, name: &str, ports: Ports, peers: &str) -> Result<Command> {
        let mut command = Command::new(binary);
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("ETCD") {
                command.env_remove(variable);
            }
        }
        let (client, peer) = (url(ports.http), url(ports.raft));
        command
            .args(["--name", name, "--data-dir"])
            .arg(self.root.path().join(name))
            .args(["--listen-client-urls", &client])
            .args(["--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer])
            .args(["--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", peers])
            .args(["--initial-cluster-state", "new"])
            .args(["--log-level", "error"])
            .current_dir(self.root.path())
            .stdin(Stdio::null())
            .stdout(File::create(self.log(name))?)
            .stderr(File::options().append(true).open(self.log(name))?);
        Ok(command)
    }

    fn log(&self, name: &str) -> PathBuf {
        self.root.path().join(format!("{name}.log"))
    }

    /// Checks that no member has ended.
    ///
    /// # Errors
    ///
    /// One has, with what it said.
    pub(crate) fn check_alive(&mut self) -> Result<()> {
        for index in 0..self.members.len() {
            let member = &mut self.members[index];
            if let Some(status) = member.child.try_wait()? {
                let log = std::fs::read_to_string(self.log(&self.members[index].name))?;
                anyhow::bail!("etcd has ended with {status}:\n{log}");
            }
        }
        Ok(())
    }

    /// Returns `host:port` of each member's API.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let ports = self.members.iter().map(|member| member.ports.http);
        ports.map(|port| format!("127.0.0.1:{port}")).collect()
    }

    /// Returns the name and the process of each member.
    pub(crate) fn processes(&self) -> Vec<(String, u32)> {
        let process = |member: &Member| (member.name.clone(), member.child.id());
        self.members.iter().map(process).collect()
    }
}

impl Drop for Members {
    #[expect(clippy::print_stderr, reason = "a process that is left behind")]
    fn drop(&mut self) {
        // Before their directories go.
        for member in &mut self.members {
            if let Err(error) = member.child.kill().and_then(|()| member.child.wait()) {
                eprintln!("kill {}: {error}", member.name);
            }
        }
    }
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// Returns what `--version` says first.
///
/// # Errors
///
/// The binary cannot be started or is not etcd.
pub(crate) fn version(binary: &Path) -> Result<String> {
    let output = Command::new(binary)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start {}", binary.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next().unwrap_or_default();
    ensure!(
        line.starts_with("etcd Version"),
        "{} is not an etcd server: `{line}`",
        binary.display()
    );
    Ok(line.to_owned())
}

/// Returns whether the member leads.
///
/// # Errors
///
/// It does not answer.
pub(crate) async fn leads(address: &str) -> io::Result<bool> {
    let mut session = Grpc::open(address).await?;
    let status = session.ask("/etcdserverpb.Maintenance/Status").await?;
    let leader = find_number(status, STATUS_LEADER)?;
    let own = find_number(find_bytes(status, STATUS_HEADER)?, HEADER_MEMBER)?;
    Ok(leader != 0 && leader == own)
}

/// Checks, once before anything is measured, that what is put comes back from every member.
///
/// # Errors
///
/// It does not.
pub(crate) async fn check(addresses: &[String], value_bytes: usize) -> Result<()> {
    let key = "bench-check";
    for (writer, letter) in addresses.iter().zip(b'a'..) {
        let value = vec![letter; value_bytes];
        let put = Request::Put { key, value: &value };
        let answer = Grpc::open(writer).await?.exchange(put).await?;
        ensure!(answer == Answer::Done, "put at {writer}: {answer:?}");
        for reader in addresses {
            // In this order: a member that has answered the first has applied the put.
            for level in ["consistent", "stale"] {
                let mut session = Grpc::open(reader).await?;
                let answer = session.exchange(Request::Get { key, level }).await?;
                ensure!(
                    answer == Answer::Done,
                    "get {level} at {reader}: {answer:?}"
                );
                let pair = find_bytes(session.answer()?, RANGE_KVS)?;
                ensure!(
                    find_bytes(pair, KV_VALUE)? == value,
                    "get {level} at {reader} returned another value"
                );
            }
        }
    }
    Ok(())
}
