//! What the whole page must know: that its node cannot be trusted to be current, where to look
//! instead, and that it is well again.

use std::sync::Arc;

use conclave_shared::{NodeStatus, Role};

use super::{recovery::Recovered, status::is_cut_off};
use crate::model::{
    connection::Connection,
    seats::{Seat, own_seat},
    text::{age, grouped},
};

/// How long a node without a majority is given to find one before the bar says so, milliseconds: an
/// election takes about as long.
pub const ELECTION_MS: u64 = 1_000;

/// How long trouble must have been shown for its end to be news, milliseconds.
pub const NEWS_FROM_MS: f64 = 1_000.0;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The browser has no network.
    NoNetwork,
    /// The serving node is not heard.
    Lost,
    /// The node answers, but not with a stream.
    Refused(u16),
    /// The node is without a majority; another member may have one.
    CutOff,
    /// No member that this browser reaches has a majority.
    NoQuorum,
    Removed,
}

impl Trouble {
    /// Returns the word on `data-kind`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoNetwork => "no-network",
            Self::Lost => "lost",
            Self::Refused(_) => "refused",
            Self::CutOff => "cut-off",
            Self::NoQuorum => "no-quorum",
            Self::Removed => "removed",
        }
    }

    /// Says whether the page itself has lost its node, so that trying again may help.
    #[must_use]
    pub const fn is_of_connection(self) -> bool {
        matches!(self, Self::NoNetwork | Self::Lost | Self::Refused(_))
    }
}

/// What a member said to this browser itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    pub node: String,
    /// Its HTTP address.
    pub http: String,
    /// None: it did not answer.
    pub status: Option<Arc<NodeStatus>>,
}

impl Probe {
    /// Says what the member is: `leader of term 9`, `follower`, `does not answer`.
    #[must_use]
    pub fn word(&self) -> String {
        let Some(status) = &self.status else {
            return "does not answer".to_owned();
        };
        match own_seat(status) {
            Seat::Leader => format!("leader of term {}", status.term),
            Seat::Unconfirmed => format!("leader of term {}, unconfirmed", status.term),
            _ if is_cut_off(status) => "without a leader".to_owned(),
            seat => seat.word().to_lowercase(),
        }
    }
}

/// Decides what is wrong. `ill_ms` is for how long the node has been without a majority; `probes` are
/// empty until the members were asked.
#[must_use]
pub fn trouble(
    status: &NodeStatus,
    connection: Connection,
    is_online: bool,
    refused: Option<u16>,
    ill_ms: u64,
    probes: &[Probe],
) -> Option<Trouble> {
    // The first attempt, also of a page that was just opened, has not failed yet.
    if matches!(
        connection,
        Connection::Reconnecting(1..) | Connection::Offline
    ) {
        return Some(match (is_online, refused) {
            (false, _) => Trouble::NoNetwork,
            (true, Some(code)) => Trouble::Refused(code),
            (true, None) => Trouble::Lost,
        });
    }
    if status.role == Role::Removed {
        return Some(Trouble::Removed);
    }
    if !is_cut_off(status) || ill_ms < ELECTION_MS {
        return None;
    }
    let has_majority = |probe: &Probe| {
        let status = probe.status.as_deref();
        status.is_some_and(|status| own_seat(status) == Seat::Leader)
    };
    // Until all were asked, the others have the benefit of the doubt.
    let are_asked = probes.len() + 1 >= status.members.len();
    if !are_asked || probes.iter().any(has_majority) {
        Some(Trouble::CutOff)
    } else {
        Some(Trouble::NoQuorum)
    }
}

/// Says it. `old_ms` is the age of what the page shows.
#[must_use]
pub fn sentence(trouble: Trouble, status: &NodeStatus, old_ms: u64, probes: &[Probe]) -> String {
    let node = &status.node;
    let applied = grouped(status.applied_index);
    let old = age(old_ms);
    let what = match trouble {
        Trouble::NoNetwork => format!(
            "This browser has no network. You see the state of {node}, applied up to {applied}, {old} old."
        ),
        Trouble::Lost => format!(
            "{node} does not answer. You see its state, applied up to {applied}, {old} old."
        ),
        Trouble::Refused(code) => format!(
            "{node} answers {code} and no events. You see its state, applied up to {applied}, {old} old."
        ),
        Trouble::CutOff => format!(
            "{node} is cut off from the quorum. You see its own copy, applied up to {applied}, {old} old."
        ),
        Trouble::NoQuorum => {
            let voters = status.members.iter().filter(|member| member.voter).count();
            let here = 1 + answering_voters(status, probes);
            format!(
                "No node can commit: {here} of {voters} voters answer this browser, and none of them has a majority. \
                 You see the copy of {node}, applied up to {applied}, {old} old."
            )
        }
        Trouble::Removed => format!(
            "{node} is no longer a member of this cluster. You see its last copy, applied up to {applied}."
        ),
    };
    format!("{what} Writes are off.")
}

/// Says the same without what changes every second, for those who listen to the page.
#[must_use]
pub fn announced(trouble: Trouble, node: &str) -> String {
    match trouble {
        Trouble::NoNetwork => "This browser has no network. Writes are off.".to_owned(),
        Trouble::Lost => format!("{node} does not answer. Writes are off."),
        Trouble::Refused(_) => format!("{node} sends no events. Writes are off."),
        Trouble::CutOff => format!("{node} is cut off from the quorum. Writes are off."),
        Trouble::NoQuorum => "No node can commit. Writes are off.".to_owned(),
        Trouble::Removed => format!("{node} is no longer a member. Writes are off."),
    }
}

