//! One cell of the grid: what one member answered at one level.

use conclave_shared::{ErrorCode, ReadLevel};

use crate::model::{
    nodes::probe::millis,
    text::{age, grouped},
};

/// Characters of a value that a cell shows.
const SHORT: usize = 24;
/// Different looks of a hash chip. Its letters say the same without colour.
const HUES: u32 = 8;

/// Says what the server promises at a level, in the README's words.
#[must_use]
pub const fn promise(level: ReadLevel) -> &'static str {
    match level {
        ReadLevel::Stale => {
            "Waits for nothing. Served by any node, also without a leader. Promise: the node's own \
             state; Conclave-Last-Contact bounds its age in ms."
        }
        ReadLevel::Default => {
            "Waits for a quorum's answer to the leader within half a lease. Served by the leader; a \
             follower forwards. Promise: not older than one lease (0.8 s)."
        }
        ReadLevel::Consistent => {
            "Waits for a quorum round that began after the request came. Served by any node. Promise: \
             linearizable."
        }
    }
}

/// An answer that shows the key's state.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Read {
    /// The value's beginning; none when there is no such key.
    pub value: Option<String>,
    /// Letters of the value's hash: equal values have equal ones.
    pub letters: String,
    pub hue: u32,
    /// Revision of the key's last write; none when there is no such key.
    pub revision: Option<u64>,
    /// Writes of the key since it was created.
    pub version: Option<u64>,
    /// Revision of the state that was read.
    pub state: u64,
    /// Name of the node that read it.
    pub served_by: String,
    pub leader: Option<String>,
    pub forwarded: bool,
    /// `Server-Timing`: what the node waited for.
    pub timing: String,
    /// Upper bound on the state's age, milliseconds.
    pub last_contact_ms: Option<u64>,
    pub took_us: u64,
}

/// What a member answered at a level.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Cell {
    /// It was not asked.
    #[default]
    Empty,
    Asking,
    Read(Box<Read>),
    Refused {
        code: Option<ErrorCode>,
        reason: String,
        took_us: u64,
    },
    /// This browser got no answer.
    OutOfReach {
        reason: String,
    },
}

impl Cell {
    /// Returns the word on `data-cell`.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Asking => "asking",
            Self::Read(_) => "read",
            Self::Refused { .. } => "refused",
            Self::OutOfReach { .. } => "out-of-reach",
        }
    }

    /// Returns the answer.
    #[must_use]
    pub fn read(&self) -> Option<&Read> {
        match self {
            Self::Read(read) => Some(read),
            _ => None,
        }
    }
}

impl Read {
    /// Says how far it is behind the newest answer: `newest`, `2 writes behind`.
    #[must_use]
    pub fn behind(&self, newest: &Self) -> String {
        if self.revision == newest.revision {
            return "newest".to_owned();
        }
        match (self.revision, newest.revision, self.version, newest.version) {
            (Some(_), Some(_), Some(own), Some(last)) if last > own => {
                format!("{} behind", count(last - own, "write"))
            }
            (Some(own), Some(last), _, _) if last > own => {
                format!("{} behind", count(last - own, "revision"))
            }
            (None, Some(_), _, _) if self.state < newest.state => {
                format!("{} behind", count(newest.state - self.state, "revision"))
            }
            _ => "another moment".to_owned(),
        }
    }

    /// Says which way the request took.
    #[must_use]
    pub fn path(&self, asked: &str, level: ReadLevel) -> String {
        let leader = self.leader.as_deref().unwrap_or("the leader");
        match level {
            _ if self.forwarded && self.served_by != asked => {
                format!("forwarded to {}", self.served_by)
            }
            _ if self.forwarded => format!("forwarded to {leader}"),
            ReadLevel::Stale => "its own state".to_owned(),
            ReadLevel::Default => "under its lease".to_owned(),
            ReadLevel::Consistent if leader == asked => "after a quorum round".to_owned(),
            ReadLevel::Consistent => format!("its own state, after asking {leader}"),
        }
    }

    /// Says what bounds the answer's age, where that is what the level promises.
    #[must_use]
    pub fn bound(&self, level: ReadLevel) -> Option<String> {
        let ms = self.last_contact_ms.filter(|_| level == ReadLevel::Stale)?;
        Some(format!("at most {} old", age(ms)))
    }

    /// Says how long it took, with what the node waited for.
    #[must_use]
    pub fn took(&self) -> String {
        millis(self.took_us)
    }
}

/// Returns the newest answer among cells.
#[must_use]
pub fn newest<'a>(cells: impl IntoIterator<Item = &'a Cell>) -> Option<&'a Read> {
    let reads = cells.into_iter().filter_map(Cell::read);
    reads.max_by_key(|read| (read.revision, read.state))
}

