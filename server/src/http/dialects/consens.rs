//! The API of consens: any path is a key.
//!
//! Origin: `PUT /{key}` with a raw body answers 201 and `created`, `GET /{key}` answers the body.
//!
//! Deviations: first path segments that other routes live below are never keys here ([`RESERVED`]);
//! reach such keys as `/api/keys/{key}`. Without a majority the answer is 503 and not 410. There is
//! no `?key=`, because there is no path without a key.

use axum::extract::{Request, State};
use axum::response::Response;
use conclave_shared::ErrorCode;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};

use crate::http::error::Failure;
use crate::http::extract::{self, WriteFrame};
use crate::http::params::{Params, decode_path};
use crate::http::state::Edge;
use crate::http::{body, form, headers, wire};
use crate::state::{Key, Op, Outcome, Put};

/// First segments that are never keys, for all methods.
pub(crate) const RESERVED: [&str; 14] = [
    "api",
    "ui",
    "key",
    "keys",
    "join",
    "cluster",
    "v1",
    "livez",
    "readyz",
    "healthz",
    "metrics",
    "openapi.json",
    "favicon.ico",
    "robots.txt",
];

const ALLOW: HeaderValue = HeaderValue::from_static("GET,HEAD,PUT");

/// Everything that no other route has matched.
pub(crate) async fn serve(State(edge): State<Edge>, request: Request) -> Result<Response, Failure> {
    let path = request.uri().path();
    let text = decode_path(path.strip_prefix('/').unwrap_or(path))?;
    let first = text.split('/').next().unwrap_or_default();
    if RESERVED.contains(&first) {
        return Err(Failure::new(
            ErrorCode::RouteNotFound,
            format!("there is no route `{path}`"),
        ));
    }
    match *request.method() {
        Method::GET | Method::HEAD => {
            let key = extract::to_key(&text)?;
            read(&edge, &key, request.uri().query()).await
        }
        Method::PUT => {
            let key = extract::to_key(&text)?;
            write(&edge, key, request).await
        }
        _ => Err(Failure::new(
            ErrorCode::MethodNotAllowed,
            "a path that is a key takes GET, HEAD and PUT; `/api/keys/` takes more",
        )
        .with_allow(ALLOW)),
    }
}

async fn read(edge: &Edge, key: &Key, query: Option<&str>) -> Result<Response, Failure> {
    let options = extract::read_options(&mut Params::parse(query)?)?;
    let answer = edge.node()?.get(&options, key).await?;
    match answer.value {
        Some(record) => Ok(wire::raw_value(&record, &answer.meta)),
        None => Err(wire::key_not_found(key, answer.meta)),
    }
}

async fn write(edge: &Edge, key: Key, request: Request) -> Result<Response, Failure> {
    let (Parts { uri, headers, .. }, body) = request.into_parts();
    let mut params = Params::parse(uri.query())?;
    let frame = WriteFrame::parse(&headers, &mut params)?;
    let ttl_ms = extract::ttl(&headers, &mut params)?;
    let condition = extract::condition(&headers, &mut params)?;
    params.finish()?;
    let body = body::read(body, edge.options().body_idle_timeout).await?;
    let form::Submitted {
        value,
        content_type,
    } = form::raw(&headers, body)?;
    let put = Put {
        key: key.clone(),
        value,
        content_type,
        ttl_ms,
    };
    let request = frame.request(Op::Put {
        put,
        condition,
        return_previous: false,
    });
    let written = async {
        let answer = edge.node_for_write()?.write(request).await?;
        let answer = wire::applied(&key, answer)?;
        let Outcome::Put { stamps, .. } = &answer.value else {
            return Err(wire::unexpected(&answer.value));
        };
        let mut response = wire::text(StatusCode::CREATED, "created\n");
        headers::put_with_stamps(response.headers_mut(), &answer.meta, *stamps);
        Ok(response)
    };
    written.await
}
