//! What the voters do when the connection ends over which their leader sent heartbeats.
//!
//! The kernel of a machine whose process died ends its connections at once, long before an election
//! timeout runs out. The lease that the voters have granted must still be over before another node
//! leads (Raft dissertation, section 6.4.1), but nothing is to be waited for after it. The voters
//! have turns in the order of their ids, so that they do not split the votes between them.
//!
//! This makes an election earlier, and nothing else: Raft asks for pre-votes first, which no voter
//! gives that has heard a leader within its lease. A leader that is cut off or halted has connections
//! that stay, and is followed after the election timeout.

use std::time::Duration;

use super::Node;
use crate::clock;
use crate::raft::NodeId;
use crate::runtime;

/// Length of a turn: time for the votes, a sync on each side included.
const TURN: Duration = Duration::from_millis(50);

impl Node {
    /// Stands for election after `leader`, whose connection has ended, unless that or another leader
    /// is heard or voted for. Gives up two election timeouts after the lease: Raft stands by itself at
    /// the latest one after that. Cancel safe.
    pub(super) async fn succeed(&self, leader: NodeId) {
        let (consensus, raft) = (&self.0.consensus, self.0.options.raft);
        let ended = clock::now();
        let Some(place) = place(consensus.id(), leader, &consensus.facts().voters) else {
            return;
        };
        let first = raft.lease() + TURN * place.before;
        let mut turn = first;
        while turn < raft.lease() + 2 * raft.election_max {
            runtime::sleep(turn.saturating_sub(clock::since(ended))).await;
            let heard = self.0.contact.since_heard();
            if heard.is_some_and(|age| age < raft.lease()) || self.is_removed() {
                return;
            }
            match consensus.stand_for_election_after(leader).await {
                Ok(true) if turn == first => {
                    let after = clock::since(ended);
                    tracing::info!(
                        ?after,
                        "the leader's connection has ended: stands for election"
                    );
                }
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => return tracing::debug!(%error, "raft has stopped"),
            }
            turn += TURN * place.of;
        }
    }
}

/// A place in the order of those who can follow a leader.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    before: u32,
    of: u32,
}

/// Returns a node's place; `None` where it has no vote, or is the leader itself.
fn place(me: NodeId, leader: NodeId, voters: &[NodeId]) -> Option<Place> {
    let others: Vec<_> = voters.iter().filter(|id| **id != leader).collect();
    if !others.contains(&&me) {
        return None;
    }
    let before = others.iter().filter(|id| ***id < me).count();
    // A membership has few voters: it fits.
    let count = |count| u32::try_from(count).unwrap_or(u32::MAX);
    Some(Place {
        before: count(before),
        of: count(others.len()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_voter_but_the_leader_has_a_turn_of_its_own() {
        let voters = [7, 3, 5, 9];
        let turn = |me| place(me, 5, &voters).map(|place| (place.before, place.of));
        assert_eq!(turn(3), Some((0, 3)));
        assert_eq!(turn(7), Some((1, 3)));
        assert_eq!(turn(9), Some((2, 3)));
        assert_eq!(turn(5), None, "the leader");
        assert_eq!(turn(4), None, "no voter");
    }
}
