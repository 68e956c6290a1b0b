//! The rules by which an empty directory pledges, is released, forms, adopts or joins.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::{Duration, Instant};

use conclave_shared::limits;

use super::{
    DirectoryId, Founder, Founding, Group, Pledge, Question, Reply, Seeking, Standing, normalised,
};
use crate::raft::{ClusterId, Member, NodeId};

/// A pledge counts while its directory was heard this long ago: the cluster shall have its quorum.
const FRESH: Duration = Duration::from_secs(3);
/// Raft id of the first founder; the others have the next ones.
const FIRST_ID: NodeId = 1;
/// Pledges remembered at once.
const PLEDGES: usize = 256;

/// Keeps what a directory must remember. What it answers `Ok` to is durable.
pub trait Ledger: Send {
    /// Replaces what is kept.
    ///
    /// # Errors
    ///
    /// The disk fails; the node must not go on.
    fn keep(&mut self, seeking: &Seeking) -> io::Result<()>;
}

/// What a round of questions led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Ask again later; the text says who is waited for.
    Wait(String),
    /// Something has changed: ask again at once.
    Again,
    /// This directory has formed the cluster. To be made durable, and then told to others.
    Found(Founding),
    /// Another one has, with this directory as a founder.
    Adopt(Founding),
    /// There is a cluster: ask these members to be added.
    Join(Vec<Member>),
}

/// A directory that was heard to be pledged to this one.
#[derive(Debug)]
struct Held {
    member: Member,
    heard: Instant,
}

/// What this node does beside seeking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    Seeking,
    /// It asks a cluster to be added, and leads no attempt meanwhile.
    Joining,
    /// It has decided to form a cluster, which cannot be undone.
    Founding,
}

/// An empty directory that looks for its cluster.
#[derive(Debug)]
pub struct Seeker<L> {
    me: Member,
    group: Group,
    kept: Seeking,
    ledger: L,
    held: BTreeMap<DirectoryId, Held>,
    doing: Doing,
}

impl<L: Ledger> Seeker<L> {
    /// Begins, or goes on with what was kept; it is durable when this returns.
    ///
    /// # Errors
    ///
    /// The disk fails.
    pub fn start(
        me: Member,
        group: Group,
        kept: Option<Seeking>,
        mut ledger: L,
    ) -> io::Result<Self> {
        let kept = match kept {
            Some(kept) => kept,
            None => {
                let begun = Seeking::begin(&me);
                ledger.keep(&begun)?;
                begun
            }
        };
        Ok(Self {
            me,
            group,
            kept,
            ledger,
            held: BTreeMap::new(),
            doing: Doing::Seeking,
        })
    }

    /// Returns what is kept.
    #[must_use]
    pub const fn kept(&self) -> &Seeking {
        &self.kept
    }

    /// Returns what to ask candidates. Asking is also how a pledge is given.
    #[must_use]
    pub fn question(&self) -> Question {
        Question {
            from: self.kept.directory,
            member: self.me.clone(),
            group: Some(self.group.clone()),
            pledge: Some((self.kept.pledge.leader, self.kept.pledge.attempt)),
        }
    }

    /// Answers another node, and counts its pledge where it is for the attempt that runs.
    pub fn answer(&mut self, question: &Question, now: Instant) -> Reply {
        let own = (self.kept.directory, self.kept.pledge.attempt);
        let counts = self.kept.leads()
            && self.doing == Doing::Seeking
            && question.from != self.kept.directory
            && question.pledge == Some(own)
            && question.group.as_ref() == Some(&self.group);
        if counts {
            self.hold(question, now);
        }
        let leads = self.kept.leads() && self.doing != Doing::Joining;
        Reply {
            from: Some(self.kept.directory),
            member: self.me.clone(),
            standing: Standing::Seeking {
                group: self.group.clone(),
                leads: leads.then_some(self.kept.pledge.attempt),
                pledged_to: self.kept.pledge.name.clone(),
            },
        }
    }

    fn hold(&mut self, question: &Question, now: Instant) {
        // Another directory of the same node takes its place: not to count is always safe.
        let member = &question.member;
        let same = |other: &Member| other.name == member.name || other.http == member.http;
        if same(&self.me) {
            return;
        }
        self.held
            .retain(|id, held| *id == question.from || !same(&held.member));
        if self.held.len() < PLEDGES {
            let held = Held {
                member: member.clone(),
                heard: now,
            };
            self.held.insert(question.from, held);
        }
    }

