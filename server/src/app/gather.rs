//! An empty directory with `-cluster` or `-discover`: asks the others until it is a member.

use std::time::Duration;

use anyhow::Context as _;

use super::candidates::{Candidates, Round};
use super::form::{self, Parts};
use super::start::Started;
use crate::config::{Config, Forming, HostPort};
use crate::formation::{Founding, Group, Seeking, Step, normalised};
use crate::raft::Member;
use crate::storage::{Formation, Identity, Storage};

/// Pause between two rounds.
const PAUSE: Duration = Duration::from_millis(250);
/// Longest try to be added; then it looks again who is there.
const TRY: Duration = Duration::from_secs(5);

/// Returns who belongs together, as the flags say it; `None` when nobody else does.
pub(super) fn group(config: &Config) -> Option<Group> {
    match &config.forming {
        Forming::Alone => None,
        Forming::Discover { expect } => Some(Group::Environment {
            name: config.env.clone(),
            expect: *expect,
        }),
        Forming::List(list) => {
            let all = list.iter().chain([&config.http]);
            let mut all: Vec<_> = all.map(|one| normalised(&one.to_string())).collect();
            all.sort_unstable();
            all.dedup();
            Some(Group::List(all))
        }
    }
}

fn candidates<'a>(parts: &'a Parts<'_>) -> Candidates<'a> {
    match (&parts.config.forming, parts.discovery) {
        (Forming::List(list), _) => {
            let own = normalised(&parts.config.http.to_string());
            let others = list
                .iter()
                .filter(|one| normalised(&one.to_string()) != own);
            Candidates::List {
                others: others.cloned().collect(),
                learnt: std::collections::BTreeMap::new(),
            }
        }
        (_, Some(discovery)) => Candidates::Found(discovery),
        // Forming alone never comes here.
        (_, None) => Candidates::List {
            others: Vec::new(),
            learnt: std::collections::BTreeMap::new(),
        },
    }
}

/// Looks for the others until this node is a member.
///
/// # Errors
///
/// The disk fails, or the node cannot start.
pub(super) async fn gather(
    parts: &Parts<'_>,
    group: Group,
    kept: Option<Seeking>,
    mut storage: Storage,
) -> anyhow::Result<Started> {
    let path = parts.directory.map(|directory| directory.path().to_owned());
    let sought = parts.presence.seek(group, kept, path).await;
    sought.context("cannot write to the data directory")?;
    parts.peers.wait("it is looking for its cluster");
    let mut candidates = candidates(parts);
    let mut last = String::new();
    loop {
        let Some((question, kept)) = parts.presence.question() else {
            anyhow::bail!("this node became a member by another way");
        };
        let Round { replies, problems } = candidates.ask(&question, &kept).await;
        let step = parts.presence.decide(replies).await;
        match step.context("cannot write to the data directory")? {
            Step::Again => continue,
            Step::Wait(text) => say(parts, &mut last, &text, &problems),
            Step::Found(founding) | Step::Adopt(founding) => {
                let identity = identity(parts, &kept, founding)?;
                form::keep(parts.directory, &identity)?;
                parts.presence.member(&identity);
                return form::start(parts, storage, identity).await;
            }
            Step::Join(members) => {
                let own = Some(kept.directory);
                match form::join(parts, storage, &targets(&members), TRY, own).await {
                    Ok(started) => return Ok(started),
                    Err(failed) => {
                        let text = format!("cannot join yet: {:#}", failed.error);
                        say(parts, &mut last, &text, &problems);
                        storage = match failed.storage {
                            Some(storage) => storage,
                            // Its id was never used: the next join brings another one.
                            None => return Box::pin(form::again(parts)).await,
                        };
                    }
                }
                parts.presence.seek_again();
                parts.peers.wait("it is looking for its cluster");
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Tells the log and the HTTP port what this node waits for, when that has changed.
fn say(parts: &Parts<'_>, last: &mut String, text: &str, problems: &[String]) {
    let text = match problems {
        [] => text.to_owned(),
        problems => format!("{text}; waiting for: {}", problems.join("; ")),
    };
    if text != *last {
        tracing::info!("no cluster yet: {text}");
        parts.edge.set_starting(text.clone());
        *last = text;
    }
}

fn targets(members: &[Member]) -> Vec<HostPort> {
    let targets = members.iter().filter_map(|member| member.http.parse().ok());
    targets.collect()
}

fn identity(parts: &Parts<'_>, kept: &Seeking, founding: Founding) -> anyhow::Result<Identity> {
    let founder = founding.founder(kept.directory);
    let id = founder.context("this directory is no founder")?.id;
    let names: Vec<_> = founding
        .founders
        .iter()
        .map(|f| f.member.name.as_str())
        .collect();
    tracing::info!(
        cluster = %founding.cluster,
        "forming cluster {} of {}", founding.cluster, names.join(", ")
    );
    Ok(Identity {
        cluster: founding.cluster,
        id,
        name: parts.config.name.clone(),
        formation: Formation::Formed,
        directory: Some(kept.directory),
        founding: Some(founding),
        unconfirmed: false,
    })
}
