//! Damage on the disk of a stopped follower: one flipped bit, or a file that is cut short. The node comes
//! to the same state as the others, or refuses to start and names the file; then it joins with an empty
//! directory. Nothing acknowledged is lost meanwhile, no node panics, and no state differs.
//!
//! Files of the log are not cut short: that looks like the end of a write that was never acknowledged,
//! of which only the others know better. 6 rounds; 300 with `CONCLAVE_TEST_FULL=1`.

use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use conclave_tests::cluster::RECOVERED_WITHIN;
use conclave_tests::cluster::node::READY_WITHIN;
use conclave_tests::said::measured;
use conclave_tests::{Cluster, Node, Random, Request, Writers, settings, wait_for};

const FLAGS: [&str; 2] = ["-snapshot-log-keep", "100"];
const CLIENTS: usize = 3;
const MOST_VALUE_BYTES: usize = 500;
/// Acknowledged writes before and after each step of a round.
const BETWEEN: u64 = 100;
/// Longest time until the others have taken a dead member out.
const REMOVED_WITHIN: Duration = Duration::from_secs(30);
/// What a data directory has that may be damaged.
const PARTS: [&str; 4] = ["raft", "snapshots", "history", "node.json"];

/// What was done to one file.
#[derive(Debug)]
struct Damage {
    part: &'static str,
    file: PathBuf,
    kind: Kind,
    at: usize,
    length: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Flipped,
    CutShort,
}

impl Damage {
    /// Damages a file of a data directory that nobody uses.
    fn make(directory: &Path, random: &mut Random) -> Self {
        let (part, file) = loop {
            let part = PARTS[random.below(PARTS.len())];
            let files = files_of(&directory.join(part));
            if !files.is_empty() {
                break (part, files[random.below(files.len())].clone());
            }
        };
        let kind = match part != "raft" && random.one_in(3) {
            true => Kind::CutShort,
            false => Kind::Flipped,
        };
        let mut bytes = fs::read(&file).expect("a readable file");
        let (length, at) = (bytes.len(), random.below(bytes.len()));
        match kind {
            Kind::Flipped => {
                bytes[at] ^= 1 << random.below(8);
                fs::write(&file, &bytes).expect("a written file");
            }
            Kind::CutShort => {
                let file = File::options().write(true).open(&file);
                let cut = file.and_then(|file| file.set_len(at as u64));
                cut.expect("a shorter file");
            }
        }
        Self {
            part,
            file,
            kind,
            at,
            length,
        }
    }

    /// Checks that a refusal names the file. Of a node's identity the directory is enough.
    fn assert_named(&self, said: &str) {
        let name = match self.part {
            "node.json" => self.file.parent(),
            _ => Some(self.file.as_path()),
        };
        let name = name.expect("a file in a directory").display().to_string();
        assert!(
            said.lines().any(|line| line.contains(&name)),
            "{self}:\n{said}"
        );
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file, at, length, ..
        } = self;
        let what = match self.kind {
            Kind::Flipped => "a bit flipped",
            Kind::CutShort => "cut short",
        };
        write!(f, "{} {what} at {at} of {length}", file.display())
    }
}

/// Returns the files with something in them that a path is or has below it, in order.
fn files_of(path: &Path) -> Vec<PathBuf> {
    if fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() > 0) {
        return vec![path.to_owned()];
    }
    let Ok(entries) = fs::read_dir(path) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths.iter().flat_map(|path| files_of(path)).collect()
}

/// Starts a node whose files are damaged. Returns what it said when it has refused to start.
async fn start(node: &mut Node, damage: &Damage) -> Option<String> {
    let before = node.stderr().len();
    node.spawn();
    let what = format!("ready or ended with {damage}");
    let ended = wait_for(&what, READY_WITHIN, async || {
        if let Some(status) = node.exited() {
            return Ok(Some(status));
        }
        match node.try_get("/readyz?verbose").await {
            Ok(answer) if answer.status == 200 => Ok(None),
            Ok(answer) => Err(format!("{answer:?}")),
            Err(failure) => Err(failure.to_string()),
        }
    });
    let status = ended.await?;
    let log = node.stderr();
    let said = log.get(before..).unwrap_or_default().to_owned();
    let has_refused = status.code().is_some_and(|code| code != 0);
    assert!(has_refused, "{damage}: {status}\n{said}");
    assert!(!said.contains("panicked at"), "{damage}:\n{said}");
    Some(said)
}

