//! `/livez`, `/readyz` and `/metrics`. Probes answer at once and ask nobody.

use std::fmt::Write as _;

use axum::extract::State;
use axum::response::Response;
use conclave_shared::{NodeStatus, Role};
use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode, Uri};

use super::error::Failure;
use super::params::Params;
use super::state::Edge;
use super::wire;
use crate::metrics::CONTENT_TYPE;

/// 200 as long as the process can answer at all. Never needs a quorum or a node.
pub(crate) async fn livez(uri: Uri) -> Result<Response, Failure> {
    answer(&uri, &[Check::passed("process")])
}

/// 200 when this node can serve every request now.
pub(crate) async fn readyz(State(edge): State<Edge>, uri: Uri) -> Result<Response, Failure> {
    let mut checks = Vec::with_capacity(4);
    checks.push(if edge.is_draining() {
        Check::failed("accepting", "the node is stopping")
    } else {
        Check::passed("accepting")
    });
    match edge.node() {
        Err(error) => checks.push(Check::failed("started", error.to_string())),
        Ok(node) => {
            checks.push(Check::passed("started"));
            let status = node.status();
            checks.extend(of_status(&status, edge.waiting(Some(&status))));
        }
    }
    answer(&uri, &checks)
}

/// The node's metrics for Prometheus; those of the process alone before the node is up.
pub(crate) async fn metrics(State(edge): State<Edge>) -> Result<Response, Failure> {
    let status = edge.node().ok().map(|node| node.status());
    let text = edge.metrics().exposition(status);
    let text = text.map_err(|error| Failure::internal(&error))?;
    let mut response = wire::text(StatusCode::OK, text);
    let format = HeaderValue::from_static(CONTENT_TYPE);
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, format);
    Ok(response)
}

#[derive(Debug)]
struct Check {
    name: &'static str,
    failure: Option<String>,
}

impl Check {
    const fn passed(name: &'static str) -> Self {
        Self {
            name,
            failure: None,
        }
    }

    fn failed(name: &'static str, why: impl Into<String>) -> Self {
        Self {
            name,
            failure: Some(why.into()),
        }
    }
}

fn of_status(status: &NodeStatus, waiting: Option<String>) -> [Check; 2] {
    let leader = match waiting {
        None => Check::passed("leader"),
        Some(why) => Check::failed("leader", why),
    };
    let role = match status.role {
        Role::Leader | Role::Follower | Role::Learner => Check::passed("role"),
        Role::Candidate => Check::failed("role", "an election is under way"),
        Role::Removed => Check::failed("role", "the node is no member of its cluster any more"),
    };
    [leader, role]
}

fn answer(uri: &Uri, checks: &[Check]) -> Result<Response, Failure> {
    let is_verbose = Params::parse(uri.query())?.is_on("verbose")?;
    let is_fine = checks.iter().all(|check| check.failure.is_none());
    if is_fine && !is_verbose {
        return Ok(wire::text(StatusCode::OK, "ok\n"));
    }
    let mut text = String::new();
    for check in checks {
        let line = match &check.failure {
            None => writeln!(text, "[+]{} ok", check.name),
            Some(why) => writeln!(text, "[-]{} failed: {why}", check.name),
        };
        debug_assert!(line.is_ok(), "writing to a String cannot fail");
    }
    if is_fine {
        return Ok(wire::text(StatusCode::OK, text));
    }
    let mut response = wire::text(StatusCode::SERVICE_UNAVAILABLE, text);
    response
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from_static("1"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_says_which_check_failed() {
        let uri = "/readyz?verbose".parse().unwrap();
        let fine = answer(&uri, &[Check::passed("a")]).unwrap();
        assert_eq!(fine.status(), 200);
        let failed = [Check::passed("a"), Check::failed("b", "why")];
        let response = answer(&uri, &failed).unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()[RETRY_AFTER]),
            (503, &"1".parse().unwrap())
        );
        assert!(answer(&"/livez?verbose=maybe".parse().unwrap(), &[]).is_err());
    }
}
