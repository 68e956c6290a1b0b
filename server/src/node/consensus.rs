//! The service's view of Raft: propose, read index, facts. The only file of `node` that knows
//! openraft; its errors end here.

mod changes;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use conclave_shared::cluster::DiskState;
use conclave_shared::{ReadLevel, Role};
use futures::{StreamExt, stream};
use openraft::errors::{
    ClientWriteError, ForwardReason, ForwardToLeader, LinearizableReadError, RaftError,
};
use openraft::metrics::RaftServerMetrics;
use openraft::rt::WatchReceiver;
use openraft::{LinearizerOption, ReadPolicy, ServerState};
use parking_lot::Mutex;

use super::contact::Vouch;
use super::disk::FullDisks;
use super::proposals::Outcomes;
use crate::mutants::{self, Mutant};
use crate::raft::{LogId, Member, NodeId, RaftOptions, TypeConfig};
use crate::runtime;
use crate::state::{Command, Outcome};
use crate::storage::{DiskSpace, Published, Raft, Writer};

pub(super) use changes::Swap;

/// Wakes when leadership, term or membership change.
pub(super) type FactChanges =
    openraft::alias::WatchReceiverOf<TypeConfig, RaftServerMetrics<TypeConfig>>;

/// What changes only with leadership and membership.
#[derive(Debug, Clone)]
pub struct Facts {
    pub role: Role,
    pub term: u64,
    pub leader: Option<Leader>,
    pub members: BTreeMap<NodeId, Member>,
    pub voters: Vec<NodeId>,
    /// A membership change has begun and is not finished.
    pub joint: bool,
    pub(super) version: MembershipVersion,
}

/// Which membership a decision was made on: a change fails when another one came between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct MembershipVersion(Option<LogId>);

impl Facts {
    /// Returns what is known before Raft has said anything.
    pub(super) const fn unknown() -> Self {
        Self {
            role: Role::Follower,
            term: 0,
            leader: None,
            members: BTreeMap::new(),
            voters: Vec::new(),
            joint: false,
            version: MembershipVersion(None),
        }
    }

    /// Returns the member with a name. While one is replaced, two have it: this is the older one.
    #[must_use]
    pub fn member_named(&self, name: &str) -> Option<(NodeId, &Member)> {
        self.members_named(name).next()
    }

    /// Returns all members with a name, the oldest first.
    pub fn members_named(&self, name: &str) -> impl Iterator<Item = (NodeId, &Member)> {
        self.members
            .iter()
            .filter(move |(_, member)| member.name == name)
            .map(|(id, member)| (*id, member))
    }

    /// Returns the members that do not vote.
    pub fn learners(&self) -> impl Iterator<Item = (NodeId, &Member)> {
        self.members
            .iter()
            .filter(|(id, _)| !self.voters.contains(id))
            .map(|(id, member)| (*id, member))
    }

    /// Returns a member's name, or its id where it has none any more.
    #[must_use]
    pub fn name_of(&self, id: NodeId) -> String {
        let member = self.members.get(&id);
        member.map_or_else(|| format!("id {id}"), |member| member.name.clone())
    }

    /// Returns the leader when it is another node.
    #[must_use]
    pub fn remote_leader(&self, me: NodeId) -> Option<&Leader> {
        self.leader.as_ref().filter(|leader| leader.id != me)
    }
}

/// The leader as this node knows it.
#[derive(Debug, Clone)]
pub struct Leader {
    pub id: NodeId,
    pub name: Arc<str>,
    pub member: Member,
}

/// Numbers that change with every entry.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogProgress {
    pub last_log: u64,
    pub committed: u64,
    pub snapshot: u64,
    pub purged: u64,
}

/// A follower as the leader sees it.
#[derive(Debug, Clone, Copy)]
pub struct Follower {
    pub id: NodeId,
    pub match_index: u64,
    pub last_ack: Option<Duration>,
}

/// Why nothing was proposed, or what may have become of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ProposeError {
    /// Not appended; the leader is elsewhere or unknown.
    NotLeader,
    /// Not appended; this leader waits for its quorum or hands over.
    Busy,
    /// May or may not be applied.
    Unknown(String),
    /// Not appended: this leader's disk has no room for it.
    DiskFull,
    /// Refused before it was appended.
    Refused(String),
}

