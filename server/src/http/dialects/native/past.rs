//! Older versions of a key: its history, its value as it was, and writing an old version back.

use axum::response::Response;
use conclave_shared::{ErrorCode, KeyHistory, KeyVersion, ReadLevel, limits};
use http::StatusCode;
use jiff::Timestamp;

use crate::http::error::Failure;
use crate::http::extract;
use crate::http::params::{Params, number};
use crate::http::state::Edge;
use crate::http::wire;
use crate::node::ReadOptions;
use crate::node::past::Past;
use crate::state::{Key, Put};

/// `GET /api/keys/{key}?history=true[&before=<rev>][&limit=]`: its changes, newest first.
pub(super) async fn history(
    edge: &Edge,
    key: &Key,
    mut params: Params<'_>,
) -> Result<Response, Failure> {
    let before = params.take_number("before")?;
    let limit = extract::limit(&mut params)?.unwrap_or(limits::PAGE_ENTRIES_DEFAULT);
    let options = extract::read_options(&mut params)?;
    params.finish()?;
    let answer = edge.node()?.versions(&options, key, before, limit).await?;
    let Some(versions) = &answer.value else {
        return Err(wire::key_not_found(key, answer.meta));
    };
    let shown = versions.versions.iter().map(|version| KeyVersion {
        revision: version.revision,
        wall_time_ms: version.wall_time_ms,
        change: version.kind.as_str().to_owned(),
        origin: version.origin.to_string(),
        client: version.client.as_deref().map(str::to_owned),
        record: version
            .record
            .as_ref()
            .map(|record| wire::envelope(key, record, version.log_time_ms)),
    });
    let history = KeyHistory {
        key: key.to_string(),
        revision: answer.meta.revision,
        versions: shown.collect(),
        more: versions.more,
        complete: versions.complete,
    };
    wire::json_with_meta(StatusCode::OK, &history, &answer.meta)
}

/// Takes the moment of the past that a read asks for out: `?revision=` or `?at=`.
pub(super) fn moment(params: &mut Params<'_>) -> Result<Option<Past>, Failure> {
    let revision = params.take_number("revision")?;
    let at = params.take("at")?;
    match (revision, at) {
        (None, None) => Ok(None),
        (Some(revision), None) => Ok(Some(Past::Revision(revision))),
        (None, Some(text)) => wall_time(&text).map(|ms| Some(Past::WallTime(ms))),
        (Some(_), Some(_)) => Err(Failure::invalid(
            "`revision` and `at` contradict each other; give one",
        )),
    }
}

/// Parses a time (RFC 3339). An unescaped `+` has become a space on the way.
fn wall_time(text: &str) -> Result<u64, Failure> {
    let parsed: Result<Timestamp, _> = text.replace(' ', "+").parse();
    let ms = parsed.ok().map(|time| time.as_millisecond());
    ms.and_then(|ms| u64::try_from(ms).ok()).ok_or_else(|| {
        Failure::invalid(format!(
            "`at` is `{text}`, and not a time such as 2026-01-31T12:00:00Z"
        ))
    })
}

/// Finds the version that `?restore=<rev>` is to write back. It gets no TTL.
pub(super) async fn to_restore(edge: &Edge, key: &Key, revision: &str) -> Result<Put, Failure> {
    let revision = number("restore", revision)?;
    let options = ReadOptions::level(ReadLevel::Consistent);
    let past = Past::Revision(revision);
    let answer = edge.node()?.get_past(&options, key, past).await?;
    match answer.value {
        Some(record) => Ok(Put {
            key: key.clone(),
            value: record.value.clone(),
            content_type: record.content_type.clone(),
            ttl_ms: None,
        }),
        None => {
            let detail = format!("there was no key `{key}` at revision {revision}");
            Err(Failure::new(ErrorCode::KeyNotFound, detail).with_meta(answer.meta))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_revision_or_a_time() {
        let moment = |query| moment(&mut Params::parse(Some(query)).unwrap());
        assert_eq!(moment("").unwrap(), None);
        assert_eq!(moment("revision=7").unwrap(), Some(Past::Revision(7)));
        let time = Some(Past::WallTime(1_767_225_600_500));
        assert_eq!(moment("at=2026-01-01T00:00:00.5Z").unwrap(), time);
        assert_eq!(moment("at=2026-01-01T01:00:00.5+01:00").unwrap(), time);
        assert_eq!(moment("at=2026-01-01T01:00:00.5%2B01:00").unwrap(), time);
        for wrong in [
            "revision=x",
            "revision=-1",
            "at=yesterday",
            "at=2026-01-01",
            "at=1900-01-01T00:00:00Z",
            "revision=7&at=2026-01-01T00:00:00Z",
        ] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }
}
