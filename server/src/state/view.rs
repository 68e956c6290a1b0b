//! What readers get: one revision of the state, frozen.

use super::State;

/// One revision of the state, frozen, with the log index it was taken at.
#[derive(Debug, Clone, Default)]
pub struct View {
    pub state: State,
    /// Last applied log index; at least `state.revision()`.
    pub applied_index: u64,
    /// Term of the entry at `applied_index`.
    pub applied_term: u64,
}
