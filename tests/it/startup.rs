//! Starts with bad input end soon, with a status that is not zero and one line that names the
//! thing; what was started before is never harmed by it.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use conclave_tests::cluster::run::{Exit, run_in};
use conclave_tests::{Cluster, Node, Ports, run_node, wait_for};
use tempfile::TempDir;

/// Longest time until a start that cannot succeed has ended.
const REFUSED_WITHIN: Duration = Duration::from_secs(20);

/// Runs a start that must fail, with a data directory of its own.
async fn refused(args: &[&str], names: &[&str]) -> Exit {
    let folder = TempDir::new().expect("a temporary folder");
    let data = text(&folder.path().join("data"));
    let mut args = args.to_vec();
    args.push(&data);
    let exit = run_node(&args, &[], REFUSED_WITHIN).await;
    exit.assert_refused(names);
    exit
}

fn text(path: &Path) -> String {
    path.to_str()
        .expect("a path of plain characters")
        .to_owned()
}

fn local(port: u16) -> String {
    format!("localhost:{port}")
}

/// Returns `-id … -haddr … -raddr …` with free ports.
fn usual(name: &str) -> Vec<String> {
    let ports = Ports::reserve();
    let [http, raft] = [local(ports.http), local(ports.raft)];
    ["-id", name, "-haddr", &http, "-raddr", &raft]
        .map(str::to_owned)
        .into()
}

#[tokio::test]
async fn help_is_no_error_with_one_dash_or_two() {
    for flag in ["-h", "--help", "-help"] {
        let exit = run_node(&[flag], &[], REFUSED_WITHIN).await;
        assert_eq!(exit.status.code(), Some(0), "{flag}: {exit:#?}");
        for known in ["-id", "-haddr", "-raddr", "-join", "-inmem", "DATA_DIR"] {
            assert!(
                exit.stdout.contains(known),
                "{flag}: no {known} in {}",
                exit.stdout
            );
        }
    }
}

#[tokio::test]
async fn an_unknown_flag_is_named() {
    refused(&["-frobnicate"], &["frobnicate"]).await;
    refused(&["--frobnicate", "1"], &["frobnicate"]).await;
}

#[tokio::test]
async fn a_value_that_does_not_parse_is_named_with_its_flag() {
    refused(&["-haddr", "localhost"], &["haddr", "localhost"]).await;
    refused(
        &["-haddr", "localhost:notaport"],
        &["haddr", "localhost:notaport"],
    )
    .await;
    refused(
        &["-raddr", "localhost:99999"],
        &["raddr", "localhost:99999"],
    )
    .await;
    refused(&["-join-timeout", "soon"], &["join-timeout", "soon"]).await;
    refused(
        &["-snapshot-log-keep", "few"],
        &["snapshot-log-keep", "few"],
    )
    .await;
    refused(&["-id", ""], &["id"]).await;
}

#[tokio::test]
async fn a_value_of_the_environment_that_does_not_parse_is_named() {
    let folder = TempDir::new().expect("a temporary folder");
    let data = text(&folder.path().join("data"));
    let env = [("CONCLAVE_RADDR", "nowhere:70000")];
    let exit = run_node(&[&data], &env, REFUSED_WITHIN).await;
    exit.assert_refused(&["nowhere:70000"]);
    let exit = run_node(&[&data], &[("PORT", "eighty")], REFUSED_WITHIN).await;
    exit.assert_refused(&["PORT", "eighty"]);
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let ports = Ports::reserve();
    let (http, raft) = (local(ports.http), local(ports.raft));
    let args = ["-id", "n", "-haddr", &http, "-raddr", &raft];
    for taken in [ports.http, ports.raft] {
        let holder = TcpListener::bind(("127.0.0.1", taken)).expect("a free port");
        refused(&args, &[&taken.to_string()]).await;
        drop(holder);
    }
}

#[tokio::test]
async fn the_same_port_for_both_addresses_is_refused() {
    let address = local(Ports::reserve().http);
    let port = address.rsplit(':').next().unwrap_or_default();
    refused(
        &["-id", "n", "-haddr", &address, "-raddr", &address],
        &[port],
    )
    .await;
}

