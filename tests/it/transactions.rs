//! `POST /api/txn`: all or nothing, at one revision, on conditions.

use std::sync::Arc;

use conclave_tests::http::assert_problem;
use conclave_tests::{Cluster, Node, Request};
use serde_json::{Value, json};

async fn transact(node: &Node, body: &Value) -> Value {
    let answer = node.post("/api/txn", &body.to_string()).await;
    answer.expect_status(200).json()
}

#[tokio::test]
async fn a_transaction_is_all_or_nothing_at_one_revision() {
    let cluster = Cluster::start().await;
    let node = &cluster[1];
    let done = transact(
        node,
        &json!({
            "if": [{"key": "a", "revision": 0}],
            "then": [
                {"op": "put", "key": "a", "value": "1"},
                {"op": "put", "key": "b", "value_base64": "/w==", "content_type": "image/png"},
                {"op": "get", "key": "a"},
                {"op": "delete", "key": "none"},
            ],
        }),
    )
    .await;
    assert_eq!(done["succeeded"], true, "{done}");
    let revision = &done["revision"];
    let results = &done["results"];
    assert_eq!(results[0]["revision"], *revision);
    assert_eq!(results[1]["revision"], *revision);
    assert_eq!(results[2]["record"]["value"], "1", "{done}");
    assert_eq!(results[3]["deleted"], false);
    let b = cluster[2].get("/api/keys/b?level=consistent").await;
    assert_eq!(
        (&b.body[..], b.expect_header("content-type")),
        (&[0xff][..], "image/png")
    );

    // The condition fails: the other list, or nothing and 409.
    let again =
        json!({"if": [{"key": "a", "exists": false}], "then": [{"op": "delete", "key": "b"}]});
    let refused = node.post("/api/txn", &again.to_string()).await;
    assert_problem(&refused, 409, "condition_failed");
    assert_eq!(refused.json()["applied"], "no");
    let other = json!({
        "if": [{"key": "a", "value": "2"}],
        "then": [],
        "else": [{"op": "get", "key": "a"}, {"op": "put", "key": "a", "value": "2", "prev": true}],
    });
    let done = transact(node, &other).await;
    assert_eq!(done["succeeded"], false, "{done}");
    assert_eq!(done["results"][1]["previous"]["value"], "1", "{done}");
    assert_eq!(node.get("/api/keys/b?level=consistent").await.status, 200);
    cluster.assert_converged().await;
}

#[tokio::test]
async fn a_dry_run_says_what_would_be_and_changes_nothing() {
    let cluster = Cluster::single().await;
    let node = &cluster[0];
    node.put("/api/keys/dir/1", "x").await.expect_status(201);
    node.put("/api/keys/dir/2", "x").await.expect_status(201);
    let before = node.status().await;
    let body = json!({"then": [{"op": "delete_prefix", "prefix": "dir/"}]}).to_string();
    let dry = node.post("/api/txn?dry_run=true", &body).await;
    let dry = dry.expect_status(200).json();
    assert_eq!(
        (&dry["dry_run"], &dry["results"][0]["count"]),
        (&json!(true), &json!(2))
    );
    let after = node.status().await;
    assert_eq!(after["state_hash"], before["state_hash"]);
    let done = node.post("/api/txn", &body).await.expect_status(200).json();
    assert_eq!(done["results"], dry["results"]);
    assert_eq!(node.get("/api/keys/dir/1").await.status, 404);
}

#[tokio::test]
async fn a_repeated_transaction_is_done_once() {
    let cluster = Cluster::start().await;
    let body = json!({"then": [{"op": "put", "key": "n", "value": "1"}]}).to_string();
    let request = Request::post("/api/txn", body).header("Idempotency-Key", "txn-1");
    let first = cluster[0].send(&request).await.expect_status(200).json();
    let again = cluster[1].send(&request).await.expect_status(200);
    assert_eq!(again.expect_header("conclave-replayed"), "true");
    assert_eq!(again.json()["revision"], first["revision"]);
    let looked = cluster[2].get("/api/requests/txn-1").await.json();
    assert_eq!(looked["status"], "applied", "{looked}");
    assert_eq!(looked["outcome"]["revision"], first["revision"], "{looked}");
}

/// A transfer between accounts, tried by many clients at once: the sum stays.
#[tokio::test]
async fn concurrent_transfers_keep_the_sum() {
    let cluster = Arc::new(Cluster::start().await);
    for account in ["a", "b"] {
        let put = cluster[0]
            .put(&format!("/api/keys/account/{account}"), "100")
            .await;
        put.expect_status(201);
    }
    let tellers = (0..6).map(|teller| {
        let cluster = cluster.clone();
        tokio::spawn(async move {
            let node = &cluster[teller % 3];
            let mut moved = 0;
            while moved < 10 {
                moved += usize::from(transfer(node).await);
            }
        })
    });
    for teller in tellers {
        teller.await.unwrap();
    }
    let balance = async |account| {
        let target = format!("/api/keys/account/{account}?level=consistent");
        cluster[1].get(&target).await.text().parse::<i64>().unwrap()
    };
    assert_eq!((balance("a").await, balance("b").await), (40, 160));
}

