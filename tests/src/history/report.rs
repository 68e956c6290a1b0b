//! Histories as people read them: one line per operation, and the place where an order gets stuck.

use std::fmt::Write as _;

use super::model::{self, Claim, State};
use super::{Answer, Call, End, Operation};

/// Operations shown of those already in order, and of those that could come next.
const AROUND: usize = 12;

/// Returns one operation as a line: instants in milliseconds, process, call and answer.
pub(super) fn line(operation: &Operation) -> String {
    let call = match &operation.call {
        Call::Get => "get".to_owned(),
        Call::Put { value } => format!("put {value}"),
        Call::Cas { expected, value } => format!("cas {expected} -> {value}"),
        Call::Delete => "delete".to_owned(),
    };
    let answer = match &operation.end {
        End::Failed => "failed".to_owned(),
        End::Open => "open".to_owned(),
        End::Answered { answer, .. } => match answer {
            Answer::Found { value, revision } => format!("{value} at revision {revision}"),
            Answer::Absent => "absent".to_owned(),
            Answer::Written { revision } => format!("written at revision {revision}"),
            Answer::Mismatch { current } => format!("refused: revision is {current}"),
            Answer::Deleted { revision } => format!("deleted at revision {revision}"),
        },
    };
    let until = match operation.end {
        End::Answered { at, .. } => milliseconds(at),
        End::Failed | End::Open => "?".to_owned(),
    };
    format!(
        "[{} .. {until}] process {}: {call} => {answer}",
        milliseconds(operation.invoked),
        operation.process
    )
}

fn milliseconds(nanoseconds: u64) -> String {
    format!("{}.{:06}", nanoseconds / 1_000_000, nanoseconds % 1_000_000)
}

/// Returns the end of the longest order found, its state, and what could not come next.
pub(super) fn stuck(operations: &[&Operation], claims: &[Claim], longest: &[usize]) -> String {
    let replay = |state, &at: &usize| model::step(state, at, claims[at]);
    let state = longest.iter().try_fold(State::EMPTY, replay);
    let mut text = format!(
        "no order explains its {} operations; the longest has {}",
        operations.len(),
        longest.len()
    );
    let shown = longest.len().saturating_sub(AROUND);
    if shown > 0 {
        let _infallible = write!(text, ", of which these are the last {AROUND}");
    }
    for &at in &longest[shown..] {
        let _infallible = write!(text, "\n  {}", line(operations[at]));
    }
    let _infallible = write!(text, "\nthen the key is {}", describe(state, operations));

    let mut left: Vec<_> = (0..operations.len())
        .filter(|at| !longest.contains(at))
        .collect();
    left.sort_by_key(|&at| operations[at].invoked);
    let returns = left.iter().map(|&at| operations[at].returned());
    let first_return = returns.min().unwrap_or(u64::MAX);
    left.retain(|&at| operations[at].invoked <= first_return);
    text.push_str("\nand none of those that had to come next fits or leads on:");
    for &at in left.iter().take(AROUND) {
        let _infallible = write!(text, "\n  {}", line(operations[at]));
    }
    if left.len() > AROUND {
        let _infallible = write!(text, "\n  and {} more", left.len() - AROUND);
    }
    text
}

fn describe(state: Option<State>, operations: &[&Operation]) -> String {
    let Some(state) = state else {
        return "unknown".to_owned();
    };
    let about = if state.known { "" } else { "at least " };
    match state.content.and_then(|at| operations[at].written_value()) {
        Some(value) => format!("{value} at revision {about}{}", state.newest),
        None => format!("absent since revision {about}{}", state.newest),
    }
}
