//! Power cuts under load, on disks of the nodes' own: nothing acknowledged is lost, every directory
//! opens. And the proof that such a cut finds a server that acknowledges what it has not synced.
//!
//! Needs root, loop devices, `mkfs.ext4` and a C compiler, and is skipped with a counted line where
//! one is missing. Replay of the distances between the cuts: `CONCLAVE_TEST_SEED`. CI cuts one
//! node 12 times and all nodes 10 times; `CONCLAVE_TEST_FULL=1` 500 and 100 times.

use std::time::{Duration, Instant};

use conclave_tests::faults::loop_disk;
use conclave_tests::faults::native::{LATE_SYNC, NO_SYNC, Native};
use conclave_tests::faults::power::{Cut, Neighbour, PowerSwitch};
use conclave_tests::load::writers::{WriteLog, Writers};
use conclave_tests::said::{measured, skipped};
use conclave_tests::settings::{self, rounds};
use conclave_tests::{Cluster, Random, wait_for};

/// Size of a node's disk; what is not used of it takes no room.
const DISK_MIB: u64 = 512;
/// Small enough that snapshots and purges are under way when the power fails.
const FLAGS: [&str; 6] = [
    "-snapshot-log-bytes",
    "262144",
    "-snapshot-log-keep",
    "100",
    "-history-bytes",
    "67108864",
];
const CLIENTS: usize = 6;
const MOST_VALUE_BYTES: usize = 12_000;
/// Cuts after which everything is checked on all nodes and removed, so that a long run stays small.
const BETWEEN_REMOVALS: usize = 25;
/// Acknowledgements that are told apart as the most at risk.
const JUST_BEFORE: Duration = Duration::from_millis(50);
const RECOVERED_WITHIN: Duration = Duration::from_secs(30);

/// A cluster on disks of its own and all that was written to it.
struct Bench {
    cluster: Cluster,
    switch: PowerSwitch,
    random: Random,
    /// What was written since everything was removed.
    history: Option<WriteLog>,
    /// Acknowledged writes that were checked before that.
    acknowledged: usize,
    cuts: usize,
    in_disk: usize,
    just_before: usize,
}

impl Bench {
    async fn start(seed: u64) -> Self {
        let cluster = Cluster::builder()
            .args(&FLAGS)
            .disks(DISK_MIB)
            .start()
            .await;
        Self {
            switch: PowerSwitch::new(cluster.folder()),
            cluster,
            random: Random::new(seed),
            history: None,
            acknowledged: 0,
            cuts: 0,
            in_disk: 0,
            just_before: 0,
        }
    }

