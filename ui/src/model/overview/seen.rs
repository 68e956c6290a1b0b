//! What this page has seen of the cluster: the last word of every member, and of the time before only
//! what a reader asks for: how fast the log grows, since when the leader leads, when a term began.
//!
//! Nothing is made up between two words. A member that says nothing more keeps its last word and the
//! moment of it. Moments are those of the serving node's clock, milliseconds since 1970; other
//! members' clocks only measure their own durations.

use std::collections::VecDeque;

use conclave_shared::{
    ClusterStatus, NodeStatus,
    cluster::{MemberStatus, Role},
    metrics::{Mark, MarkKind},
};

use crate::model::order::sort;
use crate::model::seats::{Seat, UNREACHABLE_AFTER_MS, own_seat};

/// Commit indexes that are remembered, one per word: two minutes.
const SAMPLES: usize = 120;
/// Time over which the rate of writes is taken.
const RATE_MS: u64 = 5_000;
/// Acknowledgements nearer than this are one: two clocks measure them.
const SAME_ACK_MS: u64 = 30;
/// Begins of terms that are remembered.
const TERMS: usize = 4;

/// How far a member's log goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Log {
    pub last: u64,
    pub commit: u64,
    pub applied: u64,
    pub snapshot: u64,
}

/// A time that is exact, or of which only the least is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub ms: u64,
    pub at_least: bool,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub node: String,
    pub http: String,
    /// Its number in the order of the names, of how many.
    pub at: usize,
    pub of: usize,
    pub seat: Seat,
    pub voter: bool,
    pub serving: bool,
    /// None when nobody ever said.
    pub log: Option<Log>,
    /// Moment of its last word; none before the first.
    pub heard: Option<u64>,
    /// Acknowledgements to the leader that this page saw.
    pub beats: u32,
    /// Committed entries that it has not applied; none when one of the two is not known.
    pub lag: Option<u64>,
    /// For how long the first of these has been committed.
    pub behind: Option<Span>,
    /// Moment of its last acknowledgement, by the leader's clock.
    ack: Option<u64>,
}

/// Since when a leader leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reign {
    pub leader: String,
    pub term: u64,
    /// It leads at least since then.
    pub since: u64,
    /// False when it has begun at that moment.
    pub at_least: bool,
}

/// What the page has seen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// In the order of the names.
    pub places: Vec<Place>,
    pub serving: String,
    pub term: u64,
    /// Last index of any log that is known: the ribbon's end.
    pub head: u64,
    /// Highest commit index that is known: the serving node's own word is newer than the others'.
    pub commit: u64,
    /// None while the serving node knows no leader.
    pub reign: Option<Reign>,
    /// Moment since which it knows none.
    pub leaderless: Option<u64>,
    /// First index of each term that began meanwhile, as near as two words tell, and the term.
    pub terms: Vec<(u64, u64)>,
    /// Moment of the last word.
    pub heard: u64,
    /// When all members were last asked, and the highest commit index that they said.
    samples: VecDeque<(u64, u64)>,
}

impl Seen {
    /// Takes in what the serving node says at the moment `now`.
    pub fn hear(&mut self, status: &NodeStatus, cluster: &ClusterStatus, now: u64) {
        let term = cluster.term.max(status.term);
        if term > self.term && self.term > 0 {
            self.terms.push((self.head + 1, term));
            let surplus = self.terms.len().saturating_sub(TERMS);
            self.terms.drain(..surplus);
        }
        self.term = self.term.max(term);
        self.serving.clone_from(&status.node);
        let is_new = self.heard == 0;
        self.heard = now;
        self.hear_leader(status.leader.as_deref(), now, is_new);
        let leading = leading(status, cluster);
        let asked = asked(status, cluster).unwrap_or(now).min(now);
        let mut members: Vec<&MemberStatus> = cluster.members.iter().collect();
        sort(&mut members, |a, b| a.address.node.cmp(&b.address.node));
        let of = members.len();
        let places = members.into_iter().enumerate().map(|(at, member)| {
            let old = self
                .places
                .iter()
                .find(|old| old.node == member.address.node);
            place(old, (at, of), member, status, leading, asked)
        });
        self.places = places.collect();
        self.measure(asked);
        self.commit = self.commit.max(status.commit_index);
    }

