//! A log that cannot be written or synced ends its node within a second: what the page cache says after
//! such a failure is not to be trusted. The others go on, and nothing acknowledged is lost.
//!
//! Needs a C compiler, and is skipped with a counted line without one. CI fails 4 times,
//! `CONCLAVE_TEST_FULL=1` 20 times.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use conclave_tests::cluster::RECOVERED_WITHIN;
use conclave_tests::faults::native::{FAILING_DISK, FAILING_LOG, has_compiler};
use conclave_tests::load::writers::WriteLog;
use conclave_tests::said::{measured, skipped};
use conclave_tests::settings::rounds;
use conclave_tests::{Cluster, Writers};

const CLIENTS: usize = 4;
const MOST_VALUE_BYTES: usize = 4_000;
/// Longest time until the log is written again.
const FAILED_WITHIN: Duration = Duration::from_secs(10);
/// From the failed call to the end of the process.
const ENDED_WITHIN: Duration = Duration::from_secs(1);
/// What the node's log says, once for each failure.
const LINE: &str = "the log cannot be written: this node stops";

/// Starts a cluster whose nodes' logs can be made to fail, each by its own folder.
async fn start() -> (Cluster, Vec<PathBuf>) {
    let mut cluster = Cluster::builder().alone().start().await;
    let library = FAILING_LOG.compile(cluster.folder());
    let library = library.to_str().expect("a plain path").to_owned();
    let folder = cluster.folder().to_owned();
    let mut switches = Vec::new();
    for (index, node) in cluster.nodes_mut().iter_mut().enumerate() {
        let switch = folder.join(format!("failing-{index}"));
        fs::create_dir(&switch).expect("a folder");
        let path = switch.to_str().expect("a plain path");
        node.stop().await;
        node.set_env(&[("LD_PRELOAD", &library), (FAILING_DISK, path)]);
        node.start().await;
        switches.push(switch);
    }
    (cluster, switches)
}

#[tokio::test]
async fn a_log_that_fails_ends_its_node_and_nothing_else() {
    if !has_compiler() {
        return skipped("logs that fail need a C compiler");
    }
    let (mut cluster, switches) = start().await;
    let mut history: Option<WriteLog> = None;
    let mut longest = Duration::ZERO;
    let failures = rounds(4, 20);
    for round in 0..failures {
        let what = if round % 2 == 0 { "sync" } else { "write" };
        let node = match round / 2 % 2 {
            0 => cluster.leader().await,
            _ => cluster.followers().await[0],
        };
        let writers = Writers::start_with_values(&cluster.addresses(), CLIENTS, MOST_VALUE_BYTES);
        writers.wait_acknowledged(50, RECOVERED_WITHIN).await;
        let said = cluster[node].stderr().matches(LINE).count();
        let switch = switches[node].join(what);
        fs::write(&switch, "").expect("room for a file");
        let status = cluster[node].wait_exit(FAILED_WITHIN).await;
        let failed = switches[node].join("failed");
        let since = fs::metadata(&failed).and_then(|file| file.modified());
        let since = since.expect("a call that failed").elapsed();
        let took = since.expect("a clock that goes on");
        assert!(took <= ENDED_WITHIN, "{what}: it ended only after {took:?}");
        longest = longest.max(took);
        assert_eq!(status.code(), Some(1), "{what}: {status}");
        let log = cluster[node].stderr();
        assert_eq!(log.matches(LINE).count(), said + 1, "{what}: {log}");
        assert!(log.contains("Input/output error"), "{what}: {log}");
        // The others go on.
        writers.wait_acknowledged(50, RECOVERED_WITHIN).await;
        for file in [&switch, &failed] {
            fs::remove_file(file).expect("the file is there");
        }
        cluster[node].start().await;
        let seen = writers.stop().await;
        match &mut history {
            None => history = Some(seen),
            Some(all) => all.extend(seen),
        }
    }
    cluster.assert_converged().await;
    let history = history.expect("a failure");
    for node in cluster.nodes() {
        history.assert_kept(node, "consistent").await;
    }
    measured(&format!(
        "logs that fail: {failures} nodes ended within {} ms, 0 of {} acknowledged writes lost",
        longest.as_millis(),
        history.acknowledged(),
    ));
}
