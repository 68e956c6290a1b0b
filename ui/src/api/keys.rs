//! Listings of keys, as the serving node has them.

use super::http::Request;
use crate::model::{
    address::escape,
    failure::Failure,
    keys::{Page, tree::Wanted},
};

/// Entries of a level's first page: enough for any window, and soon there.
const FIRST_ENTRIES: usize = 500;
/// Entries of the pages after it: as many as a node gives.
const ENTRIES: usize = 1_000;

/// Reads a page of a level. All pages come from the serving node's own state, which is the one that its
/// news are about, and which is there without a leader too.
pub(crate) async fn page(wanted: &Wanted, delimiter: &str) -> Result<Page, Failure> {
    let limit = if wanted.is_first {
        FIRST_ENTRIES
    } else {
        ENTRIES
    };
    let count = if wanted.is_first { "&count=true" } else { "" };
    let (prefix, start) = (escape(&wanted.level), escape(&wanted.start));
    Request::get(format!(
        "/api/keys?stale&keys=true&prefix={prefix}&delimiter={}&start={start}&limit={limit}{count}",
        escape(delimiter)
    ))
    .json()
    .await
}

/// Reads the first keys, in folders or not, that start with a prefix, and counts all of them.
pub(crate) async fn first(prefix: &str, delimiter: &str, limit: usize) -> Result<Page, Failure> {
    Request::get(format!(
        "/api/keys?stale&keys=true&count=true&prefix={}&delimiter={}&limit={limit}",
        escape(prefix),
        escape(delimiter)
    ))
    .json()
    .await
}

/// Reads keys from a name on, in no folders, as the leader has them.
pub(crate) async fn from(prefix: &str, start: &str) -> Result<Page, Failure> {
    Request::get(format!(
        "/api/keys?keys=true&prefix={}&start={}&limit={ENTRIES}",
        escape(prefix),
        escape(start)
    ))
    .json()
    .await
}
