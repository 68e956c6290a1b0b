//! A lost quorum, and a lost cluster: starting over from one disk, or from a backup.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use conclave_tests::{Client, Cluster, Node, Request, wait_for};
use serde_json::Value;

use crate::tools::{contents, run, text};

const SOON: Duration = Duration::from_secs(20);

async fn cluster_id(node: &Node) -> String {
    let id = node.status().await["cluster_id"].clone();
    id.as_str().expect("an id").to_owned()
}

/// Returns the number behind a word of a report.
fn number_after(report: &str, word: &str) -> u64 {
    let rest = report.split_once(word).map(|(_, rest)| rest);
    let rest = rest.unwrap_or_else(|| panic!("no `{word}` in\n{report}"));
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect("a number")
}

/// Gives a node what was made as its data directory, and keeps the old one as `dead`.
fn replace_directory(node: &Node, made: &Path) {
    let data = node.data_dir();
    fs::rename(&data, data.with_file_name("dead")).expect("the old directory");
    fs::rename(made, &data).expect("the new directory");
}

/// Kills the followers, has the leader take writes that nobody can commit, and kills it too. Returns
/// its last log index and the committed one.
async fn propose_without_a_quorum(
    cluster: &mut Cluster,
    leader: usize,
    count: usize,
) -> (u64, u64) {
    for other in cluster.followers().await {
        cluster[other].kill();
    }
    let open: Vec<_> = (0..count)
        .map(|n| {
            let mut client = cluster[leader].client();
            tokio::spawn(async move {
                let put = Request::put(&format!("/api/keys/open-{n}"), n.to_string());
                client.send(&put).await.map(|answer| answer.status)
            })
        })
        .collect();
    let ends = wait_for("entries that are not committed", SOON, async || {
        let status = cluster[leader].try_status().await?;
        let number = |name: &str| status[name].as_u64().unwrap_or(0);
        let [last, committed] = ["last_log_index", "commit_index"].map(number);
        let enough = last >= committed + count as u64;
        let ends = enough.then_some((last, committed));
        ends.ok_or_else(|| status.to_string())
    })
    .await;
    cluster[leader].kill();
    for open in open {
        let answer = open.await.expect("no panic");
        assert!(!matches!(answer, Ok(200 | 201)), "{answer:?}");
    }
    ends
}

#[tokio::test]
async fn one_disk_of_three_brings_back_all_it_has_and_the_old_members_are_refused() {
    const KNOWN: usize = 100;
    const OPEN: usize = 8;
    let mut cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    for n in 0..KNOWN {
        let key = format!("/api/keys/known-{n}");
        cluster[leader]
            .put(&key, &n.to_string())
            .await
            .expect_status(201);
    }
    let old_cluster = cluster_id(&cluster[leader]).await;
    let (last, committed) = propose_without_a_quorum(&mut cluster, leader, OPEN).await;
    let dead = cluster[leader].data_dir();
    let (made, before) = (cluster.folder().join("made"), contents(&dead));
    let args = ["recover", "--data-dir", &text(&dead), "--out", &text(&made)];
    let report = run(cluster.folder(), &args, 0).await.stdout;
    assert_eq!(contents(&dead), before, "the old directory is only read");
    let first_open = number_after(&report, "\n  entries ");
    let last_open = number_after(&report, "log up to entry ");
    assert_eq!(last_open, last, "{report}");
    assert!(first_open <= committed + 1, "{report}");
    assert!(report.contains("are taken along"), "{report}");
    assert!(report.contains(&format!("after entry {last}")), "{report}");

    replace_directory(&cluster[leader], &made);
    cluster[leader].start().await;
    for (kind, count) in [("known", KNOWN), ("open", OPEN)] {
        for n in 0..count {
            let key = format!("/api/keys/{kind}-{n}?level=consistent");
            let value = cluster[leader].get(&key).await.expect_status(200).text();
            assert_eq!(value, n.to_string(), "{key}");
        }
    }
    let status = cluster[leader].status().await;
    let new_cluster = cluster_id(&cluster[leader]).await;
    assert_ne!(new_cluster, old_cluster);
    assert_eq!(
        status["members"].as_array().map(Vec::len),
        Some(1),
        "{status}"
    );
    an_old_member_is_refused(&mut cluster, leader, [&old_cluster, &new_cluster]).await;

    // With empty directories they are welcome.
    let address = cluster[leader].http_address();
    for other in (0..3).filter(|other| *other != leader) {
        fs::remove_dir_all(cluster[other].data_dir()).expect("the old directory");
        cluster[other].add_args(["-join", &address]);
        cluster[other].start().await;
    }
    cluster.wait_voters(3).await;
    cluster.assert_converged().await;
}

