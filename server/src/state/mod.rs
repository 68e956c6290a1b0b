//! The replicated state machine: pure, synchronous, no IO, no clock, no randomness, no logging.
//!
//! [`State::apply`] is a function of (state, index, command) and nothing else (invariant 1). The
//! maps are persistent: cloning a [`State`] freezes it in constant time, which is how reads,
//! listings and snapshots see one revision while applies go on.

mod command;
mod keyspace;
pub mod listing;
mod outcome;
mod view;

pub use command::{Command, Condition, ContentType, Key, Op, Put, RequestId};
pub use keyspace::{Record, State};
pub use outcome::{Outcome, Rejection};
pub use view::View;
