//! Requests and texts that a client may send: none may make the node panic, and every refusal is a
//! problem. For [`crate::fuzzing`], and for random ones.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use conclave_shared::Problem;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::BodyExt as _;
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt as _;

use super::params::{Params, decode_path};
use super::{Edge, HttpOptions, RequestService, body, extract, form, service};
use crate::node::listing::Cursor;

/// A request as the fuzzer writes it: `METHOD target`, lines of `name: value`, an empty line, the body.
struct Written {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

impl Written {
    /// Reads a request; `None` for what no HTTP parser lets through.
    fn read(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(2).position(|pair| pair == b"\n\n");
        let (head, body) = end.map_or((bytes, &[][..]), |at| (&bytes[..at], &bytes[at + 2..]));
        let mut lines = head.split(|byte| *byte == b'\n');
        let mut words = lines.next()?.splitn(2, |byte| *byte == b' ');
        let method = Method::from_bytes(words.next()?).ok()?;
        let uri = Uri::try_from(words.next()?).ok()?;
        let mut headers = HeaderMap::new();
        for line in lines {
            let at = line.windows(2).position(|pair| pair == b": ")?;
            let name = HeaderName::from_bytes(&line[..at]).ok()?;
            headers.append(name, HeaderValue::from_bytes(&line[at + 2..]).ok()?);
        }
        let body = Bytes::copy_from_slice(body);
        Some(Self {
            method,
            uri,
            headers,
            body,
        })
    }

    fn request(self) -> Request<Body> {
        let mut request = Request::new(Body::from(self.body));
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.headers_mut() = self.headers;
        request
    }
}

/// Sends a request to a node that is still starting, and has its texts read by every parser.
///
/// # Panics
///
/// There is a defect.
pub fn http(bytes: &[u8]) {
    thread_local! {
        static EDGE: (Runtime, RequestService) = (
            Builder::new_current_thread().enable_time().build().expect("a runtime"),
            starting(),
        );
    }
    let Some(written) = Written::read(bytes) else {
        return;
    };
    for text in [written.uri.path(), written.uri.query().unwrap_or_default()] {
        parse(text, &written.headers, &written.body);
    }
    EDGE.with(|(runtime, service)| {
        runtime.block_on(answer(service.clone(), written.request()));
    });
}

/// Returns the service of a node that is starting, and for which nobody waits.
pub(super) fn starting() -> RequestService {
    let options = HttpOptions {
        starting_wait: Duration::ZERO,
        ..HttpOptions::default()
    };
    service(Edge::new(options, "localhost:11000"))
}

/// Sends a request, and checks that the answer is none of a node that is broken.
pub(super) async fn answer(service: RequestService, request: Request<Body>) {
    let shown = format!(
        "{} {} {:?}",
        request.method(),
        request.uri(),
        request.headers()
    );
    let is_head = request.method() == Method::HEAD;
    // The dashboard and the probes answer in their own forms.
    let path = request.uri().path();
    let has_own_form = path.starts_with("/readyz") || path.starts_with("/ui");
    let Ok(response) = service.oneshot(request).await;
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("a body that ends").to_bytes();
    let status = parts.status.as_u16();
    assert_ne!(status, 500, "{shown}");
    if status >= 400 && !is_head && !has_own_form {
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

/// Has a text, headers and a body read by everything that reads such.
pub(super) fn parse(text: &str, headers: &HeaderMap, body: &Bytes) {
    let parsers: [fn(&str, &HeaderMap, &mut Params<'_>) -> bool; 6] = [
        |_, _, params| extract::read_options(params).is_ok(),
        |_, _, params| extract::limit(params).is_ok(),
        |_, headers, params| extract::condition(headers, params).is_ok(),
        |_, headers, params| extract::ttl(headers, params).is_ok(),
        |_, headers, params| extract::WriteFrame::parse(headers, params).is_ok(),
        |text, _, params| extract::key(text, "/", params).is_ok(),
    ];
    for parser in parsers {
        // A refusal is as good as a value.
        let _accepted =
            Params::parse(Some(text)).is_ok_and(|mut params| parser(text, headers, &mut params));
    }
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
    let stored = form::submitted(headers, body.clone(), &mut Params::default());
    assert!(
        stored.map_or(!headers.is_empty(), |stored| stored.value.len()
            <= body.len()),
        "{headers:?}"
    );
}
