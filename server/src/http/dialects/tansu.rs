//! Tansu's API, as far as it is not the native one already.
//!
//! Origin: `/api/keys/{k}` with `-d value=…` (native), `/api/locks/{l}` and `?stream=true` (not
//! built yet), `/api/info` (here).
//!
//! Deviations: the id is the node's name; `connections` lists the other members; no `applications`,
//! which were the parts of an Erlang release; DELETE of a key is never recursive by itself.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use conclave_shared::{NodeStatus, Role};
use http::StatusCode;
use serde::Serialize;

use crate::http::error::Failure;
use crate::http::state::Edge;
use crate::http::wire;

#[derive(Debug, Serialize)]
struct Info<'a> {
    consensus: Consensus<'a>,
    version: Version,
}

#[derive(Debug, Serialize)]
struct Consensus<'a> {
    id: &'a str,
    role: Role,
    term: u64,
    commit_index: u64,
    last_applied: u64,
    leader: Option<Leader<'a>>,
    cluster: &'a str,
    env: &'a str,
    connections: BTreeMap<&'a str, Connection<'a>>,
}

#[derive(Debug, Serialize)]
struct Leader<'a> {
    id: &'a str,
}

#[derive(Debug, Serialize)]
struct Connection<'a> {
    host: &'a str,
    port: u16,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Version {
    major: u64,
    minor: u64,
    patch: u64,
}

/// `GET /api/info`.
pub(crate) async fn info(State(edge): State<Edge>) -> Result<Response, Failure> {
    let status = edge.node()?.status();
    wire::json(StatusCode::OK, &render(&status))
}

fn render(status: &NodeStatus) -> Info<'_> {
    let others = status
        .members
        .iter()
        .filter(|member| member.node != status.node);
    let connections = others.map(|member| {
        let (host, port) = member.http.rsplit_once(':').unwrap_or((&member.http, ""));
        (
            &*member.node,
            Connection {
                host,
                port: port.parse().unwrap_or(0),
            },
        )
    });
    Info {
        consensus: Consensus {
            id: &status.node,
            role: status.role,
            term: status.term,
            commit_index: status.commit_index,
            last_applied: status.applied_index,
            leader: status.leader.as_deref().map(|id| Leader { id }),
            cluster: &status.cluster_id,
            env: &status.env,
            connections: connections.collect(),
        },
        version: version(&status.version),
    }
}

fn version(text: &str) -> Version {
    let core = text.split(['-', '+']).next().unwrap_or_default();
    let mut numbers = core.split('.').map(|part| part.parse().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    Version {
        major: next(),
        minor: next(),
        patch: next(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_three_numbers() {
        assert_eq!(
            version("1.22.3-alpha.4+build"),
            Version {
                major: 1,
                minor: 22,
                patch: 3
            }
        );
        assert_eq!(version("x"), Version::default());
    }
}
