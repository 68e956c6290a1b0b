//! `GET /api/cluster/snapshot`: the state as a file, for `conclave backup`.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use conclave_shared::ReadLevel;
use futures::stream;
use http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method};

use crate::http::cross_site;
use crate::http::error::Failure;
use crate::http::headers;
use crate::http::params::Params;
use crate::http::state::Edge;
use crate::node::Answer;
use crate::node::backup::Backup;

/// `GET /api/cluster/snapshot?level=`: builds a snapshot that has everything a read of the level
/// sees, and streams it. Here the level is `consistent` where none is named.
pub(crate) async fn download(
    State(edge): State<Edge>,
    request: Request,
) -> Result<Response, Failure> {
    // It costs a node more than a read does: no page of another site may ask for it.
    cross_site::check_claim(&edge, request.headers())?;
    let mut params = Params::parse(request.uri().query())?;
    let level = match params.take("level")? {
        None => ReadLevel::Consistent,
        Some(word) => word
            .parse()
            .map_err(|error| Failure::invalid(format!("{error}")))?,
    };
    params.finish()?;
    let Answer {
        value: backup,
        meta,
    } = edge.node()?.backup(level).await?;
    let length = backup.bytes();
    let body = match *request.method() == Method::HEAD {
        true => Body::empty(),
        false => stream(backup),
    };
    let mut response = Response::new(body);
    let head = response.headers_mut();
    headers::put(head, &meta);
    head.insert(CONTENT_LENGTH, length.into());
    head.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    head.insert(
        CONTENT_DISPOSITION,
        HeaderValue::from_static("attachment; filename=\"conclave.snap\""),
    );
    Ok(response)
}

/// A chunk is read when the client has taken the one before. A disk that fails cuts the answer off.
fn stream(backup: Backup) -> Body {
    Body::from_stream(stream::try_unfold((backup, 0), |(backup, at)| async move {
        let chunk = backup.read(at).await?;
        let next = at + chunk.len() as u64;
        Ok::<_, std::io::Error>((!chunk.is_empty()).then_some((chunk, (backup, next))))
    }))
}
