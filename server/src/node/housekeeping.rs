//! What a node does by itself: notice changes and say so, look after the membership, build
//! snapshots, let log time pass, keep claims alive.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use conclave_shared::MarkKind;

use super::Node;
use super::consensus::Facts;
use super::upkeep::SaidOfMembers;
use crate::clock;
use crate::raft::{CAUGHT_UP_ENTRIES, Member, NodeId};
use crate::runtime::{self, Task};

/// Time between two looks.
const INTERVAL: Duration = Duration::from_millis(250);
/// Time between two questions of a node without a leader whether it still is a member.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// The running tasks of a node; they stop with this value.
#[derive(Debug)]
pub struct Housekeeping {
    _facts: Task,
    _duties: Task,
    _ticks: Task,
    _beats: Task,
    _claims: [Task; 2],
}

impl Housekeeping {
    /// Starts the tasks. `members_changed` is told every new membership.
    #[must_use]
    pub fn start(
        node: &Node,
        members_changed: impl Fn(BTreeMap<NodeId, Member>) + Send + Sync + 'static,
    ) -> Self {
        let facts = follow_facts(node.clone(), members_changed);
        Self {
            _facts: runtime::spawn(facts),
            _duties: runtime::spawn(duties(node.clone())),
            _ticks: runtime::spawn(super::ticks::keep_ticking(node.clone())),
            _beats: runtime::spawn(keep_beating(node.clone())),
            _claims: [
                runtime::spawn(super::locks::follow_claims(node.clone())),
                runtime::spawn(super::locks::keep_claims(node.clone())),
            ],
        }
    }
}

/// Sends heartbeats while this node leads. openraft does so by itself only as often as it waits for the
/// answer to one.
async fn keep_beating(node: Node) {
    let consensus = &node.0.consensus;
    loop {
        runtime::sleep(node.0.options.raft.heartbeat).await;
        if node.is_leader(&consensus.facts())
            && let Err(error) = consensus.beat().await
        {
            return tracing::debug!(%error, "raft has stopped");
        }
    }
}

/// Takes leadership and membership over as they change, and logs what a person cares about.
async fn follow_facts(node: Node, members_changed: impl Fn(BTreeMap<NodeId, Member>)) {
    let consensus = &node.0.consensus;
    let mut changes = consensus.fact_changes();
    let mut before = consensus.facts();
    members_changed(before.members.clone());
    loop {
        let goes_on = consensus.next_facts(&mut changes).await;
        let now = consensus.facts();
        if now.members != before.members {
            members_changed(now.members.clone());
        }
        node.note_election(&now);
        node.0.facts_changed.notify_waiters();
        report(&node, &before, &now);
        before = now;
        if !goes_on {
            return;
        }
    }
}

impl Node {
    fn note_election(&self, facts: &Facts) {
        let mut elected = self.0.elected.lock();
        match (self.is_leader(facts), *elected) {
            (true, Some((term, _))) if term == facts.term => {}
            (true, _) => *elected = Some((facts.term, clock::now())),
            (false, _) => *elected = None,
        }
    }
}

fn report(node: &Node, before: &Facts, now: &Facts) {
    let (name, metrics) = (node.name(), &node.0.options.metrics);
    let leader = |facts: &Facts| facts.leader.as_ref().map(|leader| leader.name.clone());
    let term = now.term;
    match (leader(before), leader(now)) {
        (old, Some(new)) if old.as_ref() != Some(&new) || before.term != term => {
            let own = if *new == *name { ", this node" } else { "" };
            tracing::info!(raft.term = term, leader = %new, "leader of term {term} is `{new}`{own}");
            metrics.leader_changed(format!("leader of term {term} is {new}"));
        }
        (Some(old), None) => {
            tracing::warn!(raft.term = term, "lost the leader `{old}`");
            metrics.mark(MarkKind::Leader, format!("lost the leader {old}"));
        }
        _ => {}
    }
    for (id, member) in &now.members {
        let (was, is) = (before.voters.contains(id), now.voters.contains(id));
        if is && !was {
            tracing::info!(node.id = id, "`{}` is a voter, id {id}", member.name);
            metrics.mark(MarkKind::Member, format!("{} is a voter", member.name));
        } else if !is && !before.members.contains_key(id) {
            tracing::info!(node.id = id, "`{}` is a learner, id {id}", member.name);
            metrics.mark(MarkKind::Member, format!("{} is a learner", member.name));
        }
    }
    for (id, member) in before
        .members
        .iter()
        .filter(|(id, _)| !now.members.contains_key(id))
    {
        tracing::info!(
            node.id = id,
            "`{}`, id {id}, is no longer a member",
            member.name
        );
        let text = format!("{} is no longer a member", member.name);
        metrics.mark(MarkKind::Member, text);
    }
}

