//! The words in which a client asks for things of single keys, and what the answers mean.

use serde_json::Value;

use crate::etcd;
use crate::history::{Answer, Call, End};
use crate::http::{Failure, Request, Response};

/// The system that a client speaks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Conclave,
    /// etcd's JSON gateway. Its serializable reads are the level `stale`, its linearizable ones all
    /// others.
    Etcd,
}

impl Dialect {
    /// Returns the request of a call.
    pub(crate) fn request(self, key: &str, call: &Call, level: &str) -> Request {
        match self {
            Self::Conclave => request(key, call, level),
            Self::Etcd => etcd::request(key, call, level),
        }
    }

    /// Returns how an operation ended.
    ///
    /// # Panics
    ///
    /// An answer lacks what it must have.
    pub(crate) fn end(self, call: &Call, answer: &Result<Response, Failure>, at: u64) -> End {
        match self {
            Self::Conclave => classify(call, answer, at),
            Self::Etcd => etcd::classify(call, answer, at),
        }
    }
}

fn request(key: &str, call: &Call, level: &str) -> Request {
    let target = format!("/api/keys/{key}");
    match call {
        Call::Get => Request::get(&format!("{target}?level={level}")),
        Call::Put { value } => Request::put(&target, value.as_bytes()),
        Call::Cas { expected, value } => {
            Request::put(&format!("{target}?cas={expected}"), value.as_bytes())
        }
        Call::Delete => Request::delete(&target),
    }
}

/// Returns how an operation ended: 200, 201, a 404 for the key and 412 are answers, whatever says
/// `"applied":"no"` and what was never sent has failed, everything else is open.
///
/// # Panics
///
/// An answer lacks what it must have.
#[must_use]
pub fn classify(call: &Call, answer: &Result<Response, Failure>, at: u64) -> End {
    let response = match answer {
        Ok(response) => response,
        Err(Failure::NotSent(_)) => return End::Failed,
        Err(Failure::Unknown(_)) => return End::Open,
    };
    let problem: Value = match response.status {
        200 | 201 => Value::Null,
        _ => serde_json::from_slice(&response.body).unwrap_or_default(),
    };
    let answer = match (call, response.status) {
        (Call::Get, 200) => Answer::Found {
            value: response.text(),
            revision: etag(response).unwrap_or_else(|| panic!("no `ETag` in {response:?}")),
        },
        (Call::Put { .. } | Call::Cas { .. }, 200 | 201) => Answer::Written {
            revision: written(response),
        },
        (Call::Delete, 200) => Answer::Deleted {
            revision: written(response),
        },
        (Call::Get | Call::Delete, 404) if problem["code"] == "key_not_found" => Answer::Absent,
        (Call::Cas { .. }, 412) => Answer::Mismatch {
            current: etag(response).unwrap_or(0),
        },
        _ if problem["applied"] == "no" => return End::Failed,
        _ => return End::Open,
    };
    End::Answered { at, answer }
}

fn etag(response: &Response) -> Option<u64> {
    response.header("etag")?.trim_matches('"').parse().ok()
}

fn written(response: &Response) -> u64 {
    let revision = response.json()["revision"].as_u64();
    revision.unwrap_or_else(|| panic!("no `revision` in {response:?}"))
}
