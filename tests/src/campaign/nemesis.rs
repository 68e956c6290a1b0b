//! The faults of a campaign: planned from the seed, done one after another.

use std::time::Duration;

use super::system::System;
use crate::random::Random;
use crate::wait;

/// What is done to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `kill -9`, and a start some time later.
    Kill,
    /// `SIGSTOP`, and `SIGCONT` some time later.
    Pause,
    /// A cut of its links, both ways or one way, to all others or to one, and healed some time
    /// later.
    Cut,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Kill, Self::Pause, Self::Cut];

    /// Returns the shortest and the longest time that a fault lasts, in milliseconds.
    const fn lasts(self) -> (usize, usize) {
        match self {
            Self::Kill => (200, 1_500),
            Self::Pause => (200, 3_000),
            Self::Cut => (500, 3_000),
        }
    }
}

/// Time between two faults, in milliseconds.
const GAP: (usize, usize) = (200, 1_000);

/// A planned fault.
#[derive(Debug, Clone, Copy)]
pub struct Event {
    /// Time since the end of the one before.
    gap: Duration,
    kind: Kind,
    lasts: Duration,
    /// The leader, or one of the others.
    at_leader: bool,
    choice: usize,
    shape: Shape,
}

/// Which of a node's links are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Isolated,
    /// It hears nobody.
    Deaf,
    /// Nobody hears it.
    Mute,
    /// One other node and it do not reach each other; both reach the third.
    OneLink,
}

const SHAPES: [Shape; 4] = [Shape::Isolated, Shape::Deaf, Shape::Mute, Shape::OneLink];

/// A fault that has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    pub kind: Kind,
    pub node: usize,
    /// Whether the node led when it began.
    pub led: bool,
}

/// The faults of a seed, without end: each kind at the leader and at another node once, in some
/// order, and again in another.
#[derive(Debug)]
pub struct Schedule {
    random: Random,
    kinds: Vec<Kind>,
    round: Vec<(Kind, bool)>,
}

impl Schedule {
    /// Plans the faults of a seed.
    #[must_use]
    pub fn new(seed: u64, kinds: &[Kind]) -> Self {
        Self {
            random: Random::new(seed),
            kinds: kinds.into(),
            round: Vec::new(),
        }
    }

    /// Returns the length of a round.
    #[must_use]
    pub const fn round(&self) -> usize {
        2 * self.kinds.len()
    }
}

impl Iterator for Schedule {
    type Item = Event;

    /// Gives none only when there are no kinds.
    fn next(&mut self) -> Option<Event> {
        if self.round.is_empty() {
            let kinds = self.kinds.iter();
            self.round = kinds
                .flat_map(|kind| [(*kind, true), (*kind, false)])
                .collect();
            shuffle(&mut self.round, &mut self.random);
        }
        let (kind, at_leader) = self.round.pop()?;
        Some(Event {
            gap: within(GAP, &mut self.random),
            kind,
            lasts: within(kind.lasts(), &mut self.random),
            at_leader,
            choice: self.random.below(usize::MAX),
            shape: SHAPES[self.random.below(SHAPES.len())],
        })
    }
}

/// Returns a time between two, in milliseconds.
pub(super) fn within((least, most): (usize, usize), random: &mut Random) -> Duration {
    let milliseconds = least + random.below(most - least + 1);
    Duration::from_millis(u64::try_from(milliseconds).unwrap_or(u64::MAX))
}

pub(super) fn shuffle<T>(items: &mut [T], random: &mut Random) {
    for last in (1..items.len()).rev() {
        items.swap(last, random.below(last + 1));
    }
}

/// What does the faults, and remembers them.
#[derive(Debug, Default)]
pub struct Nemesis {
    pub done: Vec<Done>,
}

impl Nemesis {
    /// Waits, does one fault, waits and undoes it. Never more than one node has a fault.
    ///
    /// # Panics
    ///
    /// There is no leader, or a killed node does not come back.
    pub async fn perform(&mut self, event: Event, cluster: &mut impl System) {
        wait::pass(event.gap).await;
        let leader = cluster.leader().await;
        let others = others_than(leader, cluster);
        let node = match others.get(event.choice % others.len().max(1)) {
            Some(other) if !event.at_leader => *other,
            _ => leader,
        };
        match event.kind {
            Kind::Kill => {
                cluster.kill_node(node);
                wait::pass(event.lasts).await;
                cluster.start_node(node).await;
            }
            Kind::Pause => {
                cluster.pause_node(node);
                wait::pass(event.lasts).await;
                cluster.resume_node(node);
            }
            Kind::Cut => {
                let links = cluster.links();
                for (from, to) in event.shape.cuts(node, &others_than(node, cluster)) {
                    links.cut(from, to);
                }
                wait::pass(event.lasts).await;
                links.heal();
            }
        }
        self.done.push(Done {
            kind: event.kind,
            node,
            led: node == leader,
        });
    }
}

fn others_than(node: usize, cluster: &impl System) -> Vec<usize> {
    let nodes = 0..cluster.size();
    nodes.filter(|other| *other != node).collect()
}

impl Shape {
    /// Returns what is cut of a node's links: from, to.
    pub(super) fn cuts(self, node: usize, others: &[usize]) -> Vec<(usize, usize)> {
        let there = others.iter().map(|other| (node, *other));
        let back = others.iter().map(|other| (*other, node));
        match self {
            Self::Isolated => there.chain(back).collect(),
            Self::Deaf => back.collect(),
            Self::Mute => there.collect(),
            Self::OneLink => there.take(1).chain(back.take(1)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_follows_from_its_seed_and_has_every_fault_in_every_round() {
        let rounds = |seed| {
            let schedule = Schedule::new(seed, &Kind::ALL);
            let round = schedule.round();
            schedule.take(2 * round).collect::<Vec<_>>()
        };
        assert_eq!(format!("{:?}", rounds(7)), format!("{:?}", rounds(7)));
        assert_ne!(format!("{:?}", rounds(7)), format!("{:?}", rounds(8)));
        for seed in 0..100 {
            let events = rounds(seed);
            for kind in Kind::ALL {
                for at_leader in [true, false] {
                    let is = |event: &&Event| event.kind == kind && event.at_leader == at_leader;
                    let of_first = events[..events.len() / 2].iter().filter(is).count();
                    assert_eq!(of_first, 1, "seed {seed}: {events:?}");
                    assert_eq!(
                        events.iter().filter(is).count(),
                        2,
                        "seed {seed}: {events:?}"
                    );
                }
            }
        }
    }
}
