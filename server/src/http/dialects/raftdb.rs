//! The API of raftdb and of keyval, which descend from the same example.
//!
//! Origin: `POST /key` with a JSON object, `GET|DELETE /key/{k}`, `POST /join`.
//!
//! Deviations, all towards what their users expected: the object is one transaction at one
//! revision; an absent key is 404 (with their body `{"k":""}`) and not 200; DELETE is one log entry;
//! an unknown level is 400; any node takes writes, so `-L` has nothing to follow unless
//! `?redirect=true` asks for it; a refused join is an error.

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use bytes::Bytes;
use conclave_shared::{ErrorCode, limits};
use http::StatusCode;
use http::request::Parts;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::http::error::Failure;
use crate::http::extract::{self, WriteFrame};
use crate::http::params::Params;
use crate::http::state::Edge;
use crate::http::wire::{self, PLAIN};
use crate::http::{body, headers, members};
use crate::node::{AnswerMeta, JoinRequest};
use crate::state::{Key, Op, Outcome, Put, Rejection};

/// Prefix of the routes that have their key in the path.
const KEY: &str = "/key/";

pub(crate) fn router() -> Router<Edge> {
    Router::new()
        // Without a key in the path: `?key=`.
        .route("/key", get(read).post(write).delete(delete))
        .route("/key/{*key}", get(read).delete(delete))
        .route("/join", post(join))
}

#[derive(Debug, Serialize)]
struct Written {
    revision: u64,
}

/// `POST /key {"k":"v",…}`: all of it or nothing.
async fn write(State(edge): State<Edge>, request: Request) -> Result<Response, Failure> {
    let (Parts { uri, headers, .. }, body) = request.into_parts();
    let mut params = Params::parse(uri.query())?;
    let frame = WriteFrame::parse(&headers, &mut params)?;
    extract::no_condition(&headers, &mut params)?;
    let ttl_ms = extract::ttl(&headers, &mut params)?;
    params.finish()?;
    let object = body::read_json(body, edge.options().body_idle_timeout).await?;
    let op = Op::PutMany {
        puts: puts(object, ttl_ms)?,
    };
    let request = frame.request(op);
    let written = async {
        let answer = edge.node_for_write()?.write(request).await?;
        let answer = wire::applied("", answer)?;
        let Outcome::PutMany { revision, .. } = answer.value else {
            return Err(wire::unexpected(&answer.value));
        };
        wire::json_with_meta(StatusCode::OK, &Written { revision }, &answer.meta)
    };
    written.await
}

fn puts(object: Map<String, Value>, ttl_ms: Option<u64>) -> Result<Vec<Put>, Failure> {
    if object.is_empty() {
        return Err(Failure::invalid("the object has no keys"));
    }
    if object.len() > limits::OPS_PER_REQUEST {
        let detail = format!("{} keys in one request are above the limit", object.len());
        let failure = Failure::too_large(detail, limits::OPS_PER_REQUEST);
        return Err(failure.with_count(object.len() as u64));
    }
    object
        .into_iter()
        .map(|(key, value)| put(&key, value, ttl_ms))
        .collect()
}

fn put(key: &str, value: Value, ttl_ms: Option<u64>) -> Result<Put, Failure> {
    let key = extract::to_key(key)?;
    let Value::String(text) = value else {
        return Err(Failure::invalid(format!(
            "the value of `{key}` is not a string"
        )));
    };
    if text.len() > limits::VALUE_BYTES {
        let detail = format!("the value of `{key}` is above the limit");
        let failure = Failure::too_large(detail, limits::VALUE_BYTES);
        return Err(failure.with_count(text.len() as u64));
    }
    Ok(Put {
        key,
        value: Bytes::from(text),
        content_type: PLAIN.into(),
        ttl_ms,
    })
}

/// `GET /key/{k}?level=` → `{"k":"v"}`.
async fn read(State(edge): State<Edge>, request: Request) -> Result<Response, Failure> {
    let uri = request.uri();
    let mut params = Params::parse(uri.query())?;
    let key = extract::required_key(uri.path(), KEY, &mut params)?;
    let options = extract::read_options(&mut params)?;
    let answer = edge.node()?.get(&options, &key).await?;
    let Some(record) = answer.value else {
        return absent(&key, &answer.meta);
    };
    let Ok(text) = std::str::from_utf8(&record.value) else {
        let detail = format!("the value of `{key}` is not UTF-8; read it below `/api/keys/`");
        return Err(Failure::new(ErrorCode::NotAcceptable, detail).with_meta(answer.meta));
    };
    let body = pair(&key, text);
    wire::json_with_stamps(StatusCode::OK, &body, &answer.meta, record.stamps())
}

