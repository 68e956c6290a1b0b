//! Renders records and outcomes that more than one dialect shows in the same way.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use conclave_shared::{Envelope, ErrorCode, LockHolder, LockProblem, limits};
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, StatusCode};
use serde::Serialize;

use super::error::Failure;
use super::headers;
use crate::node::{Answer, AnswerMeta};
use crate::state::{HeldBy, Outcome, Record, Rejection, SessionId, Stamps};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub(crate) const PLAIN: &str = "text/plain";
pub(crate) const BINARY: &str = "application/octet-stream";

/// [`Envelope`] without copies of key and value.
#[derive(Debug, Serialize)]
pub(crate) struct EnvelopeRef<'a> {
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    /// Size of the value; only where the value itself was not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    value_bytes: Option<usize>,
    content_type: &'a str,
    create_revision: u64,
    mod_revision: u64,
    version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_ms: Option<u64>,
    origin: &'a str,
}

/// What a listing shows of each key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    /// All of it.
    Values,
    /// All but the value, and the value's size.
    KeysOnly,
}

impl<'a> EnvelopeRef<'a> {
    /// Shows a record as it is at log time `now_ms`.
    pub(crate) fn new(key: &'a str, record: &'a Record, show: Show, now_ms: u64) -> Self {
        let text = std::str::from_utf8(&record.value);
        let (value, value_base64, value_bytes) = match (show, text) {
            (Show::KeysOnly, _) => (None, None, Some(record.value.len())),
            (Show::Values, Ok(text)) => (Some(text), None, None),
            (Show::Values, Err(_)) => (None, Some(BASE64_STANDARD.encode(&record.value)), None),
        };
        Self {
            key,
            value,
            value_base64,
            value_bytes,
            content_type: &record.content_type,
            create_revision: record.create_revision,
            mod_revision: record.mod_revision,
            version: record.version,
            ttl_ms: record.ttl_ms(now_ms),
            origin: &record.origin,
        }
    }
}

/// Returns a record as the wire shows it at log time `now_ms`.
pub(crate) fn envelope(key: &str, record: &Record, now_ms: u64) -> Envelope {
    let shown = EnvelopeRef::new(key, record, Show::Values, now_ms);
    Envelope {
        key: key.to_owned(),
        value: shown.value.map(str::to_owned),
        value_base64: shown.value_base64,
        content_type: record.content_type.to_string(),
        create_revision: record.create_revision,
        mod_revision: record.mod_revision,
        version: record.version,
        ttl_ms: shown.ttl_ms,
        origin: record.origin.to_string(),
    }
}

/// Answers with a record's bytes under the content type they were written with.
pub(crate) fn raw_value(record: &Record, meta: &AnswerMeta) -> Response {
    let mut response = Response::new(Body::from(record.value.clone()));
    let headers = response.headers_mut();
    headers.reserve(20);
    headers::put_with_stamps(headers, meta, record.stamps());
    if let Some(ttl_ms) = record.ttl_ms(meta.log_time_ms) {
        headers.insert(headers::TTL_MS, HeaderValue::from(ttl_ms));
    }
    headers.insert(CONTENT_TYPE, content_type(&record.content_type));
    // A value is whatever a client stored. On the dashboard's own origin it must never run.
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if !is_inert(&record.content_type) {
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    }
    response
}

/// Answers with JSON and the facts about the state it reflects.
pub(crate) fn json_with_meta<T: Serialize + ?Sized>(
    status: StatusCode,
    value: &T,
    meta: &AnswerMeta,
) -> Result<Response, Failure> {
    let mut response = json(status, value)?;
    headers::put(response.headers_mut(), meta);
    Ok(response)
}

/// As [`json_with_meta`], with the headers of one record.
pub(crate) fn json_with_stamps<T: Serialize + ?Sized>(
    status: StatusCode,
    value: &T,
    meta: &AnswerMeta,
    stamps: Stamps,
) -> Result<Response, Failure> {
    let mut response = json(status, value)?;
    headers::put_with_stamps(response.headers_mut(), meta, stamps);
    Ok(response)
}

/// Answers with JSON that no cache may keep.
pub(crate) fn json<T: Serialize + ?Sized>(
    status: StatusCode,
    value: &T,
) -> Result<Response, Failure> {
    let bytes = serde_json::to_vec(value).map_err(|error| Failure::internal(&error))?;
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
        .headers_mut()
        .insert(http::header::CACHE_CONTROL, headers::NO_STORE);
    Ok(response)
}

/// Answers with a line of text that no cache may keep.
pub(crate) fn text(status: StatusCode, text: impl Into<Body>) -> Response {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
        .headers_mut()
        .insert(http::header::CACHE_CONTROL, headers::NO_STORE);
    response
}

/// Says that a key is absent, at which revision.
pub(crate) fn key_not_found(key: &str, meta: AnswerMeta) -> Failure {
    Failure::new(ErrorCode::KeyNotFound, format!("there is no key `{key}`")).with_meta(meta)
}

