//! The first sentence of the page: what the cluster can still lose, in words.

use conclave_shared::{
    ClusterStatus,
    cluster::{MemberStatus, NodeStatus, Role},
};

use super::{
    seats::{Seat, UNREACHABLE_AFTER_MS, own_seat, rows},
    text::age,
};

/// How much the headline should worry its reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Calm,
    Warn,
    Danger,
}

impl Tone {
    /// Returns the word on `data-tone`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::Warn => "warn",
            Self::Danger => "danger",
        }
    }
}

/// A sentence and its tone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Headline {
    pub tone: Tone,
    pub text: String,
}

/// Says how the cluster is, as far as the serving node can know.
#[must_use]
pub fn headline(status: &NodeStatus) -> Headline {
    if status.role == Role::Leader {
        return as_leader(status);
    }
    let node = &status.node;
    match (&status.leader, status.leader_contact_age_ms) {
        _ if status.role == Role::Removed => {
            danger(format!("{node} is no longer a member of this cluster."))
        }
        (Some(leader), Some(heard)) if heard > UNREACHABLE_AFTER_MS => warn(format!(
            "{leader} leads, but {node} heard it {} ago.",
            age(heard)
        )),
        (Some(leader), Some(_)) => calm(format!("{leader} leads and {node} hears it.")),
        (Some(leader), None) => calm(format!("{leader} leads.")),
        (None, _) => danger(format!(
            "{node} knows no leader. Writes wait until a majority elects one."
        )),
    }
}

/// Says how the cluster is, as the serving node sees all members: what it can still lose.
#[must_use]
pub fn of_cluster(status: &NodeStatus, cluster: &ClusterStatus) -> Headline {
    let node = &status.node;
    if status.role == Role::Removed {
        return headline(status);
    }
    let (voters, learners): (Vec<_>, Vec<_>) = cluster
        .members
        .iter()
        .partition(|member| member.address.voter);
    let all = voters.len();
    let healthy = voters
        .iter()
        .filter(|voter| answers(voter, status, cluster))
        .count();
    let majority = all / 2 + 1;
    let silent: Vec<_> = learners
        .iter()
        .filter(|learner| !answers(learner, status, cluster))
        .map(|learner| learner.address.node.as_str())
        .collect();
    let mut said = if healthy < majority {
        danger(format!(
            "No quorum: {healthy} of {all} voters reachable from {node}. Writes are refused."
        ))
    } else if status.leader.is_none() {
        warn(format!(
            "No leader: {healthy} of {all} voters are electing one. Writes wait."
        ))
    } else if own_seat(status) == Seat::Unconfirmed {
        danger(format!(
            "{node} leads, but no majority confirms it. Writes wait."
        ))
    } else {
        losable(node, all, healthy, healthy - majority)
    };
    if !silent.is_empty() && said.tone != Tone::Danger {
        said.tone = Tone::Warn;
        said.text
            .push_str(&format!(" Learner {} is unreachable.", silent.join(", ")));
    }
    if status.joint && said.tone != Tone::Danger {
        said.tone = Tone::Warn;
        said.text
            .push_str(" A change of the members is not finished.");
    }
    said
}

/// Says what a cluster with a leader can lose.
fn losable(node: &str, all: usize, healthy: usize, spare: usize) -> Headline {
    let fail = match spare {
        0 => "No more can fail.".to_owned(),
        spare => format!("{spare} can fail."),
    };
    match (all, all - healthy) {
        (1, _) => calm(format!(
            "{node} is alone and leads. Its disk is the only copy."
        )),
        (2, 0) => warn("Both voters healthy. None can fail.".to_owned()),
        (_, 0) => calm(format!("All {all} voters healthy. {fail}")),
        _ => warn(format!("{healthy} of {all} voters healthy. {fail}")),
    }
}

/// Says whether a member answers the serving node, or its leader as far as that says so.
fn answers(member: &MemberStatus, status: &NodeStatus, cluster: &ClusterStatus) -> bool {
    if member.reachable || member.address.node == status.node {
        return true;
    }
    let statuses = cluster.members.iter().filter_map(|m| m.status.as_ref());
    let mut followers = statuses
        .filter(|other| other.role == Role::Leader && Some(&other.node) == status.leader.as_ref())
        .flat_map(|leader| &leader.followers);
    followers.any(|follower| {
        follower.node == member.address.node
            && follower
                .last_ack_ms
                .is_some_and(|age| age <= UNREACHABLE_AFTER_MS)
    })
}

/// Says the serving node's part in its cluster: `Follower of node1`.
#[must_use]
pub fn part(status: &NodeStatus) -> String {
    let word = own_seat(status).word();
    match &status.leader {
        Some(leader) if *leader != status.node => format!("{word} of {leader}"),
        _ => word.to_owned(),
    }
}

