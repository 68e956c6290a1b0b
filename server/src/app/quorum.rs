//! A running node without a leader says whom it waits for.

use std::time::{Duration, Instant};

use futures::future::join_all;

use crate::clock;
use crate::formation::{Question, Standing};
use crate::http::Edge;
use crate::network::ask_forming;
use crate::node::Node;
use crate::raft::Member;

/// An election takes about as long; nobody needs to read of that.
const PATIENCE: Duration = Duration::from_secs(4);
/// Pause between two looks.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest wait for one member's answer.
const ANSWER: Duration = Duration::from_secs(1);

/// Looks for as long as it is polled.
pub(super) async fn watch(node: Node, edge: Edge, me: Member) {
    let mut since: Option<Instant> = None;
    let mut last = String::new();
    loop {
        tokio::time::sleep(PAUSE).await;
        let status = node.status();
        if status.leader.is_some() {
            since = None;
            last.clear();
            edge.set_waiting(None);
            continue;
        }
        if clock::since(*since.get_or_insert_with(clock::now)) < PATIENCE {
            continue;
        }
        let others: Vec<_> = status
            .members
            .iter()
            .filter(|member| member.id != status.id && member.voter)
            .map(|member| ask(&me, &member.node, &member.raft, &status.cluster_id))
            .collect();
        let voters = others.len() + 1;
        let away: Vec<String> = join_all(others).await.into_iter().flatten().collect();
        if away.is_empty() {
            edge.set_waiting(None);
            continue;
        }
        let text = format!(
            "of {voters} voters {} are here, and {} are needed; waiting for {}",
            voters - away.len(),
            voters / 2 + 1,
            away.join("; ")
        );
        if text != last {
            tracing::warn!("no leader: {text}");
            last.clone_from(&text);
        }
        edge.set_waiting(Some(text));
    }
}

/// Returns why a member is not here; `None` when it is.
async fn ask(me: &Member, name: &str, raft: &str, cluster: &str) -> Option<String> {
    let question = Question::who(me.clone());
    match ask_forming(raft, &question, ANSWER).await {
        Err(error) => Some(format!("`{name}` at {raft} (no answer: {error})")),
        Ok(reply) => match reply.standing {
            Standing::Member { cluster: other, .. } if other.to_string() == cluster => None,
            Standing::Member { cluster: other, .. } => {
                Some(format!("`{name}` at {raft} (it is in cluster {other} now)"))
            }
            Standing::Seeking { .. } => Some(format!(
                "`{name}` at {raft} (its directory is empty: it can only join again once there is \
                 a leader)"
            )),
            Standing::Elsewhere(what) => Some(format!("`{name}` at {raft} ({what})")),
        },
    }
}