/// Starts one of the others as it was: both sides say why they do not come together.
async fn an_old_member_is_refused(cluster: &mut Cluster, new: usize, ids: [&str; 2]) {
    let old = (new + 1) % 3;
    cluster[old].spawn();
    let (new_name, old_name) = (cluster[new].name(), cluster[old].name());
    let said = |log: &str, words: [&str; 2]| {
        let mut lines = log.lines();
        let all = |line: &str| words.iter().chain(&ids).all(|word| line.contains(word));
        let found = lines.any(all);
        found.then_some(()).ok_or_else(|| log.to_owned())
    };
    let new_says = format!("refused the node `{old_name}`");
    wait_for("the new node's refusal", SOON, async || {
        said(
            &cluster[new].stderr(),
            [&new_says, &format!("`{new_name}`")],
        )
    })
    .await;
    let old_says = format!("`{new_name}` at {}", cluster[new].raft_address());
    wait_for("the old node's report", SOON, async || {
        said(&cluster[old].stderr(), [&old_says, "refuses this node"])
    })
    .await;
    let status = cluster[new].status().await;
    let members = status["members"].as_array().map(Vec::len);
    assert_eq!((members, &status["role"]), (Some(1), &"leader".into()));
    cluster[old].kill();
}

/// What a writer did: (revision, key, value), each acknowledged.
type Written = Vec<(u64, String, String)>;

/// Writes a few keys over and over until it is told to stop.
async fn write(address: String, stop: Arc<AtomicBool>, done: Arc<AtomicUsize>) -> Written {
    const KEYS: usize = 40;
    let mut client = Client::new(address);
    let mut written = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let n = written.len();
        let (key, value) = (format!("k{:02}", n % KEYS), n.to_string());
        let put = Request::put(&format!("/api/keys/{key}"), value.as_str());
        let answer = client.send(&put).await.expect("an answer");
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
        let revision = answer.json()["revision"].as_u64().expect("a revision");
        written.push((revision, key, value));
        done.store(written.len(), Ordering::Relaxed);
    }
    written
}

async fn reach(done: &AtomicUsize, count: usize) {
    wait_for("more writes", SOON, async || {
        let done = done.load(Ordering::Relaxed);
        (done >= count)
            .then_some(())
            .ok_or_else(|| done.to_string())
    })
    .await;
}

/// Returns value and revision of every key of a node.
async fn listing(node: &Node) -> BTreeMap<String, (String, u64)> {
    let page = node.get("/api/keys?limit=1000&level=consistent").await;
    let page: Value = page.expect_status(200).json();
    let keys = page["keys"].as_array().expect("keys").iter();
    let text = |one: &Value| one.as_str().expect("a text").to_owned();
    keys.map(|one| {
        let revision = one["mod_revision"].as_u64().expect("a revision");
        (text(&one["key"]), (text(&one["value"]), revision))
    })
    .collect()
}

#[tokio::test]
async fn a_backup_taken_while_writes_go_on_is_the_state_of_its_revision() {
    let mut cluster = Cluster::start().await;
    let follower = cluster.followers().await[0];
    let (stop, done) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let address = cluster[cluster.leader().await].http_address();
    let writer = tokio::spawn(write(address, stop.clone(), done.clone()));
    reach(&done, 100).await;
    let before = done.load(Ordering::Relaxed);
    let file = cluster.folder().join("b.snap");
    let from = cluster[follower].http_address();
    let args = ["backup", "--from", &from, "--out", &text(&file)];
    let report = run(cluster.folder(), &args, 0).await.stdout;
    reach(&done, done.load(Ordering::Relaxed) + 100).await;
    stop.store(true, Ordering::Relaxed);
    let written = writer.await.expect("no panic");

    let revision = number_after(&report, "revision ");
    assert!(
        written[before - 1].0 <= revision,
        "what was acknowledged before is in it"
    );
    let newest = written.last().expect("writes").0;
    assert!(
        revision < newest,
        "the writer went on: {revision} of {newest}"
    );
    let mut wanted = BTreeMap::new();
    for (at, key, value) in written.iter().filter(|(at, ..)| *at <= revision) {
        wanted.insert(key.clone(), (value.clone(), *at));
    }

    let old_cluster = cluster_id(&cluster[0]).await;
    for node in cluster.nodes_mut() {
        node.kill();
        fs::remove_dir_all(node.data_dir()).expect("the old directory");
    }
    let node = &cluster[0];
    let (http, raft, out) = (
        node.http_address(),
        node.raft_address(),
        text(&node.data_dir()),
    );
    let mut args = vec!["restore", "--in", "b.snap", "--out", &out, "--id", "node0"];
    args.extend(["--haddr", &http, "--raddr", &raft]);
    let report = run(cluster.folder(), &args, 0).await.stdout;
    assert_eq!(number_after(&report, "revision "), revision, "{report}");
    cluster[0].start().await;
    assert_eq!(listing(&cluster[0]).await, wanted);
    assert_ne!(cluster_id(&cluster[0]).await, old_cluster);

    // Two more join, and all of it goes on.
    for other in [1, 2] {
        cluster[other].start().await;
    }
    cluster.wait_voters(3).await;
    let answer = cluster[2]
        .put("/api/keys/after", "1")
        .await
        .expect_status(201);
    assert!(answer.json()["revision"].as_u64() > Some(revision));
    assert_eq!(listing(&cluster[1]).await.len(), wanted.len() + 1);
    cluster.assert_converged().await;
}
