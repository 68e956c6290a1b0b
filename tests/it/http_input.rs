//! Requests at and beyond every limit: each gets the status that the contract names, and harms
//! nobody else. One node.

use std::time::{Duration, Instant};

use conclave_tests::http::{Connection, assert_problem};
use conclave_tests::{Cluster, Request};

const KEY_BYTES: usize = 1_024;
const VALUE_BYTES: usize = 1 << 20;
const BODY_BYTES: usize = 8 << 20;
/// Longest time until the server has closed a connection whose request does not come.
const CLOSED_WITHIN: Duration = Duration::from_secs(60);
/// Longest time for somebody else's request meanwhile, on a busy machine.
const SERVED_WITHIN: Duration = Duration::from_secs(2);

#[tokio::test]
async fn an_unknown_level_is_an_error_in_every_dialect() {
    let cluster = Cluster::single().await;
    cluster[0].put("/api/keys/a", "1").await.expect_status(201);
    for word in ["consistant", "", "STALE", "strong", "default,stale"] {
        for route in ["/api/keys/a", "/key/a", "/a", "/api/keys"] {
            let read = cluster[0].get(&format!("{route}?level={word}")).await;
            assert_problem(&read, 400, "invalid_argument");
        }
    }
}

#[tokio::test]
async fn other_bad_read_parameters_are_errors() {
    let cluster = Cluster::single().await;
    cluster[0].put("/api/keys/a", "1").await.expect_status(201);
    for query in [
        "level=stale&max_stale=soon",
        "level=stale&max_stale=-1ms",
        "min_revision=-1",
        "min_revision=abc",
        "min_revision=18446744073709551616",
        "min_revision=1&wait=forever",
        "redirect=perhaps",
        "format=xml",
    ] {
        let read = cluster[0].get(&format!("/api/keys/a?{query}")).await;
        assert_problem(&read, 400, "invalid_argument");
    }
}

