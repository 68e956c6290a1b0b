//! How empty directories become one cluster, and never two: pure rules and the words exchanged.
//!
//! An empty directory makes itself an id, durably, before it says anything. It is *pledged* to one
//! directory at a time, first to itself. Only who is pledged to itself *leads* an attempt to form a
//! cluster; it counts the pledges that name this attempt. A pledge is durable before anybody is
//! told of it, and ends only by the word of the directory it is given to: that this attempt is over.
//! So no directory is ever counted in two clusters (see `ARCHITECTURE.md`).
//!
//! Where the candidates come from, a list or mDNS, is not known here; only what is enough differs.

mod seeker;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::raft::{ClusterId, Member, NodeId};

pub use seeker::{Ledger, Seeker, Step};

/// Names a data directory from the moment it may be counted; another directory has another one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DirectoryId(pub [u8; 16]);

impl DirectoryId {
    /// Makes a new id.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random())
    }
}

impl fmt::Display for DirectoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for DirectoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for DirectoryId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match u128::from_str_radix(text, 16) {
            Ok(number) if text.len() == 32 => Ok(Self(number.to_be_bytes())),
            _ => Err(format!(
                "directory id `{text}` is not 32 hexadecimal digits"
            )),
        }
    }
}

/// What a directory is pledged to: one attempt of one directory, which may be itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pledge {
    pub leader: DirectoryId,
    /// Told apart from every other attempt of the same directory.
    pub attempt: u64,
    /// Who that is, to be asked: its name and the address of its peer protocol.
    pub name: String,
    pub raft: String,
}

/// What an empty directory must remember.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seeking {
    pub directory: DirectoryId,
    pub pledge: Pledge,
}

impl Seeking {
    /// Begins: a new directory, pledged to itself.
    #[must_use]
    pub fn begin(me: &Member) -> Self {
        Self::again(DirectoryId::random(), me)
    }

    /// Begins again with a directory that was known before: whoever is pledged to an earlier attempt
    /// of it learns that this has ended.
    #[must_use]
    pub fn again(directory: DirectoryId, me: &Member) -> Self {
        Self {
            directory,
            pledge: Self::own(directory, me),
        }
    }

    /// Returns a new attempt of the directory's own.
    fn own(directory: DirectoryId, me: &Member) -> Pledge {
        Pledge {
            leader: directory,
            attempt: rand::random(),
            name: me.name.clone(),
            raft: me.raft.clone(),
        }
    }

    /// Returns true while the directory is pledged to itself.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.pledge.leader == self.directory
    }
}

/// Who belongs together: only members of equal groups count each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Group {
    /// All HTTP addresses of the cluster, normalised and sorted.
    List(Vec<String>),
    /// Whoever is found in an environment; that many directories form the cluster.
    Environment { name: String, expect: u64 },
}

/// Writes an address so that two ways to write the same one compare equal.
#[must_use]
pub fn normalised(address: &str) -> String {
    let lower = address.to_ascii_lowercase();
    let Some((host, port)) = lower.rsplit_once(':') else {
        return lower;
    };
    let host = host.trim_end_matches('.');
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<std::net::IpAddr>() {
        Ok(ip) if ip.is_loopback() => format!("localhost:{port}"),
        _ => format!("{host}:{port}"),
    }
}

/// One of the directories that a cluster is formed of, and its Raft id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Founder {
    pub id: NodeId,
    pub directory: DirectoryId,
    pub member: Member,
}

/// A formed cluster, as every founder keeps it: the same for all of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Founding {
    pub cluster: ClusterId,
    /// The attempt that it came from.
    pub attempt: u64,
    /// The first one led the attempt.
    pub founders: Vec<Founder>,
}

impl Founding {
    /// Returns the founder that a directory is.
    #[must_use]
    pub fn founder(&self, directory: DirectoryId) -> Option<&Founder> {
        self.founders
            .iter()
            .find(|founder| founder.directory == directory)
    }
}

/// What one node asks another that may be a candidate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The asking directory; one of zeros only wants to know who is there.
    pub from: DirectoryId,
    pub member: Member,
    pub group: Option<Group>,
    /// The directory and the attempt that the asking one is pledged to, durably.
    pub pledge: Option<(DirectoryId, u64)>,
}

impl Question {
    /// Returns a question that pledges nothing.
    #[must_use]
    pub fn who(member: Member) -> Self {
        Self {
            from: DirectoryId([0; 16]),
            member,
            group: None,
            pledge: None,
        }
    }
}

/// The answer: who is there, and what it is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// `None` for a member whose cluster was not formed in this way.
    pub from: Option<DirectoryId>,
    pub member: Member,
    pub standing: Standing,
}

/// What a node is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// It is empty, and looks for others.
    Seeking {
        group: Group,
        /// Its attempt, while it leads one.
        leads: Option<u64>,
        /// Name of whom it is pledged to.
        pledged_to: String,
    },
    /// It belongs to a cluster.
    Member {
        cluster: ClusterId,
        environment: String,
        /// How the cluster was formed, where the asking directory is one of its founders.
        founding: Option<Founding>,
    },
    /// It takes no part; the text says what it does.
    Elsewhere(String),
}
