//! Where other nodes of the cluster to be may be found: a list of HTTP addresses, or mDNS.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::{StreamExt, stream};
use serde::Deserialize;

use super::client::{self, HttpFailure};
use crate::config::HostPort;
use crate::discovery::Discovery;
use crate::formation::{Group, Question, Reply, Seeking, Standing, normalised};
use crate::network::ask_forming;

/// Longest wait for one node's answer.
const ANSWER: Duration = Duration::from_secs(1);
/// Questions under way at once.
const AT_ONCE: usize = 16;

/// Where the candidates come from.
pub(super) enum Candidates<'a> {
    List {
        others: Vec<HostPort>,
        /// Raft addresses that were learnt.
        learnt: BTreeMap<String, String>,
    },
    Found(&'a Discovery),
}

/// What came of asking everybody once.
#[derive(Debug, Default)]
pub(super) struct Round {
    pub(super) replies: Vec<Reply>,
    /// Who does not answer, or not as it should; for a person.
    pub(super) problems: Vec<String>,
}

/// `GET /api/cluster/here`.
#[derive(Debug, Deserialize)]
struct Here {
    raft: String,
}

impl Candidates<'_> {
    /// Asks everybody once, and whoever this directory is pledged to.
    pub(super) async fn ask(&mut self, question: &Question, kept: &Seeking) -> Round {
        let mut round = Round::default();
        // What to call the node, where to ask it.
        let mut targets: BTreeMap<String, String> = BTreeMap::new();
        match self {
            Self::Found(discovery) => {
                let found = discovery.found();
                targets.extend(found.into_iter().map(|a| (a.raddr, a.id)));
            }
            Self::List { others, learnt } => {
                let is_unknown = |other: &&HostPort| !learnt.contains_key(&other.to_string());
                let unknown = others.iter().filter(is_unknown);
                let learn = unknown.map(|other| async move { (other, learn(other).await) });
                let learn = stream::iter(learn).buffer_unordered(AT_ONCE);
                let results: Vec<_> = learn.collect().await;
                for (other, result) in results {
                    match result {
                        Ok(raft) => drop(learnt.insert(other.to_string(), raft)),
                        Err(problem) => round.problems.push(problem),
                    }
                }
                targets.extend(
                    learnt
                        .iter()
                        .map(|(http, raft)| (raft.clone(), http.clone())),
                );
            }
        }
        if !kept.leads() {
            let Pledged { raft, name } = Pledged::of(kept);
            targets.entry(raft).or_insert(name);
        }
        let asks = targets.into_iter().map(|(raft, name)| async move {
            let reply = ask_forming(&raft, question, ANSWER).await;
            (raft, name, reply)
        });
        let asks = stream::iter(asks).buffer_unordered(AT_ONCE);
        let results: Vec<_> = asks.collect().await;
        for (raft, name, result) in results {
            match result {
                Ok(reply) => self.take(question, &name, reply, &mut round),
                Err(error) => {
                    round
                        .problems
                        .push(format!("{name} does not answer at {raft} ({error})"));
                    self.forget(&raft);
                }
            }
        }
        round.problems.extend(several_clusters(&round.replies));
        round.problems.sort_unstable();
        round
    }

    /// It may have been started anew with another Raft address.
    fn forget(&mut self, raft: &str) {
        if let Self::List { learnt, .. } = self {
            learnt.retain(|_, known| known != raft);
        }
    }

    fn take(&self, question: &Question, name: &str, reply: Reply, round: &mut Round) {
        if reply.from == Some(question.from) {
            return; // this node under another name
        }
        let Reply { member, .. } = &reply;
        let problem = match &reply.standing {
            Standing::Elsewhere(what) => Some(format!("`{}` at {name}: {what}", member.name)),
            Standing::Seeking { group, .. } => differs(question, &reply, group),
            Standing::Member { .. } => None,
        };
        let is_listed = !matches!(self, Self::List { .. })
            || [normalised(name), name.to_owned()].contains(&normalised(&member.http))
            || member.raft == name;
        let problem = problem.or_else(|| {
            let http = &member.http;
            (!is_listed).then(|| format!("the node at {name} calls itself {http}: list it so"))
        });
        round.problems.extend(problem);
        round.replies.push(reply);
    }
}

struct Pledged {
    raft: String,
    name: String,
}

impl Pledged {
    fn of(kept: &Seeking) -> Self {
        Self {
            raft: kept.pledge.raft.clone(),
            name: kept.pledge.name.clone(),
        }
    }
}

/// Says so when the members that answer do not belong together.
fn several_clusters(replies: &[Reply]) -> Option<String> {
    let member = |reply: &Reply| match &reply.standing {
        Standing::Member { cluster, .. } => Some((cluster.to_string(), reply.member.name.clone())),
        Standing::Seeking { .. } | Standing::Elsewhere(_) => None,
    };
    let clusters: BTreeMap<String, String> = replies.iter().filter_map(member).collect();
    let names: Vec<_> = clusters
        .iter()
        .map(|(cluster, name)| format!("`{name}` in {cluster}"))
        .collect();
    let text = format!("they belong to several clusters: {}", names.join(", "));
    (names.len() > 1).then_some(text)
}

/// Says how an empty node's group differs from the asking one's.
fn differs(question: &Question, reply: &Reply, theirs: &Group) -> Option<String> {
    let name = &reply.member.name;
    match (question.group.as_ref()?, theirs) {
        (ours, theirs) if ours == theirs => None,
        (Group::List(ours), Group::List(theirs)) => {
            let [ours, theirs] = [ours, theirs].map(|list| list.iter().collect::<BTreeSet<_>>());
            let text = |list: Vec<&&String>| {
                let words: Vec<&str> = list.iter().map(|word| word.as_str()).collect();
                words.join(", ")
            };
            let more = text(theirs.difference(&ours).collect());
            let less = text(ours.difference(&theirs).collect());
            Some(format!(
                "`{name}` has another -cluster list (only there: [{more}]; only here: [{less}])"
            ))
        }
        (Group::Environment { name: env, .. }, Group::Environment { expect, .. }) => Some(format!(
            "`{name}` expects {expect} nodes in environment `{env}`: -expect must be the same"
        )),
        _ => Some(format!(
            "`{name}` forms its cluster in another way (-cluster or -discover)"
        )),
    }
}

/// Asks a node for its Raft address.
async fn learn(other: &HostPort) -> Result<String, String> {
    let answer = tokio::time::timeout(ANSWER, client::send(other, "/api/cluster/here", None)).await;
    let (status, body) = match answer {
        Err(_elapsed) => return Err(format!("{other} does not answer in time")),
        Ok(Err(HttpFailure::Connect(error))) => {
            return Err(format!("{other} does not answer ({error})"));
        }
        Ok(Err(HttpFailure::NoHttp)) => return Err(format!("{other} does not speak HTTP")),
        Ok(Ok(answer)) => answer,
    };
    let here: Option<Here> = serde_json::from_slice(&body).ok();
    match here.filter(|here| !here.raft.is_empty()) {
        Some(here) => Ok(here.raft),
        None => Err(format!(
            "{other} answers {status} and is no Conclave node, or of another version"
        )),
    }
}
