//! A small HTTP client: one request to one node, for a node that has no cluster yet.

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::config::HostPort;

const ANSWER_BYTES: usize = 64 << 10;

/// Why there is no answer.
pub(super) enum HttpFailure {
    Connect(String),
    /// Somebody listens there, but does not speak HTTP.
    NoHttp,
}

/// Sends `body` with `POST`, or a `GET` without one.
///
/// # Errors
///
/// Nobody listens there, or does not speak HTTP.
pub(super) async fn send(
    target: &HostPort,
    path: &str,
    body: Option<&serde_json::Value>,
) -> Result<(StatusCode, Bytes), HttpFailure> {
    let stream = TcpStream::connect((target.host.as_str(), target.port))
        .await
        .map_err(|error| HttpFailure::Connect(error.to_string()))?;
    let no_http = |_error: hyper::Error| HttpFailure::NoHttp;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(no_http)?;
    // Ends with the connection, which this function owns through `sender`.
    let connection = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(connection));
    let message = match body {
        Some(_) => Request::post(path).header("content-type", "application/json"),
        None => Request::get(path),
    };
    let content = body.map(ToString::to_string).unwrap_or_default();
    let message = message
        .header("host", target.to_string())
        .body(Full::new(Bytes::from(content)))
        .map_err(|_invalid| HttpFailure::NoHttp)?;
    let response = sender.send_request(message).await.map_err(no_http)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES)
        .collect()
        .await;
    drop(connection);
    let body = body.map(http_body_util::Collected::to_bytes);
    Ok((status, body.unwrap_or_default()))
}
