//! Three processes without failures: levels, headers, forwarding, redirects, transactions.

use std::time::Duration;

use conclave_tests::http::assert_problem;
use conclave_tests::{Client, Cluster, Request, Response, wait_for};

/// For how long nobody reads a follower: more heartbeats than it remembers while its state lags.
const UNREAD_MS: u64 = 10_000;
const UNREAD_WITHIN: Duration = Duration::from_secs(20);
const LEVELS: [&str; 3] = ["stale", "default", "consistent"];

/// Checks the headers that every answer about state carries.
fn assert_answer_headers(response: &Response, level: &str, leader: &str) {
    for number in [
        "conclave-revision",
        "conclave-term",
        "conclave-applied-index",
    ] {
        assert!(
            response.expect_number(number) > 0,
            "{number} in {response:?}"
        );
    }
    let revision = response.expect_number("conclave-revision");
    assert!(
        revision <= response.expect_number("conclave-applied-index"),
        "{response:?}"
    );
    assert_eq!(
        response.expect_header("conclave-consistency"),
        level,
        "{response:?}"
    );
    assert!(
        response
            .expect_header("conclave-served-by")
            .starts_with("node"),
        "{response:?}"
    );
    assert_eq!(
        response.expect_header("conclave-leader"),
        leader,
        "{response:?}"
    );
    assert_eq!(
        response.expect_header("conclave-known-leader"),
        "true",
        "{response:?}"
    );
    response.expect_number("conclave-last-contact");
    assert_eq!(
        response.expect_header("cache-control"),
        "no-store",
        "{response:?}"
    );
    response.expect_header("server-timing");
}

#[tokio::test]
async fn a_write_through_any_node_is_read_through_any_node_at_every_level() {
    let cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let name = cluster[leader].name();
    for (writer, node) in cluster.nodes().iter().enumerate() {
        let target = format!("/api/keys/through/{writer}");
        let written = node.put(&target, "value").await.expect_status(201);
        assert_answer_headers(&written, "consistent", name);
        for reader in cluster.nodes() {
            for level in ["consistent", "default", "stale"] {
                let read = reader.get(&format!("{target}?level={level}")).await;
                // The consistent read before it has brought this node up to the write.
                assert_eq!(
                    (read.status, read.text().as_str()),
                    (200, "value"),
                    "{read:?}"
                );
                assert_answer_headers(&read, level, name);
                let etag = format!("\"{}\"", written.expect_number("conclave-revision"));
                assert_eq!(read.expect_header("etag"), etag);
            }
        }
    }
    cluster.assert_converged().await;
}

#[tokio::test]
async fn the_level_may_be_given_as_a_bare_word() {
    let cluster = Cluster::single().await;
    cluster[0].put("/api/keys/a", "1").await.expect_status(201);
    for level in ["stale", "consistent"] {
        let read = cluster[0]
            .get(&format!("/api/keys/a?{level}"))
            .await
            .expect_status(200);
        assert_eq!(read.expect_header("conclave-consistency"), level);
    }
    let read = cluster[0].get("/api/keys/a").await.expect_status(200);
    assert_eq!(read.expect_header("conclave-consistency"), "default");
}

#[tokio::test]
async fn a_follower_answers_a_consistent_read_itself_and_forwards_a_default_one() {
    let cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    cluster[leader]
        .put("/api/keys/a", "1")
        .await
        .expect_status(201);
    for follower in cluster.followers().await {
        let node = &cluster[follower];
        for level in ["consistent", "stale"] {
            let read = node.get(&format!("/api/keys/a?level={level}")).await;
            assert_eq!(
                read.expect_header("conclave-served-by"),
                node.name(),
                "{read:?}"
            );
            assert_eq!(read.header("conclave-forwarded"), None, "{read:?}");
        }
        let read = node.get("/api/keys/a").await;
        let served_by = read.expect_header("conclave-served-by");
        assert_eq!(served_by, cluster[leader].name(), "{read:?}");
        assert_eq!(read.expect_header("conclave-forwarded"), "true", "{read:?}");
    }
    cluster.assert_converged().await;
}