/// Passes an applied outcome on, and turns a rejection into the answer that goes with it.
/// `subject` is the key or prefix that was to be written.
pub(crate) fn applied(subject: &str, answer: Answer<Outcome>) -> Result<Answer<Outcome>, Failure> {
    let Answer { value, meta } = answer;
    match value {
        Outcome::Rejected(rejection) => Err(rejected(subject, rejection, meta)),
        value => Ok(Answer { value, meta }),
    }
}

/// Says that the node answered with an outcome that does not belong to the request.
pub(crate) fn unexpected(outcome: &Outcome) -> Failure {
    // The values in it are the client's own and do not belong into a log.
    let kind = match outcome {
        Outcome::Nothing => "nothing",
        Outcome::Put { .. } => "put",
        Outcome::PutMany { .. } => "put many",
        Outcome::Deleted { .. } => "deleted",
        Outcome::DeletedPrefix { .. } => "deleted prefix",
        Outcome::NodeAllocated { .. } => "node allocated",
        Outcome::Rejected(_) => "rejected",
        Outcome::Settlement(_) => "settlement",
        Outcome::Replayed(_) => "replayed",
        Outcome::Transaction { .. } => "transaction",
        Outcome::LockGranted { .. } => "lock granted",
        Outcome::LockQueued { .. } => "lock queued",
        Outcome::LockReleased { .. } => "lock released",
        Outcome::ClaimsKept { .. } => "claims kept",
        Outcome::Ticked { .. } => "ticked",
    };
    Failure::internal(&format_args!(
        "outcome `{kind}` does not belong to the request"
    ))
}

fn rejected(subject: &str, rejection: Rejection, meta: AnswerMeta) -> Failure {
    match rejection {
        Rejection::KeyNotFound => key_not_found(subject, meta),
        Rejection::PreconditionFailed { current } => {
            precondition_failed(subject, current.as_ref(), meta)
        }
        Rejection::TooManyKeys { keys } => {
            let most = limits::RECURSIVE_DELETE_KEYS;
            let detail = format!("{keys} keys start with `{subject}`, above the limit of {most}");
            Failure::too_large(detail, most)
                .with_count(keys)
                .with_meta(meta)
        }
        Rejection::KeyReused => {
            let detail = "this request id was used before, for a different request";
            Failure::new(ErrorCode::IdempotencyKeyReused, detail).with_meta(meta)
        }
        Rejection::Withdrawn => {
            let detail = "this request id was withdrawn before: nothing under it is ever applied";
            Failure::new(ErrorCode::RequestWithdrawn, detail).with_meta(meta)
        }
        Rejection::ConditionFailed { at } => {
            let detail = format!("condition {} of the transaction does not hold", at + 1);
            Failure::new(ErrorCode::ConditionFailed, detail).with_meta(meta)
        }
        Rejection::TokenSuperseded { token } => {
            let detail = format!("the lock has been granted again since, under token {token}");
            Failure::new(ErrorCode::TokenSuperseded, detail)
                .with_token(Some(token))
                .with_meta(meta)
        }
        Rejection::LockNotHeld => {
            let detail = "the lock of `Conclave-Lock` is not held under that token";
            Failure::new(ErrorCode::LockNotHeld, detail).with_meta(meta)
        }
        Rejection::LockHeld { holder, position } => {
            lock_held(subject, holder.as_ref(), (None, position), meta)
        }
        Rejection::LockQueueFull => {
            let most = limits::LOCK_WAITERS;
            let detail = format!("{most} already wait for the lock `{subject}`");
            Failure::new(ErrorCode::Overloaded, detail).with_meta(meta)
        }
        Rejection::LockLost { token } => {
            let detail = match token {
                Some(token) => format!(
                    "this claim on the lock `{subject}` is gone: it is held under token {token}"
                ),
                None => format!("this claim on the lock `{subject}` is gone: nobody holds it"),
            };
            Failure::new(ErrorCode::LockLost, detail)
                .with_token(token)
                .with_meta(meta)
        }
        // The service has made an error of it.
        Rejection::Forgotten { wanted } => Failure::internal(&format_args!(
            "a request from before log index {wanted} was applied"
        )),
    }
}

/// Says that a lock is held by another, and where the caller stands.
pub(crate) fn lock_held(
    name: &str,
    holder: Option<&HeldBy>,
    (session, position): (Option<SessionId>, u64),
    meta: AnswerMeta,
) -> Failure {
    let detail = match holder {
        Some(holder) => format!("the lock `{name}` is held by `{}`", holder.owner),
        None => format!("the lock `{name}` was held when this request was first applied"),
    };
    Failure::new(ErrorCode::LockHeld, detail)
        .with_lock(LockProblem {
            holder: holder.map(held_by),
            position,
            session: session.map(|session| session.to_string()),
        })
        .with_meta(meta)
}

