//! Which labels a request is counted under. It knows the routes; what is counted is `metrics`'.

use std::time::Instant;

use http::{Request, Response};

use super::headers;
use crate::clock;
use crate::metrics::{Level, Method, Metrics, RequestLabels, Route, Status};

/// A request that is being answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Begun {
    route: Route,
    method: Method,
    at: Instant,
}

impl Begun {
    pub(crate) fn new<B>(request: &Request<B>) -> Self {
        Self {
            route: route(request.uri().path()),
            method: method(request.method()),
            at: clock::now(),
        }
    }

    /// Counts the request under the status and the level that its answer has.
    pub(crate) fn end<B>(self, metrics: &Metrics, response: &Response<B>) {
        let labels = RequestLabels {
            route: self.route,
            method: self.method,
            level: Level::from(headers::level_of(response.headers())),
            status: Status::of(response.status().as_u16()),
        };
        metrics.request(labels, clock::since(self.at));
    }
}

fn method(method: &http::Method) -> Method {
    match *method {
        http::Method::GET | http::Method::HEAD => Method::Read,
        http::Method::PUT | http::Method::POST | http::Method::PATCH | http::Method::DELETE => {
            Method::Write
        }
        _ => Method::Other,
    }
}

fn route(path: &str) -> Route {
    let (first, rest) = split(path);
    match first {
        "api" => api(rest),
        "key" => Route::Raftdb,
        "join" | "cluster" => Route::Cluster,
        "livez" | "readyz" | "healthz" | "metrics" => Route::Probes,
        "" | "ui" | "favicon.ico" | "robots.txt" => Route::Dashboard,
        "keys" | "v1" | "openapi.json" => Route::Other,
        _ => Route::Consens,
    }
}

fn api(path: &str) -> Route {
    match split(path).0 {
        "keys" => Route::Keys,
        "txn" => Route::Txn,
        "events" => Route::Events,
        "locks" => Route::Locks,
        "requests" => Route::Requests,
        "status" | "cluster" | "info" => Route::Cluster,
        "metrics" => Route::Probes,
        _ => Route::Other,
    }
}

/// Returns the first segment of a path, and the rest with its slash.
fn split(path: &str) -> (&str, &str) {
    let path = path.strip_prefix('/').unwrap_or(path);
    path.split_at(path.find('/').unwrap_or(path.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::dialects::consens::RESERVED;

    #[test]
    fn paths_fall_into_few_classes() {
        for (path, class) in [
            ("/api/keys", Route::Keys),
            ("/api/keys/a/b", Route::Keys),
            ("/api/keysandmore", Route::Other),
            ("/api/locks/a", Route::Locks),
            ("/api/metrics/series", Route::Probes),
            ("/api/cluster/members", Route::Cluster),
            ("/api", Route::Other),
            ("/key/api", Route::Raftdb),
            ("/metrics", Route::Probes),
            ("/", Route::Dashboard),
            ("/ui/x.js", Route::Dashboard),
            ("/hello", Route::Consens),
            ("/hello/api/keys", Route::Consens),
            ("*", Route::Consens),
        ] {
            assert_eq!(route(path), class, "{path}");
        }
        for first in RESERVED {
            assert_ne!(route(&format!("/{first}/a")), Route::Consens, "{first}");
        }
    }
}