#[tokio::test]
async fn a_write_through_a_follower_is_forwarded_and_says_so() {
    let cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let follower = cluster.followers().await[0];
    let direct = cluster[leader]
        .put("/api/keys/a", "1")
        .await
        .expect_status(201);
    assert_eq!(direct.header("conclave-forwarded"), None, "{direct:?}");
    let forwarded = cluster[follower]
        .put("/api/keys/a", "2")
        .await
        .expect_status(200);
    assert_eq!(
        forwarded.expect_header("conclave-forwarded"),
        "true",
        "{forwarded:?}"
    );
    forwarded.expect_header("conclave-request-id");
    let body = forwarded.json();
    assert_eq!(
        (&body["key"], &body["version"]),
        (&"a".into(), &2.into()),
        "{body}"
    );
    assert_eq!(body["created"], false, "{body}");
    assert_eq!(
        body["revision"],
        forwarded.expect_number("conclave-revision"),
        "{body}"
    );
    // The node that took the write is its origin, not the one that proposed it.
    let record = cluster[leader].get("/api/keys/a?format=json").await.json();
    assert_eq!(record["origin"], cluster[follower].name(), "{record}");
    cluster.assert_converged().await;
}

#[tokio::test]
async fn a_large_body_is_forwarded_whole() {
    let cluster = Cluster::start().await;
    let follower = cluster.followers().await[0];
    let value: Vec<u8> = (0..1_u32 << 18).flat_map(u32::to_le_bytes).collect();
    let write = Request::put("/api/keys/large", value.as_slice())
        .header("Content-Type", "application/x-numbers");
    cluster[follower].send(&write).await.expect_status(201);
    for node in cluster.nodes() {
        let read = node.get("/api/keys/large?consistent").await;
        assert!(
            read.body == value,
            "{} bytes from {}",
            read.body.len(),
            node.name()
        );
        assert_eq!(read.expect_header("content-type"), "application/x-numbers");
    }
    cluster.assert_converged().await;
}

