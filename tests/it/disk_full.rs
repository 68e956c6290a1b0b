//! Full disks: changes are refused with 507 `disk_full`, reads go on, and space is all that it takes to go
//! on. Nothing acknowledged is lost and no node ends, whoever fills which disks.
//!
//! Needs root, loop devices, `mkfs.ext4` and a C compiler, and is skipped with a counted line where one is
//! missing. CI fills 4 times, `CONCLAVE_TEST_FULL=1` 20 times.

use std::time::{Duration, Instant};

use conclave_tests::cluster::RECOVERED_WITHIN;
use conclave_tests::faults::filler::Filler;
use conclave_tests::faults::loop_disk;
use conclave_tests::http::assert_problem;
use conclave_tests::http::openmetrics::Page;
use conclave_tests::load::writers::WriteLog;
use conclave_tests::said::{measured, skipped};
use conclave_tests::settings::rounds;
use conclave_tests::{Client, Cluster, Node, Request, Response, Writers, wait_for};

/// Size of a node's disk. Its reserve is 8 MiB then, the least.
const DISK_MIB: u64 = 96;
/// Snapshots are under way all the time, and what is kept stays small.
const FLAGS: [&str; 8] = [
    "-snapshot-log-bytes",
    "131072",
    "-snapshot-log-keep",
    "100",
    "-history-revisions",
    "500",
    "-history-bytes",
    "1000000",
];
const CLIENTS: usize = 4;
const MOST_VALUE_BYTES: usize = 600;
/// Longest time until a refusal, or an acknowledgement by others, is seen after the disks are full.
const NOTICED_WITHIN: Duration = Duration::from_secs(10);
/// Longest wait for one answer: nothing may hang.
const ANSWER_WITHIN: Duration = Duration::from_secs(7);

/// A cluster on small disks and all that was written to it.
struct Bench {
    cluster: Cluster,
    history: Option<WriteLog>,
    cycles: usize,
    refused: usize,
    /// Keys of changes so far; each has its own.
    tried: usize,
    /// Those of changes that were refused.
    never_written: Vec<String>,
    longest: Duration,
}

impl Bench {
    async fn start(nodes: usize) -> Self {
        let cluster = Cluster::builder()
            .nodes(nodes)
            .args(&FLAGS)
            .disks(DISK_MIB)
            .start()
            .await;
        cluster[0]
            .put("/api/keys/kept", "1")
            .await
            .expect_status(201);
        Self {
            cluster,
            history: None,
            cycles: 0,
            refused: 0,
            tried: 0,
            never_written: Vec::new(),
            longest: Duration::ZERO,
        }
    }

    /// Fills the disks of some nodes under load, looks at what the cluster does, and makes room again.
    async fn cycle(&mut self, full: &[usize]) {
        let writers =
            Writers::start_with_values(&self.cluster.addresses(), CLIENTS, MOST_VALUE_BYTES);
        writers.wait_acknowledged(50, RECOVERED_WITHIN).await;
        let nodes: Vec<&Node> = full.iter().map(|&node| &self.cluster[node]).collect();
        let fillers = Filler::fill(&nodes);
        for node in nodes {
            wait_disk(node, &["low", "full"]).await;
        }
        if full.len() > self.cluster.nodes().len() / 2 {
            self.assert_refuses().await;
        } else {
            // The others go on, under another leader if need be.
            writers.wait_acknowledged(50, NOTICED_WITHIN).await;
        }
        self.assert_reads().await;
        self.assert_alive();
        drop(fillers);
        let freed = Instant::now();
        writers.wait_acknowledged(20, RECOVERED_WITHIN).await;
        self.longest = self.longest.max(freed.elapsed());
        for &node in full {
            wait_disk(&self.cluster[node], &["ok"]).await;
        }
        let history = writers.stop().await;
        self.assert_alive();
        self.cycles += 1;
        match &mut self.history {
            None => self.history = Some(history),
            Some(all) => all.extend(history),
        }
    }

