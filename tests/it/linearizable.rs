//! Histories of clients under faults, judged by the checker of linearizability.
//!
//! `CONCLAVE_TEST_SEED` repeats the faults of a run, `CONCLAVE_TEST_CAMPAIGN_SECONDS` and
//! `CONCLAVE_TEST_PAUSES` make them last longer.

use std::time::Duration;

use conclave_tests::Cluster;
use conclave_tests::campaign::{Campaign, Clocks, Kind, pause_leaders};
use conclave_tests::faults::clocks::{self, Faked};
use conclave_tests::history::{self, Checked, Counts, Limits};
use conclave_tests::said::{measured, skipped};
use conclave_tests::settings::{self, CAMPAIGN_SECONDS};

#[expect(clippy::print_stdout, reason = "what a run did")]
fn report(text: &str) {
    println!("{text}");
}

#[tokio::test]
async fn consistent_reads_and_writes_are_linearizable_under_kills_pauses_and_cuts() {
    let seconds = settings::number(CAMPAIGN_SECONDS, 40);
    let answers = usize::try_from(50_000 * seconds / 60).expect(CAMPAIGN_SECONDS);
    let campaign = Campaign::new(settings::seed())
        .length(Duration::from_secs(seconds))
        .answers(answers);
    let mut cluster = Cluster::builder().links().start().await;
    let record = campaign.run(&mut cluster).await;
    let checked = history::check(&record.history, Limits::default());
    measured(&format!("{record}; {checked}"));
    checked.assert_linearizable();
    record.assert_covered();
}

#[tokio::test]
async fn a_campaign_with_stale_reads_is_found_not_linearizable() {
    let campaign = Campaign::new(settings::seed())
        .level("stale")
        .kinds(&[Kind::Pause])
        .length(Duration::from_secs(3))
        .answers(1_000);
    let mut cluster = Cluster::start().await;
    let record = campaign.run(&mut cluster).await;
    let checked = history::check(&record.history, Limits::default());
    println!("{record}\n{checked}");
    record.assert_covered();
    let stale = |text: &&String| text.contains("a stale read");
    let found = checked.violations.iter().filter(stale).count();
    println!(
        "{found} keys with a stale read, such as {:?}",
        checked.violations.first()
    );
    assert!(found > 0, "{record}\n{checked}");
}

/// Freezes leaders with reads of the level waiting for them, and judges what was seen.
async fn freeze_leaders(
    cluster: &Cluster,
    level: &'static str,
    clocks: Clocks,
    pauses: usize,
) -> (Counts, Checked) {
    let paused = pause_leaders(cluster, level, clocks, pauses, settings::seed()).await;
    let checked = history::check(&paused.history, Limits::default());
    let late = paused.late;
    report(&format!(
        "level {level}, clocks {clocks:?}, {pauses} pauses, late reads: {late}\n{checked}"
    ));
    cluster.assert_converged().await;
    (late, checked)
}

/// Freezes a leader again and again until the checker has found something.
///
/// # Panics
///
/// It has not after several pauses.
async fn assert_caught(cluster: &Cluster, level: &'static str, clocks: Clocks) {
    const PAUSES: usize = 8;
    for _ in 0..PAUSES {
        let (_, checked) = freeze_leaders(cluster, level, clocks, 1).await;
        if let Some(found) = checked.violations.first() {
            report(found);
            return;
        }
    }
    panic!("nothing found at `{level}` with clocks {clocks:?} in {PAUSES} pauses");
}

#[tokio::test]
async fn a_thawed_leader_answers_no_default_read_from_before_its_pause() {
    let pauses = settings::number(settings::PAUSES, 3);
    let cluster = Cluster::start().await;
    let (late, checked) = freeze_leaders(&cluster, "default", Clocks::Run, pauses).await;
    let stale = checked.violations.iter();
    let stale = stale.filter(|text| text.contains("a stale read")).count();
    measured(&format!(
        "{pauses} leaders frozen with reads at `default` waiting, and with clocks that run: {stale} stale \
         of {} answers, {} of them asked after newer writes; {checked}",
        checked.operations, late.answered
    ));
    checked.assert_linearizable();
    // Each late read was asked when another leader had acknowledged newer writes.
    assert!(late.answered > 0, "{late}");
    // The control: without a lease the same reads are answered from before the pause.
    assert_caught(&cluster, "stale", Clocks::Run).await;
}

#[tokio::test]
async fn a_leader_whose_clock_stood_still_is_caught_at_default_and_safe_at_consistent() {
    let Some(library) = clocks::library(Faked::All) else {
        skipped("a leader whose clock stands still needs libfaketime");
        return;
    };
    let cluster = Cluster::builder().links().clocks(&library).start().await;
    let (_, checked) = freeze_leaders(&cluster, "consistent", Clocks::StandStill, 1).await;
    checked.assert_linearizable();
    // The lease is a promise about clocks: this one was broken, and the checker sees it.
    assert_caught(&cluster, "default", Clocks::StandStillAlone).await;
}
