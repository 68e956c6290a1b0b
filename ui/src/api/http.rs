//! Typed requests to the serving node.

use conclave_shared::NodeStatus;
use gloo_net::http::Request;
use web_sys::AbortSignal;

/// Longest wait for an answer. The node answers its status in milliseconds, cut off or not.
const TIMEOUT_MS: u32 = 2_000;

/// Asks the serving node for its own view.
///
/// # Errors
///
/// A sentence for the reader: no answer in time, an error status, or a body that is not a status.
pub(crate) async fn node_status() -> Result<NodeStatus, String> {
    let signal = AbortSignal::timeout_with_u32(TIMEOUT_MS);
    let response = Request::get("/api/status")
        .header("accept", "application/json")
        .abort_signal(Some(&signal))
        .send()
        .await
        .map_err(|error| error.to_string())?;
    if !response.ok() {
        return Err(format!("{} {}", response.status(), response.status_text()));
    }
    response.json().await.map_err(|error| error.to_string())
}