#[tokio::test]
async fn a_body_with_many_keys_is_one_revision() {
    let cluster = Cluster::start().await;
    let node = &cluster[cluster.followers().await[0]];
    let before = node
        .put("/api/keys/before", "")
        .await
        .expect_number("conclave-revision");
    let written = node.post("/key", r#"{"a": "1", "b": "2", "c": "3"}"#).await;
    let revision = written.expect_number("conclave-revision");
    assert_eq!(written.expect_status(200).json()["revision"], revision);
    assert!(revision > before);
    for key in ["a", "b", "c"] {
        let record = node
            .get(&format!("/api/keys/{key}?format=json&consistent"))
            .await
            .json();
        assert_eq!(record["mod_revision"], revision, "{record}");
        assert_eq!(record["create_revision"], revision, "{record}");
    }
    cluster.assert_converged().await;
}

#[tokio::test]
async fn min_revision_reads_ones_own_write_through_another_node() {
    let cluster = Cluster::start().await;
    let mut readers: Vec<Client> = cluster.nodes().iter().map(|node| node.client()).collect();
    for round in 0..30 {
        let value = round.to_string();
        let written = cluster[round % 3].put("/api/keys/a", &value).await;
        let revision = written.expect_number("conclave-revision");
        let target = format!("/api/keys/a?level=stale&min_revision={revision}");
        for reader in &mut readers {
            let read = reader
                .send(&Request::get(&target))
                .await
                .expect("an answer");
            assert_eq!((read.status, read.text()), (200, value.clone()), "{read:?}");
            assert!(
                read.expect_number("conclave-applied-index") >= revision,
                "{read:?}"
            );
        }
    }
    cluster.assert_converged().await;
}

#[tokio::test]
async fn min_revision_of_the_future_is_an_error_after_the_wait() {
    let cluster = Cluster::single().await;
    let read = cluster[0]
        .get("/api/keys/a?level=stale&min_revision=99999999&wait=50ms")
        .await;
    assert_problem(&read, 503, "not_caught_up");
    assert_eq!(read.json()["applied"], "no");
}

#[tokio::test]
async fn a_stale_read_that_would_be_too_old_is_forwarded() {
    let cluster = Cluster::start().await;
    let follower = &cluster[cluster.followers().await[0]];
    cluster[cluster.leader().await]
        .put("/api/keys/a", "1")
        .await
        .expect_status(201);
    let what = "a stale read within 10 s of age is served by the follower";
    wait_for(what, Duration::from_secs(10), async || {
        let read = follower.get("/api/keys/a?level=stale&max_stale=10s").await;
        let level = read.expect_header("conclave-consistency");
        let own = read.expect_header("conclave-served-by") == follower.name();
        let good = read.status == 200 && level == "stale" && own;
        if good {
            Ok(())
        } else {
            Err(format!("{read:?}"))
        }
    })
    .await;
    let read = follower
        .get("/api/keys/a?level=stale&max_stale=0ms")
        .await
        .expect_status(200);
    assert_eq!(
        read.expect_header("conclave-consistency"),
        "default",
        "{read:?}"
    );
    assert_eq!(read.expect_header("conclave-forwarded"), "true", "{read:?}");
    cluster.assert_converged().await;
}

#[tokio::test]
async fn a_follower_that_nobody_has_read_for_long_knows_how_old_its_state_is() {
    let cluster = Cluster::start().await;
    let leader = &cluster[cluster.leader().await];
    let follower = &cluster[cluster.followers().await[0]];
    leader.put("/api/keys/a", "1").await.expect_status(201);
    cluster.assert_converged().await;
    let unread_from = leader.status_number("uptime_ms").await;
    let until = unread_from + UNREAD_MS;
    wait_for(
        "more heartbeats than are remembered",
        UNREAD_WITHIN,
        async || {
            let now = leader.status_number("uptime_ms").await;
            if now >= until {
                Ok(())
            } else {
                Err(format!("{now} of {until} ms"))
            }
        },
    )
    .await;
    let read = follower.get("/api/keys/a?level=stale").await;
    let age = read
        .expect_status(200)
        .expect_number("conclave-last-contact");
    assert!(age < UNREAD_MS / 4, "{age} ms");
}

#[tokio::test]
async fn redirect_names_the_leader_and_the_location_works() {
    let cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let follower = &cluster[cluster.followers().await[0]];
    for request in [
        Request::put("/api/keys/a%2Fb?redirect=true", "value"),
        Request::post("/key?redirect=true", r#"{"c": "value"}"#),
        Request::get("/api/keys/a%2Fb?redirect=true"),
        Request::get("/key/c?level=default&redirect=true"),
        Request::delete("/api/keys/a%2Fb?redirect=true"),
    ] {
        let redirected = follower.send(&request).await.expect_status(307);
        let location = redirected.expect_header("location");
        let leader_url = format!("http://{}/", cluster[leader].http_address());
        assert!(location.starts_with(&leader_url), "{request}: {location}");
        let mut client = follower.client();
        let answer = client.send_following(&request).await.expect("an answer");
        assert!(matches!(answer.status, 200 | 201), "{request}: {answer:?}");
        assert_eq!(
            answer.header("conclave-forwarded"),
            None,
            "{request}: {answer:?}"
        );
    }
    cluster.assert_converged().await;
}

#[tokio::test]
async fn conditions_hold_through_every_node() {
    let cluster = Cluster::start().await;
    let [first, second, third] = cluster.nodes() else {
        panic!("three nodes")
    };
    let created = first.put("/api/keys/a?cas=0", "1").await.expect_status(201);
    let revision = created.expect_number("conclave-revision");
    let again = second.put("/api/keys/a?cas=0", "2").await;
    assert_problem(&again, 412, "precondition_failed");
    assert_eq!(
        again.json()["current"]["mod_revision"],
        revision,
        "{again:?}"
    );

    let update = Request::put("/api/keys/a", "3").header("If-Match", &format!("\"{revision}\""));
    third.send(&update).await.expect_status(200);
    assert_problem(&second.send(&update).await, 412, "precondition_failed");
    let create = Request::put("/api/keys/a", "4").header("If-None-Match", "*");
    assert_problem(&first.send(&create).await, 412, "precondition_failed");
    assert_problem(
        &first.delete("/api/keys/a?prevValue=1").await,
        412,
        "precondition_failed",
    );
    first
        .delete("/api/keys/a?prevValue=3")
        .await
        .expect_status(200);
    let update = second.put("/api/keys/a?prevExist=true", "5").await;
    assert_problem(&update, 412, "precondition_failed");
    second
        .get("/api/keys/a?consistent")
        .await
        .expect_status(404);
    cluster.assert_converged().await;
}

#[tokio::test]
async fn the_answer_does_not_depend_on_the_node_that_is_asked() {
    let cluster = Cluster::start().await;
    cluster[0].put("/api/keys/a", "1").await.expect_status(201);
    for target in [
        "/api/keys/a",
        "/api/keys/a?format=json",
        "/api/keys/none",
        "/api/keys/a?level=bad",
        "/key/a",
        "/key/none",
        "/a",
        "/none",
    ] {
        for level in LEVELS.iter().filter(|level| **level != "stale") {
            let separator = if target.contains('?') { '&' } else { '?' };
            let target = format!("{target}{separator}level={level}");
            let mut answers = Vec::new();
            for node in cluster.nodes() {
                let answer = node.get(&target).await;
                let mut body = answer.text();
                // Every request has an id of its own.
                let json = serde_json::from_str::<serde_json::Value>(&body);
                if let Ok(serde_json::Value::Object(mut problem)) = json {
                    problem.remove("request_id");
                    body = serde_json::Value::from(problem).to_string();
                }
                answers.push((answer.status, body));
            }
            answers.dedup();
            assert_eq!(answers.len(), 1, "{target}: {answers:?}");
        }
    }
    cluster.assert_converged().await;
}

#[tokio::test]
async fn every_node_shows_itself_and_all_members() {
    let cluster = Cluster::start().await;
    cluster[0].put("/api/keys/a", "1").await.expect_status(201);
    cluster.assert_converged().await;
    for node in cluster.nodes() {
        let status = node.status().await;
        assert_eq!(status["node"], node.name());
        assert_eq!(status["env"], "dev");
        for field in [
            "id",
            "cluster_id",
            "role",
            "term",
            "leader",
            "last_log_index",
            "commit_index",
            "applied_index",
            "snapshot_index",
            "revision",
            "state_hash",
            "members",
            "keys",
            "bytes",
            "uptime_ms",
            "version",
            "now_ms",
        ] {
            assert!(!status[field].is_null(), "`{field}` in {status}");
        }
        let members = status["members"].as_array().expect("members");
        let addresses: Vec<_> = members.iter().filter_map(|m| m["http"].as_str()).collect();
        let mut expected = cluster.addresses();
        expected.sort_unstable();
        let mut addresses: Vec<_> = addresses.into_iter().map(str::to_owned).collect();
        addresses.sort_unstable();
        assert_eq!(addresses, expected);

        let view = node.get("/api/cluster").await.expect_status(200).json();
        assert_eq!(view["quorum"]["voters"], 3, "{view}");
        assert_eq!(view["quorum"]["healthy"], 3, "{view}");
        assert_eq!(view["quorum"]["can_lose"], 1, "{view}");
        let members = view["members"].as_array().expect("members");
        assert!(
            members.iter().all(|member| member["reachable"] == true),
            "{view}"
        );
    }
}

#[tokio::test]
async fn a_dead_member_does_not_hide_the_others() {
    let mut cluster = Cluster::start().await;
    let follower = cluster.followers().await[0];
    let leader = cluster.leader().await;
    cluster[follower].kill();
    let dead = cluster[follower].name().to_owned();
    wait_for(
        "the dead member is shown as such",
        Duration::from_secs(15),
        async || {
            let view = cluster[leader]
                .get("/api/cluster")
                .await
                .expect_status(200)
                .json();
            let members = view["members"].as_array().cloned().unwrap_or_default();
            let shown = members.iter().all(|member| {
                let down = member["node"] == dead.as_str();
                member["reachable"] == !down && member["status"].is_null() == down
            });
            let quorum = view["quorum"]["healthy"] == 2 && view["quorum"]["can_lose"] == 0;
            if shown && quorum && members.len() == 3 {
                Ok(())
            } else {
                Err(view.to_string())
            }
        },
    )
    .await;
}
