//! Rolling restarts under load, from the server of an earlier commit to the one under test. Nothing
//! acknowledged is lost, consistent reads stay right, and the way back works or is refused with a reason.
//!
//! `CONCLAVE_EARLIER_BIN` names the earlier server; without it the one under test has both parts, which
//! shows that the procedure works. `cargo xtask rolling COMMIT` builds an earlier one and runs these.
//! `CONCLAVE_TEST_SEED` repeats a random order.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use conclave_tests::campaign::Campaign;
use conclave_tests::cluster::RECOVERED_WITHIN;
use conclave_tests::cluster::node::READY_WITHIN;
use conclave_tests::history::{self, Limits};
use conclave_tests::load::writers::WriteLog;
use conclave_tests::said::measured;
use conclave_tests::{Cluster, Node, Random, Writers, settings, wait_for};

const NODES: usize = 3;
const CLIENTS: usize = 3;
/// Writes that must be acknowledged after each restart, beside those that were under way.
const BETWEEN: u64 = 20 + CLIENTS as u64;
/// Words of which a refusal has some: the directory is of another format, or peers speak another protocol.
const REASONS: [&str; 2] = ["has format", "peer protocol"];

/// Which node is restarted next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    LeaderFirst,
    LeaderLast,
    Random,
}

impl Order {
    fn shown(self) -> &'static str {
        match self {
            Self::LeaderFirst => "the leader first",
            Self::LeaderLast => "the leader last",
            Self::Random => "in random order",
        }
    }

    /// Chooses one of the nodes that are to be restarted.
    fn choose(self, left: &[usize], leader: usize, random: &mut Random) -> usize {
        let other = left.iter().copied().find(|node| *node != leader);
        match self {
            Self::LeaderFirst if left.contains(&leader) => leader,
            Self::LeaderFirst | Self::Random => left[random.below(left.len())],
            Self::LeaderLast => other.unwrap_or(leader),
        }
    }
}

/// What came of the earlier server on a directory that the server under test has written to.
#[derive(Debug)]
enum Downgrade {
    Works,
    /// It says why it does not work.
    Refused(String),
}

impl fmt::Display for Downgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Works => f.write_str("works"),
            Self::Refused(reason) => write!(f, "refused: {reason}"),
        }
    }
}

async fn stop(node: &mut Node) {
    let status = node.stop().await;
    assert_eq!(status.code(), Some(0), "{}", node.log_tail());
}

async fn restart(cluster: &mut Cluster, node: usize, binary: Option<&Path>) {
    stop(&mut cluster[node]).await;
    cluster[node].set_binary(binary);
    cluster[node].start().await;
}

/// Waits until all nodes are voters that agree on a leader, and writes go on.
async fn settle(cluster: &Cluster, writers: &Writers) {
    cluster.wait_voters(NODES).await;
    writers.wait_acknowledged(BETWEEN, RECOVERED_WITHIN).await;
}

/// Returns a line that gives a reason, of what the nodes have said since they had said so much.
fn refusal(cluster: &Cluster, before: &[usize]) -> Option<String> {
    let nodes = cluster.nodes().iter().zip(before);
    let mut lines = nodes.flat_map(|(node, before)| {
        let said = node.stderr();
        let new = said.get(*before..).unwrap_or_default();
        new.lines().map(str::to_owned).collect::<Vec<_>>()
    });
    lines.find(|line| REASONS.iter().any(|reason| line.contains(reason)))
}

/// Starts the earlier server in the place of a node, and leaves it as it is then.
async fn downgrade(cluster: &mut Cluster, node: usize, earlier: Option<&Path>) -> Downgrade {
    stop(&mut cluster[node]).await;
    let before: Vec<_> = cluster.nodes().iter().map(|it| it.stderr().len()).collect();
    cluster[node].set_binary(earlier);
    cluster[node].spawn();
    let what = "the earlier server is ready, or it is said why not";
    wait_for(what, READY_WITHIN, async || {
        let exited = cluster[node].exited();
        let reason = refusal(cluster, &before);
        match (exited, reason) {
            (Some(status), reason) => {
                let tail = cluster[node].log_tail();
                assert!(status.code().is_some_and(|code| code != 0), "{tail}");
                let reason = reason.unwrap_or_else(|| panic!("ended for no reason:\n{tail}"));
                Ok(Downgrade::Refused(reason))
            }
            (None, Some(reason)) => Ok(Downgrade::Refused(reason)),
            (None, None) => match cluster[node].try_get("/readyz").await {
                Ok(response) if response.status == 200 => Ok(Downgrade::Works),
                Ok(response) => Err(format!("{response:?}")),
                Err(failure) => Err(failure.to_string()),
            },
        }
    })
    .await
}

/// Restarts all nodes, takes one back to the earlier server and forward again, with writes all the time.
async fn roll(
    cluster: &mut Cluster,
    order: Order,
    earlier: Option<&Path>,
    random: &mut Random,
) -> (Downgrade, WriteLog) {
    let writers = Writers::start(&cluster.addresses(), CLIENTS);
    settle(cluster, &writers).await;
    let mut left: Vec<_> = (0..NODES).collect();
    while !left.is_empty() {
        let leader = cluster.leader().await;
        let node = order.choose(&left, leader, random);
        left.retain(|other| *other != node);
        restart(cluster, node, None).await;
        settle(cluster, &writers).await;
    }
    let node = random.below(NODES);
    let back = downgrade(cluster, node, earlier).await;
    match back {
        Downgrade::Works => {
            settle(cluster, &writers).await;
            restart(cluster, node, None).await;
        }
        Downgrade::Refused(_) => {
            cluster[node].kill();
            cluster[node].set_binary(None);
            cluster[node].start().await;
        }
    }
    settle(cluster, &writers).await;
    (back, writers.stop().await)
}

async fn loses_nothing(order: Order) {
    let seed = settings::seed();
    let mut random = Random::new(seed);
    let earlier = settings::earlier_binary();
    let earlier = earlier.as_deref();
    let mut cluster = Cluster::builder().binary(earlier).start().await;
    let readers = Campaign::new(seed)
        .length(Duration::from_secs(10))
        .answers(1_500);
    let work = async |cluster: &mut Cluster| roll(cluster, order, earlier, &mut random).await;
    let ((back, log), seen) = readers.during(&mut cluster, work).await;
    let checked = history::check(&seen, Limits::default());
    checked.assert_linearizable();
    for node in cluster.nodes() {
        log.assert_kept(node, "stale").await;
    }
    log.assert_kept(&cluster[0], "consistent").await;
    let from = earlier.map_or("the same server", |_| "the earlier server");
    measured(&format!(
        "rolling restart from {from}, {}: 0 of {} acknowledged writes lost, longest pause {} ms; the way \
         back: {back}; {checked}",
        order.shown(),
        log.acknowledged(),
        log.longest_pause().as_millis()
    ));
}

#[tokio::test]
async fn a_rolling_restart_that_begins_with_the_leader_loses_nothing() {
    loses_nothing(Order::LeaderFirst).await;
}

#[tokio::test]
async fn a_rolling_restart_that_ends_with_the_leader_loses_nothing() {
    loses_nothing(Order::LeaderLast).await;
}

#[tokio::test]
async fn a_rolling_restart_in_random_order_loses_nothing() {
    loses_nothing(Order::Random).await;
}
