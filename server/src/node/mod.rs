//! The service that every dialect calls: validate, read level, local or forward. Transport-free.
//!
//! | level | waits for | served by |
//! |---|---|---|
//! | `stale` | nothing, or `max_stale` / `min_revision` | this node |
//! | `default` | a quorum's answer to the leader younger than half a lease | the leader |
//! | `consistent` | a quorum round that began after the request came, then apply | this node |
//!
//! A `default` read of one key on a follower is forwarded. A `default` listing, which may be large,
//! is served here instead, from a state that has applied what the leader's lease vouches for.

pub mod backup;
mod consensus;
mod contact;
mod disk;
mod error;
mod foreign;
mod hand_over;
mod handler;
mod housekeeping;
pub mod listing;
pub mod locks;
mod log_clock;
mod membership;
#[cfg(not(feature = "simulation"))]
pub mod past;
mod proposals;
mod quorum;
mod reads;
mod remote;
mod removal;
mod request;
mod requests;
mod rounds;
mod standing;
mod status;
mod succession;
mod ticks;
mod upkeep;
pub mod watch;
mod writes;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use conclave_shared::{MemberAddress, ReadLevel, Role};
use tokio::sync::{Mutex, Notify, Semaphore};

use crate::clock;
use crate::metrics::Metrics;
use crate::raft::{ClusterId, Member, RaftOptions};
use crate::runtime;
use crate::state::{Position, RequestId};

pub use crate::state::View;
pub use consensus::Consensus;
pub use contact::{Beat, BeatReceiver, BeatSender, Contact, Vouch};
pub use disk::FullDisks;
pub use error::ServiceError;
pub use foreign::Stranger;
pub use housekeeping::Housekeeping;
pub use remote::{
    CallError, Invitation, MakeInvitation, PeerClient, PeerHandler, PeerReply, PeerRequest,
    Proposal,
};
pub use removal::{ChangeRequest, Target};
pub use request::{
    Answer, AnswerMeta, JoinRequest, Joined, ReadOptions, Routing, Timing, WriteRequest,
};
pub use standing::Standing;

use consensus::{Facts, Leader};
use log_clock::LogClock;
use proposals::Proposals;
use rounds::Rounds;

/// KiB of proposals under way; further writes are refused with `overloaded`.
const WRITE_KIB: usize = 64 << 10;
/// A proposal without an outcome for this long is answered as unknown.
const WRITE_WAIT: Duration = Duration::from_secs(5);
/// Pause between two looks for a leader.
const LEADER_PAUSE: Duration = Duration::from_millis(20);

/// Who this node is and how it behaves.
#[derive(Debug, Clone)]
pub struct NodeOptions {
    pub cluster: ClusterId,
    pub env: String,
    /// Name and addresses as configured; the membership follows them.
    pub member: Member,
    pub raft: RaftOptions,
    /// Build of the dashboard, shown in the status.
    pub ui_build: &'static str,
    /// Shown in the status: clients are refused where they come in.
    pub read_only: bool,
    pub metrics: Metrics,
}

/// Handle to the service; cheap to clone.
#[derive(Clone)]
pub struct Node(Arc<Inner>);

struct Inner {
    options: NodeOptions,
    name: Arc<str>,
    consensus: Consensus,
    peers: Arc<dyn PeerClient>,
    contact: Contact,
    log_clock: LogClock,
    /// Shared read-index rounds of the two levels that need one.
    lease_rounds: Rounds<Result<u64, Arc<str>>>,
    quorum_rounds: Rounds<Result<u64, Arc<str>>>,
    write_kib: Arc<Semaphore>,
    proposals: Proposals,
    /// One membership change at a time.
    membership: Mutex<()>,
    /// Term in which this leader has asked another node to take over; 0 for none. From then on the
    /// lease proves nothing.
    handing_over: AtomicU64,
    /// This node is no member any more, and never will be.
    removed: AtomicBool,
    foreign_peers: foreign::ForeignPeers,
    /// Term and moment of this node's last election.
    elected: parking_lot::Mutex<Option<(u64, Instant)>>,
    /// What this leader has seen of its members.
    attention: parking_lot::Mutex<quorum::Attention>,
    started: Instant,
    request_ids: RequestIds,
    /// The newest heartbeat of change streams; the lock is held while one is taken.
    heartbeat: Mutex<Option<Arc<watch::Heartbeat>>>,
    keeper: Arc<locks::Keeper>,
    /// Room for backups on their way.
    backups: Arc<Semaphore>,
    /// What this node keeps of the past; set once, before it answers.
    #[cfg(not(feature = "simulation"))]
    history: past::Kept,
    /// Wakes streams when another leader, or none, is known.
    facts_changed: Notify,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("name", &self.0.name)
            .finish_non_exhaustive()
    }
}