    /// Goes on after a join that came to nothing.
    pub fn seek_again(&mut self) {
        if self.doing == Doing::Joining {
            self.doing = Doing::Seeking;
        }
    }

    /// Decides what follows from a round of answers.
    ///
    /// # Errors
    ///
    /// The disk fails; the node must not go on.
    pub fn decide(&mut self, replies: &[Reply], now: Instant) -> io::Result<Step> {
        if let Some(founding) = self.founding_with_me(replies) {
            return Ok(Step::Adopt(founding));
        }
        if !self.kept.leads() && self.is_released(replies) {
            self.lead()?;
        }
        let members = self.members(replies);
        if !members.is_empty() {
            if !self.kept.leads() {
                let text = "there is a cluster, but this directory is pledged".to_owned();
                return Ok(Step::Wait(self.waits_for_leader(&text)));
            }
            // Whoever is pledged to this attempt must be free to join as well.
            self.lead()?;
            self.doing = Doing::Joining;
            return Ok(Step::Join(members));
        }
        if !self.kept.leads() {
            return Ok(Step::Wait(self.waits_for_leader("pledged")));
        }
        if let Some(better) = self.better_leader(replies) {
            tracing::info!(
                leader = %better.name,
                "pledged to `{}`, which leads the forming of a cluster", better.name
            );
            self.keep(better)?;
            return Ok(Step::Again);
        }
        if self.is_enough(now) {
            self.doing = Doing::Founding;
            return Ok(Step::Found(self.found(now)));
        }
        Ok(Step::Wait(self.waits_for_pledges(replies, now)))
    }

    fn keep(&mut self, pledge: Pledge) -> io::Result<()> {
        let next = Seeking {
            pledge,
            ..self.kept.clone()
        };
        // Whoever was counted is not, from before it is told.
        self.held.clear();
        self.ledger.keep(&next)?;
        self.kept = next;
        Ok(())
    }

    /// Begins an attempt of its own; the one before, if any, is over.
    fn lead(&mut self) -> io::Result<()> {
        self.keep(Seeking::own(self.kept.directory, &self.me))
    }

    fn founding_with_me(&self, replies: &[Reply]) -> Option<Founding> {
        let pledge = &self.kept.pledge;
        replies.iter().find_map(|reply| {
            let Standing::Member {
                founding: Some(founding),
                ..
            } = &reply.standing
            else {
                return None;
            };
            let leader = founding.founders.first()?.directory;
            let is_ours = (leader, founding.attempt) == (pledge.leader, pledge.attempt);
            let me = founding.founder(self.kept.directory);
            (is_ours && me.is_some()).then(|| founding.clone())
        })
    }

    /// Only the directory that the pledge was given to can say that its attempt is over.
    fn is_released(&self, replies: &[Reply]) -> bool {
        let pledge = &self.kept.pledge;
        replies
            .iter()
            .filter(|reply| reply.from == Some(pledge.leader))
            .any(|reply| match &reply.standing {
                Standing::Seeking { leads, .. } => *leads != Some(pledge.attempt),
                // It would have named this directory a founder.
                Standing::Member { founding, .. } => founding.is_none(),
                Standing::Elsewhere(_) => false,
            })
    }

    /// Returns who can be asked to add this node.
    fn members(&self, replies: &[Reply]) -> Vec<Member> {
        let is_ours = |reply: &&Reply| match (&reply.standing, &self.group) {
            (Standing::Member { .. }, Group::List(list)) => {
                list.contains(&normalised(&reply.member.http))
            }
            (Standing::Member { environment, .. }, Group::Environment { name, .. }) => {
                environment == name
            }
            _ => false,
        };
        replies
            .iter()
            .filter(is_ours)
            .map(|reply| reply.member.clone())
            .collect()
    }

    /// Returns true when as many answer as a cluster is formed of. Before that a pledge would only
    /// bind this directory to another that may still be given up.
    fn could_form(&self, replies: &[Reply]) -> bool {
        let here = replies.iter().filter(|reply| {
            matches!(&reply.standing, Standing::Seeking { group, .. } if *group == self.group)
        });
        let needed = match &self.group {
            Group::List(list) => list.len(),
            Group::Environment { expect, .. } => usize::try_from(*expect).unwrap_or(usize::MAX),
        };
        here.count() + 1 >= needed
    }

