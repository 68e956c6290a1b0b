//! Watchers of change streams, and the checker of what they saw.
//!
//! A [`Watcher`] reads a stream, breaks off and resumes at another node, and writes a [`WatcherLog`] of
//! all that came. One node's whole stream is the [`Canon`]; it is compared with what the writers know
//! ([`Canon::against`]) and with the state, and then every log with it ([`check()`]). The guarantees are
//! etcd's and are named as there: see [`Guarantee`].

mod canon;
mod check;
mod message;
mod stream;
mod watcher;

use std::fmt;

pub use canon::{Canon, Written};
pub use check::{Verdict, check};
pub use message::{Change, Message};
pub(crate) use stream::Heard;
pub use watcher::{Break, Entry, Plan, Seen, Watcher, WatcherLog};

/// What a stream promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Guarantee {
    /// What the contract says of single messages: fields, ids where they belong.
    Form,
    /// Revisions rise.
    Ordered,
    /// No change comes twice.
    Unique,
    /// No change is missing.
    Reliable,
    /// All changes of a revision come together, with the id on the last of them.
    Atomic,
    /// A resumed stream begins with the first change after the point.
    Resumable,
    /// All changes up to the revision of a `progress` have come before it, and none comes later.
    Bookmarkable,
    /// Only what was asked for comes.
    Filter,
    /// `previous` is the record before.
    Previous,
    /// An idle stream says so, and its revision does not fall.
    Progress,
}

/// A promise that was not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub guarantee: Guarantee,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.guarantee, self.what)
    }
}

/// Collects violations; a broken stream makes thousands of the same.
#[derive(Debug, Default)]
struct Complaints(Vec<Violation>);

impl Complaints {
    const KEPT: usize = 40;

    fn add(&mut self, guarantee: Guarantee, what: impl Into<String>) {
        if self.0.len() < Self::KEPT {
            let what = what.into();
            self.0.push(Violation { guarantee, what });
        }
    }
}

#[cfg(test)]
mod tests;