#[tokio::test]
async fn keys_have_1_to_1024_bytes() {
    let cluster = Cluster::single().await;
    let node = &cluster[0];
    let longest = "k".repeat(KEY_BYTES);
    let too_long = "k".repeat(KEY_BYTES + 1);
    for route in ["/api/keys/", "/api/keys?key=", "/"] {
        let written = node.put(&format!("{route}{longest}"), "1").await;
        assert!(matches!(written.status, 200 | 201), "{written:?}");
        for request in [
            Request::put(&format!("{route}{too_long}"), "1"),
            Request::get(&format!("{route}{too_long}")),
        ] {
            assert_problem(&node.send(&request).await, 400, "invalid_argument");
        }
    }
    assert_problem(
        &node.put("/api/keys?key=", "1").await,
        400,
        "invalid_argument",
    );
    let body = |key: &str| format!(r#"{{"{key}": "1"}}"#);
    node.post("/key", &body(&longest)).await.expect_status(200);
    for key in [too_long.as_str(), "", "/a"] {
        assert_problem(
            &node.post("/key", &body(key)).await,
            400,
            "invalid_argument",
        );
    }
    // Bytes count, not characters: 342 times three bytes.
    let wide = "%E2%82%AC".repeat(342);
    let written = node.put(&format!("/api/keys/{wide}"), "1").await;
    assert_problem(&written, 400, "invalid_argument");
}

#[tokio::test]
async fn keys_are_utf8_without_a_leading_slash() {
    let cluster = Cluster::single().await;
    for key in ["%FF", "a%C3", "%ED%A0%80", "%2Fa", "/a"] {
        for request in [
            Request::get(&format!("/api/keys/{key}")),
            Request::put(&format!("/api/keys/{key}"), "1"),
            Request::delete(&format!("/api/keys/{key}")),
            Request::put(&format!("/api/keys?key={key}"), "1"),
        ] {
            assert_problem(&cluster[0].send(&request).await, 400, "invalid_argument");
        }
    }
    let body = b"{\"a\xFF\": \"1\"}".as_slice();
    let written = cluster[0].send(&Request::post("/key", body)).await;
    assert_problem(&written, 400, "invalid_argument");
}

#[tokio::test]
async fn a_key_in_the_query_may_have_dot_segments() {
    let cluster = Cluster::single().await;
    let node = &cluster[0];
    for (number, key) in ["..%2F..%2Fetc%2Fpasswd", ".", "..", "a/../b", "a%00b"]
        .iter()
        .enumerate()
    {
        let target = format!("/api/keys?key={key}");
        node.put(&target, &number.to_string())
            .await
            .expect_status(201);
        assert_eq!(
            node.get(&target).await.expect_status(200).text(),
            number.to_string()
        );
    }
    assert_eq!(node.status_number("keys").await, 5);
}

#[tokio::test]
async fn values_have_at_most_a_mebibyte_and_bodies_eight() {
    let cluster = Cluster::single().await;
    let node = &cluster[0];
    let mut value = vec![b'v'; VALUE_BYTES];
    let written = node
        .send(&Request::put("/api/keys/a", value.as_slice()))
        .await;
    written.expect_status(201);
    value.push(b'v');
    for request in [
        Request::put("/api/keys/a", value.as_slice()),
        Request::put("/a", value.as_slice()),
        Request::post("/key", [b"{\"a\":\"", value.as_slice(), b"\"}"].concat()),
    ] {
        let refused = node.send(&request).await;
        assert_problem(&refused, 413, "too_large");
        assert_eq!(refused.json()["limit"], VALUE_BYTES, "{refused:?}");
    }
    assert_eq!(node.get("/api/keys/a").await.body.len(), VALUE_BYTES);

    // Refused from the length that is announced, before any of it is sent.
    for target in ["/key", "/api/keys/a"] {
        let mut connection = Connection::open(&node.http_address())
            .await
            .expect("a connection");
        let length = BODY_BYTES + 1;
        let head = format!("POST {target} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n");
        connection.send_raw(head.as_bytes()).await.expect("sent");
        let refused = connection.read_response("POST").await.expect("an answer");
        assert_problem(&refused, 413, "too_large");
    }
    assert_eq!(node.get("/api/keys/a").await.body.len(), VALUE_BYTES);
}

#[tokio::test]
async fn a_body_of_chunks_without_end_is_refused_at_the_limit() {
    let cluster = Cluster::single().await;
    let address = cluster[0].http_address();
    let mut connection = Connection::open(&address).await.expect("a connection");
    let head = b"POST /key HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    connection.send_raw(head).await.expect("sent");
    let chunk = [b"10000\r\n".as_slice(), &[b' '; 0x1_0000], b"\r\n"].concat();
    let mut sent = 0;
    while sent < 4 * BODY_BYTES && connection.send_raw(&chunk).await.is_ok() {
        sent += chunk.len();
    }
    // The answer may be lost with the reset of a connection that is closed with unread input.
    if let Ok(refused) = connection.read_response("POST").await {
        assert_problem(&refused, 413, "too_large");
    }
    cluster[0].put("/api/keys/a", "1").await.expect_status(201);
}

#[tokio::test]
async fn more_keys_than_a_transaction_holds_are_refused() {
    let cluster = Cluster::single().await;
    let body = |keys: usize| {
        let fields: Vec<_> = (0..keys).map(|key| format!("\"k{key}\": \"1\"")).collect();
        format!("{{{}}}", fields.join(","))
    };
    cluster[0].post("/key", &body(128)).await.expect_status(200);
    let refused = cluster[0].post("/key", &body(129)).await;
    assert_problem(&refused, 413, "too_large");
    assert_eq!(refused.json()["limit"], 128, "{refused:?}");
    cluster[0].get("/key/k128").await.expect_status(404);
}

#[tokio::test]
async fn a_key_body_that_is_no_object_of_strings_is_refused_whole() {
    let cluster = Cluster::single().await;
    for body in [
        "",
        "{",
        "[]",
        "null",
        "1",
        r#"{"a": 1}"#,
        r#"{"a": null}"#,
        r#"{"a": {}}"#,
    ] {
        let refused = cluster[0].post("/key", body).await;
        assert_problem(&refused, 400, "invalid_argument");
    }
    let half = r#"{"good": "1", "bad": 2}"#;
    assert_problem(
        &cluster[0].post("/key", half).await,
        400,
        "invalid_argument",
    );
    cluster[0].get("/key/good").await.expect_status(404);
    // Nesting without end is no way to the end of the stack.
    let deep = format!("{{\"a\": {}", "[".repeat(100_000));
    assert_problem(
        &cluster[0].post("/key", &deep).await,
        400,
        "invalid_argument",
    );
}

#[tokio::test]
async fn a_value_that_is_not_text_is_not_acceptable_where_only_text_can_be_shown() {
    let cluster = Cluster::single().await;
    let bytes = [0xFF, 0x00, 0xFE].as_slice();
    cluster[0]
        .send(&Request::put("/api/keys/a", bytes))
        .await
        .expect_status(201);
    assert_problem(&cluster[0].get("/key/a").await, 406, "not_acceptable");
    assert_eq!(cluster[0].get("/api/keys/a").await.body, bytes);
    let envelope = cluster[0].get("/api/keys/a?format=json").await.json();
    assert_eq!(envelope["value_base64"], "/wD+", "{envelope}");
    assert!(envelope["value"].is_null(), "{envelope}");
}

#[tokio::test]
async fn bad_and_contradictory_conditions_are_errors_and_change_nothing() {
    let cluster = Cluster::single().await;
    let node = &cluster[0];
    node.put("/api/keys/a", "1").await.expect_status(201);
    for query in [
        "cas=abc",
        "cas=-1",
        "cas=18446744073709551616",
        "prevExist=maybe",
        "prevIndex=x",
        "cas=0&prevExist=true",
        "cas=1&prevIndex=2",
        "unknown=1",
    ] {
        let target = format!("/api/keys/a?{query}");
        assert_problem(&node.put(&target, "2").await, 400, "invalid_argument");
        assert_problem(&node.delete(&target).await, 400, "invalid_argument");
    }
    for headers in [
        &[("If-Match", "abc")][..],
        &[("If-Match", "\"1\""), ("If-None-Match", "*")],
    ] {
        let mut request = Request::put("/api/keys/a", "2");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        assert_problem(&node.send(&request).await, 400, "invalid_argument");
    }
    assert_eq!(node.get("/api/keys/a").await.text(), "1");
}

#[tokio::test]
async fn a_wrong_method_names_the_right_ones() {
    let cluster = Cluster::single().await;
    for (method, target, allowed) in [
        ("PATCH", "/api/keys/a", "PUT"),
        ("PATCH", "/api/keys", "GET"),
        ("DELETE", "/api/status", "GET"),
        ("POST", "/api/cluster", "GET"),
        ("PUT", "/key", "POST"),
        ("POST", "/key/a", "GET"),
        ("GET", "/join", "POST"),
        ("POST", "/livez", "GET"),
        ("PUT", "/readyz", "GET"),
        ("PATCH", "/a", "PUT"),
    ] {
        println!("{method} {target}");
        let refused = cluster[0].send(&Request::new(method, target)).await;
        assert_problem(&refused, 405, "method_not_allowed");
        let allow = refused.expect_header("allow");
        assert!(
            allow.split(',').any(|word| word.trim() == allowed),
            "{method} {target}: {allow}"
        );
    }
}

#[tokio::test]
async fn reserved_names_are_never_keys() {
    let cluster = Cluster::single().await;
    for target in [
        "/api",
        "/api/nothing",
        "/v1",
        "/v1/kv/a",
        "/cluster",
        "/cluster/nothing",
        "/join/a",
        "/livez/a",
        "/readyz/a",
        "/metrics/a",
        "/favicon.ico/a",
        "/robots.txt/a",
        "/healthz/a",
    ] {
        for method in ["GET", "PUT", "DELETE"] {
            let answer = cluster[0].send(&Request::new(method, target)).await;
            assert_problem(&answer, 404, "route_not_found");
        }
    }
    cluster[0]
        .get("/ui/assets/missing.js")
        .await
        .expect_status(404);
    assert_eq!(cluster[0].status_number("keys").await, 0);
}

#[tokio::test]
async fn what_is_known_but_not_built_says_so() {
    let cluster = Cluster::single().await;
    for request in [
        Request::get("/keys/foo"),
        Request::post("/keys/foo", r#"{"foo": "bar"}"#),
        Request::delete("/keys/foo"),
        Request::get("/openapi.json"),
    ] {
        assert_problem(&cluster[0].send(&request).await, 501, "not_built");
    }
}

#[tokio::test]
async fn writes_of_another_site_are_refused() {
    let cluster = Cluster::single().await;
    let node = &cluster[0];
    let own = format!("http://{}", node.http_address());
    for (name, value) in [
        ("Sec-Fetch-Site", "cross-site"),
        ("Origin", "http://evil.example"),
        ("Origin", "null"),
        ("Origin", "http://localhost.evil.example:11000"),
    ] {
        for request in [
            Request::put("/api/keys/a", "1"),
            Request::delete("/api/keys/a"),
            Request::post("/key", r#"{"a": "1"}"#),
            Request::delete("/key/a"),
            Request::put("/a", "1"),
            Request::post(
                "/join",
                r#"{"id": "x", "raftAddr": "h:1", "httpAddr": "h:2"}"#,
            ),
        ] {
            let refused = node.send(&request.header(name, value)).await;
            assert_problem(&refused, 403, "cross_site");
        }
        let read = node
            .send(&Request::get("/api/status").header(name, value))
            .await;
        read.expect_status(200);
    }
    assert_eq!(node.status_number("keys").await, 0);
    for (name, value) in [("Sec-Fetch-Site", "same-origin"), ("Origin", own.as_str())] {
        let write = Request::put(&format!("/api/keys/{name}"), "1").header(name, value);
        node.send(&write).await.expect_status(201);
    }
}

#[tokio::test]
async fn a_request_that_is_no_http_is_refused_and_closed() {
    let cluster = Cluster::single().await;
    let address = cluster[0].http_address();
    for bytes in [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS client\r\n\r\n".as_slice(),
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n",
        b"PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    ] {
        let mut connection = Connection::open(&address).await.expect("a connection");
        connection.send_raw(bytes).await.expect("sent");
        let said = connection
            .closed_within(CLOSED_WITHIN)
            .await
            .expect("closed");
        let said = String::from_utf8_lossy(&said);
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{said}");
    }
    // A head without end is cut off at some size.
    let mut connection = Connection::open(&address).await.expect("a connection");
    let mut head = b"GET / HTTP/1.1\r\nHost: h\r\nX: ".to_vec();
    head.extend(vec![b'x'; 1 << 20]);
    if connection.send_raw(&head).await.is_ok() {
        connection
            .closed_within(CLOSED_WITHIN)
            .await
            .expect("closed");
    }
    cluster[0].put("/api/keys/a", "1").await.expect_status(201);
}

#[tokio::test]
async fn requests_that_stop_halfway_are_closed_and_hold_nobody_up() {
    let cluster = Cluster::single().await;
    let node = &cluster[0];
    let mut halves = Vec::new();
    for _ in 0..40 {
        for half in [
            b"".as_slice(),
            b"GET /api/sta",
            b"PUT /api/keys/half HTTP/1.1\r\nHost: h\r\n",
            b"PUT /api/keys/half HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf",
            b"POST /key HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nhalf",
        ] {
            let mut connection = Connection::open(&node.http_address())
                .await
                .expect("a connection");
            connection.send_raw(half).await.expect("sent");
            halves.push((half, connection));
        }
    }
    for number in 0..20 {
        let started = Instant::now();
        let target = format!("/api/keys/whole/{number}");
        node.put(&target, "1").await.expect_status(201);
        node.get(&target).await.expect_status(200);
        assert!(started.elapsed() < SERVED_WITHIN, "{:?}", started.elapsed());
    }
    let end = Instant::now() + CLOSED_WITHIN;
    for (half, mut connection) in halves {
        let left = end.saturating_duration_since(Instant::now());
        let said = connection
            .closed_within(left.max(Duration::from_millis(1)))
            .await;
        let half = String::from_utf8_lossy(half);
        let said = said.unwrap_or_else(|error| panic!("after `{half}`: {error:#}"));
        let said = String::from_utf8_lossy(&said);
        assert!(
            said.is_empty() || said.starts_with("HTTP/1.1 408"),
            "`{half}`: {said}"
        );
    }
    node.get("/api/keys/half").await.expect_status(404);
}
