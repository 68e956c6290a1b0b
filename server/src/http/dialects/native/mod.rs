//! Conclave's own API below `/api`, the reference one.
//!
//! Tansu's key routes are the same ones: `-d value=world` is `http::form`'s work.

mod backup;
mod cluster;
mod events;
mod keys;
mod list;
mod locks;
mod past;
mod requests;
mod series;
mod txn;
mod write;

use axum::Router;
use axum::routing::{delete, get, post};

use super::tansu;
use crate::http::state::Edge;

/// Prefix of the routes that have their key in the path.
const KEYS: &str = "/api/keys/";

pub(crate) fn router() -> Router<Edge> {
    let key = || {
        get(keys::read)
            .put(write::put)
            .post(write::put)
            .delete(write::delete)
    };
    Router::new()
        // Without a key in the path: `?key=`, or for GET a listing.
        .route("/api/keys", key())
        .route("/api/keys/", key())
        .route("/api/keys/{*key}", key())
        .route("/api/status", get(cluster::status))
        .route("/api/cluster", get(cluster::cluster))
        .route("/api/info", get(tansu::info))
        .route("/api/events", get(events::events))
        .route("/api/txn", post(txn::transact))
        .route("/api/cluster/here", get(cluster::here))
        .route("/api/cluster/members", post(cluster::add_member))
        .route("/api/cluster/transfer", post(cluster::transfer))
        .route(
            "/api/cluster/snapshot",
            get(backup::download).post(cluster::snapshot),
        )
        .route(
            "/api/requests/{id}",
            get(requests::look_up).delete(requests::settle),
        )
        .route("/api/metrics/series", get(series::series))
        .merge(locks::router())
        .route("/api/cluster/members/{name}", delete(cluster::remove))
        .route(
            "/api/cluster/members/{name}/promote",
            post(cluster::promote),
        )
}