#[tokio::test]
async fn a_file_in_place_of_the_directory_is_named() {
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("a-file");
    fs::write(&file, "not a directory").expect("a written file");
    let mut args = usual("n");
    args.push(text(&file));
    let exit = run_node(&args, &[], REFUSED_WITHIN).await;
    exit.assert_refused(&["a-file"]);
    assert_eq!(
        fs::read_to_string(&file).expect("the file"),
        "not a directory"
    );
}

#[tokio::test]
async fn a_directory_of_somebody_else_is_left_alone() {
    let folder = TempDir::new().expect("a temporary folder");
    let data = folder.path().join("somebody-elses");
    fs::create_dir(&data).expect("a directory");
    fs::write(data.join("thesis.txt"), "years of work").expect("a written file");
    let mut args = usual("n");
    args.push(text(&data));
    let exit = run_node(&args, &[], REFUSED_WITHIN).await;
    exit.assert_refused(&["somebody-elses"]);
    assert_eq!(files_below(&data), [data.join("thesis.txt")]);
}

#[tokio::test]
async fn another_name_than_the_directorys_is_refused() {
    let mut cluster = Cluster::single().await;
    cluster[0].put("/api/keys/a", "1").await.expect_status(201);
    assert_eq!(cluster[0].stop().await.code(), Some(0));
    let mut args = usual("impostor");
    args.push(text(&cluster[0].data_dir()));
    let exit = run_node(&args, &[], REFUSED_WITHIN).await;
    exit.assert_refused(&["impostor", "node0"]);
    // The directory is still node0's.
    cluster[0].start().await;
    assert_eq!(cluster[0].get("/api/keys/a").await.text(), "1");
}

#[tokio::test]
async fn a_second_process_on_one_directory_is_refused() {
    let cluster = Cluster::single().await;
    let mut args = usual("node0");
    let data = text(&cluster[0].data_dir());
    args.push(data.clone());
    let exit = run_node(&args, &[], REFUSED_WITHIN).await;
    exit.assert_refused(&[&data]);
    cluster[0].put("/api/keys/a", "1").await.expect_status(201);
}

#[tokio::test]
async fn an_unspecified_address_needs_a_listen_flag() {
    let ports = Ports::reserve();
    let any = format!("0.0.0.0:{}", ports.http);
    let raft = local(ports.raft);
    let args = ["-id", "n", "-haddr", &any, "-raddr", &raft];
    refused(&args, &[&any, "hlisten"]).await;
    let http = local(ports.http);
    let any = format!("0.0.0.0:{}", ports.raft);
    let args = ["-id", "n", "-haddr", &http, "-raddr", &any];
    refused(&args, &[&any, "rlisten"]).await;
}

#[tokio::test]
async fn a_listen_flag_binds_elsewhere_than_what_others_dial() {
    let mut cluster = Cluster::builder().nodes(1).prepare().await;
    let any = format!("0.0.0.0:{}", cluster[0].ports().http);
    cluster[0].add_args(["-hlisten", &any]);
    cluster[0].start().await;
    let address = cluster[0].http_address();
    assert_eq!(
        cluster[0].status().await["members"][0]["http"],
        address.as_str()
    );
}

#[tokio::test]
async fn a_join_to_nobody_ends_after_its_timeout() {
    let nobody = local(Ports::reserve().http);
    let mut args = usual("n");
    args.extend(["-join", &nobody, "-join-timeout", "2s"].map(str::to_owned));
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let exit = refused(&args, &[&nobody]).await;
    // It asked again; a try that would end after the timeout need not begin.
    assert!(
        exit.took >= Duration::from_secs(1),
        "gave up after {:?}",
        exit.took
    );
}

#[tokio::test]
async fn a_join_to_itself_is_refused_at_once() {
    let ports = Ports::reserve();
    let (http, raft) = (local(ports.http), local(ports.raft));
    for own in [&http, &raft] {
        let args = ["-id", "n", "-haddr", &http, "-raddr", &raft, "-join", own];
        let exit = refused(&args, &["join", own]).await;
        assert!(exit.took < Duration::from_secs(10), "took {:?}", exit.took);
    }
}

