//! What a node counts and measures, for `/metrics` (Prometheus) and `/api/metrics/series` (charts).
//!
//! Recording is a handful of relaxed atomic additions: no lock, no allocation, no text, and labels are
//! places in arrays. Every shown family is declared once, with unit and help, in `exposition`. Figures
//! that somebody else keeps (log positions, keys, bytes) are not kept again: they come with the
//! [`NodeStatus`] of the moment they are shown. Nothing here decides anything.
//!
//! The series (`series`) are a ring of 900 samples, about 300 bytes each, that one task appends to
//! each second.

mod exposition;
mod histogram;
mod process;
mod requests;
mod series;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use conclave_shared::{MarkKind, MetricsSeries, NodeStatus};
use parking_lot::Mutex;

use crate::clock;
use histogram::{Latencies, Sizes};
use requests::RequestCounters;
use series::{Cumulative, Moment, Ring, Window};

pub use exposition::CONTENT_TYPE;
pub use requests::{Level, Method, RequestLabels, Route, Status};

/// What became of a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proposed {
    /// Committed and applied, refusals of the state machine included.
    Committed,
    /// Certainly not appended.
    Refused,
    /// Nobody can say (invariant 9).
    Unknown,
}

impl Proposed {
    const ALL: [Self; 3] = [Self::Committed, Self::Refused, Self::Unknown];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }
}

/// Handle to one node's metrics; clones share them.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The seconds of the series count from here.
    started: Instant,
    started_wall_ms: u64,
    requests: RequestCounters,
    proposals: [AtomicU64; Proposed::ALL.len()],
    batches: Sizes,
    commit: Latencies,
    applied: AtomicU64,
    apply: Latencies,
    sync: Latencies,
    leader_changes: AtomicU64,
    watchers: AtomicU64,
    /// As this node saw it last while it led.
    dead_voters: AtomicU64,
    /// Taken once a second, by who asks for the series, and by changes of leader and members.
    series: Mutex<Ring>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self(Arc::new(Inner {
            started: clock::now(),
            started_wall_ms: clock::wall_ms(),
            requests: RequestCounters::default(),
            proposals: Default::default(),
            batches: Sizes::default(),
            commit: Latencies::default(),
            applied: AtomicU64::new(0),
            apply: Latencies::default(),
            sync: Latencies::default(),
            leader_changes: AtomicU64::new(0),
            watchers: AtomicU64::new(0),
            dead_voters: AtomicU64::new(0),
            series: Mutex::default(),
        }))
    }
}

/// Recording.
impl Metrics {
    /// Counts an answered HTTP request. `duration` ends with the head of the answer.
    pub fn request(&self, labels: RequestLabels, duration: Duration) {
        self.0.requests.record(labels, duration);
    }

    /// Counts a proposal, and the time until its outcome when it was committed.
    pub fn proposed(&self, fate: Proposed, duration: Duration) {
        self.0.proposals[fate as usize].fetch_add(1, Ordering::Relaxed);
        if fate == Proposed::Committed {
            self.0.commit.record(duration);
        }
    }

    /// Counts a batch of proposals handed to Raft.
    pub fn batch(&self, proposals: usize) {
        self.0.batches.record(proposals);
    }

    /// Counts log entries that were applied as one batch.
    pub fn applied(&self, entries: usize, duration: Duration) {
        self.0.applied.fetch_add(entries as u64, Ordering::Relaxed);
        self.0.apply.record(duration);
    }

    /// Counts a group of log records that was made durable.
    pub fn synced(&self, duration: Duration) {
        self.0.sync.record(duration);
    }

    /// Counts a new leader or term, and marks it.
    pub fn leader_changed(&self, text: String) {
        self.0.leader_changes.fetch_add(1, Ordering::Relaxed);
        self.mark(MarkKind::Leader, text);
    }

    /// Notes how many voters do not answer this node, which leads.
    pub fn dead_voters(&self, count: usize) {
        let count = count as u64;
        self.0.dead_voters.store(count, Ordering::Relaxed);
    }

    /// Marks this moment on every chart; `text` is one line for a person.
    pub fn mark(&self, kind: MarkKind, text: String) {
        let at = clock::since(self.0.started);
        self.0.series.lock().mark(at, kind, text);
    }

    /// Counts a watcher of changes until the result is dropped.
    #[must_use]
    pub fn watcher(&self) -> Watcher {
        self.0.watchers.fetch_add(1, Ordering::Relaxed);
        Watcher(self.clone())
    }
}

/// One client that watches for changes.
#[derive(Debug)]
pub struct Watcher(Metrics);

impl Drop for Watcher {
    fn drop(&mut self) {
        self.0.0.watchers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Showing.
impl Metrics {
    /// Returns the watchers at this moment.
    #[must_use]
    pub fn watchers(&self) -> u64 {
        self.0.watchers.load(Ordering::Relaxed)
    }

    /// Returns the time until the next sample is due.
    #[must_use]
    pub fn until_next_sample(&self) -> Duration {
        let elapsed = clock::since(self.0.started);
        Duration::from_secs(elapsed.as_secs() + 1).saturating_sub(elapsed)
    }

    /// Appends this second's sample; a second one of the same second is dropped.
    pub fn sample(&self, status: &NodeStatus) {
        let resident = process::resident_bytes();
        let moment = Moment {
            at: clock::since(self.0.started),
            sums: self.sums(),
        };
        self.0.series.lock().append(moment, status, resident);
    }

    /// Returns the last `range_s` seconds in steps of `step_s`, both at least 1. `status` says whose
    /// they are.
    #[must_use]
    pub fn series(&self, status: &NodeStatus, range_s: u64, step_s: u64) -> MetricsSeries {
        let ring = self.0.series.lock();
        let elapsed = clock::since(self.0.started);
        let window = Window::ending(ring.newest_second(elapsed), range_s, step_s);
        let now_ms = clock::wall_ms();
        let origin_ms = now_ms.saturating_sub(clock::millis(elapsed));
        ring.show(&window, status, origin_ms, now_ms)
    }

    /// Returns everything in the text format of `OpenMetrics` 1.0. Without a status, what it would say
    /// is missing.
    ///
    /// # Errors
    ///
    /// None in practice: the text is written into memory.
    pub fn exposition(&self, status: Option<NodeStatus>) -> Result<String, std::fmt::Error> {
        exposition::write(self, status)
    }

    fn sums(&self) -> Cumulative {
        let mut sums = Cumulative {
            applied: self.0.applied.load(Ordering::Relaxed),
            commit: self.0.commit.counts(),
            apply: self.0.apply.counts(),
            sync: self.0.sync.counts(),
            durations: self.0.requests.all_durations(),
            ..Cumulative::default()
        };
        for (labels, count) in self.0.requests.counted() {
            sums.add_requests(labels, count);
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watchers_leave_when_they_are_dropped() {
        let metrics = Metrics::default();
        let first = metrics.watcher();
        let second = metrics.watcher();
        assert_eq!(metrics.watchers(), 2);
        drop(first);
        assert_eq!(metrics.watchers(), 1);
        drop(second);
        assert_eq!(metrics.watchers(), 0);
    }

    #[test]
    fn samples_are_due_on_whole_seconds() {
        let metrics = Metrics::default();
        let wait = metrics.until_next_sample();
        let passed = clock::since(metrics.0.started);
        assert!(wait <= Duration::from_secs(1));
        assert!(
            wait + passed >= Duration::from_secs(1),
            "{wait:?} {passed:?}"
        );
    }
}
