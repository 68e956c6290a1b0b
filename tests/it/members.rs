//! Members that join, are replaced, leave, are removed, and die.

use std::fs;
use std::time::Duration;

use conclave_tests::cluster::RECOVERED_WITHIN;
use conclave_tests::http::assert_problem;
use conclave_tests::{Client, Cluster, Node, Ports, Request, Writers, said, wait_for};
use serde_json::Value;

/// Longest time until a node that was removed knows it.
const LEARNT_WITHIN: Duration = Duration::from_secs(15);
/// No change of members or leader may hold writes up for longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Silence, milliseconds, after which a leader has given up its connections to a member.
const SILENT_MS: u64 = 4_000;
const SILENT_WITHIN: Duration = Duration::from_secs(20);
/// A start that is expected to fail ends within this time.
const REFUSED_WITHIN: Duration = Duration::from_secs(20);

/// Returns the target that is about a member.
fn member(node: &Node, query: &str) -> String {
    format!("/api/cluster/members/{}{query}", node.name())
}

/// Waits until a node says that it was removed.
async fn wait_removed(node: &Node) {
    let what = format!("{} knows that it was removed", node.name());
    wait_for(&what, LEARNT_WITHIN, async || {
        let status = node.try_status().await?;
        match status["role"] == "removed" && status["leader"].is_null() {
            true => Ok(()),
            false => Err(status.to_string()),
        }
    })
    .await;
}

/// Checks that a removed node serves its state as stale, and says why it does nothing else.
async fn assert_serves_as_removed(node: &Node) {
    let target = "/api/keys/a";
    let stale = node.get(&format!("{target}?level=stale")).await;
    // A node that was killed may not know of its last entries that they are committed.
    assert!(matches!(stale.status, 200 | 404), "{stale:?}");
    assert_eq!(stale.expect_header("conclave-consistency"), "stale");
    assert_eq!(stale.expect_header("conclave-known-leader"), "false");
    for level in ["default", "consistent"] {
        let read = node.get(&format!("{target}?level={level}")).await;
        assert_problem(&read, 503, "node_removed");
    }
    let written = node.put(target, "never").await;
    assert_problem(&written, 503, "node_removed");
    assert_eq!(written.json()["applied"], "no");
    let ready = node.get("/readyz?verbose").await.expect_status(503);
    assert!(ready.text().contains("no member"), "{ready:?}");
}

/// Waits until the process has refused to start in the directory of a removed node.
async fn assert_refused_as_removed(node: &mut Node) {
    node.spawn();
    let status = node.wait_exit(REFUSED_WITHIN).await;
    assert_eq!(status.code(), Some(1), "{}", node.log_tail());
    let log = node.stderr();
    let last = log.lines().last().unwrap_or_default();
    for word in ["removed", "-join", "data directory"] {
        assert!(last.contains(word), "`{word}` in {last}");
    }
}

fn voters(status: &Value) -> Vec<(String, u64)> {
    let members = status["members"].as_array().cloned().unwrap_or_default();
    let voters = members.iter().filter(|member| member["voter"] == true);
    let shown = voters.map(|member| {
        let name = member["node"].as_str().unwrap_or_default().to_owned();
        (name, member["id"].as_u64().unwrap_or(0))
    });
    shown.collect()
}