/// Returns the beginning of a value as one line of text; bytes that are none are marked.
#[must_use]
pub fn short(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    let mut short: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(SHORT)
        .collect();
    if text.chars().count() > SHORT {
        short.push('…');
    }
    short
}

/// Returns the letters and the hue of a value's hash (FNV-1a, 32 bits).
#[must_use]
pub fn chip(value: &[u8]) -> (String, u32) {
    let mix = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(16_777_619);
    let hash = value.iter().fold(2_166_136_261, mix);
    // The low bits follow those of the last byte: a counter's neighbours have other hues.
    let hue = hash % HUES;
    let hash = hash ^ (hash >> 15);
    let letter = |place: u32| {
        let digit = hash / 26_u32.pow(place) % 26;
        char::from(b'A' + u8::try_from(digit).unwrap_or(0))
    };
    ((0..3).map(letter).collect(), hue)
}

/// Says a refusal: `no leader, after 2.0 s`.
#[must_use]
pub fn refused(code: Option<ErrorCode>, took_us: u64) -> String {
    let word = code.map_or_else(
        || "refused".to_owned(),
        |code| code.as_str().replace('_', " "),
    );
    format!("{word}, after {}", seconds(took_us))
}

fn seconds(micros: u64) -> String {
    match micros {
        ..1_000_000 => millis(micros),
        _ => age(micros / 1_000),
    }
}

fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", grouped(number))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::model::lab) fn read(revision: u64, version: u64, value: &str) -> Read {
        let (letters, hue) = chip(value.as_bytes());
        Read {
            value: Some(value.to_owned()),
            letters,
            hue,
            revision: Some(revision),
            version: Some(version),
            state: revision,
            served_by: "n1".to_owned(),
            leader: Some("n1".to_owned()),
            took_us: 1_200,
            ..Read::default()
        }
    }

    #[test]
    fn behind_counts_writes_of_the_key() {
        let (old, new) = (read(10, 2, "2"), read(17, 5, "5"));
        assert_eq!(new.behind(&new), "newest");
        assert_eq!(old.behind(&new), "3 writes behind");
        let absent = Read {
            state: 9,
            ..Read::default()
        };
        assert_eq!(absent.behind(&read(10, 1, "1")), "1 revision behind");
        // It was deleted and created meanwhile: its writes are counted anew.
        assert_eq!(
            read(10, 7, "7").behind(&read(17, 1, "1")),
            "7 revisions behind"
        );
    }

    #[test]
    fn the_newest_answer_is_that_of_the_highest_revision() {
        let cells = [
            Cell::Asking,
            Cell::Read(Box::new(read(10, 1, "1"))),
            Cell::Read(Box::new(read(12, 2, "2"))),
        ];
        assert_eq!(newest(&cells).unwrap().revision, Some(12));
        assert!(newest(&[Cell::Empty]).is_none());
    }

    #[test]
    fn the_path_says_who_answered() {
        let mut answer = read(10, 1, "1");
        assert_eq!(answer.path("n2", ReadLevel::Stale), "its own state");
        assert_eq!(
            answer.path("n2", ReadLevel::Consistent),
            "its own state, after asking n1"
        );
        assert_eq!(
            answer.path("n1", ReadLevel::Consistent),
            "after a quorum round"
        );
        assert_eq!(answer.path("n1", ReadLevel::Default), "under its lease");
        answer.forwarded = true;
        assert_eq!(answer.path("n2", ReadLevel::Default), "forwarded to n1");
        answer.served_by = "n2".to_owned();
        assert_eq!(answer.path("n2", ReadLevel::Default), "forwarded to n1");
    }

    #[test]
    fn neighbours_of_a_counter_have_other_letters() {
        let chips: Vec<_> = (0..200)
            .map(|n: u32| chip(n.to_string().as_bytes()).0)
            .collect();
        assert!(chips.windows(2).all(|pair| pair[0] != pair[1]));
        assert_ne!(chip(b"1").1, chip(b"2").1);
        assert_eq!(chip(b"7"), chip(b"7"));
    }

    #[test]
    fn a_long_value_is_cut_and_lines_are_one() {
        assert_eq!(short(b"a\nb"), "a b");
        assert_eq!(short("ü".repeat(30).as_bytes()).chars().count(), SHORT + 1);
    }

    #[test]
    fn a_refusal_says_its_reason_and_its_time() {
        assert_eq!(
            refused(Some(ErrorCode::NoLeader), 2_040_000),
            "no leader, after 2.0 s"
        );
        assert_eq!(refused(None, 1_900), "refused, after 1.9 ms");
    }
}
