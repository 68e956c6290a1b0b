//! The locks as a table shows them: newest state wins, and what runs down does so between two looks.

use std::collections::BTreeMap;

use conclave_shared::{LockInfo, LockList};

/// The last list and when it was read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Locks {
    pub revision: u64,
    pub all: Vec<LockInfo>,
    /// There are more than the list has.
    pub is_cut: bool,
    /// When it was read, by the tab's clock, milliseconds.
    pub read_at: f64,
    /// Longest TTL seen of each holder: what its bar is a part of.
    longest: BTreeMap<String, u64>,
}

impl Locks {
    /// Takes a list, unless it is older than what is shown: tokens never go back on a screen.
    pub fn take(&mut self, list: LockList, now: f64) {
        if list.revision < self.revision {
            return;
        }
        let mut longest = BTreeMap::new();
        for holder in list.locks.iter().filter_map(|lock| lock.holder.as_ref()) {
            let before = self.longest.get(&holder.session).copied().unwrap_or(0);
            longest.insert(holder.session.clone(), before.max(holder.ttl_ms));
        }
        *self = Self {
            revision: list.revision,
            all: list.locks,
            is_cut: list.next.is_some(),
            read_at: now,
            longest,
        };
    }

    /// Returns a lock by its name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&LockInfo> {
        self.all.iter().find(|lock| lock.name == name)
    }

    /// Returns the TTL that a lock's holder has left now, milliseconds, and how much of the longest
    /// TTL seen that is, in percent.
    #[must_use]
    pub fn left(&self, lock: &LockInfo, now: f64) -> Option<(u64, u64)> {
        let holder = lock.holder.as_ref()?;
        let left = holder.ttl_ms.saturating_sub(self.passed(now));
        let whole = self.longest.get(&holder.session).copied().unwrap_or(0);
        Some((left, left * 100 / whole.max(1)))
    }

    /// Returns for how long a lock has been held now, milliseconds.
    #[must_use]
    pub fn held(&self, lock: &LockInfo, now: f64) -> Option<u64> {
        Some(lock.held_ms? + self.passed(now))
    }

    /// Returns the time since the list was read, milliseconds.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a difference of times that is not below zero"
    )]
    pub fn passed(&self, now: f64) -> u64 {
        (now - self.read_at).max(0.0) as u64
    }
}

#[cfg(test)]
mod tests {
    use conclave_shared::LockHolder;

    use super::*;

    fn list(revision: u64, token: u64, ttl_ms: u64) -> LockList {
        let holder = LockHolder {
            owner: "o".into(),
            session: "s".into(),
            node: "n".into(),
            token,
            ttl_ms,
        };
        let lock = LockInfo {
            name: "jobs".into(),
            token: Some(token),
            holder: Some(holder),
            held_ms: Some(500),
            ttl_ms: Some(ttl_ms),
            next: Vec::new(),
        };
        LockList {
            revision,
            locks: vec![lock],
            next: None,
        }
    }

    #[test]
    fn an_older_list_changes_nothing() {
        let mut locks = Locks::default();
        locks.take(list(10, 9, 1_000), 0.0);
        locks.take(list(8, 7, 1_000), 1.0);
        assert_eq!(locks.get("jobs").unwrap().token, Some(9));
    }

    #[test]
    fn a_ttl_runs_down_from_its_longest() {
        let mut locks = Locks::default();
        locks.take(list(10, 9, 10_000), 0.0);
        locks.take(list(11, 9, 8_000), 100.0);
        let lock = locks.get("jobs").unwrap();
        assert_eq!(locks.left(lock, 3_100.0), Some((5_000, 50)));
        assert_eq!(locks.left(lock, 60_000.0), Some((0, 0)));
        assert_eq!(locks.held(lock, 1_100.0), Some(1_500));
    }
}
