//! The dashboard's files under `/ui/`, embedded in the program.
//!
//! Rules that hold whatever is embedded: a file with a hash in its name is cached for ever, any other
//! is revalidated; a missing file is 404 and never a page; a path without a file extension is the
//! dashboard's own and gets its page; nothing is compressed at run time. The policy sent along lets
//! only the embedded scripts run, and lets them ask this node and the members it knows. Without a built dashboard every page says how to build one.

use std::future::{Ready, ready};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use axum::{
    Router,
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
    routing::any,
};
use bytes::Bytes;
use conclave_shared::ErrorCode;
use http::{
    HeaderMap, HeaderValue, Method, StatusCode, Uri,
    header::{
        ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
        ETAG, HeaderName, IF_NONE_MATCH, LOCATION, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
    },
};

use super::error::Failure;
use super::state::Edge;

/// Build of the embedded dashboard: a digest of its files, or `none`.
pub(crate) const UI_BUILD: &str = EMBEDDED.build;

const PREFIX: &str = "/ui/";
const PAGE: &str = "index.html";
const FOREVER: &str = "public, max-age=31536000, immutable";
const REVALIDATE: &str = "no-cache";
/// Most bytes of a policy that name members; further ones cannot be asked by the page.
const MEMBER_BYTES: usize = 4 << 10;
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

/// What a node without an embedded dashboard says. It needs no script and no style.
const NOTICE: &str = "<!doctype html>
<html lang=\"en\"><meta charset=\"utf-8\"><title>Conclave</title>
<h1>This node has no dashboard</h1>
<p>It was built without one. From the repository, <code>cargo xtask run</code> builds the dashboard
and a node that serves it.</p>
<p>The node itself works: its status is at <a href=\"/api/status\">/api/status</a>.</p>
</html>
";

static EMBEDDED_FILES: Embedded = EMBEDDED;
const EMBEDDED: Embedded = include!(concat!(env!("OUT_DIR"), "/dashboard_files.rs"));

/// A built dashboard.
#[derive(Debug)]
struct Embedded {
    build: &'static str,
    /// Source expressions of the page's inline scripts, each after a space.
    script_hashes: &'static str,
    /// In the order of their names.
    files: &'static [File],
}

/// A file and its compressed copies.
#[derive(Debug)]
struct File {
    name: &'static str,
    /// Digest of the uncompressed content, hexadecimal.
    tag: &'static str,
    identity: &'static [u8],
    brotli: Option<&'static [u8]>,
    gzip: Option<&'static [u8]>,
}

/// Routes of the dashboard, to be merged into the node's.
pub(crate) fn router() -> Router<Edge> {
    Router::new()
        .route("/ui", any(serve))
        .route("/ui/", any(serve))
        .route("/ui/{*path}", any(serve))
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "axum hands a handler its own values"
)]
fn serve(
    State(edge): State<Edge>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Ready<Response> {
    let members = edge
        .node()
        .map(|node| node.status().members)
        .unwrap_or_default();
    let members = sources(members.iter().map(|member| member.http.as_str()));
    ready(EMBEDDED_FILES.answer(&method, uri.path(), &headers, &members))
}

/// Returns the source expressions of members, each after a space.
fn sources<'a>(addresses: impl Iterator<Item = &'a str>) -> String {
    let mut sources = String::new();
    for address in addresses.filter(|address| is_source(address)) {
        if sources.len() + " http://".len() + address.len() > MEMBER_BYTES {
            break;
        }
        sources.push_str(" http://");
        sources.push_str(address);
    }
    sources
}

