//! Judges what contenders saw, with the history of the lock and of the guarded key beside it.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use super::{Entry, What};
use crate::watch::Change;

/// What the contenders saw, and what is wrong with it.
#[derive(Debug, Default)]
pub struct Fence {
    pub grants: usize,
    /// Guarded writes that were applied, and that the fence refused.
    pub written: usize,
    pub refused: usize,
    /// Writes to the cell by somebody who no longer held the lock: a newer token was there.
    pub overlaps: usize,
    pub wrong: Vec<String>,
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} grants, {} guarded writes, {} refused by the fence, {} overlaps without one, {} wrong",
            self.grants,
            self.written,
            self.refused,
            self.overlaps,
            self.wrong.len()
        )
    }
}

/// Checks that tokens rise in grant order, that no guarded write came after a newer grant, that none
/// was refused to the holder, and that the lock's history has one holder at a time, in the order of
/// the queue. `changes` are those of the lock and of the guarded key, in order.
#[must_use]
pub fn judge(entries: &[Entry], changes: &[Change]) -> Fence {
    let mut fence = Fence::default();
    check_tokens(entries, &mut fence);
    let ends = check_history(changes, &mut fence);
    check_grants(entries, &ends, &mut fence);
    check_guarded(entries, &ends, &mut fence);
    check_values(changes, &ends, &mut fence);
    fence
}

/// What became of a grant: session, and the revision and the kind of its end.
#[derive(Debug, Default, Clone)]
struct Grant {
    session: String,
    ended: Option<(u64, String)>,
}

fn of(entries: &[Entry], what: What) -> impl Iterator<Item = &Entry> + Clone {
    entries.iter().filter(move |entry| entry.what == what)
}

/// A claim that was made after another's grant was known gets a newer token.
fn check_tokens(entries: &[Entry], fence: &mut Fence) {
    let mut grants: Vec<_> = of(entries, What::Granted).collect();
    fence.grants = grants.len();
    grants.sort_by_key(|grant| grant.ended);
    let mut by_start: Vec<_> = grants.clone();
    by_start.sort_by_key(|grant| grant.began);
    let mut known = grants.iter().peekable();
    let mut newest: Option<&Entry> = None;
    for grant in by_start {
        while let Some(earlier) = known.next_if(|earlier| earlier.ended < grant.began) {
            if newest.is_none_or(|newest| newest.token < earlier.token) {
                newest = Some(earlier);
            }
        }
        if let Some(newest) = newest.filter(|newest| newest.token >= grant.token) {
            fence.wrong.push(format!("{grant:?} after {newest:?}"));
        }
    }
    let mut owners: BTreeMap<u64, &Entry> = BTreeMap::new();
    for grant in grants {
        if let Some(other) = owners.insert(grant.token, grant)
            && other.contender != grant.contender
        {
            fence
                .wrong
                .push(format!("one token for two: {grant:?} and {other:?}"));
        }
    }
}

/// One holder at a time, and the first of the queue is the next.
fn check_history(changes: &[Change], fence: &mut Fence) -> BTreeMap<u64, Grant> {
    let mut grants: BTreeMap<u64, Grant> = BTreeMap::new();
    let mut queue: VecDeque<String> = VecDeque::new();
    let mut holder: Option<(String, u64)> = None;
    for change in changes.iter().filter(|change| change.kind == "lock") {
        let body = &change.body;
        let session = body["session"].as_str().unwrap_or_default().to_owned();
        let token = body["token"].as_u64();
        let kind = body["change"].as_str().unwrap_or_default();
        let right = match kind {
            "queued" => {
                queue.push_back(session);
                holder.is_some()
            }
            "left" => {
                let before = queue.len();
                queue.retain(|waiter| *waiter != session);
                queue.len() + 1 == before
            }
            "granted" => {
                let next = queue.pop_front();
                let first = next.is_none_or(|next| next == session);
                let free = holder.is_none() && token == Some(change.revision);
                holder = token.map(|token| (session.clone(), token));
                let grant = Grant {
                    session,
                    ended: None,
                };
                grants.insert(change.revision, grant);
                first && free
            }
            "released" | "expired" | "broken" => {
                let held = holder.take();
                if let Some(grant) = token.and_then(|token| grants.get_mut(&token)) {
                    grant.ended = Some((change.revision, kind.to_owned()));
                }
                held.is_some_and(|(holds, under)| holds == session && Some(under) == token)
            }
            _ => false,
        };
        if !right || body["waiters"].as_u64() != Some(queue.len() as u64) {
            let text = format!("{body} with {holder:?} and the queue {queue:?}");
            fence.wrong.push(text);
        }
    }
    grants
}

fn check_grants(entries: &[Entry], grants: &BTreeMap<u64, Grant>, fence: &mut Fence) {
    for entry in of(entries, What::Granted) {
        let known = grants.get(&entry.token);
        if known.is_none_or(|grant| grant.session != entry.session) {
            fence.wrong.push(format!("not in the history: {entry:?}"));
        }
    }
}

