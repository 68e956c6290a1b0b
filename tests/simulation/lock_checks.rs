//! What must hold of all locks. A model of their rules, which shares nothing with the state machine,
//! goes through the committed log and judges the changes that it made; then what the clients saw is
//! compared with it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use conclave_server::raft::Entry;
use conclave_server::state::{
    Change, ChangeSet, Command, LockChange, LockChangeKind, LockName, Op, Release, RequestId,
    SessionId,
};
use openraft::EntryPayload;

use crate::ledger::History;
use crate::lockers::{Guarded, LONGEST_TTL_MS, LockNotes, Tenure};
use crate::workload::Fate;

/// Log time after its deadline within which a claim ends, milliseconds: ticks that fail, with the leaders
/// that proposed them, and the looks after them.
const LATE_MS: u64 = 1_000;
/// What counts for that is the log time up to which the proposers had applied, as without a quorum a
/// leader goes on to append and can end nothing; and of a longer step of it, in which there may have been
/// none, only so much, milliseconds.
const STEP_MS: u64 = 100;

/// Checks the history of all locks, and what their clients saw against it; returns what is wrong.
pub(crate) fn check(notes: &LockNotes, history: &History) -> Vec<String> {
    let mut model = Model::default();
    for (index, entry) in &history.entries {
        let changes = history.changes.get(index);
        model.apply(*index, entry, changes.map(|entry| entry.set()));
    }
    let mut wrong = model.finish();
    wrong.extend(told_of_grants(notes, &model));
    wrong.extend(one_at_a_time(&notes.tenures));
    let guarded = notes.guarded.iter();
    wrong.extend(guarded.filter_map(|guarded| guarded_write(guarded, history)));
    wrong
}

/// What the model knows of a claim. Times are log time.
#[derive(Debug)]
struct Claim {
    lock: LockName,
    ttl_ms: u64,
    deadline_ms: u64,
    /// Time since its deadline in which it could have been ended.
    overdue_ms: u64,
}

/// What the model knows of a lock.
#[derive(Debug, Default)]
struct Line {
    /// Session and token.
    holder: Option<(SessionId, u64)>,
    /// In the order of their claims.
    queue: VecDeque<SessionId>,
    newest_token: u64,
}

/// The rules of locks.
#[derive(Debug, Default)]
struct Model {
    now_ms: u64,
    /// Log time of each entry.
    times: BTreeMap<u64, u64>,
    /// Log time up to which a proposer had applied.
    known_ms: u64,
    /// What counts of how far that has come with the newest entry.
    step_ms: u64,
    lines: BTreeMap<LockName, Line>,
    claims: BTreeMap<SessionId, Claim>,
    /// Ids of requests that count once.
    used: BTreeSet<RequestId>,
    /// Tokens, and the sessions that they were granted. One tick may grant several locks.
    grants: BTreeSet<(u64, SessionId)>,
    wrong: Vec<String>,
}

impl Model {
    /// Carries out an entry, and judges its changes.
    fn apply(&mut self, index: u64, entry: &Entry, changes: Option<&ChangeSet>) {
        let EntryPayload::Normal(command) = &entry.payload else {
            return;
        };
        let now_ms = self.now_ms.max(command.log_time_ms);
        self.now_ms = now_ms;
        self.times.insert(index, now_ms);
        let applied = self.times.range(..=command.taken_at).next_back();
        let known_ms = applied.map_or(0, |(_, at)| *at).max(self.known_ms);
        self.step_ms = (known_ms - self.known_ms).min(STEP_MS);
        self.known_ms = known_ms;
        if self.counts(command) {
            self.renew(&command.op);
            self.check_guard(index, command, changes);
        } else if let Some(changes) = changes {
            self.complain(index, &format!("a repetition has changed {changes:?}"));
        }
        for change in changes.into_iter().flat_map(|set| &set.changes) {
            if let Change::Lock(change) = change
                && let Err(what) = self.change(index, command, change)
            {
                self.complain(index, &format!("{what}: {change:?} by {command:?}"));
            }
        }
        self.check_deadlines(index, &command.op);
    }

    fn complain(&mut self, index: u64, what: &str) {
        self.wrong.push(format!("locks at {index}: {what}"));
    }

    /// Returns whether a command is carried out: one that was before, or was withdrawn, is not.
    fn counts(&mut self, command: &Command) -> bool {
        match &command.op {
            Op::RenewLock { .. } | Op::KeepClaims { .. } | Op::Tick => true,
            Op::SettleRequest { id } => {
                self.used.insert(id.clone());
                true
            }
            _ => self.used.insert(command.request_id.clone()),
        }
    }

