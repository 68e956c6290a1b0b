//! What this node says of itself and of its cluster.

use std::time::Duration;

use conclave_shared::cluster::{FollowerProgress, MemberState, StateHash};
use conclave_shared::{ClusterStatus, MemberAddress, MemberStatus, NodeStatus};

use super::consensus::Facts;
use super::quorum::{SILENT, quorum};
use super::{Node, PeerReply, PeerRequest};
use crate::clock;
use crate::raft::{Member, NodeId};
use crate::state::View;

/// Longest wait for one member's status.
const MEMBER_WAIT: Duration = Duration::from_millis(800);

/// What the status shows of the state.
struct Figures {
    applied_index: u64,
    revision: u64,
    oldest_outcome: Option<u64>,
    hash: u64,
    keys: u64,
    locks: u64,
    bytes: u64,
}

impl Figures {
    fn of(view: &View) -> Self {
        Self {
            applied_index: view.applied_index,
            revision: view.state.revision(),
            oldest_outcome: view.oldest_outcome,
            hash: view.hash(),
            keys: view.state.len() as u64,
            locks: view.state.locks().len() as u64,
            bytes: view.state.bytes(),
        }
    }
}

impl Node {
    /// Returns this node's own view. Never waits for anybody.
    #[must_use]
    pub fn status(&self) -> NodeStatus {
        let inner = &*self.0;
        let facts = self.facts();
        let progress = inner.consensus.progress();
        let view = inner.consensus.published().read(Figures::of);
        let leads = self.is_leader(&facts);
        let age = |duration: Option<Duration>| duration.map(clock::millis);
        NodeStatus {
            node: inner.name.to_string(),
            id: inner.consensus.id(),
            cluster_id: inner.options.cluster.to_string(),
            env: inner.options.env.clone(),
            role: facts.role,
            term: facts.term,
            leader: facts.leader.as_ref().map(|leader| leader.name.to_string()),
            last_log_index: progress.last_log,
            commit_index: progress.committed,
            applied_index: view.applied_index,
            snapshot_index: progress.snapshot,
            purged_index: progress.purged,
            revision: view.revision,
            oldest_revision: Some(inner.consensus.published().events().oldest()),
            oldest_outcome: view.oldest_outcome,
            state_hash: StateHash {
                revision: view.revision,
                hash: format!("{:016x}", view.hash),
            },
            quorum_ack_age_ms: age(inner.consensus.quorum_age()),
            leader_contact_age_ms: age((!leads).then(|| inner.contact.since_heard()).flatten()),
            followers: self.follower_progress(&facts),
            members: facts
                .members
                .iter()
                .map(|(id, m)| address(&facts, *id, m))
                .collect(),
            foreign_peers: inner.foreign_peers.shown(),
            watchers: inner.options.metrics.watchers(),
            locks: view.locks,
            keys: view.keys,
            bytes: view.bytes,
            uptime_ms: clock::millis(clock::since(inner.started)),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ui_build: inner.options.ui_build.to_owned(),
            read_only: inner.options.read_only,
            disk: inner.consensus.disk().status(),
            joint: facts.joint,
            now_ms: clock::wall_ms(),
        }
    }

    fn follower_progress(&self, facts: &Facts) -> Vec<FollowerProgress> {
        let followers = self.0.consensus.followers().into_iter();
        followers
            .filter_map(|follower| {
                Some(FollowerProgress {
                    node: facts.members.get(&follower.id)?.name.clone(),
                    match_index: follower.match_index,
                    last_ack_ms: follower.last_ack.map(clock::millis),
                    silent_ms: clock::millis(self.silence(follower.id)),
                })
            })
            .collect()
    }

    /// Asks every member for its status; one that does not answer never hides the others.
    pub async fn cluster(&self) -> ClusterStatus {
        let facts = self.facts();
        let asked = facts
            .members
            .iter()
            .map(|(id, member)| self.ask(&facts, *id, member));
        let mut members = futures::future::join_all(asked).await;
        mark_dead(&mut members);
        let voters = facts.voters.len() as u64;
        let healthy = members
            .iter()
            .filter(|member| member.reachable && member.address.voter)
            .count() as u64;
        ClusterStatus {
            leader: facts.leader.as_ref().map(|leader| leader.name.to_string()),
            term: facts.term,
            quorum: quorum(voters, healthy),
            members,
        }
    }

    async fn ask(&self, facts: &Facts, id: NodeId, member: &Member) -> MemberStatus {
        let address = address(facts, id, member);
        let answer = if id == self.0.consensus.id() {
            Ok(self.status())
        } else {
            self.ask_peer(id).await
        };
        match answer {
            Ok(status) => MemberStatus {
                address,
                role: Some(status.role),
                reachable: true,
                state: MemberState::Ok,
                status: Some(status),
                error: None,
                last_heard_ms: Some(0),
            },
            Err(error) => MemberStatus {
                last_heard_ms: self.last_heard(facts, id).map(clock::millis),
                address,
                role: None,
                reachable: false,
                state: MemberState::Unreachable,
                status: None,
                error: Some(error),
            },
        }
    }

    async fn ask_peer(&self, id: NodeId) -> Result<NodeStatus, String> {
        match self
            .0
            .peers
            .call(id, PeerRequest::Status, MEMBER_WAIT)
            .await
        {
            Ok(Ok(PeerReply::Status(json))) => {
                serde_json::from_slice(&json).map_err(|error| error.to_string())
            }
            Ok(Ok(_)) => Err("unexpected reply".to_owned()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn last_heard(&self, facts: &Facts, id: NodeId) -> Option<Duration> {
        if facts.leader.as_ref().is_some_and(|leader| leader.id == id) {
            return self.0.contact.since_heard();
        }
        self.0
            .consensus
            .followers()
            .into_iter()
            .find(|f| f.id == id)?
            .last_ack
    }
}

/// Takes over from the leader which members are dead to it.
fn mark_dead(members: &mut [MemberStatus]) {
    let statuses = members.iter().filter_map(|member| member.status.as_ref());
    let followers = statuses.flat_map(|status| &status.followers);
    let dead = followers.filter(|follower| follower.silent_ms > clock::millis(SILENT));
    let dead: std::collections::BTreeSet<_> = dead.map(|follower| follower.node.clone()).collect();
    for member in members.iter_mut().filter(|member| !member.reachable) {
        if dead.contains(&member.address.node) {
            member.state = MemberState::Dead;
        }
    }
}

fn address(facts: &Facts, id: NodeId, member: &Member) -> MemberAddress {
    MemberAddress {
        node: member.name.clone(),
        id,
        http: member.http.clone(),
        raft: member.raft.clone(),
        voter: facts.voters.contains(&id),
    }
}