#[tokio::test]
async fn a_join_under_a_live_members_name_is_refused() {
    let cluster = Cluster::builder().nodes(2).start().await;
    let mut args = usual("node1");
    args.extend(["-join".to_owned(), cluster[0].http_address()]);
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    refused(&args, &["node1"]).await;
    // The refused node is no member, and the one that it imitated still is.
    cluster.wait_voters(2).await;
    cluster[1].put("/api/keys/a", "1").await.expect_status(201);
    cluster.assert_converged().await;
}

#[tokio::test]
async fn a_wiped_node_rejoins_under_its_name_with_a_new_id() {
    let mut cluster = Cluster::start().await;
    cluster[0].put("/api/keys/a", "1").await.expect_status(201);
    let wiped = cluster.followers().await[0];
    let leader = cluster.leader().await;
    let (name, old) = (
        cluster[wiped].name().to_owned(),
        cluster[wiped].status_number("id").await,
    );
    cluster[wiped].kill();
    fs::remove_dir_all(cluster[wiped].data_dir()).expect("wipe");
    // Before that its name counts as in use.
    wait_for("silent for 10 s", Duration::from_secs(30), async || {
        let status = cluster[leader].status().await;
        let followers = status["followers"].as_array().expect("followers");
        let silent = followers
            .iter()
            .filter(|follower| follower["node"] == name.as_str())
            .any(|follower| follower["last_ack_ms"].as_u64() > Some(10_500));
        if silent {
            Ok(())
        } else {
            Err(status.to_string())
        }
    })
    .await;
    let address = cluster[leader].http_address();
    cluster[wiped].add_args(["-join", &address]);
    cluster[wiped].start().await;
    cluster.wait_voters(3).await;
    assert!(cluster[wiped].status_number("id").await > old);
    cluster.assert_converged().await;
}

#[tokio::test]
async fn a_follower_passes_a_join_on() {
    let mut cluster = Cluster::builder().nodes(2).start().await;
    let follower = cluster.followers().await[0];
    let raft_address = cluster[follower].raft_address();
    let index = cluster.add_node();
    // Either address of a member will do.
    cluster[index].add_args(["-join", &raft_address]);
    cluster[index].start().await;
    cluster.wait_voters(3).await;
    cluster.assert_converged().await;
}

#[tokio::test]
async fn one_of_several_addresses_to_join_is_enough() {
    let mut cluster = Cluster::builder().nodes(1).start().await;
    let list = format!(
        "{},{}",
        local(Ports::reserve().http),
        cluster[0].http_address()
    );
    let index = cluster.add_node();
    cluster[index].add_args(["-join", &list]);
    cluster[index].start().await;
    cluster.wait_voters(2).await;
}

#[tokio::test]
async fn a_used_directory_ignores_join() {
    let mut cluster = Cluster::single().await;
    cluster[0].put("/api/keys/a", "1").await.expect_status(201);
    cluster[0].kill();
    let nobody = local(Ports::reserve().http);
    cluster[0].add_args(["-join", &nobody]);
    cluster[0].start().await;
    assert_eq!(cluster[0].get("/api/keys/a").await.text(), "1");
}

#[tokio::test]
async fn a_used_directory_takes_new_addresses_through_the_log() {
    let mut cluster = Cluster::start().await;
    cluster[0].put("/api/keys/a", "1").await.expect_status(201);
    let moved = cluster.followers().await[0];
    cluster[moved].stop().await;
    let ports = Ports::reserve();
    let name = cluster[moved].name().to_owned();
    let mut node = Node::new(&name, cluster.folder(), ports);
    node.start().await;
    cluster[moved] = node;
    cluster.leader().await;
    let expected = cluster[moved].http_address();
    wait_for("all know the new address", REFUSED_WITHIN, async || {
        for node in cluster.nodes() {
            let status = node.try_status().await?;
            let members = status["members"].as_array().cloned().unwrap_or_default();
            let known = members
                .iter()
                .any(|member| member["http"] == expected.as_str());
            if !known {
                return Err(status.to_string());
            }
        }
        Ok(())
    })
    .await;
    cluster[moved]
        .put("/api/keys/a", "2")
        .await
        .expect_status(200);
    cluster.assert_converged().await;
}

