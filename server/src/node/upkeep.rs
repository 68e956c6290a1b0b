//! What a leader does for the membership by itself: finish a change that a crashed leader left, make
//! voters of learners, report dead members, and remove them where that is wanted.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use conclave_shared::{MarkKind, limits};

use super::Node;
use super::consensus::{Facts, Swap};
use super::quorum::SILENT;
use crate::clock;
use crate::raft::NodeId;
use crate::runtime;

/// Longest wait for whoever changes the membership now: one that dials a new node takes 2 s.
const TURN: Duration = Duration::from_secs(3);
/// Voters that must remain when a dead one goes without an heir: with fewer, its place is all that
/// is left to lose.
const LEFT: usize = 3;
/// An even number of voters is advised against when it has stayed for this long.
const EVEN_FOR: Duration = Duration::from_secs(30);

/// What a leader has said of its members, so that only changes are said.
#[derive(Debug, Default)]
pub(super) struct SaidOfMembers {
    dead: BTreeSet<NodeId>,
    /// An even number of voters, since when, and whether that was said.
    even: Option<(usize, Instant, bool)>,
}

impl Node {
    pub(super) fn report_members(&self, facts: &Facts, said: &mut SaidOfMembers) {
        for (id, member) in &facts.members {
            let (name, silence) = (&member.name, self.silence(*id));
            if silence > SILENT && said.dead.insert(*id) {
                let kind = if facts.voters.contains(id) {
                    "voter"
                } else {
                    "learner"
                };
                tracing::warn!(
                    node.id = id,
                    "the {kind} `{name}` at {} has not answered for {} s",
                    member.raft,
                    SILENT.as_secs()
                );
                let text = format!("{name} does not answer");
                self.0.options.metrics.mark(MarkKind::Member, text);
            } else if silence <= SILENT && said.dead.remove(id) {
                tracing::info!(node.id = id, "`{name}` answers again");
            }
        }
        said.dead.retain(|id| facts.members.contains_key(id));
        let voters = facts.voters.iter();
        let dead = voters.filter(|id| said.dead.contains(id)).count();
        self.0.options.metrics.dead_voters(dead);
        self.advise(facts, said);
    }

    fn advise(&self, facts: &Facts, said: &mut SaidOfMembers) {
        let voters = facts.voters.len();
        match &mut said.even {
            _ if facts.joint || voters % 2 == 1 => said.even = None,
            Some((count, since, is_said)) if *count == voters => {
                if !*is_said && clock::since(*since) > EVEN_FOR {
                    *is_said = true;
                    tracing::warn!(
                        "{voters} voters can lose no more of them than {} could: add or remove one",
                        voters - 1
                    );
                }
            }
            _ => said.even = Some((voters, clock::now(), false)),
        }
    }

    /// Makes the next change of the membership that is due.
    pub(super) async fn keep_membership(&self) {
        let Ok(_turn) = runtime::timeout(TURN, self.0.membership.lock()).await else {
            return;
        };
        // Decided on what the membership is now that nobody else changes it.
        let facts = self.facts();
        if !self.is_leader(&facts) {
            return;
        }
        let changed = if facts.joint {
            let finished = self.0.consensus.finish_change(&facts).await;
            if finished.is_ok() {
                tracing::info!("finished a membership change that an earlier leader began");
            }
            finished
        } else {
            let due = self.next_promotion(&facts);
            let Some(swap) = due.or_else(|| self.next_burial(&facts)) else {
                return;
            };
            self.0.consensus.swap(&facts, swap).await
        };
        if let Err(error) = changed {
            tracing::debug!(?error, "membership stays as it is for now");
        }
    }

    /// A learner that has caught up becomes a voter, in the place of older members of its name.
    fn next_promotion(&self, facts: &Facts) -> Option<Swap> {
        let caught_up = |id: &NodeId| self.is_caught_up(*id);
        let mut learners = facts.learners().filter(|(id, _)| caught_up(id));
        learners.find_map(|(id, _)| {
            let swap = facts.promotion(id);
            let voters = swap.voters_after(facts);
            let me = self.0.consensus.id();
            let fits = voters.len() <= limits::VOTERS && voters.contains(&me);
            let sides = [&facts.voters, &voters];
            let agreed = sides.iter().all(|voters| self.can_commit(voters));
            (fits && agreed && !self.spends_the_margin(facts, &voters)).then_some(swap)
        })
    }

    /// Returns whether more voters would be needed than now, while one of them does not answer: the
    /// newcomer would be one more that must not fail.
    fn spends_the_margin(&self, facts: &Facts, voters: &[NodeId]) -> bool {
        let needs_more = voters.len() / 2 > facts.voters.len() / 2;
        needs_more && facts.voters.iter().any(|id| !self.answers(*id))
    }

    /// A member that has been dead for as long as `-remove-dead-after` says goes; a learner that has
    /// caught up takes a voter's place.
    fn next_burial(&self, facts: &Facts) -> Option<Swap> {
        let after = self.0.options.raft.remove_dead_after?;
        let is_dead = |id: &NodeId| self.dead_for(*id) > after;
        let dead_voter = facts.voters.iter().copied().find(is_dead);
        let swap = match dead_voter {
            Some(dead) => Swap {
                promoted: facts
                    .learners()
                    .map(|(id, _)| id)
                    .find(|id| self.is_caught_up(*id)),
                voters_gone: [dead].into(),
                learners_gone: BTreeSet::new(),
            },
            None => Swap {
                learners_gone: [facts.learners().map(|(id, _)| id).find(is_dead)?].into(),
                ..Swap::default()
            },
        };
        // Without a majority it would wait in the log until the dead one is back to agree.
        let sides = [facts.voters.clone(), swap.voters_after(facts)];
        if !sides.iter().all(|voters| self.can_commit(voters)) {
            return None;
        }
        if dead_voter.is_some() && sides[1].len() < LEFT {
            return None;
        }
        for id in swap.voters_gone.iter().chain(&swap.learners_gone) {
            let (name, silence) = (facts.name_of(*id), self.silence(*id));
            let heir = swap.promoted.map(|id| facts.name_of(id));
            match heir {
                Some(heir) => tracing::warn!(
                    "removing `{name}`, which has not answered for {silence:.0?}; `{heir}` takes its place"
                ),
                None => {
                    tracing::warn!("removing `{name}`, which has not answered for {silence:.0?}")
                }
            }
        }
        Some(swap)
    }
}
