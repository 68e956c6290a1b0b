//! What every request passes, whatever its route: the last net for panics, the cross-site check,
//! the permission for pages of other members, the address of a redirect, and one debug line.

use std::any::Any;
use std::convert::Infallible;
use std::fmt;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use axum::routing::future::RouteFuture;
use conclave_shared::ErrorCode;
use futures::future::{BoxFuture, Either};
use http::header::LOCATION;
use http::{HeaderValue, Method, Request, Uri};
use tower::{Layer as _, Service};
use tower_http::catch_panic::{CatchPanic, CatchPanicLayer};
use tracing::Level;

use super::cors::Reader;
use super::cross_site;
use super::error::{Failure, LeaderLocation};
use super::router;
use super::state::Edge;
use crate::clock;
use crate::metrics::Metrics;

/// Longest `Location` that a redirect is given.
const LOCATION_BYTES: usize = 16 << 10;

/// Answers requests; cheap to clone.
#[derive(Clone)]
pub struct Plain {
    router: Router,
    edge: Edge,
}

/// Answers requests, behind the last net for panics.
pub type RequestService = CatchPanic<Plain, fn(Box<dyn Any + Send>) -> Response>;

/// Returns the service that answers all HTTP requests of a node.
#[must_use]
pub fn service(edge: Edge) -> RequestService {
    let plain = Plain {
        router: router(edge.clone()),
        edge,
    };
    CatchPanicLayer::custom(on_panic as fn(Box<dyn Any + Send>) -> Response).layer(plain)
}

impl Plain {
    /// Returns what requests are counted in.
    pub(crate) fn metrics(&self) -> &Metrics {
        self.edge.metrics()
    }
}

impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plain")
            .field("edge", &self.edge)
            .finish_non_exhaustive()
    }
}

impl Service<Request<Body>> for Plain {
    type Response = Response;
    type Error = Infallible;
    /// The plain way is not boxed: it is the way of nearly all requests.
    type Future = Either<RouteFuture<Infallible>, BoxFuture<'static, Result<Response, Infallible>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if let Err(failure) = cross_site::check(&self.edge, request.method(), request.headers()) {
            let refused = std::future::ready(Ok(failure.into_response()));
            return Either::Right(Box::pin(refused));
        }
        let reader = Reader::of(&self.edge, &request);
        let reader = match reader {
            Some(reader) if request.method() == Method::OPTIONS => {
                let told = std::future::ready(Ok(reader.preflight()));
                return Either::Right(Box::pin(told));
            }
            reader => reader,
        };
        let is_redirectable = request
            .uri()
            .query()
            .is_some_and(|query| query.contains("redirect") || query.contains('%'));
        let is_logged = tracing::enabled!(Level::DEBUG);
        if !is_redirectable && !is_logged && reader.is_none() {
            return Either::Left(self.router.call(request));
        }
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let (start, answer) = (clock::now(), self.router.call(request));
        Either::Right(Box::pin(async move {
            let mut response = answer.await?;
            if let Some(LeaderLocation(leader)) = response.extensions_mut().remove() {
                response = redirected(response, &leader, &uri);
            }
            if let Some(reader) = reader {
                reader.admit(response.headers_mut());
            }
            log(&method, &uri, &response, start);
            Ok(response)
        }))
    }
}

/// The answer to a known route with a method it does not have. The router adds `Allow`.
pub(crate) async fn method_not_allowed(method: Method) -> Failure {
    let detail = format!("this route does not take the method `{method}`");
    Failure::new(ErrorCode::MethodNotAllowed, detail)
}

fn redirected(mut response: Response, leader: &str, uri: &Uri) -> Response {
    let rest = uri.path_and_query().map_or("/", |rest| rest.as_str());
    let location = format!("http://{leader}{rest}");
    if location.len() > LOCATION_BYTES {
        return Failure::invalid("the address is too long to be redirected").into_response();
    }
    match HeaderValue::from_str(&location) {
        Ok(location) => {
            response.headers_mut().insert(LOCATION, location);
            response
        }
        Err(error) => Failure::internal(&error).into_response(),
    }
}

fn log(method: &Method, uri: &Uri, response: &Response, start: Instant) {
    tracing::debug!(
        http.method = %method,
        http.path = uri.path(),
        http.status = response.status().as_u16(),
        duration_us = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX),
        "answered {method} {} with {}",
        uri.path(),
        response.status().as_u16(),
    );
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "what catch-panic calls has this shape"
)]
fn on_panic(panic: Box<dyn Any + Send>) -> Response {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without text");
    Failure::internal(&format_args!("panic in a request: {text}")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_keeps_path_and_query() {
        let uri: Uri = "/api/keys/a%2Fb?redirect=true&cas=7".parse().unwrap();
        let response = redirected(Response::new(Body::empty()), "node1:11001", &uri);
        let wanted = "http://node1:11001/api/keys/a%2Fb?redirect=true&cas=7";
        assert_eq!(response.headers()[LOCATION], wanted);
    }

    #[tokio::test]
    async fn a_panic_is_a_500_without_its_text() {
        use http_body_util::BodyExt as _;
        let panicking = tower::service_fn(|request: Request<Body>| async move {
            assert!(request.uri().path() == "/", "secret");
            Ok::<_, Infallible>(Response::new(Body::empty()))
        });
        let mut net = CatchPanicLayer::custom(on_panic).layer(panicking);
        let request = Request::get("/a").body(Body::empty()).unwrap();
        let answer = net.call(request).await.unwrap();
        assert_eq!(answer.status(), 500);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(!String::from_utf8_lossy(&body).contains("secret"));
        assert_eq!(on_panic(Box::new(7)).status(), 500);
    }
}
