//! Moving a node into another cluster while the process runs: `POST /cluster/join`.
//!
//! Only a node that is alone in its cluster and holds nothing moves. Its old files are set aside
//! first and brought back when the other cluster does not take it.

use std::time::Duration;

use anyhow::Context as _;
use conclave_shared::ReadLevel;

use super::client::{self, HttpFailure};
use super::form::{self, Parts};
use super::start::Started;
use crate::config::HostPort;
use crate::formation::{Question, Standing};
use crate::network::ask_forming;
use crate::node::{Joined, Node, ReadOptions, ServiceError};
use crate::storage::DataDirectory;

/// Longest wait for one peer's answer.
const ANSWER: Duration = Duration::from_secs(2);

type Outcome = Result<Joined, ServiceError>;

/// Moves the node, or leaves it as it was; returns the node that runs now.
///
/// # Errors
///
/// The disk fails: there is no node any more.
pub(super) async fn carry_out(
    parts: &Parts<'_>,
    started: Started,
    peers: &[String],
) -> anyhow::Result<(Started, Outcome)> {
    let targets = match check(parts, &started.node, peers).await {
        Ok(targets) => targets,
        Err(refusal) => return Ok((started, Err(refusal))),
    };
    let node = started.node.clone();
    let own = parts.presence.directory();
    tracing::info!("leaving the own cluster to join {}", peers.join(", "));
    let text = format!("it is joining the cluster of {}", peers.join(", "));
    parts.edge.detach(text.clone());
    parts.peers.wait("it is joining another cluster");
    parts.presence.elsewhere(&text);
    started.stop().await;
    // What came in between the look and the stop counts: nothing is written any more.
    if let Err(refusal) = may_go(&node) {
        let started = form::again(parts).await?;
        return Ok((started, Err(refusal)));
    }
    drop(node);
    let left = match parts.directory {
        Some(directory) => Some(directory.set_aside().context("cannot set files aside")?),
        None => None,
    };
    let found = form::find(parts.config, parts.directory, parts.metrics).await?;
    let storage = found.storage;
    let limit = parts.config.join_timeout;
    match form::join(parts, storage, &targets, limit, own).await {
        Ok(started) => {
            let joined = joined(&started.node);
            Ok((started, Ok(joined)))
        }
        Err(failed) => {
            drop(failed.storage);
            parts.peers.wait("it is going back to its own cluster");
            if let (Some(directory), Some(left)) = (parts.directory, left) {
                directory
                    .bring_back(&left)
                    .context("cannot bring files back")?;
            }
            let refusal = ServiceError::MembershipConflict(format!("{:#}", failed.error));
            Ok((form::again(parts).await?, Err(refusal)))
        }
    }
}

/// Goes back to the own cluster where a move was cut off; nothing of the other one was used.
pub(super) fn undo(directory: &DataDirectory) -> anyhow::Result<bool> {
    let undone = directory.undo_move();
    undone.context("cannot undo a move to another cluster")
}

fn joined(node: &Node) -> Joined {
    let status = node.status();
    Joined {
        id: status.id,
        cluster_id: status.cluster_id,
        leader: status.leader.unwrap_or_default(),
    }
}

/// Checks that nothing is lost when the node goes.
fn may_go(node: &Node) -> Result<(), ServiceError> {
    // What it has is the copy of a cluster that goes on without it.
    if node.is_removed() {
        return Ok(());
    }
    let status = node.status();
    let refuse = |why: String| Err(ServiceError::MembershipConflict(why));
    if status.members.len() > 1 {
        let others = status.members.len() - 1;
        return refuse(format!(
            "this node's cluster has {others} other members: leave it first"
        ));
    }
    match (status.keys, status.locks) {
        (0, 0) => Ok(()),
        (keys, locks) => refuse(format!(
            "this node holds {keys} keys and {locks} locks, which joining another cluster would lose"
        )),
    }
}

/// Checks this node and the peers before anything is touched; returns whom to ask.
async fn check(
    parts: &Parts<'_>,
    node: &Node,
    peers: &[String],
) -> Result<Vec<HostPort>, ServiceError> {
    if !node.is_removed() {
        // After a start the newest writes may be in the log only.
        node.view(&ReadOptions::level(ReadLevel::Consistent))
            .await?;
    }
    may_go(node)?;
    let own = node.status().cluster_id;
    let mut targets = Vec::new();
    let mut problem = String::new();
    for peer in peers {
        let target: HostPort = peer
            .parse()
            .map_err(|error: crate::config::InvalidAddress| {
                ServiceError::InvalidArgument(error.to_string())
            })?;
        match who(parts, &target).await {
            Ok(Some(cluster)) if cluster != own => targets.push(target),
            Ok(Some(_)) => problem = format!("{peer} is a member of this node's own cluster"),
            Ok(None) => problem = format!("{peer} has no cluster itself"),
            Err(error) => problem = format!("{peer}: {error}"),
        }
    }
    match targets.is_empty() {
        true => Err(ServiceError::MembershipConflict(problem)),
        false => Ok(targets),
    }
}

/// Returns the cluster of the node at an HTTP or Raft address.
async fn who(parts: &Parts<'_>, target: &HostPort) -> Result<Option<String>, String> {
    #[derive(serde::Deserialize)]
    struct Here {
        raft: String,
    }
    let asked = client::send(target, "/api/cluster/here", None);
    let raft = match tokio::time::timeout(ANSWER, asked).await {
        Err(_elapsed) => return Err("it does not answer in time".to_owned()),
        Ok(Err(HttpFailure::Connect(error))) => return Err(error),
        Ok(Err(HttpFailure::NoHttp)) => target.to_string(),
        Ok(Ok((status, body))) => match serde_json::from_slice::<Here>(&body) {
            Ok(here) => here.raft,
            Err(_other) => return Err(format!("it answers {status} and is no Conclave node")),
        },
    };
    let question = Question::who(form::member(parts.config));
    let reply = ask_forming(&raft, &question, ANSWER).await;
    match reply.map_err(|error| error.to_string())?.standing {
        Standing::Member { cluster, .. } => Ok(Some(cluster.to_string())),
        Standing::Seeking { .. } | Standing::Elsewhere(_) => Ok(None),
    }
}
