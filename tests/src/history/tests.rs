//! Histories made by hand, and a comparison with an oracle that tries every order.

use todc_utils::linearizability::WGLChecker;
use todc_utils::linearizability::history::Action;
use todc_utils::specifications::Specification;

use super::*;
use crate::random::Random;
use crate::settings;

fn operation(times: (u64, u64), call: Call, answer: Answer) -> Operation {
    let (invoked, at) = times;
    Operation {
        process: 1,
        call,
        invoked,
        end: End::Answered { at, answer },
    }
}

fn open(invoked: u64, call: Call) -> Operation {
    Operation {
        process: 2,
        call,
        invoked,
        end: End::Open,
    }
}

fn call_put(value: &str) -> Call {
    Call::Put {
        value: value.to_owned(),
    }
}

fn call_cas(expected: u64, value: &str) -> Call {
    Call::Cas {
        expected,
        value: value.to_owned(),
    }
}

fn put(times: (u64, u64), value: &str, revision: u64) -> Operation {
    operation(times, call_put(value), Answer::Written { revision })
}

fn get(times: (u64, u64), value: &str, revision: u64) -> Operation {
    let value = value.to_owned();
    operation(times, Call::Get, Answer::Found { value, revision })
}

fn absent(times: (u64, u64)) -> Operation {
    operation(times, Call::Get, Answer::Absent)
}

fn delete(times: (u64, u64), revision: u64) -> Operation {
    operation(times, Call::Delete, Answer::Deleted { revision })
}

fn cas(times: (u64, u64), expected: u64, value: &str, revision: u64) -> Operation {
    let answer = Answer::Written { revision };
    operation(times, call_cas(expected, value), answer)
}

fn refused(times: (u64, u64), expected: u64, value: &str, current: u64) -> Operation {
    let answer = Answer::Mismatch { current };
    operation(times, call_cas(expected, value), answer)
}

fn checked(operations: &[Operation]) -> Checked {
    let mut history = History::default();
    for operation in operations {
        history.push("k", operation.clone());
    }
    check(&history, Limits::default())
}

fn assert_good(operations: &[Operation]) {
    checked(operations).assert_linearizable();
}

/// Checks that the history is refused, and that the search refuses it without the pre-checks.
fn assert_bad(operations: &[Operation], said: &str) {
    let checked = checked(operations);
    let text = checked.violations.join("\n");
    assert!(text.contains(said), "`{said}` is not in `{text}`");
    let all: Vec<_> = operations.iter().filter(|op| op.counts()).collect();
    let (verdict, _) = search::search(&all, Limits::default());
    assert!(matches!(verdict, Verdict::Violated(_)), "{verdict:?}");
}

#[test]
fn what_happens_one_at_a_time_is_linearizable() {
    assert_good(&[]);
    assert_good(&[
        absent((0, 1)),
        put((2, 3), "a", 4),
        get((4, 5), "a", 4),
        cas((6, 7), 4, "b", 9),
        refused((8, 9), 4, "c", 9),
        delete((10, 11), 12),
        absent((12, 13)),
        operation((14, 15), Call::Delete, Answer::Absent),
        refused((16, 17), 9, "d", 0),
        cas((18, 19), 0, "e", 20),
        get((20, 21), "e", 20),
    ]);
}

#[test]
fn concurrent_operations_may_take_effect_in_either_order() {
    let writes = [put((0, 10), "a", 2), put((0, 10), "b", 1)];
    let [a, b] = writes;
    // One read saw the one that came first, the next one the other.
    assert_good(&[
        a.clone(),
        b.clone(),
        get((1, 5), "b", 1),
        get((6, 9), "a", 2),
    ]);
    assert_bad(
        &[
            a.clone(),
            b.clone(),
            get((1, 5), "a", 2),
            get((6, 9), "b", 1),
        ],
        "no order explains",
    );
    assert_bad(&[a, b, get((11, 12), "b", 1)], "stale read");
}

