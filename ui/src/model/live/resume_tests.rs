//! The stream against servers that lose it in every way.

use std::hash::{BuildHasher, Hasher, RandomState};

use conclave_shared::{
    ClusterStatus, NodeStatus, Role,
    cluster::QuorumStatus,
    stream::{Heartbeat, KeyChange},
};

use super::*;
use crate::model::seats::tests::status;

fn message(event: &str, data: String, id: Option<u64>) -> Message {
    Message {
        event: event.to_owned(),
        data,
        id: id.map(|id| id.to_string()),
    }
}

fn hello(revision: u64) -> Message {
    message("hello", format!(r#"{{"revision":{revision}}}"#), None)
}

fn put(key: &str, revision: u64, id: Option<u64>) -> Message {
    let data = format!(r#"{{"key":"{key}","revision":{revision},"origin":"n1"}}"#);
    message("put", data, id)
}

fn heartbeat(status: NodeStatus) -> Message {
    let quorum = QuorumStatus {
        voters: 3,
        healthy: 3,
        can_lose: 1,
    };
    let cluster = ClusterStatus {
        leader: status.leader.clone(),
        term: status.term,
        quorum,
        members: Vec::new(),
    };
    let data = serde_json::to_string(&Heartbeat { status, cluster }).unwrap();
    message("hb", data, None)
}

/// The connection that was asked for last.
fn opened(resume: &mut Resume) -> (u64, String) {
    match resume.take_action() {
        Some(Action::Open { number, target }) => (number, target),
        other => panic!("no connection but {other:?}"),
    }
}

fn keys(news: &[News]) -> Vec<(String, u64)> {
    let change = |news: &News| match news {
        News::Key(_, KeyChange { key, revision, .. }) => Some((key.clone(), *revision)),
        _ => None,
    };
    news.iter().filter_map(change).collect()
}

/// A stream that is live since `now`, at revision 10.
fn live(now: f64) -> (Resume, u64) {
    let mut resume = Resume::new(now);
    let (number, target) = opened(&mut resume);
    assert!(!target.contains("since"), "{target}");
    resume.receive(now, number, vec![hello(10)]);
    assert_eq!(resume.connection(), Connection::Live);
    (resume, number)
}

#[test]
fn a_revision_comes_out_whole_and_is_asked_for_again_when_it_was_cut() {
    let (mut resume, number) = live(0.0);
    let brought = resume.receive(1.0, number, vec![put("a", 12, None)]);
    assert_eq!(keys(&brought.news), []);
    resume.ended(2.0, 0.5, number, End::Broken);
    assert_eq!(resume.take_action(), Some(Action::Close));
    resume.tick(600.0, 0.5);
    let (number, target) = opened(&mut resume);
    assert!(target.ends_with("&since=10"), "{target}");
    let again = vec![hello(12), put("a", 12, None), put("b", 12, Some(12))];
    let brought = resume.receive(601.0, number, again);
    let both = [("a".to_owned(), 12), ("b".to_owned(), 12)];
    assert_eq!(keys(&brought.news), both);
    let repeated = resume.receive(602.0, number, vec![put("b", 12, Some(12))]);
    assert_eq!(keys(&repeated.news), []);
}

#[test]
fn a_break_that_heals_within_a_second_is_not_shown() {
    let (mut resume, number) = live(0.0);
    resume.ended(3_000.0, 1.0, number, End::Broken);
    resume.tick(3_499.0, 1.0);
    assert_eq!(resume.take_action(), Some(Action::Close));
    resume.tick(3_500.0, 1.0);
    let (number, _) = opened(&mut resume);
    assert_eq!(resume.connection(), Connection::Live);
    resume.receive(3_900.0, number, vec![hello(10)]);
    resume.tick(5_000.0, 1.0);
    assert_eq!(resume.connection(), Connection::Live);
}

#[test]
fn attempts_are_counted_and_become_rarer_up_to_fifteen_seconds() {
    let (mut resume, mut number) = live(0.0);
    let mut now = 3_000.0;
    for (attempt, pause) in [
        500.0, 1_000.0, 2_000.0, 4_000.0, 8_000.0, 15_000.0, 15_000.0,
    ]
    .into_iter()
    .enumerate()
    {
        resume.ended(now, 1.0, number, End::Refused(503));
        assert_eq!(resume.refused(), Some(503));
        resume.take_action();
        resume.tick(now + pause - 1.0, 1.0);
        assert_eq!(resume.take_action(), None, "attempt {attempt}");
        now += pause;
        resume.tick(now, 1.0);
        number = opened(&mut resume).0;
        let count = u32::try_from(attempt).unwrap() + 1;
        match now - 3_000.0 {
            gone if gone < UNSEEN_MS => assert_eq!(resume.connection(), Connection::Live),
            gone if gone < OFFLINE_MS => {
                assert_eq!(resume.connection(), Connection::Reconnecting(count));
            }
            _ => assert_eq!(resume.connection(), Connection::Offline),
        }
    }
    resume.receive(now, number, vec![hello(10)]);
    assert_eq!(resume.connection(), Connection::Live);
    assert_eq!(resume.refused(), None);
}

#[test]
fn five_silent_seconds_are_a_break_that_is_shown_at_once() {
    let (mut resume, _) = live(0.0);
    resume.tick(4_999.0, 0.0);
    assert_eq!(resume.connection(), Connection::Live);
    resume.tick(5_000.0, 0.0);
    assert_eq!(resume.connection(), Connection::Reconnecting(1));
    assert_eq!(resume.take_action(), Some(Action::Close));
}

#[test]
fn an_attempt_that_nobody_answers_ends() {
    let (mut resume, number) = live(0.0);
    resume.ended(3_000.0, 0.0, number, End::Broken);
    resume.tick(3_400.0, 0.0);
    opened(&mut resume);
    resume.tick(3_400.0 + SILENT_MS, 0.0);
    assert_eq!(resume.take_action(), Some(Action::Close));
    assert_eq!(resume.connection(), Connection::Reconnecting(2));
}

#[test]
fn a_hidden_tab_listens_five_seconds_and_resumes_when_it_is_seen() {
    let (mut resume, number) = live(0.0);
    resume.hide(100.0);
    resume.receive(3_000.0, number, vec![hello(10)]);
    resume.tick(5_099.0, 0.0);
    let brought = resume.receive(5_099.0, number, vec![put("a", 11, Some(11))]);
    assert_eq!(brought.news.len(), 1);
    resume.tick(5_100.0, 0.0);
    assert_eq!(resume.take_action(), Some(Action::Close));
    assert_eq!(resume.connection(), Connection::Paused);
    resume.tick(500_000.0, 0.0);
    assert_eq!(resume.take_action(), None);
    resume.see(600_000.0);
    let (number, target) = opened(&mut resume);
    assert!(target.ends_with("&since=11"), "{target}");
    resume.receive(600_050.0, number, vec![hello(20)]);
    assert_eq!(resume.connection(), Connection::Live);
}

#[test]
fn a_short_look_elsewhere_changes_nothing() {
    let (mut resume, number) = live(0.0);
    resume.hide(100.0);
    resume.receive(2_000.0, number, vec![put("a", 11, Some(11))]);
    resume.see(2_100.0);
    resume.tick(6_500.0, 0.0);
    assert_eq!(resume.take_action(), None);
    assert_eq!(resume.connection(), Connection::Live);
}

#[test]
fn after_a_sleep_an_open_connection_is_not_believed() {
    let (mut resume, _) = live(0.0);
    resume.see(3_600_000.0);
    let (_, target) = opened(&mut resume);
    assert!(target.ends_with("&since=10"), "{target}");
}

#[test]
fn a_page_that_is_left_listens_no_more() {
    let (mut resume, _) = live(0.0);
    resume.leave(50.0);
    assert_eq!(resume.take_action(), Some(Action::Close));
    resume.see(60.0);
    opened(&mut resume);
}

#[test]
fn the_network_and_the_reader_cut_a_wait_short() {
    for hurry in [
        Resume::retry as fn(&mut Resume, f64),
        |resume, now| resume.network(now, true),
        Resume::see,
    ] {
        let (mut resume, number) = live(0.0);
        resume.ended(3_000.0, 1.0, number, End::Broken);
        resume.take_action();
        hurry(&mut resume, 3_100.0);
        opened(&mut resume);
    }
}

#[test]
fn without_a_network_the_page_is_offline_at_once() {
    let (mut resume, number) = live(0.0);
    resume.network(10.0, false);
    assert_eq!(resume.connection(), Connection::Live, "it still hears");
    resume.ended(20.0, 1.0, number, End::Broken);
    assert_eq!(resume.connection(), Connection::Offline);
}

#[test]
fn what_is_no_longer_kept_is_a_gap_and_the_stream_goes_on_behind_it() {
    let (mut resume, number) = live(0.0);
    resume.ended(1.0, 1.0, number, End::Broken);
    resume.tick(501.0, 1.0);
    let (number, _) = opened(&mut resume);
    let brought = resume.ended(510.0, 1.0, number, End::Gone(Some(40)));
    let gap = News::Gap {
        after: 10,
        oldest: 40,
    };
    assert_eq!(brought.news, [gap]);
    let (number, target) = opened(&mut resume);
    assert!(target.ends_with("&since=39"), "{target}");

    let data = r#"{"revision":45,"oldest":60}"#.to_owned();
    let lagged = vec![
        hello(90),
        put("a", 40, Some(40)),
        message("lagged", data, None),
        put("b", 41, Some(41)),
    ];
    let brought = resume.receive(600.0, number, lagged);
    assert_eq!(keys(&brought.news), [("a".to_owned(), 40)]);
    let gap = News::Gap {
        after: 45,
        oldest: 60,
    };
    assert_eq!(brought.news.last(), Some(&gap));
    assert!(opened(&mut resume).1.ends_with("&since=59"));
}

#[test]
fn a_refusal_that_does_not_say_what_is_kept_goes_on_at_the_present() {
    let (mut resume, number) = live(0.0);
    resume.ended(1.0, 1.0, number, End::Gone(None));
    resume.tick(501.0, 1.0);
    let (number, target) = opened(&mut resume);
    assert!(!target.contains("since"), "{target}");
    let brought = resume.receive(510.0, number, vec![hello(50)]);
    let gap = News::Gap {
        after: 10,
        oldest: 51,
    };
    assert_eq!(brought.news, [gap]);
}

#[test]
fn another_cluster_at_the_same_address_begins_anew() {
    let (mut resume, number) = live(0.0);
    let mut beat = status(Role::Leader, 3);
    resume.receive(1.0, number, vec![heartbeat(beat.clone())]);
    assert_eq!(resume.take_action(), None);
    beat.cluster_id = "other".to_owned();
    let brought = resume.receive(2.0, number, vec![heartbeat(beat)]);
    assert!(brought.heartbeat.is_some());
    let (number, target) = opened(&mut resume);
    assert!(!target.contains("since"), "{target}");
    let brought = resume.receive(3.0, number, vec![hello(3)]);
    let gap = News::Gap {
        after: 0,
        oldest: 4,
    };
    assert_eq!(brought.news, [gap]);
}

#[test]
fn other_wishes_open_another_stream_from_where_this_one_is() {
    let (mut resume, _) = live(0.0);
    let interest = Interest {
        prefixes: vec!["a/".to_owned(), "b c".to_owned()],
        types: vec!["put".to_owned(), "member".to_owned()],
    };
    resume.want(5.0, interest.clone());
    let (_, target) = opened(&mut resume);
    let wanted = "&since=10&prefix=a%2F&prefix=b%20c&types=leader,member,put";
    assert!(target.ends_with(wanted), "{target}");
    assert_eq!(resume.connection(), Connection::Live);
    resume.want(6.0, interest);
    assert_eq!(resume.take_action(), None);
}

/// A source of chance that a seed repeats.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// A node's history: revision `at * 3 + 5` has `at % 3 + 1` changes.
struct Node {
    changes: u64,
    oldest: u64,
}

impl Node {
    const fn revision(at: u64) -> u64 {
        at * 3 + 5
    }

    /// What a connection is sent, whole.
    fn stream(&self, since: u64) -> Vec<Message> {
        let mut all = vec![hello(Self::revision(self.changes))];
        for at in 0..self.changes {
            let revision = Self::revision(at);
            if revision > since {
                for part in 0..=at % 3 {
                    let id = (part == at % 3).then_some(revision);
                    all.push(put(&format!("{at}/{part}"), revision, id));
                }
            }
        }
        all
    }
}

#[test]
fn every_revision_comes_once_or_in_a_gap_whatever_happens_f_7() {
    let seed = RandomState::new().build_hasher().finish();
    for round in 0..300 {
        let seed = seed.wrapping_add(round);
        println!("seed {seed}");
        one_life(&mut Chance(seed));
    }
}

/// One tab and its node.
struct Life {
    node: Node,
    resume: Resume,
    /// The connection that is open, and what it is still to be sent.
    connection: Option<(u64, Vec<Message>)>,
    number: u64,
    seen: Vec<News>,
    started: u64,
    has_resumed: bool,
}

impl Life {
    /// Does what the tab wants; the node may refuse.
    fn connect(&mut self, chance: &mut Chance, now: f64, is_calm: bool) {
        let Some(action) = self.resume.take_action() else {
            return;
        };
        self.connection = None;
        let Action::Open { number, target } = action else {
            return;
        };
        self.number = number;
        let since = target.split_once("since=");
        let since = since.map(|(_, revision)| revision.parse::<u64>().unwrap());
        if since.is_some_and(|since| since + 1 < self.node.oldest) {
            let told = (chance.below(8) > 0).then_some(self.node.oldest);
            let brought = self.resume.ended(now, 0.0, number, End::Gone(told));
            self.seen.extend(brought.news);
        } else if !is_calm && chance.below(4) == 0 {
            self.resume.ended(now, 0.0, number, End::Refused(503));
        } else {
            let from = since.unwrap_or(Node::revision(self.node.changes));
            self.has_resumed |= since.is_some();
            if !self.has_resumed {
                self.started = from;
            }
            self.connection = Some((number, self.node.stream(from)));
        }
    }

    /// Something is written, and an open stream is told.
    fn write(&mut self, chance: &mut Chance) {
        self.node.changes += 1;
        let newest = Node::revision(self.node.changes - 1);
        if let Some((_, rest)) = &mut self.connection {
            rest.extend(self.node.stream(newest - 1).split_off(1));
        }
        if chance.below(40) == 0 {
            self.node.oldest = Node::revision(self.node.changes).saturating_sub(chance.below(20));
        }
    }

    /// A piece of the stream arrives.
    fn receive(&mut self, now: f64, count: usize) {
        if let Some((number, rest)) = &mut self.connection {
            let piece: Vec<Message> = rest.drain(..count.min(rest.len())).collect();
            let brought = self.resume.receive(now, *number, piece);
            self.seen.extend(brought.news);
        }
    }
}

fn one_life(chance: &mut Chance) {
    let mut now = 0.0;
    let mut life = Life {
        node: Node {
            changes: 3,
            oldest: 0,
        },
        resume: Resume::new(now),
        connection: None,
        number: 0,
        seen: Vec::new(),
        started: 0,
        has_resumed: false,
    };
    for step in 0..400 {
        now += 40.0;
        let is_calm = step > 340;
        life.connect(chance, now, is_calm);
        if chance.below(3) == 0 && !is_calm {
            life.write(chance);
        }
        match chance.below(if is_calm { 1 } else { 12 }) {
            1 => {
                let brought = life.resume.ended(now, 0.0, life.number, End::Broken);
                life.seen.extend(brought.news);
            }
            2 => life.resume.hide(now),
            3 => life.resume.see(now),
            4 => {
                // What comes late from a connection that is over.
                let late = life.node.stream(0);
                let over = life.number.wrapping_sub(1);
                life.seen.extend(life.resume.receive(now, over, late).news);
            }
            5 => life.resume.retry(now),
            6 => now += 6_000.0,
            _ if is_calm => {
                life.resume.see(now);
                life.receive(now, usize::MAX);
            }
            _ => life.receive(now, usize::try_from(chance.below(6)).unwrap()),
        }
        life.resume.tick(now, 0.0);
    }
    check(&life.node, life.started, &life.seen);
}

/// Each change of the node is in what was seen, once and in order, or in a gap.
fn check(node: &Node, started: u64, seen: &[News]) {
    let mut got = keys(seen);
    let gaps: Vec<(u64, u64)> = seen
        .iter()
        .filter_map(|news| match news {
            News::Gap { after, oldest } => Some((*after, *oldest)),
            _ => None,
        })
        .collect();
    assert!(got.is_sorted_by_key(|(_, revision)| *revision), "{got:?}");
    let count = got.len();
    got.sort();
    got.dedup();
    assert_eq!(got.len(), count, "something came twice");
    for message in &node.stream(started)[1..] {
        let change: KeyChange = serde_json::from_str(&message.data).unwrap();
        let lost =
            |(after, oldest): &(u64, u64)| change.revision > *after && change.revision < *oldest;
        let came = got
            .binary_search(&(change.key.clone(), change.revision))
            .is_ok();
        assert!(
            came != gaps.iter().any(lost),
            "{change:?} came: {came}; gaps {gaps:?}"
        );
    }
}
