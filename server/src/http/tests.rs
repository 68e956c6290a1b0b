//! The router and the listener without a node: everything that is decided before the node is asked.

use std::time::Duration;

use axum::body::Body;
use conclave_shared::{ErrorCode, Problem, limits};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::dialects::consens::RESERVED;
use super::{Edge, HttpOptions, serve, service};

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn code(&self) -> ErrorCode {
        let problem: Problem = serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)));
        assert_eq!(problem.status, self.status.as_u16());
        problem.code
    }
}

fn edge() -> Edge {
    let options = HttpOptions {
        starting_wait: Duration::ZERO,
        ..HttpOptions::default()
    };
    Edge::new(options, "localhost:11000")
}

async fn send(edge: &Edge, request: Request<Body>) -> Answer {
    let response = service(edge.clone()).oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body,
    }
}

async fn ask(method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(&edge(), request.body(Body::from(body.to_owned())).unwrap()).await
}

#[tokio::test]
async fn a_starting_node_is_alive_not_ready_and_says_why() {
    let edge = edge();
    edge.set_starting("waiting for node1");
    let get = |target: &'static str| send(&edge, Request::get(target).body(Body::empty()).unwrap());
    assert_eq!(get("/livez").await.status, 200);
    let ready = get("/readyz?verbose").await;
    assert_eq!(ready.status, 503);
    assert!(
        String::from_utf8(ready.body)
            .unwrap()
            .contains("[-]started failed")
    );
    for target in [
        "/api/keys/a",
        "/api/keys",
        "/key/a",
        "/a/b",
        "/api/status",
        "/api/cluster",
        "/api/info",
        "/api/metrics/series",
    ] {
        let answer = get(target).await;
        assert_eq!(answer.code(), ErrorCode::Starting, "{target}");
        assert!(answer.headers.contains_key("retry-after"));
        let text = String::from_utf8(answer.body).unwrap();
        assert!(text.contains("waiting for node1"), "{text}");
    }
    edge.set_whoami(crate::http::Whoami {
        name: "node2".to_owned(),
        raft: "h:2".to_owned(),
    });
    let here = get("/api/cluster/here").await;
    assert_eq!(
        here.status, 200,
        "others learn who is there before it is up"
    );
    let here: serde_json::Value = serde_json::from_slice(&here.body).unwrap();
    assert_eq!(
        (&here["raft"], &here["cluster_id"]),
        (&"h:2".into(), &serde_json::Value::Null)
    );
    assert_eq!(here["waiting_for"], "waiting for node1");
}

