//! The tools of the command line: what they refuse, with which exit status, and that nothing is left
//! or changed then.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use conclave_tests::cluster::run::{Exit, run_in};
use conclave_tests::{Cluster, Ports, Request};
use serde_json::Value;
use tempfile::TempDir;

/// Longest run of a tool on these small states, on a busy machine.
pub(crate) const DONE_WITHIN: Duration = Duration::from_secs(60);

pub(crate) fn text(path: &Path) -> String {
    path.to_str()
        .expect("a path of plain characters")
        .to_owned()
}

/// Runs `conclave` in a folder and checks how it ends.
pub(crate) async fn run(folder: &Path, args: &[&str], status: i32) -> Exit {
    let exit = run_in(folder, args, &[], DONE_WITHIN).await;
    assert_eq!(exit.status.code(), Some(status), "{args:?}: {exit:#?}");
    exit
}

/// Runs a tool that must refuse, and checks that a line of stderr names everything in `names`.
async fn refused(folder: &Path, args: &[&str], status: i32, names: &[&str]) {
    run(folder, args, status).await.assert_refused(names);
}

/// Returns the bytes of every file below a folder.
pub(crate) fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            let bytes = fs::read(&path).expect("a file");
            found.insert(path, bytes);
        }
    }
    found
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder").flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Returns the only file of a folder that ends so.
fn file_in(folder: &Path, end: &str) -> PathBuf {
    let found = names(folder);
    let mut found = found.iter().filter(|name| name.ends_with(end));
    let name = found.next().expect("one such file");
    assert_eq!(found.next(), None, "one file that ends with {end}");
    folder.join(name)
}

#[tokio::test]
async fn what_a_node_runs_on_is_not_touched() {
    let mut cluster = Cluster::single().await;
    cluster[0].put("/api/keys/a", "1").await.expect_status(201);
    let folder = cluster.folder().to_owned();
    let (data, http) = (text(&cluster[0].data_dir()), cluster[0].http_address());
    let before = names(&folder);
    let recover = ["recover", "--data-dir", &data, "--out", "new"];
    refused(&folder, &recover, 75, &["data", "in use"]).await;
    let backup = ["backup", "--data-dir", &data, "--out", "b"];
    refused(&folder, &backup, 75, &["data", "in use"]).await;

    // Nobody there; somebody who is no HTTP server; and a node that is asked for nonsense.
    let nobody = format!("localhost:{}", Ports::reserve().http);
    let backup = ["backup", "--from", &nobody, "--out", "b"];
    refused(&folder, &backup, 69, &[&nobody]).await;
    let raft = cluster[0].raft_address();
    let backup = ["backup", "--from", &raft, "--out", "b"];
    refused(&folder, &backup, 69, &[&raft]).await;
    assert_eq!(names(&folder), before, "nothing is left of what failed");

    fs::write(folder.join("b"), "precious").expect("a written file");
    let backup = ["backup", "--from", &http, "--out", "b"];
    refused(&folder, &backup, 73, &["`b`", "already"]).await;
    assert_eq!(
        fs::read_to_string(folder.join("b")).expect("the file"),
        "precious"
    );
    let answer = cluster[0].get("/api/cluster/snapshot?level=fresh").await;
    answer.expect_status(400);
    let answer = cluster[0].get("/api/cluster/snapshot").await;
    let answer = answer.expect_status(200);
    assert_eq!(
        answer.expect_number("content-length"),
        answer.body.len() as u64
    );
    let kind = answer.expect_header("content-type");
    assert_eq!(kind, "application/octet-stream");
    // It costs a node something: a page of another site may not ask for it.
    let page = Request::get("/api/cluster/snapshot").header("Sec-Fetch-Site", "cross-site");
    cluster[0].send(&page).await.expect_status(403);
    assert_eq!(cluster[0].stop().await.code(), Some(0));
}

