//! What each command does to the state.

use bytes::Bytes;

use super::*;
use crate::state::{RequestId, Transaction, TxnCondition, TxnOp, TxnResult};

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
fn a_put_that_ends_when_the_one_before_would_have_still_ends() {
    let mut state = State::default();
    state.run(1, &at(0, with_ttl("same", Some(2_000))));
    state.run(2, &at(0, with_ttl("same", Some(2_000))));
    state.run(3, &at(0, with_ttl("later", Some(2_000))));
    state.run(4, &at(1_000, with_ttl("later", Some(1_000))));
    assert_eq!(state.next_deadline_ms(), Some(2_000));
    state.run(5, &at(2_000, Op::Tick));
    assert!(state.is_empty(), "{:?}", state.next_deadline_ms());
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

fn transaction(conditions: Vec<TxnCondition>, then: Vec<TxnOp>, or_else: Option<Vec<TxnOp>>) -> Op {
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

#[test]
fn all_prefixes_of_a_transaction_share_one_limit() {
    let mut state = State::default();
    let puts = |dir: &str| -> Vec<Put> {
        let half = limits::RECURSIVE_DELETE_KEYS / 2 + 1;
        (0..half).map(|i| item(&format!("{dir}/{i}"), "")).collect()
    };
    state.run(1, &command(Op::PutMany { puts: puts("a") }));
    state.run(2, &command(Op::PutMany { puts: puts("b") }));
    let delete = |prefix: &str| TxnOp::DeletePrefix {
        prefix: prefix.into(),
    };
    let both = transaction(vec![], vec![delete("a/"), delete("b/")], None);
    let refused = Outcome::Rejected(Rejection::TooManyKeys { keys: 10_002 });
    assert_eq!(state.run(3, &command(both)), refused);
    assert_eq!(state.len(), 10_002, "whole or not at all");
    let one = transaction(vec![], vec![delete("a/")], None);
    assert!(matches!(
        state.run(4, &command(one)),
        Outcome::Transaction { .. }
    ));
    assert_eq!(state.len(), 5_001);
}