#[test]
fn stale_reads_are_found() {
    let (a, b) = (put((0, 1), "a", 1), put((2, 3), "b", 2));
    assert_bad(&[a.clone(), b, get((4, 5), "a", 1)], "stale read");
    assert_bad(&[a.clone(), absent((2, 3))], "no order explains");
    assert_bad(
        &[a.clone(), delete((2, 3), 2), get((4, 5), "a", 1)],
        "stale read",
    );
    // Within one read the newer value was seen: the next read must not go back.
    let slow = put((2, 100), "b", 2);
    assert_bad(
        &[a, slow, get((3, 4), "b", 2), get((5, 6), "a", 1)],
        "no order explains",
    );
}

#[test]
fn lost_and_invented_writes_are_found() {
    let a = put((0, 1), "a", 1);
    assert_bad(&[a.clone(), get((2, 3), "x", 1)], "nobody wrote");
    assert_bad(&[a.clone(), get((2, 3), "a", 2)], "another revision");
    assert_bad(&[get((0, 1), "a", 1), put((2, 3), "a", 1)], "future");
    assert_bad(
        &[a.clone(), refused((2, 3), 7, "b", 1), get((4, 5), "b", 2)],
        "refused value",
    );
    let mut failed = open(2, call_put("b"));
    failed.end = End::Failed;
    assert_good(&[a.clone(), failed.clone(), get((4, 5), "a", 1)]);
    assert_bad(&[a, failed, get((4, 5), "b", 2)], "nobody wrote");
}

#[test]
fn conditions_are_judged_against_the_state() {
    let a = put((0, 1), "a", 1);
    assert_bad(&[a.clone(), cas((2, 3), 0, "b", 2)], "no order explains");
    assert_bad(
        &[a.clone(), refused((2, 3), 1, "b", 1)],
        "no order explains",
    );
    assert_bad(
        &[a.clone(), refused((2, 3), 0, "b", 9)],
        "no order explains",
    );
    // Both got the same condition through.
    assert_bad(
        &[a, cas((2, 9), 1, "b", 2), cas((2, 9), 1, "c", 3)],
        "no order explains",
    );
}

#[test]
fn revisions_rise_and_are_used_once() {
    assert_bad(
        &[put((0, 1), "a", 2), put((2, 3), "b", 1)],
        "lower revision",
    );
    assert_bad(&[put((0, 9), "a", 2), put((0, 9), "b", 2)], "one revision");
    let mut history = History::default();
    history.push("k", put((0, 1), "a", 2));
    history.push("l", put((2, 3), "a", 1));
    let checked = check(&history, Limits::default());
    assert_eq!(checked.violations.len(), 1, "{checked:?}");
    assert!(checked.violations[0].contains("lower revision"));
}

#[test]
fn an_open_write_takes_effect_later_or_never() {
    let (a, lost) = (put((0, 1), "a", 1), open(2, call_put("b")));
    assert_good(&[a.clone(), lost.clone(), get((3, 4), "a", 1)]);
    assert_good(&[
        a.clone(),
        lost.clone(),
        get((3, 4), "a", 1),
        get((50, 51), "b", 7),
    ]);
    // Once there it does not go away, and it has one revision, above those before.
    assert_bad(
        &[
            a.clone(),
            lost.clone(),
            get((3, 4), "b", 7),
            get((5, 6), "a", 1),
        ],
        "no order explains",
    );
    assert_bad(
        &[
            a.clone(),
            lost.clone(),
            get((3, 4), "b", 7),
            get((5, 6), "b", 8),
        ],
        "no order explains",
    );
    assert_bad(
        &[put((0, 1), "a", 5), lost, get((3, 4), "b", 4)],
        "stale read",
    );
    // It needs a revision of its own between its neighbours.
    assert_good(&[
        a.clone(),
        open(2, Call::Delete),
        absent((3, 4)),
        put((5, 6), "c", 3),
    ]);
    assert_bad(
        &[
            a,
            open(2, Call::Delete),
            absent((3, 4)),
            put((5, 6), "c", 2),
        ],
        "no order explains",
    );
}

