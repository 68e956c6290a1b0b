//! Request ids: a repeated write gets its first outcome, and one that was cut off is settled for
//! good.

use std::time::Duration;

use conclave_tests::cluster::RECOVERED_WITHIN;
use conclave_tests::http::assert_problem;
use conclave_tests::load::repeats::{
    Sent, assert_repeated, assert_same_outcome, send_every_kind, under,
};
use conclave_tests::{Cluster, Links, Node, Request, Response, Writers, wait_for};

/// Longest wait for as many writes as a purge of the log takes, on a busy machine.
const WRITTEN_WITHIN: Duration = Duration::from_secs(120);

#[tokio::test]
async fn a_repeated_write_of_any_kind_gets_its_first_outcome() {
    let mut cluster = Cluster::single().await;
    let sent = send_every_kind(&cluster[0], "first").await;
    assert_repeated(&cluster[0], &sent).await;
    let before = state_hash(&cluster[0]).await;

    // The ids come back with the log …
    cluster.restart_all().await;
    assert_eq!(state_hash(&cluster[0]).await, before);
    assert_repeated(&cluster[0], &sent).await;

    // … and with a snapshot, next to ids that only the log has.
    let snapshot = cluster[0].post("/api/cluster/snapshot", "").await;
    let index = snapshot.expect_status(200).json()["snapshot_index"].as_u64();
    let later = send_every_kind(&cluster[0], "later").await;
    cluster.restart_all().await;
    let status = cluster[0].status().await;
    assert_eq!(status["snapshot_index"].as_u64(), index, "{status}");
    assert_repeated(&cluster[0], &sent).await;
    assert_repeated(&cluster[0], &later).await;
    cluster.assert_converged().await;
}

