//! What this page has heard of the members since it was opened: their last words, how their parts
//! changed, and which of them came back under a new id.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use conclave_shared::{ClusterStatus, NodeStatus, cluster::Role, stream::MemberChange};

/// Changes kept of each member.
pub const CHANGES: usize = 20;
/// Moments kept at which the newest commit index rose: minutes of a busy cluster.
const COMMITS: usize = 240;
/// By how much a word may come late, milliseconds.
const LATE_MS: u64 = 5_000;

/// One change of a member's part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The serving node's wall clock, milliseconds since 1970.
    pub at_ms: u64,
    pub text: String,
}

/// What is remembered of one member.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Member {
    id: u64,
    replaced: Option<u64>,
    part: Option<(Role, u64)>,
    heard: Option<bool>,
    last: Option<(Arc<NodeStatus>, u64)>,
    changes: VecDeque<Change>,
}

/// What this page has heard of the members.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Story {
    members: BTreeMap<String, Member>,
    /// HTTP addresses of the first membership: the page's policy was made of these.
    first: Option<Vec<String>>,
    commits: VecDeque<(u64, u64)>,
}

impl Story {
    /// Takes what the serving node says of itself and of the others.
    pub fn see(&mut self, status: &NodeStatus, cluster: Option<&ClusterStatus>) {
        let now_ms = status.now_ms;
        if self.first.is_none() {
            let addresses = status.members.iter().map(|member| member.http.clone());
            self.first = Some(addresses.collect());
        }
        for member in &status.members {
            self.see_id(&member.node, member.id, now_ms);
        }
        for member in cluster.iter().flat_map(|cluster| &cluster.members) {
            let name = &member.address.node;
            if let Some(own) = &member.status {
                self.see_own(&Arc::new(own.clone()), now_ms);
            }
            if *name != status.node {
                self.see_heard(&status.node, name, member.reachable, now_ms);
            }
        }
    }

    /// Takes what a member says of itself, to whomever.
    pub fn see_own(&mut self, own: &Arc<NodeStatus>, now_ms: u64) {
        let newest = self.commits.back().map_or(0, |(_, commit)| *commit);
        if own.commit_index > newest {
            self.commits.push_back((now_ms, own.commit_index));
            if self.commits.len() > COMMITS {
                self.commits.pop_front();
            }
        }
        let member = self.member(&own.node);
        let part = (own.role, own.term);
        if member
            .last
            .as_ref()
            .is_some_and(|(last, _)| is_older(own, last))
        {
            return;
        }
        let known = member.part.replace(part);
        member.last = Some((Arc::clone(own), now_ms));
        if known.is_some_and(|(role, _)| role != own.role) {
            let text = format!("Became {} in term {}.", own.role.as_str(), own.term);
            push(member, now_ms, text);
        } else if own.role == Role::Leader && known.is_some_and(|(_, term)| term != own.term) {
            push(
                member,
                now_ms,
                format!("Leads again, in term {}.", own.term),
            );
        }
    }

    /// Takes a change of the membership.
    pub fn hear(&mut self, change: &MemberChange) {
        for one in &change.changes {
            let text = match one.change.as_str() {
                "added" => {
                    self.see_id(&one.node, one.id, change.wall_time_ms);
                    format!("Was added as id {}.", one.id)
                }
                "promoted" => "Became a voter.".to_owned(),
                "demoted" => "Became a learner.".to_owned(),
                "removed" => format!("Id {} was removed.", one.id),
                "updated" => "Has other addresses.".to_owned(),
                other => format!("Was {other}."),
            };
            push(self.member(&one.node), change.wall_time_ms, text);
        }
    }

    fn see_id(&mut self, node: &str, id: u64, now_ms: u64) {
        let member = self.member(node);
        if member.id != 0 && id > member.id {
            let old = member.id;
            member.replaced = Some(old);
            push(
                member,
                now_ms,
                format!("Came back as id {id}, replacing id {old}."),
            );
        }
        member.id = member.id.max(id);
    }

    fn see_heard(&mut self, serving: &str, node: &str, is_heard: bool, now_ms: u64) {
        let member = self.member(node);
        let known = member.heard.replace(is_heard);
        if known.is_some_and(|known| known != is_heard) {
            let text = match is_heard {
                true => format!("Answers {serving} again."),
                false => format!("No longer answers {serving}."),
            };
            push(member, now_ms, text);
        }
    }

    fn member(&mut self, node: &str) -> &mut Member {
        self.members.entry(node.to_owned()).or_default()
    }

    /// Says whether the page's policy lets it ask this HTTP address.
    #[must_use]
    pub fn may_ask(&self, http: &str) -> bool {
        let first = self.first.as_ref();
        first.is_some_and(|first| first.iter().any(|address| address == http))
    }

    /// Returns the id that a member had before it came back with another directory.
    #[must_use]
    pub fn replaced(&self, node: &str) -> Option<u64> {
        self.members.get(node)?.replaced
    }

    /// Returns the last that a member said of itself, and when.
    #[must_use]
    pub fn last(&self, node: &str) -> Option<&(Arc<NodeStatus>, u64)> {
        self.members.get(node)?.last.as_ref()
    }

