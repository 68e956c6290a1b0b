//! Deterministic answers of apply, refusals included (invariant 2).

use std::cell::Cell;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::{HeldBy, LockName, Record, SessionId, SettledRequest, Stamps, TxnResult};

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
    Replayed(#[serde(deserialize_with = "first_outcome")] Box<Self>),
    /// A transaction was done; `results` are those of the list that was done, in its order.
    Transaction {
        /// All conditions held, so it was `then`.
        succeeded: bool,
        /// Revision of its change; where nothing changed, the state's.
        revision: u64,
        results: Vec<TxnResult>,
    },
    /// The session holds the lock.
    LockGranted {
        session: SessionId,
        /// The fencing token.
        token: u64,
        /// Time until the claim ends unless it is renewed.
        ttl_ms: u64,
    },
    /// The session waits for the lock.
    LockQueued {
        session: SessionId,
        /// Place in the queue, from 1.
        position: u64,
        /// Who holds it; `None` in a replayed outcome.
        holder: Option<HeldBy>,
    },
    /// A claim has ended.
    LockReleased { revision: u64 },
    /// Claims were renewed, but for those that are gone.
    ClaimsKept { lost: Vec<(LockName, SessionId)> },
    /// Log time has passed. `more`: more is due than one command may end.
    Ticked { more: bool },
}

/// Reads the outcome that is repeated, which never is a repetition itself: a reply in which they are
/// nested without end would use up the stack of its reader.
fn first_outcome<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Box<Outcome>, D::Error> {
    thread_local! {
        static IN_REPLAY: Cell<bool> = const { Cell::new(false) };
    }
    if IN_REPLAY.replace(true) {
        return Err(D::Error::custom("a repetition of a repeated outcome"));
    }
    let outcome = Outcome::deserialize(deserializer);
    IN_REPLAY.set(false);
    outcome.map(Box::new)
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
    /// Condition `at` of the transaction, from 0, does not hold, and it has no `else`.
    ConditionFailed { at: u64 },
    /// The lock is held by another, and the caller does not wait. `holder` is `None` in a replayed
    /// outcome.
    LockHeld {
        holder: Option<HeldBy>,
        /// The place that the caller would have in the queue.
        position: u64,
    },
    /// As many wait for the lock as may.
    LockQueueFull,
    /// The claim is gone; `token` is the newer one, while somebody else holds the lock.
    LockLost { token: Option<u64> },
    /// The guard's lock was granted again since, under `token`.
    TokenSuperseded { token: u64 },
    /// The guard's lock is not held under its token.
    LockNotHeld,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repetition_repeats_no_repetition() {
        let first = Outcome::NodeAllocated { id: 7 };
        let repeated = Outcome::Replayed(Box::new(first));
        let nested = Outcome::Replayed(Box::new(Outcome::Replayed(Box::new(
            Outcome::NodeAllocated { id: 7 },
        ))));
        let read = |outcome: &Outcome| {
            let bytes = postcard::to_stdvec(outcome).unwrap();
            postcard::from_bytes::<Outcome>(&bytes)
        };
        assert!(read(&nested).is_err());
        let after = read(&repeated).unwrap();
        assert!(
            matches!(after, Outcome::Replayed(first) if matches!(*first, Outcome::NodeAllocated { id: 7 }))
        );
    }
}