/// What was last said of the node's condition, so that only changes are said.
#[derive(Debug, Default)]
struct Said {
    quorum: bool,
    leader: bool,
    caught_up: bool,
    members: SaidOfMembers,
    /// When the members were last asked for this node's standing, and how many denied it in a row.
    asked: Option<Instant>,
    denied: u8,
}

async fn duties(node: Node) {
    let mut said = Said::default();
    let mut addresses_agree = false;
    loop {
        let facts = node.facts();
        if node.is_leader(&facts) {
            node.attend(&facts);
            node.report_quorum(&mut said);
            node.report_members(&facts, &mut said.members);
            node.make_way(&facts).await;
            if node.check_room(&facts).is_ok() {
                node.keep_membership().await;
            }
        } else {
            said.members = SaidOfMembers::default();
            node.report_following(&facts, &mut said);
            node.mind_standing(&facts, &mut said).await;
        }
        if !addresses_agree {
            addresses_agree = node.announce_addresses().await;
        }
        node.keep_snapshot().await;
        runtime::sleep(INTERVAL).await;
    }
}

impl Node {
    fn report_quorum(&self, said: &mut Said) {
        (said.leader, said.caught_up) = (true, true);
        let lease = self.0.options.raft.lease();
        match self.0.consensus.quorum_age() {
            Some(age) if age > lease && said.quorum => {
                said.quorum = false;
                tracing::warn!("lost the quorum: no majority has answered for {age:?}");
            }
            Some(age) if age <= lease && !said.quorum => {
                said.quorum = true;
                tracing::info!("has a quorum and takes writes");
            }
            _ => {}
        }
    }

    fn report_following(&self, facts: &Facts, said: &mut Said) {
        said.quorum = false;
        let hears = facts.leader.is_some();
        if said.leader && !hears {
            tracing::warn!("hears no leader any more: only `stale` reads until one is elected");
        }
        if said.leader != hears {
            self.0.facts_changed.notify_waiters();
        }
        said.leader = hears;
        let applied = self.0.consensus.published().position().applied_index;
        match self.0.contact.leaders_commit().filter(|_| hears) {
            Some(commit) if applied >= commit && !said.caught_up => {
                said.caught_up = true;
                tracing::info!("caught up with the leader at log index {applied}");
            }
            Some(commit) if applied + CAUGHT_UP_ENTRIES < commit && said.caught_up => {
                said.caught_up = false;
                let behind = commit - applied;
                tracing::warn!("{behind} log entries behind the leader");
            }
            _ => {}
        }
    }

    /// A node that hears no leader may have been removed without learning it.
    async fn mind_standing(&self, facts: &Facts, said: &mut Said) {
        if facts.leader.is_some() || self.is_removed() {
            said.denied = 0;
            return;
        }
        if said.asked.is_none_or(|at| clock::since(at) >= ASK_AGAIN) {
            said.asked = Some(clock::now());
            self.ask_standing(&mut said.denied).await;
        }
    }

    async fn keep_snapshot(&self) {
        let (backlog, snapshot) = self.0.consensus.published().snapshot_backlog();
        let due = backlog > self.0.options.raft.snapshot_log_bytes.max(2 * snapshot);
        // Without room for it, it waits for space.
        let due = due && self.0.consensus.has_room_for_snapshot();
        if due && let Err(error) = self.0.consensus.build_snapshot().await {
            tracing::warn!(%error, "cannot start a snapshot");
        }
    }
}
