//! The rows of the members table: each made of what is known of that member alone, so that one
//! that is dead never hides another.

use std::{collections::BTreeMap, sync::Arc};

use conclave_shared::{
    ClusterStatus, MemberAddress, MemberStatus, NodeStatus,
    cluster::{MemberState, Role},
};

use super::{
    Probe, Story, Word,
    probe::{millis, skews},
};
use crate::model::{
    seats::{Seat, own_seat},
    text::{age, grouped},
};

/// Age above which a word is said to be old, milliseconds: a heartbeat that did not come.
const OLD_MS: u64 = 4_000;
/// What stands where nothing is known.
pub const NOTHING: &str = "–";

/// What the rows are made of.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'a> {
    /// The serving node's last word about itself.
    pub status: &'a NodeStatus,
    /// Its last word about the others.
    pub cluster: Option<&'a ClusterStatus>,
    /// What each member answered this browser.
    pub probes: &'a BTreeMap<String, Probe>,
    pub story: &'a Story,
    /// The page's time, milliseconds since 1970.
    pub now_ms: u64,
}

/// What one of the two observers saw of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    pub seat: Seat,
    pub word: String,
    /// How long it took or how old it is; empty when there is nothing to add.
    pub more: String,
}

/// One member, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub name: String,
    pub id: u64,
    pub http: String,
    pub raft: String,
    pub voter: bool,
    /// It serves this page.
    pub serving: bool,
    /// What it is as far as either observer knows.
    pub seat: Seat,
    /// As the serving node sees it.
    pub here: Evidence,
    /// As this browser sees it.
    pub browser: Evidence,
    /// Time since the leader heard it.
    pub heard: String,
    pub term: String,
    pub last_log: String,
    pub commit: String,
    pub applied: String,
    pub behind: String,
    pub version: String,
    pub uptime: String,
    /// Its own figures are old: no word of it came lately.
    pub is_old: bool,
    /// What a reader should know of it, in sentences.
    pub notes: Vec<String>,
}

/// Returns a row for each member, in the order of the names.
#[must_use]
pub fn rows(sources: Sources<'_>) -> Vec<Row> {
    let mut newest: BTreeMap<&str, &MemberAddress> = BTreeMap::new();
    for member in &sources.status.members {
        let known = newest.entry(&member.node).or_insert(member);
        if member.id > known.id {
            *known = member;
        }
    }
    let skews = skews(&sources.status.node, sources.probes);
    let row = |member: &&MemberAddress| {
        let mut row = row(sources, member);
        if let Some(skew) = skews.get(&member.node) {
            row.notes.push(skew_sentence(&member.node, *skew));
        }
        row
    };
    newest.values().map(row).collect()
}

fn row(sources: Sources<'_>, member: &MemberAddress) -> Row {
    let Sources { status, story, .. } = sources;
    let name = &member.node;
    let seen = seen_by_serving(sources, member);
    let probe = sources.probes.get(name);
    let here = here(sources, member, seen);
    let browser = browser(sources, probe);
    let is_old = sources.now_ms.saturating_sub(status.now_ms) > OLD_MS;
    let seat = match (here.seat, browser.seat) {
        (Seat::Unreachable | Seat::Unknown, seen @ (Seat::Unreachable | Seat::Unknown)) => {
            if here.seat == Seat::Unreachable || is_old {
                Seat::Unreachable
            } else {
                seen
            }
        }
        (Seat::Unreachable | Seat::Unknown, seen) => seen,
        (_, seen) if is_old && probe.is_some() => seen,
        (seen, _) => seen,
    };
    let own = newer(seen.and_then(|seen| seen.status.as_ref()), story.last(name));
    let figure = |of: fn(&NodeStatus) -> u64| {
        own.as_ref()
            .map_or_else(|| NOTHING.to_owned(), |(own, _)| grouped(of(own)))
    };
    let text = |of: fn(&NodeStatus) -> String| {
        own.as_ref()
            .map_or_else(|| NOTHING.to_owned(), |(own, _)| of(own))
    };
    let own_age = own
        .as_ref()
        .map(|(_, at)| sources.now_ms.saturating_sub(*at))
        .filter(|age| *age > OLD_MS);
    let mut notes = notes(sources, member, seen, probe);
    notes.extend(own_age.map(|ms| format!("Its figures are {} old.", age(ms))));
    Row {
        notes,
        id: member.id,
        http: member.http.clone(),
        raft: member.raft.clone(),
        voter: member.voter,
        serving: *name == status.node,
        heard: heard(sources, member),
        term: figure(|own| own.term),
        last_log: figure(|own| own.last_log_index),
        commit: figure(|own| own.commit_index),
        applied: figure(|own| own.applied_index),
        behind: own.as_ref().map_or_else(
            || NOTHING.to_owned(),
            |(own, _)| behind(story, own.applied_index, sources.now_ms),
        ),
        version: text(|own| own.version.clone()),
        uptime: text(|own| age(own.uptime_ms)),
        is_old: own_age.is_some(),
        name: name.clone(),
        seat,
        here,
        browser,
    }
}

