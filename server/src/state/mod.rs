//! The replicated state machine: pure, synchronous, no IO, no clock, no randomness, no logging.
//!
//! [`apply`] is a function of (state, requests, index, command) and nothing else (invariant 1). The
//! maps of a [`State`] are persistent: cloning it freezes it in constant time, which is how listings
//! and snapshots see one revision while applies go on. [`Requests`], which only a look-up and a
//! snapshot read, is an ordinary table.

mod command;
mod keyspace;
pub mod listing;
mod outcome;
mod requests;
mod view;

pub use command::{Command, Condition, ContentType, Key, Op, Put, RequestId};
pub use keyspace::{Record, Stamps, State};
pub use outcome::{Outcome, Rejection};
pub use requests::{Requests, Settled, SettledRequest};
pub use view::{Position, View};

/// Applies one command at a log index, at most once per request id, and returns what it did.
///
/// Deterministic, and called exactly once per index for a recovered state: after a crash it is
/// called again only for indexes above the snapshot that the state came from.
pub fn apply(state: &mut State, requests: &mut Requests, index: u64, command: &Command) -> Outcome {
    state.advance(command);
    if let Op::SettleRequest { id } = &command.op {
        return requests.settle(index, state.log_time_ms(), id);
    }
    if let Some(outcome) = requests.refuse(command) {
        return outcome;
    }
    let outcome = state.execute(index, command);
    requests.keep(index, state.log_time_ms(), command, &outcome);
    outcome
}
