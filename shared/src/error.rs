//! Stable error codes and the `application/problem+json` body (RFC 9457).

use std::fmt;

use serde::{Deserialize, Serialize};

/// Whether the request that failed has changed the replicated state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Applied {
    /// Certainly not, and it never will be.
    No,
    /// It may have been, or may still be.
    Unknown,
    /// Yes.
    Yes,
}

macro_rules! error_codes {
    ($($(#[$doc:meta])* $variant:ident = $word:literal, $status:literal;)+) => {
        /// What went wrong, as a stable snake-case word. Clients decide on this, not on the text.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum ErrorCode {
            $($(#[$doc])* #[serde(rename = $word)] $variant,)+
        }

        impl ErrorCode {
            /// Every code, alphabetically by word.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Returns the stable word.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// Returns the HTTP status that goes with the code.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)+ }
            }
        }
    };
}

error_codes! {
    /// The request body did not arrive in time.
    BodyTimeout = "body_timeout", 408;
    /// The body, a value or a count is above its limit; `limit` says which.
    TooLarge = "too_large", 413;
    /// The transaction's condition failed and it has no `else`.
    ConditionFailed = "condition_failed", 409;
    /// The lock is held by another; `lock` says by whom, and the caller's place in the queue.
    LockHeld = "lock_held", 423;
    /// The claim on the lock is gone: released, expired or broken. `token` is the newer one.
    LockLost = "lock_lost", 409;
    /// The lock that guards the write is not held under its token.
    LockNotHeld = "lock_not_held", 423;
    /// Another membership change is under way, or this one contradicts the membership.
    MembershipConflict = "membership_conflict", 409;
    /// A browser sent the request from another site.
    CrossSite = "cross_site", 403;
    /// The pages of a listing can no longer be continued: start again.
    CursorExpired = "cursor_expired", 410;
    /// The node is stopping.
    Draining = "draining", 503;
    /// The disk is full; reads go on.
    DiskFull = "disk_full", 507;
    /// The request id was used before with a different request.
    IdempotencyKeyReused = "idempotency_key_reused", 422;
    /// A bug or a broken node. The text stays in the log.
    Internal = "internal", 500;
    /// A parameter, header, key or body is not acceptable.
    InvalidArgument = "invalid_argument", 400;
    /// There is no such key.
    KeyNotFound = "key_not_found", 404;
    /// The route exists, but not with this method.
    MethodNotAllowed = "method_not_allowed", 405;
    /// The member is a voter already.
    AlreadyVoter = "already_voter", 409;
    /// A membership change was begun and is not known to be finished: look at the members.
    ChangeUnfinished = "change_unfinished", 504;
    /// The only voter cannot be removed: nothing would be left.
    LastVoter = "last_voter", 409;
    /// A live member has this name.
    NameInUse = "name_in_use", 409;
    /// There is no leader, or it could not be reached. Nothing was applied.
    NoLeader = "no_leader", 503;
    /// The dialect cannot show this value.
    NotAcceptable = "not_acceptable", 406;
    /// Known, but not built yet.
    NotBuilt = "not_built", 501;
    /// There is no such member.
    MemberNotFound = "member_not_found", 404;
    /// This node was removed from its cluster: it answers `stale` reads and nothing else.
    NodeRemoved = "node_removed", 503;
    /// The node has not applied enough yet to answer.
    NotCaughtUp = "not_caught_up", 503;
    /// The node to be added is not empty, or does not wait to be joined.
    NotWaiting = "not_waiting", 409;
    /// The write may or may not be applied: look the request id up, or repeat under it.
    OutcomeUnknown = "outcome_unknown", 504;
    /// This node has too much to do at the moment.
    Overloaded = "overloaded", 429;
    /// A condition of the request does not hold; the answer carries the current record.
    PreconditionFailed = "precondition_failed", 412;
    /// The request id was withdrawn: nothing under it is ever applied.
    RequestWithdrawn = "request_withdrawn", 409;
    /// There is no such route.
    RouteNotFound = "route_not_found", 404;
    /// The revision asked for is older than what is kept; `oldest` and `current` say what is.
    RevisionGone = "revision_gone", 410;
    /// The node is starting: it has not joined or recovered yet.
    Starting = "starting", 503;
    /// The lock that guards the write was granted again since; `token` is the newer one.
    TokenSuperseded = "token_superseded", 412;
    /// As many streams are open on this node as may.
    TooManyStreams = "too_many_streams", 429;
    /// The cluster has as many voters as it may.
    TooManyVoters = "too_many_voters", 409;
    /// Fewer voters than a majority would answer after the change; `force` makes it nevertheless.
    WouldLoseQuorum = "would_lose_quorum", 409;
    /// The asked node was started with `-read-only`: others take the same request.
    ReadOnly = "read_only", 403;
}

impl ErrorCode {
    /// Returns true when the same request may succeed later without a change.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        match self {
            Self::BodyTimeout
            | Self::Draining
            | Self::DiskFull
            | Self::MembershipConflict
            | Self::NoLeader
            | Self::NotCaughtUp
            | Self::Overloaded
            | Self::LockHeld
            | Self::OutcomeUnknown
            | Self::Starting
            | Self::TooManyStreams => true,
            Self::TooLarge
            | Self::AlreadyVoter
            | Self::ChangeUnfinished
            | Self::ConditionFailed
            | Self::CrossSite
            | Self::CursorExpired
            | Self::LastVoter
            | Self::NodeRemoved
            | Self::ReadOnly
            | Self::TooManyVoters
            | Self::WouldLoseQuorum
            | Self::IdempotencyKeyReused
            | Self::Internal
            | Self::InvalidArgument
            | Self::KeyNotFound
            | Self::LockLost
            | Self::LockNotHeld
            | Self::MethodNotAllowed
            | Self::NameInUse
            | Self::NotAcceptable
            | Self::NotBuilt
            | Self::MemberNotFound
            | Self::NotWaiting
            | Self::PreconditionFailed
            | Self::RequestWithdrawn
            | Self::RevisionGone
            | Self::RouteNotFound
            | Self::TokenSuperseded => false,
        }
    }

    /// Returns whether a request that got this code has changed anything.
    #[must_use]
    pub const fn applied(self) -> Applied {
        match self {
            Self::OutcomeUnknown | Self::ChangeUnfinished | Self::Internal => Applied::Unknown,
            Self::BodyTimeout
            | Self::AlreadyVoter
            | Self::LastVoter
            | Self::NodeRemoved
            | Self::ReadOnly
            | Self::TooManyVoters
            | Self::WouldLoseQuorum
            | Self::TooLarge
            | Self::ConditionFailed
            | Self::MembershipConflict
            | Self::CrossSite
            | Self::CursorExpired
            | Self::Draining
            | Self::DiskFull
            | Self::IdempotencyKeyReused
            | Self::InvalidArgument
            | Self::KeyNotFound
            | Self::LockHeld
            | Self::LockLost
            | Self::LockNotHeld
            | Self::MethodNotAllowed
            | Self::NameInUse
            | Self::NoLeader
            | Self::NotAcceptable
            | Self::NotBuilt
            | Self::MemberNotFound
            | Self::NotCaughtUp
            | Self::NotWaiting
            | Self::Overloaded
            | Self::PreconditionFailed
            | Self::RequestWithdrawn
            | Self::RevisionGone
            | Self::RouteNotFound
            | Self::Starting
            | Self::TokenSuperseded
            | Self::TooManyStreams => Applied::No,
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Body of every error answer, `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// A stable name of the kind of problem: `urn:conclave:error:<code>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The HTTP status' own words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened to this request, for a person.
    pub detail: String,
    /// The stable word to decide on.
    pub code: ErrorCode,
    /// Whether the request has changed anything.
    pub applied: Applied,
    /// The id under which the request's outcome is kept, and which log lines name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Name of the leader, where it is known and helps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    /// State revision that the answer reflects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// The limit that was exceeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// The number that exceeded the limit, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// When to try again, milliseconds from now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// The current record, where a precondition failed and the key exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<crate::kv::Envelope>,
    /// The newer fencing token, where a claim or a guard is out of date and the lock is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<u64>,
    /// Who holds the lock, and who would be next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<crate::lock::LockProblem>,
    /// First revision from which on every change is kept, where an older one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_snake_case_words() {
        let mut words: Vec<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
        for word in &words {
            assert!(
                word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
                "{word}"
            );
        }
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), ErrorCode::ALL.len());
    }

    #[test]
    fn only_a_lost_outcome_claims_to_be_unknown() {
        for code in ErrorCode::ALL {
            let unknown = code.applied() == Applied::Unknown;
            assert_eq!(unknown, matches!(code.status(), 500 | 504), "{code}");
        }
    }
}
