//! What a node's status means for the page: whether one can write, and what a change of leader makes
//! of it before the node says so itself.

use conclave_shared::{NodeStatus, Role, stream::LeaderChange};

use crate::model::{
    connection::Connection,
    seats::{Seat, UNREACHABLE_AFTER_MS, own_seat},
};

/// Says why nothing can be written at this moment; none when it can.
#[must_use]
pub fn writes_off(status: Option<&NodeStatus>, connection: Connection) -> Option<String> {
    let Some(status) = status else {
        return Some("The page has not heard its node yet.".to_owned());
    };
    let node = &status.node;
    if status.role == Role::Removed {
        return Some(format!("{node} is no longer a member of its cluster."));
    }
    if status.read_only {
        return Some(format!(
            "{node} is read-only: it was started with -read-only."
        ));
    }
    if matches!(
        connection,
        Connection::Reconnecting(_) | Connection::Offline
    ) {
        return Some(format!("The connection to {node} is lost."));
    }
    match &status.leader {
        None => Some(format!("{node} knows no leader.")),
        Some(_) if own_seat(status) == Seat::Unconfirmed => Some(format!(
            "{node} leads, but no majority has confirmed that for over 2 s."
        )),
        Some(leader) if is_cut_off(status) => Some(format!(
            "{node} has not heard its leader {leader} for over 2 s."
        )),
        Some(_) => None,
    }
}

/// Says whether the node is without a majority: it knows no leader, hears it no more, or leads
/// unconfirmed.
#[must_use]
pub fn is_cut_off(status: &NodeStatus) -> bool {
    match (status.role, &status.leader) {
        (Role::Removed, _) => false,
        (Role::Leader, _) => own_seat(status) == Seat::Unconfirmed,
        (_, None) => true,
        (_, Some(_)) => status
            .leader_contact_age_ms
            .is_some_and(|age| age > UNREACHABLE_AFTER_MS),
    }
}

/// Returns the status after a change of leader that the node told; none when it says nothing new.
#[must_use]
pub fn as_told(status: &NodeStatus, change: &LeaderChange) -> Option<NodeStatus> {
    if change.term < status.term || (change.term, &change.leader) == (status.term, &status.leader) {
        return None;
    }
    let mut told = status.clone();
    told.term = change.term;
    told.leader.clone_from(&change.leader);
    let leads = change.leader.as_deref() == Some(status.node.as_str());
    if leads {
        told.role = Role::Leader;
        // A majority has just voted for it.
        told.quorum_ack_age_ms.get_or_insert(0);
    } else if told.role == Role::Leader {
        told.role = Role::Follower;
        told.quorum_ack_age_ms = None;
        told.followers.clear();
    }
    if change.leader.is_some() {
        told.leader_contact_age_ms = (!leads).then_some(0);
    }
    Some(told)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::seats::tests::status;

    fn off(status: &NodeStatus, connection: Connection) -> String {
        writes_off(Some(status), connection).unwrap_or_default()
    }

    fn follower() -> NodeStatus {
        let mut status = status(Role::Follower, 3);
        status.leader = Some("node1".to_owned());
        status.leader_contact_age_ms = Some(90);
        status
    }

    #[test]
    fn a_confirmed_leader_and_its_followers_write() {
        assert_eq!(off(&follower(), Connection::Live), "");
        assert_eq!(off(&status(Role::Leader, 3), Connection::Live), "");
        assert_eq!(off(&status(Role::Leader, 1), Connection::Paused), "");
    }

    #[test]
    fn each_reason_is_said_in_words() {
        assert!(writes_off(None, Connection::Live).is_some());
        assert!(off(&follower(), Connection::Reconnecting(1)).contains("is lost"));
        assert!(off(&status(Role::Candidate, 3), Connection::Live).contains("knows no leader"));
        let mut status = status(Role::Leader, 3);
        status.quorum_ack_age_ms = Some(3_200);
        assert!(off(&status, Connection::Live).contains("no majority"));
        status.role = Role::Removed;
        assert!(off(&status, Connection::Live).contains("no longer a member"));
        let mut status = follower();
        status.leader_contact_age_ms = Some(2_001);
        assert!(off(&status, Connection::Live).contains("not heard its leader node1"));
        status.read_only = true;
        assert!(off(&status, Connection::Live).contains("read-only"));
    }

    #[test]
    fn another_leader_is_taken_over_at_once() {
        let change = |leader: Option<&str>, term| LeaderChange {
            leader: leader.map(str::to_owned),
            term,
        };
        let told = as_told(&follower(), &change(Some("node0"), 9)).unwrap();
        assert_eq!(own_seat(&told), Seat::Leader);
        let told = as_told(&told, &change(Some("node2"), 10)).unwrap();
        assert_eq!(own_seat(&told), Seat::Follower);
        assert!(!is_cut_off(&told));
        let told = as_told(&told, &change(None, 11)).unwrap();
        assert!(is_cut_off(&told));
        assert_eq!(as_told(&told, &change(Some("node1"), 10)), None);
    }
}
