//! What readers get: one revision of the state, frozen.

use super::State;

/// One revision of the key space, frozen, with the log index it was taken at.
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

impl View {
    /// Returns the digest of the whole replicated state; equal on nodes that have applied the same.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.state.hash().wrapping_add(self.requests_hash)
    }
}