#[test]
fn an_open_conditional_write_is_seen_through_its_revision() {
    let (a, lost) = (put((0, 1), "a", 1), open(2, call_cas(1, "b")));
    assert_good(&[
        a.clone(),
        lost.clone(),
        refused((3, 4), 1, "c", 5),
        cas((5, 6), 5, "d", 6),
    ]);
    assert_bad(
        &[a, lost, refused((3, 4), 1, "c", 5), cas((5, 6), 4, "d", 6)],
        "no order explains",
    );
}

#[test]
fn a_search_that_is_given_up_is_not_accepted() {
    let limits = Limits {
        steps: 2,
        ..Limits::default()
    };
    let mut history = History::default();
    history.push("k", put((0, 9), "a", 1));
    history.push("k", put((0, 9), "b", 2));
    history.push("k", get((0, 9), "b", 2));
    let checked = check(&history, limits);
    assert_eq!((checked.violations.len(), checked.undecided.len()), (0, 1));
    let refused = std::panic::catch_unwind(|| checked.assert_linearizable());
    assert!(refused.is_err());
}

#[test]
fn a_counterexample_shows_the_order_and_what_does_not_fit() {
    let checked = checked(&[
        put((0, 1_500_000), "a", 1),
        open(2_000_000, call_put("lost")),
        absent((3_000_000, 4_000_000)),
    ]);
    let lines: Vec<_> = checked.violations[0].lines().collect();
    assert_eq!(
        lines,
        [
            "key `k`: no order explains its 3 operations; the longest has 2",
            "  [0.000000 .. 1.500000] process 1: put a => written at revision 1",
            "  [2.000000 .. ?] process 2: put lost => open",
            "then the key is lost at revision at least 2",
            "and none of those that had to come next fits or leads on:",
            "  [3.000000 .. 4.000000] process 1: get => absent",
        ]
    );
}

#[test]
fn a_long_history_of_open_and_concurrent_operations_is_decided() {
    // What a campaign makes of one key: 200 operations, 8 of them open, 5 at a time.
    let mut operations = Vec::new();
    for number in 0..200u64 {
        let (from, value) = (number * 10, format!("v{number}"));
        operations.push(match number % 25 {
            24 => open(from, call_put(&value)),
            _ => put((from, from + 50), &value, 1 + 2 * number),
        });
    }
    for number in 0..200u64 {
        let (from, seen) = (number * 10, number - u64::from(number % 25 == 24));
        operations.push(get(
            (from + 49, from + 60),
            &format!("v{seen}"),
            1 + 2 * seen,
        ));
    }
    let good = checked(&operations);
    good.assert_linearizable();
    assert!(good.steps < 500_000, "{good}");
}

/// Tries every order, and asks the equations between revisions last.
///
/// It shares nothing with the model: an order is a list of changes with unknown revisions, answers
/// fix some of them, and in the end numbers must exist that rise.
fn oracle(operations: &[Operation]) -> bool {
    let operations: Vec<_> = operations.iter().filter(|op| op.counts()).collect();
    every_order(&operations, &mut Vec::new())
}

fn every_order(operations: &[&Operation], order: &mut Vec<usize>) -> bool {
    let complete =
        (0..operations.len()).all(|at| operations[at].answer().is_none() || order.contains(&at));
    if complete && explains(operations, order) {
        return true;
    }
    for next in 0..operations.len() {
        let begun = operations[next].invoked;
        let too_early = (0..operations.len())
            .any(|at| at != next && !order.contains(&at) && operations[at].returned() < begun);
        if order.contains(&next) || too_early {
            continue;
        }
        order.push(next);
        let found = every_order(operations, order);
        order.pop();
        if found {
            return true;
        }
    }
    false
}

