//! Asking a cluster to be added, through any member's HTTP or Raft address.

use std::time::{Duration, Instant};

use anyhow::bail;
use conclave_shared::{ErrorCode, Problem};

use super::client::{self, HttpFailure};
use crate::clock;
use crate::config::{Config, HostPort};
use crate::network::{AskError, ask_to_join};
use crate::node::{JoinRequest, ServiceError};

/// Pause after nobody has answered.
const PAUSE: Duration = Duration::from_millis(250);
/// Longest wait for one member's answer; it includes adding this node.
const ANSWER: Duration = Duration::from_secs(30);

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
pub(super) async fn ask(
    config: &Config,
    targets: &[HostPort],
    limit: Duration,
) -> anyhow::Result<()> {
    let deadline = clock::now() + limit;
    let request = JoinRequest {
        name: config.name.clone(),
        http: config.http.to_string(),
        raft: config.raft.to_string(),
        // A node without a directory is a new member at every start.
        replace: config.data_dir.is_none(),
    };
    let mut last = String::new();
    loop {
        for target in targets {
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
            bail!(
                "could not join within {limit:?} through {}: {last}",
                list(targets)
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
                    | ServiceError::ChangeUnfinished(_)
                    | ServiceError::OutcomeUnknown { .. }),
                )) => Said::Later(error.to_string()),
                Err(AskError::Refused(error)) => Said::No(error.to_string()),
            }
        }
    }
}

/// `POST /api/cluster/members` on a member.
async fn ask_http(target: &HostPort, request: &JoinRequest) -> Result<Said, HttpFailure> {
    let body = serde_json::json!({
        "name": request.name, "http": request.http, "raft": request.raft,
    });
    let query = if request.replace { "?replace=true" } else { "" };
    let path = format!("/api/cluster/members{query}");
    let (status, body) = client::send(target, &path, Some(&body)).await?;
    if status.is_success() {
        return Ok(Said::Added);
    }
    Ok(match serde_json::from_slice::<Problem>(&body) {
        Ok(problem) => match problem.code {
            ErrorCode::NoLeader
            | ErrorCode::MembershipConflict
            | ErrorCode::ChangeUnfinished
            | ErrorCode::OutcomeUnknown
            | ErrorCode::Starting
            | ErrorCode::Draining
            | ErrorCode::Overloaded => Said::Later(problem.detail),
            _ => Said::No(problem.detail),
        },
        Err(_no_problem) => Said::No(format!("it answers {status} and is no Conclave node")),
    })
}
