//! Random requests by seed: whatever comes in, the node answers, stays up and stays small.
//!
//! Replay: `CONCLAVE_TEST_SEED`; more of it: `CONCLAVE_TEST_REQUESTS`.

use std::time::Duration;

use conclave_tests::http::assert_is_problem;
use conclave_tests::settings::{self, REQUESTS};
use conclave_tests::{Cluster, Random, Request};

/// Growth of resident memory allowed over the whole run.
const GROWTH_BYTES: u64 = 160 << 20;

const METHODS: &[&str] = &[
    "GET", "GET", "PUT", "PUT", "POST", "DELETE", "HEAD", "PATCH", "OPTIONS", "BREW",
];
/// Parts of paths. Streams and claims, which stay open, and changes of the membership are not
/// among them.
const SEGMENTS: &[&str] = &[
    "api",
    "keys",
    "key",
    "a",
    "b",
    "a%2Fb",
    "status",
    "cluster",
    "info",
    "livez",
    "readyz",
    "metrics",
    "ui",
    "v1",
    "..",
    ".",
    "%00",
    "%FF",
    "%",
    "%zz",
    "",
    "favicon.ico",
    "requests",
    "\u{e9}",
    "%E2%82%AC",
    "index.html",
    "txn",
];
const PARAMETERS: &[&str] = &[
    "level",
    "stale",
    "consistent",
    "cas",
    "prevExist",
    "prevValue",
    "prevIndex",
    "ttl",
    "key",
    "prefix",
    "delimiter",
    "limit",
    "cursor",
    "start",
    "keys",
    "count",
    "format",
    "recursive",
    "dry_run",
    "min_revision",
    "max_stale",
    "prev",
    "redirect",
    "children",
    "history",
    "revision",
    "at",
    "x",
];
const VALUES: &[&str] = &[
    "",
    "0",
    "1",
    "-1",
    "true",
    "false",
    "stale",
    "consistent",
    "default",
    "a",
    "a/b",
    "json",
    "%FF",
    "%",
    "1ms",
    "99999999999999999999",
    "18446744073709551615",
    "\u{1f600}",
    "[",
    "{}",
];
const HEADERS: &[&str] = &[
    "Accept",
    "Content-Type",
    "If-Match",
    "If-None-Match",
    "Idempotency-Key",
    "Conclave-Client",
    "Origin",
    "Sec-Fetch-Site",
    "Range",
    "ttl",
    "Conclave-Lock",
    "X-Forwarded-For",
    "Expect-CT",
];
const HEADER_VALUES: &[&str] = &[
    "*/*",
    "*",
    "application/json",
    "application/x-ndjson",
    "text/html",
    "\"1\"",
    "W/\"1\"",
    "cross-site",
    "same-origin",
    "http://evil.example",
    "",
    "1",
    "a=b;c=\"d\"",
    "bytes=0-1",
    "application/x-www-form-urlencoded",
    "\u{e9}",
];
const BODIES: &[&str] = &[
    "",
    "{",
    "{}",
    "[]",
    "null",
    "{\"a\": \"1\"}",
    "{\"a\": 1}",
    "{\"a/b\": \"2\", \"c\": \"3\"}",
    "value=world",
    "value=",
    "value=%FF&x=1",
    "{\"if\":[],\"then\":[]}",
    "\u{0}",
];

fn random_target(random: &mut Random) -> String {
    let mut target = String::new();
    for _ in 0..=random.below(4) {
        target.push('/');
        target.push_str(random.pick(SEGMENTS));
    }
    if random.one_in(40) {
        target.push_str(&"k".repeat(random.below(3_000)));
    }
    for number in 0..random.below(4) {
        target.push(if number == 0 { '?' } else { '&' });
        target.push_str(random.pick(PARAMETERS));
        if !random.one_in(4) {
            target.push('=');
            target.push_str(random.pick(VALUES));
        }
    }
    target
}

fn random_request(random: &mut Random) -> Request {
    let mut request = Request::new(random.pick(METHODS), &random_target(random));
    for _ in 0..random.below(4) {
        request = request.header(random.pick(HEADERS), random.pick(HEADER_VALUES));
    }
    let body = if random.one_in(3) {
        random.bytes(2_000)
    } else {
        random.pick(BODIES).as_bytes().to_vec()
    };
    request.body(body)
}

#[tokio::test]
async fn ten_thousand_random_requests_are_all_answered() {
    let seed = settings::seed();
    let requests: usize = settings::number(REQUESTS, 10_000);
    println!("{REQUESTS}={requests}");
    let mut random = Random::new(seed);
    let mut cluster = Cluster::single().await;
    // Warm: what a node takes with its first requests is no growth.
    for number in 0..200 {
        cluster[0]
            .put(&format!("/api/keys/warm/{number}"), "1")
            .await
            .expect_status(201);
    }
    let before = cluster[0].resident_bytes();

    let mut client = cluster[0].client().with_timeout(Duration::from_secs(20));
    for number in 0..requests {
        let request = random_request(&mut random);
        let sent = client.send(&request).await;
        let response = match sent {
            Ok(response) => response,
            Err(failure) => panic!("seed {seed}, request {number} {request:?}: {failure}"),
        };
        let known = matches!(response.status, 501 | 503);
        assert!(
            response.status < 500 || known,
            "seed {seed}, request {number} {request:?}: {response:?}"
        );
        // A request that is no HTTP is refused before anything of ours sees it.
        let ours = response.header("content-type").is_some() && request.method != "HEAD";
        let native = request.target.starts_with("/api/keys/");
        if ours && native && response.status >= 400 {
            assert_is_problem(&response);
        }
    }

    assert!(cluster[0].exited().is_none(), "{}", cluster[0].log_tail());
    cluster[0]
        .put("/api/keys/after", "1")
        .await
        .expect_status(201);
    let status = client
        .send(&Request::get("/api/status"))
        .await
        .expect("the same connection");
    status.expect_status(200);
    let growth = cluster[0].resident_bytes().saturating_sub(before);
    assert!(
        growth < GROWTH_BYTES,
        "{} MiB more than before",
        growth >> 20
    );
    cluster.assert_converged().await;
}
