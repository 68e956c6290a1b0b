//! The members as one node sees them: a row per member, in the order of the names.
//!
//! A node's own status says for certain what that node is and whom it takes for the leader. What it
//! cannot know stays [`Seat::Unknown`]; nothing is guessed.

use conclave_shared::cluster::{MemberAddress, NodeStatus, Role};

use crate::model::order::sort;

/// Age of a quorum's answer above which a leader no longer counts as confirmed.
pub const UNCONFIRMED_AFTER_MS: u64 = 2_000;
/// Age of a peer's last word above which it counts as unreachable.
pub const UNREACHABLE_AFTER_MS: u64 = 2_000;

/// What a member is, in the eyes of the serving node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seat {
    Leader,
    /// Leads as far as it knows, but no quorum answered it lately.
    Unconfirmed,
    Follower,
    Candidate,
    Learner,
    Unreachable,
    Unknown,
    Removed,
}

impl Seat {
    /// Returns the name of the mark and of `data-role`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Unconfirmed => "unconfirmed",
            Self::Follower => "follower",
            Self::Candidate => "candidate",
            Self::Learner => "learner",
            Self::Unreachable => "unreachable",
            Self::Unknown => "unknown",
            Self::Removed => "removed",
        }
    }

    /// Returns the word that a reader sees.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Leader => "Leader",
            Self::Unconfirmed => "Leader, unconfirmed",
            Self::Follower => "Follower",
            Self::Candidate => "Candidate",
            Self::Learner => "Learner",
            Self::Unreachable => "Unreachable",
            Self::Unknown => "Not known from here",
            Self::Removed => "Removed",
        }
    }

    /// Returns the word on `data-reachable`.
    #[must_use]
    pub const fn reachable(self) -> &'static str {
        match self {
            Self::Unreachable => "false",
            Self::Unknown => "unknown",
            _ => "true",
        }
    }
}

/// One row of the members table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub address: MemberAddress,
    pub seat: Seat,
    /// True for the node that serves this page.
    pub serving: bool,
    /// Last log index known to be on the member's disk.
    pub match_index: Option<u64>,
    /// Time since the member was heard.
    pub heard_ms: Option<u64>,
}

/// Returns what the serving node itself is.
#[must_use]
pub fn own_seat(status: &NodeStatus) -> Seat {
    match status.role {
        Role::Leader if leads_unconfirmed(status) => Seat::Unconfirmed,
        Role::Leader => Seat::Leader,
        Role::Follower => Seat::Follower,
        Role::Candidate => Seat::Candidate,
        Role::Learner => Seat::Learner,
        Role::Removed => Seat::Removed,
    }
}

/// Returns the rows of the members table.
#[must_use]
pub fn rows(status: &NodeStatus) -> Vec<Row> {
    let mut rows: Vec<Row> = status
        .members
        .iter()
        .map(|member| row(status, member))
        .collect();
    sort(&mut rows, |a, b| a.address.node.cmp(&b.address.node));
    rows
}

fn leads_unconfirmed(status: &NodeStatus) -> bool {
    let alone = status.members.iter().filter(|member| member.voter).count() <= 1;
    !alone
        && status
            .quorum_ack_age_ms
            .is_none_or(|age| age > UNCONFIRMED_AFTER_MS)
}

fn row(status: &NodeStatus, member: &MemberAddress) -> Row {
    let serving = member.node == status.node;
    let leader = status.leader.as_deref() == Some(member.node.as_str());
    let progress = status
        .followers
        .iter()
        .find(|follower| follower.node == member.node);
    let (seat, match_index, heard_ms) = if serving {
        (own_seat(status), Some(status.last_log_index), None)
    } else if status.role == Role::Leader {
        let heard = progress.and_then(|follower| follower.last_ack_ms);
        let here = heard.is_some_and(|age| age <= UNREACHABLE_AFTER_MS);
        let seat = match (here, member.voter) {
            (false, _) => Seat::Unreachable,
            (true, true) => Seat::Follower,
            (true, false) => Seat::Learner,
        };
        (seat, progress.map(|follower| follower.match_index), heard)
    } else if leader {
        (Seat::Leader, None, status.leader_contact_age_ms)
    } else {
        (Seat::Unknown, None, None)
    };
    Row {
        address: member.clone(),
        seat,
        serving,
        match_index,
        heard_ms,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use conclave_shared::cluster::{FollowerProgress, StateHash};

    use super::*;

    /// Builds the status of `node0` in a cluster of that many voters.
    pub(crate) fn status(role: Role, voters: u64) -> NodeStatus {
        let member = |n| MemberAddress {
            node: format!("node{n}"),
            id: n + 1,
            http: format!("localhost:{}", 11_000 + n),
            raft: format!("localhost:{}", 12_000 + n),
            voter: true,
        };
        let follower = |n| FollowerProgress {
            node: format!("node{n}"),
            match_index: 40,
            last_ack_ms: Some(90),
            silent_ms: 90,
        };
        let leads = role == Role::Leader;
        NodeStatus {
            node: "node0".to_owned(),
            id: 1,
            cluster_id: "c".to_owned(),
            env: "test".to_owned(),
            role,
            term: 8,
            leader: leads.then(|| "node0".to_owned()),
            last_log_index: 41,
            commit_index: 41,
            applied_index: 41,
            snapshot_index: 0,
            purged_index: 0,
            revision: 41,
            oldest_revision: None,
            oldest_outcome: None,
            state_hash: StateHash {
                revision: 41,
                hash: "0".repeat(16),
            },
            quorum_ack_age_ms: leads.then_some(80),
            leader_contact_age_ms: None,
            followers: if leads {
                (1..voters).map(follower).collect()
            } else {
                Vec::new()
            },
            members: (0..voters).rev().map(member).collect(),
            foreign_peers: Vec::new(),
            watchers: 0,
            locks: 0,
            keys: 0,
            bytes: 0,
            uptime_ms: 1,
            version: "0".to_owned(),
            ui_build: "none".to_owned(),
            read_only: false,
            disk: None,
            joint: false,
            now_ms: 0,
        }
    }

    fn seats(status: &NodeStatus) -> Vec<Seat> {
        rows(status).into_iter().map(|row| row.seat).collect()
    }

    #[test]
    fn a_leader_calls_a_silent_follower_unreachable() {
        let mut status = status(Role::Leader, 3);
        status.followers[1].last_ack_ms = Some(UNREACHABLE_AFTER_MS + 1);
        assert_eq!(
            seats(&status),
            [Seat::Leader, Seat::Follower, Seat::Unreachable]
        );
    }

    #[test]
    fn a_leader_without_a_recent_quorum_is_unconfirmed() {
        let mut status = status(Role::Leader, 3);
        status.quorum_ack_age_ms = Some(UNCONFIRMED_AFTER_MS + 1);
        assert_eq!(own_seat(&status), Seat::Unconfirmed);
    }

    #[test]
    fn a_single_node_needs_nobody_to_confirm_it() {
        let mut status = status(Role::Leader, 1);
        status.quorum_ack_age_ms = None;
        assert_eq!(own_seat(&status), Seat::Leader);
    }

    #[test]
    fn a_follower_knows_its_leader_and_nothing_of_the_others() {
        let mut status = status(Role::Follower, 3);
        status.leader = Some("node1".to_owned());
        status.leader_contact_age_ms = Some(50);
        assert_eq!(
            seats(&status),
            [Seat::Follower, Seat::Leader, Seat::Unknown]
        );
        assert_eq!(rows(&status)[1].heard_ms, Some(50));
    }
}