/// Why no read index could be had. Reads have no effect, so all are repeatable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadError {
    NotLeader,
    NoQuorum(String),
}

/// An applied proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Applied {
    pub index: u64,
    pub term: u64,
    pub outcome: Outcome,
}

/// Handle to Raft on this node; clones share it.
#[derive(Clone)]
pub struct Consensus {
    raft: Raft,
    id: NodeId,
    lease: Duration,
    facts: Arc<ArcSwap<Facts>>,
    /// Held while the facts are replaced, so that older ones never replace newer ones.
    refreshing: Arc<Mutex<()>>,
    /// Raft tells nothing any more, which also a panic in it brings about.
    ended: Arc<AtomicBool>,
    published: Arc<Published>,
    disk: DiskSpace,
    full_disks: FullDisks,
}

impl std::fmt::Debug for Consensus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consensus")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Consensus {
    #[must_use]
    pub fn new(raft: Raft, id: NodeId, options: &RaftOptions, published: Arc<Published>) -> Self {
        let facts = Arc::new(ArcSwap::from_pointee(Facts::unknown()));
        let this = Self {
            raft,
            id,
            lease: options.lease(),
            facts,
            refreshing: Arc::default(),
            ended: Arc::default(),
            published,
            disk: DiskSpace::default(),
            full_disks: FullDisks::default(),
        };
        this.refresh_facts();
        this
    }

    /// Proposes only what the disk has room for; `full_disks` says which other ones have none.
    #[must_use]
    pub fn on_disk(mut self, disk: DiskSpace, full_disks: FullDisks) -> Self {
        self.disk = disk;
        self.full_disks = full_disks;
        self
    }

    /// Returns what is known of this node's disk.
    #[must_use]
    pub const fn disk(&self) -> &DiskSpace {
        &self.disk
    }

    /// Returns whether a member's disk has room for entries, as far as it has said so to this node,
    /// its leader.
    pub(super) fn has_room(&self, id: NodeId) -> bool {
        if id == self.id {
            return self.disk.state() == DiskState::Ok;
        }
        !self.full_disks.has(id)
    }

    /// Returns whether there is room on the disk for a snapshot.
    pub(super) fn has_room_for_snapshot(&self) -> bool {
        self.disk.fits(self.published.snapshot_estimate())
    }

    /// Returns this node's Raft id.
    #[must_use]
    pub const fn id(&self) -> NodeId {
        self.id
    }

    /// Returns what is known of leadership and membership.
    #[must_use]
    pub fn facts(&self) -> Arc<Facts> {
        self.facts.load_full()
    }

    /// Returns the published state.
    #[must_use]
    pub fn published(&self) -> &Published {
        &self.published
    }

    /// Waits for leadership, term or membership to change, and takes the new facts over.
    ///
    /// Returns false when Raft has stopped.
    pub(super) async fn next_facts(&self, changes: &mut FactChanges) -> bool {
        let goes_on = changes.changed().await.is_ok();
        if !goes_on {
            self.ended.store(true, Ordering::Release);
        }
        self.refresh_facts();
        goes_on
    }

    /// Returns a receiver for [`Self::next_facts`].
    pub(super) fn fact_changes(&self) -> FactChanges {
        self.raft.server_metrics()
    }

    /// Takes over what Raft knows now.
    pub(super) fn refresh_facts(&self) {
        let _order = self.refreshing.lock();
        let metrics = self.raft.server_metrics().borrow_watched().clone();
        let membership = metrics.membership_config.membership();
        let members: BTreeMap<NodeId, Member> = membership
            .nodes()
            .map(|(id, member)| (*id, member.clone()))
            .collect();
        let role = match metrics.state {
            ServerState::Leader => Role::Leader,
            ServerState::Candidate => Role::Candidate,
            ServerState::Follower => Role::Follower,
            // That it is no member at all, it learns from others: see `node::standing`.
            ServerState::Learner | ServerState::Shutdown => Role::Learner,
        };
        let leader = metrics.current_leader.and_then(|id| {
            let member = members.get(&id)?.clone();
            Some(Leader {
                id,
                name: member.name.as_str().into(),
                member,
            })
        });
        self.facts.store(Arc::new(Facts {
            role,
            term: metrics.vote.leader_id.term,
            leader,
            voters: membership.voter_ids().collect(),
            joint: membership.get_joint_config().len() > 1,
            version: MembershipVersion(*metrics.membership_config.log_id()),
            members,
        }));
    }

    /// Returns whether a membership that has this node is committed.
    pub(super) fn is_committed_member(&self) -> bool {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.committed_membership_config.membership();
        membership.nodes().any(|(id, _)| *id == self.id)
    }

    /// Returns whether a committed membership is known, and this id is not in it.
    pub(super) fn is_committed_without(&self, id: NodeId) -> bool {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let committed = &metrics.committed_membership_config;
        let mut members = committed.membership().nodes();
        committed.log_id().is_some() && members.all(|(member, _)| *member != id)
    }

    /// Returns log positions as Raft last reported them.
    #[must_use]
    pub fn progress(&self) -> LogProgress {
        let metrics = self.raft.data_metrics();
        let metrics = metrics.borrow_watched();
        LogProgress {
            last_log: metrics.last_log.map_or(0, |id| id.index()),
            committed: metrics.local_committed.map_or(0, |id| id.index()),
            snapshot: metrics.snapshot.map_or(0, |id| id.index()),
            purged: metrics.purged.map_or(0, |id| id.index()),
        }
    }

    /// Returns the followers' progress; empty unless this node leads.
    #[must_use]
    pub fn followers(&self) -> Vec<Follower> {
        let metrics = self.raft.data_metrics();
        let metrics = metrics.borrow_watched();
        let Some(replication) = &metrics.replication else {
            return Vec::new();
        };
        let acked = |id: &NodeId| {
            let at = (*metrics.heartbeat.as_ref()?.get(id)?)?;
            Some(openraft::Instant::elapsed(&*at))
        };
        replication
            .iter()
            .filter(|(id, _)| **id != self.id)
            .map(|(id, matched)| Follower {
                id: *id,
                match_index: matched.map_or(0, |log_id| log_id.index()),
                last_ack: acked(id),
            })
            .collect()
    }

    /// Returns the time since the start of the last round that a quorum answered to this leader;
    /// `None` unless this node leads and has committed an entry of its own term: before that it
    /// may not know what an earlier leader committed (Raft §5.4.2, §8).
    #[must_use]
    pub fn quorum_age(&self) -> Option<Duration> {
        self.quorum().map(|(_, age)| age)
    }

    /// Returns what this node can vouch for as the leader.
    #[must_use]
    pub fn vouch(&self) -> Option<Vouch> {
        // First the age, then the state: what was acknowledged before the round is in it.
        let (term, quorum_age) = self.quorum()?;
        let position = self.published.position();
        (position.applied_term == term).then_some(Vouch {
            quorum_age,
            covers: position.applied_index,
        })
    }

    /// Returns this leader's term and the age of its newest quorum round.
    pub(super) fn quorum(&self) -> Option<(u64, Duration)> {
        let (committed_term, acked) = {
            let metrics = self.raft.data_metrics();
            let metrics = metrics.borrow_watched();
            (
                metrics.local_committed?.leader_id.term,
                metrics.last_quorum_acked,
            )
        };
        let server = self.raft.server_metrics();
        let (own_term, alone) = {
            let server = server.borrow_watched();
            let mut voters = server.membership_config.membership().voter_ids();
            let alone = voters.next() == Some(self.id) && voters.next().is_none();
            (
                (server.state == ServerState::Leader).then_some(server.vote.leader_id.term)?,
                alone,
            )
        };
        match (committed_term == own_term, alone) {
            (false, _) => None,
            // The only voter is its own quorum, and sends no heartbeats to anybody.
            (true, true) => Some((own_term, Duration::ZERO)),
            (true, false) => Some((own_term, openraft::Instant::elapsed(&*acked?))),
        }
    }

    /// Returns why Raft has stopped, if it has. Of a panic in it this node knows only that.
    #[must_use]
    pub fn fatal(&self) -> Option<String> {
        let metrics = self.raft.metrics();
        let state = metrics.borrow_watched().running_state.clone();
        let ended = || {
            let ended = self.ended.load(Ordering::Acquire);
            ended.then(|| "Raft has ended without a reason; a line before may tell it".to_owned())
        };
        state.err().map(|error| error.to_string()).or_else(ended)
    }

    /// Hands commands to Raft as one batch; the stream has an outcome for each, in order.
    pub(super) async fn submit(&self, commands: Vec<Command>) -> Outcomes {
        let count = commands.len();
        let bytes = commands.iter().map(|command| command.op.bytes()).sum();
        let Some(admitted) = self.disk.admit(count, bytes, Writer::Leader) else {
            return Box::pin(stream::iter(vec![Err(ProposeError::DiskFull); count]));
        };
        let commands = commands.into_iter().map(Arc::new);
        match self.raft.client_write_many(commands).await {
            Ok(outcomes) => Box::pin(outcomes.map(move |outcome| {
                // It counts as taken until all outcomes are known.
                let _admitted = &admitted;
                match outcome {
                    Ok(Ok(written)) => Ok(Applied {
                        index: written.log_id.index(),
                        term: written.log_id.leader_id.term,
                        outcome: written.response,
                    }),
                    Ok(Err(error)) => Err(propose_error(RaftError::APIError(error))),
                    Err(fatal) => Err(ProposeError::Unknown(fatal.to_string())),
                }
            })),
            Err(fatal) => {
                let stopped = ProposeError::Unknown(fatal.to_string());
                Box::pin(stream::iter(vec![Err(stopped); count]))
            }
        }
    }

    /// Returns a log index so that a state that has applied it keeps the level's promise, counted
    /// from the call. It is applied here when this returns.
    ///
    /// Read index: Raft dissertation §6.4. At `default` a quorum's answer younger than half a
    /// lease stands in for the round; the half is the margin for clocks of different rates.
    pub async fn read_index(&self, level: ReadLevel) -> Result<u64, ReadError> {
        let policy: LinearizerOption = match level {
            ReadLevel::Stale => return Ok(0),
            ReadLevel::Default => {
                LinearizerOption::new(Some(self.lease / 2), true).with_wait_timeout(self.lease)
            }
            ReadLevel::Consistent if mutants::is(Mutant::ReadWithoutQuorum) => {
                return Ok(self.published.position().applied_index);
            }
            ReadLevel::Consistent => ReadPolicy::ReadIndex.into(),
        };
        let read = self.raft.ensure_linearizable(policy);
        match runtime::timeout(self.lease, read).await {
            Ok(Ok(read)) => Ok(read.index()),
            Ok(Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward)))) => {
                Err(match forward.reason {
                    ForwardReason::NotLeader => ReadError::NotLeader,
                    ForwardReason::LeaseExpired | ForwardReason::LeadershipTransfer => {
                        ReadError::NoQuorum("the leader waits for its quorum".to_owned())
                    }
                })
            }
            Ok(Err(error)) => Err(ReadError::NoQuorum(error.to_string())),
            Err(_elapsed) => Err(ReadError::NoQuorum("no quorum answered in time".to_owned())),
        }
    }
}

type WriteError = RaftError<TypeConfig, ClientWriteError<TypeConfig>>;

fn propose_error(error: WriteError) -> ProposeError {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => not_appended(&forward),
        RaftError::APIError(error @ ClientWriteError::LogEntryDiscarded(_)) => {
            ProposeError::Unknown(error.to_string())
        }
        RaftError::APIError(error) => ProposeError::Refused(error.to_string()),
        // Raft has stopped: what it had appended may still be committed by others.
        RaftError::Fatal(error) => ProposeError::Unknown(error.to_string()),
    }
}

fn not_appended(forward: &ForwardToLeader<TypeConfig>) -> ProposeError {
    match forward.reason {
        ForwardReason::NotLeader => ProposeError::NotLeader,
        ForwardReason::LeaseExpired | ForwardReason::LeadershipTransfer => ProposeError::Busy,
    }
}
