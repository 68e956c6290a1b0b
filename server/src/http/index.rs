//! `GET /`: browsers go to the dashboard, others get a short text.

use axum::response::{IntoResponse as _, Response};
use http::header::{ACCEPT, LOCATION, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::wire;

const INDEX: &str = "\
Conclave, a distributed key-value and lock store.

  /ui/          dashboard
  /api/keys     keys and values: GET, PUT, POST, DELETE /api/keys/{key}
  /api/status   this node
  /api/cluster  every member, as this node sees it
  /key          the API of raftdb and keyval
  /{key}        the API of consens: PUT, GET
  /livez /readyz /metrics
";

pub(crate) async fn index(headers: HeaderMap) -> Response {
    let mut accepts = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|accept| accept.to_str().ok());
    let mut response = if accepts.any(|accept| accept.contains("text/html")) {
        let location = [(LOCATION, HeaderValue::from_static("/ui/"))];
        (StatusCode::TEMPORARY_REDIRECT, location).into_response()
    } else {
        wire::text(StatusCode::OK, INDEX)
    };
    response
        .headers_mut()
        .insert(VARY, HeaderValue::from_static("accept"));
    response
}
