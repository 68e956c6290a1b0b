//! Everything at once: faults that overlap, under every kind of load, judged by every checker.
//!
//! `CONCLAVE_TEST_SEED` repeats the faults of a run, `CONCLAVE_TEST_CHAOS_SECONDS=3600` makes it an hour
//! long, in legs of three minutes.

use std::path::PathBuf;
use std::time::Duration;

use conclave_tests::campaign::chaos::Chaos;
use conclave_tests::said::measured;
use conclave_tests::settings::{self, CHAOS_SECONDS};

#[tokio::test]
async fn no_promise_breaks_while_faults_of_all_kinds_overlap() {
    let contender = PathBuf::from(env!("CARGO_BIN_EXE_conclave-contender"));
    let seconds = settings::number(CHAOS_SECONDS, 20);
    let chaos = Chaos::new(settings::seed(), contender).length(Duration::from_secs(seconds));
    let record = chaos.run().await;
    for line in record.lines() {
        measured(&format!("chaos: {line}"));
    }
    record.assert_covered();
}
