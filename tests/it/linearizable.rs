//! Histories of clients under faults, judged by the checker of linearizability.

use std::time::Duration;

use conclave_tests::campaign::Campaign;
use conclave_tests::history::{self, Limits};
use conclave_tests::{Cluster, Random};

/// The seed of a campaign; a new one when it is not set.
const SEED: &str = "CONCLAVE_TEST_SEED";
/// The length of the long campaign in seconds; 60 when it is not set.
const SECONDS: &str = "CONCLAVE_TEST_CAMPAIGN_SECONDS";

#[tokio::test]
async fn consistent_reads_and_writes_are_linearizable_under_kills_and_pauses() {
    let seconds = std::env::var(SECONDS).map_or(60, |text| text.parse().expect(SECONDS));
    let seed = Random::seed(SEED);
    println!("{SEED}={seed}");
    let mut cluster = Cluster::start().await;
    let campaign = Campaign::new(seed).length(Duration::from_secs(seconds));
    let record = campaign.run(&mut cluster).await;
    println!("{record}");
    let checked = history::check(&record.history, Limits::default());
    println!("{checked}");
    checked.assert_linearizable();
    record.assert_covered(50_000);
}