    /// Takes over from the metrics since when the leader leads, if this page does not know it.
    pub fn learn(&mut self, marks: &[Mark], oldest: Option<u64>) {
        let Some(reign) = self.reign.as_mut().filter(|reign| reign.at_least) else {
            return;
        };
        let found = marks.iter().rfind(|mark| mark.kind == MarkKind::Leader);
        if let Some(mark) = found {
            reign.since = mark.time_ms;
            reign.at_least = false;
        } else if let Some(oldest) = oldest {
            reign.since = reign.since.min(oldest);
        }
    }

    /// Returns committed entries per second over the last moments; none before two words.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a rate of a few seconds")]
    pub fn rate(&self) -> Option<f64> {
        self.reign.as_ref()?;
        let (end, commit) = *self.samples.back()?;
        let recent = |sample: &&(u64, u64)| end - sample.0 <= RATE_MS;
        let (begin, before) = *self.samples.iter().find(recent)?;
        (end > begin).then(|| (commit - before) as f64 * 1_000.0 / (end - begin) as f64)
    }

    /// Returns the leader's place.
    #[must_use]
    pub fn leader(&self) -> Option<&Place> {
        let reign = self.reign.as_ref()?;
        self.places.iter().find(|place| place.node == reign.leader)
    }

    /// Says whether a majority of the voters can be heard, by the serving node or by its leader.
    #[must_use]
    pub fn has_majority(&self) -> bool {
        let voters = self.places.iter().filter(|place| place.voter);
        let (mut all, mut here) = (0, 0);
        for voter in voters {
            all += 1;
            here += usize::from(voter.seat != Seat::Unreachable);
        }
        here > all / 2
    }

    fn hear_leader(&mut self, leader: Option<&str>, now: u64, is_new: bool) {
        let Some(leader) = leader else {
            self.reign = None;
            self.leaderless = self.leaderless.or(Some(now));
            return;
        };
        self.leaderless = None;
        let same =
            |reign: &Reign| reign.leader == leader && (reign.term == self.term || reign.term == 0);
        if !self.reign.as_ref().is_some_and(same) {
            self.reign = Some(Reign {
                leader: leader.to_owned(),
                term: self.term,
                since: now,
                at_least: is_new,
            });
        }
    }

    /// Counts what lies between the members' logs.
    fn measure(&mut self, asked: u64) {
        let known = |pick: fn(&Log) -> u64| {
            let logs = self.places.iter().filter_map(|place| place.log.as_ref());
            logs.map(pick).max().unwrap_or_default()
        };
        self.head = known(|log| log.last);
        self.commit = known(|log| log.commit);
        // A commit index never falls, but a page may hear of it from two nodes.
        let last = self.samples.back().copied().unwrap_or_default();
        if asked > last.0 {
            self.samples.push_back((asked, self.commit.max(last.1)));
            let surplus = self.samples.len().saturating_sub(SAMPLES);
            self.samples.drain(..surplus);
        }
        let leads = self.reign.as_ref().map(|reign| reign.leader.as_str());
        for place in &mut self.places {
            // Without a leader nobody knows what is committed meanwhile.
            let applied = place.log.map(|log| log.applied);
            place.lag = leads
                .and(applied)
                .map(|applied| self.commit.saturating_sub(applied));
            place.behind = match (place.lag, applied) {
                (Some(1..), Some(applied)) => behind(&self.samples, applied, asked),
                _ => None,
            };
        }
    }
}

/// Returns the status of the leader that the serving node knows.
fn leading<'a>(status: &'a NodeStatus, cluster: &'a ClusterStatus) -> Option<&'a NodeStatus> {
    let name = status.leader.as_ref()?;
    let mut statuses = cluster
        .members
        .iter()
        .filter_map(|member| member.status.as_ref());
    statuses.find(|other| other.node == *name && other.role == Role::Leader)
}

