//! Deterministic answers of apply, refusals included (invariant 2).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Record, SettledRequest, Stamps};

/// What a command did. Every replica computes the same one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The entry carried no command.
    Nothing,
    /// One key was written; its revision is that of the stamps' last write.
    Put {
        stamps: Stamps,
        previous: Option<Arc<Record>>,
    },
    /// Several keys were written at one revision.
    PutMany { revision: u64, keys: u64 },
    /// One key was removed.
    Deleted {
        revision: u64,
        previous: Option<Arc<Record>>,
    },
    /// A prefix was removed; `keys` may be 0, and then nothing changed.
    DeletedPrefix { revision: u64, keys: u64 },
    /// A Raft id that no data directory ever had.
    NodeAllocated { id: u64 },
    /// Nothing was changed.
    Rejected(Rejection),
    /// What became of a request id, for good.
    Settlement(SettledRequest),
    /// The id was settled before: this is its first outcome again, without records.
    Replayed(Box<Self>),
}

/// Why a command changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rejection {
    /// The key to delete is absent.
    KeyNotFound,
    /// The condition does not hold; `current` is the record it was held against.
    PreconditionFailed { current: Option<Arc<Record>> },
    /// A recursive delete would remove more keys than one command may.
    TooManyKeys { keys: u64 },
    /// The request id was used for a different request.
    KeyReused,
    /// The request id was withdrawn.
    Withdrawn,
    /// Its origin took the request before log index `wanted`, up to which outcomes are forgotten:
    /// nobody can tell whether the same id was settled meanwhile.
    Forgotten { wanted: u64 },
}