/// Has the others take a dead node out, and adds it again with an empty directory.
async fn replace(cluster: &mut Cluster, dead: usize) {
    let remove = Request::delete(&format!("/api/cluster/members/{}", cluster[dead].name()));
    let asked = cluster.leader().await;
    wait_for(&format!("{remove}"), REMOVED_WITHIN, async || {
        let answer = cluster[asked].send(&remove).await;
        match answer.status {
            200 => Ok(()),
            // It was done, and the answer lost.
            404 if answer.json()["code"] == "member_not_found" => Ok(()),
            _ => Err(format!("{answer:?}")),
        }
    })
    .await;
    let others: Vec<_> = (0..cluster.nodes().len())
        .filter(|node| *node != dead)
        .collect();
    let through = cluster.addresses_of(&others);
    cluster.wipe(dead, &through);
    cluster[dead].start().await;
}

/// What came of all rounds.
#[derive(Debug, Default)]
struct Counts {
    flipped: usize,
    cut_short: usize,
    refused: usize,
    acknowledged: usize,
}

/// Damages a follower's files while the others are written to, and has it back.
async fn round(cluster: &mut Cluster, random: &mut Random, counts: &mut Counts) {
    let addresses = cluster.addresses();
    let writers = Writers::start_with_values(&addresses, CLIENTS, MOST_VALUE_BYTES);
    writers.wait_acknowledged(BETWEEN, RECOVERED_WITHIN).await;
    let followers = cluster.followers().await;
    let victim = followers[random.below(followers.len())];
    let snapshot = cluster[victim].post("/api/cluster/snapshot", "").await;
    snapshot.expect_status(200);
    writers.wait_acknowledged(BETWEEN, RECOVERED_WITHIN).await;
    match random.one_in(2) {
        true => cluster[victim].kill(),
        false => assert_eq!(cluster[victim].stop().await.code(), Some(0)),
    }
    let damage = Damage::make(&cluster[victim].data_dir(), random);
    match damage.kind {
        Kind::Flipped => counts.flipped += 1,
        Kind::CutShort => counts.cut_short += 1,
    }
    writers.wait_acknowledged(BETWEEN, RECOVERED_WITHIN).await;
    let refusal = start(&mut cluster[victim], &damage).await;
    let outcome = if refusal.is_some() {
        "refused"
    } else {
        "started"
    };
    measured(&format!("{damage}: {outcome}"));
    if let Some(said) = refusal {
        damage.assert_named(&said);
        counts.refused += 1;
        replace(cluster, victim).await;
    }
    cluster.wait_voters(cluster.nodes().len()).await;
    writers.wait_acknowledged(BETWEEN, RECOVERED_WITHIN).await;
    let history = writers.stop().await;
    counts.acknowledged += history.acknowledged();
    cluster.assert_converged().await;
    history.assert_kept(&cluster[victim], "stale").await;
    // What all rounds write would be a state of its own size.
    history.remove_all(&cluster[victim]).await;
}

#[tokio::test]
async fn damage_on_a_stopped_follower_is_refused_by_name_or_without_effect() {
    let rounds = settings::rounds(6, 300);
    let mut random = Random::new(settings::seed());
    let mut cluster = Cluster::builder().args(&FLAGS).start().await;
    let mut counts = Counts::default();
    for _ in 0..rounds {
        round(&mut cluster, &mut random, &mut counts).await;
    }
    cluster.assert_converged().await;
    let Counts {
        flipped,
        cut_short,
        refused,
        acknowledged,
    } = counts;
    measured(&format!(
        "{rounds} damages of stopped followers: {flipped} flipped bits, {cut_short} files cut short; {refused} \
         refused by name, {} without effect; 0 of {acknowledged} acknowledged writes lost",
        rounds - refused
    ));
}