    /// Returns the smallest one that leads an attempt and comes before this node.
    fn better_leader(&self, replies: &[Reply]) -> Option<Pledge> {
        if !self.could_form(replies) {
            return None;
        }
        let own = self.key(self.kept.directory, &self.me);
        let pledge = |reply: &Reply| {
            let Standing::Seeking {
                group,
                leads: Some(attempt),
                ..
            } = &reply.standing
            else {
                return None;
            };
            let directory = reply.from.filter(|_| *group == self.group)?;
            let key = self.key(directory, &reply.member);
            // A list has one leader; the others only wait to be asked.
            let may_lead = match &self.group {
                Group::List(list) => list.first() == Some(&normalised(&reply.member.http)),
                Group::Environment { .. } => true,
            };
            let to = Pledge {
                leader: directory,
                attempt: *attempt,
                name: reply.member.name.clone(),
                raft: reply.member.raft.clone(),
            };
            (may_lead && key < own).then_some((key, to))
        };
        let better = replies
            .iter()
            .filter_map(pledge)
            .min_by_key(|(key, _)| key.clone());
        better.map(|(_, to)| to)
    }

    fn key(&self, directory: DirectoryId, member: &Member) -> (String, DirectoryId) {
        match &self.group {
            Group::List(_) => (normalised(&member.http), directory),
            Group::Environment { .. } => (member.name.clone(), directory),
        }
    }

    fn fresh(&self, now: Instant) -> impl Iterator<Item = (DirectoryId, &Member)> {
        self.held
            .iter()
            .filter(move |(_, held)| now.saturating_duration_since(held.heard) < FRESH)
            .map(|(id, held)| (*id, &held.member))
    }

    fn is_enough(&self, now: Instant) -> bool {
        match &self.group {
            Group::List(list) => {
                let others = self.fresh(now).map(|(_, member)| normalised(&member.http));
                let here: BTreeSet<_> = others.chain([normalised(&self.me.http)]).collect();
                list.iter().all(|http| here.contains(http))
            }
            Group::Environment { expect, .. } => self.fresh(now).count() as u64 + 1 >= *expect,
        }
    }

    fn found(&self, now: Instant) -> Founding {
        let mut others: Vec<_> = self.fresh(now).collect();
        others.sort_by_key(|(id, member)| self.key(*id, member));
        let all = std::iter::once((self.kept.directory, &self.me)).chain(others);
        let founders = (FIRST_ID..).zip(all.take(limits::VOTERS));
        Founding {
            cluster: ClusterId::random(),
            attempt: self.kept.pledge.attempt,
            founders: founders
                .map(|(id, (directory, member))| Founder {
                    id,
                    directory,
                    member: member.clone(),
                })
                .collect(),
        }
    }

    fn waits_for_leader(&self, what: &str) -> String {
        let Pledge { name, raft, .. } = &self.kept.pledge;
        format!(
            "{what} to `{name}` at {raft}: waiting for it to form the cluster or to say that it \
             does not; if its disk is lost, empty this node's directory, which holds nothing yet"
        )
    }

    fn waits_for_pledges(&self, replies: &[Reply], now: Instant) -> String {
        let names: Vec<String> = self
            .fresh(now)
            .map(|(_, member)| format!("`{}`", member.name))
            .collect();
        let here = match names.as_slice() {
            [] => "nobody else is ready yet".to_owned(),
            names => format!("ready: {}", names.join(", ")),
        };
        match &self.group {
            Group::List(list) if list.first() != Some(&normalised(&self.me.http)) => {
                let first = list.first().map_or("", String::as_str);
                format!("a cluster is formed by {first}, the first of the list, when all are there")
            }
            Group::List(_) => {
                format!("a cluster is formed when all listed nodes are empty and ready; {here}")
            }
            Group::Environment { name, expect } => {
                let seen = replies.len();
                format!(
                    "environment `{name}` needs {expect} empty nodes to form a cluster; {here}; \
                     {seen} others answer"
                )
            }
        }
    }
}