/// Returns the moment at which the members were asked, by the serving node's clock.
fn asked(status: &NodeStatus, cluster: &ClusterStatus) -> Option<u64> {
    let mut statuses = cluster.members.iter().filter_map(|m| m.status.as_ref());
    Some(statuses.find(|own| own.node == status.node)?.now_ms)
}

/// Puts together what is known of a member. Logs are those of one moment, at which all were asked: the
/// serving node's newest word would make the others look late.
fn place(
    old: Option<&Place>,
    (at, of): (usize, usize),
    member: &MemberStatus,
    status: &NodeStatus,
    leading: Option<&NodeStatus>,
    asked: u64,
) -> Place {
    let node = &member.address.node;
    let serving = *node == status.node;
    let said = match &member.status {
        Some(said) => Some(said),
        None => serving.then_some(status),
    };
    let progress = leading.and_then(|leader| {
        let mut followers = leader.followers.iter();
        followers.find(|follower| follower.node == *node)
    });
    let recent = |age: Option<u64>| age.is_some_and(|age| age <= UNREACHABLE_AFTER_MS);
    let is_heard =
        recent(progress.and_then(|follower| follower.last_ack_ms)) || recent(member.last_heard_ms);
    let seat = match said {
        Some(_) if serving => own_seat(status),
        Some(said) => match own_seat(said) {
            Seat::Leader if leading.is_some_and(|leader| leader.node != *node) => Seat::Unconfirmed,
            seat => seat,
        },
        None if is_heard && status.leader.as_ref() == Some(node) => Seat::Leader,
        None if is_heard => Seat::Unknown,
        None => Seat::Unreachable,
    };
    let heard = match said {
        Some(_) => Some(asked),
        None => [
            old.and_then(|old| old.heard),
            member.last_heard_ms.map(|age| asked.saturating_sub(age)),
            progress
                .and_then(|follower| follower.last_ack_ms)
                .map(|age| asked.saturating_sub(age)),
        ]
        .into_iter()
        .flatten()
        .max(),
    };
    let ack = leading.and_then(|leader| {
        let age = progress?.last_ack_ms?;
        Some(leader.now_ms.saturating_sub(age))
    });
    let last_ack = old.and_then(|old| old.ack);
    let acked = matches!((ack, last_ack), (Some(ack), Some(last)) if ack > last + SAME_ACK_MS);
    Place {
        node: node.clone(),
        http: member.address.http.clone(),
        at,
        of,
        seat,
        voter: member.address.voter,
        serving,
        log: log(
            old.and_then(|old| old.log),
            said,
            progress.map(|p| p.match_index),
            leading.map_or(0, |leader| leader.commit_index),
        ),
        heard,
        beats: old.map_or(0, |old| old.beats) + u32::from(acked),
        lag: None,
        behind: None,
        ack: ack.or(last_ack),
    }
}

/// What is known of a member's log: its own word, or its last one and what its leader knows. What a
/// silent member has stored and the leader has committed counts as applied: nobody knows better, and
/// it will be when the member runs.
fn log(
    old: Option<Log>,
    said: Option<&NodeStatus>,
    matched: Option<u64>,
    committed: u64,
) -> Option<Log> {
    if let Some(said) = said {
        return Some(Log {
            last: said.last_log_index,
            commit: said.commit_index,
            applied: said.applied_index,
            snapshot: said.snapshot_index,
        });
    }
    let matched = matched.unwrap_or_default();
    if old.is_none() && matched == 0 {
        return None;
    }
    let mut log = old.unwrap_or_default();
    log.last = log.last.max(matched);
    log.commit = log.commit.max(matched.min(committed));
    log.applied = log.applied.max(matched.min(committed));
    Some(log)
}

