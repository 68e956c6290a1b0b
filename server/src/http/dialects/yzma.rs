//! The place of `YzmaDB`'s API: its own multi-master key space. Known, not built yet.
//!
//! Origin: `GET|POST|DELETE /keys/{key}`, `POST /cluster/join`, `POST /cluster/leave`. The routes
//! answer 501, so that they are never taken for keys of another dialect.

use axum::Router;
use axum::routing::{get, post};

use crate::http::error::Failure;
use crate::http::state::Edge;

pub(crate) fn router() -> Router<Edge> {
    let key = || get(not_built).post(not_built).delete(not_built);
    Router::new()
        .route("/keys", key())
        .route("/keys/", key())
        .route("/keys/{*key}", key())
        .route("/cluster/join", post(not_built))
        .route("/cluster/leave", post(not_built))
        .route("/openapi.json", get(not_built))
}

async fn not_built(uri: http::Uri) -> Failure {
    Failure::not_built(&format!("`{}`", uri.path()))
}
