//! The replicated state and what each command does to it.

use std::sync::Arc;

use conclave_shared::{MemberAddress, limits};

use super::change::Change;
use super::keyspace::{KeySpace, Pen, holds};
use super::locks::{Lock, Locks, Moment, Wanted};
use super::{
    Command, Condition, Guard, Key, LockName, Op, Outcome, Put, Record, Rejection, Transaction,
    TxnCondition, TxnOp, TxnResult,
};

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
            Op::DeletePrefix { prefix } => match self.too_many(prefix) {
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

    fn too_many(&self, prefix: &str) -> Option<Rejection> {
        let most = limits::RECURSIVE_DELETE_KEYS;
        let is_above = self.with_prefix(prefix).nth(most).is_some();
        is_above.then(|| Rejection::TooManyKeys {
            keys: self.with_prefix(prefix).count() as u64,
        })
    }

    fn delete_prefix_outcome(&mut self, step: &mut Step<'_>, prefix: &str) -> Outcome {
        let keys = self.delete_prefix(step, prefix);
        Outcome::DeletedPrefix {
            revision: if keys > 0 { step.index } else { self.revision },
            keys,
        }
    }

    fn delete_prefix(&mut self, step: &mut Step<'_>, prefix: &str) -> u64 {
        let keys: Vec<Key> = self
            .with_prefix(prefix)
            .map(|(key, _)| key.clone())
            .collect();
        for key in &keys {
            self.delete(step, key);
        }
        keys.len() as u64
    }

    fn transact(&mut self, step: &mut Step<'_>, transaction: &Transaction) -> Outcome {
        let failed = transaction
            .conditions
            .iter()
            .position(|condition| !self.condition_holds(condition));
        let ops = match (failed, &transaction.or_else) {
            (None, _) => &transaction.then,
            (Some(_), Some(ops)) => ops,
            (Some(at), None) => {
                return Outcome::Rejected(Rejection::ConditionFailed { at: at as u64 });
            }
        };
        // Whole or not at all: what can be refused is refused before anything is done.
        for op in ops {
            if let TxnOp::DeletePrefix { prefix } = op
                && let Some(rejection) = self.too_many(prefix)
            {
                return Outcome::Rejected(rejection);
            }
        }
        let before = step.changes.len();
        let results = ops.iter().map(|op| self.operate(step, op)).collect();
        let is_changed = step.changes.len() > before;
        Outcome::Transaction {
            succeeded: failed.is_none(),
            revision: if is_changed {
                step.index
            } else {
                self.revision
            },
            results,
        }
    }

    fn condition_holds(&self, condition: &TxnCondition) -> bool {
        match condition {
            TxnCondition::Key { key, condition } => {
                holds(condition, self.get(key).map(AsRef::as_ref))
            }
            TxnCondition::Lock { lock, token } => self
                .locks
                .get(lock)
                .is_some_and(|lock| lock.token == *token),
        }
    }

    fn operate(&mut self, step: &mut Step<'_>, op: &TxnOp) -> TxnResult {
        match op {
            TxnOp::Get { key } => TxnResult::Got(self.get(key).cloned()),
            TxnOp::Put {
                put,
                return_previous,
            } => {
                let (record, previous) = self.put(step, put);
                TxnResult::Put {
                    stamps: record.stamps(),
                    previous: previous.filter(|_| *return_previous),
                }
            }
            TxnOp::Delete {
                key,
                return_previous,
            } => {
                let old = self.delete(step, key);
                TxnResult::Deleted {
                    keys: u64::from(old.is_some()),
                    previous: old.filter(|_| *return_previous),
                }
            }
            TxnOp::DeletePrefix { prefix } => TxnResult::Deleted {
                keys: self.delete_prefix(step, prefix),
                previous: None,
            },
        }
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::state::RequestId;

    fn key(text: &str) -> Key {
        Key::try_from(text).unwrap()
    }

    fn command(op: Op) -> Command {
        Command {
            log_time_ms: 5,
            wall_time_ms: 7,
            request_id: RequestId::new("r").unwrap(),
            taken_at: 0,
            origin: "node0".into(),
            client: None,
            guard: None,
            op,
        }
    }

    impl State {
        fn run(&mut self, index: u64, command: &Command) -> Outcome {
            self.advance(command);
            self.execute(index, command, &mut Vec::new())
        }
    }

    fn item(k: &str, value: &str) -> Put {
        Put {
            key: key(k),
            value: Bytes::copy_from_slice(value.as_bytes()),
            content_type: "text/plain".into(),
            ttl_ms: None,
        }
    }

    fn put(state: &mut State, index: u64, k: &str, value: &str, condition: Condition) -> Outcome {
        let op = Op::Put {
            put: item(k, value),
            condition,
            return_previous: true,
        };
        state.run(index, &command(op))
    }

    fn delete(state: &mut State, index: u64, k: &str, condition: Condition) -> Outcome {
        let op = Op::Delete {
            key: key(k),
            condition,
            return_previous: true,
        };
        state.run(index, &command(op))
    }

    #[test]
    fn a_put_stamps_create_and_mod_revision_and_version() {
        let mut state = State::default();
        put(&mut state, 3, "a", "1", Condition::default());
        let outcome = put(&mut state, 9, "a", "2", Condition::default());
        let Outcome::Put { stamps, previous } = outcome else {
            panic!("not a put");
        };
        assert_eq!((stamps.create_revision, stamps.mod_revision), (3, 9));
        assert_eq!(stamps.version, 2);
        assert_eq!(previous.unwrap().value, "1");
        assert_eq!(state.revision(), 9);
    }

    #[test]
    fn a_recreated_key_starts_again_at_version_1() {
        let mut state = State::default();
        put(&mut state, 1, "a", "1", Condition::default());
        delete(&mut state, 2, "a", Condition::default());
        put(&mut state, 3, "a", "2", Condition::default());
        let record = state.get("a").unwrap();
        assert_eq!((record.create_revision, record.version), (3, 1));
    }

    #[test]
    fn a_failed_condition_changes_nothing_and_returns_the_current_record() {
        let mut state = State::default();
        put(&mut state, 1, "a", "1", Condition::default());
        let wrong = [
            Condition {
                exists: Some(false),
                ..Condition::default()
            },
            Condition {
                mod_revision: Some(7),
                ..Condition::default()
            },
            Condition {
                value: Some(Bytes::from_static(b"x")),
                ..Condition::default()
            },
        ];
        for condition in wrong {
            let outcome = put(&mut state, 2, "a", "2", condition.clone());
            let Outcome::Rejected(Rejection::PreconditionFailed { current }) = outcome else {
                panic!("{condition:?} did not fail");
            };
            assert_eq!(current.unwrap().mod_revision, 1);
        }
        assert_eq!(state.revision(), 1);
        assert_eq!(state.get("a").unwrap().value, "1");
    }

    #[test]
    fn conditions_on_an_absent_key_fail_unless_they_ask_for_absence() {
        let mut state = State::default();
        let by_revision = Condition {
            mod_revision: Some(1),
            ..Condition::default()
        };
        assert!(matches!(
            put(&mut state, 1, "a", "1", by_revision),
            Outcome::Rejected(_)
        ));
        let absent = Condition {
            exists: Some(false),
            ..Condition::default()
        };
        assert!(matches!(
            put(&mut state, 2, "a", "1", absent),
            Outcome::Put { .. }
        ));
    }

    #[test]
    fn several_puts_share_one_revision_and_the_last_value_wins() {
        let mut state = State::default();
        let puts = vec![item("a", "1"), item("b", "2"), item("a", "3")];
        let outcome = state.run(4, &command(Op::PutMany { puts }));
        assert_eq!(
            outcome,
            Outcome::PutMany {
                revision: 4,
                keys: 3
            }
        );
        assert_eq!(state.get("a").unwrap().value, "3");
        assert_eq!(state.get("a").unwrap().version, 1);
        assert_eq!(state.get("b").unwrap().mod_revision, 4);
    }

    #[test]
    fn deleting_an_absent_key_is_a_rejection() {
        let mut state = State::default();
        let outcome = delete(&mut state, 1, "a", Condition::default());
        assert_eq!(outcome, Outcome::Rejected(Rejection::KeyNotFound));
        assert_eq!(state.revision(), 0);
    }

    #[test]
    fn a_prefix_is_deleted_whole_or_not_at_all() {
        let mut state = State::default();
        for i in 0..=limits::RECURSIVE_DELETE_KEYS as u64 {
            put(
                &mut state,
                i + 1,
                &format!("many/{i}"),
                "",
                Condition::default(),
            );
        }
        put(&mut state, 20_000, "few/1", "", Condition::default());
        put(&mut state, 20_001, "fewer", "", Condition::default());
        let all = state.run(
            20_002,
            &command(Op::DeletePrefix {
                prefix: "many/".into(),
            }),
        );
        assert_eq!(
            all,
            Outcome::Rejected(Rejection::TooManyKeys { keys: 10_001 })
        );
        let few = state.run(
            20_003,
            &command(Op::DeletePrefix {
                prefix: "few/".into(),
            }),
        );
        assert_eq!(
            few,
            Outcome::DeletedPrefix {
                revision: 20_003,
                keys: 1
            }
        );
        assert!(state.get("fewer").is_some(), "a prefix ends where it says");
    }

    #[test]
    fn the_hash_depends_on_the_content_and_not_on_the_way_there() {
        let (mut one, mut two) = (State::default(), State::default());
        put(&mut one, 1, "a", "1", Condition::default());
        put(&mut one, 2, "b", "2", Condition::default());
        put(&mut one, 3, "c", "3", Condition::default());
        delete(&mut one, 4, "c", Condition::default());
        let mut other = State::restore(4, 5, 7);
        for (k, record) in one.from("") {
            other.restore_key(k, record.clone());
        }
        put(&mut two, 1, "a", "1", Condition::default());
        put(&mut two, 2, "b", "x", Condition::default());
        assert_eq!(one.hash(), other.hash());
        assert_eq!((one.bytes(), one.len()), (other.bytes(), other.len()));
        assert_ne!(one.hash(), two.hash());
        delete(&mut one, 5, "a", Condition::default());
        delete(&mut one, 6, "b", Condition::default());
        assert_eq!((one.hash(), one.bytes(), one.len()), (0, 0, 0));
    }

    #[test]
    fn log_time_never_goes_back() {
        let mut state = State::default();
        let mut late = command(Op::AllocateNode { name: "n".into() });
        late.log_time_ms = 100;
        assert_eq!(state.run(1, &late), Outcome::NodeAllocated { id: 1 });
        state.run(2, &command(Op::AllocateNode { name: "n".into() }));
        assert_eq!(state.log_time_ms(), 100);
    }

    fn changes(state: &mut State, index: u64, command: &Command) -> (Outcome, Vec<Change>) {
        let mut changes = Vec::new();
        state.advance(command);
        let outcome = state.execute(index, command, &mut changes);
        (outcome, changes)
    }

    fn at(log_time_ms: u64, op: Op) -> Command {
        Command {
            log_time_ms,
            ..command(op)
        }
    }

    fn with_ttl(k: &str, ttl_ms: Option<u64>) -> Op {
        Op::Put {
            put: Put {
                ttl_ms,
                ..item(k, "v")
            },
            condition: Condition::default(),
            return_previous: false,
        }
    }

    #[test]
    fn a_key_expires_in_log_time_and_not_before_a_tick() {
        let mut state = State::default();
        state.run(1, &at(1_000, with_ttl("a", Some(5_000))));
        state.run(2, &at(1_000, with_ttl("b", Some(2_000))));
        assert_eq!(state.next_deadline_ms(), Some(3_000));
        let (outcome, none) = changes(&mut state, 3, &at(2_999, Op::Tick));
        assert_eq!(
            (outcome, none),
            (Outcome::Ticked { more: false }, Vec::new())
        );
        assert_eq!(state.revision(), 2, "a tick that ends nothing is no change");
        let (_, ended) = changes(&mut state, 4, &at(3_000, Op::Tick));
        assert!(
            matches!(&ended[..], [Change::Expire { key, previous }] if &**key == "b" && previous.mod_revision == 2),
            "{ended:?}"
        );
        assert_eq!((state.revision(), state.len()), (4, 1));
    }

    #[test]
    fn a_put_without_a_ttl_makes_a_key_stay() {
        let mut state = State::default();
        state.run(1, &at(0, with_ttl("a", Some(1_000))));
        let hash = state.hash();
        state.run(2, &at(0, with_ttl("a", None)));
        assert_ne!(state.hash(), hash);
        assert_eq!(state.next_deadline_ms(), None);
        state.run(3, &at(9_000, Op::Tick));
        assert!(state.get("a").is_some());
    }

    #[test]
    fn a_tick_ends_a_bounded_number() {
        let mut state = State::default();
        for i in 0..=limits::EXPIRIES_PER_TICK as u64 {
            state.run(i + 1, &at(0, with_ttl(&format!("k{i}"), Some(1_000))));
        }
        let tick = at(1_000, Op::Tick);
        assert_eq!(state.run(5_000, &tick), Outcome::Ticked { more: true });
        assert_eq!(state.len(), 1);
        assert_eq!(state.run(5_001, &tick), Outcome::Ticked { more: false });
        assert!(state.is_empty());
    }

    fn transaction(
        conditions: Vec<TxnCondition>,
        then: Vec<TxnOp>,
        or_else: Option<Vec<TxnOp>>,
    ) -> Op {
        Op::Transaction(Transaction {
            conditions,
            then,
            or_else,
        })
    }

    fn txn_put(k: &str, value: &str) -> TxnOp {
        TxnOp::Put {
            put: item(k, value),
            return_previous: true,
        }
    }

    fn exists(k: &str, exists: bool) -> TxnCondition {
        TxnCondition::Key {
            key: key(k),
            condition: Condition {
                exists: Some(exists),
                ..Condition::default()
            },
        }
    }

    #[test]
    fn a_transaction_is_done_whole_at_one_revision() {
        let mut state = State::default();
        put(&mut state, 1, "a", "1", Condition::default());
        let get = |k| TxnOp::Get { key: key(k) };
        let delete = TxnOp::Delete {
            key: key("a"),
            return_previous: false,
        };
        let then = vec![txn_put("b", "2"), get("b"), delete, get("a")];
        let op = transaction(vec![exists("a", true)], then, None);
        let (outcome, done) = changes(&mut state, 7, &command(op));
        let Outcome::Transaction {
            succeeded,
            revision,
            results,
        } = outcome
        else {
            panic!("{outcome:?}");
        };
        assert!(succeeded && revision == 7 && done.len() == 2);
        assert!(matches!(&results[1], TxnResult::Got(Some(record)) if record.value == "2"));
        assert!(matches!(&results[2], TxnResult::Deleted { keys: 1, .. }));
        assert!(matches!(&results[3], TxnResult::Got(None)));
    }

    #[test]
    fn a_failed_condition_does_the_other_list_or_refuses() {
        let mut state = State::default();
        let conditions = vec![exists("x", false), exists("a", true)];
        let refused = state.run(1, &command(transaction(conditions.clone(), vec![], None)));
        assert_eq!(
            refused,
            Outcome::Rejected(Rejection::ConditionFailed { at: 1 })
        );
        let or_else = Some(vec![txn_put("c", "3")]);
        let then = vec![txn_put("a", "1")];
        let other = state.run(2, &command(transaction(conditions, then, or_else)));
        assert!(matches!(
            other,
            Outcome::Transaction {
                succeeded: false,
                ..
            }
        ));
        assert!(state.get("c").is_some() && state.get("a").is_none());
        let read_only = transaction(vec![], vec![TxnOp::Get { key: key("c") }], None);
        let read = state.run(3, &command(read_only));
        assert!(
            matches!(read, Outcome::Transaction { revision: 2, .. }),
            "{read:?}"
        );
    }

    #[test]
    fn a_guarded_command_is_applied_only_under_the_present_token() {
        let mut state = State::default();
        let lock = LockName::try_from("l").unwrap();
        let acquire = Op::AcquireLock {
            lock: lock.clone(),
            owner: "o".into(),
            ttl_ms: 1_000,
            session: None,
            queue: false,
        };
        let guarded = |token| Command {
            guard: Some(Guard {
                lock: lock.clone(),
                token,
            }),
            ..command(with_ttl("a", None))
        };
        let not_held = Outcome::Rejected(Rejection::LockNotHeld);
        assert_eq!(state.run(1, &guarded(2)), not_held);
        state.run(2, &command(acquire));
        assert!(matches!(state.run(3, &guarded(2)), Outcome::Put { .. }));
        state.run(4, &at(2_000, Op::Tick));
        assert_eq!(state.run(5, &guarded(2)), not_held);
        assert_eq!(state.get("a").unwrap().mod_revision, 3);
    }

    #[test]
    fn trying_out_changes_nothing() {
        let mut state = State::default();
        put(&mut state, 1, "a", "1", Condition::default());
        let hash = state.hash();
        let op = transaction(vec![], vec![txn_put("b", "2")], None);
        let tried = state.try_out(9, &command(op));
        assert!(matches!(tried, Outcome::Transaction { revision: 9, .. }));
        assert_eq!((state.hash(), state.len(), state.revision()), (hash, 1, 1));
    }
}