fn check_guarded(entries: &[Entry], grants: &BTreeMap<u64, Grant>, fence: &mut Fence) {
    for cell in of(entries, What::Cell) {
        fence.overlaps += usize::from(cell.found > Some(cell.token));
    }
    for write in of(entries, What::Guarded) {
        let grant = grants.get(&write.token);
        match (write.status, write.found) {
            (200 | 201, Some(revision)) => {
                fence.written += 1;
                let over = grant.and_then(|grant| grant.ended.as_ref());
                if over.is_some_and(|(end, _)| *end < revision) || grant.is_none() {
                    fence
                        .wrong
                        .push(format!("written without the lock: {write:?}, {grant:?}"));
                }
            }
            (412 | 423, _) => {
                fence.refused += 1;
                // It gave the lock back itself, and asked to only later: it had it all the time.
                let had = grant.is_some_and(|grant| {
                    grant
                        .ended
                        .as_ref()
                        .is_none_or(|(_, kind)| kind == "released")
                });
                if had {
                    fence
                        .wrong
                        .push(format!("refused to the holder: {write:?}, {grant:?}"));
                }
            }
            (200 | 201, None) => fence.wrong.push(format!("no revision: {write:?}")),
            _ => {}
        }
    }
}

/// What the guarded key has been: each value is the token of the lock's holder of that moment.
fn check_values(changes: &[Change], grants: &BTreeMap<u64, Grant>, fence: &mut Fence) {
    let mut before = 0;
    for put in changes.iter().filter(|change| change.kind == "put") {
        let token = put
            .value()
            .and_then(|value| value.parse().ok())
            .unwrap_or(0);
        let newest = grants.range(..put.revision).next_back();
        let holds = newest.is_some_and(|(newest, _)| *newest == token);
        if token < before || !holds {
            fence.wrong.push(format!(
                "{put:?} after {before}, the newest grant {newest:?}"
            ));
        }
        before = token;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lock(
        revision: u64,
        change: &str,
        session: &str,
        token: Option<u64>,
        waiters: u64,
    ) -> Change {
        Change {
            kind: "lock".to_owned(),
            revision,
            name: "l".to_owned(),
            body: json!({"change": change, "session": session, "token": token, "waiters": waiters}),
        }
    }

    fn put(revision: u64, token: u64) -> Change {
        Change {
            kind: "put".to_owned(),
            revision,
            name: "g".to_owned(),
            body: json!({"record": {"value": token.to_string()}}),
        }
    }

    /// Ten is granted to s1, s2 waits, ten expires and twelve goes to s2, which gives it back.
    fn history() -> Vec<Change> {
        vec![
            lock(10, "granted", "s1", Some(10), 0),
            lock(11, "queued", "s2", None, 1),
            put(12, 10),
            lock(13, "expired", "s1", Some(10), 1),
            lock(13, "granted", "s2", Some(13), 0),
            put(14, 13),
            lock(15, "released", "s2", Some(13), 0),
        ]
    }

    fn entry(what: What, session: &str, token: u64, seen: (u16, Option<u64>), at: u64) -> Entry {
        Entry {
            contender: usize::from(session == "s2"),
            what,
            token,
            session: session.to_owned(),
            status: seen.0,
            found: seen.1,
            began: at,
            ended: at + 1,
        }
    }

    fn entries() -> Vec<Entry> {
        vec![
            entry(What::Granted, "s1", 10, (200, None), 1),
            entry(What::Guarded, "s1", 10, (201, Some(12)), 3),
            entry(What::Granted, "s2", 13, (200, None), 10),
            entry(What::Guarded, "s2", 13, (200, Some(14)), 12),
            entry(What::Cell, "s2", 13, (200, Some(0)), 14),
            entry(What::Guarded, "s1", 10, (412, None), 16),
            entry(What::Cell, "s1", 10, (200, Some(13)), 18),
            entry(What::Released, "s2", 13, (200, None), 20),
        ]
    }

    #[test]
    fn a_fence_that_holds_has_nothing_wrong_and_overlaps_are_counted() {
        let fence = judge(&entries(), &history());
        assert!(fence.wrong.is_empty(), "{:#?}", fence.wrong);
        assert_eq!(
            (fence.grants, fence.written, fence.refused, fence.overlaps),
            (2, 2, 1, 1)
        );
    }

    fn wrong(change: impl FnOnce(&mut Vec<Entry>, &mut Vec<Change>)) -> usize {
        let (mut entries, mut history) = (entries(), history());
        change(&mut entries, &mut history);
        judge(&entries, &history).wrong.len()
    }

    #[test]
    fn everything_that_a_fence_must_not_do_is_noticed() {
        // An old token writes after the newer grant.
        assert!(
            wrong(|entries, _| entries[5] = entry(What::Guarded, "s1", 10, (200, Some(16)), 16))
                > 0
        );
        // The same, and the answer was lost.
        assert!(wrong(|_, history| history.push(put(16, 10))) > 0);
        // A token that does not rise, and one for two.
        assert!(wrong(|entries, _| entries[2].token = 9) > 0);
        assert!(wrong(|entries, _| entries[2].token = 10) > 0);
        // A grant that nobody applied.
        assert!(wrong(|entries, _| entries[2].token = 14) > 0);
        // The holder is refused.
        assert!(
            wrong(|entries, _| entries[3] = entry(What::Guarded, "s2", 13, (423, None), 12)) > 0
        );
        // Two holders; past the queue; a wrong number of waiters.
        assert!(wrong(|_, history| drop(history.remove(3))) > 0);
        assert!(wrong(|_, history| history.insert(2, lock(11, "queued", "s0", None, 2))) > 0);
        assert!(wrong(|_, history| history[1] = lock(11, "queued", "s3", None, 1)) > 0);
        assert!(wrong(|_, history| history[1] = lock(11, "queued", "s2", None, 7)) > 0);
    }
}
