//! Status and membership.

use axum::extract::{Request, State};
use axum::response::Response;
use conclave_shared::cluster::MemberAction;
use conclave_shared::limits;
use http::{StatusCode, Uri};
use serde::{Deserialize, Serialize};

use crate::http::error::Failure;
use crate::http::params::{Params, decode_path};
use crate::http::state::Edge;
use crate::http::{body, members, wire};
use crate::node::{ChangeRequest, JoinRequest, Target};

/// Prefix of the routes that have a member's name in the path.
const MEMBERS: &str = "/api/cluster/members/";

/// `GET /api/status`: this node's own view.
pub(crate) async fn status(State(edge): State<Edge>) -> Result<Response, Failure> {
    wire::json(StatusCode::OK, &edge.node()?.status())
}

/// `GET /api/cluster`: every member as this node sees it.
pub(crate) async fn cluster(State(edge): State<Edge>) -> Result<Response, Failure> {
    wire::json(StatusCode::OK, &edge.node()?.cluster().await)
}

#[derive(Debug, Serialize)]
struct Here {
    node: String,
    http: String,
    raft: String,
    /// Null while the node has no cluster.
    cluster_id: Option<String>,
    /// Whom the node waits for; null when for nobody.
    waiting_for: Option<String>,
}

/// `GET /api/cluster/here`: who this node is and what it waits for, also while it starts. Nodes that
/// are told each other's HTTP addresses learn the others here.
pub(crate) async fn here(State(edge): State<Edge>) -> Result<Response, Failure> {
    let status = edge.node().ok().map(|node| node.status());
    let whoami = edge.whoami();
    let here = Here {
        node: whoami.name.clone(),
        http: edge.http_address().to_owned(),
        raft: whoami.raft.clone(),
        waiting_for: edge.waiting(status.as_ref()),
        cluster_id: status.map(|status| status.cluster_id),
    };
    wire::json(StatusCode::OK, &here)
}

#[derive(Debug, Deserialize)]
struct NewMember {
    name: String,
    http: String,
    raft: String,
}

/// `POST /api/cluster/members {"name","http","raft"}`.
pub(crate) async fn add_member(
    State(edge): State<Edge>,
    request: Request,
) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    let mut params = Params::parse(parts.uri.query())?;
    let replace = params.is_on("replace")?;
    params.finish()?;
    let member: NewMember = body::read_json(body, edge.options().body_idle_timeout).await?;
    let NewMember { name, http, raft } = member;
    let join = JoinRequest {
        name,
        http,
        raft,
        replace,
    };
    members::check(&join)?;
    let joined = edge.node_for_write()?.add_member(join).await?;
    wire::json(StatusCode::CREATED, &joined)
}

/// `DELETE /api/cluster/members/{name}`.
pub(crate) async fn remove(State(edge): State<Edge>, uri: Uri) -> Result<Response, Failure> {
    change(&edge, &uri, MemberAction::Remove).await
}

/// `POST /api/cluster/members/{name}/promote`.
pub(crate) async fn promote(State(edge): State<Edge>, uri: Uri) -> Result<Response, Failure> {
    change(&edge, &uri, MemberAction::Promote).await
}

async fn change(edge: &Edge, uri: &Uri, action: MemberAction) -> Result<Response, Failure> {
    let mut params = Params::parse(uri.query())?;
    let dry_run = params.is_on("dry_run")?;
    // A promotion has nothing that could be forced.
    let force = action == MemberAction::Remove && params.is_on("force")?;
    params.finish()?;
    let target = Target::Name(member_name(uri.path())?);
    let request = ChangeRequest {
        action,
        target,
        force,
        dry_run,
    };
    let node = match dry_run {
        true => edge.node()?,
        false => edge.node_for_write()?,
    };
    let plan = node.change_member(request).await?;
    wire::json(StatusCode::OK, &plan)
}

fn member_name(path: &str) -> Result<String, Failure> {
    let rest = path.strip_prefix(MEMBERS).unwrap_or_default();
    let name = decode_path(rest.strip_suffix("/promote").unwrap_or(rest))?;
    if name.is_empty() || name.len() > limits::NODE_NAME_BYTES {
        let most = limits::NODE_NAME_BYTES;
        return Err(Failure::invalid(format!(
            "a node name has 1 to {most} bytes"
        )));
    }
    Ok(name.into_owned())
}

#[derive(Debug, Default, Deserialize)]
struct Transfer {
    to: Option<String>,
}

#[derive(Debug, Serialize)]
struct Transferred {
    leader: String,
}

/// `POST /api/cluster/transfer`, optionally `{"to":"<name>"}`.
pub(crate) async fn transfer(
    State(edge): State<Edge>,
    request: Request,
) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    Params::parse(parts.uri.query())?.finish()?;
    let bytes = body::read(body, edge.options().body_idle_timeout).await?;
    let transfer: Transfer = if bytes.is_empty() {
        Transfer::default()
    } else {
        body::parse_json(&bytes)?
    };
    if transfer
        .to
        .as_ref()
        .is_some_and(|name| name.len() > limits::NODE_NAME_BYTES)
    {
        return Err(Failure::invalid("`to` is longer than a node name can be"));
    }
    let leader = edge.node_for_write()?.transfer_leader(transfer.to).await?;
    wire::json(StatusCode::OK, &Transferred { leader })
}

#[derive(Debug, Serialize)]
struct Snapshot {
    snapshot_index: u64,
}

/// `POST /api/cluster/snapshot`: builds a snapshot of this node's state now.
pub(crate) async fn snapshot(State(edge): State<Edge>, uri: Uri) -> Result<Response, Failure> {
    Params::parse(uri.query())?.finish()?;
    let snapshot_index = edge.node()?.snapshot().await?;
    wire::json(StatusCode::OK, &Snapshot { snapshot_index })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_members_name_is_the_rest_of_the_path() {
        let name = |path: &str| member_name(&format!("{MEMBERS}{path}")).ok();
        assert_eq!(name("n1").as_deref(), Some("n1"));
        assert_eq!(
            name("localhost%3A12000/promote").as_deref(),
            Some("localhost:12000")
        );
        assert_eq!(name("a%2Fb").as_deref(), Some("a/b"));
        for path in ["", "/promote", "%ff", &"n".repeat(129)] {
            assert_eq!(name(path), None, "{path}");
        }
    }
}