/// `DELETE /key/{k}`: one log entry.
async fn delete(State(edge): State<Edge>, request: Request) -> Result<Response, Failure> {
    let (Parts { uri, headers, .. }, _) = request.into_parts();
    let mut params = Params::parse(uri.query())?;
    let key = extract::required_key(uri.path(), KEY, &mut params)?;
    let frame = WriteFrame::parse(&headers, &mut params)?;
    extract::no_ttl(&headers)?;
    let condition = extract::condition(&headers, &mut params)?;
    params.finish()?;
    let op = Op::Delete {
        key: key.clone(),
        condition,
        return_previous: false,
    };
    let request = frame.request(op);
    let deleted = async {
        let answer = edge.node_for_write()?.write(request).await?;
        if answer.value == Outcome::Rejected(Rejection::KeyNotFound) {
            return absent(&key, &answer.meta);
        }
        let answer = wire::applied(&key, answer)?;
        let Outcome::Deleted { revision, .. } = answer.value else {
            return Err(wire::unexpected(&answer.value));
        };
        wire::json_with_meta(StatusCode::OK, &Written { revision }, &answer.meta)
    };
    deleted.await
}

fn pair<'a>(key: &'a Key, value: &'a str) -> std::collections::BTreeMap<&'a str, &'a str> {
    [(&**key, value)].into()
}

/// The seeds' body for an absent key, under the status that tells it from an empty value.
fn absent(key: &Key, meta: &AnswerMeta) -> Result<Response, Failure> {
    let mut response = wire::json(StatusCode::NOT_FOUND, &pair(key, ""))?;
    headers::put(response.headers_mut(), meta);
    Ok(response)
}

/// raftdb says `raftAddr` and `httpAddr`, keyval says `addr`.
#[derive(Debug, Deserialize)]
struct Join {
    id: String,
    #[serde(rename = "raftAddr", alias = "addr")]
    raft: String,
    #[serde(rename = "httpAddr", default)]
    http: String,
}

/// `POST /join {"id","raftAddr"|"addr","httpAddr"}`.
async fn join(State(edge): State<Edge>, request: Request) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    let mut params = Params::parse(parts.uri.query())?;
    let replace = params.is_on("replace")?;
    params.finish()?;
    let join: Join = body::read_json(body, edge.options().body_idle_timeout).await?;
    let join = JoinRequest {
        name: join.id,
        http: join.http,
        raft: join.raft,
        replace,
    };
    members::check(&join)?;
    let joined = edge.node_for_write()?.add_member(join).await?;
    wire::json(StatusCode::OK, &joined)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<Put>, Failure> {
        puts(body::parse_json(text.as_bytes())?, None)
    }

    #[test]
    fn an_object_of_strings_is_one_transaction() {
        let puts = parse(r#"{"foo": "bar", "a/b": ""}"#).unwrap();
        let mut found: Vec<_> = puts.iter().map(|put| (&*put.key, &*put.value)).collect();
        found.sort_unstable();
        assert_eq!(found, [("a/b", &b""[..]), ("foo", b"bar")]);
        assert!(puts.iter().all(|put| &*put.content_type == "text/plain"));
    }

    #[test]
    fn what_is_no_object_of_strings_is_refused() {
        for text in [
            "",
            "{}",
            "[]",
            "\"a\"",
            r#"{"a":1}"#,
            r#"{"a":null}"#,
            r#"{"":"x"}"#,
            r#"{"/a":"x"}"#,
            r#"{"a":"x"} {}"#,
            r#"{"a":"x""#,
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        let many = |n: usize| {
            let pairs: Vec<_> = (0..n).map(|i| format!("\"k{i}\":\"v\"")).collect();
            parse(&format!("{{{}}}", pairs.join(",")))
        };
        assert_eq!(many(128).unwrap().len(), 128);
        assert_eq!(many(129).unwrap_err().code(), ErrorCode::TooLarge);
        let nested = format!("{{\"a\":{}", "[".repeat(100_000));
        assert!(parse(&nested).is_err(), "depth is bounded");
    }

    #[test]
    fn both_seeds_join_bodies_are_understood() {
        let raftdb = r#"{"id":"n1","raftAddr":"h:2","httpAddr":"h:1"}"#;
        let Join { id, raft, http } = serde_json::from_str(raftdb).unwrap();
        assert_eq!((&*id, &*raft, &*http), ("n1", "h:2", "h:1"));
        let Join { id, raft, http } = serde_json::from_str(r#"{"id":"n1","addr":"h:2"}"#).unwrap();
        assert_eq!((&*id, &*raft, &*http), ("n1", "h:2", ""));
    }
}
