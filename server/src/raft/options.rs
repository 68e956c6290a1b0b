//! What of Raft can be set, and the openraft configuration that follows from it.

use std::time::Duration;

use openraft::{Config, SnapshotPolicy};

/// Timeouts and log bounds of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RaftOptions {
    /// Longest time between heartbeats.
    pub heartbeat: Duration,
    /// Longest wait for the answer to one; the connection is given up after three quarters of it.
    /// Followers answer only after their queued fsyncs, so it must stay well above the p99 of a group
    /// commit and three times the way there and back.
    pub heartbeat_wait: Duration,
    /// Shortest randomised election timeout.
    pub election_min: Duration,
    /// Longest one; also the leader's lease.
    pub election_max: Duration,
    /// Log bytes applied since the last snapshot that start the next one (or twice that
    /// snapshot's size, whichever is more).
    pub snapshot_log_bytes: u64,
    /// Entries kept below a snapshot, so that a follower that was away briefly needs none.
    pub snapshot_log_keep: u64,
    /// A leader removes a member that has not answered for this long; `None` never does.
    pub remove_dead_after: Option<Duration>,
}

impl Default for RaftOptions {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(50),
            heartbeat_wait: Duration::from_millis(100),
            election_min: Duration::from_millis(500),
            election_max: Duration::from_millis(800),
            snapshot_log_bytes: 64 << 20,
            snapshot_log_keep: 20_000,
            remove_dead_after: None,
        }
    }
}

impl RaftOptions {
    /// Time for which a quorum's answer keeps other leaders out.
    #[must_use]
    pub const fn lease(&self) -> Duration {
        self.election_max
    }
}

/// Entries one step behind which a learner counts as caught up.
pub(crate) const CAUGHT_UP_ENTRIES: u64 = 1_000;

/// Builds openraft's configuration.
///
/// # Errors
///
/// The timeouts contradict each other.
pub fn openraft_config(cluster: &str, options: &RaftOptions) -> Result<Config, String> {
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let config = Config {
        cluster_name: cluster.to_owned(),
        heartbeat_interval: ms(options.heartbeat_wait),
        election_timeout_min: ms(options.election_min),
        election_timeout_max: ms(options.election_max),
        enable_pre_vote: Some(true),
        // The committed index is saved lazily and the state is rebuilt at start: a leader that
        // resumed without an election would answer linearizable reads from an older state.
        enable_leader_restore: Some(false),
        max_payload_entries: 1_024,
        max_append_entries: Some(4_096),
        // By size, not by count: `node::housekeeping` triggers it.
        snapshot_policy: SnapshotPolicy::Never,
        replication_lag_threshold: CAUGHT_UP_ENTRIES,
        max_in_snapshot_log_to_keep: options.snapshot_log_keep,
        purge_batch_size: 4_096,
        // A member that was away for a moment is back at once; one that is dead costs one try a second.
        backoff: "50ms 100ms 200ms ...1s".to_owned(),
        // The network uses it for one chunk, not for the whole snapshot.
        install_snapshot_timeout: 10_000,
        api_channel_size: Some(8_192),
        ..Config::default()
    };
    config.validate().map_err(|error| error.to_string())
}