fn explains(operations: &[&Operation], order: &[usize]) -> bool {
    // The revision of each change, as far as an answer says it.
    let mut changes: Vec<Vec<u64>> = Vec::new();
    // The value that is there and the change that put it there.
    let mut record: Option<(&str, usize)> = None;
    for &at in order {
        let operation = operations[at];
        let mut is_at = |revision: u64| match record {
            None => revision == 0,
            Some(_) if revision == 0 => false,
            Some((_, change)) => {
                changes[change].push(revision);
                true
            }
        };
        let may_write = match operation.call {
            Call::Cas { expected, .. } => match operation.answer() {
                Some(Answer::Mismatch { current }) => {
                    if !is_at(*current) || *current == expected {
                        return false;
                    }
                    continue;
                }
                _ => is_at(expected),
            },
            _ => true,
        };
        match (&operation.call, operation.answer()) {
            (Call::Get, Some(Answer::Found { value, revision })) => {
                if record.is_none_or(|(there, _)| there != value) || !is_at(*revision) {
                    return false;
                }
            }
            (Call::Get | Call::Delete, Some(Answer::Absent)) => {
                if record.is_some() {
                    return false;
                }
            }
            (Call::Put { value } | Call::Cas { value, .. }, _) if may_write => {
                record = Some((value, changes.len()));
                changes.push(operation.acknowledged().into_iter().collect());
            }
            (Call::Delete, _) if record.is_some() => {
                record = None;
                changes.push(operation.acknowledged().into_iter().collect());
            }
            _ => return false,
        }
    }
    let mut last = 0;
    for fixed in changes {
        let revision = *fixed.first().unwrap_or(&(last + 1));
        if revision <= last || fixed.iter().any(|other| *other != revision) {
            return false;
        }
        last = revision;
    }
    true
}

/// Makes a history by letting two to `most` operations happen at instants of their own, each begun
/// and ended up to `spread` around it, and then spoils some of it, so that both verdicts are
/// frequent.
fn some_history(random: &mut Random, most: usize, spread: usize) -> Vec<Operation> {
    let mut operations = Vec::new();
    let (mut record, mut revision) = (None::<(String, u64)>, 0);
    for number in 0..2 + random.below(most - 1) {
        let instant = 10 * (number as u64 + 1);
        let (early, late) = (random.below(spread) as u64, random.below(spread) as u64);
        let times = (instant.saturating_sub(early), instant + late);
        let current = record.as_ref().map_or(0, |(_, revision)| *revision);
        let value = format!("v{number}");
        revision += 1 + random.below(2) as u64;
        let (call, answer) = match random.below(8) {
            0..3 => (Call::Get, read(record.as_ref())),
            3..5 => (call_put(&value), Answer::Written { revision }),
            5..7 => {
                let expected = match random.below(3) {
                    0 => random.below(5) as u64,
                    _ => current,
                };
                let call = call_cas(expected, &value);
                match expected == current {
                    true => (call, Answer::Written { revision }),
                    false => (call, Answer::Mismatch { current }),
                }
            }
            _ if record.is_some() => (Call::Delete, Answer::Deleted { revision }),
            _ => (Call::Delete, Answer::Absent),
        };
        match answer {
            Answer::Written { revision } => record = Some((value, revision)),
            Answer::Deleted { .. } => record = None,
            Answer::Found { .. } | Answer::Absent | Answer::Mismatch { .. } => {}
        }
        operations.push(operation(times, call, answer));
        if random.one_in(4) {
            operations[number].end = End::Open;
        }
    }
    for _ in 0..random.below(3) {
        spoil(&mut operations, random);
    }
    operations
}

fn read(record: Option<&(String, u64)>) -> Answer {
    record.map_or(Answer::Absent, |(value, revision)| Answer::Found {
        value: value.clone(),
        revision: *revision,
    })
}

fn spoil(operations: &mut [Operation], random: &mut Random) {
    let at = random.below(operations.len());
    let other = format!("v{}", random.below(operations.len()));
    let number = 1 + random.below(8) as u64;
    let operation = &mut operations[at];
    let End::Answered { at, answer } = &mut operation.end else {
        operation.end = End::Failed;
        return;
    };
    match (random.below(4), answer) {
        (0, _) => *at = operation.invoked + random.below(15) as u64,
        (1, answer @ Answer::Found { .. }) => *answer = Answer::Absent,
        (2, Answer::Found { value, .. }) => *value = other,
        (_, Answer::Mismatch { current }) => *current = number - 1,
        (
            _,
            Answer::Found { revision, .. }
            | Answer::Written { revision }
            | Answer::Deleted { revision },
        ) => *revision = number,
        (_, Answer::Absent) => *at = operation.invoked + random.below(40) as u64,
    }
}

