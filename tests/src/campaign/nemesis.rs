//! The faults of a campaign: planned from the seed, done one after another.

use std::time::Duration;

use crate::cluster::Cluster;
use crate::random::Random;
use crate::wait;

/// What is done to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `kill -9`, and a start some time later.
    Kill,
    /// `SIGSTOP`, and `SIGCONT` some time later.
    Pause,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 2] = [Self::Kill, Self::Pause];

    /// Returns the shortest and the longest time that a fault lasts, in milliseconds.
    const fn lasts(self) -> (usize, usize) {
        match self {
            Self::Kill => (200, 1_500),
            Self::Pause => (200, 3_000),
        }
    }
}

/// Time between two faults, in milliseconds.
const GAP: (usize, usize) = (300, 1_500);
/// What a fault costs besides: an election, the start of a process.
const RECOVERY: Duration = Duration::from_millis(1_500);

/// A planned fault.
#[derive(Debug, Clone, Copy)]
pub(super) struct Event {
    /// Time since the end of the one before.
    gap: Duration,
    kind: Kind,
    lasts: Duration,
    /// The leader, or one of the others.
    at_leader: bool,
    choice: usize,
}

/// A fault that has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    pub kind: Kind,
    pub node: usize,
    /// Whether the node led when it began.
    pub led: bool,
}

/// Returns the faults for a campaign of that length: each kind at the leader and at another node
/// once, in some order, and again until the time is used up.
pub(super) fn schedule(seed: u64, kinds: &[Kind], length: Duration) -> Vec<Event> {
    let mut random = Random::new(seed);
    let mut events = Vec::new();
    let mut used = Duration::ZERO;
    while used < length && !kinds.is_empty() {
        let pairs = kinds
            .iter()
            .flat_map(|kind| [(*kind, true), (*kind, false)]);
        let mut pairs: Vec<_> = pairs.collect();
        shuffle(&mut pairs, &mut random);
        for (kind, at_leader) in pairs {
            let event = Event {
                gap: within(GAP, &mut random),
                kind,
                lasts: within(kind.lasts(), &mut random),
                at_leader,
                choice: random.below(usize::MAX),
            };
            let is_first_round = events.len() < 2 * kinds.len();
            used += event.gap + event.lasts + RECOVERY;
            if is_first_round || used < length {
                events.push(event);
            }
        }
    }
    events
}

fn within((least, most): (usize, usize), random: &mut Random) -> Duration {
    let milliseconds = least + random.below(most - least + 1);
    Duration::from_millis(u64::try_from(milliseconds).unwrap_or(u64::MAX))
}

fn shuffle<T>(items: &mut [T], random: &mut Random) {
    for last in (1..items.len()).rev() {
        items.swap(last, random.below(last + 1));
    }
}

/// What does the faults, and remembers them.
#[derive(Debug, Default)]
pub(super) struct Nemesis {
    pub(super) done: Vec<Done>,
}

impl Nemesis {
    /// Waits, does one fault, waits and undoes it. Never more than one node has a fault.
    pub(super) async fn perform(&mut self, event: Event, cluster: &mut Cluster) {
        wait::during(event.gap).await;
        let leader = cluster.leader().await;
        let others: Vec<_> = (0..cluster.nodes().len())
            .filter(|node| *node != leader)
            .collect();
        let node = match others.get(event.choice % others.len().max(1)) {
            Some(other) if !event.at_leader => *other,
            _ => leader,
        };
        match event.kind {
            Kind::Kill => {
                cluster[node].kill();
                wait::during(event.lasts).await;
                cluster[node].start().await;
            }
            Kind::Pause => {
                cluster[node].pause();
                wait::during(event.lasts).await;
                cluster[node].resume();
            }
        }
        self.done.push(Done {
            kind: event.kind,
            node,
            led: node == leader,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_follows_from_its_seed_and_has_every_fault() {
        let plan = |seed, seconds| schedule(seed, &Kind::ALL, Duration::from_secs(seconds));
        assert_eq!(format!("{:?}", plan(7, 60)), format!("{:?}", plan(7, 60)));
        assert_ne!(format!("{:?}", plan(7, 60)), format!("{:?}", plan(8, 60)));
        for seed in 0..100 {
            let events = plan(seed, 1);
            for kind in Kind::ALL {
                for at_leader in [true, false] {
                    let is = |event: &Event| event.kind == kind && event.at_leader == at_leader;
                    assert!(events.iter().any(is), "seed {seed}: {events:?}");
                }
            }
            assert!(plan(seed, 60).len() > 2 * Kind::ALL.len(), "seed {seed}");
        }
    }
}
