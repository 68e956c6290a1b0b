//! The place of `YzmaDB`'s API: its own multi-master key space, and joining and leaving.
//!
//! Origin: `GET|POST|DELETE /keys/{key}`, `POST /cluster/join`, `POST /cluster/leave`. What is not
//! built answers 501, so that it is never taken for keys of another dialect.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use conclave_shared::cluster::MemberPlan;
use http::{StatusCode, Uri};
use serde::Serialize;

use crate::http::error::Failure;
use crate::http::params::Params;
use crate::http::state::Edge;
use crate::http::wire;

/// Every answer of this dialect.
#[derive(Debug, Serialize)]
struct Envelope<T> {
    #[serde(rename = "Status")]
    status: &'static str,
    #[serde(rename = "Error")]
    error: String,
    #[serde(rename = "Data")]
    data: Option<T>,
}

pub(crate) fn router() -> Router<Edge> {
    let key = || get(not_built).post(not_built).delete(not_built);
    Router::new()
        .route("/keys", key())
        .route("/keys/", key())
        .route("/keys/{*key}", key())
        .route("/cluster/join", post(not_built))
        .route("/cluster/leave", post(leave))
        .route("/openapi.json", get(not_built))
}

/// `POST /cluster/leave`: this node leaves its cluster, and serves `stale` reads from then on.
async fn leave(State(edge): State<Edge>, uri: Uri) -> Response {
    let left = async {
        Params::parse(uri.query())?.finish()?;
        Ok::<_, Failure>(edge.node_for_write()?.leave().await?)
    };
    match left.await {
        Ok(plan) => ok(plan),
        Err(failure) => refused(failure),
    }
}

fn ok(plan: MemberPlan) -> Response {
    let envelope = Envelope {
        status: "ok",
        error: String::new(),
        data: Some(plan),
    };
    wire::json(StatusCode::OK, &envelope).unwrap_or_else(Failure::into_response)
}

/// The same status and headers as elsewhere, in this dialect's shape.
fn refused(failure: Failure) -> Response {
    let envelope = Envelope::<()> {
        status: "error",
        error: failure.detail().to_owned(),
        data: None,
    };
    let mut response = failure.into_response();
    match wire::json(response.status(), &envelope) {
        Ok(shaped) => {
            let (parts, body) = shaped.into_parts();
            response.headers_mut().extend(parts.headers);
            *response.body_mut() = body;
            response
        }
        Err(failure) => failure.into_response(),
    }
}

async fn not_built(uri: Uri) -> Failure {
    Failure::not_built(&format!("`{}`", uri.path()))
}