fn seen_by_serving<'a>(sources: Sources<'a>, member: &MemberAddress) -> Option<&'a MemberStatus> {
    let mut members = sources.cluster?.members.iter();
    members.find(|seen| seen.address.node == member.node && seen.address.id == member.id)
}

/// Returns the newer of a member's own words: the one that the serving node passed on, or the last
/// that was heard of it by whatever way.
fn newer(
    passed_on: Option<&NodeStatus>,
    last: Option<&(Arc<NodeStatus>, u64)>,
) -> Option<(Arc<NodeStatus>, u64)> {
    match (passed_on, last) {
        (_, Some(last)) => Some(last.clone()),
        (Some(status), None) => Some((Arc::new(status.clone()), status.now_ms)),
        (None, None) => None,
    }
}

/// Returns what a node is by its own word; of two that lead, only the one of the newer term does.
fn seat_of(sources: Sources<'_>, own: &NodeStatus) -> Seat {
    let passed_on = sources.cluster.iter().flat_map(|cluster| &cluster.members);
    let passed_on = passed_on.filter_map(|member| member.status.as_ref());
    let asked = sources.probes.values().filter_map(Probe::status);
    let mut others = passed_on.chain(asked.map(|status| &**status));
    let outvoted = others.any(|other| other.role == Role::Leader && other.term > own.term);
    match own_seat(own) {
        Seat::Leader if outvoted => Seat::Unconfirmed,
        seat => seat,
    }
}

fn word(seat: Seat, own: &NodeStatus) -> String {
    match (seat, own.quorum_ack_age_ms) {
        (Seat::Unconfirmed, Some(ms)) => format!("{} {}", seat.word(), age(ms)),
        _ => seat.word().to_owned(),
    }
}

fn here(sources: Sources<'_>, member: &MemberAddress, seen: Option<&MemberStatus>) -> Evidence {
    let said = sources.now_ms.saturating_sub(sources.status.now_ms);
    let old = || match said {
        0..=OLD_MS => String::new(),
        _ => format!("{} ago", age(said)),
    };
    if member.node == sources.status.node {
        let seat = seat_of(sources, sources.status);
        let word = word(seat, sources.status);
        let more = old();
        return Evidence { seat, word, more };
    }
    let Some(seen) = seen else {
        return unknown("Not heard of yet", old());
    };
    if let Some(own) = &seen.status {
        let seat = seat_of(sources, own);
        let word = word(seat, own);
        let more = old();
        return Evidence { seat, word, more };
    }
    let silence = seen.last_heard_ms.map_or_else(String::new, |ms| {
        format!("for {}", age(ms.saturating_add(said)))
    });
    let word = match seen.state {
        MemberState::Dead => "Dead to the leader",
        MemberState::Ok | MemberState::Unreachable => Seat::Unreachable.word(),
    };
    Evidence {
        seat: Seat::Unreachable,
        word: word.to_owned(),
        more: silence,
    }
}