    /// Cuts some nodes under load and brings them back: nothing that was ever acknowledged is lost.
    async fn round(&mut self, nodes: &[usize]) {
        let writers =
            Writers::start_with_values(&self.cluster.addresses(), CLIENTS, MOST_VALUE_BYTES);
        // Started before the load, and ended by the cut of their disks.
        let others = nodes.iter().map(|&node| Neighbour::of(&self.cluster[node]));
        let others: Vec<_> = others.collect();
        let distance = 30 + self.random.below(90);
        let distance = u64::try_from(distance).expect("a small number");
        writers.wait_acknowledged(distance, RECOVERED_WITHIN).await;
        let cut = self.switch.cut(&mut self.cluster, nodes, others).await;
        if nodes.len() == 1 {
            // The others go on.
            writers.wait_acknowledged(30, RECOVERED_WITHIN).await;
        }
        for &node in nodes {
            self.cluster[node].spawn();
        }
        self.note(&cut, writers.stop().await);
        for &node in nodes {
            self.cluster[node].wait_ready().await;
        }
        let history = self.history.as_ref().expect("a round");
        let node = &self.cluster[nodes[self.cuts % nodes.len()]];
        // Only such a read waits for the leader to commit what the logs have kept. It is read from
        // this node, and equal states then speak for the others.
        wait_for(
            "a leader that has committed",
            RECOVERED_WITHIN,
            async || {
                let absent = node.try_get("/api/keys/absent?level=consistent").await;
                match absent {
                    Ok(answer) if answer.status == 404 => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            },
        )
        .await;
        history.assert_kept(node, "consistent").await;
        self.cluster.assert_converged().await;
        if self.cuts.is_multiple_of(BETWEEN_REMOVALS) {
            self.check_and_remove().await;
        }
    }

    /// Checks everything on all nodes, and begins again without it.
    async fn check_and_remove(&mut self) {
        let Some(history) = self.history.take() else {
            return;
        };
        for node in self.cluster.nodes() {
            history.assert_kept(node, "consistent").await;
        }
        self.cluster.assert_converged().await;
        self.acknowledged += history.acknowledged();
        history.remove_all(&self.cluster[0]).await;
    }

    fn note(&mut self, cut: &Cut, history: WriteLog) {
        self.cuts += 1;
        self.in_disk += cut.in_disk;
        self.just_before += history.acknowledged_before(cut.at, JUST_BEFORE);
        match &mut self.history {
            None => self.history = Some(history),
            Some(all) => all.extend(history),
        }
    }

    async fn finish(mut self, what: &str, took: Duration) {
        self.check_and_remove().await;
        measured(&format!(
            "power cuts, {what}: {} cuts in {:.0} s, 0 of {} acknowledged writes lost, {} of them \
             from the last {JUST_BEFORE:?} before a cut; {} threads were in a disk operation",
            self.cuts,
            took.as_secs_f64(),
            self.acknowledged,
            self.just_before,
            self.in_disk,
        ));
    }
}

#[tokio::test]
async fn power_cuts_of_one_node_lose_no_acknowledged_write() {
    if let Some(what) = loop_disk::missing() {
        return skipped(&format!("power cuts of one node need {what}"));
    }
    let started = Instant::now();
    let mut bench = Bench::start(settings::seed()).await;
    for round in 0..rounds(12, 500) {
        // The leader every other time; the election after it makes another one.
        let node = if round % 2 == 0 {
            bench.cluster.leader().await
        } else {
            let followers = bench.cluster.followers().await;
            followers[bench.random.below(followers.len())]
        };
        bench.round(&[node]).await;
    }
    bench.finish("one node", started.elapsed()).await;
}

#[tokio::test]
async fn power_cuts_of_all_nodes_at_once_lose_no_acknowledged_write() {
    if let Some(what) = loop_disk::missing() {
        return skipped(&format!("power cuts of all nodes need {what}"));
    }
    let started = Instant::now();
    let mut bench = Bench::start(settings::seed()).await;
    for _ in 0..rounds(10, 100) {
        bench.round(&[0, 1, 2]).await;
    }
    bench.finish("all nodes", started.elapsed()).await;
}

#[tokio::test]
async fn a_power_cut_finds_a_server_that_does_not_sync() {
    if let Some(what) = loop_disk::missing() {
        return skipped(&format!("a power cut without syncs needs {what}"));
    }
    let found = found_by_cuts(&NO_SYNC, 1).await;
    measured(&format!("power cuts of nodes that do not sync: {found}"));
}

#[tokio::test]
async fn power_cuts_find_acknowledgements_before_the_sync() {
    if let Some(what) = loop_disk::missing() {
        return skipped(&format!("power cuts with late syncs need {what}"));
    }
    let found = found_by_cuts(&LATE_SYNC, 10).await;
    measured(&format!(
        "power cuts of nodes that sync up to 20 ms late: {found}"
    ));
}

/// Runs all nodes with a library that breaks syncs, cuts them at once up to `most` times, and returns
/// what a cut has broken.
async fn found_by_cuts(library: &Native, most: usize) -> String {
    let mut cluster = Cluster::builder().disks(DISK_MIB).start().await;
    let switch = PowerSwitch::new(cluster.folder());
    let library = library.compile(cluster.folder());
    let library = library.to_str().expect("a plain path");
    for node in cluster.nodes_mut() {
        // The directories are made by a server that syncs: only acknowledgements are at stake.
        node.stop().await;
        node.set_env(&[("LD_PRELOAD", library)]);
        node.spawn();
    }
    for cut in 1..=most {
        for node in cluster.nodes_mut() {
            node.wait_ready().await;
        }
        let writers = Writers::start_with_values(&cluster.addresses(), CLIENTS, MOST_VALUE_BYTES);
        writers.wait_acknowledged(100, RECOVERED_WITHIN).await;
        switch.cut(&mut cluster, &[0, 1, 2], Vec::new()).await;
        let history = writers.stop().await;
        for node in cluster.nodes_mut() {
            node.spawn();
        }
        let found = wait_for("a verdict", RECOVERED_WITHIN, async || {
            verdict(&mut cluster, &history).await
        })
        .await;
        if let Some(found) = found {
            return format!("{found}, by cut {cut}");
        }
    }
    panic!("{most} power cuts have not noticed that syncs are broken");
}

/// Says what the cut has broken, as soon as a node has ended or one answers.
async fn verdict(cluster: &mut Cluster, history: &WriteLog) -> Result<Option<String>, String> {
    for node in cluster.nodes_mut() {
        if let Some(status) = node.exited() {
            let log = node.stderr();
            let last = log.lines().last().unwrap_or_default();
            return Ok(Some(format!("{} ended with {status}: {last}", node.name())));
        }
    }
    for node in cluster.nodes() {
        // A leader that has committed nothing yet says 503: nothing is lost by that.
        let absent = node.try_get("/api/keys/absent?level=consistent").await;
        if absent.is_ok_and(|answer| answer.status == 404) {
            let wrong = history.wrong_at(node, "consistent").await;
            let lost = format!(
                "{} of {} acknowledged writes lost",
                wrong.len(),
                history.acknowledged()
            );
            return Ok((!wrong.is_empty()).then_some(lost));
        }
    }
    Err("no node has ended and none answers".to_owned())
}

/// What a power cut leaves when the journal was committed between the growth of the file and the end of
/// the write: the blocks that were added read as zeros. Nothing in them was ever acknowledged.
#[tokio::test]
async fn a_log_whose_last_write_reached_the_disk_in_part_opens() {
    const BLOCK: usize = 4_096;
    let mut cluster = Cluster::single().await;
    cluster[0]
        .put("/api/keys/kept", "1")
        .await
        .expect_status(201);
    let value = "x".repeat(5 * BLOCK);
    cluster[0]
        .put("/api/keys/torn", &value)
        .await
        .expect_status(201);
    cluster[0].kill();

    let folder = cluster[0].data_dir().join("raft");
    let files = std::fs::read_dir(&folder).expect("the log").flatten();
    let logs = files.map(|file| file.path());
    let log = logs
        .filter(|path| path.extension().is_some_and(|end| end == "wal"))
        .max();
    let log = log.expect("a file of the log");
    let bytes = std::fs::read(&log).expect("readable");
    let torn = bytes
        .windows(BLOCK)
        .position(|part| part.iter().all(|byte| *byte == b'x'));
    let start = torn
        .expect("the value is in the log")
        .next_multiple_of(BLOCK);
    // A hole, not zeros that were written.
    let file = std::fs::File::options().write(true).open(&log);
    let file = file.expect("writable");
    file.set_len(start as u64).expect("a shorter file");
    file.set_len(bytes.len() as u64).expect("a longer file");
    drop(file);

    cluster[0].start().await;
    let kept = cluster[0].get("/api/keys/kept?level=consistent").await;
    assert_eq!(kept.expect_status(200).text(), "1");
    let torn = cluster[0].get("/api/keys/torn?level=consistent").await;
    assert!(torn.status == 404 || torn.text() == value, "{torn:?}");
    cluster.assert_converged().await;
}
