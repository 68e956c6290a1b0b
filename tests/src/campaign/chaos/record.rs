//! What a chaotic campaign did and what its clients saw, all legs together.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::plan::{Class, Plan};
use super::stage::Happened;
use crate::history::{Checked, Counts, History};
use crate::load::increments::Tally;
use crate::load::lock_contenders::Fence;
use crate::load::writers::WriteLog;
use crate::spread::Spread;

/// Answers in a second that clients with a history must get while nothing is wrong.
const QUIET_ANSWERS: usize = 50;

/// What the watchers of a leg got.
#[derive(Debug, Default)]
pub(super) struct Streams {
    pub(super) changes: usize,
    pub(super) delivered: usize,
    pub(super) gaps: usize,
    /// Acknowledged writes of what they watched.
    pub(super) writes: usize,
}

/// The sums. Nothing in it was wrong: that would have ended the campaign.
#[derive(Debug, Default)]
pub struct Record {
    pub seed: u64,
    pub legs: usize,
    pub took: Duration,
    /// Operations of the clients with a history while faults went on.
    pub operations: Counts,
    /// Of all operations that were judged, those after the faults too.
    pub checked: usize,
    pub keys: usize,
    /// Acknowledged writes of all clients.
    pub writes: u64,
    /// Those of them to a key of their own.
    pub unique: usize,
    pub increments: u64,
    /// Answers that were those of an earlier attempt, and attempts without a clear one.
    pub replays: u64,
    pub unclear: u64,
    pub fence: Fence,
    /// How often a process that contends for the lock was stopped.
    pub stops: usize,
    pub changes: usize,
    pub delivered: usize,
    pub resumes: u64,
    pub gaps: usize,
    /// How often each class was planned, and how often it happened.
    pub faults: BTreeMap<Class, (usize, usize)>,
    /// Joining nodes that ended because an answer was unknown, and were started again.
    pub gave_up: usize,
    /// Time with a fault, and with two or more.
    pub faulty: Duration,
    pub overlapping: Duration,
    /// The longest time without an acknowledged write at each fault.
    pub pauses: Vec<Duration>,
    pub longest_pause: Duration,
    /// Time from the end of the last fault to equal states, of each leg.
    pub converged: Vec<Duration>,
    /// The fewest answers in a second to the clients with a history, before the faults of a leg.
    pub quiet: Option<usize>,
}

impl Record {
    pub(super) fn note_quiet(&mut self, answers: usize, time: Duration) {
        let seconds = usize::try_from(time.as_secs()).unwrap_or(usize::MAX).max(1);
        let rate = answers / seconds;
        self.quiet = Some(self.quiet.map_or(rate, |least| least.min(rate)));
    }

    pub(super) fn note_faults(&mut self, plan: &Plan, happened: &[Happened]) {
        for class in plan.classes() {
            let (planned, done) = self.faults.entry(class).or_default();
            *planned += plan.count(class);
            *done += happened.iter().filter(|one| one.class == class).count();
        }
        let (faulty, overlapping) = times(happened);
        self.faulty += faulty;
        self.overlapping += overlapping;
    }

    pub(super) fn note_history(&mut self, history: &History, checked: &Checked) {
        self.checked += checked.operations;
        self.keys += checked.keys;
        self.writes += history.writes() as u64;
    }

    pub(super) fn note_writes(&mut self, log: &WriteLog, happened: &[Happened]) {
        self.unique += log.acknowledged();
        self.writes += log.acknowledged() as u64;
        let faults: Vec<_> = happened.iter().map(|one| (one.began, one.ended)).collect();
        self.pauses.extend(log.longest_pauses(&faults));
        self.longest_pause = self.longest_pause.max(log.longest_pause());
    }

    pub(super) fn note_increments(&mut self, tally: &Tally) {
        self.increments += tally.successes();
        self.writes += tally.successes();
        self.replays += tally.replays;
        self.unclear += tally.unclear;
    }

    pub(super) fn note_streams(&mut self, streams: &Streams, resumes: u64) {
        self.changes += streams.changes;
        self.delivered += streams.delivered;
        self.gaps += streams.gaps;
        self.writes += streams.writes as u64;
        self.resumes += resumes;
    }

    pub(super) fn note_fence(&mut self, fence: &Fence, stops: usize) {
        self.fence.grants += fence.grants;
        self.fence.written += fence.written;
        self.fence.refused += fence.refused;
        self.fence.overlaps += fence.overlaps;
        self.writes += fence.written as u64;
        self.stops += stops;
    }