/// Says whether `host:port` can stand in a policy: its grammar has no addresses of IPv6, and a
/// member's address is whatever the member said.
fn is_source(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else {
        return false;
    };
    let is_label = |label: &str| {
        let mut bytes = label.bytes();
        !label.is_empty() && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let is_digits = port.bytes().all(|byte| byte.is_ascii_digit());
    is_digits && port.parse::<u16>().is_ok_and(|port| port > 0) && host.split('.').all(is_label)
}

impl Embedded {
    /// Answers a request for a path below `/ui`. The body of an answer to HEAD is cut off by axum.
    /// `members` are the sources that a page may ask beside its own.
    fn answer(&self, method: &Method, path: &str, headers: &HeaderMap, members: &str) -> Response {
        let mut response = if method != Method::GET && method != Method::HEAD {
            let detail = "the dashboard is read with GET and HEAD only";
            Failure::new(ErrorCode::MethodNotAllowed, detail)
                .with_allow(HeaderValue::from_static("GET, HEAD"))
                .into_response()
        } else if let Some(name) = path.strip_prefix(PREFIX) {
            self.file_or_page(name, headers, members)
        } else {
            redirect()
        };
        self.guard(response.headers_mut(), members);
        response
    }

    fn file_or_page(&self, name: &str, headers: &HeaderMap, members: &str) -> Response {
        if let Some(file) = self.find(name) {
            return file.answer(headers, members);
        }
        let last = name.rsplit('/').next().unwrap_or_default();
        if last.contains('.') {
            let detail = "the dashboard of this node has no such file";
            return Failure::new(ErrorCode::RouteNotFound, detail).into_response();
        }
        self.find(PAGE)
            .map_or_else(notice, |page| page.answer(headers, members))
    }

    fn find(&self, name: &str) -> Option<&File> {
        let place = self
            .files
            .binary_search_by(|file| file.name.cmp(name))
            .ok()?;
        self.files.get(place)
    }

    /// Adds the headers that every answer below `/ui` carries.
    fn guard(&self, headers: &mut HeaderMap, members: &str) {
        let policy = format!(
            "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'{}; style-src 'self'; \
             img-src 'self' data:; font-src 'self'; connect-src 'self'{members}; \
             base-uri 'self'; form-action 'none'; frame-ancestors 'none'",
            self.script_hashes
        );
        if let Ok(policy) = HeaderValue::try_from(policy) {
            headers.insert(CONTENT_SECURITY_POLICY, policy);
        }
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.insert(OPENER_POLICY, HeaderValue::from_static("same-origin"));
    }
}

impl File {
    fn answer(&self, headers: &HeaderMap, members: &str) -> Response {
        let (encoding, body) = self.negotiate(headers);
        let version = self.version(members);
        let tag = encoding.map_or_else(
            || format!("\"{version}\""),
            |encoding| format!("\"{version}-{encoding}\""),
        );
        let known = is_known(headers, &tag);
        let mut response = Response::new(if known { Body::empty() } else { fixed(body) });
        if known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        let cache = if is_hashed(self.name) {
            FOREVER
        } else {
            REVALIDATE
        };
        let answer = response.headers_mut();
        answer.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
        answer.insert(VARY, HeaderValue::from_static("accept-encoding"));
        if let Ok(tag) = HeaderValue::try_from(tag) {
            answer.insert(ETAG, tag);
        }
        if !known {
            answer.insert(
                CONTENT_TYPE,
                HeaderValue::from_static(content_type(self.name)),
            );
            if let Some(encoding) = encoding {
                answer.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
            }
        }
        response
    }

    /// Returns what tells this content from others. A page's policy counts as its content: a page
    /// that a browser has is not good any more when the members are others.
    fn version(&self, members: &str) -> String {
        if members.is_empty() || !self.name.ends_with(".html") {
            return self.tag.to_owned();
        }
        let mut hasher = DefaultHasher::new();
        members.hash(&mut hasher);
        format!("{}-{:016x}", self.tag, hasher.finish())
    }

    /// Picks the smallest copy that the client takes; it is always given something.
    fn negotiate(&self, headers: &HeaderMap) -> (Option<&'static str>, &'static [u8]) {
        let copies = [("br", self.brotli), ("gzip", self.gzip)];
        copies
            .into_iter()
            .filter(|(encoding, _)| accepts(headers, encoding))
            .find_map(|(encoding, copy)| Some((Some(encoding), copy?)))
            .unwrap_or((None, self.identity))
    }
}

/// Says whether a client takes an encoding: named or `*`, and not with a weight of zero.
fn accepts(headers: &HeaderMap, encoding: &str) -> bool {
    let offers = headers
        .get_all(ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let mut any = false;
    for offer in offers.flat_map(|value| value.split(',')) {
        let (name, weight) = offer.split_once(';').unwrap_or((offer, ""));
        let weight = weight
            .trim()
            .strip_prefix("q=")
            .map_or(1.0, |q| q.parse().unwrap_or(0.0));
        match name.trim() {
            name if name.eq_ignore_ascii_case(encoding) => return weight > 0.0,
            "*" => any = weight > 0.0,
            _ => (),
        }
    }
    any
}

/// Says whether the client has this very copy.
fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let values = headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .map(|known| known.trim().trim_start_matches("W/"))
        .any(|known| known == tag || known == "*")
}

/// Says whether a name carries the digest of its content: `name-0123456789abcdef.css`, or `_bg` after
/// the digest. A font's version in its name does as well.
fn is_hashed(name: &str) -> bool {
    if name.ends_with(".woff2") {
        return true;
    }
    let stem = name
        .rsplit('/')
        .next()
        .unwrap_or(name)
        .split('.')
        .next()
        .unwrap_or_default();
    let digest = stem
        .trim_end_matches("_bg")
        .rsplit('-')
        .next()
        .unwrap_or_default();
    digest.len() == 16 && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Browsers refuse to compile a stream of any type but `application/wasm`.
fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("wasm") => "application/wasm",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("woff2") => "font/woff2",
        Some("json" | "webmanifest") => "application/json",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

fn notice() -> Response {
    let mut response = Response::new(fixed(NOTICE.as_bytes()));
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn redirect() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    response
        .headers_mut()
        .insert(LOCATION, HeaderValue::from_static(PREFIX));
    response
}

fn fixed(bytes: &'static [u8]) -> Body {
    Body::from(Bytes::from_static(bytes))
}

#[cfg(test)]
mod tests {
    use http::header::ALLOW;

    use super::*;

    static BUILT: Embedded = Embedded {
        build: "0123456789ab",
        script_hashes: " 'sha256-abc='",
        files: &[
            File {
                name: "app-0123456789abcdef_bg.wasm",
                tag: "aa",
                identity: b"wasm",
                brotli: Some(b"br"),
                gzip: Some(b"gz"),
            },
            File {
                name: "index.html",
                tag: "bb",
                identity: b"page",
                brotli: None,
                gzip: None,
            },
        ],
    };
    static BARE: Embedded = Embedded {
        build: "none",
        script_hashes: "",
        files: &[],
    };
    const WASM: &str = "/ui/app-0123456789abcdef_bg.wasm";

    fn get(embedded: &Embedded, path: &str, headers: &[(HeaderName, &'static str)]) -> Response {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)))
            .collect();
        embedded.answer(&Method::GET, path, &headers, "")
    }

    fn header(response: &Response, name: HeaderName) -> &str {
        response
            .headers()
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    async fn body(response: Response) -> String {
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20)
            .await
            .unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn a_hashed_file_is_cached_for_ever_and_sent_in_the_best_encoding() {
        let best = get(&BUILT, WASM, &[(ACCEPT_ENCODING, "gzip, deflate, br")]);
        assert_eq!(header(&best, CACHE_CONTROL), FOREVER);
        assert_eq!(header(&best, CONTENT_TYPE), "application/wasm");
        assert_eq!(header(&best, CONTENT_ENCODING), "br");
        assert_eq!(header(&best, VARY), "accept-encoding");
        assert_eq!(body(best).await, "br");
    }

    #[tokio::test]
    async fn an_encoding_is_used_only_when_it_is_taken() {
        for (offer, encoding, sent) in [
            ("gzip", "gzip", "gz"),
            ("br;q=0, gzip;q=0.5", "gzip", "gz"),
            ("*", "br", "br"),
            ("*;q=0", "", "wasm"),
            ("identity", "", "wasm"),
            ("BR", "br", "br"),
        ] {
            let answer = get(&BUILT, WASM, &[(ACCEPT_ENCODING, offer)]);
            assert_eq!(header(&answer, CONTENT_ENCODING), encoding, "{offer}");
            assert_eq!(body(answer).await, sent, "{offer}");
        }
    }

    #[tokio::test]
    async fn the_page_is_revalidated_and_not_sent_twice() {
        let first = get(&BUILT, "/ui/", &[]);
        assert_eq!(header(&first, CACHE_CONTROL), REVALIDATE);
        assert_eq!(header(&first, ETAG), "\"bb\"");
        let again = get(&BUILT, "/ui/", &[(IF_NONE_MATCH, "W/\"x\", W/\"bb\"")]);
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(header(&again, CACHE_CONTROL), REVALIDATE);
        assert_eq!(body(again).await, "");
    }

    #[test]
    fn copies_in_different_encodings_have_different_tags() {
        let packed = get(&BUILT, WASM, &[(ACCEPT_ENCODING, "br")]);
        assert_eq!(header(&packed, ETAG), "\"aa-br\"");
        assert_eq!(header(&get(&BUILT, WASM, &[]), ETAG), "\"aa\"");
    }

    #[tokio::test]
    async fn a_page_of_the_dashboard_is_its_index() {
        for path in ["/ui/", "/ui/nodes", "/ui/keys/a"] {
            let page = get(&BUILT, path, &[]);
            assert_eq!(page.status(), StatusCode::OK, "{path}");
            assert_eq!(body(page).await, "page", "{path}");
        }
    }

    #[test]
    fn a_missing_file_is_not_found_and_never_a_page() {
        for embedded in [&BUILT, &BARE] {
            let missing = get(embedded, "/ui/app-ffffffffffffffff.js", &[]);
            assert_eq!(missing.status(), StatusCode::NOT_FOUND);
            assert_eq!(header(&missing, CONTENT_TYPE), "application/problem+json");
        }
    }

    #[test]
    fn only_get_and_head_are_answered() {
        let refused = BUILT.answer(&Method::POST, "/ui/", &HeaderMap::new(), "");
        assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(header(&refused, ALLOW), "GET, HEAD");
        let head = BUILT.answer(&Method::HEAD, "/ui/", &HeaderMap::new(), "");
        assert_eq!(head.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn the_routes_answer_head_with_the_length_and_without_the_body() {
        let request = http::Request::head("/ui/").body(Body::empty()).unwrap();
        let edge = Edge::new(crate::http::HttpOptions::default(), "localhost:11000");
        let answer = tower::ServiceExt::oneshot(router().with_state(edge), request)
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_ne!(header(&answer, http::header::CONTENT_LENGTH), "");
        assert_eq!(body(answer).await, "");
    }

    #[test]
    fn the_path_without_slash_moves_to_the_one_with() {
        let moved = get(&BUILT, "/ui", &[]);
        assert_eq!(moved.status(), StatusCode::PERMANENT_REDIRECT);
        assert_eq!(header(&moved, LOCATION), "/ui/");
    }

    #[test]
    fn every_answer_carries_the_policy_of_this_build() {
        for path in ["/ui", "/ui/", "/ui/x.js", WASM] {
            let answer = get(&BUILT, path, &[]);
            let policy = header(&answer, CONTENT_SECURITY_POLICY);
            assert!(
                policy.contains("'wasm-unsafe-eval' 'sha256-abc='; "),
                "{policy}"
            );
            assert!(policy.contains("connect-src 'self';"), "{policy}");
            assert_eq!(header(&answer, X_CONTENT_TYPE_OPTIONS), "nosniff");
            assert_eq!(header(&answer, REFERRER_POLICY), "no-referrer");
            assert_eq!(header(&answer, OPENER_POLICY), "same-origin");
        }
    }

    #[test]
    fn a_page_may_ask_the_members_and_is_sent_again_when_they_change() {
        let page = |members: &str, known: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(IF_NONE_MATCH, known.parse().unwrap());
            BUILT.answer(&Method::GET, "/ui/nodes", &headers, members)
        };
        let two = sources(["n1:1", "n2.example:2"].into_iter());
        let first = page(&two, "\"none\"");
        let policy = header(&first, CONTENT_SECURITY_POLICY);
        let wanted = "connect-src 'self' http://n1:1 http://n2.example:2; base-uri";
        assert!(policy.contains(wanted), "{policy}");
        let tag = header(&first, ETAG);
        let again = page(&two, tag);
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        assert!(header(&again, CONTENT_SECURITY_POLICY).contains(wanted));
        let one = sources(["n1:1"].into_iter());
        assert_eq!(page(&one, tag).status(), StatusCode::OK);
        let file = BUILT.answer(&Method::GET, WASM, &HeaderMap::new(), &two);
        assert_eq!(header(&file, ETAG), "\"aa\"", "its name has its digest");
    }

    #[test]
    fn only_plain_addresses_stand_in_a_policy() {
        let kept = ["localhost:11000", "127.0.0.1:80", "a-b_c.example:65535"];
        let dropped = [
            "",
            "h",
            "h:",
            ":1",
            "h:0",
            "h:65536",
            "h:+1",
            "[::1]:1",
            "a..b:1",
            "a b:1",
            "*:1",
            "*.example:1",
            "h:1 *",
            "h:1; script-src *",
            "h;:1",
            "h,x:1",
            "'none':1",
            "user@h:1",
            "h/x:1",
            "ü:1",
        ];
        for address in kept {
            assert_eq!(sources([address].into_iter()), format!(" http://{address}"));
        }
        assert_eq!(sources(dropped.into_iter()), "");
        let many: Vec<_> = (1..2_000)
            .map(|n| format!("node{n}.example:11000"))
            .collect();
        let most = sources(many.iter().map(String::as_str)).len();
        assert!(most > MEMBER_BYTES - 100 && most <= MEMBER_BYTES, "{most}");
    }

    #[tokio::test]
    async fn a_node_without_dashboard_says_how_to_build_one() {
        let page = get(&BARE, "/ui/", &[]);
        assert_eq!(page.status(), StatusCode::OK);
        assert!(body(page).await.contains("cargo xtask run"));
    }

    #[test]
    fn versions_and_digests_count_as_hashes() {
        assert!(is_hashed("tokens-302289a2e458dd3e.css"));
        assert!(is_hashed("conclave-ui-16947d4f75d30d25_bg.wasm"));
        assert!(is_hashed("screens-7b5065ff46be778d.wasm"));
        assert!(is_hashed("fonts/red-hat-mono-v5.3.0.woff2"));
        assert!(!is_hashed("index.html"));
        assert!(!is_hashed("fonts/red-hat-mono-OFL.txt"));
    }

    #[test]
    fn the_embedded_dashboard_is_whole_or_absent() {
        assert!(EMBEDDED_FILES.files.is_sorted_by_key(|file| file.name));
        assert_eq!(EMBEDDED_FILES.files.is_empty(), UI_BUILD == "none");
        assert_eq!(EMBEDDED_FILES.find(PAGE).is_some(), UI_BUILD != "none");
    }
}
