//! Locks: what a list of them says, and the claims that this tab holds.

pub mod clock;
pub mod hold;
pub mod list;
pub mod words;