/// Returns the holder of a lock as the wire shows it.
pub(crate) fn held_by(holder: &HeldBy) -> LockHolder {
    LockHolder {
        owner: holder.owner.to_string(),
        session: holder.session.to_string(),
        node: holder.node.to_string(),
        token: holder.token,
        ttl_ms: holder.ttl_ms,
    }
}

fn precondition_failed(key: &str, current: Option<&Arc<Record>>, meta: AnswerMeta) -> Failure {
    let detail = match current {
        _ if meta.replayed => {
            format!("the condition on `{key}` did not hold when this request was first applied")
        }
        Some(record) => format!("key `{key}` is at revision {}", record.mod_revision),
        None => format!("key `{key}` does not exist"),
    };
    Failure::new(ErrorCode::PreconditionFailed, detail)
        .with_current(current.map(|record| envelope(key, record, meta.log_time_ms)))
        .with_meta(meta)
}

fn content_type(stored: &Arc<str>) -> HeaderValue {
    match &**stored {
        PLAIN => HeaderValue::from_static(PLAIN),
        BINARY => HeaderValue::from_static(BINARY),
        "application/json" => JSON,
        other => HeaderValue::from_str(other).unwrap_or(HeaderValue::from_static(BINARY)),
    }
}

/// Content types that no browser executes in the origin that served them.
fn is_inert(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    [PLAIN, BINARY, "application/json"]
        .iter()
        .any(|inert| essence.eq_ignore_ascii_case(inert))
}

#[cfg(test)]
pub(crate) mod tests {
    use bytes::Bytes;
    use conclave_shared::ReadLevel;

    use super::*;
    use crate::node::Timing;

    pub(crate) fn meta() -> AnswerMeta {
        AnswerMeta {
            revision: 9,
            level: ReadLevel::Default,
            term: 1,
            applied_index: 9,
            log_time_ms: 0,
            served_by: "node0".into(),
            leader: Some("node0".into()),
            last_contact: None,
            forwarded: false,
            request_id: None,
            replayed: false,
            timing: Timing::default(),
        }
    }

    pub(crate) fn record(value: &[u8], content_type: &str) -> Record {
        Record {
            value: Bytes::copy_from_slice(value),
            content_type: content_type.into(),
            create_revision: 5,
            mod_revision: 7,
            version: 2,
            origin: "node1".into(),
            deadline_ms: None,
        }
    }

    #[test]
    fn envelopes_read_back_as_the_shared_type() {
        for value in [&b"text"[..], b"\xff\x00", b""] {
            let record = record(value, "x/y");
            let shown = EnvelopeRef::new("a/b", &record, Show::Values, 0);
            let read: Envelope =
                serde_json::from_str(&serde_json::to_string(&shown).unwrap()).unwrap();
            assert_eq!(read, envelope("a/b", &record, 0));
        }
        let record = record(b"text", "x/y");
        let keys = serde_json::to_value(EnvelopeRef::new("k", &record, Show::KeysOnly, 0)).unwrap();
        assert_eq!((keys.get("value"), &keys["value_bytes"]), (None, &4.into()));
    }

    #[test]
    fn a_value_that_a_browser_would_run_is_sandboxed() {
        for (content_type, sandboxed) in [
            ("text/plain", false),
            ("Application/JSON; charset=utf-8", false),
            ("text/html", true),
            ("image/svg+xml", true),
            ("", true),
        ] {
            let response = raw_value(&record(b"<script>", content_type), &meta());
            let headers = response.headers();
            assert_eq!(
                headers.contains_key(CONTENT_SECURITY_POLICY),
                sandboxed,
                "{content_type}"
            );
            assert_eq!(headers[X_CONTENT_TYPE_OPTIONS], "nosniff");
        }
    }

    #[tokio::test]
    async fn rejections_carry_the_current_record_and_the_revision() {
        use axum::response::IntoResponse as _;
        let current = Some(Arc::new(record(b"v", "text/plain")));
        let outcome = Outcome::Rejected(Rejection::PreconditionFailed { current });
        let failure = applied(
            "k",
            Answer {
                value: outcome,
                meta: meta(),
            },
        )
        .unwrap_err();
        let response = failure.into_response();
        assert_eq!(response.status(), 412);
        assert_eq!(response.headers()["etag"], "\"7\"");
        assert_eq!(response.headers()["conclave-revision"], "9");
        let outcome = Outcome::Rejected(Rejection::TooManyKeys { keys: 10_001 });
        let failure = applied(
            "k",
            Answer {
                value: outcome,
                meta: meta(),
            },
        )
        .unwrap_err();
        let body = axum::body::to_bytes(failure.into_response().into_body(), 9_999)
            .await
            .unwrap();
        let problem: conclave_shared::Problem = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (problem.status, problem.limit, problem.count),
            (413, Some(10_000), Some(10_001))
        );
    }
}
