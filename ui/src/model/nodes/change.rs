//! What a reader can do with a member, and the words around it.

use conclave_shared::{
    ErrorCode,
    cluster::{MemberPlan, QuorumStatus},
};

use super::Row;
use crate::model::seats::Seat;

/// What can be done with the membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Remove,
    Promote,
    /// Another voter is to lead.
    Hand,
    /// The leader hands over to whoever can take over soonest.
    StepDown,
    Add,
}

impl Action {
    /// Returns what can be done with a member as it is, the most harmless first.
    #[must_use]
    pub fn offered(row: &Row) -> Vec<Self> {
        let leads = matches!(row.seat, Seat::Leader | Seat::Unconfirmed);
        let first = match (row.voter, leads) {
            (false, _) => Self::Promote,
            (true, false) => Self::Hand,
            (true, true) => Self::StepDown,
        };
        vec![first, Self::Remove]
    }

    /// Returns the word in test ids.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Remove => "remove",
            Self::Promote => "promote",
            Self::Hand => "hand",
            Self::StepDown => "step-down",
            Self::Add => "add",
        }
    }

    /// Returns the words on its button.
    #[must_use]
    pub fn words(self, node: &str) -> String {
        match self {
            Self::Remove => format!("Remove {node}"),
            Self::Promote => format!("Make {node} a voter"),
            Self::Hand => format!("Let {node} lead"),
            Self::StepDown => format!("Let {node} step down"),
            Self::Add => "Add a node".to_owned(),
        }
    }

    /// Returns what it means, before it is done.
    #[must_use]
    pub fn meaning(self, node: &str) -> String {
        match self {
            Self::Remove => format!(
                "{node} leaves the cluster and never votes again. Its directory cannot be started \
                 again: to bring it back, empty the directory and let it join."
            ),
            Self::Promote => format!("{node} votes from then on: it counts for the majority."),
            Self::Hand => format!(
                "The leader brings {node} up to date and lets it take over. Writes wait for the \
                 length of a hand-over, usually some milliseconds."
            ),
            Self::StepDown => format!(
                "{node} hands over to the voter that can take over soonest, and follows it. Writes \
                 wait for the length of a hand-over, usually some milliseconds."
            ),
            Self::Add => {
                "A node that was started with -join adds itself. Use this for one that waits \
                 to be joined: it learns first and votes by itself once it has caught up."
                    .to_owned()
            }
        }
    }
}

/// Says who makes a change, as it is the same whichever node is asked.
#[must_use]
pub fn done_by(serving: &str, leader: Option<&str>) -> String {
    match leader {
        Some(leader) if leader == serving => format!("Done by the leader {leader}."),
        Some(leader) => format!("Done by the leader {leader}; {serving} passes it on."),
        None => format!("{serving} knows no leader. Nothing can be changed until there is one."),
    }
}

/// Says how a quorum stands: `3 of 3 voters answer, 1 can fail`.
#[must_use]
pub fn quorum(quorum: &QuorumStatus) -> String {
    let QuorumStatus {
        voters,
        healthy,
        can_lose,
    } = quorum;
    let answer = if *voters == 1 {
        "voter answers"
    } else {
        "voters answer"
    };
    if *healthy < voters / 2 + 1 {
        return format!("{healthy} of {voters} {answer}: no quorum");
    }
    match can_lose {
        0 => format!("{healthy} of {voters} {answer}, none can fail"),
        n => format!("{healthy} of {voters} {answer}, {n} can fail"),
    }
}

/// Says why a planned change is refused; none when it is not.
#[must_use]
pub fn refusal(plan: &MemberPlan) -> Option<String> {
    let node = &plan.node;
    let text = match plan.refusal? {
        ErrorCode::WouldLoseQuorum => format!(
            "Without {node} no majority would answer: nothing could be written until more voters do."
        ),
        ErrorCode::LastVoter => {
            format!("{node} is the only voter: without it there is no cluster.")
        }
        ErrorCode::AlreadyVoter => format!("{node} is a voter already."),
        ErrorCode::TooManyVoters => {
            "The cluster has as many voters as it may. Remove one first.".to_owned()
        }
        ErrorCode::MembershipConflict => format!(
            "It cannot be done now: {node} has not caught up, an earlier change is not finished, or \
             no majority answers."
        ),
        other => format!("The leader refuses it: {other}."),
    };
    Some(text)
}

#[cfg(test)]
mod tests {
    use conclave_shared::cluster::MemberAction;

    use super::*;

    #[test]
    fn a_quorum_is_said_with_what_can_fail() {
        let said = |voters, healthy, can_lose| {
            quorum(&QuorumStatus {
                voters,
                healthy,
                can_lose,
            })
        };
        assert_eq!(said(3, 3, 1), "3 of 3 voters answer, 1 can fail");
        assert_eq!(said(2, 2, 0), "2 of 2 voters answer, none can fail");
        assert_eq!(said(2, 1, 0), "1 of 2 voters answer: no quorum");
        assert_eq!(said(1, 1, 0), "1 of 1 voter answers, none can fail");
    }

    #[test]
    fn a_change_is_made_by_the_leader_wherever_it_is_asked_for() {
        assert_eq!(done_by("n1", Some("n1")), "Done by the leader n1.");
        assert!(done_by("n2", Some("n1")).contains("n2 passes it on"));
        assert!(done_by("n2", None).contains("knows no leader"));
    }

    #[test]
    fn a_refused_plan_says_why() {
        let side = || QuorumStatus {
            voters: 2,
            healthy: 1,
            can_lose: 0,
        };
        let mut plan = MemberPlan {
            action: MemberAction::Remove,
            node: "n2".to_owned(),
            id: 2,
            done: false,
            allowed: false,
            refusal: Some(ErrorCode::WouldLoseQuorum),
            before: side(),
            after: side(),
            text: String::new(),
        };
        assert!(refusal(&plan).unwrap().starts_with("Without n2"));
        plan.refusal = None;
        assert_eq!(refusal(&plan), None);
    }
}
