//! The API of `YzmaDB`: joining, and the place of its own multi-master key space.
//!
//! Origin: `GET|POST|DELETE /keys/{key}`, `POST /cluster/join`, `POST /cluster/leave`. What is not
//! built yet answers 501, so that it is never taken for keys of another dialect.
//!
//! Deviation: joining moves this node into the peers' cluster only while that loses nothing: it is
//! alone in its own and holds neither keys nor locks, else 409.

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::http::error::Failure;
use crate::http::params::Params;
use crate::http::state::Edge;
use crate::http::{body, members, wire};

/// Peers in one request.
const PEERS: usize = 64;

pub(crate) fn router() -> Router<Edge> {
    let key = || get(not_built).post(not_built).delete(not_built);
    Router::new()
        .route("/keys", key())
        .route("/keys/", key())
        .route("/keys/{*key}", key())
        .route("/cluster/join", post(join))
        .route("/cluster/leave", post(not_built))
        .route("/openapi.json", get(not_built))
}

async fn not_built(uri: http::Uri) -> Failure {
    Failure::not_built(&format!("`{}`", uri.path()))
}

#[derive(Debug, Deserialize)]
struct Join {
    #[serde(rename = "Peers")]
    peers: Vec<String>,
}

/// Their frame around every answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Framed<T> {
    status: &'static str,
    error: &'static str,
    data: T,
}

/// `POST /cluster/join {"Peers":["host:port"]}`: this node joins them.
async fn join(State(edge): State<Edge>, request: Request) -> Result<Response, Failure> {
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
    let data = edge.move_to(peers).await?;
    let framed = Framed {
        status: "ok",
        error: "",
        data,
    };
    wire::json(StatusCode::OK, &framed)
}
