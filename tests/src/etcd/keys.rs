//! A client's calls as requests to the gateway, and what its answers mean.

use serde_json::{Value, json};

use super::body_of;
use super::json::{encode, number, text};
use crate::history::{Answer, Call, End};
use crate::http::{Failure, Request, Response};

/// What a member without a leader says: it has given the proposal to nobody.
const DROPPED: &str = "raft proposal dropped";

/// Returns the request of a call. A conditional write compares the revision of the key's last change,
/// which is 0 for no key, and reads the key when it differs.
pub(crate) fn request(key: &str, call: &Call, level: &str) -> Request {
    let key = encode(key.as_bytes());
    let (target, body) = match call {
        Call::Get => {
            let body = json!({"key": key, "serializable": level == "stale"});
            ("range", body)
        }
        Call::Put { value } => ("put", put(&key, value)),
        Call::Cas { expected, value } => {
            let condition = json!({
                "key": key, "target": "MOD", "result": "EQUAL", "mod_revision": expected.to_string(),
            });
            let body = json!({
                "compare": [condition],
                "success": [{"request_put": put(&key, value)}],
                "failure": [{"request_range": {"key": key}}],
            });
            ("txn", body)
        }
        Call::Delete => ("deleterange", json!({"key": key})),
    };
    Request::post(&format!("/v3/kv/{target}"), body.to_string())
}

fn put(key: &str, value: &str) -> Value {
    json!({"key": key, "value": encode(value.as_bytes())})
}

/// Returns how an operation ended: 200 is an answer, a dropped proposal and what was never sent has
/// failed, everything else is open.
///
/// # Panics
///
/// An answer lacks what it must have.
pub(crate) fn classify(call: &Call, answer: &Result<Response, Failure>, at: u64) -> End {
    let response = match answer {
        Ok(response) => response,
        Err(Failure::NotSent(_)) => return End::Failed,
        Err(Failure::Unknown(_)) => return End::Open,
    };
    let body = body_of(response);
    if response.status != 200 {
        return match body["error"] == DROPPED {
            true => End::Failed,
            false => End::Open,
        };
    }
    let revision = || {
        let revision = number(&body["header"]["revision"]);
        revision.unwrap_or_else(|| panic!("no revision in {response:?}"))
    };
    let answer = match call {
        Call::Get => found(&body["kvs"][0]),
        Call::Put { .. } => Answer::Written {
            revision: revision(),
        },
        Call::Cas { .. } if body["succeeded"] == true => Answer::Written {
            revision: revision(),
        },
        Call::Cas { .. } => {
            let there = &body["responses"][0]["response_range"]["kvs"][0];
            let current = number(&there["mod_revision"]).unwrap_or(0);
            Answer::Mismatch { current }
        }
        Call::Delete if number(&body["deleted"]) == Some(1) => Answer::Deleted {
            revision: revision(),
        },
        Call::Delete => Answer::Absent,
    };
    End::Answered { at, answer }
}

fn found(record: &Value) -> Answer {
    let Some(revision) = number(&record["mod_revision"]) else {
        return Answer::Absent;
    };
    let value = text(&record["value"]).unwrap_or_else(|what| panic!("{what}"));
    Answer::Found { value, revision }
}
