//! Lets a page of another member read from this node (Fetch's CORS protocol).
//!
//! A dashboard asks each member itself, so that it can show what a node says to which the node of
//! the page has no link. Reads only, of a few routes, by pages that a member serves; nobody else is
//! told anything, and a change from another origin is `cross_site`'s to judge.

use axum::body::Body;
use axum::response::Response;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HOST,
    HeaderName, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};

use super::cross_site::authority;
use super::state::Edge;

const TIMING_ALLOW_ORIGIN: HeaderName = HeaderName::from_static("timing-allow-origin");
const METHODS: &str = "GET, HEAD";
/// What a page may ask with, beside what every page may.
const ASKED_WITH: &str = "cache-control, conclave-client, if-none-match";
/// What a page may see of an answer, beside what every page may.
const SHOWN: &str = "conclave-applied-index, conclave-consistency, conclave-create-revision, \
    conclave-forwarded, conclave-known-leader, conclave-last-contact, conclave-leader, \
    conclave-replayed, conclave-request-id, conclave-revision, conclave-served-by, conclave-term, \
    conclave-ttl-ms, conclave-version, etag, link, retry-after, server-timing";
/// How long a browser remembers a preflight's answer, seconds; a member may be removed meanwhile.
const REMEMBERED: &str = "60";
/// Names of one's own machine. Each is another origin to a browser.
const OWN_MACHINE: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// A member's page that reads from this node, or asks whether it may.
#[derive(Debug)]
pub(crate) struct Reader(HeaderValue);

impl Reader {
    /// Returns who reads; `None` for all that is not answered to a page of another member.
    pub(crate) fn of<B>(edge: &Edge, request: &Request<B>) -> Option<Self> {
        let headers = request.headers();
        let origin = headers.get(ORIGIN)?;
        let is_read = match *request.method() {
            Method::GET | Method::HEAD => true,
            Method::OPTIONS => headers
                .get(ACCESS_CONTROL_REQUEST_METHOD)
                .is_some_and(|method| method == "GET" || method == "HEAD"),
            _ => false,
        };
        if !is_read || !is_shared(request.uri().path()) {
            return None;
        }
        let page = Place::of_origin(origin.to_str().ok()?)?;
        is_ours(edge, headers, page).then(|| Self(origin.clone()))
    }

    /// Answers the question whether it may read.
    pub(crate) fn preflight(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        for (name, value) in [
            (ACCESS_CONTROL_ALLOW_METHODS, METHODS),
            (ACCESS_CONTROL_ALLOW_HEADERS, ASKED_WITH),
            (ACCESS_CONTROL_MAX_AGE, REMEMBERED),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        self.admit(headers);
        response
    }

    /// Lets it see an answer.
    pub(crate) fn admit(self, headers: &mut HeaderMap) {
        headers.append(VARY, HeaderValue::from_static("origin"));
        headers.insert(
            ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static(SHOWN),
        );
        headers.insert(TIMING_ALLOW_ORIGIN, self.0.clone());
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, self.0);
    }
}

/// Returns true for a route that other members' pages read. No route that a claim can be made on.
fn is_shared(path: &str) -> bool {
    matches!(
        path,
        "/api/status" | "/api/cluster" | "/api/keys" | "/api/metrics/series" | "/livez" | "/readyz"
    ) || path.starts_with("/api/keys/")
}

fn is_ours(edge: &Edge, headers: &HeaderMap, page: Place<'_>) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let own = [host.unwrap_or_default(), edge.http_address()];
    let is_page_of = |address: &str| Place::of(address, "80").is_some_and(|at| at.is_same(page));
    own.into_iter().any(is_page_of)
        || edge.node().is_ok_and(|node| {
            let members = node.status().members;
            members.iter().any(|member| is_page_of(&member.http))
        })
}

/// Where a page is served.
#[derive(Debug, Clone, Copy)]
struct Place<'a> {
    host: &'a str,
    port: &'a str,
}

impl<'a> Place<'a> {
    /// A browser leaves out the port that is usual.
    fn of_origin(origin: &'a str) -> Option<Self> {
        let usual = if origin.starts_with("https:") {
            "443"
        } else {
            "80"
        };
        Self::of(authority(origin)?, usual)
    }