#[tokio::test]
async fn a_stopped_node_is_saved_and_damage_is_named() {
    let mut cluster = Cluster::single().await;
    for n in 0..50 {
        let (key, value) = (format!("/api/keys/k{n}"), "x".repeat(100));
        cluster[0].put(&key, &value).await.expect_status(201);
    }
    cluster[0]
        .post("/api/cluster/snapshot", "")
        .await
        .expect_status(200);
    for n in 50..100 {
        let key = format!("/api/keys/k{n}");
        cluster[0].put(&key, "y").await.expect_status(201);
    }
    cluster[0].kill();
    let folder = cluster.folder().join("work");
    fs::create_dir(&folder).expect("a folder");
    let data_dir = cluster[0].data_dir();
    let data = text(&data_dir);
    let before = contents(&data_dir);

    let saved = run(&folder, &["backup", "--data-dir", &data, "--out", "b"], 0).await;
    assert!(saved.stdout.contains("keys 100"), "{}", saved.stdout);
    let tried = run(&folder, &["recover", "--data-dir", &data, "--dry-run"], 0).await;
    assert!(tried.stdout.contains("keys 100"), "{}", tried.stdout);
    assert!(
        tried.stdout.contains("nothing was made"),
        "{}",
        tried.stdout
    );
    let restored = run(&folder, &["restore", "--in", "b", "--out", "r/new"], 0).await;
    assert!(restored.stdout.contains("keys 100"), "{}", restored.stdout);
    assert_eq!(names(&folder), ["b", "r"]);
    assert_eq!(names(&folder.join("r")), ["new"]);

    nothing_used_is_overwritten(&folder, &data).await;
    assert_eq!(contents(&data_dir), before, "it was only read");

    damaged_backups(&folder).await;
    damaged_directories(&folder, &data_dir, &before).await;
    assert_eq!(names(&folder), ["b", "r"], "nothing is left of what failed");
    cluster[0].start().await;
    assert_eq!(cluster[0].get("/api/keys/k99").await.text(), "y");
}

async fn nothing_used_is_overwritten(folder: &Path, data: &str) {
    // Used directories, and one inside of the one that is read.
    for out in ["r/new", "r"] {
        let restore = ["restore", "--in", "b", "--out", out];
        refused(folder, &restore, 73, &[out, "not empty"]).await;
        let recover = ["recover", "--data-dir", data, "--out", out];
        refused(folder, &recover, 73, &[out, "not empty"]).await;
    }
    let inside = format!("{data}/new");
    let recover = ["recover", "--data-dir", data, "--out", &inside];
    refused(folder, &recover, 64, &["--out", "inside"]).await;
    refused(
        folder,
        &["recover", "--data-dir", "x", "--out", "y"],
        66,
        &["`x`"],
    )
    .await;
    refused(
        folder,
        &["recover", "--data-dir", "r", "--out", "y"],
        65,
        &["`r`"],
    )
    .await;
    refused(
        folder,
        &["restore", "--in", "x", "--out", "y"],
        66,
        &["`x`"],
    )
    .await;
}

async fn damaged_directories(folder: &Path, data_dir: &Path, before: &BTreeMap<PathBuf, Vec<u8>>) {
    let data = &text(data_dir);
    for (part, end) in [("raft", ".wal"), ("snapshots", ".snap")] {
        let path = file_in(&data_dir.join(part), end);
        let good = before[&path].clone();
        let mut bad = good.clone();
        let middle = bad.len() / 2;
        bad[middle] ^= 0x10;
        fs::write(&path, &bad).expect("a written file");
        let name = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let recover = ["recover", "--data-dir", data, "--out", "y"];
        refused(folder, &recover, 65, &[data, &name]).await;
        let backup = ["backup", "--data-dir", data, "--out", "y"];
        refused(folder, &backup, 65, &[data, &name]).await;
        fs::write(&path, &good).expect("a written file");
    }
}

/// Restores of the file `b` cut off, damaged and lengthened.
async fn damaged_backups(folder: &Path) {
    let good = fs::read(folder.join("b")).expect("the backup");
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let with_more = [&good[..], b"more"].concat();
    for (what, bytes) in [
        ("empty", Vec::new()),
        ("a part of the head", good[..3].to_vec()),
        ("half of it", good[..good.len() / 2].to_vec()),
        ("all but a byte", good[..good.len() - 1].to_vec()),
        ("a flipped bit", flipped(good.len() / 2)),
        ("a flipped bit at the end", flipped(good.len() - 1)),
        ("more than it", with_more),
        ("a text", b"this is no backup at all".to_vec()),
    ] {
        let bad = folder.join("bad");
        fs::write(&bad, bytes).expect("a written file");
        let exit = run_in(
            folder,
            &["restore", "--in", "bad", "--out", "y"],
            &[],
            DONE_WITHIN,
        )
        .await;
        assert_eq!(exit.status.code(), Some(65), "{what}: {exit:#?}");
        exit.assert_refused(&["`bad`", "damaged"]);
        fs::remove_file(bad).expect("the file");
    }
}

fn findings(exit: &Exit) -> Vec<(String, String, String)> {
    let report: Value = serde_json::from_str(&exit.stdout).expect("JSON");
    let checks = report["checks"].as_array().expect("checks").clone();
    let word = |check: &Value, name: &str| check[name].as_str().expect("a text").to_owned();
    checks
        .iter()
        .map(|check| {
            (
                word(check, "verdict"),
                word(check, "what"),
                word(check, "detail"),
            )
        })
        .collect()
}

