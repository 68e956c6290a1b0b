//! Random requests and random texts: no input may panic, and every refusal is a problem.
//!
//! Replay a failure with `CONCLAVE_FUZZ_SEED=<seed>`, as the failing test printed it.

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};

use super::fuzzing::{answer, parse, starting};
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
    let service = starting();
    for _ in 0..20_000 {
        if let Some(request) = random.request() {
            answer(service.clone(), request).await;
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
            parse(text, &headers, &Bytes::from(random.body()));
        }
    }
}