    /// Every node refuses every kind of change, at once and for the stated reason.
    async fn assert_refuses(&mut self) {
        let put = |key: &str| Request::put(&format!("/api/keys/{key}"), "1");
        let delete = |_: &str| Request::delete("/api/keys/kept");
        let post = |key: &str| Request::post("/key", format!(r#"{{"{key}":"1"}}"#));
        let kinds: [&dyn Fn(&str) -> Request; 3] = [&put, &delete, &post];
        for node in self.cluster.nodes() {
            for kind in kinds {
                let what = format!("{} refuses {}", node.name(), kind("a change"));
                let refusal = wait_for(&what, NOTICED_WITHIN, async || {
                    // What was not refused may be written, at once or when there is space.
                    self.tried += 1;
                    let key = format!("refused-{}", self.tried);
                    match answer(node, &kind(&key)).await {
                        Ok(answer) if answer.status == 507 => Ok((key, answer)),
                        other => Err(format!("{other:?}")),
                    }
                });
                let (key, refusal) = refusal.await;
                assert_problem(&refusal, 507, "disk_full");
                assert_eq!(refusal.json()["applied"], "no", "{refusal:?}");
                self.refused += 1;
                self.never_written.push(key);
            }
        }
    }

    /// Every node answers reads of all levels.
    async fn assert_reads(&self) {
        for node in self.cluster.nodes() {
            for level in ["stale", "default", "consistent"] {
                let request = Request::get(&format!("/api/keys/kept?level={level}"));
                // An election may be under way.
                wait_for(
                    &request.to_string(),
                    NOTICED_WITHIN,
                    async || match answer(node, &request).await {
                        Ok(answer) if answer.status == 200 && answer.body == b"1" => Ok(()),
                        other => Err(format!("{}: {other:?}", node.name())),
                    },
                )
                .await;
            }
        }
    }

    fn assert_alive(&mut self) {
        for node in self.cluster.nodes_mut() {
            let ended = node.exited();
            assert!(
                ended.is_none(),
                "{} ended with {ended:?}:\n{}",
                node.name(),
                node.log_tail()
            );
        }
    }

    async fn finish(self, what: &str) {
        let history = self.history.expect("a cycle");
        self.cluster.assert_converged().await;
        for node in self.cluster.nodes() {
            history.assert_kept(node, "consistent").await;
            for key in &self.never_written {
                node.get(&format!("/api/keys/{key}"))
                    .await
                    .expect_status(404);
            }
        }
        measured(&format!(
            "full disks, {what}: {} cycles, 0 of {} acknowledged writes lost, {} changes refused with \
             507, writes went on {} ms after there was space again at the latest",
            self.cycles,
            history.acknowledged(),
            self.refused,
            self.longest.as_millis(),
        ));
    }
}

async fn answer(node: &Node, request: &Request) -> Result<Response, String> {
    let mut client = Client::new(node.http_address()).with_timeout(ANSWER_WITHIN);
    client
        .send(request)
        .await
        .map_err(|error| error.to_string())
}

/// Waits until a node says that its disk is in one of these states.
async fn wait_disk(node: &Node, states: &[&str]) {
    let what = format!("the disk of {} is {states:?}", node.name());
    wait_for(&what, NOTICED_WITHIN, async || {
        let status = node.try_status().await?;
        let state = status["disk"]["state"].as_str();
        match state.is_some_and(|state| states.contains(&state)) {
            true => Ok(()),
            false => Err(status["disk"].to_string()),
        }
    })
    .await;
}

#[tokio::test]
async fn full_disks_refuse_changes_and_recover_by_themselves() {
    if let Some(what) = loop_disk::missing() {
        return skipped(&format!("full disks need {what}"));
    }
    let mut bench = Bench::start(3).await;
    for round in 0..rounds(4, 20) {
        let leader = bench.cluster.leader().await;
        let follower = bench.cluster.followers().await[0];
        match round % 4 {
            0 => bench.cycle(&[0, 1, 2]).await,
            1 => bench.cycle(&[leader]).await,
            2 => bench.cycle(&[follower]).await,
            _ => bench.cycle(&[leader, follower]).await,
        }
    }
    bench.finish("of all, the leader, a follower, two").await;
}

#[tokio::test]
async fn a_single_node_with_a_full_disk_refuses_changes_and_recovers_by_itself() {
    if let Some(what) = loop_disk::missing() {
        return skipped(&format!("a full disk needs {what}"));
    }
    let mut bench = Bench::start(1).await;
    for _ in 0..rounds(3, 20) {
        bench.cycle(&[0]).await;
    }
    bench.finish("a single node").await;
}

#[tokio::test]
async fn below_its_reserve_a_node_takes_no_changes_and_says_so() {
    let reserve = u64::MAX.to_string();
    let mut cluster = Cluster::single().await;
    cluster[0]
        .put("/api/keys/kept", "1")
        .await
        .expect_status(201);
    cluster[0].stop().await;
    cluster[0].add_args(["-disk-reserve-bytes", &reserve]);
    cluster[0].start().await;

    let node = &cluster[0];
    let refused = node.put("/api/keys/refused", "1").await;
    assert_problem(&refused, 507, "disk_full");
    let lock = node.post("/api/locks/l", r#"{"owner":"a","ttl_ms":5000}"#);
    assert_problem(&lock.await, 507, "disk_full");
    for level in ["stale", "default", "consistent"] {
        let read = node.get(&format!("/api/keys/kept?level={level}")).await;
        assert_eq!(read.expect_status(200).text(), "1", "{level}");
    }
    node.get("/readyz").await.expect_status(200);
    assert_eq!(node.status().await["disk"]["state"], "full");
    let page = Page::parse(&node.get("/metrics").await.text());
    assert_eq!(page.value("conclave_disk_state{state=\"full\"}"), 1.0);
    assert!(page.value("conclave_disk_free_bytes") > 0.0);
    assert!(node.stderr().contains("the disk is full"));
}