fn browser(sources: Sources<'_>, probe: Option<&Probe>) -> Evidence {
    let Some(probe) = probe else {
        return unknown("Asking…", String::new());
    };
    let ago = sources.now_ms.saturating_sub(probe.at_ms);
    let ago = format!("{} ago", age(ago));
    match &probe.word {
        Word::Answered(own) => {
            let seat = seat_of(sources, own);
            let word = word(seat, own);
            let more = format!("{}, {ago}", millis(probe.took_us));
            Evidence { seat, word, more }
        }
        Word::Silent(why) => Evidence {
            seat: Seat::Unreachable,
            word: why.clone(),
            more: ago,
        },
        Word::NotAllowed => unknown("Not asked", "joined after this page was opened".to_owned()),
    }
}

fn unknown(word: &str, more: String) -> Evidence {
    Evidence {
        seat: Seat::Unknown,
        word: word.to_owned(),
        more,
    }
}

/// Returns how long ago the leader heard a member, by the leader's own word.
fn heard(sources: Sources<'_>, member: &MemberAddress) -> String {
    let passed_on = sources.cluster.iter().flat_map(|cluster| &cluster.members);
    let passed_on = passed_on.filter_map(|seen| seen.status.as_ref());
    let asked = sources.probes.values().filter_map(Probe::status);
    let told = passed_on.chain(asked.map(|status| &**status));
    let leader = told
        .filter(|status| status.role == Role::Leader)
        .max_by_key(|status| (status.term, status.now_ms));
    let Some(leader) = leader else {
        return NOTHING.to_owned();
    };
    if leader.node == member.node {
        return "leads".to_owned();
    }
    let mut followers = leader.followers.iter();
    let follower = followers.find(|follower| follower.node == member.node);
    follower
        .and_then(|follower| follower.last_ack_ms)
        .map_or_else(|| "never".to_owned(), |ms| format!("{} ago", age(ms)))
}

/// Says how far a node is behind: `0`, `12 entries, 0.4 s`.
fn behind(story: &Story, applied: u64, now_ms: u64) -> String {
    let entries = story.newest().saturating_sub(applied);
    match (entries, story.behind_ms(applied, now_ms)) {
        (0, _) => "0 behind".to_owned(),
        (_, None) => format!("{} behind", grouped(entries)),
        (_, Some(ms)) => format!("{} behind, {}", grouped(entries), age(ms)),
    }
}

fn notes(
    sources: Sources<'_>,
    member: &MemberAddress,
    seen: Option<&MemberStatus>,
    probe: Option<&Probe>,
) -> Vec<String> {
    let mut notes = Vec::new();
    notes.extend(difference(sources, member, seen, probe));
    let older = |other: &&MemberAddress| other.node == member.node && other.id < member.id;
    if let Some(older) = sources.status.members.iter().find(older) {
        notes.push(format!("It is about to replace id {}.", older.id));
    } else if let Some(old) = sources.story.replaced(&member.node) {
        notes.push(format!(
            "It replaced id {old}: the same name, another directory."
        ));
    }
    if matches!(probe.map(|probe| &probe.word), Some(Word::NotAllowed)) {
        notes.push("Reload the page to let your browser ask it.".to_owned());
    }
    notes
}

/// Says in a sentence where the two observers differ; nothing where they agree.
fn difference(
    sources: Sources<'_>,
    member: &MemberAddress,
    seen: Option<&MemberStatus>,
    probe: Option<&Probe>,
) -> Option<String> {
    let (serving, name) = (&sources.status.node, &member.node);
    let probe = probe?;
    if serving == name {
        let said = sources.now_ms.saturating_sub(sources.status.now_ms);
        return matches!(probe.word, Word::Silent(_)).then(|| {
            format!(
                "Your browser cannot reach {name}, which serves this page. What it saw is {} old.",
                age(said)
            )
        });
    }
    let seen = seen?;
    match (&probe.word, &seen.status) {
        (Word::Answered(_), None) => {
            Some(format!("{serving} cannot hear {name}; your browser can."))
        }
        (Word::Silent(_), Some(_)) => Some(format!(
            "{serving} hears {name}; your browser cannot reach it at {}.",
            member.http
        )),
        (Word::Answered(own), Some(_)) if own.term == sources.status.term => {
            let says = |leader: &Option<String>| match leader {
                Some(leader) => format!("that {leader} leads"),
                None => "that nobody leads".to_owned(),
            };
            (own.leader != sources.status.leader).then(|| {
                format!(
                    "{name} says {}; {serving} says {}.",
                    says(&own.leader),
                    says(&sources.status.leader)
                )
            })
        }
        _ => None,
    }
}