    fn renew(&mut self, op: &Op) {
        match op {
            Op::AcquireLock {
                lock,
                session: Some(session),
                ttl_ms,
                ..
            } => self.restart(lock, *session, Some(*ttl_ms)),
            Op::RenewLock { lock, session } => self.restart(lock, *session, None),
            Op::KeepClaims { claims } => {
                for (lock, session) in claims {
                    self.restart(lock, *session, None);
                }
            }
            _ => {}
        }
    }

    fn restart(&mut self, lock: &LockName, session: SessionId, ttl_ms: Option<u64>) {
        let claim = self.claims.get_mut(&session);
        if let Some(claim) = claim.filter(|claim| claim.lock == *lock) {
            claim.ttl_ms = ttl_ms.unwrap_or(claim.ttl_ms);
            claim.deadline_ms = claim.deadline_ms.max(self.now_ms + claim.ttl_ms);
            claim.overdue_ms = 0;
        }
    }

    /// A guarded write is applied if its token is the holder's, and only then.
    fn check_guard(&mut self, index: u64, command: &Command, changes: Option<&ChangeSet>) {
        let Some(guard) = &command.guard else {
            return;
        };
        let holder = self.lines.get(&guard.lock).and_then(|line| line.holder);
        let holds = holder.is_some_and(|(_, token)| token == guard.token);
        if holds != changes.is_some() {
            let what = match holds {
                true => format!("a write of the holder was refused: {command:?}"),
                false => format!("the lock is {holder:?}'s, and applied was {command:?}"),
            };
            self.complain(index, &what);
        }
    }

    fn change(
        &mut self,
        index: u64,
        command: &Command,
        change: &LockChange,
    ) -> Result<(), &'static str> {
        let (session, now_ms) = (change.session, self.now_ms);
        let is_due = |claim: &Claim| claim.deadline_ms <= now_ms;
        let line = self.lines.entry(change.lock.clone()).or_default();
        match change.kind {
            LockChangeKind::Queued => {
                if line.holder.is_none() {
                    return Err("queued for a lock that is free");
                }
                line.queue.push_back(session);
                self.enter(index, command, change)
            }
            LockChangeKind::Granted => self.grant(index, command, change),
            LockChangeKind::Left => {
                let place = line.queue.iter().position(|waiter| *waiter == session);
                line.queue.remove(place.ok_or("it does not wait")?);
                let claim = self.claims.remove(&session).ok_or("it has no claim")?;
                match releases(&command.op, change) || is_due(&claim) {
                    true => Ok(()),
                    false => Err("its place was taken away"),
                }
            }
            LockChangeKind::Released | LockChangeKind::Expired => {
                let (holder, token) = line.holder.take().ok_or("nobody holds it")?;
                let claim = self.claims.remove(&session).ok_or("it has no claim")?;
                if holder != session || change.token != Some(token) {
                    return Err("somebody else holds it");
                }
                let is_right = match change.kind {
                    LockChangeKind::Expired => is_due(&claim),
                    _ => releases(&command.op, change),
                };
                match is_right {
                    true => Ok(()),
                    false => Err("its time was not over, or it has not given it back"),
                }
            }
            LockChangeKind::Broken => Err("nobody breaks locks here"),
        }
    }

    /// Enters the claim that a command makes.
    fn enter(
        &mut self,
        index: u64,
        command: &Command,
        change: &LockChange,
    ) -> Result<(), &'static str> {
        let Op::AcquireLock {
            lock,
            ttl_ms,
            session: None,
            ..
        } = &command.op
        else {
            return Err("nobody has claimed it");
        };
        let claim = Claim {
            lock: lock.clone(),
            ttl_ms: *ttl_ms,
            deadline_ms: self.now_ms + ttl_ms,
            overdue_ms: 0,
        };
        self.claims.insert(change.session, claim);
        match change.session == SessionId(index) && *lock == change.lock {
            true => Ok(()),
            false => Err("it is another's claim"),
        }
    }

    /// A lock that is free goes to the first who waits, and to a new claim only if nobody does.
    fn grant(
        &mut self,
        index: u64,
        command: &Command,
        change: &LockChange,
    ) -> Result<(), &'static str> {
        let line = self.lines.entry(change.lock.clone()).or_default();
        let token = change.token.ok_or("without a token")?;
        if line.holder.replace((change.session, token)).is_some() {
            return Err("two hold it");
        }
        if token <= line.newest_token {
            return Err("its token is not above the one before");
        }
        line.newest_token = token;
        self.grants.insert((token, change.session));
        match line.queue.pop_front() {
            None => self.enter(index, command, change),
            Some(first) if first == change.session => {
                let claim = self.claims.get_mut(&first).ok_or("it has no claim")?;
                claim.deadline_ms = self.now_ms + claim.ttl_ms;
                claim.overdue_ms = 0;
                Ok(())
            }
            Some(_) => Err("somebody else was the first to wait"),
        }
    }

    /// Nobody waits for a lock that is free; a tick ends what is due, and comes in time.
    fn check_deadlines(&mut self, index: u64, op: &Op) {
        let (now_ms, known_ms, step_ms) = (self.now_ms, self.known_ms, self.step_ms);
        let mut late = Vec::new();
        for (session, claim) in &mut self.claims {
            if claim.deadline_ms > now_ms {
                continue;
            }
            if claim.deadline_ms <= known_ms {
                claim.overdue_ms += step_ms;
            }
            if *op == Op::Tick || claim.overdue_ms >= LATE_MS {
                late.push(*session);
            }
        }
        for session in late {
            let claim = self.claims.remove(&session);
            let what = format!("at log time {now_ms} there is {session}: {claim:?}");
            self.complain(index, &what);
        }
        let waited_for = |line: &Line| line.holder.is_none() && !line.queue.is_empty();
        if self.lines.values().any(waited_for) {
            self.complain(index, "nobody holds what somebody waits for");
        }
    }

    /// Judges the end, long after the clients have stopped.
    fn finish(&mut self) -> Vec<String> {
        let short = |claim: &&Claim| claim.ttl_ms <= LONGEST_TTL_MS;
        if let Some(claim) = self.claims.values().find(short) {
            let what = format!("locks: {claim:?} is left in the end");
            self.wrong.push(what);
        }
        std::mem::take(&mut self.wrong)
    }
}

