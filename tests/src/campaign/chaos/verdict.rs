//! The check of a leg on the healed cluster: every kind of load by its own checker.

use super::loads::{Leg, Stopped};
use super::plan::Plan;
use super::record::{Record, Streams};
use super::stage::Happened;
use crate::cluster::Cluster;
use crate::history::{self, Limits};
use crate::load::lock_contenders::{Entry, Fence, judge};
use crate::load::watched_writes::wait_expired;
use crate::load::writers::WriteLog;
use crate::sse::Subscription;
use crate::watch::{Canon, Watcher, Written, check};

/// Violations that are shown.
const SHOWN: usize = 5;

impl Stopped {
    /// Checks everything, adds it to the record, and removes what was written.
    ///
    /// # Panics
    ///
    /// Something is wrong. The message has the leg's seed and its plan.
    pub(super) async fn check(
        self,
        plan: &Plan,
        happened: &[Happened],
        cluster: &Cluster,
        record: &mut Record,
    ) {
        let leg = self.leg;
        let mut wrong = Vec::new();

        record.operations += self.registers.history.counts();
        let history = self.registers.settle(&cluster.addresses()).await;
        let checked = history::check(&history, Limits::default());
        record.note_history(&history, &checked);
        wrong.extend(checked.violations);
        wrong.extend(checked.undecided);

        cluster.assert_converged().await;
        record.note_writes(&self.writers, happened);
        super::say(&at_longest_pause(&self.writers, happened));
        wrong.extend(self.writers.wrong_at(&cluster[0], "consistent").await);
        record.note_increments(&self.tally);
        wrong.extend(self.tally.wrong_at(&cluster[1]).await);

        let streams = Told {
            leg: &leg,
            addresses: &self.addresses,
            watchers: self.watchers,
            written: self.watched,
        };
        let (streams, fence, unkept) = streams.check(&self.entries, cluster).await;
        record.note_streams(&streams, self.resumes);
        record.note_fence(&fence, self.stops);
        wrong.extend(unkept);
        wrong.extend(fence.wrong);

        let shown: Vec<_> = wrong.iter().take(SHOWN).map(String::as_str).collect();
        assert!(
            wrong.is_empty(),
            "leg {} with seed {}: {} things are wrong:\n{}\n{plan}",
            leg.number,
            leg.seed,
            wrong.len(),
            shown.join("\n")
        );
        self.writers.remove_all(&cluster[0]).await;
        for rest in [leg.folder(), leg.fence()] {
            let target = format!("/api/keys/{rest}?recursive=true");
            cluster[0].delete(&target).await.expect_status(200);
        }
    }
}

/// Says which faults the longest time without an acknowledged write has met.
fn at_longest_pause(log: &WriteLog, happened: &[Happened]) -> String {
    let times: Vec<_> = happened.iter().map(|one| (one.began, one.ended)).collect();
    let pauses = log.longest_pauses(&times);
    let longest = log.longest_pause();
    let met = happened
        .iter()
        .zip(pauses)
        .filter(|(_, pause)| *pause == longest);
    let met = met.map(|(one, _)| format!("{:?} {:.1?}", one.class, one.ended - one.began));
    format!(
        "{longest:.1?} without a write met: {}",
        met.collect::<Vec<_>>().join(", ")
    )
}

/// What watchers were told, and what was written for them.
struct Told<'a> {
    leg: &'a Leg,
    addresses: &'a [String],
    watchers: Vec<Watcher>,
    written: Vec<Written>,
}

impl Told<'_> {
    /// Compares it with the history of the nodes, and the contenders' entries with that of their lock.
    async fn check(
        mut self,
        entries: &[Entry],
        cluster: &Cluster,
    ) -> (Streams, Fence, Vec<String>) {
        let base = self.leg.watched();
        wait_expired(&base, &cluster[0]).await;
        let key = format!("{base}end");
        let last = cluster[0].put(&format!("/api/keys/{key}"), "x").await;
        let end = last.expect_status(201).expect_number("conclave-revision");
        self.written.push(Written {
            effects: vec![("put", key, Some("x".to_owned()))],
            revision: Some(end),
            refused: false,
        });
        self.watchers.iter().for_each(|watcher| watcher.end_at(end));
        let mut logs = Vec::new();
        for watcher in self.watchers {
            logs.push(watcher.finish(end).await);
        }

        let asked = Subscription::all().prefix(&base).prefix(&self.leg.fence());
        let (canon, mut wrong) = histories(self.leg, self.addresses, &asked, end, cluster).await;
        let watched = Canon::of(canon.select(&Subscription::all().prefix(&base)));
        let unknown = watched.against(&self.written).into_iter();
        wrong.extend(unknown.map(|violation| violation.to_string()));
        let mut streams = Streams {
            changes: watched.changes(),
            writes: self
                .written
                .iter()
                .filter(|one| one.revision.is_some())
                .count(),
            ..Streams::default()
        };
        for log in &logs {
            let verdict = check(log, &canon, None);
            streams.delivered += verdict.delivered;
            streams.gaps += verdict.gaps;
            let violations = verdict.violations.iter();
            wrong.extend(violations.map(|violation| violation.to_string()));
        }
        let fence = canon.select(&Subscription::all().prefix(&self.leg.fence()));
        (streams, judge(entries, &fence), wrong)
    }
}

/// Reads the history of every node that has all of it; they must be the same.
async fn histories(
    leg: &Leg,
    addresses: &[String],
    asked: &Subscription,
    end: u64,
    cluster: &Cluster,
) -> (Canon, Vec<String>) {
    let mut known: Option<Canon> = None;
    let mut wrong = Vec::new();
    for (node, address) in cluster.nodes().iter().zip(addresses) {
        if !node.is_started() || node.status_number("oldest_revision").await > leg.start + 1 {
            continue;
        }
        let canon = Canon::read_part(address, asked, leg.start, end).await;
        match &known {
            None => known = Some(canon),
            Some(known) if *known == canon => {}
            Some(_) => wrong.push(format!("{} tells another history", node.name())),
        }
    }
    (known.expect("a node with the history of the leg"), wrong)
}
