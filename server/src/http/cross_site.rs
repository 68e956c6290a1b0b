//! Refuses changes that a browser sends on behalf of another site (`api.md`'s `cross_site`).
//!
//! A page on any site can make a browser POST to `localhost`. Browsers mark such requests with
//! `Sec-Fetch-Site` (Fetch Metadata) and `Origin` (RFC 6454); other clients send neither.

use conclave_shared::ErrorCode;
use http::header::{HOST, ORIGIN};
use http::{HeaderMap, Method};

use super::error::Failure;
use super::state::Edge;

/// Refuses a state-changing request from another site.
pub(crate) fn check(edge: &Edge, method: &Method, headers: &HeaderMap) -> Result<(), Failure> {
    if matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE
    ) {
        return Ok(());
    }
    check_claim(edge, headers)
}

/// Refuses a claim from another site, whatever its method is: a lock can be taken by GET.
pub(crate) fn check_claim(edge: &Edge, headers: &HeaderMap) -> Result<(), Failure> {
    if headers
        .get("sec-fetch-site")
        .is_some_and(|site| site == "cross-site")
    {
        return Err(refused(
            "the browser says that another site sent this request",
        ));
    }
    let Some(origin) = headers.get(ORIGIN) else {
        return Ok(());
    };
    let origin = origin.to_str().unwrap_or_default();
    let Some(authority) = authority(origin) else {
        return Err(refused("the origin is no address of this cluster"));
    };
    let host = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let is_own = [host, edge.http_address()]
        .iter()
        .any(|own| own.eq_ignore_ascii_case(authority));
    if is_own || is_member(edge, authority) {
        return Ok(());
    }
    Err(refused(
        "the origin is neither this node nor a member of its cluster",
    ))
}

/// Returns `host:port` of an origin; browsers leave a usual port out.
pub(crate) fn authority(origin: &str) -> Option<&str> {
    let rest = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"))?;
    (!rest.is_empty()).then_some(rest)
}

fn is_member(edge: &Edge, authority: &str) -> bool {
    edge.node().is_ok_and(|node| {
        let members = node.status().members;
        members
            .iter()
            .any(|member| member.http.eq_ignore_ascii_case(authority))
    })
}

fn refused(detail: &'static str) -> Failure {
    Failure::new(ErrorCode::CrossSite, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::HttpOptions;

    #[test]
    fn only_own_pages_and_plain_clients_may_change_state() {
        let edge = Edge::new(HttpOptions::default(), "node0.example:11000");
        let verdict = |method: Method, pairs: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, value.parse().unwrap());
            }
            check(&edge, &method, &headers).is_ok()
        };
        let host = ("host", "localhost:11000");
        assert!(verdict(Method::POST, &[host]), "curl sends no origin");
        assert!(verdict(
            Method::POST,
            &[host, ("origin", "http://localhost:11000")]
        ));
        assert!(verdict(
            Method::PUT,
            &[host, ("origin", "http://NODE0.example:11000")]
        ));
        assert!(verdict(
            Method::PUT,
            &[host, ("sec-fetch-site", "same-origin")]
        ));
        assert!(
            verdict(Method::GET, &[host, ("sec-fetch-site", "cross-site")]),
            "reads are free"
        );
        let foreign = [
            "http://evil.example",
            "null",
            "",
            "http://",
            "http://localhost:11001",
        ];
        for origin in foreign {
            assert!(
                !verdict(Method::DELETE, &[host, ("origin", origin)]),
                "{origin}"
            );
        }
        assert!(!verdict(
            Method::POST,
            &[host, ("sec-fetch-site", "cross-site")]
        ));
        assert!(!verdict(
            Method::from_bytes(b"FOO").unwrap(),
            &[host, ("origin", "null")]
        ));
    }
}