fn as_leader(status: &NodeStatus) -> Headline {
    let voters = status.members.iter().filter(|member| member.voter).count();
    let healthy = rows(status)
        .iter()
        .filter(|row| row.address.voter && row.seat != Seat::Unreachable)
        .count();
    let majority = voters / 2 + 1;
    if voters <= 1 {
        return calm(format!(
            "{} is alone and leads. Its disk is the only copy.",
            status.node
        ));
    }
    if healthy < majority || own_seat(status) == Seat::Unconfirmed {
        return danger(format!(
            "No quorum: {healthy} of {voters} voters answer. Writes wait."
        ));
    }
    match (voters - healthy, healthy - majority) {
        (0, spare) => calm(format!("All {voters} voters answer. {spare} can fail.")),
        (_, 0) => warn(format!(
            "{healthy} of {voters} voters answer. No more can fail."
        )),
        (_, spare) => warn(format!(
            "{healthy} of {voters} voters answer. {spare} can fail."
        )),
    }
}

const fn calm(text: String) -> Headline {
    Headline {
        tone: Tone::Calm,
        text,
    }
}

const fn warn(text: String) -> Headline {
    Headline {
        tone: Tone::Warn,
        text,
    }
}

const fn danger(text: String) -> Headline {
    Headline {
        tone: Tone::Danger,
        text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        overview::seen::tests::{cluster, silence},
        seats::tests::status,
    };

    #[test]
    fn a_whole_cluster_says_what_it_can_lose() {
        let said = headline(&status(Role::Leader, 5));
        assert_eq!(said, calm("All 5 voters answer. 2 can fail.".to_owned()));
    }

    #[test]
    fn the_last_majority_is_a_warning() {
        let mut status = status(Role::Leader, 3);
        status.followers[0].last_ack_ms = None;
        assert_eq!(
            headline(&status),
            warn("2 of 3 voters answer. No more can fail.".to_owned())
        );
    }

    #[test]
    fn a_lost_quorum_is_said_first() {
        let mut status = status(Role::Leader, 3);
        status.followers.clear();
        assert_eq!(headline(&status).tone, Tone::Danger);
    }

    #[test]
    fn a_node_without_leader_says_that_writes_wait() {
        let said = headline(&status(Role::Candidate, 3));
        assert_eq!(said.tone, Tone::Danger);
        assert!(said.text.contains("knows no leader"), "{}", said.text);
    }

    #[test]
    fn a_follower_says_how_long_its_leader_is_silent() {
        let mut status = status(Role::Follower, 3);
        status.leader = Some("node1".to_owned());
        status.leader_contact_age_ms = Some(300);
        assert_eq!(
            headline(&status),
            calm("node1 leads and node0 hears it.".to_owned())
        );
        status.leader_contact_age_ms = Some(3_100);
        let said = warn("node1 leads, but node0 heard it 3.1 s ago.".to_owned());
        assert_eq!(headline(&status), said);
    }

    #[test]
    fn a_followers_part_names_its_leader() {
        let mut status = status(Role::Follower, 3);
        assert_eq!(part(&status), "Follower");
        status.leader = Some("node1".to_owned());
        assert_eq!(part(&status), "Follower of node1");
    }

    #[test]
    fn the_cluster_says_what_it_can_lose_from_any_member() {
        let status = status(Role::Leader, 5);
        let mut cluster = cluster(&status);
        let said = |status: &NodeStatus, cluster: &ClusterStatus| of_cluster(status, cluster);
        assert_eq!(
            said(&status, &cluster),
            calm("All 5 voters healthy. 2 can fail.".to_owned())
        );
        let mut status = status;
        silence(&mut status, &mut cluster, "node1");
        assert_eq!(
            said(&status, &cluster),
            warn("4 of 5 voters healthy. 1 can fail.".to_owned())
        );
        silence(&mut status, &mut cluster, "node2");
        assert_eq!(
            said(&status, &cluster),
            warn("3 of 5 voters healthy. No more can fail.".to_owned())
        );
        silence(&mut status, &mut cluster, "node3");
        assert_eq!(
            said(&status, &cluster),
            danger("No quorum: 2 of 5 voters reachable from node0. Writes are refused.".to_owned())
        );
    }

    #[test]
    fn a_voter_that_only_the_leader_hears_is_healthy() {
        let mut status = status(Role::Leader, 3);
        let mut cluster = cluster(&status);
        silence(&mut status, &mut cluster, "node2");
        status.followers[1].last_ack_ms = Some(50);
        silence(&mut status, &mut cluster, "nobody");
        assert_eq!(of_cluster(&status, &cluster).tone, Tone::Calm);
    }

    #[test]
    fn an_election_and_a_silent_learner_are_said() {
        let mut status = status(Role::Leader, 3);
        let mut cluster = cluster(&status);
        cluster.members[0].address.voter = false;
        let learner = cluster.members[0].address.node.clone();
        silence(&mut status, &mut cluster, &learner);
        let said = of_cluster(&status, &cluster).text;
        assert!(
            said.ends_with(&format!("Learner {learner} is unreachable.")),
            "{said}"
        );
        status.leader = None;
        status.role = Role::Candidate;
        let said = of_cluster(&status, &cluster);
        assert_eq!(said.tone, Tone::Warn);
        assert!(said.text.starts_with("No leader: 2 of 2"), "{}", said.text);
    }

    #[test]
    fn a_single_node_is_told_about_its_only_copy() {
        assert_eq!(headline(&status(Role::Leader, 1)).tone, Tone::Calm);
    }
}
