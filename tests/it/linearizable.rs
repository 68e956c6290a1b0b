//! Histories of clients under faults, judged by the checker of linearizability.
//!
//! `CONCLAVE_TEST_SEED` repeats the faults of a run, `CONCLAVE_TEST_CAMPAIGN_SECONDS` and
//! `CONCLAVE_TEST_PAUSES` make them last longer.

use std::time::Duration;

use conclave_tests::campaign::{Campaign, Kind, pause_leaders};
use conclave_tests::history::{self, Limits};
use conclave_tests::{Cluster, Random};

const SEED: &str = "CONCLAVE_TEST_SEED";
/// Seconds of the long campaign.
const SECONDS: &str = "CONCLAVE_TEST_CAMPAIGN_SECONDS";
/// Pauses of a leader with `default` reads waiting for it.
const PAUSES: &str = "CONCLAVE_TEST_PAUSES";

fn number(variable: &str, usual: u64) -> u64 {
    let set = std::env::var(variable).ok();
    set.map_or(usual, |text| text.parse().expect(variable))
}

#[expect(clippy::print_stdout, reason = "what repeats a failed test")]
fn seed() -> u64 {
    let seed = Random::seed(SEED);
    println!("{SEED}={seed}");
    seed
}

#[tokio::test]
async fn consistent_reads_and_writes_are_linearizable_under_kills_pauses_and_cuts() {
    let seconds = number(SECONDS, 60);
    let answers = usize::try_from(50_000 * seconds / 60).expect(SECONDS);
    let campaign = Campaign::new(seed())
        .length(Duration::from_secs(seconds))
        .answers(answers);
    let mut cluster = Cluster::builder().links().start().await;
    let record = campaign.run(&mut cluster).await;
    let checked = history::check(&record.history, Limits::default());
    println!("{record}\n{checked}");
    checked.assert_linearizable();
    record.assert_covered();
}

#[tokio::test]
async fn a_campaign_with_stale_reads_is_found_not_linearizable() {
    let campaign = Campaign::new(seed())
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

#[tokio::test]
async fn a_thawed_leader_answers_no_default_read_from_before_its_pause() {
    let pauses = usize::try_from(number(PAUSES, 4)).expect(PAUSES);
    let cluster = Cluster::start().await;
    let paused = pause_leaders(&cluster, "default", pauses, seed()).await;
    let checked = history::check(&paused.history, Limits::default());
    println!(
        "{} pauses, late reads: {}\n{checked}",
        paused.rounds, paused.late
    );
    checked.assert_linearizable();
    assert!(paused.late.answered >= pauses, "{:?}", paused.late);
    cluster.assert_converged().await;
}

#[tokio::test]
async fn a_thawed_leader_is_caught_when_it_answers_from_before_its_pause() {
    // The control of the test above: `stale` is what `default` would be without its lease.
    let cluster = Cluster::start().await;
    let paused = pause_leaders(&cluster, "stale", 2, seed()).await;
    let checked = history::check(&paused.history, Limits::default());
    println!(
        "{} pauses, late reads: {}\n{checked}",
        paused.rounds, paused.late
    );
    assert!(!checked.violations.is_empty(), "{checked}");
    cluster.assert_converged().await;
}
