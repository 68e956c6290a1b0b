//! The first sentence of the page: what the cluster can still lose, in words.

use conclave_shared::cluster::{NodeStatus, Role};

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
    use crate::model::seats::tests::status;

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
    fn a_single_node_is_told_about_its_only_copy() {
        assert_eq!(headline(&status(Role::Leader, 1)).tone, Tone::Calm);
    }
}