fn verdict<'a>(findings: &'a [(String, String, String)], what: &str) -> (&'a str, &'a str) {
    let found = findings.iter().find(|(_, name, _)| name.starts_with(what));
    let found = found.unwrap_or_else(|| panic!("no `{what}` in {findings:#?}"));
    (&found.0, &found.2)
}

#[tokio::test]
async fn the_doctor_says_what_is_wrong_and_ends_so() {
    let folder = TempDir::new().expect("a temporary folder");
    let ports = Ports::reserve();
    let http = format!("localhost:{}", ports.http);
    let raft = format!("localhost:{}", ports.raft);
    let good = ["doctor", "--json", "-haddr", &http, "-raddr", &raft, "data"];
    let exit = run(folder.path(), &good, 0).await;
    let found = findings(&exit);
    for what in [
        "directory",
        "free space",
        "disk sync",
        "name -haddr",
        "port -raddr",
        "multicast",
    ] {
        assert_ne!(verdict(&found, what).0, "FAIL", "{found:#?}");
    }
    assert!(verdict(&found, "disk sync").1.contains("p99"), "{found:#?}");
    assert_eq!(names(folder.path()), [""; 0], "nothing was made");

    // What a search needs is looked at where it is asked for: `localhost` can always be found here.
    let search = [
        "doctor",
        "--json",
        "-discover",
        "mdns",
        "-haddr",
        &http,
        "-raddr",
        &raft,
        "data",
    ];
    let found = findings(&run(folder.path(), &search, 0).await);
    assert_eq!(verdict(&found, "multicast lo").0, "ok", "{found:#?}");

    let holder = TcpListener::bind(("127.0.0.1", ports.raft)).expect("a free port");
    let nobody = format!("localhost:{}", Ports::reserve().http);
    let bad = [
        "doctor", "-haddr", &http, "-raddr", &raft, "-join", &nobody, "data",
    ];
    let exit = run(folder.path(), &bad, 1).await;
    drop(holder);
    let line = |words: &[&str]| {
        let mut lines = exit.stdout.lines();
        assert!(
            lines.any(|line| words.iter().all(|word| line.contains(word))),
            "no line with {words:?} in\n{}",
            exit.stdout
        );
    };
    line(&["FAIL  port -raddr", &raft, "cannot be bound"]);
    line(&["warn  member", &nobody]);
    line(&["failures: 1"]);

    let unknown = "no-such-host.invalid:12000";
    let exit = run(folder.path(), &["doctor", "-raddr", unknown, "--json"], 1).await;
    assert_eq!(verdict(&findings(&exit), "name -raddr").0, "FAIL");

    let foreign = folder.path().join("foreign");
    fs::create_dir(&foreign).expect("a directory");
    fs::write(foreign.join("thesis.txt"), "years of work").expect("a written file");
    let args = [
        "doctor", "-haddr", &http, "-raddr", &raft, "--json", "foreign",
    ];
    let found = findings(&run(folder.path(), &args, 1).await);
    let (verdict, detail) = verdict(&found, "directory");
    assert_eq!(verdict, "FAIL");
    assert!(detail.contains("thesis.txt"), "{detail}");
}

#[tokio::test]
async fn the_doctor_knows_a_running_node_and_its_cluster() {
    let cluster = Cluster::start().await;
    let node = &cluster[1];
    let mut args = vec!["doctor".to_owned(), "--json".to_owned()];
    args.extend(node.usual_args());
    args.push(text(&node.data_dir()));
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let found = findings(&run(cluster.folder(), &args, 0).await);
    assert!(
        verdict(&found, "directory")
            .1
            .contains("a process runs on it")
    );
    for port in ["port -haddr", "port -raddr"] {
        let (verdict, detail) = verdict(&found, port);
        assert_eq!(verdict, "ok", "{found:#?}");
        assert!(detail.contains("running node `node1` itself"), "{detail}");
    }
    for other in [0, 2] {
        let what = format!("member {}", cluster[other].http_address());
        let (verdict, detail) = verdict(&found, &what);
        assert_eq!(verdict, "ok", "{found:#?}");
        assert!(detail.contains(&format!("`node{other}`")), "{detail}");
        assert!(detail.contains("clock"), "{detail}");
    }
    // Under another name the ports are somebody else's.
    let [http, raft] = [node.http_address(), node.raft_address()];
    let args = [
        "doctor", "-id", "x", "-haddr", &http, "-raddr", &raft, "--json", "new",
    ];
    let found = findings(&run(cluster.folder(), &args, 1).await);
    let (verdict, detail) = verdict(&found, "port -haddr");
    assert_eq!(verdict, "FAIL");
    assert!(detail.contains("held by node `node1`"), "{detail}");
}
