//! What is done beside a running cluster, from the command line: looking a machine over, saving and
//! restoring a state, and starting over from the disk of one dead member.
//!
//! Nothing here runs a node. A tool changes only what it makes itself, under another name until it is
//! whole (`output`).

mod backup;
mod client;
mod doctor;
mod output;
mod recover;
mod restore;

use std::fmt;
use std::io;
use std::path::Path;

use crate::config::{NewNode, Tool};
use crate::raft::Member;
use crate::storage::{DirectoryError, Figures};

/// Exit statuses of failures, as BSD's `sysexits.h` has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Usage = 64,
    /// What was given is damaged or something else.
    Data = 65,
    NoInput = 66,
    /// The node does not answer, or refuses.
    Unavailable = 69,
    CannotCreate = 73,
    Disk = 74,
    /// A node runs on the directory.
    Busy = 75,
}

/// Why a tool did not do what it was asked for.
#[derive(Debug)]
pub struct Failure {
    pub status: Status,
    text: String,
}

impl Failure {
    fn new(status: Status, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { status, text }
    }

    /// Makes one of an error at a file or directory that was to be read.
    fn reading(path: &Path, error: &io::Error) -> Self {
        let status = match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => Status::Data,
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Status::NoInput,
            _ => Status::Disk,
        };
        let path = path.display();
        Self::new(status, format!("cannot read `{path}`: {error}"))
    }

    fn writing(path: &Path, error: &io::Error) -> Self {
        let path = path.display();
        Self::new(Status::Disk, format!("cannot write `{path}`: {error}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<DirectoryError> for Failure {
    fn from(error: DirectoryError) -> Self {
        let status = match &error {
            DirectoryError::Io { source, .. } => match source.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Status::NoInput,
                _ => Status::Disk,
            },
            DirectoryError::Locked(_) => Status::Busy,
            DirectoryError::Foreign { .. }
            | DirectoryError::IdentityLost(_)
            | DirectoryError::IdentityDamaged { .. }
            | DirectoryError::OtherFormat { .. }
            | DirectoryError::SeekingDamaged { .. }
            | DirectoryError::OtherName { .. }
            | DirectoryError::Removed { .. } => Status::Data,
        };
        let advice = match status {
            Status::Busy => ": stop the node first",
            _ => "",
        };
        Self::new(status, format!("{error}{advice}"))
    }
}

/// What a tool says when it is done.
#[derive(Debug)]
pub struct Report {
    pub text: String,
    /// Standard output is taken by what was asked for.
    pub is_aside: bool,
    /// Something that was looked at is not as it should be.
    pub has_findings: bool,
}

impl Report {
    const fn new(text: String) -> Self {
        Self {
            text,
            is_aside: false,
            has_findings: false,
        }
    }
}

/// Does what was asked for. `say` is told how it goes.
///
/// # Errors
///
/// It was not done; nothing half-made has the name that was given.
pub async fn run(tool: &Tool, say: fn(&str)) -> Result<Report, Failure> {
    match tool {
        Tool::Doctor { config, json } => {
            let findings = doctor::examine(config).await;
            Ok(findings.report(if *json {
                doctor::Form::Json
            } else {
                doctor::Form::Lines
            }))
        }
        Tool::Backup(options) => backup::run(options, say).await,
        Tool::Restore(options) => restore::run(options, say).await,
        Tool::Recover(options) => recover::run(options, say).await,
    }
}

/// Returns who the node of a new cluster is: what was asked for, else as before, else as a node that
/// is told nothing.
fn new_member(asked: &NewNode, before: Option<&Member>) -> Member {
    let address =
        |asked: &Option<crate::config::HostPort>, before: Option<&String>, usual: &str| {
            let asked = asked.as_ref().map(ToString::to_string);
            asked
                .or_else(|| before.cloned())
                .unwrap_or_else(|| usual.to_owned())
        };
    let raft = address(
        &asked.raddr,
        before.map(|before| &before.raft),
        "localhost:12000",
    );
    let name = asked.id.clone().or_else(|| Some(before?.name.clone()));
    Member {
        name: name.unwrap_or_else(|| raft.clone()),
        http: address(
            &asked.haddr,
            before.map(|before| &before.http),
            "localhost:11000",
        ),
        raft,
    }
}

/// Says what a state holds.
fn summary(figures: &Figures) -> String {
    let Figures {
        revision,
        keys,
        locks,
        last,
        members,
    } = figures;
    let members: Vec<_> = members
        .iter()
        .map(|(id, (member, votes))| {
            let role = if *votes { "" } else { ", learner" };
            format!("`{}` (id {id}{role})", member.name)
        })
        .collect();
    format!(
        "revision {revision}, keys {keys}, locks {locks}, last entry {} of term {}\n  members then: {}",
        last.index,
        last.term,
        members.join(", ")
    )
}

/// Says how a new one-node cluster is started.
fn how_to_start(member: &Member, out: &Path) -> String {
    let Member { name, http, raft } = member;
    format!(
        "start it:   conclave -id {name} -haddr {http} -raddr {raft} {}\n\
         then others, with empty directories:   conclave -id NAME … -join {http} DIR",
        out.display()
    )
}