/// For how long the entry behind `applied` has been committed: the moment lies between two words, at
/// the same share of the time as of the indexes.
fn behind(samples: &VecDeque<(u64, u64)>, applied: u64, now: u64) -> Option<Span> {
    let at = samples.iter().position(|(_, commit)| *commit > applied)?;
    let (time, commit) = samples[at];
    let Some((time_before, commit_before)) = at.checked_sub(1).map(|at| samples[at]) else {
        return Some(Span {
            ms: now.saturating_sub(time),
            at_least: true,
        });
    };
    let share = (applied - commit_before) as u128 * u128::from(time - time_before)
        / u128::from(commit - commit_before);
    let moment = time_before + u64::try_from(share).unwrap_or_default();
    Some(Span {
        ms: now.saturating_sub(moment),
        at_least: false,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use conclave_shared::cluster::{MemberState, QuorumStatus};

    use super::*;
    use crate::model::seats::tests::status;

    /// What `node0` says of a cluster that it leads.
    pub(crate) fn cluster(status: &NodeStatus) -> ClusterStatus {
        let member = |address: &conclave_shared::cluster::MemberAddress| {
            let mut own = status.clone();
            own.node.clone_from(&address.node);
            if address.node != status.node {
                own.role = Role::Follower;
                own.followers.clear();
            }
            MemberStatus {
                role: Some(own.role),
                address: address.clone(),
                reachable: true,
                state: MemberState::Ok,
                status: Some(own),
                error: None,
                last_heard_ms: Some(0),
            }
        };
        let voters = status.members.len() as u64;
        ClusterStatus {
            leader: status.leader.clone(),
            term: status.term,
            quorum: QuorumStatus {
                voters,
                healthy: voters,
                can_lose: (voters - 1) / 2,
            },
            members: status.members.iter().map(member).collect(),
        }
    }

    /// Lets a member fall silent.
    pub(crate) fn silence(status: &mut NodeStatus, cluster: &mut ClusterStatus, node: &str) {
        for follower in status.followers.iter_mut().filter(|f| f.node == node) {
            follower.last_ack_ms = Some(9_000);
        }
        for member in &mut cluster.members {
            if member.address.node == node {
                member.status = None;
                member.role = None;
                member.reachable = false;
                member.last_heard_ms = None;
            }
            if member.address.node == status.node {
                member.status = Some(status.clone());
            }
        }
    }

    /// The leader's status at a moment, with a commit index.
    fn at(now: u64, commit: u64) -> NodeStatus {
        let mut status = status(Role::Leader, 3);
        status.now_ms = now;
        status.commit_index = commit;
        status.applied_index = commit;
        status.last_log_index = commit;
        status
    }

    fn hear(seen: &mut Seen, status: &NodeStatus) {
        seen.hear(status, &cluster(status), status.now_ms);
    }

    #[test]
    fn members_sit_in_the_order_of_their_names() {
        let mut seen = Seen::default();
        hear(&mut seen, &at(1_000, 41));
        let names: Vec<_> = seen
            .places
            .iter()
            .map(|place| place.node.as_str())
            .collect();
        assert_eq!(names, ["node0", "node1", "node2"]);
        assert_eq!(seen.places[2].at, 2);
        assert_eq!(seen.places[0].seat, Seat::Leader);
    }

    #[test]
    fn each_new_acknowledgement_is_one_beat() {
        let mut seen = Seen::default();
        let beats = |seen: &Seen| seen.places[1].beats;
        hear(&mut seen, &at(1_000, 41));
        assert_eq!(beats(&seen), 0, "nothing came while this page looked");
        hear(&mut seen, &at(2_000, 41));
        assert_eq!(beats(&seen), 1);
        let mut later = at(3_000, 41);
        later.followers[0].last_ack_ms = Some(1_090);
        hear(&mut seen, &later);
        assert_eq!(beats(&seen), 1, "the same acknowledgement, a second older");
        assert_eq!(seen.places[2].beats, 2);
    }

    #[test]
    fn the_serving_nodes_newer_word_makes_nobody_late() {
        let mut seen = Seen::default();
        let newer = at(1_900, 60);
        seen.hear(&newer, &cluster(&at(1_000, 41)), 1_900);
        assert_eq!(seen.commit, 60);
        assert_eq!(seen.head, 41, "the ribbon is of one moment");
        assert!(seen.places.iter().all(|place| place.lag == Some(0)));
        assert_eq!(seen.places[1].heard, Some(1_000));
    }

    #[test]
    fn a_silent_member_keeps_its_last_word() {
        let mut seen = Seen::default();
        hear(&mut seen, &at(1_000, 41));
        let mut status = at(60_000, 90);
        let mut cluster = cluster(&status);
        silence(&mut status, &mut cluster, "node1");
        seen.hear(&status, &cluster, 60_000);
        let silent = &seen.places[1];
        assert_eq!(silent.seat, Seat::Unreachable);
        assert_eq!(silent.log.map(|log| log.applied), Some(41));
        assert_eq!(silent.heard, Some(51_000), "the leader heard it last");
        assert_eq!(silent.lag, Some(49));
        assert_eq!(
            silent.behind,
            Some(Span {
                ms: 59_000,
                at_least: false
            })
        );
        assert!(seen.has_majority());
    }

    #[test]
    fn of_a_member_that_was_always_silent_the_leader_knows_the_log() {
        let mut status = at(1_000, 90);
        let mut cluster = cluster(&status);
        silence(&mut status, &mut cluster, "node1");
        let mut seen = Seen::default();
        seen.hear(&status, &cluster, 1_000);
        assert_eq!(seen.places[1].log.map(|log| log.last), Some(40));
        assert_eq!(seen.places[1].lag, Some(50), "and nothing else is missing");
    }

    #[test]
    fn a_member_that_only_the_leader_hears_is_not_known_from_here() {
        let mut status = at(1_000, 41);
        let mut cluster = cluster(&status);
        silence(&mut status, &mut cluster, "node1");
        status.followers[0].last_ack_ms = Some(100);
        cluster.members.iter_mut().for_each(|member| {
            if member.address.node == "node0" {
                member.status = Some(status.clone());
            }
        });
        let mut seen = Seen::default();
        seen.hear(&status, &cluster, 1_000);
        assert_eq!(seen.places[1].seat, Seat::Unknown);
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let mut seen = Seen::default();
        hear(&mut seen, &at(1_000, 100));
        assert_eq!(seen.rate(), None);
        hear(&mut seen, &at(3_000, 300));
        assert_eq!(seen.rate(), Some(100.0));
        for second in 4..=20 {
            hear(&mut seen, &at(second * 1_000, 300));
        }
        assert_eq!(seen.rate(), Some(0.0));
    }

    #[test]
    fn a_lag_in_time_is_taken_from_when_the_entry_was_committed() {
        let samples = VecDeque::from([(1_000, 100), (2_000, 200), (3_000, 200)]);
        let span = |applied| behind(&samples, applied, 3_000).map(|span| (span.ms, span.at_least));
        assert_eq!(span(150), Some((1_500, false)));
        assert_eq!(span(50), Some((2_000, true)), "committed before this page");
        assert_eq!(span(200), None);
    }

    #[test]
    fn a_reign_that_began_before_the_page_is_learned_or_a_least() {
        let mut seen = Seen::default();
        hear(&mut seen, &at(100_000, 41));
        let reign = |seen: &Seen| {
            seen.reign
                .clone()
                .map(|reign| (reign.since, reign.at_least))
        };
        assert_eq!(reign(&seen), Some((100_000, true)));
        seen.learn(&[], Some(40_000));
        assert_eq!(reign(&seen), Some((40_000, true)));
        let mark = Mark {
            time_ms: 50_000,
            kind: MarkKind::Leader,
            text: String::new(),
        };
        seen.learn(&[mark], Some(40_000));
        assert_eq!(reign(&seen), Some((50_000, false)));
    }

    #[test]
    fn a_change_of_leader_begins_a_reign_and_a_term() {
        let mut seen = Seen::default();
        hear(&mut seen, &at(1_000, 41));
        let mut without = at(2_000, 41);
        without.leader = None;
        without.role = Role::Candidate;
        without.term = 9;
        hear(&mut seen, &without);
        assert_eq!((seen.reign.is_none(), seen.leaderless), (true, Some(2_000)));
        assert_eq!(seen.places[0].lag, None, "nobody knows what is committed");
        let mut after = at(4_000, 42);
        after.term = 9;
        hear(&mut seen, &after);
        assert_eq!(seen.leaderless, None);
        let reign = seen.reign.clone().unwrap();
        assert_eq!((reign.since, reign.at_least, reign.term), (4_000, false, 9));
        assert_eq!(seen.terms, [(42, 9)]);
    }
}
