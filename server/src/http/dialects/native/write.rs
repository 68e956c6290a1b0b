//! Writes of one key or one prefix.

use axum::extract::{Request, State};
use axum::response::Response;
use conclave_shared::{ReadLevel, WriteResult, limits};
use http::StatusCode;
use http::request::Parts;
use serde::Serialize;

use super::{KEYS, past};
use crate::http::error::Failure;
use crate::http::extract::{self, WriteFrame};
use crate::http::params::Params;
use crate::http::state::Edge;
use crate::http::{body, form, wire};
use crate::node::ReadOptions;
use crate::state::{Key, Op, Outcome, Put, listing};

/// `PUT|POST /api/keys/{key}`.
pub(crate) async fn put(State(edge): State<Edge>, request: Request) -> Result<Response, Failure> {
    let (Parts { uri, headers, .. }, body) = request.into_parts();
    let mut params = Params::parse(uri.query())?;
    let key = extract::required_key(uri.path(), KEYS, &mut params)?;
    let return_previous = params.is_on("prev")?;
    // Refused before the body is waited for; a form may add to the parameters and is checked again.
    let frame = WriteFrame::parse(&headers, &mut params)?;
    if let Some(revision) = params.take("restore")? {
        extract::no_ttl(&headers)?;
        let condition = extract::condition(&headers, &mut params)?;
        params.finish()?;
        let op = Op::Put {
            put: past::to_restore(&edge, &key, &revision).await?,
            condition,
            return_previous,
        };
        return write_put(&edge, &frame, &key, op).await;
    }
    let body = body::read(body, edge.options().body_idle_timeout).await?;
    let submitted = form::submitted(&headers, body, &mut params)?;
    let ttl_ms = extract::ttl(&headers, &mut params)?;
    let condition = extract::condition(&headers, &mut params)?;
    params.finish()?;
    let put = Put {
        key: key.clone(),
        value: submitted.value,
        content_type: submitted.content_type,
        ttl_ms,
    };
    let op = Op::Put {
        put,
        condition,
        return_previous,
    };
    write_put(&edge, &frame, &key, op).await
}

async fn write_put(
    edge: &Edge,
    frame: &WriteFrame,
    key: &Key,
    op: Op,
) -> Result<Response, Failure> {
    let answer = edge.node_for_write()?.write(frame.request(op)).await?;
    let answer = wire::applied(key, answer)?;
    let Outcome::Put { stamps, previous } = &answer.value else {
        return Err(wire::unexpected(&answer.value));
    };
    let created = stamps.version == 1;
    let result = WriteResult {
        key: key.to_string(),
        revision: stamps.mod_revision,
        create_revision: stamps.create_revision,
        version: stamps.version,
        created,
        previous: previous
            .as_ref()
            .map(|record| wire::envelope(key, record, answer.meta.log_time_ms)),
    };
    let status = if created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    wire::json_with_stamps(status, &result, &answer.meta, *stamps)
}

/// `DELETE /api/keys/{key}`.
pub(crate) async fn delete(
    State(edge): State<Edge>,
    request: Request,
) -> Result<Response, Failure> {
    let (Parts { uri, headers, .. }, _) = request.into_parts();
    let mut params = Params::parse(uri.query())?;
    let key = extract::required_key(uri.path(), KEYS, &mut params)?;
    let frame = WriteFrame::parse(&headers, &mut params)?;
    extract::no_ttl(&headers)?;
    let is_recursive = params.is_on("recursive")?;
    let is_dry_run = params.is_on("dry_run")?;
    let return_previous = params.is_on("prev")?;
    let condition = extract::condition(&headers, &mut params)?;
    params.finish()?;
    if is_recursive && (return_previous || !condition.is_empty()) {
        return Err(Failure::invalid(
            "a recursive delete takes no condition and no `prev`",
        ));
    }
    match (is_recursive, is_dry_run) {
        (false, true) => Err(Failure::invalid("`dry_run` needs `recursive=true`")),
        (true, true) => count_prefix(&edge, &key).await,
        (true, false) => delete_prefix(&edge, &frame, &key).await,
        (false, false) => {
            let op = Op::Delete {
                key: key.clone(),
                condition,
                return_previous,
            };
            delete_key(&edge, &frame, &key, op).await
        }
    }
}

#[derive(Debug, Serialize)]
struct Deleted<'a> {
    key: &'a str,
    revision: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<conclave_shared::Envelope>,
}

#[derive(Debug, Serialize)]
struct DeletedPrefix<'a> {
    prefix: &'a str,
    revision: u64,
    /// Keys that were deleted, or would be.
    count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    dry_run: Option<bool>,
    /// Most keys that one recursive delete removes.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<usize>,
}

async fn delete_key(
    edge: &Edge,
    frame: &WriteFrame,
    key: &Key,
    op: Op,
) -> Result<Response, Failure> {
    let answer = edge.node_for_write()?.write(frame.request(op)).await?;
    let answer = wire::applied(key, answer)?;
    let Outcome::Deleted { revision, previous } = &answer.value else {
        return Err(wire::unexpected(&answer.value));
    };
    let previous = previous
        .as_ref()
        .map(|record| wire::envelope(key, record, answer.meta.log_time_ms));
    let deleted = Deleted {
        key,
        revision: *revision,
        previous,
    };
    wire::json_with_meta(StatusCode::OK, &deleted, &answer.meta)
}

async fn delete_prefix(edge: &Edge, frame: &WriteFrame, prefix: &Key) -> Result<Response, Failure> {
    let op = Op::DeletePrefix {
        prefix: prefix.to_string(),
    };
    let answer = edge.node_for_write()?.write(frame.request(op)).await?;
    let answer = wire::applied(prefix, answer)?;
    let Outcome::DeletedPrefix { revision, keys } = answer.value else {
        return Err(wire::unexpected(&answer.value));
    };
    let deleted = DeletedPrefix {
        prefix,
        revision,
        count: keys,
        dry_run: None,
        limit: None,
    };
    wire::json_with_meta(StatusCode::OK, &deleted, &answer.meta)
}

async fn count_prefix(edge: &Edge, prefix: &Key) -> Result<Response, Failure> {
    let options = ReadOptions::level(ReadLevel::Consistent);
    let answer = edge.node()?.view(&options).await?;
    let (view, text) = (answer.value, prefix.clone());
    let revision = view.state.revision();
    // All keys of the prefix are walked: not on a thread that other requests wait for.
    let counted = tokio::task::spawn_blocking(move || listing::count(&view.state, &text)).await;
    let count = counted.map_err(|error| Failure::internal(&error))?;
    let limit = Some(limits::RECURSIVE_DELETE_KEYS);
    let deleted = DeletedPrefix {
        prefix,
        revision,
        count,
        dry_run: Some(true),
        limit,
    };
    wire::json_with_meta(StatusCode::OK, &deleted, &answer.meta)
}
