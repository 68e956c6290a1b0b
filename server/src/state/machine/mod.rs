//! The replicated state and what each command does to it.

#[cfg(test)]
mod tests;
mod transaction;

use std::sync::Arc;

use conclave_shared::{MemberAddress, limits};

use super::change::Change;
use super::keyspace::{KeySpace, Pen, holds};
use super::locks::{Lock, Locks, Moment, Wanted};
use super::{Command, Condition, Guard, Key, LockName, Op, Outcome, Put, Record, Rejection};
use crate::mutants::{self, Mutant};

/// Keys and locks at one revision.
#[derive(Debug, Clone, Default)]
pub struct State {
    revision: u64,
    log_time_ms: u64,
    wall_time_ms: u64,
    keys: KeySpace,
    locks: Locks,
}

/// The command that is carried out, and where its changes go.
struct Step<'a> {
    index: u64,
    command: &'a Command,
    changes: &'a mut Vec<Change>,
}

impl State {
    /// Takes over the times of a command.
    pub(super) fn advance(&mut self, command: &Command) {
        self.log_time_ms = self.log_time_ms.max(command.log_time_ms);
        self.wall_time_ms = command.wall_time_ms;
    }

    /// Carries out a command that is applied for the first time, and adds what it changed.
    pub(super) fn execute(
        &mut self,
        index: u64,
        command: &Command,
        changes: &mut Vec<Change>,
    ) -> Outcome {
        if let Some(refused) = command.guard.as_ref().and_then(|guard| self.refuse(guard)) {
            return Outcome::Rejected(refused);
        }
        let before = changes.len();
        let step = &mut Step {
            index,
            command,
            changes,
        };
        let outcome = self.carry_out(step);
        if step.changes.len() > before {
            self.revision = index;
        }
        outcome
    }

    fn carry_out(&mut self, step: &mut Step<'_>) -> Outcome {
        let command = step.command;
        match &command.op {
            Op::Put {
                put,
                condition,
                return_previous,
            } => self.put_if(step, put, condition, *return_previous),
            Op::PutMany { puts } => self.put_many(step, puts),
            Op::Delete {
                key,
                condition,
                return_previous,
            } => self.delete_if(step, key, condition, *return_previous),
            Op::DeletePrefix { prefix } => match self.too_many([prefix.as_str()].into_iter()) {
                Some(rejection) => Outcome::Rejected(rejection),
                None => self.delete_prefix_outcome(step, prefix),
            },
            Op::AllocateNode { .. } => Outcome::NodeAllocated { id: step.index },
            // The request table has done it.
            Op::SettleRequest { .. } => Outcome::Nothing,
            Op::Transaction(transaction) => self.transact(step, transaction),
            Op::AcquireLock {
                lock,
                owner,
                ttl_ms,
                session,
                queue,
            } => {
                let wanted = Wanted {
                    owner,
                    node: &command.origin,
                    ttl_ms: *ttl_ms,
                    session: *session,
                    queue: *queue,
                };
                self.locks
                    .acquire(&mut moment(self.log_time_ms, step), lock, &wanted)
            }
            Op::RenewLock { lock, session } => {
                self.locks
                    .renew(&moment(self.log_time_ms, step), lock, *session)
            }
            Op::KeepClaims { claims } => self.locks.keep(&moment(self.log_time_ms, step), claims),
            Op::ReleaseLock { lock, by } => {
                self.locks
                    .release(&mut moment(self.log_time_ms, step), lock, by)
            }
            Op::Tick => self.tick(step),
        }
    }

    /// Notes a change that is not in the key space: a new membership.
    pub fn apply_membership(
        &mut self,
        index: u64,
        before: Vec<MemberAddress>,
        after: Vec<MemberAddress>,
    ) -> Option<Change> {
        if before == after {
            return None;
        }
        self.revision = index;
        Some(Change::Members { before, after })
    }

    fn put_if(
        &mut self,
        step: &mut Step<'_>,
        put: &Put,
        condition: &Condition,
        return_previous: bool,
    ) -> Outcome {
        if !condition.is_empty() {
            let current = self.get(&put.key);
            if !holds(condition, current.map(AsRef::as_ref)) {
                return rejected(current);
            }
        }
        let (record, previous) = self.put(step, put);
        Outcome::Put {
            stamps: record.stamps(),
            previous: previous.filter(|_| return_previous),
        }
    }

    fn put_many(&mut self, step: &mut Step<'_>, puts: &[Put]) -> Outcome {
        for (at, put) in puts.iter().enumerate() {
            let is_overwritten = puts.iter().skip(at + 1).any(|later| later.key == put.key);
            if !is_overwritten {
                self.put(step, put);
            }
        }
        Outcome::PutMany {
            revision: step.index,
            keys: puts.len() as u64,
        }
    }

    fn put(&mut self, step: &mut Step<'_>, put: &Put) -> (Arc<Record>, Option<Arc<Record>>) {
        let pen = Pen {
            index: step.index,
            now_ms: self.log_time_ms,
            origin: &step.command.origin,
        };
        let (record, previous) = self.keys.put(&pen, put);
        step.changes.push(Change::Put {
            key: put.key.clone(),
            record: record.clone(),
            previous: previous.clone(),
        });
        (record, previous)
    }

    fn delete_if(
        &mut self,
        step: &mut Step<'_>,
        key: &Key,
        condition: &Condition,
        return_previous: bool,
    ) -> Outcome {
        let current = self.get(key);
        if !holds(condition, current.map(AsRef::as_ref)) {
            return rejected(current);
        }
        match self.delete(step, key) {
            None => Outcome::Rejected(Rejection::KeyNotFound),
            Some(old) => Outcome::Deleted {
                revision: step.index,
                previous: return_previous.then_some(old),
            },
        }
    }

