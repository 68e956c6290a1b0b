//! The configuration file, beside environment and flags.

use std::fs;
use std::path::Path;

use conclave_tests::cluster::run::{Exit, run_in};
use conclave_tests::{Cluster, Node};
use tempfile::TempDir;

use crate::tools::{DONE_WITHIN, run, text};

/// Returns what `conclave config` prints, without where each value comes from.
fn values(exit: &Exit) -> Vec<String> {
    let lines = exit.stdout.lines();
    let value = |line: &str| line.split("  # ").next().unwrap_or(line).to_owned();
    lines.map(value).collect()
}

fn assert_line(exit: &Exit, wanted: &str) {
    let found = exit.stdout.lines().any(|line| line == wanted);
    assert!(found, "no line `{wanted}` in\n{}", exit.stdout);
}

#[tokio::test]
async fn flags_win_over_the_environment_and_that_over_the_file() {
    let folder = TempDir::new().expect("a temporary folder");
    let file = "haddr = \"file:1\"\nraddr = \"file:2\"\nid = \"file\"\nenv = \"file\"\n";
    fs::write(folder.path().join("n.toml"), file).expect("a written file");
    let env = [
        ("CONCLAVE_HADDR", "variable:1"),
        ("CONCLAVE_RADDR", "variable:2"),
        ("CONCLAVE_INMEM", "yes"),
        ("CONCLAVE_READ_ONLY", "true"),
        ("CONCLAVE_CONFIG", "n.toml"),
    ];
    let args = ["config", "-haddr", "flag:1"];
    let exit = run_in(folder.path(), &args, &env, DONE_WITHIN).await;
    assert_eq!(exit.status.code(), Some(0), "{exit:#?}");
    assert_line(&exit, "haddr = \"flag:1\"  # flag -haddr");
    assert_line(
        &exit,
        "raddr = \"variable:2\"  # environment CONCLAVE_RADDR",
    );
    assert_line(&exit, "id = \"file\"  # file n.toml:3");
    assert_line(&exit, "env = \"file\"  # file n.toml:4");
    assert_line(&exit, "inmem = true  # environment CONCLAVE_INMEM");
    assert_line(&exit, "read-only = true  # environment CONCLAVE_READ_ONLY");
    assert_line(&exit, "join-timeout = \"30s\"  # default");

    fs::write(folder.path().join("all.toml"), &exit.stdout).expect("a written file");
    let again = run(folder.path(), &["config", "-c", "all.toml"], 0).await;
    assert_eq!(values(&again), values(&exit), "it can be fed back");
}

#[tokio::test]
async fn what_is_wrong_in_a_file_is_named_with_its_line() {
    let folder = TempDir::new().expect("a temporary folder");
    for (file, names) in [
        (
            "id = \"n\"\n\nhadr = \"a:1\"\n",
            ["n.toml:3", "hadr", "haddr"],
        ),
        (
            "id = \"n\"\nhistory-revisions = \"many\"\n",
            ["n.toml:2", "history-revisions", "number"],
        ),
        (
            "history-age = \"for ever\"\n",
            ["n.toml:1", "history-age", "for ever"],
        ),
        ("haddr = \"nowhere\"\n", ["n.toml:1", "haddr", "nowhere"]),
        ("id = \"n\"\nid = \"m\"\n", ["n.toml:2", "duplicate", "key"]),
        ("id = \"n\n", ["n.toml:1", "", ""]),
    ] {
        fs::write(folder.path().join("n.toml"), file).expect("a written file");
        for args in [
            ["-c", "n.toml", "data"],
            ["doctor", "-c", "n.toml"],
            ["config", "-c", "n.toml"],
        ] {
            run(folder.path(), &args, 78).await.assert_refused(&names);
        }
    }
    let exit = run(folder.path(), &["-c", "missing.toml"], 78).await;
    exit.assert_refused(&["missing.toml"]);
    let exit = run(folder.path(), &["-id", "n", "backup"], 64).await;
    exit.assert_refused(&["backup", "./backup"]);
    let left = fs::read_dir(folder.path()).expect("the folder").count();
    assert_eq!(left, 1, "nothing was started");
}

fn write_file(node: &Node, path: &Path) {
    let (http, raft, data) = (
        node.http_address(),
        node.raft_address(),
        text(&node.data_dir()),
    );
    let lines = format!(
        "id = \"{}\"\nhaddr = \"{http}\"\nraddr = \"{raft}\"\ndata-dir = \"{data}\"\n\
         history-revisions = 5\n",
        node.name()
    );
    fs::write(path, lines).expect("a written file");
}

#[tokio::test]
async fn a_node_runs_by_its_file() {
    let mut cluster = Cluster::builder().nodes(1).prepare().await;
    let path = cluster.folder().join("node.toml");
    write_file(&cluster[0], &path);
    // The data directory that the harness adds is the same one.
    cluster[0].set_args(["-c", &text(&path)]);
    cluster[0].start().await;
    assert_eq!(cluster[0].status().await["node"], "node0");
    cluster[0].put("/api/keys/a", "1").await.expect_status(201);
    assert_eq!(cluster[0].stop().await.code(), Some(0));
    assert!(cluster[0].data_dir().join("node.json").is_file());
}
