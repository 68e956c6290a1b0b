//! Random faults of a cluster with links, one after the other, by a seed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::cluster::Cluster;
use crate::faults::links::Links;
use crate::random::Random;
use crate::wait::pass;

/// How long a fault lasts, and the calm after it, in milliseconds: from, and up to that much more.
const FAULT_MS: (u64, usize) = (300, 1_700);
const CALM_MS: (u64, usize) = (100, 700);
/// What most easily goes wrong does so that soon after the end of a fault.
const UNSETTLED: Duration = Duration::from_millis(80);
/// Longest delay of a slow link, per direction.
const DELAY_MS: usize = 20;
/// Probability that a lossy link loses a piece.
const LOSS: f64 = 0.1;

/// What is done to a cluster for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A node can reach nobody, and nobody it.
    Isolate(usize),
    /// What one sends to the other is held.
    CutOneWay(usize, usize),
    /// Two nodes cannot reach each other.
    CutBothWays(usize, usize),
    /// All links are slow, each by up to 20 ms.
    Delay,
    /// What two nodes send each other is lost now and then.
    Loss(usize, usize),
    /// The connections between two nodes break.
    Reset(usize, usize),
    /// The process of a node stands still.
    Freeze(usize),
}

/// Something that happened to the cluster.
#[derive(Debug, Clone)]
struct Event {
    at: Instant,
    what: String,
}

/// Does things to a cluster, and knows what it did when.
#[derive(Debug)]
pub struct Faults<'a> {
    cluster: &'a Cluster,
    links: Links,
    random: Random,
    events: Vec<Event>,
    unsettled: Arc<AtomicBool>,
}

impl<'a> Faults<'a> {
    /// Prepares the faults of a seed; the cluster is built with links and has two nodes or more.
    #[must_use]
    pub fn new(cluster: &'a Cluster, seed: u64) -> Self {
        let links = cluster.links();
        links.seed(seed);
        Self {
            cluster,
            links,
            random: Random::new(seed),
            events: Vec::new(),
            unsettled: Arc::default(),
        }
    }

    /// Returns what is true for a moment after each fault: the time to look closely.
    #[must_use]
    pub fn unsettled(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.unsettled)
    }

    /// Does one or two things at once, waits, undoes them and waits again.
    pub async fn one(&mut self) {
        let mut faults = vec![self.pick()];
        if self.random.one_in(3) {
            faults.push(self.pick());
            faults.dedup();
        }
        for fault in &faults {
            self.begin(*fault);
        }
        self.note(format!("{faults:?}"));
        self.wait(FAULT_MS).await;
        self.unsettled.store(true, Ordering::Relaxed);
        self.links.heal();
        let frozen = faults.iter().filter_map(|fault| match fault {
            Fault::Freeze(node) => Some(*node),
            _ => None,
        });
        frozen.for_each(|node| self.cluster[node].resume());
        self.note(format!("the end of {faults:?}"));
        pass(UNSETTLED).await;
        self.unsettled.store(false, Ordering::Relaxed);
        self.wait(CALM_MS).await;
    }

    fn pick(&mut self) -> Fault {
        let nodes = self.cluster.nodes().len();
        let one = self.random.below(nodes);
        let other = (one + 1 + self.random.below(nodes - 1)) % nodes;
        match self.random.below(9) {
            0 | 1 => Fault::Isolate(one),
            2 => Fault::CutOneWay(one, other),
            3 => Fault::CutBothWays(one, other),
            4 => Fault::Delay,
            5 => Fault::Loss(one, other),
            6 => Fault::Reset(one, other),
            _ => Fault::Freeze(one),
        }
    }

    fn begin(&mut self, fault: Fault) {
        match fault {
            Fault::Isolate(node) => self.links.isolate(node),
            Fault::CutOneWay(from, to) => self.links.cut(from, to),
            Fault::CutBothWays(one, other) => self.links.partition(&[one], &[other]),
            Fault::Delay => self.delay_all(),
            Fault::Loss(one, other) => {
                self.links.loss(one, other, LOSS);
                self.links.loss(other, one, LOSS);
            }
            Fault::Reset(one, other) => self.links.reset(one, other),
            Fault::Freeze(node) => self.cluster[node].pause(),
        }
    }

    fn delay_all(&mut self) {
        let nodes = self.cluster.nodes().len();
        for from in 0..nodes {
            for to in (0..nodes).filter(|to| *to != from) {
                let ms = u64::try_from(self.random.below(DELAY_MS + 1)).unwrap_or(0);
                self.links.delay(from, to, Duration::from_millis(ms));
            }
        }
    }

    /// Waits for a time of the range, more often a short one: most goes wrong at the changes.
    async fn wait(&mut self, (least, more): (u64, usize)) {
        let more = self.random.below(more).min(self.random.below(more));
        let more = u64::try_from(more).unwrap_or(0);
        pass(Duration::from_millis(least + more)).await;
    }

    fn note(&mut self, what: String) {
        let at = Instant::now();
        self.events.push(Event { at, what });
    }

    /// Returns how often it was done.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.events.len() / 2
    }

    /// Returns the last things that happened before that moment, newest first, and how long before.
    #[must_use]
    pub fn before(&self, moment: Instant) -> String {
        const LAST: usize = 3;
        let later = self.events.partition_point(|event| event.at <= moment);
        let last = self.events[..later].iter().rev().take(LAST);
        let told = last.map(|event| format!("{:.0?} after {}", moment - event.at, event.what));
        told.collect::<Vec<_>>().join(", ")
    }
}
