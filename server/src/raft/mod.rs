//! Our instantiation of openraft: the type configuration and the aliases everybody else uses.
//!
//! openraft's own types stay in `raft`, `storage`, `network` and `node::consensus`; they never
//! reach the wire of clients, and its errors never reach any wire.

mod options;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::state::{Command, Outcome};

pub(crate) use options::CAUGHT_UP_ENTRIES;
pub use options::{RaftOptions, openraft_config};

/// Raft id: one per data directory, allocated by the log, never reused (invariant 10).
pub type NodeId = u64;

/// A member's name and addresses, kept in the membership itself and nowhere else (invariant 11).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Member {
    pub name: String,
    /// Address of the client API, `host:port`.
    pub http: String,
    /// Address of the peer protocol, `host:port`.
    pub raft: String,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (http {}, raft {})", self.name, self.http, self.raft)
    }
}

openraft::declare_raft_types!(
    /// One leader per term, so that a log id is (term, index) as in the Raft paper.
    pub TypeConfig:
        // Shared, as each entry is in the log's cache, on the way to every follower, and applied.
        D = Arc<Command>,
        R = Outcome,
        NodeId = NodeId,
        Node = Member,
        LeaderId = openraft::impls::leader_id_std::LeaderId<Self::Term, Self::NodeId>,
        AsyncRuntime = crate::runtime::Runtime,
);

pub type LogId = openraft::alias::LogIdOf<TypeConfig>;
pub type Vote = openraft::alias::VoteOf<TypeConfig>;
pub type Entry = openraft::alias::EntryOf<TypeConfig>;
pub type Payload = openraft::alias::EntryPayloadOf<TypeConfig>;
pub type Membership = openraft::alias::StoredMembershipOf<TypeConfig>;
pub type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;

/// Identity of a cluster: 16 random bytes, made once by the node that formed it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClusterId(pub [u8; 16]);

impl ClusterId {
    /// Makes a new identity.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random())
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for ClusterId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match u128::from_str_radix(text, 16) {
            Ok(number) if text.len() == 32 => Ok(Self(number.to_be_bytes())),
            _ => Err(format!("cluster id `{text}` is not 32 hexadecimal digits")),
        }
    }
}