/// Returns whether the one whose claim has ended asked for that.
fn releases(op: &Op, change: &LockChange) -> bool {
    matches!(
        op,
        Op::ReleaseLock {
            lock,
            by: Release::Claim { session, .. },
        } if *lock == change.lock && *session == Some(change.session)
    )
}

/// Clients are told of tokens that they were granted.
fn told_of_grants(notes: &LockNotes, model: &Model) -> Vec<String> {
    let grants = notes.grants.iter();
    let wrong = grants.filter(|grant| !model.grants.contains(grant));
    wrong
        .map(|(token, session)| format!("locks: {session} was told that it has token {token}"))
        .collect()
}

/// No two clients can be certain to hold a lock at one moment of real time.
fn one_at_a_time(tenures: &[Tenure]) -> Vec<String> {
    let mut tenures: Vec<_> = tenures.iter().filter(|one| one.from < one.until).collect();
    tenures.sort_by_key(|tenure| (tenure.lock, tenure.from));
    let mut wrong = Vec::new();
    let mut last: Option<&Tenure> = None;
    for tenure in tenures {
        if let Some(last) = last
            && last.lock == tenure.lock
            && last.token != tenure.token
            && tenure.from < last.until
        {
            wrong.push(format!("locks: held at one time: {last:?} and {tenure:?}"));
        }
        let is_longer = |last: &Tenure| last.lock != tenure.lock || last.until < tenure.until;
        if last.is_none_or(is_longer) {
            last = Some(tenure);
        }
    }
    wrong
}