    fn delete(&mut self, step: &mut Step<'_>, key: &Key) -> Option<Arc<Record>> {
        let old = self.keys.remove(key)?;
        step.changes.push(Change::Delete {
            key: key.clone(),
            previous: old.clone(),
        });
        Some(old)
    }

    /// Says why so many keys must not be removed by one command.
    fn too_many<'a>(&self, prefixes: impl Iterator<Item = &'a str>) -> Option<Rejection> {
        // Whole counts: the refusal says how many there are.
        let keys = prefixes
            .map(|prefix| self.with_prefix(prefix).count())
            .sum::<usize>();
        (keys > limits::RECURSIVE_DELETE_KEYS)
            .then_some(Rejection::TooManyKeys { keys: keys as u64 })
    }

    fn delete_prefix_outcome(&mut self, step: &mut Step<'_>, prefix: &str) -> Outcome {
        let keys = self.delete_prefix(step, prefix);
        Outcome::DeletedPrefix {
            revision: if keys > 0 { step.index } else { self.revision },
            keys,
        }
    }

    fn delete_prefix(&mut self, step: &mut Step<'_>, prefix: &str) -> u64 {
        let mut keys: Vec<Key> = self
            .with_prefix(prefix)
            .map(|(key, _)| key.clone())
            .collect();
        if mutants::is(Mutant::HashOrder) {
            mutants::disorder(&mut keys);
        }
        for key in &keys {
            self.delete(step, key);
        }
        keys.len() as u64
    }

    /// Ends what is due: claims first, so that nobody is granted a lock for nothing.
    fn tick(&mut self, step: &mut Step<'_>) -> Outcome {
        let most = limits::EXPIRIES_PER_TICK;
        let now_ms = self.log_time_ms;
        let mut ended = self.locks.expire(&mut moment(now_ms, step), most);
        while ended < most {
            let Some(key) = self.keys.due(now_ms) else {
                break;
            };
            if let Some(previous) = self.keys.remove(&key) {
                step.changes.push(Change::Expire { key, previous });
            }
            ended += 1;
        }
        Outcome::Ticked {
            more: self.next_deadline_ms().is_some_and(|at| at <= now_ms),
        }
    }

    fn refuse(&self, guard: &Guard) -> Option<Rejection> {
        self.locks.refuse(guard)
    }
}

fn moment<'a>(now_ms: u64, step: &'a mut Step<'_>) -> Moment<'a> {
    Moment {
        index: step.index,
        now_ms,
        changes: step.changes,
    }
}

/// Reading.
impl State {
    /// Returns the log index of the last change.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// Returns the newest log time applied, milliseconds.
    #[must_use]
    pub const fn log_time_ms(&self) -> u64 {
        self.log_time_ms
    }

    /// Returns the wall time of the last command, milliseconds since 1970.
    #[must_use]
    pub const fn wall_time_ms(&self) -> u64 {
        self.wall_time_ms
    }

    /// Returns the number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Returns true when there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the bytes of all keys and values.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.keys.bytes()
    }

    /// Returns a digest of all keys, records, locks and claims, kept incrementally: the wrapping sum
    /// of one XXH3 hash for each, so that it does not depend on the order of the writes.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.keys.hash().wrapping_add(self.locks.hash())
    }

    /// Returns a key's record.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Arc<Record>> {
        self.keys.get(key)
    }

    /// Returns the keys from `start` on, in byte order.
    pub fn from<'a>(&'a self, start: &'a str) -> impl Iterator<Item = (&'a Key, &'a Arc<Record>)> {
        self.keys.from(start)
    }

    /// Returns the keys that start with `prefix`, in byte order.
    pub fn with_prefix<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a Key, &'a Arc<Record>)> {
        self.from(prefix)
            .take_while(move |(key, _)| key.starts_with(prefix))
    }

    /// Returns the locks.
    #[must_use]
    pub const fn locks(&self) -> &Locks {
        &self.locks
    }

    /// Returns the log time at which the first key or claim ends; `None` when none has a deadline.
    #[must_use]
    pub fn next_deadline_ms(&self) -> Option<u64> {
        let both = [self.keys.next_deadline_ms(), self.locks.next_deadline_ms()];
        both.into_iter().flatten().min()
    }
}

/// Trying out.
impl State {
    /// Returns what a command would come to now, on a copy that is thrown away.
    #[must_use]
    pub fn try_out(&self, index: u64, command: &Command) -> Outcome {
        let mut copy = self.clone();
        copy.advance(command);
        copy.execute(index, command, &mut Vec::new())
    }
}

/// Rebuilding from a snapshot.
impl State {
    /// Returns an empty state that carries a snapshot's stamps.
    #[must_use]
    pub fn restore(revision: u64, log_time_ms: u64, wall_time_ms: u64) -> Self {
        Self {
            revision,
            log_time_ms,
            wall_time_ms,
            ..Self::default()
        }
    }

    /// Puts back one key of a snapshot.
    pub fn restore_key(&mut self, key: &Key, record: Arc<Record>) {
        self.keys.insert(key, record);
    }

    /// Puts back one lock of a snapshot.
    pub fn restore_lock(&mut self, name: &LockName, lock: Lock) {
        self.locks.restore(name, lock);
    }
}

fn rejected(current: Option<&Arc<Record>>) -> Outcome {
    Outcome::Rejected(Rejection::PreconditionFailed {
        current: current.cloned(),
    })
}