/// Returns the state of a member as a node shows it.
async fn shown_state(asked: &Node, name: &str) -> String {
    let view = asked.get("/api/cluster").await.json();
    let members = view["members"].as_array().cloned().unwrap_or_default();
    let found = members.iter().find(|member| member["node"] == name);
    let state = found.and_then(|member| member["state"].as_str());
    state.unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_removed_follower_learns_it_and_comes_back_only_as_a_new_member() {
    let mut cluster = Cluster::start().await;
    cluster[0].put("/api/keys/a", "1").await.expect_status(201);
    cluster.assert_converged().await;
    let leader = cluster.leader().await;
    let [gone, asked] = cluster.followers().await[..] else {
        panic!("two followers")
    };
    let (term, old) = (
        cluster[leader].status_number("term").await,
        cluster[gone].status_number("id").await,
    );
    let removed = cluster[asked].delete(&member(&cluster[gone], "")).await;
    let plan = removed.expect_status(200).json();
    assert_eq!(
        (&plan["done"], &plan["id"]),
        (&true.into(), &old.into()),
        "{plan}"
    );
    assert_eq!(plan["before"]["can_lose"], 1, "{plan}");
    assert_eq!(plan["after"]["voters"], 2, "{plan}");
    assert_eq!(plan["after"]["can_lose"], 0, "{plan}");

    wait_removed(&cluster[gone]).await;
    assert_serves_as_removed(&cluster[gone]).await;
    let stale = cluster[gone].get("/api/keys/a?level=stale").await;
    assert_eq!(stale.text(), "1");
    let again = cluster[asked].delete(&member(&cluster[gone], "")).await;
    assert_problem(&again, 404, "member_not_found");
    // It has never made anybody vote.
    cluster[leader]
        .put("/api/keys/a", "2")
        .await
        .expect_status(200);
    assert_eq!(cluster[leader].status_number("term").await, term);

    cluster[gone].stop().await;
    assert_refused_as_removed(&mut cluster[gone]).await;
    fs::remove_dir_all(cluster[gone].data_dir()).expect("wipe");
    let address = cluster[asked].http_address();
    cluster[gone].add_args(["-join", &address]);
    cluster[gone].start().await;
    cluster.wait_voters(3).await;
    assert!(cluster[gone].status_number("id").await > old);
    cluster.assert_converged().await;
}

#[tokio::test]
async fn a_node_that_was_removed_while_it_was_down_learns_it_at_its_start() {
    let mut cluster = Cluster::start().await;
    cluster[0].put("/api/keys/a", "1").await.expect_status(201);
    cluster.assert_converged().await;
    let leader = cluster.leader().await;
    let gone = cluster.followers().await[0];
    cluster[gone].kill();
    let removed = cluster[leader].delete(&member(&cluster[gone], "")).await;
    removed.expect_status(200);
    let term = cluster[leader].status_number("term").await;
    cluster[gone].spawn();
    wait_removed(&cluster[gone]).await;
    assert_serves_as_removed(&cluster[gone]).await;
    assert_eq!(cluster[leader].status_number("term").await, term);
    let log = cluster[gone].stderr();
    assert!(log.contains("was removed from cluster"), "{log}");
    // The note may take a moment longer than the status.
    wait_for("the directory says so", LEARNT_WITHIN, async || {
        let identity = fs::read_to_string(cluster[gone].data_dir().join("node.json"));
        let identity = identity.map_err(|error| error.to_string())?;
        match identity.contains("\"removed\"") {
            true => Ok(()),
            false => Err(identity),
        }
    })
    .await;
    cluster[gone].kill();
    assert_refused_as_removed(&mut cluster[gone]).await;
}

#[tokio::test]
async fn a_leader_that_is_removed_or_leaves_hands_over_first() {
    let mut cluster = Cluster::builder().nodes(4).alone().start().await;
    for round in 0..2 {
        let old = cluster.leader().await;
        let others = cluster.followers().await;
        let writers = Writers::start(&cluster.addresses_of(&others), 4);
        writers.wait_acknowledged(100, RECOVERED_WITHIN).await;
        if round == 0 {
            let target = member(&cluster[old], "");
            let plan = cluster[others[0]]
                .delete(&target)
                .await
                .expect_status(200)
                .json();
            assert_eq!(plan["after"]["voters"], 3, "{plan}");
        } else {
            let left = cluster[old]
                .post("/cluster/leave", "")
                .await
                .expect_status(200)
                .json();
            assert_eq!(
                (&left["Status"], &left["Error"]),
                (&"ok".into(), &"".into()),
                "{left}"
            );
            assert_eq!(left["Data"]["node"], cluster[old].name(), "{left}");
            assert_eq!(cluster[old].status().await["role"], "removed");
        }
        writers.wait_acknowledged(100, RECOVERED_WITHIN).await;
        let log = writers.stop().await;
        let pause = log.longest_pause();
        said::measured(&format!(
            "a leader goes, round {round}: writes pause for {pause:?}"
        ));
        assert!(pause < LONGEST_PAUSE, "writes paused for {pause:?}");
        wait_removed(&cluster[old]).await;
        cluster[old].kill();
        cluster.wait_voters(3 - round).await;
        log.assert_kept(&cluster[others[0]], "consistent").await;
    }
    cluster.assert_converged().await;
}

#[tokio::test]
async fn a_node_that_leaves_on_stop_is_no_member_afterwards() {
    let mut cluster = Cluster::builder().args(&["-leave-on-stop"]).start().await;
    let leaving = cluster.leader().await;
    let others = cluster.followers().await;
    let writers = Writers::start(&cluster.addresses_of(&others), 2);
    writers.wait_acknowledged(50, RECOVERED_WITHIN).await;
    let status = cluster[leaving].stop().await;
    assert_eq!(status.code(), Some(0), "{}", cluster[leaving].log_tail());
    cluster.wait_voters(2).await;
    writers.wait_acknowledged(50, RECOVERED_WITHIN).await;
    let log = writers.stop().await;
    log.assert_kept(&cluster[others[0]], "consistent").await;
    assert_refused_as_removed(&mut cluster[leaving]).await;

    cluster[others[0]].stop().await;
    cluster.wait_voters(1).await;
    // The last one cannot leave, and its data is there when it starts again.
    let last = others[1];
    assert_eq!(cluster[last].stop().await.code(), Some(0));
    cluster[last].start().await;
    log.assert_kept(&cluster[last], "consistent").await;
}

#[tokio::test]
async fn a_live_member_is_replaced_only_when_that_is_asked_for() {
    let mut cluster = Cluster::start().await;
    cluster[0].put("/api/keys/a", "1").await.expect_status(201);
    let leader = cluster.leader().await;
    let old = cluster.followers().await[0];
    let (name, id) = (
        cluster[old].name().to_owned(),
        cluster[old].status_number("id").await,
    );
    // A second directory under the same name, which waits to be joined.
    let mut new = Node::new(&name, &cluster.folder().join("second"), Ports::reserve());
    let nobody = format!("localhost:{}", Ports::reserve().http);
    new.add_args(["-join", &nobody]);
    new.spawn();
    let body = format!(
        r#"{{"name":"{name}","http":"{}","raft":"{}"}}"#,
        new.http_address(),
        new.raft_address()
    );
    let refused = cluster[leader].post("/api/cluster/members", &body).await;
    assert_problem(&refused, 409, "name_in_use");
    let ask = Request::post("/api/cluster/members?replace=true", body.as_str());
    wait_for(
        "the new node waits and is added",
        RECOVERED_WITHIN,
        async || {
            let answer = cluster[leader].send(&ask).await;
            match answer.status {
                201 => Ok(()),
                _ => Err(format!("{answer:?}")),
            }
        },
    )
    .await;
    new.wait_ready().await;
    wait_removed(&cluster[old]).await;
    let status = cluster[leader].status().await;
    let named: Vec<_> = voters(&status)
        .into_iter()
        .filter(|(n, _)| *n == name)
        .collect();
    assert_eq!(voters(&status).len(), 3, "{status}");
    assert!(
        matches!(named[..], [(_, new_id)] if new_id > id),
        "{status}"
    );
    cluster[old] = new;
    cluster.wait_voters(3).await;
    cluster.assert_converged().await;
}

#[tokio::test]
async fn a_member_is_removed_by_its_name_through_a_node_that_missed_its_replacement() {
    let mut cluster = Cluster::builder().nodes(4).start().await;
    let leader = cluster.leader().await;
    let [asked, old, _] = cluster.followers().await[..] else {
        panic!("three followers")
    };
    let first = cluster[old].status_number("id").await;
    cluster[asked].pause();
    let name = member(&cluster[old], "");
    cluster[leader].delete(&name).await.expect_status(200);
    let through = cluster.addresses_of(&[leader]);
    cluster.wipe(old, &through);
    cluster[old].start().await;
    let second = cluster[old].status_number("id").await;
    assert!(second > first, "{first} and {second}");
    // Long enough that the leader has closed its connections to it, and opens them after a pause.
    wait_for("the silence of a paused node", SILENT_WITHIN, async || {
        let status = cluster[leader].status().await;
        let silent = status["followers"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|one| one["node"] == cluster[asked].name());
        let silent: Vec<_> = silent.filter_map(|one| one["silent_ms"].as_u64()).collect();
        match silent[..] {
            [ms] if ms > SILENT_MS => Ok(()),
            _ => Err(status.to_string()),
        }
    })
    .await;

    cluster[asked].resume();
    let removed = cluster[asked].delete(&name).await.expect_status(200);
    assert_eq!(removed.json()["id"], second);
    wait_removed(&cluster[old]).await;
}

#[tokio::test]
async fn a_dead_voter_is_reported_and_replaced_under_its_name() {
    let mut cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let [dead, other] = cluster.followers().await[..] else {
        panic!("two followers")
    };
    let (name, id) = (
        cluster[dead].name().to_owned(),
        cluster[dead].status_number("id").await,
    );
    assert_eq!(shown_state(&cluster[other], &name).await, "ok");
    cluster[dead].kill();
    for asked in [leader, other] {
        wait_for(
            "the dead voter is shown",
            Duration::from_secs(20),
            async || {
                let state = shown_state(&cluster[asked], &name).await;
                if state == "dead" { Ok(()) } else { Err(state) }
            },
        )
        .await;
    }
    let reported = format!("the voter `{name}`");
    wait_for("a line in the log", RECOVERED_WITHIN, async || {
        let log = cluster[leader].stderr();
        let line = log.lines().find(|line| line.contains(&reported));
        line.map(drop).ok_or(log)
    })
    .await;
    fs::remove_dir_all(cluster[dead].data_dir()).expect("wipe");
    let address = cluster[other].http_address();
    cluster[dead].add_args(["-join", &address]);
    cluster[dead].start().await;
    cluster.wait_voters(3).await;
    assert!(cluster[dead].status_number("id").await > id);
    cluster.assert_converged().await;
}

#[tokio::test]
async fn an_eighth_node_learns_until_a_dead_voter_makes_room() {
    let flags = ["-remove-dead-after", "5s"];
    let mut cluster = Cluster::builder().nodes(7).args(&flags).start().await;
    let eighth = cluster.add_node();
    let address = cluster[0].http_address();
    cluster[eighth].add_args(["-join", &address]);
    cluster[eighth].start().await;
    let leader = cluster.leader().await;
    let promote = member(&cluster[eighth], "/promote");
    let refused = cluster[leader].post(&promote, "").await;
    assert_problem(&refused, 409, "too_many_voters");
    cluster.wait_voters(7).await;

    let dead = cluster.followers().await[0];
    let (name, heir) = (
        cluster[dead].name().to_owned(),
        cluster[eighth].name().to_owned(),
    );
    cluster[dead].kill();
    cluster[leader]
        .put("/api/keys/a", "1")
        .await
        .expect_status(201);
    wait_for(
        "the learner has its place",
        Duration::from_secs(25),
        async || {
            let status = cluster[leader].try_status().await?;
            let names: Vec<_> = voters(&status).into_iter().map(|(name, _)| name).collect();
            match names.len() == 7 && names.contains(&heir) && !names.contains(&name) {
                true => Ok(()),
                false => Err(format!("{names:?}")),
            }
        },
    )
    .await;
    cluster.wait_voters(7).await;
    cluster.assert_converged().await;
}

#[tokio::test]
async fn a_leader_that_moves_to_another_address_is_found_there() {
    let mut cluster = Cluster::start().await;
    cluster[0].put("/api/keys/a", "1").await.expect_status(201);
    let moved = cluster.leader().await;
    let name = cluster[moved].name().to_owned();
    cluster[moved].stop().await;
    let mut node = Node::new(&name, cluster.folder(), Ports::reserve());
    node.start().await;
    cluster[moved] = node;
    let expected = cluster[moved].raft_address();
    wait_for("all know the new address", RECOVERED_WITHIN, async || {
        for node in cluster.nodes() {
            let status = node.try_status().await?;
            if !status["members"].to_string().contains(&expected) {
                return Err(status.to_string());
            }
        }
        Ok(())
    })
    .await;
    // The others reach it as followers reach their leader.
    let body = format!(r#"{{"to":"{name}"}}"#);
    let leader = cluster.leader().await;
    cluster[leader]
        .post("/api/cluster/transfer", &body)
        .await
        .expect_status(200);
    assert_eq!(cluster.leader().await, moved);
    for node in cluster.nodes() {
        node.put("/api/keys/a", "2").await.expect_status(200);
    }
    cluster.assert_converged().await;
}

#[tokio::test]
async fn a_change_that_a_crashed_leader_left_is_finished_by_the_next() {
    let mut cluster = Cluster::start().await;
    cluster[0].put("/api/keys/a", "1").await.expect_status(201);
    cluster.assert_converged().await;
    let leader = cluster.leader().await;
    let [removed, down] = cluster.followers().await[..] else {
        panic!("two followers")
    };
    cluster[down].kill();
    let target = member(&cluster[removed], "?force=true");
    let mut client = Client::new(cluster[leader].http_address());
    // Without the third voter the joint configuration cannot be committed.
    let asking = tokio::spawn(async move { client.send(&Request::delete(&target)).await });
    wait_for(
        "the change has reached the member it removes",
        RECOVERED_WITHIN,
        async || {
            let last = cluster[leader].status_number("last_log_index").await;
            let status = cluster[removed].try_status().await?;
            let waits = cluster[leader].status_number("commit_index").await < last;
            match waits && status["last_log_index"] == last {
                true => Ok(()),
                false => Err(status.to_string()),
            }
        },
    )
    .await;
    cluster[leader].kill();
    assert!(asking.await.expect("the client").is_err());
    cluster[leader].spawn();
    cluster[down].spawn();
    wait_for("two voters", Duration::from_secs(30), async || {
        for index in [leader, down] {
            let status = cluster[index].try_status().await?;
            let members = status["members"].as_array().cloned().unwrap_or_default();
            if members.len() != 2 || voters(&status).len() != 2 {
                return Err(status.to_string());
            }
        }
        Ok(())
    })
    .await;
    wait_removed(&cluster[removed]).await;
    cluster[removed].kill();
    cluster[leader]
        .put("/api/keys/a", "2")
        .await
        .expect_status(200);
    cluster.assert_converged().await;
}
