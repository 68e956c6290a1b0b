//! What became of a write whose answer was lost (`/api/requests/{id}`).

use serde::{Deserialize, Serialize};

/// What is known of a request id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestStatus {
    /// It took effect, once.
    Applied,
    /// It was refused or withdrawn, and never takes effect under this id.
    NotApplied,
    /// Nothing is known at this moment: it may still be on its way, or too long ago.
    Unknown,
}

/// A request's first answer, without records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstOutcome {
    /// Its HTTP status.
    pub status: u16,
    /// Revision of its change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// Keys that it wrote or removed, where they were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<u64>,
}

/// Answer to a look-up and to a settlement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestOutcome {
    pub request_id: String,
    pub status: RequestStatus,
    /// Absent when nothing is known, or when the id was withdrawn before any request came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<FirstOutcome>,
}
