//! Every answer that is not a success: `ErrorCode` → status, headers and `problem+json`.
//!
//! The only place that decides what a client sees of an error. The inside of a 500 goes to the
//! log, once, and never into the body.

use std::borrow::Cow;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use conclave_shared::{Envelope, ErrorCode, LockProblem, MemberAddress, Problem};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, ETAG, RETRY_AFTER};
use http::{HeaderValue, StatusCode};

use super::headers::{self, NO_STORE};
use crate::node::{AnswerMeta, ServiceError};
use crate::state::RequestId;

/// When to come back, where the service named no time, milliseconds.
const RETRY_AFTER_MS: u64 = 1_000;

/// Why a request has no successful answer.
#[derive(Debug)]
pub(crate) struct Failure {
    code: ErrorCode,
    detail: Cow<'static, str>,
    more: Option<Box<More>>,
}

#[derive(Debug, Default)]
struct More {
    request_id: Option<RequestId>,
    revision: Option<u64>,
    limit: Option<u64>,
    count: Option<u64>,
    retry_after_ms: Option<u64>,
    current: Option<Envelope>,
    token: Option<u64>,
    lock: Option<LockProblem>,
    oldest: Option<u64>,
    allow: Option<HeaderValue>,
    meta: Option<AnswerMeta>,
    redirect: Option<MemberAddress>,
}

/// Where a 307 leads; `http::service` completes it with the request's path and query.
#[derive(Debug, Clone)]
pub(crate) struct LeaderLocation(pub(crate) String);

impl Failure {
    pub(crate) fn new(code: ErrorCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            detail: detail.into(),
            more: None,
        }
    }

    pub(crate) fn invalid(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::InvalidArgument, detail)
    }

    pub(crate) fn not_built(what: &str) -> Self {
        Self::new(
            ErrorCode::NotBuilt,
            format!("{what}: known, but not built yet"),
        )
    }

    pub(crate) fn too_large(detail: impl Into<Cow<'static, str>>, limit: usize) -> Self {
        let mut failure = Self::new(ErrorCode::TooLarge, detail);
        failure.more().limit = Some(limit as u64);
        failure
    }

    pub(crate) fn internal(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(error = %cause, "a request failed: {cause}");
        Self::new(
            ErrorCode::Internal,
            "an internal error; this node's log has its cause",
        )
    }

    pub(crate) fn with_count(mut self, count: u64) -> Self {
        self.more().count = Some(count);
        self
    }

    pub(crate) fn with_allow(mut self, allow: HeaderValue) -> Self {
        self.more().allow = Some(allow);
        self
    }

    pub(crate) fn with_current(mut self, current: Option<Envelope>) -> Self {
        self.more().current = current;
        self
    }

    /// Adds the newer fencing token.
    pub(crate) fn with_token(mut self, token: Option<u64>) -> Self {
        self.more().token = token;
        self
    }

    /// Adds who holds a lock.
    pub(crate) fn with_lock(mut self, lock: LockProblem) -> Self {
        self.more().lock = Some(lock);
        self
    }

    /// Adds the facts about the state that the refusal was decided on.
    pub(crate) fn with_meta(mut self, meta: AnswerMeta) -> Self {
        let more = self.more();
        more.request_id.clone_from(&meta.request_id);
        more.meta = Some(meta);
        self
    }

    /// Returns what happened, for a dialect with an error shape of its own.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    #[cfg(test)]
    pub(crate) const fn code(&self) -> ErrorCode {
        self.code
    }

    fn more(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }
}

