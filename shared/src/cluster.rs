//! What a node says of itself and of its cluster. Durations and times are milliseconds.

use serde::{Deserialize, Serialize};

use crate::error::ErrorCode;

/// A node's part in its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Leader,
    Follower,
    Candidate,
    Learner,
    /// No longer a member of the cluster.
    Removed,
}

impl Role {
    /// Returns the word used on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Follower => "follower",
            Self::Candidate => "candidate",
            Self::Learner => "learner",
            Self::Removed => "removed",
        }
    }
}

/// A member as the membership has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberAddress {
    /// Node name.
    pub node: String,
    /// Raft id: one per data directory, never reused.
    pub id: u64,
    /// Address of the client API, `host:port`.
    pub http: String,
    /// Address of the peer protocol, `host:port`.
    pub raft: String,
    /// False for a learner.
    pub voter: bool,
}

/// The leader's view of one follower.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowerProgress {
    pub node: String,
    /// Last log index known to be on the follower's disk.
    pub match_index: u64,
    /// Time since the follower's last answer; null when it never answered this leader.
    pub last_ack_ms: Option<u64>,
    /// Time for which it has not answered, as far as this leader can know: since its last answer, or
    /// since this leader was elected.
    #[serde(default)]
    pub silent_ms: u64,
}

/// A digest of the replicated state at one revision. Nodes at the same revision have the same one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateHash {
    pub revision: u64,
    /// 16 hexadecimal digits.
    pub hash: String,
}

/// What a disk has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskState {
    /// Everything.
    Ok,
    /// Less than the reserve is free: as a leader the node takes no changes.
    Low,
    /// Less than half of it: the node takes no log entries from its leader either.
    Full,
}

impl DiskState {
    /// Returns the word used on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Low => "low",
            Self::Full => "full",
        }
    }
}

/// The disk that a node writes to. Bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskStatus {
    pub state: DiskState,
    /// Free space for the node's user.
    pub free_bytes: u64,
    /// Free space that the node leaves.
    pub reserve_bytes: u64,
}

/// `GET /api/status`: this node's own view, answered without asking anyone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    pub node: String,
    pub id: u64,
    pub cluster_id: String,
    pub env: String,
    pub role: Role,
    pub term: u64,
    /// Name of the leader this node knows.
    pub leader: Option<String>,
    pub last_log_index: u64,
    pub commit_index: u64,
    pub applied_index: u64,
    pub snapshot_index: u64,
    /// Last log index that is no longer in the log; the snapshot covers it.
    pub purged_index: u64,
    /// Revision of the applied state.
    pub revision: u64,
    /// First revision of the kept history; null while no history is kept.
    pub oldest_revision: Option<u64>,
    /// First revision of the kept request outcomes; null while none are kept.
    pub oldest_outcome: Option<u64>,
    pub state_hash: StateHash,
    /// On a leader: time since the start of the last round that a quorum answered.
    pub quorum_ack_age_ms: Option<u64>,
    /// On a follower: time since the leader was heard.
    pub leader_contact_age_ms: Option<u64>,
    /// On a leader only; else empty.
    pub followers: Vec<FollowerProgress>,
    pub members: Vec<MemberAddress>,
    /// A membership change has begun and is not finished: until then a majority of the voters before
    /// and one of those after must both agree (Raft, section 6).
    #[serde(default)]
    pub joint: bool,
    /// Nodes that tried to reach this address as one of another cluster, newest first.
    #[serde(default)]
    pub foreign_peers: Vec<ForeignPeer>,
    pub watchers: u64,
    pub locks: u64,
    pub keys: u64,
    /// Bytes of all keys and values.
    pub bytes: u64,
    pub uptime_ms: u64,
    pub version: String,
    /// Build of the dashboard that this node serves; `none` without one.
    pub ui_build: String,
    /// It was started with `-read-only`, and refuses its clients' changes.
    #[serde(default)]
    pub read_only: bool,
    /// The disk of its data directory; null where nothing is written.
    #[serde(default)]
    pub disk: Option<DiskStatus>,
    /// This node's wall clock, milliseconds since 1970.
    pub now_ms: u64,
}

/// A node of another cluster that takes this node's address for that of one of its members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignPeer {
    /// The name it gave.
    pub node: String,
    /// Where its connection came from.
    pub address: String,
    pub cluster_id: String,
    /// Time since it last tried.
    pub age_ms: u64,
}

/// How many voters the cluster can still lose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuorumStatus {
    pub voters: u64,
    /// Voters that answered this node.
    pub healthy: u64,
    /// Healthy voters that may fail before the quorum is lost.
    pub can_lose: u64,
}

/// Whether a member does its part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberState {
    Ok,
    /// It did not answer the asking node this time.
    Unreachable,
    /// It has not answered its leader for 10 s.
    Dead,
}

/// One member, asked by the answering node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberStatus {
    #[serde(flatten)]
    pub address: MemberAddress,
    /// Null when the member did not answer.
    pub role: Option<Role>,
    pub reachable: bool,
    pub state: MemberState,
    pub status: Option<NodeStatus>,
    /// Why there is no status.
    pub error: Option<String>,
    /// Time since this node last heard the member; null when it never did.
    pub last_heard_ms: Option<u64>,
}

/// `GET /api/cluster`: every member, as the answering node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterStatus {
    pub leader: Option<String>,
    pub term: u64,
    pub quorum: QuorumStatus,
    pub members: Vec<MemberStatus>,
}

/// What is to be done with a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberAction {
    Remove,
    Promote,
}

/// What a change of one member does to the cluster: done, or with `dry_run` only said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberPlan {
    pub action: MemberAction,
    pub node: String,
    /// Raft id of the member.
    pub id: u64,
    pub done: bool,
    /// Without `force`.
    pub allowed: bool,
    /// Why not, as the code that the refusal has.
    pub refusal: Option<ErrorCode>,
    pub before: QuorumStatus,
    pub after: QuorumStatus,
    /// All of it in words.
    pub text: String,
}
