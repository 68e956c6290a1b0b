//! The faults of a leg: several streams of them, each planned from the seed, that run at once.

use std::fmt;
use std::time::Duration;

use crate::campaign::nemesis::{shuffle, within};
use crate::random::Random;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// `kill -9` of the leader, and a start some time later.
    KillLeader,
    KillOther,
    /// Of all nodes at one moment.
    KillAll,
    /// `SIGSTOP`, and `SIGCONT` some time later.
    PauseLeader,
    PauseOther,
    /// A node reaches nobody, and nobody it.
    Isolate,
    /// A node hears nobody.
    Deaf,
    /// Nobody hears a node.
    Mute,
    /// Two nodes do not reach each other.
    OneLink,
    /// Every node reaches a majority, each another one.
    Ring,
    /// The leader and fewer than half of the others are cut off.
    LeaderInMinority,
    /// All links are slow.
    Slow,
    /// All links lose something now and then.
    Flaky,
    /// All connections break, again and again.
    Reset,
    /// The wall clock of a node is set up to an hour off.
    Clock,
    /// Another node joins, and is removed some time later.
    Add,
    /// A member is removed, and joins with an empty directory some time later.
    Remove,
    /// A member loses its disk and is replaced.
    Wipe,
    /// Another node is asked to lead.
    Transfer,
}

impl Class {
    /// Returns the shortest and the longest time that it lasts, milliseconds.
    const fn lasts(self) -> (usize, usize) {
        match self {
            Self::KillLeader | Self::KillOther | Self::KillAll => (200, 1_500),
            Self::PauseLeader | Self::PauseOther => (200, 5_000),
            Self::Isolate | Self::Deaf | Self::Mute | Self::OneLink => (500, 4_000),
            Self::Ring | Self::LeaderInMinority => (1_000, 4_000),
            Self::Slow | Self::Flaky | Self::Reset => (1_000, 5_000),
            Self::Clock => (1_000, 4_000),
            Self::Add | Self::Remove => (500, 3_000),
            Self::Wipe | Self::Transfer => (0, 0),
        }
    }

    /// Returns what it takes beside that, about, milliseconds: elections and catching up.
    const fn takes(self) -> u64 {
        match self {
            Self::Add | Self::Remove | Self::Wipe => 3_000,
            Self::Transfer => 500,
            _ => 0,
        }
    }
}

/// A fault that is planned.
#[derive(Debug, Clone, Copy)]
pub(super) struct Event {
    /// Time since the end of the one before in its stream.
    pub(super) gap: Duration,
    pub(super) class: Class,
    pub(super) lasts: Duration,
    /// Chooses the node and what else there is to choose.
    pub(super) choice: u64,
}

/// Faults that come one after another, while those of other streams go on.
#[derive(Debug)]
pub(super) struct Stream {
    name: &'static str,
    pub(super) events: Vec<Event>,
}

/// A stream's name, the time between two of its faults in milliseconds, and each of its classes as often
/// as it comes before all come again in another order.
type Kind = (&'static str, (usize, usize), &'static [Class]);

const KINDS: [Kind; 6] = [
    (
        "kills",
        (2_000, 6_000),
        &[
            Class::KillLeader,
            Class::KillOther,
            Class::KillLeader,
            Class::KillOther,
            Class::KillAll,
        ],
    ),
    (
        "pauses",
        (1_000, 4_500),
        &[Class::PauseLeader, Class::PauseOther],
    ),
    (
        "cuts",
        (1_500, 6_000),
        &[
            Class::Isolate,
            Class::Deaf,
            Class::Mute,
            Class::OneLink,
            Class::Ring,
            Class::LeaderInMinority,
        ],
    ),
    (
        "links",
        (1_000, 6_000),
        &[Class::Slow, Class::Flaky, Class::Reset],
    ),
    ("clocks", (500, 4_000), &[Class::Clock]),
    (
        "members",
        (500, 4_000),
        &[Class::Add, Class::Remove, Class::Wipe, Class::Transfer],
    ),
];

/// All streams of a leg.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) streams: Vec<Stream>,
}

impl Plan {
    /// Plans about so much time, with clocks that can be set or without.
    pub(super) fn new(seed: u64, length: Duration, has_clocks: bool) -> Self {
        let mut random = Random::new(seed);
        let mut streams = Vec::new();
        for kind in KINDS {
            // A stream is the same whatever the others are.
            let own = Random::new(random.number());
            if has_clocks || kind.0 != "clocks" {
                streams.push(Stream::new(kind, length, own));
            }
        }
        Self { seed, streams }
    }

    /// Returns how often a class is planned.
    pub(super) fn count(&self, class: Class) -> usize {
        let events = self.streams.iter().flat_map(|stream| &stream.events);
        events.filter(|event| event.class == class).count()
    }

    /// Returns the classes that are planned, each once.
    pub(super) fn classes(&self) -> Vec<Class> {
        let events = self.streams.iter().flat_map(|stream| &stream.events);
        let mut classes: Vec<_> = events.map(|event| event.class).collect();
        classes.sort_unstable();
        classes.dedup();
        classes
    }
}

impl Stream {
    fn new((name, gap, classes): Kind, length: Duration, mut random: Random) -> Self {
        let mut events = Vec::new();
        let mut round: Vec<Class> = Vec::new();
        let mut at = Duration::ZERO;
        while at < length {
            let Some(class) = round.pop() else {
                round = classes.to_vec();
                shuffle(&mut round, &mut random);
                continue;
            };
            let event = Event {
                gap: within(gap, &mut random),
                class,
                lasts: within(class.lasts(), &mut random),
                choice: random.number(),
            };
            at += event.gap + event.lasts + Duration::from_millis(class.takes());
            events.push(event);
        }
        Self { name, events }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "faults of seed {}", self.seed)?;
        for stream in &self.streams {
            write!(f, "\n  {}:", stream.name)?;
            for event in &stream.events {
                write!(
                    f,
                    " +{:.1} {:?} {:.1} s,",
                    event.gap.as_secs_f64(),
                    event.class,
                    event.lasts.as_secs_f64()
                )?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_follows_from_its_seed_and_has_every_class_in_time() {
        const LONG: Duration = Duration::from_secs(120);
        let told = |seed, clocks| Plan::new(seed, LONG, clocks).to_string();
        assert_eq!(told(7, true), told(7, true));
        assert_ne!(told(7, true), told(8, true));
        for seed in 0..100 {
            let plan = Plan::new(seed, LONG, true);
            for class in KINDS.iter().flat_map(|kind| kind.2) {
                assert!(plan.count(*class) > 0, "{class:?} in {plan}");
            }
            let without = told(seed, false);
            assert!(!without.contains("clocks"), "{without}");
            for line in without.lines() {
                assert!(plan.to_string().contains(line), "{line} in {plan}");
            }
        }
    }

    #[test]
    fn a_plan_is_about_as_long_as_it_should_be() {
        for seconds in [10, 60, 300] {
            let length = Duration::from_secs(seconds);
            for stream in Plan::new(seconds, length, true).streams {
                let events = stream.events.iter();
                let all: Duration = events.map(|event| event.gap + event.lasts).sum();
                assert!(all < length + Duration::from_secs(15), "{stream:?}");
                assert!(all * 5 > length, "{stream:?}");
            }
        }
    }
}
