//! The replicated state machine: pure, synchronous, no IO, no clock, no randomness, no logging.
//!
//! [`apply`] is a function of (state, requests, index, command) and nothing else (invariant 1). The
//! maps of a [`State`] are persistent: cloning it freezes it in constant time, which is how listings
//! and snapshots see one revision while applies go on. [`Requests`], which only a look-up and a
//! snapshot read, is an ordinary table.

mod change;
mod command;
mod keyspace;
pub mod listing;
mod locks;
mod machine;
mod outcome;
mod requests;
mod texts;
mod transaction;
mod view;

pub use change::{Change, ChangeSet, LockChange, LockChangeKind};
pub use command::{
    Command, Condition, ContentType, Guard, Key, LockName, Op, Put, Release, RequestId, SessionId,
};
pub use keyspace::{Record, Stamps};
pub use locks::{Claim, HeldBy, Lock, Locks};
pub use machine::State;
pub use outcome::{Outcome, Rejection};
pub use requests::{Requests, Settled, SettledRequest};
pub use texts::shared;
pub use transaction::{Transaction, TxnCondition, TxnOp, TxnResult};
pub use view::{Position, View};

/// What applying a command came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    pub outcome: Outcome,
    /// What it changed, in the order of its operations; each key at most once.
    pub changes: Vec<Change>,
}

/// Applies one command at a log index, at most once per request id, and returns what it did.
///
/// Deterministic, and called exactly once per index for a recovered state: after a crash it is
/// called again only for indexes above the snapshot that the state came from.
pub fn apply(state: &mut State, requests: &mut Requests, index: u64, command: &Command) -> Applied {
    state.advance(command);
    let unchanged = |outcome| Applied {
        outcome,
        changes: Vec::new(),
    };
    if let Op::SettleRequest { id } = &command.op {
        return unchanged(requests.settle(index, state.log_time_ms(), id));
    }
    if let Some(outcome) = requests.refuse(command) {
        return unchanged(outcome);
    }
    // Most commands change one thing, and the changes are kept for a while.
    let mut changes = Vec::with_capacity(1);
    let outcome = state.execute(index, command, &mut changes);
    requests.keep(index, state.log_time_ms(), command, &outcome);
    Applied { outcome, changes }
}
