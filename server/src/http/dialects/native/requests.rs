//! `/api/requests/{id}`: what became of a write whose answer was lost.

use axum::extract::{Request, State};
use axum::response::Response;
use conclave_shared::{FirstOutcome, RequestOutcome, RequestStatus};
use http::StatusCode;

use crate::http::error::Failure;
use crate::http::extract;
use crate::http::params::{Params, decode_path};
use crate::http::state::Edge;
use crate::http::wire;
use crate::state::{RequestId, Settled, SettledRequest};

const REQUESTS: &str = "/api/requests/";

/// `GET /api/requests/{id}`, at `consistent`.
pub(crate) async fn look_up(
    State(edge): State<Edge>,
    request: Request,
) -> Result<Response, Failure> {
    let id = id(request.uri().path())?;
    let answer = edge.node()?.request_outcome(&id).await?;
    let body = match &answer.value {
        Some(settled) => render(settled),
        None => RequestOutcome {
            request_id: id.to_string(),
            status: RequestStatus::Unknown,
            outcome: None,
        },
    };
    wire::json_with_meta(StatusCode::OK, &body, &answer.meta)
}

/// `DELETE /api/requests/{id}`: from now on it is applied, or never will be.
pub(crate) async fn settle(
    State(edge): State<Edge>,
    request: Request,
) -> Result<Response, Failure> {
    let uri = request.uri();
    let mut params = Params::parse(uri.query())?;
    let routing = extract::routing(&mut params)?;
    params.finish()?;
    let id = id(uri.path())?;
    let settled = async {
        let answer = edge.node_for_write()?.settle(id, routing).await?;
        wire::json_with_meta(StatusCode::OK, &render(&answer.value), &answer.meta)
    };
    settled.await
}

fn id(path: &str) -> Result<RequestId, Failure> {
    let text = decode_path(path.strip_prefix(REQUESTS).unwrap_or_default())?;
    extract::request_id(&text)
}

fn render(request: &SettledRequest) -> RequestOutcome {
    let (status, revision, keys) = match request.settled {
        Settled::Put(stamps) => {
            let status = if stamps.version == 1 { 201 } else { 200 };
            (status, Some(stamps.mod_revision), None)
        }
        Settled::PutMany { revision, keys } | Settled::DeletedPrefix { revision, keys } => {
            (200, Some(revision), Some(keys))
        }
        Settled::Deleted { revision } => (200, Some(revision), None),
        Settled::NodeAllocated { .. } => (200, None, None),
        Settled::KeyNotFound => (404, None, None),
        Settled::PreconditionFailed => (412, None, None),
        Settled::TooManyKeys { keys } => (413, None, Some(keys)),
        Settled::Transaction { revision, .. } | Settled::LockReleased { revision } => {
            (200, Some(revision), None)
        }
        Settled::LockGranted { token, .. } => (200, Some(token), None),
        // The claim that waits took effect; the answer was 423 unless it was granted meanwhile.
        Settled::LockQueued { session, .. } => (200, Some(session.0), None),
        Settled::ConditionFailed { .. } | Settled::LockLost { .. } => (409, None, None),
        Settled::TokenSuperseded { .. } => (412, None, None),
        Settled::LockHeld { .. } | Settled::LockNotHeld => (423, None, None),
        Settled::LockQueueFull => (429, None, None),
        Settled::Withdrawn => {
            return RequestOutcome {
                request_id: request.id.to_string(),
                status: RequestStatus::NotApplied,
                outcome: None,
            };
        }
    };
    RequestOutcome {
        request_id: request.id.to_string(),
        status: match status {
            ..400 => RequestStatus::Applied,
            _ => RequestStatus::NotApplied,
        },
        outcome: Some(FirstOutcome {
            status,
            revision,
            keys,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_rest_of_the_path() {
        assert_eq!(id("/api/requests/a%2Fb").unwrap().as_str(), "a/b");
        assert_eq!(id("/api/requests/%22a%22").unwrap().as_str(), "a");
        for path in ["/api/requests/", "/api/requests/a%20b", "/api/requests/%FF"] {
            assert!(id(path).is_err(), "{path}");
        }
    }
}