#[tokio::test]
async fn two_dashes_work_as_one() {
    let mut cluster = Cluster::builder().nodes(1).prepare().await;
    let doubled: Vec<_> = cluster[0]
        .usual_args()
        .into_iter()
        .map(|arg| {
            if arg.starts_with('-') {
                format!("-{arg}")
            } else {
                arg
            }
        })
        .collect();
    cluster[0].set_args(doubled);
    cluster[0].start().await;
    assert_eq!(cluster[0].status().await["node"], "node0");
}

#[tokio::test]
async fn in_memory_writes_nothing_to_disk() {
    let mut cluster = Cluster::builder().args(&["-inmem"]).start().await;
    let written = cluster[0].put("/api/keys/a", "1").await.expect_status(201);
    cluster
        .wait_applied(written.expect_number("conclave-revision"))
        .await;
    for node in cluster.nodes() {
        assert_eq!(node.get("/api/keys/a?consistent").await.text(), "1");
        assert_eq!(files_below(&node.data_dir()), Vec::<PathBuf>::new());
        assert_eq!(files_below(&node.working_dir()), Vec::<PathBuf>::new());
    }
    cluster.assert_converged().await;
    // Every start is a new identity that takes the old one's place.
    let follower = cluster.followers().await[0];
    let old = cluster[follower].status_number("id").await;
    cluster[follower].kill();
    cluster[follower].start().await;
    cluster.wait_voters(3).await;
    assert!(cluster[follower].status_number("id").await > old);
    assert_eq!(
        cluster[follower].get("/api/keys/a?consistent").await.text(),
        "1"
    );
    cluster.assert_converged().await;
}

#[tokio::test]
async fn the_directory_is_data_and_the_name_when_none_is_given() {
    let folder = TempDir::new().expect("a temporary folder");
    // The refusal shows where it looked.
    let ports = Ports::reserve();
    let (http, raft) = (local(ports.http), local(ports.raft));
    let data = folder.path().join("data").join("some-node");
    fs::create_dir_all(&data).expect("a directory");
    fs::write(data.join("thesis.txt"), "years of work").expect("a written file");
    let args = ["-id", "some-node", "-haddr", &http, "-raddr", &raft];
    let exit = run_in(folder.path(), &args, &[], REFUSED_WITHIN).await;
    exit.assert_refused(&["some-node"]);
    assert_eq!(files_below(folder.path()), [data.join("thesis.txt")]);
}

#[tokio::test]
async fn a_damaged_record_names_its_file() {
    let mut cluster = Cluster::single().await;
    for number in 0..200 {
        let target = format!("/api/keys/damage/{number}");
        cluster[0]
            .put(&target, &"x".repeat(500))
            .await
            .expect_status(201);
    }
    cluster[0].kill();
    let files = files_below(&cluster[0].data_dir().join("raft"));
    let size = |path: &PathBuf| fs::metadata(path).map_or(0, |file| file.len());
    let log = files.iter().find(|file| size(file) > 50_000);
    let log = log.unwrap_or_else(|| panic!("no log file with 200 records among {files:?}"));
    let mut bytes = fs::read(log).expect("the log");
    // In the first third: most records come after it, so that it cannot be a torn end.
    let at = bytes.len() / 3;
    bytes[at] ^= 0x40;
    fs::write(log, &bytes).expect("a written log");

    let damaged = log
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let mut args = cluster[0].usual_args();
    args.push(text(&cluster[0].data_dir()));
    let exit = run_node(&args, &[], REFUSED_WITHIN).await;
    exit.assert_refused(&[damaged]);
    assert_eq!(
        fs::read(log).expect("the log"),
        bytes,
        "the damaged file was changed"
    );

    // With the byte as it was, all is there again.
    bytes[at] ^= 0x40;
    fs::write(log, &bytes).expect("a written log");
    cluster[0].start().await;
    assert_eq!(
        cluster[0].get("/api/keys/damage/199").await.text(),
        "x".repeat(500)
    );
}

/// Returns all files below a folder, in order; none when the folder is absent.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path)
            } else {
                files.push(path)
            }
        }
    }
    files.sort();
    files
}