/// Says that the node is well again: how many entries it had to catch up, in which time.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "milliseconds between two events of a page"
)]
pub fn caught_up(node: &str, recovered: Recovered) -> String {
    let took = age(recovered.took_ms.max(0.0) as u64);
    match recovered.entries {
        0 => format!("{node} is back and has missed nothing."),
        1 => format!("{node} is back and caught up 1 entry in {took}."),
        entries => format!(
            "{node} is back and caught up {} entries in {took}.",
            grouped(entries)
        ),
    }
}

/// Says that another node leads; nothing when the same one still does.
#[must_use]
pub fn leads(last: &str, leader: &str, term: u64) -> Option<String> {
    (last != leader).then(|| format!("{leader} leads, term {term} (was {last})."))
}

/// Age of the node's copy as the node itself knows it: the time since it last heard a majority.
#[must_use]
pub fn copy_age_ms(status: &NodeStatus) -> Option<u64> {
    match status.role {
        Role::Leader => status.quorum_ack_age_ms,
        _ => status.leader_contact_age_ms,
    }
}

fn answering_voters(status: &NodeStatus, probes: &[Probe]) -> usize {
    let answers = |node: &str| {
        let probe = probes.iter().find(|probe| probe.node == node);
        probe.is_some_and(|probe| probe.status.is_some())
    };
    let voters = status.members.iter().filter(|member| member.voter);
    voters.filter(|member| answers(&member.node)).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::seats::tests::status;

    fn cut_off() -> NodeStatus {
        status(Role::Candidate, 3)
    }

    fn probe(node: &str, status: Option<NodeStatus>) -> Probe {
        Probe {
            node: node.to_owned(),
            http: "localhost:11001".to_owned(),
            status: status.map(Arc::new),
        }
    }

    fn named(node: &str, role: Role) -> NodeStatus {
        let mut status = status(role, 3);
        status.node = node.to_owned();
        status
    }

    fn said(status: &NodeStatus, ill_ms: u64, probes: &[Probe]) -> Option<Trouble> {
        trouble(status, Connection::Live, true, None, ill_ms, probes)
    }

    #[test]
    fn an_election_is_no_trouble_yet() {
        assert_eq!(said(&cut_off(), ELECTION_MS - 1, &[]), None);
        assert_eq!(said(&cut_off(), ELECTION_MS, &[]), Some(Trouble::CutOff));
        assert_eq!(said(&status(Role::Leader, 3), 60_000, &[]), None);
    }

    #[test]
    fn a_majority_elsewhere_makes_the_difference() {
        let leader = probe("node1", Some(named("node1", Role::Leader)));
        let silent = probe("node2", None);
        let alone = probe("node2", Some(named("node2", Role::Candidate)));
        let of = |probes: &[Probe]| said(&cut_off(), 5_000, probes);
        assert_eq!(of(&[leader, silent.clone()]), Some(Trouble::CutOff));
        let none = [probe("node1", None), alone];
        assert_eq!(of(&none), Some(Trouble::NoQuorum));
        let said = sentence(Trouble::NoQuorum, &cut_off(), 14_000, &none);
        assert!(
            said.starts_with("No node can commit: 2 of 3 voters answer"),
            "{said}"
        );
        assert_eq!(silent.word(), "does not answer");
    }

    #[test]
    fn an_old_leader_elsewhere_is_no_majority() {
        let mut old = named("node1", Role::Leader);
        old.quorum_ack_age_ms = Some(9_000);
        let old = probe("node1", Some(old));
        assert_eq!(old.word(), "leader of term 8, unconfirmed");
        let both = [old.clone(), probe("node2", None)];
        assert_eq!(said(&cut_off(), 5_000, &both), Some(Trouble::NoQuorum));
        assert_eq!(said(&cut_off(), 5_000, &[old]), Some(Trouble::CutOff));
    }

    #[test]
    fn a_lost_node_says_how_it_is_lost() {
        let status = cut_off();
        let of = |is_online, refused| {
            trouble(
                &status,
                Connection::Reconnecting(2),
                is_online,
                refused,
                0,
                &[],
            )
        };
        assert_eq!(of(true, None), Some(Trouble::Lost));
        assert_eq!(of(true, Some(503)), Some(Trouble::Refused(503)));
        assert_eq!(of(false, None), Some(Trouble::NoNetwork));
    }

    #[test]
    fn a_page_that_was_just_opened_is_in_no_trouble() {
        let status = status(Role::Leader, 3);
        let of = |connection| trouble(&status, connection, true, None, 0, &[]);
        assert_eq!(of(Connection::Reconnecting(0)), None);
        assert_eq!(of(Connection::Reconnecting(1)), Some(Trouble::Lost));
        assert_eq!(of(Connection::Offline), Some(Trouble::Lost));
    }

    #[test]
    fn the_bar_says_how_old_the_copy_is() {
        let said = sentence(Trouble::CutOff, &cut_off(), 14_200, &[]);
        assert_eq!(
            said,
            "node0 is cut off from the quorum. You see its own copy, applied up to 41, 14 s old. Writes are off."
        );
    }

    #[test]
    fn what_was_missed_is_counted() {
        let said = |entries, took_ms| caught_up("n2", Recovered { entries, took_ms });
        assert_eq!(
            said(1_204, 800.0),
            "n2 is back and caught up 1,204 entries in 0.8 s."
        );
        assert_eq!(said(1, 10.0), "n2 is back and caught up 1 entry in <0.1 s.");
        assert_eq!(said(0, 10.0), "n2 is back and has missed nothing.");
    }

    #[test]
    fn only_another_leader_is_announced() {
        assert_eq!(leads("n1", "n1", 9), None);
        let said = leads("n1", "n3", 8);
        assert_eq!(said.as_deref(), Some("n3 leads, term 8 (was n1)."));
    }
}
