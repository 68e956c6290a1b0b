//! The API of `YzmaDB`: joining, leaving, and the place of its own multi-master key space.
//!
//! Origin: `GET|POST|DELETE /keys/{key}`, `POST /cluster/join`, `POST /cluster/leave`. What is not
//! built yet answers 501, so that it is never taken for keys of another dialect.
//!
//! Deviation: joining moves this node into the peers' cluster only while that loses nothing: it is
//! alone in its own and holds neither keys nor locks, else 409.

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use http::{StatusCode, Uri};
use serde::{Deserialize, Serialize};

use crate::http::error::Failure;
use crate::http::params::Params;
use crate::http::state::Edge;
use crate::http::{body, members, wire};
use crate::node::Joined;

/// Peers in one request.
const PEERS: usize = 64;

/// Every answer of this dialect.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Envelope<T> {
    status: &'static str,
    error: String,
    data: Option<T>,
}

pub(crate) fn router() -> Router<Edge> {
    let key = || get(not_built).post(not_built).delete(not_built);
    Router::new()
        .route("/keys", key())
        .route("/keys/", key())
        .route("/keys/{*key}", key())
        .route("/cluster/join", post(join))
        .route("/cluster/leave", post(leave))
        .route("/openapi.json", get(not_built))
}

#[derive(Debug, Deserialize)]
struct Join {
    #[serde(rename = "Peers")]
    peers: Vec<String>,
}

/// `POST /cluster/join {"Peers":["host:port"]}`: this node joins them.
async fn join(State(edge): State<Edge>, request: Request) -> Response {
    framed(try_join(&edge, request).await)
}

async fn try_join(edge: &Edge, request: Request) -> Result<Joined, Failure> {
    let (parts, body) = request.into_parts();
    Params::parse(parts.uri.query())?.finish()?;
    let Join { peers } = body::read_json(body, edge.options().body_idle_timeout).await?;
    if !(1..=PEERS).contains(&peers.len()) {
        return Err(Failure::invalid(format!(
            "`Peers` has not 1 to {PEERS} addresses"
        )));
    }
    if let Some(peer) = peers.iter().find(|peer| !members::is_address(peer)) {
        let peer: String = peer.chars().take(80).collect();
        return Err(Failure::invalid(format!(
            "peer `{peer}` is not `host:port`"
        )));
    }
    edge.node_for_write()?;
    Ok(edge.move_to(peers).await?)
}

/// `POST /cluster/leave`: this node leaves its cluster, and serves `stale` reads from then on.
async fn leave(State(edge): State<Edge>, uri: Uri) -> Response {
    let left = async {
        Params::parse(uri.query())?.finish()?;
        Ok::<_, Failure>(edge.node_for_write()?.leave().await?)
    };
    framed(left.await)
}

/// The same status and headers as elsewhere, in this dialect's shape.
fn framed<T: Serialize>(answer: Result<T, Failure>) -> Response {
    match answer {
        Ok(data) => {
            let envelope = Envelope {
                status: "ok",
                error: String::new(),
                data: Some(data),
            };
            wire::json(StatusCode::OK, &envelope).unwrap_or_else(Failure::into_response)
        }
        Err(failure) => refused(failure),
    }
}

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
