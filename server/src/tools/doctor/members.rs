//! The other members: whether they answer, which cluster they are of, what their clocks show.

use std::collections::BTreeSet;
use std::time::Duration;

use conclave_shared::NodeStatus;

use super::Finding;
use super::directory::Place;
use super::network::targets;
use crate::clock;
use crate::config::{Config, HostPort};
use crate::tools::client;

/// Longest wait for a member.
const ANSWER: Duration = Duration::from_secs(2);
/// Wall clocks are for display and for the age of history only, so that nothing depends on less.
const SKEW_MS: i128 = 1_000;

/// A member's status, and how far its wall clock is ahead, in milliseconds, give or take.
struct Asked {
    status: NodeStatus,
    ahead_ms: i128,
    uncertain_ms: i128,
}

async fn ask(node: &HostPort) -> Result<Asked, String> {
    let (before, began) = (clock::wall_ms(), clock::now());
    let answer = client::get(node, "/api/status", ANSWER).await?;
    let round = clock::millis(clock::since(began));
    if answer.status != 200 {
        return Err(answer.refusal().await);
    }
    let body = answer.whole().await?;
    let status: NodeStatus = serde_json::from_slice(&body)
        .map_err(|_other| "what answers is no Conclave node".to_owned())?;
    Ok(Asked {
        ahead_ms: i128::from(status.now_ms) - i128::from(before + round / 2),
        uncertain_ms: i128::from(round / 2 + 1),
        status,
    })
}

/// Returns the status of whoever has this node's HTTP address.
pub(super) async fn running_here(config: &Config) -> Option<NodeStatus> {
    ask(&config.http).await.ok().map(|asked| asked.status)
}

/// Asks everybody who is known: `-join`, what a running node knows, and what the last snapshot has.
pub(super) async fn examine(
    config: &Config,
    running: Option<&NodeStatus>,
    place: &Place,
) -> Vec<Finding> {
    let mut known = BTreeSet::new();
    known.extend(targets(config).iter().map(ToString::to_string));
    known.extend(
        running
            .iter()
            .flat_map(|node| node.members.iter().map(|one| one.http.clone())),
    );
    known.extend(place.members.iter().map(|member| member.http.clone()));
    known.remove(&config.http.to_string());

    let needs_one = place.identity.is_none() && !targets(config).is_empty();
    let own = match (&place.identity, running) {
        (Some(identity), _) => Some(identity.cluster.to_string()),
        (None, Some(node)) if node.node == config.name => Some(node.cluster_id.clone()),
        (None, _) => None,
    };
    let mut findings = Vec::new();
    let mut answered = false;
    for address in known {
        let what = format!("member {address}");
        let asked = match address.parse() {
            Ok(node) => ask(&node).await,
            Err(error) => Err(format!("{error}")),
        };
        answered |= asked.is_ok();
        findings.push(match asked {
            Err(reason) => Finding::warn(
                what,
                format!("its clock cannot be compared: {reason} (a Raft address does not tell)"),
            ),
            Ok(asked) => judge(what, &asked, own.as_deref()),
        });
    }
    if needs_one && !answered {
        let text = "none of -join answers over HTTP; without one of them this node cannot start";
        findings.push(Finding::warn("members", text));
    }
    findings
}

fn judge(what: String, asked: &Asked, own: Option<&str>) -> Finding {
    let Asked {
        status,
        ahead_ms,
        uncertain_ms,
    } = asked;
    let text = format!(
        "node `{}`, version {}, clock {ahead_ms:+} ms (give or take {uncertain_ms} ms)",
        status.node, status.version
    );
    if own.is_some_and(|own| own != status.cluster_id) {
        let cluster = &status.cluster_id;
        return Finding::fail(what, format!("{text}: it is of another cluster, {cluster}"));
    }
    if status.version != env!("CARGO_PKG_VERSION") {
        let own = env!("CARGO_PKG_VERSION");
        return Finding::warn(what, format!("{text}: this program is {own}"));
    }
    if ahead_ms.abs() > SKEW_MS + uncertain_ms {
        return Finding::warn(
            what,
            format!("{text}: synchronise the clocks; times shown and the age of history are wrong"),
        );
    }
    Finding::ok(what, text)
}