fn skew_sentence(name: &str, skew: i64) -> String {
    let side = if skew > 0 { "ahead of" } else { "behind" };
    format!(
        "The clock of {name} is {} {side} the others.",
        age(skew.unsigned_abs())
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{nodes::probe::tests::answered, seats::tests::status};

    /// What `node0`, a leader of three, sees when all answer.
    fn cluster(status: &NodeStatus) -> ClusterStatus {
        let member = |address: &MemberAddress| {
            let mut own = status.clone();
            if address.node != status.node {
                (own.node, own.role) = (address.node.clone(), Role::Follower);
                own.followers.clear();
            }
            MemberStatus {
                address: address.clone(),
                role: Some(own.role),
                reachable: true,
                state: MemberState::Ok,
                status: Some(own),
                error: None,
                last_heard_ms: Some(10),
            }
        };
        ClusterStatus {
            leader: status.leader.clone(),
            term: status.term,
            quorum: conclave_shared::cluster::QuorumStatus {
                voters: 3,
                healthy: 3,
                can_lose: 1,
            },
            members: status.members.iter().map(member).collect(),
        }
    }

    struct Seen {
        status: NodeStatus,
        cluster: ClusterStatus,
        probes: BTreeMap<String, Probe>,
        story: Story,
        now_ms: u64,
    }

    impl Seen {
        fn whole() -> Self {
            let mut status = status(Role::Leader, 3);
            status.now_ms = 1_000;
            let cluster = cluster(&status);
            let probe = |name: &str| {
                let role = if name == "node0" {
                    Role::Leader
                } else {
                    Role::Follower
                };
                let mut probe = answered(name, role, 0);
                if let Word::Answered(own) = &mut probe.word {
                    let mut changed = (**own).clone();
                    changed.leader = Some("node0".to_owned());
                    *own = Arc::new(changed);
                }
                (name.to_owned(), probe)
            };
            let mut seen = Self {
                probes: ["node0", "node1", "node2"].map(probe).into(),
                story: Story::default(),
                status,
                cluster,
                now_ms: 1_200,
            };
            seen.story.see(&seen.status, Some(&seen.cluster));
            seen
        }

        fn kill(&mut self, name: &str) {
            let found = self.cluster.members.iter_mut();
            for member in found.filter(|member| member.address.node == name) {
                (member.status, member.reachable, member.role) = (None, false, None);
                (member.state, member.last_heard_ms) = (MemberState::Unreachable, Some(38_000));
            }
        }

        fn silence(&mut self, name: &str) {
            let probe = self.probes.get_mut(name).unwrap();
            probe.word = Word::Silent("No answer within 2 s".to_owned());
        }

        fn rows(&self) -> Vec<Row> {
            rows(Sources {
                status: &self.status,
                cluster: Some(&self.cluster),
                probes: &self.probes,
                story: &self.story,
                now_ms: self.now_ms,
            })
        }
    }

    #[test]
    fn in_a_whole_cluster_both_observers_agree_and_say_nothing() {
        let rows = Seen::whole().rows();
        let seats: Vec<_> = rows.iter().map(|row| row.seat).collect();
        assert_eq!(seats, [Seat::Leader, Seat::Follower, Seat::Follower]);
        assert!(rows.iter().all(|row| row.notes.is_empty()), "{rows:?}");
        assert_eq!(rows[1].here.word, "Follower");
        assert_eq!(rows[1].browser.more, "1.2 ms, 0.2 s ago");
        assert_eq!(rows[1].heard, "<0.1 s ago");
        assert_eq!(rows[1].behind, "0 behind");
        assert_eq!(
            (rows[1].applied.as_str(), rows[1].term.as_str()),
            ("41", "8")
        );
    }

    #[test]
    fn a_member_that_only_the_browser_hears_is_what_it_says_of_itself() {
        let mut seen = Seen::whole();
        seen.kill("node2");
        let row = seen.rows().remove(2);
        assert_eq!(row.seat, Seat::Follower);
        assert_eq!(row.here.seat, Seat::Unreachable);
        assert_eq!(row.here.more, "for 38 s");
        assert_eq!(row.notes, ["node0 cannot hear node2; your browser can."]);
    }

    #[test]
    fn a_member_that_only_the_node_hears_says_which_address_fails() {
        let mut seen = Seen::whole();
        seen.silence("node1");
        let row = seen.rows().remove(1);
        assert_eq!(row.seat, Seat::Follower);
        assert_eq!(
            row.notes,
            ["node0 hears node1; your browser cannot reach it at localhost:11001."]
        );
    }

    #[test]
    fn a_dead_member_keeps_its_last_figures_with_their_age() {
        let mut seen = Seen::whole();
        seen.kill("node2");
        seen.silence("node2");
        seen.now_ms = 40_000;
        seen.status.now_ms = 39_500;
        let rows = seen.rows();
        assert_eq!(rows.len(), 3);
        assert_eq!(rows[2].seat, Seat::Unreachable);
        assert!(rows[2].is_old);
        assert_eq!(rows[2].applied, "41");
        assert_eq!(rows[2].notes, ["Its figures are 39 s old."]);
    }

    #[test]
    fn a_page_that_lost_its_node_says_so_on_its_row_and_believes_the_others() {
        let mut seen = Seen::whole();
        seen.silence("node0");
        seen.now_ms = 15_000;
        let rows = seen.rows();
        assert_eq!(rows[0].seat, Seat::Unreachable);
        assert_eq!(
            rows[0].notes,
            [
                "Your browser cannot reach node0, which serves this page. What it saw is 14 s old.",
                "Its figures are 14 s old."
            ]
        );
        assert_eq!(rows[1].here.more, "14 s ago");
        assert_eq!(rows[1].seat, Seat::Follower);
    }

    #[test]
    fn of_two_leaders_the_older_one_is_unconfirmed() {
        let mut seen = Seen::whole();
        let mut probe = answered("node1", Role::Leader, 0);
        if let Word::Answered(own) = &mut probe.word {
            let mut newer = (**own).clone();
            newer.term = 9;
            *own = Arc::new(newer);
        }
        seen.probes.insert("node1".to_owned(), probe);
        let rows = seen.rows();
        assert_eq!(rows[0].seat, Seat::Unconfirmed);
        assert_eq!(rows[1].browser.seat, Seat::Leader);
    }

    #[test]
    fn two_ids_of_one_name_are_one_row() {
        let mut seen = Seen::whole();
        let mut new = seen.status.members[0].clone();
        (new.id, new.voter) = (9, false);
        seen.status.members.push(new);
        let row = seen.rows().remove(2);
        assert_eq!((row.name.as_str(), row.id), ("node2", 9));
        assert_eq!(row.notes, ["It is about to replace id 3."]);

        seen.status.members.retain(|member| member.id != 3);
        seen.story.see(&seen.status, None);
        let rows = seen.rows();
        assert_eq!(rows.len(), 3);
        assert_eq!(
            rows[2].notes,
            ["It replaced id 3: the same name, another directory."]
        );
    }

    #[test]
    fn before_the_first_answers_every_member_has_its_row() {
        let seen = Seen::whole();
        let rows = rows(Sources {
            status: &seen.status,
            cluster: None,
            probes: &BTreeMap::new(),
            story: &Story::default(),
            now_ms: 1_000,
        });
        assert_eq!(rows.len(), 3);
        assert_eq!(rows[1].seat, Seat::Unknown);
        assert_eq!(rows[1].applied, NOTHING);
    }
}
