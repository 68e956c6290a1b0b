//! Random requests and random texts: no input may panic, and every refusal is a problem.
//!
//! Replay a failure with `CONCLAVE_FUZZ_SEED=<seed>`, as the failing test printed it.

use axum::body::Body;
use bytes::Bytes;
use conclave_shared::Problem;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::params::{Params, decode_path};
use super::{Edge, HttpOptions, body, extract, form, service};
use crate::node::listing::Cursor;
use crate::testing::Random;

const PIECES: [&str; 60] = [
    "/",
    "//",
    "api",
    "keys",
    "key",
    "join",
    "cluster",
    "members",
    "transfer",
    "locks",
    "events",
    "txn",
    "status",
    "info",
    "ui",
    "livez",
    "readyz",
    "metrics",
    "v1",
    "a",
    "b/c",
    "..",
    ".",
    "%2F",
    "%00",
    "%FF",
    "%c3%a9",
    "%",
    "%zz",
    "+",
    "?",
    "&",
    "=",
    "key=",
    "level=stale",
    "level=x",
    "stale",
    "consistent",
    "max_stale=1s",
    "max_stale=99999999999999999999m",
    "min_revision=7",
    "wait=1s",
    "redirect=true",
    "cas=0",
    "cas=18446744073709551616",
    "prevExist=false",
    "prevValue=%FF",
    "recursive=true",
    "dry_run=true",
    "prefix=",
    "delimiter=/",
    "limit=5",
    "cursor=AQAAAAAAAAAHYQ",
    "children=true",
    "format=json",
    "history=true",
    "restore=1",
    "stream=true",
    "renew",
    "openapi.json",
];
const HEADERS: [&str; 14] = [
    "if-match",
    "if-none-match",
    "idempotency-key",
    "conclave-client",
    "conclave-lock",
    "ttl",
    "content-type",
    "accept",
    "origin",
    "sec-fetch-site",
    "host",
    "content-length",
    "expect",
    "x",
];
const VALUES: [&str; 14] = [
    "*",
    "\"7\"",
    "7",
    "W/\"7\"",
    "",
    "text/html",
    "application/x-www-form-urlencoded",
    "application/x-ndjson",
    "http://localhost:11000",
    "null",
    "cross-site",
    "100-continue",
    "0",
    "\u{e9}",
];
const BODIES: [&str; 12] = [
    "",
    "value=world",
    "value=%FF&cas=0",
    "value=a&b=c",
    "{\"foo\":\"bar\"}",
    "{\"a\":1}",
    "[[[[",
    "{\"id\":\"n\",\"addr\":\"h:1\"}",
    "{\"name\":\"n\",\"http\":\"h:1\",\"raft\":\"h:2\"}",
    "{\"to\":\"n\"}",
    "mydata",
    "\u{0}\u{7f}",
];

impl Random {
    fn joined(&mut self, most: usize) -> String {
        (0..self.below(most + 1))
            .map(|_| self.one(&PIECES))
            .collect()
    }

    fn headers(&mut self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for _ in 0..self.below(4) {
            let name = HeaderName::from_static(self.one(&HEADERS));
            let value = match self.below(4) {
                0 => HeaderValue::from_bytes(&self.bytes(12)).ok(),
                _ => HeaderValue::from_bytes(self.one(&VALUES).as_bytes()).ok(),
            };
            value.map(|value| headers.append(name, value));
        }
        headers
    }

    fn body(&mut self) -> Vec<u8> {
        match self.below(3) {
            0 => self.bytes(64),
            _ => self.one(&BODIES).as_bytes().to_vec(),
        }
    }

    fn request(&mut self) -> Option<Request<Body>> {
        let methods = [
            Method::GET,
            Method::HEAD,
            Method::PUT,
            Method::POST,
            Method::DELETE,
            Method::PATCH,
            Method::OPTIONS,
            Method::CONNECT,
        ];
        let path = match self.below(4) {
            0 => format!("/{}", self.joined(6)),
            1 => format!("/api/keys/{}?{}", self.one(&PIECES), self.joined(5)),
            2 => format!("/key/{}?{}", self.one(&PIECES), self.joined(4)),
            _ => format!(
                "/{}?{}&{}",
                self.one(&PIECES),
                self.one(&PIECES),
                self.one(&PIECES)
            ),
        };
        let method = methods[self.below(methods.len())].clone();
        let mut request = Request::builder().method(method).uri(path);
        *request.headers_mut()? = self.headers();
        request.body(Body::from(self.body())).ok()
    }
}

#[tokio::test]
async fn no_request_panics_and_every_refusal_is_a_problem() {
    let mut random = Random::from_environment("CONCLAVE_FUZZ_SEED");
    let options = HttpOptions {
        starting_wait: std::time::Duration::ZERO,
        ..HttpOptions::default()
    };
    let service = service(Edge::new(options, "localhost:11000"));
    for _ in 0..20_000 {
        let Some(request) = random.request() else {
            continue;
        };
        let shown = format!(
            "{} {} {:?}",
            request.method(),
            request.uri(),
            request.headers()
        );
        let is_head = request.method() == Method::HEAD;
        let response = service.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let status = parts.status.as_u16();
        assert_ne!(status, 500, "{shown}");
        // The dashboard and the probes answer in their own forms.
        let is_probe = shown.contains(" /readyz") || shown.contains(" /ui");
        if status >= 400 && !is_head && !is_probe {
            let problem: Problem = serde_json::from_slice(&body)
                .unwrap_or_else(|error| panic!("{status} {shown}: {error}"));
            assert_eq!(problem.status, status, "{shown}");
        }
        if matches!(status, 429 | 503) {
            assert!(parts.headers.contains_key("retry-after"), "{shown}");
        }
        if status == 405 {
            assert!(parts.headers.contains_key("allow"), "{shown}");
        }
    }
}

#[test]
fn no_text_makes_a_parser_panic() {
    let mut random = Random::from_environment("CONCLAVE_FUZZ_SEED");
    for _ in 0..50_000 {
        let joined = random.joined(8);
        let bytes = random.bytes(40);
        let lossy = String::from_utf8_lossy(&bytes).into_owned();
        for text in [&joined, &lossy] {
            let headers = random.headers();
            let parsers = |params: &mut Params<'_>| {
                let found = [
                    extract::read_options(params).is_ok(),
                    extract::condition(&headers, params).is_ok(),
                    extract::WriteFrame::parse(&headers, params).is_ok(),
                    extract::key(text, "/", params).is_ok(),
                ];
                found.len()
            };
            assert!(Params::parse(Some(text)).map_or(4, |mut params| parsers(&mut params)) == 4);
            let decoded = decode_path(text).map(|decoded| decoded.len() <= text.len());
            assert!(decoded.unwrap_or(true));
            let is_short = extract::duration("wait", text).is_ok_and(|time| time.as_millis() == 0);
            assert!(!is_short || text.starts_with('0'), "{text}");
            if let Some(cursor) = Cursor::decode(text) {
                assert_eq!(Cursor::decode(&cursor.encode()), Some(cursor));
            }
            let json = body::parse_json::<serde_json::Value>(text.as_bytes());
            let is_object = |json: serde_json::Value| json.is_object();
            assert!(json.is_ok() == serde_json::from_str(text).is_ok_and(is_object));
            let stored =
                form::submitted(&headers, Bytes::from(random.body()), &mut Params::default());
            assert!(stored.is_ok_and(|stored| stored.value.len() <= 64) || !headers.is_empty());
        }
    }
}