#[tokio::test]
async fn moving_to_another_cluster_needs_a_node_and_addresses() {
    for (body, status) in [
        (r#"{"Peers":["h:1"]}"#, 503),
        ("{}", 400),
        (r#"{"Peers":[]}"#, 400),
        (r#"{"Peers":["h"]}"#, 400),
        ("[]", 400),
    ] {
        let answer = ask("POST", "/cluster/join", &[], body).await;
        let said: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(
            (answer.status.as_u16(), &said["Status"]),
            (status, &"error".into()),
            "{said}"
        );
        assert!(
            said["Error"]
                .as_str()
                .is_some_and(|error| !error.is_empty())
        );
    }
}

#[tokio::test]
async fn the_process_has_metrics_before_the_node_is_up() {
    let request = Request::get("/metrics").body(Body::empty()).unwrap();
    let answer = send(&edge(), request).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["content-type"], crate::metrics::CONTENT_TYPE);
    let text = String::from_utf8(answer.body).unwrap();
    assert!(text.contains("\nprocess_resident_memory_bytes "), "{text}");
    assert!(!text.contains("\nconclave_raft_term "), "{text}");
}

#[tokio::test]
async fn a_stopping_node_takes_no_writes() {
    let edge = edge();
    edge.drain();
    let put = Request::put("/api/keys/a").body(Body::from("v")).unwrap();
    assert_eq!(send(&edge, put).await.code(), ErrorCode::Draining);
    let ready = Request::get("/readyz").body(Body::empty()).unwrap();
    assert_eq!(send(&edge, ready).await.status, 503);
}

#[tokio::test]
async fn the_seeds_commands_reach_the_node() {
    let form = ("content-type", "application/x-www-form-urlencoded");
    let commands = [
        ("POST", "/key", r#"{"foo": "bar"}"#),
        ("GET", "/key/foo", ""),
        ("GET", "/key/foo?level=stale", ""),
        ("GET", "/key/foo?level=default", ""),
        ("GET", "/key/foo?level=consistent", ""),
        ("DELETE", "/key/foo", ""),
        ("POST", "/api/keys/hello", "value=world"),
        ("GET", "/api/keys/hello", ""),
        ("DELETE", "/api/keys/hello", ""),
        ("PUT", "/mykey", "mydata"),
        ("GET", "/mykey", ""),
        (
            "POST",
            "/join",
            r#"{"id":"n1","raftAddr":"h:2","httpAddr":"h:1"}"#,
        ),
        ("POST", "/join", r#"{"id":"n1","addr":"h:2"}"#),
        (
            "POST",
            "/api/cluster/members",
            r#"{"name":"n","http":"h:1","raft":"h:2"}"#,
        ),
        (
            "POST",
            "/api/cluster/members?replace=true",
            r#"{"name":"n","http":"h:1","raft":"h:2"}"#,
        ),
        ("POST", "/api/cluster/transfer", ""),
        ("POST", "/api/cluster/transfer", r#"{"to":"n"}"#),
        ("POST", "/api/cluster/snapshot", ""),
        ("DELETE", "/api/cluster/members/n?dry_run=true&force", ""),
        ("POST", "/api/cluster/members/n/promote?dry_run=true", ""),
        ("PUT", "/api/keys?key=a/../b", "v"),
        ("GET", "/key?key=a", ""),
        ("GET", "/api/requests/r-1", ""),
        ("DELETE", "/api/requests/r-1", ""),
    ];
    for (method, target, body) in commands {
        let answer = ask(method, target, &[form], body).await;
        assert_eq!(answer.code(), ErrorCode::Starting, "{method} {target}");
    }
}

#[tokio::test]
async fn what_is_not_built_says_so_and_is_no_key() {
    for (method, target) in [
        ("GET", "/keys/foo"),
        ("POST", "/keys/foo"),
        ("GET", "/openapi.json"),
    ] {
        assert_eq!(
            ask(method, target, &[], "").await.code(),
            ErrorCode::NotBuilt,
            "{method} {target}"
        );
    }
}

#[tokio::test]
async fn reserved_segments_are_never_keys() {
    // Below `/ui/` every page is the dashboard's.
    for segment in RESERVED.into_iter().filter(|segment| *segment != "ui") {
        for target in [
            format!("/{segment}/no/such"),
            format!("/%{:02x}{}/x", segment.as_bytes()[0], &segment[1..]),
        ] {
            for method in ["GET", "PUT"] {
                // A path without a file extension is one of the dashboard's own pages.
                if (method, target.as_str()) == ("GET", "/ui/no/such") {
                    continue;
                }
                let answer = ask(method, &target, &[], "v").await;
                let expected = match segment {
                    "ui" if target.starts_with("/ui/") => ErrorCode::MethodNotAllowed,
                    "key" if target.starts_with("/key/") && method == "GET" => ErrorCode::Starting,
                    "key" if target.starts_with("/key/") => ErrorCode::MethodNotAllowed,
                    "keys" if target.starts_with("/keys/") && method == "GET" => {
                        ErrorCode::NotBuilt
                    }
                    "keys" if target.starts_with("/keys/") => ErrorCode::MethodNotAllowed,
                    _ => ErrorCode::RouteNotFound,
                };
                assert_eq!(answer.code(), expected, "{method} {target}");
            }
        }
    }
    for target in ["/apix", "/apikeys/a", "/keysx/1", "/Api"] {
        assert_eq!(
            ask("GET", target, &[], "").await.code(),
            ErrorCode::Starting,
            "{target}"
        );
    }
    for target in [
        "/v1/kv/a",
        "/healthz",
        "/favicon.ico",
        "/robots.txt",
        "/api",
        "/api/",
        "/cluster",
    ] {
        assert_eq!(
            ask("GET", target, &[], "").await.code(),
            ErrorCode::RouteNotFound,
            "{target}"
        );
    }
}

#[tokio::test]
async fn wrong_methods_are_405_and_name_the_right_ones() {
    for (method, target, allow) in [
        ("PATCH", "/api/keys/a", "GET,HEAD,PUT,POST,DELETE"),
        ("POST", "/api/status", "GET,HEAD"),
        ("GET", "/api/cluster/members", "POST"),
        ("PUT", "/key", "GET,HEAD,POST,DELETE"),
        ("GET", "/join", "POST"),
        ("POST", "/mykey", "GET,HEAD,PUT"),
        ("DELETE", "/my/key", "GET,HEAD,PUT"),
        ("OPTIONS", "/livez", "GET,HEAD"),
        ("DELETE", "/", "GET,HEAD"),
    ] {
        let answer = ask(method, target, &[], "").await;
        assert_eq!(
            answer.code(),
            ErrorCode::MethodNotAllowed,
            "{method} {target}"
        );
        assert_eq!(answer.headers["allow"], allow, "{method} {target}");
    }
}

#[tokio::test]
async fn doubtful_requests_are_400_before_the_node_is_asked() {
    for (method, target) in [
        ("GET", "/api/keys/a?level=strong"),
        ("GET", "/key/a?level=strong"),
        ("GET", "/a?level=strong"),
        ("GET", "/api/keys/a?stale&consistent"),
        ("GET", "/api/keys/a?level=stale&level=stale"),
        ("GET", "/api/keys/a?max_stale=1s"),
        ("GET", "/api/keys/a?format=xml"),
        ("GET", "/api/keys/%FF"),
        ("GET", "/api/keys/%zz"),
        ("GET", "/api/keys//a"),
        ("GET", "/api/keys/a?key=b"),
        ("GET", "/api/keys?limit=0"),
        ("GET", "/api/keys?cursor=garbage"),
        ("PUT", "/api/keys"),
        ("DELETE", "/api/keys"),
        ("PUT", "/api/keys/a?unknown=1"),
        ("PUT", "/api/keys/a?level=stale"),
        ("PUT", "/api/keys/a?cas=1&prevExist=false"),
        ("DELETE", "/api/keys/a?dry_run=true"),
        ("DELETE", "/api/keys/a?recursive=true&cas=1"),
        ("PUT", "/mykey?unknown=1"),
        ("PUT", "//a"),
        ("GET", "/%FF"),
        ("DELETE", "/key/a?unknown"),
        ("DELETE", "/key"),
        ("POST", "/key"),
        ("POST", "/key?cas=1"),
        ("POST", "/join"),
        ("POST", "/api/cluster/members"),
        ("POST", "/api/cluster/transfer?x=1"),
    ] {
        let answer = ask(method, target, &[], "").await;
        assert_eq!(
            answer.code(),
            ErrorCode::InvalidArgument,
            "{method} {target}"
        );
    }
    let levels = ask("GET", "/api/keys/a?level=strong", &[], "").await;
    let text = String::from_utf8(levels.body).unwrap();
    assert!(text.contains("stale, default, consistent"), "{text}");
    let long = format!("/api/keys/{}", "k".repeat(limits::KEY_BYTES + 1));
    assert_eq!(
        ask("GET", &long, &[], "").await.code(),
        ErrorCode::InvalidArgument
    );
}

#[tokio::test]
async fn too_much_is_413_with_its_limit() {
    let value = "v".repeat(limits::VALUE_BYTES + 1);
    for (method, target) in [("PUT", "/api/keys/a"), ("PUT", "/a")] {
        let answer = ask(method, target, &[], &value).await;
        let problem: Problem = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(
            (problem.status, problem.limit),
            (413, Some(1 << 20)),
            "{target}"
        );
    }
    let body = "v".repeat(limits::BODY_BYTES + 1);
    let answer = ask("POST", "/key", &[], &body).await;
    let problem: Problem = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((problem.status, problem.limit), (413, Some(8 << 20)));
}

#[tokio::test]
async fn other_sites_cannot_write() {
    let evil = ("origin", "http://evil.example");
    for (method, target) in [
        ("PUT", "/api/keys/a"),
        ("POST", "/key"),
        ("DELETE", "/key/a"),
        ("PUT", "/a"),
        ("POST", "/no/such"),
    ] {
        assert_eq!(
            ask(method, target, &[evil], "").await.code(),
            ErrorCode::CrossSite,
            "{target}"
        );
    }
    let own = ("origin", "http://localhost:11000");
    assert_eq!(
        ask("PUT", "/a", &[own], "").await.code(),
        ErrorCode::Starting
    );
    assert_eq!(
        ask("GET", "/a", &[evil], "").await.code(),
        ErrorCode::Starting
    );
}

#[tokio::test]
async fn the_root_sends_browsers_to_the_dashboard() {
    let browser = ask("GET", "/", &[("accept", "text/html,*/*;q=0.8")], "").await;
    assert_eq!(
        (browser.status.as_u16(), &browser.headers["location"]),
        (307, &"/ui/".parse().unwrap())
    );
    let curl = ask("GET", "/", &[("accept", "*/*")], "").await;
    assert_eq!(
        (curl.status.as_u16(), curl.body.starts_with(b"Conclave")),
        (200, true)
    );
}

struct Running {
    address: std::net::SocketAddr,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

async fn run(options: HttpOptions) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let edge = Edge::new(options, address.to_string());
    let task = tokio::spawn(serve(listener, edge, stop.clone()));
    Running {
        address,
        stop,
        task,
    }
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn stopped(self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(10), self.task).await;
        ended.expect("the server stops").unwrap();
    }
}

/// Reads until the text is there or the connection ends.
async fn read_until(stream: &mut TcpStream, wanted: &str) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    let reading = async {
        while !text.contains(wanted) {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(n) => text.push_str(&String::from_utf8_lossy(&buffer[..n])),
            }
        }
    };
    let done = tokio::time::timeout(Duration::from_secs(10), reading).await;
    assert!(done.is_ok(), "no `{wanted}` and no end");
    text
}

const LIVEZ: &[u8] = b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n";

#[tokio::test]
async fn a_connection_serves_one_request_after_the_other() {
    let server = run(HttpOptions::default()).await;
    let mut stream = server.connect().await;
    for _ in 0..3 {
        stream.write_all(LIVEZ).await.unwrap();
        assert!(
            read_until(&mut stream, "ok\n")
                .await
                .starts_with("HTTP/1.1 200")
        );
    }
    server.stopped().await;
}

#[tokio::test]
async fn a_head_has_a_time_and_a_size() {
    let options = HttpOptions {
        header_timeout: Duration::from_millis(50),
        max_header_bytes: 8 << 10,
        ..HttpOptions::default()
    };
    let server = run(options).await;
    let mut slow = server.connect().await;
    slow.write_all(b"GET /livez HTTP/1.1\r\nhost:")
        .await
        .unwrap();
    assert!(!read_until(&mut slow, "200 OK").await.contains("200 OK"));
    let mut large = server.connect().await;
    let head = format!(
        "GET /livez HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
        "x".repeat(16 << 10)
    );
    large.write_all(head.as_bytes()).await.unwrap();
    let answer = read_until(&mut large, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    server.stopped().await;
}

#[tokio::test]
async fn a_body_that_stops_is_a_408() {
    let body_idle_timeout = Duration::from_millis(50);
    let server = run(HttpOptions {
        body_idle_timeout,
        ..HttpOptions::default()
    })
    .await;
    let mut stream = server.connect().await;
    stream
        .write_all(b"PUT /a HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nab")
        .await
        .unwrap();
    let answer = read_until(&mut stream, "body_timeout").await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    server.stopped().await;
}

#[tokio::test]
async fn a_refused_upload_can_still_read_why() {
    let server = run(HttpOptions::default()).await;
    let mut stream = server.connect().await;
    let size = limits::BODY_BYTES + (1 << 20);
    let head = format!("PUT /a HTTP/1.1\r\nhost: a\r\ncontent-length: {size}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    // A simple client writes all of its body before it reads.
    stream
        .write_all(&vec![b'x'; size])
        .await
        .expect("the upload is not cut off");
    let answer = read_until(&mut stream, "too_large").await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    drop(stream);
    server.stopped().await;
}

#[tokio::test]
async fn connections_above_the_limit_wait_for_a_free_one() {
    let server = run(HttpOptions {
        max_connections: 1,
        ..HttpOptions::default()
    })
    .await;
    let mut first = server.connect().await;
    first.write_all(LIVEZ).await.unwrap();
    read_until(&mut first, "ok\n").await;
    let mut second = server.connect().await;
    second.write_all(LIVEZ).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(50), second.read_u8()).await;
    assert!(early.is_err(), "the second connection waits");
    drop(first);
    assert!(
        read_until(&mut second, "ok\n")
            .await
            .starts_with("HTTP/1.1 200")
    );
    server.stopped().await;
}

#[tokio::test]
async fn a_stop_ends_idle_connections_at_once_and_others_in_bounded_time() {
    let stop_grace = Duration::from_millis(100);
    let server = run(HttpOptions {
        stop_grace,
        ..HttpOptions::default()
    })
    .await;
    let mut idle = server.connect().await;
    idle.write_all(LIVEZ).await.unwrap();
    read_until(&mut idle, "ok\n").await;
    let mut stuck = server.connect().await;
    stuck
        .write_all(b"PUT /a HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n")
        .await
        .unwrap();
    // The second connection is known to the server once a third one is answered.
    let mut third = server.connect().await;
    third.write_all(LIVEZ).await.unwrap();
    read_until(&mut third, "ok\n").await;
    server.stopped().await;
    assert_eq!(read_until(&mut idle, "never").await, "");
    assert_eq!(read_until(&mut stuck, "never").await, "");
}

#[tokio::test]
async fn head_answers_like_get_without_a_body() {
    let server = run(HttpOptions::default()).await;
    let mut stream = server.connect().await;
    stream
        .write_all(b"HEAD /mykey HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    stream
        .write_all(b"HEAD / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let answers = read_until(&mut stream, "never").await;
    assert!(answers.starts_with("HTTP/1.1 503"), "{answers}");
    assert!(
        answers.contains("\r\n\r\nHTTP/1.1 200"),
        "no body between them: {answers}"
    );
    assert!(answers.ends_with("\r\n\r\n"), "{answers}");
    server.stopped().await;
}
