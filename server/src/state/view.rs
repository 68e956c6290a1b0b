//! What readers get: one revision of the state.

use super::State;

/// One revision of the key space, with the log index it was taken at. A clone freezes it in constant
/// time, and makes the next writes copy what they change.
#[derive(Debug, Clone, Default)]
pub struct View {
    pub state: State,
    /// Last applied log index; at least `state.revision()`.
    pub applied_index: u64,
    /// Term of the entry at `applied_index`.
    pub applied_term: u64,
    /// Digest of the request table at that index.
    pub requests_hash: u64,
    /// Log index of the oldest outcome kept in it.
    pub oldest_outcome: Option<u64>,
}

/// Where in the log a view is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Position {
    pub revision: u64,
    pub applied_index: u64,
    pub applied_term: u64,
    pub log_time_ms: u64,
}

impl View {
    /// Returns where in the log it is.
    #[must_use]
    pub const fn position(&self) -> Position {
        Position {
            revision: self.state.revision(),
            applied_index: self.applied_index,
            applied_term: self.applied_term,
            log_time_ms: self.state.log_time_ms(),
        }
    }

    /// Returns the digest of the whole replicated state; equal on nodes that have applied the same.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.state.hash().wrapping_add(self.requests_hash)
    }
}