    /// Checks that every class that was planned has happened, that faults have overlapped, and that the
    /// clients got answers while nothing was wrong.
    ///
    /// # Panics
    ///
    /// It is not so.
    pub fn assert_covered(&self) {
        let told = self.lines().join("\n");
        for (class, (planned, done)) in &self.faults {
            assert!(*done > 0, "0 of {planned} {class:?}:\n{told}");
        }
        assert!(
            self.overlapping > Duration::ZERO,
            "no two faults at once:\n{told}"
        );
        assert!(
            self.quiet >= Some(QUIET_ANSWERS),
            "{QUIET_ANSWERS} answers in a quiet second are wanted:\n{told}"
        );
        let clients = [self.unique, self.fence.grants, self.delivered];
        assert!(
            clients.iter().all(|count| *count > 0) && self.increments > 0 && self.resumes > 0,
            "some client has done nothing:\n{told}"
        );
    }

    /// Returns what was measured, a line for each figure.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let percent = 100.0 * self.overlapping.as_secs_f64() / self.faulty.as_secs_f64().max(0.001);
        let faults = self.faults.iter();
        let faults = faults.map(|(class, (_, done))| format!("{class:?} {done}"));
        let done = |class: Class| self.faults.get(&class).map_or(0, |(_, done)| *done);
        let alone = done(Class::KillLeader) + done(Class::KillOther);
        let clocks = match self.faults.contains_key(&Class::Clock) {
            true => "",
            false => "; no clocks: libfaketime is missing",
        };
        vec![
            format!(
                "seed {}: {} legs in {:.0} s; two or more faults at once in {percent:.0} % of the time \
                 with one{clocks}",
                self.seed,
                self.legs,
                self.took.as_secs_f64()
            ),
            format!("faults: {}", faults.collect::<Vec<_>>().join(", ")),
            format!(
                "{alone} kills of one node, {} of all at once; {} joins given up by the node and begun again",
                done(Class::KillAll),
                self.gave_up
            ),
            format!(
                "operations with a history: {}; {} checked on {} keys, 0 unknown keys, 0 violations",
                self.operations, self.checked, self.keys
            ),
            format!(
                "{} acknowledged writes of all clients; 0 of {} to keys of their own lost",
                self.writes, self.unique
            ),
            format!(
                "{} increments, {} replays, {} unclear attempts: 0 lost, 0 counted twice",
                self.increments, self.replays, self.unclear
            ),
            format!("{}; {} stops of a contender", self.fence, self.stops),
            format!(
                "{} events of {} changes delivered, {} resumes, {} announced gaps, 0 violations",
                self.delivered, self.changes, self.resumes, self.gaps
            ),
            format!(
                "without an acknowledged write at a fault: {}; at any time at most {:.1} s",
                Spread::of(self.pauses.iter().copied()),
                self.longest_pause.as_secs_f64()
            ),
            format!(
                "equal states at most {:.1} s after the last fault, clients' last answers included",
                Spread::of(self.converged.iter().copied())
                    .longest()
                    .as_secs_f64()
            ),
            format!(
                "at least {} answers in a quiet second",
                self.quiet.unwrap_or(0)
            ),
        ]
    }
}

/// Returns how long at least one fault, and at least two, went on.
fn times(happened: &[Happened]) -> (Duration, Duration) {
    let begins = happened.iter().map(|one| (one.began, 1));
    let ends = happened.iter().map(|one| (one.ended, -1));
    let mut changes: Vec<(Instant, i32)> = begins.chain(ends).collect();
    changes.sort_unstable();
    let (mut one, mut two) = (Duration::ZERO, Duration::ZERO);
    let mut going_on = 0;
    for pair in changes.windows(2) {
        going_on += pair[0].1;
        let time = pair[1].0 - pair[0].0;
        if going_on >= 1 {
            one += time;
        }
        if going_on >= 2 {
            two += time;
        }
    }
    (one, two)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_faults_overlap_only_where_two_go_on() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let fault = |began, ended| Happened {
            class: Class::Slow,
            began: at(began),
            ended: at(ended),
        };
        let ms = |(one, two): (Duration, Duration)| (one.as_millis(), two.as_millis());
        assert_eq!(ms(times(&[fault(0, 10), fault(20, 50)])), (40, 0));
        assert_eq!(
            ms(times(&[fault(0, 30), fault(20, 50), fault(25, 28)])),
            (50, 10)
        );
        assert_eq!(ms(times(&[])), (0, 0));
    }

    #[test]
    fn a_campaign_without_a_planned_fault_is_none() {
        let mut record = Record::default();
        record.faults.insert(Class::Wipe, (2, 0));
        let told = std::panic::catch_unwind(|| record.assert_covered());
        let text = told.unwrap_err();
        let text = text.downcast_ref::<String>().unwrap();
        assert!(text.contains("0 of 2 Wipe"), "{text}");
    }
}