    fn of(address: &'a str, usual_port: &'a str) -> Option<Self> {
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port),
            _ => (address, usual_port),
        };
        (!host.is_empty()).then_some(Self { host, port })
    }

    /// A node is bound to every address of its `localhost`, so another name of this machine with
    /// its port is the same node.
    fn is_same(self, other: Place<'_>) -> bool {
        let is_own = |host: &str| OWN_MACHINE.iter().any(|own| own.eq_ignore_ascii_case(host));
        self.port == other.port
            && (self.host.eq_ignore_ascii_case(other.host)
                || (is_own(self.host) && is_own(other.host)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::HttpOptions;
    use crate::http::headers::every_name;

    const PAGE: &str = "http://node0.example:11000";

    fn reader(method: &str, path: &str, headers: &[(&str, &str)]) -> Option<Reader> {
        let edge = Edge::new(HttpOptions::default(), "node0.example:11000");
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Reader::of(&edge, &request.body(()).unwrap())
    }

    #[test]
    fn a_members_page_reads_a_few_routes() {
        for path in [
            "/api/status",
            "/api/cluster",
            "/api/keys",
            "/api/keys/a/b?level=stale",
            "/api/metrics/series?range=5m",
            "/livez",
            "/readyz",
        ] {
            for method in ["GET", "HEAD"] {
                assert!(
                    reader(method, path, &[("origin", PAGE)]).is_some(),
                    "{path}"
                );
            }
            assert!(reader("GET", path, &[]).is_none(), "no page asks");
        }
        for path in [
            "/api/locks/a",
            "/api/locks",
            "/api/events",
            "/api/cluster/snapshot",
            "/api/keysandmore",
            "/metrics",
            "/ui/",
            "/a",
        ] {
            assert!(reader("GET", path, &[("origin", PAGE)]).is_none(), "{path}");
        }
    }

    #[test]
    fn nobody_else_reads() {
        for origin in [
            "http://evil.example:11000",
            "http://node0.example:11001",
            "http://node0.example",
            "http://node0.example:11000.evil.example:11000",
            "http://evil.example:1@node0.example:11000",
            "null",
            "",
            "http://",
            "node0.example:11000",
        ] {
            let read = reader("GET", "/api/status", &[("origin", origin)]);
            assert!(read.is_none(), "{origin}");
        }
    }

    #[test]
    fn a_page_may_ask_for_reads_only() {
        for (method, asks, is_read) in [
            ("OPTIONS", "GET", true),
            ("OPTIONS", "HEAD", true),
            ("OPTIONS", "PUT", false),
            ("OPTIONS", "", false),
            ("PUT", "GET", false),
            ("DELETE", "GET", false),
            ("POST", "GET", false),
        ] {
            let headers = [("origin", PAGE), ("access-control-request-method", asks)];
            let found = reader(method, "/api/keys/a", &headers).is_some();
            assert_eq!(found, is_read, "{method} {asks}");
        }
        let told = Reader(HeaderValue::from_static(PAGE)).preflight();
        assert_eq!(told.status(), StatusCode::NO_CONTENT);
        assert_eq!(told.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], PAGE);
        assert_eq!(told.headers()[ACCESS_CONTROL_ALLOW_METHODS], "GET, HEAD");
        assert_eq!(told.headers()[VARY], "origin");
    }

    #[test]
    fn an_answer_keeps_what_it_varies_by() {
        let mut headers = HeaderMap::new();
        headers.insert(VARY, HeaderValue::from_static("accept"));
        Reader(HeaderValue::from_static(PAGE)).admit(&mut headers);
        assert_eq!(headers.get_all(VARY).iter().count(), 2);
        assert_eq!(headers[TIMING_ALLOW_ORIGIN], PAGE);
    }

    #[test]
    fn names_of_one_machine_are_one_place() {
        let is_same = |origin: &str, address: &str| {
            let (page, node) = (Place::of_origin(origin), Place::of(address, "80"));
            node.unwrap().is_same(page.unwrap())
        };
        assert!(is_same("http://127.0.0.1:11001", "localhost:11001"));
        assert!(is_same("http://[::1]:11001", "localhost:11001"));
        assert!(is_same("http://LOCALHOST:11001", "[::1]:11001"));
        assert!(is_same("http://node1", "node1:80"));
        assert!(is_same("http://[::1]", "[::1]:80"));
        assert!(!is_same("http://127.0.0.1:11001", "localhost:11002"));
        assert!(!is_same("http://127.0.0.1:11001", "node1:11001"));
        assert!(!is_same("https://node1", "node1:80"));
        assert!(Place::of("", "80").is_none());
    }

    #[test]
    fn a_page_sees_every_header_that_says_something_of_an_answer() {
        let shown: Vec<_> = SHOWN.split(", ").collect();
        assert!(shown.is_sorted(), "{shown:?}");
        for name in every_name() {
            // Every page sees this one.
            let is_shown = name == "cache-control" || shown.contains(&name.as_str());
            assert!(is_shown, "{name}");
        }
    }
}