#[tokio::test]
async fn an_id_stands_for_one_request_only() {
    let cluster = Cluster::single().await;
    let node = &cluster[0];
    let write = |id: &str| under(id, Request::put("/api/keys/a", "1"));
    node.send(&write("once")).await.expect_status(201);
    let before = state_hash(node).await;
    for other in [
        Request::put("/api/keys/a", "2"),
        Request::put("/api/keys/b", "1"),
        Request::put("/api/keys/a?cas=0", "1"),
        Request::put("/api/keys/a?prev=true", "1"),
        Request::put("/api/keys/a", "1").header("Content-Type", "text/html"),
        Request::delete("/api/keys/a"),
        Request::delete("/api/keys/a?recursive=true"),
        Request::post("/key", r#"{"a": "1"}"#),
        Request::put("/a", "2"),
    ] {
        let answer = node.send(&under("once", other)).await;
        assert_problem(&answer, 422, "idempotency_key_reused");
        assert_eq!(answer.json()["applied"], "no", "{answer:?}");
    }
    assert_eq!(state_hash(node).await, before);
    // The quotes of a structured field are no part of the id.
    let quoted = node.send(&write("\"once\"")).await.expect_status(201);
    assert_eq!(quoted.expect_header("conclave-replayed"), "true");
    let long = "i".repeat(64);
    node.send(&write(&long)).await.expect_status(200);
    for bad in ["", "two words", &format!("{long}i")] {
        let answer = node.send(&write(bad)).await;
        assert_problem(&answer, 400, "invalid_argument");
    }
}

#[tokio::test]
async fn a_withdrawn_id_is_refused_for_good() {
    let mut cluster = Cluster::single().await;
    let node = &cluster[0];
    assert_eq!(look_up(node, "never").await["status"], "unknown");
    let settled = settle(node, "never").await;
    assert_eq!(settled["status"], "not_applied", "{settled}");
    assert!(settled["outcome"].is_null(), "{settled}");
    let write = under("never", Request::put("/api/keys/a", "1"));
    let before = state_hash(node).await;
    for request in [
        write.clone(),
        under("never", Request::delete("/api/keys/a")),
    ] {
        assert_withdrawn(&node.send(&request).await, "never");
    }
    // An answered write cannot be withdrawn; a refused one has its outcome already.
    node.send(&under("done", Request::put("/api/keys/b", "1")))
        .await
        .expect_status(201);
    let absent = under("absent", Request::delete("/api/keys/none"));
    node.send(&absent).await.expect_status(404);
    for (id, status, outcome) in [("done", "applied", 201), ("absent", "not_applied", 404)] {
        let settled = settle(node, id).await;
        assert_eq!(settled["status"], status, "{settled}");
        assert_eq!(settled["outcome"]["status"], outcome, "{settled}");
        assert_eq!(look_up(node, id).await, settled);
    }
    assert_ne!(state_hash(node).await, before, "the other two count");

    cluster.restart_all().await;
    let node = &cluster[0];
    assert_withdrawn(&node.send(&write).await, "never");
    assert_eq!(settle(node, "never").await, settled);
    assert_eq!(node.get("/api/keys/a").await.status, 404);
    assert_problem(
        &node.get("/api/requests/two%20words").await,
        400,
        "invalid_argument",
    );
}

#[tokio::test]
async fn a_repetition_gets_its_first_outcome_at_any_node_and_after_any_change_of_leaders() {
    let mut cluster = Cluster::start().await;
    let sent = send_every_kind(&cluster[0], "first").await;
    assert_repeated_everywhere(&cluster, &sent).await;

    let old = cluster.leader().await;
    cluster[old]
        .post("/api/cluster/transfer", "")
        .await
        .expect_status(200);
    let leader = cluster.leader().await;
    assert_ne!(leader, old);
    assert_repeated_everywhere(&cluster, &sent).await;

    cluster[leader].kill();
    let next = cluster.leader().await;
    assert_ne!(next, leader);
    assert_repeated_everywhere(&cluster, &sent).await;
    cluster[leader].start().await;
    cluster.restart_all().await;
    assert_repeated_everywhere(&cluster, &sent).await;
}

#[tokio::test]
async fn a_node_that_came_by_snapshot_knows_the_first_outcomes() {
    // The log is purged in steps of 4,096 entries, behind what `-snapshot-log-keep` keeps.
    let flags = ["-snapshot-log-keep", "100"];
    let mut cluster = Cluster::builder().nodes(1).args(&flags).start().await;
    let sent = send_every_kind(&cluster[0], "first").await;
    settle(&cluster[0], "never").await;
    let last = cluster[0].status_number("last_log_index").await;
    let writers = Writers::start(&cluster.addresses(), 64);
    writers.wait_acknowledged(4_400, WRITTEN_WITHIN).await;
    drop(writers.stop().await);
    cluster[0]
        .post("/api/cluster/snapshot", "")
        .await
        .expect_status(200);
    wait_for("the log is purged", RECOVERED_WITHIN, async || {
        let status = cluster[0].try_status().await?;
        let purged = status["purged_index"].as_u64();
        if purged > Some(last) {
            Ok(())
        } else {
            Err(status.to_string())
        }
    })
    .await;

    let new = cluster.add_node();
    let first = cluster[0].http_address();
    cluster[new].add_args(["-join", &first]);
    cluster[new].start().await;
    cluster.wait_voters(2).await;
    cluster.assert_converged().await;
    // It has built none of its own: this is the one that it was sent.
    assert!(cluster[new].status_number("snapshot_index").await > last);
    assert_repeated_everywhere(&cluster, &sent).await;
    let to = format!(r#"{{"to": "{}"}}"#, cluster[new].name());
    let transferred = cluster[0].post("/api/cluster/transfer", &to).await;
    transferred.expect_status(200);
    assert_eq!(cluster.leader().await, new);
    assert_repeated_everywhere(&cluster, &sent).await;
    let write = under("never", Request::put("/api/keys/never", "1"));
    assert_withdrawn(&cluster[new].send(&write).await, "never");

    cluster.restart_all().await;
    assert_repeated_everywhere(&cluster, &sent).await;
}

#[tokio::test]
async fn a_write_whose_answer_was_cut_off_is_settled_as_applied() {
    let (cluster, links) = linked().await;
    let leader = cluster.leader().await;
    let followers = cluster.followers().await;
    let (away, other) = (&cluster[followers[0]], &cluster[followers[1]]);
    connect(away).await;
    // The leader gets the writes and commits them with the other node; its answers are held.
    links.cut(leader, followers[0]);
    let write = under("cut-off", Request::put("/api/keys/a", "1"));
    let nameless = Request::put("/api/keys/b", "1");
    let (named, unnamed) = tokio::join!(away.send(&write), away.send(&nameless));
    assert_eq!(assert_unclear(&named), "cut-off");
    for (key, id) in [("a", "cut-off".to_owned()), ("b", assert_unclear(&unnamed))] {
        let found = look_up(other, &id).await;
        let settled = settle(other, &id).await;
        assert_eq!(settled["status"], "applied", "{settled}");
        assert_eq!(settled["outcome"]["status"], 201, "{settled}");
        assert_eq!(found, settled, "it was known before");
        let read = other.get(&format!("/api/keys/{key}?consistent")).await;
        let revision = read.expect_status(200).expect_number("conclave-revision");
        let etag = format!("\"{}\"", settled["outcome"]["revision"]);
        let key = other.get(&format!("/api/keys/{key}?consistent")).await;
        assert_eq!(key.expect_header("etag"), etag, "at revision {revision}");
    }

    let again = other.send(&write).await.expect_status(201);
    assert_eq!(again.expect_header("conclave-replayed"), "true");
    links.heal();
    cluster.assert_converged().await;
    let sent = Sent {
        id: "cut-off".to_owned(),
        request: write,
        first: again,
    };
    for node in cluster.nodes() {
        assert_same_outcome(&sent, &node.send(&sent.request).await);
        assert_eq!(settle(node, "cut-off").await["status"], "applied");
    }
}

#[tokio::test]
async fn a_write_that_is_still_on_its_way_when_it_is_withdrawn_is_never_applied() {
    let (cluster, links) = linked().await;
    let leader = cluster.leader().await;
    let followers = cluster.followers().await;
    let (away, other) = (&cluster[followers[0]], &cluster[followers[1]]);
    connect(away).await;
    // What it sends to the leader waits in the link; it still hears the leader.
    links.cut(followers[0], leader);
    let withdrawn = under("withdrawn", Request::put("/api/keys/a", "1"));
    let late = under("late", Request::put("/api/keys/b", "1"));
    let (first, second) = tokio::join!(away.send(&withdrawn), away.send(&late));
    assert_eq!(assert_unclear(&first), "withdrawn");
    assert_eq!(assert_unclear(&second), "late");
    assert_eq!(look_up(other, "withdrawn").await["status"], "unknown");
    let settled = settle(other, "withdrawn").await;
    assert_eq!(settled["status"], "not_applied", "{settled}");

    let before = cluster[leader].status_number("last_log_index").await;
    links.heal();
    // Both arrive now. The one that nobody withdrew shows that such writes do arrive.
    wait_for("the late writes arrive", RECOVERED_WITHIN, async || {
        let index = cluster[leader].try_status().await?["last_log_index"].clone();
        let read = other.get("/api/keys/b?consistent").await;
        if index.as_u64() >= Some(before + 2) && read.status == 200 {
            Ok(())
        } else {
            Err(format!("{index} after {before}: {read:?}"))
        }
    })
    .await;
    cluster.assert_converged().await;
    for node in cluster.nodes() {
        let read = node.get("/api/keys/a?level=stale").await;
        assert_problem(&read, 404, "key_not_found");
        assert_eq!(look_up(node, "withdrawn").await, settled);
        assert_eq!(settle(node, "withdrawn").await, settled);
        assert_withdrawn(&node.send(&withdrawn).await, "withdrawn");
        assert_eq!(settle(node, "late").await["status"], "applied");
    }
    assert_eq!(other.get("/api/keys/a?consistent").await.status, 404);
    cluster.assert_converged().await;
}

#[tokio::test]
async fn what_an_isolated_leader_proposed_is_settled_by_the_majority() {
    let (cluster, links) = linked().await;
    let old = cluster.leader().await;
    let followers = cluster.followers().await;
    let other = &cluster[followers[0]];
    links.isolate(old);
    let proposed = cluster[old].status_number("last_log_index").await;
    let withdrawn = under("withdrawn", Request::put("/api/keys/a", "1"));
    let dropped = under("dropped", Request::put("/api/keys/b", "1"));
    let settling = async {
        new_leader(&cluster, &followers).await;
        settle(other, "withdrawn").await
    };
    // Settled while the proposals still wait for a quorum that they never get.
    let (first, second, settled) = tokio::join!(
        cluster[old].send(&withdrawn),
        cluster[old].send(&dropped),
        settling
    );
    assert_eq!(assert_unclear(&first), "withdrawn");
    assert_eq!(assert_unclear(&second), "dropped");
    assert_eq!(settled["status"], "not_applied", "{settled}");
    let appended = cluster[old].status_number("last_log_index").await;
    assert!(appended >= proposed + 2, "they are in its log");

    links.heal();
    cluster.assert_converged().await;
    for node in cluster.nodes() {
        assert_eq!(node.get("/api/keys/a?level=stale").await.status, 404);
        assert_eq!(look_up(node, "withdrawn").await, settled);
        assert_withdrawn(&node.send(&withdrawn).await, "withdrawn");
    }
    // Nobody settled the other one: it went with the old leader's log, and may be tried again.
    assert_eq!(look_up(&cluster[old], "dropped").await["status"], "unknown");
    let again = cluster[old].send(&dropped).await.expect_status(201);
    assert_eq!(again.header("conclave-replayed"), None, "{again:?}");
    cluster.assert_converged().await;
}

/// Starts three nodes with links between them.
async fn linked() -> (Cluster, Links) {
    let cluster = Cluster::builder().links().start().await;
    let links = cluster.links();
    (cluster, links)
}

/// Has a node connect to the leader: while a link is cut, it cannot.
async fn connect(node: &Node) {
    let written = node.put("/api/keys/connected", "1").await;
    let written = written.expect_status(201);
    assert_eq!(written.expect_header("conclave-forwarded"), "true");
}

async fn new_leader(cluster: &Cluster, among: &[usize]) {
    wait_for("another leader", RECOVERED_WITHIN, async || {
        let mut roles = Vec::new();
        for &index in among {
            roles.push(cluster[index].try_status().await?["role"].clone());
        }
        if roles.iter().any(|role| role == "leader") {
            Ok(())
        } else {
            Err(format!("{roles:?}"))
        }
    })
    .await;
}

/// Repeats all requests at each running node.
async fn assert_repeated_everywhere(cluster: &Cluster, sent: &[Sent]) {
    for node in cluster.nodes().iter().filter(|node| node.is_started()) {
        cluster.assert_converged().await;
        assert_repeated(node, sent).await;
    }
    cluster.assert_converged().await;
}

async fn state_hash(node: &Node) -> String {
    // After a start it waits until all that the log holds is applied.
    node.get("/api/keys/none?level=consistent").await;
    let status = node.status().await;
    let hash = status["state_hash"]["hash"].as_str();
    hash.unwrap_or_else(|| panic!("no hash in {status}"))
        .to_owned()
}

async fn look_up(node: &Node, id: &str) -> serde_json::Value {
    answered(node, Request::get(&format!("/api/requests/{id}"))).await
}

/// Has an id settled. A node that has just lost its leader is asked again: the answer is final.
async fn settle(node: &Node, id: &str) -> serde_json::Value {
    answered(node, Request::delete(&format!("/api/requests/{id}"))).await
}

async fn answered(node: &Node, request: Request) -> serde_json::Value {
    wait_for(&request.to_string(), RECOVERED_WITHIN, async || {
        let answer = node.send(&request).await;
        match answer.status {
            503 | 504 => Err(format!("{answer:?}")),
            _ => Ok(answer.expect_status(200).json()),
        }
    })
    .await
}

/// Checks that nobody can say what became of a write, and returns the id to ask with.
fn assert_unclear(answer: &Response) -> String {
    assert_problem(answer, 504, "outcome_unknown");
    let body = answer.json();
    assert_eq!(body["applied"], "unknown", "{answer:?}");
    let id = body["request_id"].as_str().unwrap_or_default();
    assert_eq!(answer.expect_header("conclave-request-id"), id);
    id.to_owned()
}

fn assert_withdrawn(answer: &Response, id: &str) {
    assert_problem(answer, 409, "request_withdrawn");
    assert_eq!(answer.json()["applied"], "no", "{answer:?}");
    assert_eq!(answer.expect_header("conclave-request-id"), id);
}
