//! Tansu's API, as far as it is not the native one already.
//!
//! Origin: `/api/keys/{k}` with `-d value=…` (native), `/api/keys/{k}?stream=true[&children=true]` and
//! `/api/info` (here), `/api/locks/{l}` (native).
//!
//! Deviations: a key that expires is `deleted`, with `"expired":true`; a stream resumes by
//! `Last-Event-ID`; the id is the node's name; `connections` lists the other members; no `applications`,
//! which were the parts of an Erlang release; DELETE of a key is never recursive by itself.

use std::borrow::Cow;
use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use bytes::BytesMut;
use conclave_shared::{NodeStatus, Role};
use http::{HeaderMap, StatusCode};
use serde::Serialize;

use crate::events::Filter;
use crate::http::error::Failure;
use crate::http::params::Params;
use crate::http::state::Edge;
use crate::http::{sse, wire};
use crate::node::watch::{WatchEvent, WatchRequest};
use crate::state::{Change, ChangeSet, Key, Record};

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

/// The form of an entry that streams of this dialect share.
const FORM: usize = 2;

/// `GET /api/keys/{k}?stream=true[&children=true]`: the changes of a key, and of what lies
/// immediately below it.
pub(crate) async fn stream(
    edge: &Edge,
    headers: &HeaderMap,
    key: &Key,
    mut params: Params<'_>,
) -> Result<Response, Failure> {
    let children = params.is_on("children")?;
    let since = params.take_number("since")?;
    params.finish()?;
    let watch = edge.node_for_stream().await?.watch(WatchRequest {
        filter: Filter::key(key.to_string(), children),
        since: sse::resume_point(headers, since)?,
        reset_when_gone: false,
        leader: false,
        heartbeat: None,
    })?;
    Ok(sse::changes(edge.clone(), watch, Tansu))
}

/// How this dialect shows changes.
#[derive(Debug, Clone, Copy)]
struct Tansu;

impl sse::Shape for Tansu {
    fn form(&self) -> usize {
        FORM
    }

    fn write_change(&self, out: &mut BytesMut, set: &ChangeSet, change: &Change, id: Option<u64>) {
        match change {
            Change::Put { key, record, .. } => {
                let data = SetEvent {
                    category: "user",
                    key: format!("/{key}"),
                    value: value(record),
                };
                sse::event(out, "set", id, &data);
            }
            Change::Delete { key, previous } | Change::Expire { key, previous } => {
                let data = DeletedEvent {
                    category: "user",
                    deleted: value(previous),
                    key: format!("/{key}"),
                    expired: matches!(change, Change::Expire { .. }).then_some(true),
                };
                sse::event(out, "deleted", id, &data);
            }
            Change::Lock(_) | Change::Members { .. } => {
                debug_assert!(false, "{} was not asked for", set.revision);
            }
        }
    }

    fn write_event(&self, out: &mut BytesMut, event: &WatchEvent) {
        match event {
            // What the origin does not know: the connection is kept alive, and no more is said.
            WatchEvent::Hello(_) | WatchEvent::Progress(_) => sse::comment(out),
            WatchEvent::Lagged { resume, oldest } => sse::lagged(out, *resume, *oldest),
            WatchEvent::Changes(_)
            | WatchEvent::Reset { .. }
            | WatchEvent::State(_)
            | WatchEvent::Synced(_)
            | WatchEvent::Leader { .. }
            | WatchEvent::Heartbeat(..) => {}
        }
    }
}

#[derive(Debug, Serialize)]
struct SetEvent<'a> {
    category: &'static str,
    key: String,
    value: Value<'a>,
}

#[derive(Debug, Serialize)]
struct DeletedEvent<'a> {
    category: &'static str,
    deleted: Value<'a>,
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expired: Option<bool>,
}

/// A value as the origin shows it: JSON as JSON, anything else as text.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Value<'a> {
    Json(serde_json::Value),
    Text(Cow<'a, str>),
}

fn value(record: &Record) -> Value<'_> {
    if &*record.content_type == "application/json"
        && let Ok(json) = serde_json::from_slice(&record.value)
    {
        return Value::Json(json);
    }
    Value::Text(String::from_utf8_lossy(&record.value))
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
