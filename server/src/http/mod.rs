//! The client-facing edge: knows axum, knows no Raft, no storage and no network between nodes.
//!
//! A request's way: `serve` (connections, limits, stop) → `service` (last net for panics,
//! cross-site check, readers of other origins, redirects, log) → `router` → a dialect's handler → one call on `node`.
//! The router has no layers: a layer boxes every request and every body on its way, and what all
//! requests need is done once in `service`.

mod body;
mod cors;
mod cross_site;
mod dashboard;
mod dialects;
mod error;
mod extract;
mod form;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod headers;
mod health;
mod index;
mod measure;
mod members;
mod params;
mod serve;
mod service;
mod sse;
mod state;
mod stream;
mod wire;

#[cfg(test)]
mod random_input;
#[cfg(test)]
mod tests;

use axum::Router;
use axum::routing::get;

pub(crate) use dashboard::UI_BUILD;
pub use serve::{HttpOptions, serve};
pub use service::{RequestService, service};
pub use state::{Edge, Move, Whoami};

use dialects::{consens, native, raftdb, yzma};

/// Every route. What none of them matches is a key of consens, or 404 below a reserved segment.
fn router(edge: Edge) -> Router {
    Router::new()
        .route("/", get(index::index))
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .merge(native::router())
        .merge(raftdb::router())
        .merge(yzma::router())
        .merge(dashboard::router())
        .fallback(consens::serve)
        .method_not_allowed_fallback(service::method_not_allowed)
        .with_state(edge)
}