impl Node {
    /// Puts the service together. `peers` reaches the other members, `contact` is fed by them.
    #[must_use]
    pub fn new(
        options: NodeOptions,
        consensus: Consensus,
        peers: Arc<dyn PeerClient>,
        contact: Contact,
    ) -> Self {
        let rounds = |level| {
            let (consensus, peers) = (consensus.clone(), peers.clone());
            let limit = options.raft.lease();
            Rounds::new(move || reads::round(consensus.clone(), peers.clone(), level, limit))
        };
        let (submit, metrics) = (consensus.clone(), options.metrics.clone());
        let proposals = Proposals::new(move |commands| {
            let consensus = submit.clone();
            metrics.batch(commands.len());
            Box::pin(async move { consensus.submit(commands).await })
        });
        Self(Arc::new(Inner {
            proposals,
            name: options.member.name.as_str().into(),
            lease_rounds: rounds(ReadLevel::Default),
            quorum_rounds: rounds(ReadLevel::Consistent),
            options,
            consensus,
            peers,
            contact,
            log_clock: LogClock::default(),
            write_kib: Arc::new(Semaphore::new(WRITE_KIB)),
            membership: Mutex::new(()),
            handing_over: AtomicU64::new(0),
            removed: AtomicBool::new(false),
            foreign_peers: foreign::ForeignPeers::default(),
            elected: parking_lot::Mutex::new(None),
            attention: parking_lot::Mutex::default(),
            started: clock::now(),
            request_ids: RequestIds::new(),
            heartbeat: Mutex::default(),
            keeper: Arc::default(),
            backups: Arc::new(Semaphore::new(backup::AT_ONCE)),
            #[cfg(not(feature = "simulation"))]
            history: past::Kept::new(),
            facts_changed: Notify::new(),
        }))
    }

    /// Returns this node's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Returns what this node hears from its leader; the peer protocol feeds it.
    #[must_use]
    pub fn contact(&self) -> Contact {
        self.0.contact.clone()
    }

    /// What is known of leadership and membership. A leader that has not been heard for two
    /// election timeouts is not known any more: openraft keeps it until another one is elected.
    fn facts(&self) -> Arc<Facts> {
        let facts = self.0.consensus.facts();
        if self.is_removed() {
            return Arc::new(Facts {
                leader: None,
                role: Role::Removed,
                ..(*facts).clone()
            });
        }
        let remote = facts.remote_leader(self.0.consensus.id()).is_some();
        let silence = 2 * self.0.options.raft.election_max;
        if remote && self.0.contact.since_heard().is_none_or(|age| age > silence) {
            return Arc::new(Facts {
                leader: None,
                ..(*facts).clone()
            });
        }
        facts
    }

    fn is_leader(&self, facts: &Facts) -> bool {
        facts
            .leader
            .as_ref()
            .is_some_and(|leader| leader.id == self.0.consensus.id())
    }

    /// Longest time a request waits inside for a leader, or for this node to have caught up with one:
    /// the lease and the shortest election timeout. A leader whose process died is followed within it.
    fn leader_wait(&self) -> Duration {
        self.0.options.raft.lease() + self.0.options.raft.election_min
    }

    fn no_leader(&self, reason: &str) -> ServiceError {
        if self.is_removed() {
            return ServiceError::Removed;
        }
        ServiceError::NoLeader {
            reason: reason.to_owned(),
            retry_after_ms: clock::millis(self.leader_wait()),
        }
    }

    /// Reads this node's state, and bounds its age: by its own quorum rounds while it leads, by what
    /// a leader has vouched for otherwise. Both hold for ever, so the better one counts.
    fn dated<T>(&self, read: impl FnOnce(&View) -> T) -> Dated<T> {
        // The round comes first: one that is answered after the state was read is not about it.
        let round = self.0.consensus.quorum();
        let asked = clock::now();
        let published = self.0.consensus.published();
        let (value, position) = published.read(|view| (read(view), view.position()));
        let led = round
            .filter(|(term, _)| *term == position.applied_term)
            .map(|(_, age)| age + clock::since(asked));
        let followed = self.0.contact.age(position.applied_index);
        Dated {
            value,
            position,
            age: [led, followed].into_iter().flatten().min(),
        }
    }

    fn meta<T>(&self, facts: &Facts, level: ReadLevel, dated: &Dated<T>) -> AnswerMeta {
        AnswerMeta {
            revision: dated.position.revision,
            level,
            term: facts.term,
            applied_index: dated.position.applied_index,
            log_time_ms: dated.position.log_time_ms,
            served_by: self.0.name.clone(),
            leader: facts.leader.as_ref().map(|leader| leader.name.clone()),
            last_contact: dated.age,
            forwarded: false,
            request_id: None,
            replayed: false,
            timing: Timing::default(),
        }
    }
}

/// Something read from the state, with where in the log that was and how old it can be.
struct Dated<T> {
    value: T,
    position: Position,
    age: Option<Duration>,
}

fn redirect(leader: &Leader, facts: &Facts) -> ServiceError {
    ServiceError::Redirect {
        leader: MemberAddress {
            node: leader.member.name.clone(),
            id: leader.id,
            http: leader.member.http.clone(),
            raft: leader.member.raft.clone(),
            voter: facts.voters.contains(&leader.id),
        },
    }
}

/// Makes request ids: a random part per process and a number.
#[derive(Debug)]
struct RequestIds {
    process: u64,
    next: AtomicU64,
}

impl RequestIds {
    fn new() -> Self {
        Self {
            process: runtime::random(),
            next: AtomicU64::new(1),
        }
    }

    fn make(&self) -> RequestId {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        RequestId::of(self.process, number)
    }
}
