//! Which changes the tab has heard all of. The node tells only what the page wants; when the page
//! wants more again, what it has missed is read from the past.

use crate::model::news::Interest;

/// Longest span that is read again, in revisions; of a longer one the newest part is read.
pub const MOST: u64 = 20_000;

/// What was heard since when.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heard {
    interest: Interest,
    /// Revision up to which everything was heard; none while everything is.
    all_until: Option<u64>,
}

/// A span that must be read from the past: the changes after `after`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missed {
    pub after: u64,
    /// Where the span really begins, when its oldest part is left out.
    pub left_out: Option<u64>,
}

impl Heard {
    /// Notes that the page wants something else now, when the tab stands at `revision`. Returns what
    /// must be read from the past for it.
    pub fn want(&mut self, interest: &Interest, revision: u64) -> Option<Missed> {
        if self.interest == *interest {
            return None;
        }
        let is_more = !covers(&self.interest, interest);
        self.interest = interest.clone();
        let until = *self.all_until.get_or_insert(revision);
        if !is_more {
            return None;
        }
        if is_all(interest) {
            self.all_until = None;
        }
        if until >= revision {
            return None;
        }
        let after = until.max(revision.saturating_sub(MOST));
        Some(Missed {
            after,
            left_out: (after > until).then_some(until),
        })
    }
}

const fn is_all(interest: &Interest) -> bool {
    interest.prefixes.is_empty() && interest.types.is_empty()
}

/// Returns whether one who hears `one` hears all of `other`.
fn covers(one: &Interest, other: &Interest) -> bool {
    let within = |prefix: &String| one.prefixes.iter().any(|wider| prefix.starts_with(wider));
    let prefixes = one.prefixes.is_empty()
        || (!other.prefixes.is_empty() && other.prefixes.iter().all(within));
    let types = one.types.is_empty()
        || (!other.types.is_empty() && other.types.iter().all(|kind| one.types.contains(kind)));
    prefixes && types
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(prefix: &str, types: &[&str]) -> Interest {
        Interest {
            prefixes: [prefix]
                .iter()
                .filter(|p| !p.is_empty())
                .map(|&p| p.into())
                .collect(),
            types: types.iter().map(|&kind| kind.into()).collect(),
        }
    }

    #[test]
    fn what_was_missed_is_read_when_the_page_wants_all_again() {
        let mut heard = Heard::default();
        assert_eq!(heard.want(&some("a/", &[]), 100), None);
        // Less is heard than before: nothing is missing of it.
        assert_eq!(heard.want(&some("a/b", &["put"]), 150), None);
        let missed = heard.want(&some("", &[]), 200);
        assert_eq!(
            missed,
            Some(Missed {
                after: 100,
                left_out: None
            })
        );
        assert_eq!(heard.want(&some("b", &[]), 300), None);
        assert_eq!(heard.want(&some("b", &[]), 310), None);
        let other = heard.want(&some("c", &[]), 320);
        assert_eq!(
            other,
            Some(Missed {
                after: 300,
                left_out: None
            })
        );
    }

    #[test]
    fn of_a_long_span_the_newest_part_is_read() {
        let mut heard = Heard::default();
        heard.want(&some("", &["lock"]), 100);
        let missed = heard.want(&some("", &[]), 100_000);
        assert_eq!(
            missed,
            Some(Missed {
                after: 80_000,
                left_out: Some(100)
            })
        );
    }

    #[test]
    fn nothing_is_missing_when_nothing_happened() {
        let mut heard = Heard::default();
        heard.want(&some("", &["lock"]), 100);
        assert_eq!(heard.want(&some("", &[]), 100), None);
    }
}
