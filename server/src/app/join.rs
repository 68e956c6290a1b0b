//! Asking a cluster to be added, through any member's HTTP or Raft address.

use std::time::{Duration, Instant};

use anyhow::bail;
use conclave_shared::{ErrorCode, Problem};
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::clock;
use crate::config::{Config, HostPort};
use crate::network::{AskError, ask_to_join};
use crate::node::{JoinRequest, ServiceError};

/// Pause after nobody has answered.
const PAUSE: Duration = Duration::from_millis(250);
/// Longest wait for one member's answer; it includes adding this node.
const ANSWER: Duration = Duration::from_secs(30);
const ANSWER_BYTES: usize = 64 << 10;

/// What one member said.
enum Said {
    Added,
    /// Not now: ask again.
    Later(String),
    /// No: asking again would not help.
    No(String),
}

/// Writes addresses for a person.
pub(super) fn list(targets: &[HostPort]) -> String {
    targets
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Asks the members in turn until one has had this node added.
///
/// # Errors
///
/// The cluster refuses this node, or nobody has answered by the deadline.
pub(super) async fn ask(config: &Config, deadline: Instant) -> anyhow::Result<()> {
    let request = JoinRequest {
        name: config.name.clone(),
        http: config.http.to_string(),
        raft: config.raft.to_string(),
        // A node without a directory is a new member at every start.
        replace: config.data_dir.is_none(),
    };
    let mut last = String::new();
    loop {
        for target in &config.join {
            match ask_one(target, &request, deadline).await {
                Said::Added => return Ok(()),
                Said::No(reason) => bail!("{target} refused the join: {reason}"),
                Said::Later(reason) => {
                    let text = format!("{target}: {reason}");
                    if text != last {
                        tracing::warn!("cannot join yet: {text}");
                        last = text;
                    }
                }
            }
        }
        let left = deadline.saturating_duration_since(clock::now());
        if left.is_zero() {
            let limit = config.join_timeout;
            bail!(
                "could not join within {limit:?} through {}: {last}",
                list(&config.join)
            );
        }
        tokio::time::sleep(PAUSE.min(left)).await;
    }
}

async fn ask_one(target: &HostPort, request: &JoinRequest, deadline: Instant) -> Said {
    let left = deadline
        .saturating_duration_since(clock::now())
        .clamp(PAUSE, ANSWER);
    match tokio::time::timeout(left, ask_http(target, request)).await {
        Err(_elapsed) => Said::Later("no answer in time".to_owned()),
        Ok(Ok(said)) => said,
        Ok(Err(HttpFailure::Connect(error))) => Said::Later(error),
        // Somebody listens there, but not for HTTP: a Raft address.
        Ok(Err(HttpFailure::NoHttp)) => {
            match ask_to_join(&target.to_string(), request, left).await {
                Ok(_joined) => Said::Added,
                Err(AskError::Unreachable(error)) => Said::Later(error.to_string()),
                Err(AskError::Refused(
                    error @ (ServiceError::NoLeader { .. }
                    | ServiceError::MembershipConflict(_)
                    | ServiceError::ChangeUnfinished(_)),
                )) => Said::Later(error.to_string()),
                Err(AskError::Refused(error)) => Said::No(error.to_string()),
            }
        }
    }
}

enum HttpFailure {
    Connect(String),
    NoHttp,
}

/// `POST /api/cluster/members` on a member.
async fn ask_http(target: &HostPort, request: &JoinRequest) -> Result<Said, HttpFailure> {
    let stream = TcpStream::connect((target.host.as_str(), target.port))
        .await
        .map_err(|error| HttpFailure::Connect(error.to_string()))?;
    let no_http = |_error: hyper::Error| HttpFailure::NoHttp;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(no_http)?;
    // Ends with the connection, which this function owns through `sender`.
    let connection = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(connection));
    let body = serde_json::json!({
        "name": request.name, "http": request.http, "raft": request.raft,
    });
    let path = if request.replace { "?replace=true" } else { "" };
    let message = Request::post(format!("/api/cluster/members{path}"))
        .header("host", target.to_string())
        .header("content-type", "application/json")
        .body(Full::new(bytes::Bytes::from(body.to_string())))
        .map_err(|_invalid| HttpFailure::NoHttp)?;
    let response = sender.send_request(message).await.map_err(no_http)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES)
        .collect()
        .await;
    let body = body
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    drop(connection);
    if status.is_success() {
        return Ok(Said::Added);
    }
    Ok(match serde_json::from_slice::<Problem>(&body) {
        Ok(problem) => match problem.code {
            ErrorCode::NoLeader
            | ErrorCode::MembershipConflict
            | ErrorCode::ChangeUnfinished
            | ErrorCode::Starting
            | ErrorCode::Draining
            | ErrorCode::Overloaded => Said::Later(problem.detail),
            _ => Said::No(problem.detail),
        },
        Err(_no_problem) => Said::No(format!("it answers {status} and is no Conclave node")),
    })
}