/// What was acknowledged under a token is in the history, and what was refused is not.
fn guarded_write(guarded: &Guarded, history: &History) -> Option<String> {
    let puts = |set: &ChangeSet| {
        set.changes.iter().any(|change| match change {
            Change::Put { key, record, .. } => {
                **key == *guarded.key && *record.value == *guarded.value.as_bytes()
            }
            _ => false,
        })
    };
    let right = match guarded.fate {
        Fate::Applied { revision } => {
            let found = history.changes.get(&revision);
            found.is_some_and(|entry| puts(entry.set()))
        }
        Fate::Not => !history.changes.values().any(|entry| puts(entry.set())),
        Fate::Open => true,
    };
    (!right).then(|| format!("locks: not what the history says: {guarded:?}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use conclave_server::clock;
    use openraft_rt::AsyncRuntime;

    use super::*;
    use crate::story::{self, EXPIRY, LAST, LOCK, REFUSED, RELEASE, WRITTEN};

    /// Judges the story after something in it was changed, and expects a complaint.
    fn assert_wrong(complaint: &str, change: impl FnOnce(&mut History)) {
        let mut history = story::history();
        change(&mut history);
        let wrong = check(&LockNotes::default(), &history);
        let is_seen = wrong.iter().any(|wrong| wrong.contains(complaint));
        assert!(is_seen, "{complaint}: {wrong:?}");
    }

    fn lock_change(set: &mut ChangeSet, kind: LockChangeKind) -> &mut LockChange {
        let changes = set.changes.iter_mut().filter_map(|change| match change {
            Change::Lock(change) => Some(change),
            _ => None,
        });
        let mut found = changes.filter(|change| change.kind == kind);
        found.next().expect("a change of that kind")
    }

    #[test]
    fn what_the_state_machine_does_is_right() {
        let wrong = check(&LockNotes::default(), &story::history());
        assert_eq!(wrong, [""; 0]);
    }

    #[test]
    fn a_second_holder_is_noticed() {
        assert_wrong("two hold it", |history| {
            history.alter(EXPIRY, |set| {
                set.changes.retain(|change| {
                !matches!(change, Change::Lock(change) if change.kind == LockChangeKind::Expired)
            })
            });
        });
    }

    #[test]
    fn a_token_that_does_not_rise_is_noticed() {
        assert_wrong("not above", |history| {
            history.alter(RELEASE, |set| {
                lock_change(set, LockChangeKind::Granted).token = Some(EXPIRY);
            });
        });
    }

    #[test]
    fn a_waiter_that_is_passed_over_is_noticed() {
        assert_wrong("was the first to wait", |history| {
            history.alter(EXPIRY, |set| {
                lock_change(set, LockChangeKind::Granted).session = SessionId(3);
            });
        });
    }

    #[test]
    fn a_release_by_somebody_else_is_noticed() {
        assert_wrong("has not given it back", |history| {
            let by = Release::Claim {
                session: Some(SessionId(1)),
                token: None,
            };
            let lock = LockName::try_from(LOCK).unwrap();
            history.command(RELEASE).op = Op::ReleaseLock { lock, by };
        });
    }

    #[test]
    fn a_claim_that_ends_too_early_or_too_late_is_noticed() {
        assert_wrong("its time was not over", |history| {
            history.command(EXPIRY).log_time_ms = 1_899;
        });
        assert_wrong("at log time 1900 there is 1:", |history| {
            history.changes.remove(&EXPIRY);
        });
        assert_wrong("at log time 2900 there is 1:", |history| {
            // Many commands, of which none is a tick.
            history.changes.remove(&EXPIRY);
            let mut command = history.command(EXPIRY).clone();
            command.op = history.command(WRITTEN).op.clone();
            for (index, at) in (EXPIRY..).zip((1_900..=3_000).step_by(100)) {
                command.log_time_ms = at;
                command.taken_at = index - 1;
                history.write(index, command.clone());
            }
        });
        assert_wrong("is left in the end", |history| {
            history.entries.remove(&LAST);
            history.changes.remove(&LAST);
        });
        assert_wrong("nobody holds what", |history| {
            history.alter(EXPIRY, |set| drop(set.changes.pop()));
        });
    }

    #[test]
    fn a_write_under_an_old_token_is_noticed_and_so_is_the_refusal_of_one_under_the_newest() {
        assert_wrong("and applied was", |history| {
            let written = history.changes[&WRITTEN].clone();
            history.changes.insert(REFUSED, written);
        });
        assert_wrong("was refused", |history| {
            history.changes.remove(&WRITTEN);
        });
    }

    #[test]
    fn clients_that_are_told_something_else_are_noticed() {
        let history = story::history();
        let told = |notes: &LockNotes| check(notes, &history);
        let mut notes = LockNotes::default();
        notes.grants.push((EXPIRY, SessionId(2)));
        let guarded = |fate| Guarded {
            key: "guarded/lock/a".to_owned(),
            value: "v".to_owned(),
            fate,
        };
        let applied = Fate::Applied { revision: WRITTEN };
        notes.guarded.push(guarded(applied));
        assert_eq!(told(&notes), [""; 0]);

        notes.grants.push((EXPIRY, SessionId(3)));
        notes.guarded.push(guarded(Fate::Not));
        notes
            .guarded
            .push(guarded(Fate::Applied { revision: REFUSED }));
        assert_eq!(told(&notes).len(), 3, "{:?}", told(&notes));
    }

    #[test]
    fn two_that_take_themselves_for_the_holder_are_noticed() {
        let mut runtime = openraft_rt_sim::SimRuntime::with_seed(0);
        let start = runtime.block_on(async { clock::now() });
        let tenure = |token, from: u64, until: u64| Tenure {
            lock: LOCK,
            token,
            from: start + Duration::from_millis(from),
            until: start + Duration::from_millis(until),
        };
        let apart = [tenure(1, 0, 10), tenure(1, 5, 20), tenure(2, 20, 30)];
        assert_eq!(one_at_a_time(&apart), [""; 0]);
        let together = [tenure(1, 0, 21), tenure(1, 5, 10), tenure(2, 20, 30)];
        assert_eq!(one_at_a_time(&together).len(), 1);
    }
}