impl From<ServiceError> for Failure {
    fn from(error: ServiceError) -> Self {
        let code = error.code();
        match error {
            ServiceError::Internal(cause) => Self::internal(&cause),
            ServiceError::NoLeader { retry_after_ms, .. } => {
                let mut failure = Self::new(code, error.to_string());
                failure.more().retry_after_ms = Some(retry_after_ms);
                failure
            }
            ServiceError::OutcomeUnknown { ref request_id, .. } => {
                let mut failure = Self::new(code, error.to_string());
                failure.more().request_id = Some(request_id.clone());
                failure
            }
            ServiceError::RevisionGone {
                oldest, current, ..
            } => {
                let mut failure = Self::new(code, error.to_string());
                failure.more().oldest = Some(oldest);
                failure.more().revision = Some(current);
                failure
            }
            ServiceError::TooFarBack { pages } => {
                let mut failure = Self::new(code, error.to_string());
                failure.more().limit = Some(u64::from(pages));
                failure
            }
            ServiceError::Redirect { leader } => {
                let mut failure = Self::new(code, "the leader's HTTP address is not known");
                failure.more().redirect = (!leader.http.is_empty()).then_some(leader);
                failure
            }
            ServiceError::InvalidArgument(_)
            | ServiceError::NotCaughtUp { .. }
            | ServiceError::Draining
            | ServiceError::Starting(_)
            | ServiceError::Overloaded
            | ServiceError::MembershipConflict(_)
            | ServiceError::NameInUse(_)
            | ServiceError::NotWaiting { .. }
            | ServiceError::MemberNotFound(_)
            | ServiceError::CursorExpired { .. }
            | ServiceError::TooManyStreams { .. }
            | ServiceError::Removed
            | ServiceError::ChangeUnfinished(_)
            | ServiceError::LastVoter(_)
            | ServiceError::WouldLoseQuorum(_)
            | ServiceError::AlreadyVoter(_)
            | ServiceError::TooManyVoters(_)
            | ServiceError::ReadOnly
            | ServiceError::DiskFull => Self::new(code, error.to_string()),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let more = self.more.map_or_else(More::default, |more| *more);
        if let Some(leader) = &more.redirect {
            return redirect(leader);
        }
        let status =
            StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after_ms = matches!(self.code.status(), 429 | 503)
            .then(|| more.retry_after_ms.unwrap_or(RETRY_AFTER_MS));
        let problem = Problem {
            kind: format!("urn:conclave:error:{}", self.code),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail: self.detail.into_owned(),
            code: self.code,
            applied: self.code.applied(),
            request_id: more.request_id.as_ref().map(ToString::to_string),
            leader: more
                .meta
                .as_ref()
                .and_then(|meta| meta.leader.as_deref().map(str::to_owned)),
            revision: more
                .revision
                .or_else(|| more.meta.as_ref().map(|meta| meta.revision)),
            limit: more.limit,
            count: more.count,
            retry_after_ms,
            current: more.current,
            token: more.token,
            lock: more.lock,
            oldest: more.oldest,
        };
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        match &more.meta {
            Some(meta) => headers::put(headers, meta),
            None => drop(headers.insert(CACHE_CONTROL, NO_STORE)),
        }
        if let Some(id) = &more.request_id {
            headers::put_request_id(headers, id);
        }
        if let Some(current) = &problem.current {
            headers.insert(ETAG, headers::etag(current.mod_revision));
        }
        if let Some(ms) = retry_after_ms {
            headers.insert(RETRY_AFTER, HeaderValue::from(ms.div_ceil(1_000).max(1)));
        }
        if let Some(allow) = more.allow {
            headers.insert(ALLOW, allow);
        }
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        response
    }
}

fn redirect(leader: &MemberAddress) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    if let Ok(name) = HeaderValue::from_str(&leader.node) {
        response.headers_mut().insert(headers::LEADER, name);
    }
    response
        .extensions_mut()
        .insert(LeaderLocation(leader.http.clone()));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn problem(failure: Failure) -> (http::HeaderMap, Problem) {
        let (parts, body) = failure.into_response().into_parts();
        let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        let problem: Problem = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(parts.status.as_u16(), problem.status);
        (parts.headers, problem)
    }

    #[tokio::test]
    async fn every_code_has_its_problem_and_busy_ones_say_when_to_retry() {
        for code in ErrorCode::ALL {
            let (headers, problem) = problem(Failure::new(*code, "text")).await;
            assert_eq!(problem.kind, format!("urn:conclave:error:{code}"));
            assert_eq!(headers[CONTENT_TYPE], "application/problem+json");
            assert_eq!(problem.applied, code.applied());
            let busy = matches!(code.status(), 429 | 503);
            assert_eq!(headers.contains_key(RETRY_AFTER), busy, "{code}");
            assert_eq!(problem.retry_after_ms.is_some(), busy, "{code}");
        }
    }

    #[tokio::test]
    async fn the_inside_of_an_internal_error_stays_inside() {
        let error = ServiceError::Internal("secret path".into());
        let (_, problem) = problem(error.into()).await;
        assert_eq!(problem.code, ErrorCode::Internal);
        assert!(!format!("{problem:?}").contains("secret"));
    }

    #[tokio::test]
    async fn a_lost_outcome_names_its_request() {
        let request_id = RequestId::new("r-1").unwrap();
        let error = ServiceError::OutcomeUnknown {
            request_id,
            reason: "gone".into(),
        };
        let (headers, problem) = problem(error.into()).await;
        assert_eq!(
            (problem.status, problem.request_id.as_deref()),
            (504, Some("r-1"))
        );
        assert_eq!(headers["conclave-request-id"], "r-1");
    }

    #[tokio::test]
    async fn retry_after_is_whole_seconds_rounded_up() {
        let error = ServiceError::NoLeader {
            reason: "election".into(),
            retry_after_ms: 1_200,
        };
        let (headers, problem) = problem(error.into()).await;
        assert_eq!(
            (&headers[RETRY_AFTER], problem.retry_after_ms),
            (&"2".parse().unwrap(), Some(1_200))
        );
    }
}
