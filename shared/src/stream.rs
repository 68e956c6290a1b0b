//! Data of the events of `GET /api/events?values=false`, as a reader takes them.
//!
//! An event's name says which of these it carries. Times are the leader's wall clock, milliseconds
//! since 1970.

use serde::{Deserialize, Serialize};

use crate::cluster::{ClusterStatus, MemberAddress, NodeStatus};

/// `put`, `delete` and `expire`: one key changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyChange {
    pub key: String,
    pub revision: u64,
    /// Name of the node that took the write from its client.
    pub origin: String,
    /// The client's own label.
    #[serde(default)]
    pub client: Option<String>,
    #[serde(default)]
    pub wall_time_ms: u64,
    /// Size of the value; none when the key is gone.
    #[serde(default)]
    pub bytes: Option<u64>,
    /// Size of the value before; none where there was none.
    #[serde(default)]
    pub previous_bytes: Option<u64>,
    /// Revision of the write before; none where there was none.
    #[serde(default)]
    pub previous_revision: Option<u64>,
}

/// `lock`: a claim on a lock changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockChange {
    pub lock: String,
    /// `granted`, `queued`, `released`, `expired`, `broken` or `left`.
    pub change: String,
    pub session: String,
    pub owner: String,
    /// Name of the node that took the claim from its client.
    pub node: String,
    /// The claim's fencing token; none while it waits.
    pub token: Option<u64>,
    /// Claims that wait after the change.
    pub waiters: u64,
    pub revision: u64,
    #[serde(default)]
    pub wall_time_ms: Option<u64>,
}

/// `member`: the membership changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberChange {
    pub revision: u64,
    pub wall_time_ms: u64,
    /// All members after the change.
    pub members: Vec<MemberAddress>,
    pub changes: Vec<OneMember>,
}

/// What became of one member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OneMember {
    pub node: String,
    pub id: u64,
    /// `added`, `promoted`, `demoted`, `updated` or `removed`.
    pub change: String,
}

/// `leader`: this node knows another leader, or none. No part of the change order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderChange {
    pub leader: Option<String>,
    pub term: u64,
}

/// `hello`: where a new stream stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub node: String,
    pub leader: Option<String>,
    pub term: u64,
    /// Revision of the node's state.
    pub revision: u64,
    /// First revision from which on every change is kept.
    pub oldest: u64,
}

/// `hb`: how the node and its cluster are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    pub status: NodeStatus,
    pub cluster: ClusterStatus,
}

/// `progress`: everything up to this revision has been told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    pub revision: u64,
}

/// `lagged`: the stream ends here, because the changes that follow are no longer kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lagged {
    /// Last revision that was told.
    pub revision: u64,
    /// First revision that is kept.
    pub oldest: u64,
}