    /// Returns a member's changes, newest first.
    #[must_use]
    pub fn changes(&self, node: &str) -> Vec<Change> {
        let member = self.members.get(node);
        let changes = member.map(|member| member.changes.iter().rev().cloned().collect());
        changes.unwrap_or_default()
    }

    /// Returns for how long a node that has applied this far has missed something, milliseconds; none
    /// when it has everything that was heard of.
    #[must_use]
    pub fn behind_ms(&self, applied: u64, now_ms: u64) -> Option<u64> {
        let mut later = self.commits.iter().filter(|(_, commit)| *commit > applied);
        later.next().map(|(at, _)| now_ms.saturating_sub(*at))
    }

    /// Returns the newest commit index that any member told.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.commits.back().map_or(0, |(_, commit)| *commit)
    }
}

/// Says whether a word is older than another of the same member: it came by a longer way.
fn is_older(own: &NodeStatus, last: &NodeStatus) -> bool {
    // By the member's own clock; one that was set back is believed after a while.
    let is_late = last.now_ms > own.now_ms && last.now_ms - own.now_ms < LATE_MS;
    own.id == last.id && (own.term < last.term || (own.term == last.term && is_late))
}

fn push(member: &mut Member, at_ms: u64, text: String) {
    member.changes.push_back(Change { at_ms, text });
    if member.changes.len() > CHANGES {
        member.changes.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use conclave_shared::stream::OneMember;

    use super::*;
    use crate::model::seats::tests::status;

    fn own(role: Role, term: u64, commit: u64) -> Arc<NodeStatus> {
        let mut own = status(role, 3);
        (own.term, own.commit_index) = (term, commit);
        Arc::new(own)
    }

    fn texts(story: &Story, node: &str) -> Vec<String> {
        let changes = story.changes(node).into_iter();
        changes.map(|change| change.text).collect()
    }

    #[test]
    fn the_first_word_is_no_change_and_the_next_ones_are() {
        let mut story = Story::default();
        story.see_own(&own(Role::Follower, 7, 1), 10);
        assert!(story.changes("node0").is_empty());
        story.see_own(&own(Role::Leader, 8, 1), 20);
        story.see_own(&own(Role::Leader, 8, 1), 30);
        story.see_own(&own(Role::Follower, 9, 1), 40);
        assert_eq!(
            texts(&story, "node0"),
            ["Became follower in term 9.", "Became leader in term 8."]
        );
    }

    #[test]
    fn an_older_word_that_comes_late_changes_nothing() {
        let mut story = Story::default();
        story.see_own(&own(Role::Follower, 9, 5), 20);
        story.see_own(&own(Role::Leader, 8, 4), 30);
        assert!(story.changes("node0").is_empty());
        assert_eq!(story.last("node0").unwrap().0.term, 9);
    }

    #[test]
    fn a_new_id_under_a_known_name_replaces_the_old_one() {
        let mut story = Story::default();
        let mut seen = status(Role::Leader, 3);
        story.see(&seen, None);
        assert_eq!(story.replaced("node2"), None);
        seen.members[0].id = 9;
        story.see(&seen, None);
        assert_eq!(story.replaced("node2"), Some(3));
        assert_eq!(
            texts(&story, "node2"),
            ["Came back as id 9, replacing id 3."]
        );
    }

    #[test]
    fn the_news_and_the_membership_tell_a_replacement_once() {
        let mut story = Story::default();
        let mut seen = status(Role::Leader, 3);
        story.see(&seen, None);
        let one = |id, change: &str| OneMember {
            node: "node2".to_owned(),
            id,
            change: change.to_owned(),
        };
        story.hear(&MemberChange {
            revision: 50,
            wall_time_ms: 5,
            members: Vec::new(),
            changes: vec![one(9, "added"), one(3, "removed")],
        });
        seen.members[0].id = 9;
        story.see(&seen, None);
        assert_eq!(
            texts(&story, "node2"),
            [
                "Id 3 was removed.",
                "Was added as id 9.",
                "Came back as id 9, replacing id 3."
            ]
        );
    }

    #[test]
    fn a_node_is_behind_since_the_first_commit_that_it_lacks() {
        let mut story = Story::default();
        for (at, commit) in [(1_000, 10), (2_000, 12), (3_000, 15)] {
            story.see_own(&own(Role::Leader, 1, commit), at);
        }
        assert_eq!(story.behind_ms(15, 3_400), None);
        assert_eq!(story.behind_ms(11, 3_400), Some(1_400));
        assert_eq!(story.newest(), 15);
    }

    #[test]
    fn changes_are_bounded() {
        let mut story = Story::default();
        for term in 0..100_u64 {
            let role = [Role::Leader, Role::Follower][usize::from(term % 2 == 0)];
            story.see_own(&own(role, term, 1), term * 10_000);
        }
        assert_eq!(story.changes("node0").len(), CHANGES);
    }

    #[test]
    fn only_the_members_of_the_beginning_may_be_asked() {
        let mut story = Story::default();
        let mut seen = status(Role::Leader, 3);
        story.see(&seen, None);
        seen.members[0].http = "localhost:1".to_owned();
        story.see(&seen, None);
        assert!(story.may_ask("localhost:11001"));
        assert!(!story.may_ask("localhost:1"));
    }
}