/// Moves one from `a` to `b`, unless somebody else was first.
async fn transfer(node: &Node) -> bool {
    let read = json!({"then": [
        {"op": "get", "key": "account/a"},
        {"op": "get", "key": "account/b"},
    ]});
    let read = transact(node, &read).await;
    let of = |at: usize| {
        let record = &read["results"][at]["record"];
        let amount = record["value"].as_str().map(str::parse::<i64>);
        let amount = amount.expect("a value").expect("a number");
        (amount, record["mod_revision"].clone())
    };
    let ((a, a_revision), (b, b_revision)) = (of(0), of(1));
    let write = json!({
        "if": [
            {"key": "account/a", "revision": a_revision},
            {"key": "account/b", "revision": b_revision},
        ],
        "then": [
            {"op": "put", "key": "account/a", "value": (a - 1).to_string()},
            {"op": "put", "key": "account/b", "value": (b + 1).to_string()},
        ],
        "else": [],
    });
    transact(node, &write).await["succeeded"] == true
}

#[tokio::test]
async fn what_is_no_transaction_is_refused_clearly() {
    let cluster = Cluster::single().await;
    let node = &cluster[0];
    let before = node.status().await["state_hash"].clone();
    let get = json!({"op": "get", "key": "a"});
    let too_many = json!({"then": vec![get.clone(); 129]});
    let answer = node.post("/api/txn", &too_many.to_string()).await;
    assert_problem(&answer, 413, "too_large");
    let problem = answer.json();
    assert_eq!(
        (&problem["limit"], &problem["count"]),
        (&json!(128), &json!(129))
    );
    let value = "x".repeat((1 << 20) + 1);
    let large = json!({"then": [{"op": "put", "key": "a", "value": value}]});
    let answer = node.post("/api/txn", &large.to_string()).await;
    assert_problem(&answer, 413, "too_large");
    for body in [
        "",
        "[]",
        r#"{"then":[{"op":"put","key":"a"}]}"#,
        r#"{"then":[{"op":"put","key":"a","value":"1","ttl_ms":0}]}"#,
        r#"{"then":[{"op":"put","key":"a","value":"1","ttl_ms":315360000000}]}"#,
        r#"{"then":[{"op":"put","key":"a","value":"1"},{"op":"delete","key":"a"}]}"#,
        r#"{"if":[{"key":"a"}]}"#,
        r#"{"unless":[]}"#,
    ] {
        assert_problem(&node.post("/api/txn", body).await, 400, "invalid_argument");
    }
    let unknown = node.post("/api/txn?dryrun=true", "{}").await;
    assert_problem(&unknown, 400, "invalid_argument");
    let conditional = Request::post("/api/txn", "{}").header("If-Match", "\"1\"");
    assert_problem(&node.send(&conditional).await, 400, "invalid_argument");
    assert_problem(&node.get("/api/txn").await, 405, "method_not_allowed");
    assert_eq!(node.status().await["state_hash"], before);
}

#[tokio::test]
async fn transactions_hold_against_locks() {
    let cluster = Cluster::start().await;
    let node = &cluster[2];
    let acquire = || async {
        let grant = node.post("/api/locks/l", r#"{"owner":"me"}"#).await;
        grant.expect_status(200).json()
    };
    let first = acquire().await;
    let body = |token: &Value| {
        json!({
            "if": [{"lock": "l", "token": token}],
            "then": [{"op": "put", "key": "a", "value": "1"}],
            "else": [],
        })
    };
    assert_eq!(
        transact(node, &body(&first["token"])).await["succeeded"],
        true
    );
    let session = first["session"].as_str().unwrap();
    let release = node
        .delete(&format!("/api/locks/l?session={session}"))
        .await;
    release.expect_status(200);
    assert_eq!(
        transact(node, &body(&first["token"])).await["succeeded"],
        false
    );
    let second = acquire().await;
    assert!(second["token"].as_u64() > first["token"].as_u64());
    assert_eq!(
        transact(node, &body(&first["token"])).await["succeeded"],
        false
    );
    // The header guards the whole transaction, and is an error where it does not hold.
    let guarded = |token: &Value| {
        Request::post(
            "/api/txn",
            r#"{"then":[{"op":"put","key":"a","value":"2"}]}"#,
        )
        .header("Conclave-Lock", &format!("l;token={token}"))
    };
    let old = node.send(&guarded(&first["token"])).await;
    assert_problem(&old, 412, "token_superseded");
    assert_eq!(old.json()["token"], second["token"]);
    node.send(&guarded(&second["token"]))
        .await
        .expect_status(200);
}