#[test]
fn the_verdicts_are_those_of_an_oracle_that_tries_every_order() {
    const HISTORIES: usize = 20_000;
    let seed = settings::seed();
    let mut random = Random::new(seed);
    let mut good = 0;
    for number in 0..HISTORIES {
        let operations = some_history(&mut random, 7, 25);
        let expected = oracle(&operations);
        good += usize::from(expected);
        let counted: Vec<_> = operations.iter().filter(|op| op.counts()).collect();
        let (searched, _) = search::search(&counted, Limits::default());
        let whole = checked(&operations);
        let verdicts = (
            searched == Verdict::Linearizable,
            whole.violations.is_empty() && whole.undecided.is_empty(),
        );
        assert_eq!(
            verdicts,
            (expected, expected),
            "seed {seed}, history {number}: {searched:?}\n{whole:?}\n{operations:#?}"
        );
    }
    let share = HISTORIES / 5..HISTORIES * 4 / 5;
    assert!(share.contains(&good), "seed {seed}: {good} are good");
}

/// One key for the other checker, which knows complete operations only: an operation and its
/// answer, and as the state the record and the newest revision.
struct Register;

impl Specification for Register {
    type State = (Option<(String, u64)>, u64);
    type Operation = (Call, Answer);

    fn init() -> Self::State {
        (None, 0)
    }

    fn apply((call, answer): &Self::Operation, state: &Self::State) -> (bool, Self::State) {
        let (record, newest) = state;
        let current = record.as_ref().map_or(0, |(_, revision)| *revision);
        let condition = match call {
            Call::Cas { expected, .. } => *expected == current,
            Call::Delete => record.is_some(),
            Call::Get | Call::Put { .. } => true,
        };
        match (call, answer) {
            (Call::Get, answer) => (*answer == read(record.as_ref()), state.clone()),
            (Call::Put { value } | Call::Cas { value, .. }, Answer::Written { revision }) => {
                let after = (Some((value.clone(), *revision)), *revision);
                (condition && revision > newest, after)
            }
            (Call::Delete, Answer::Deleted { revision }) => {
                (condition && revision > newest, (None, *revision))
            }
            (Call::Delete, Answer::Absent) => (!condition, state.clone()),
            (Call::Cas { .. }, Answer::Mismatch { current: seen }) => {
                (!condition && *seen == current, state.clone())
            }
            _ => (false, state.clone()),
        }
    }
}

fn other_checker(operations: &[&Operation]) -> bool {
    let mut events = Vec::new();
    for (process, operation) in operations.iter().enumerate() {
        let answer = operation.answer().expect("complete operations").clone();
        let done = (operation.call.clone(), answer);
        events.push((
            operation.invoked,
            false,
            process,
            Action::Call(done.clone()),
        ));
        events.push((operation.returned(), true, process, Action::Response(done)));
    }
    events.sort_by_key(|(instant, is_response, process, _)| (*instant, *is_response, *process));
    let actions = events
        .into_iter()
        .map(|(_, _, process, action)| (process, action));
    let history = todc_utils::linearizability::history::History::from_actions(actions.collect());
    WGLChecker::<Register>::is_linearizable(history)
}

#[test]
fn the_verdicts_on_longer_histories_are_those_of_another_checker() {
    const HISTORIES: usize = 5_000;
    let seed = settings::seed();
    let mut random = Random::new(seed);
    let mut good = 0;
    for number in 0..HISTORIES {
        let mut operations = some_history(&mut random, 40, 45);
        operations.retain(|operation| operation.answer().is_some());
        let counted: Vec<_> = operations.iter().collect();
        let expected = counted.is_empty() || other_checker(&counted);
        good += usize::from(expected);
        let (searched, _) = search::search(&counted, Limits::default());
        assert_eq!(
            searched == Verdict::Linearizable,
            expected,
            "seed {seed}, history {number}: {searched:?}\n{operations:#?}"
        );
    }
    assert!(
        (HISTORIES / 10..HISTORIES * 9 / 10).contains(&good),
        "seed {seed}: {good} are good"
    );
}
