//! Reads of one key: its value, its past, and who holds the lock of its name.

use std::sync::Arc;

use conclave_shared::{ErrorCode, KeyHistory, LockInfo, limits};

use super::http::{Answer, Request};
use crate::{
    dom::monotonic_ms,
    model::{
        address::escape,
        failure::Failure,
        value::record::{Record, Stamps},
    },
};

/// A value; or the revision at which there was none.
pub(crate) type Read = Result<Arc<Record>, u64>;

/// Reads a value as the leader has it; when there is no leader, the serving node's own copy.
///
/// # Errors
///
/// When not even the node itself answers.
pub(crate) async fn value(key: &str) -> Result<Read, Failure> {
    let target = format!("/api/keys?key={}", escape(key));
    match found(Request::get(target.clone()).send().await) {
        Err(why) if is_leaderless(&why) => {
            found(Request::get(target + "&level=stale").send().await)
        }
        other => other,
    }
}

fn is_leaderless(why: &Failure) -> bool {
    matches!(why, Failure::TimedOut(_)) || matches!(why.status(), 429 | 503 | 504)
}

fn found(answer: Result<Answer, Failure>) -> Result<Read, Failure> {
    match answer {
        Ok(answer) => Ok(Ok(Arc::new(record(answer)))),
        Err(Failure::Refused {
            problem: Some(problem),
            ..
        }) if problem.code == ErrorCode::KeyNotFound => Ok(Err(problem.revision.unwrap_or(0))),
        Err(why) => Err(why),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a clock that starts at 0 with the page"
)]
fn record(answer: Answer) -> Record {
    let number = |name| answer.number(name);
    let is_copy = answer
        .header("conclave-consistency")
        .is_some_and(|level| level == "stale");
    let stamps = Stamps {
        revision: etag(&answer).unwrap_or(0),
        create_revision: number("conclave-create-revision").unwrap_or(0),
        version: number("conclave-version").unwrap_or(0),
        ttl_ms: number("conclave-ttl-ms"),
        read_at_ms: monotonic_ms() as u64,
        copy_age_ms: is_copy.then(|| number("conclave-last-contact").unwrap_or(0)),
    };
    let content_type = answer.header("content-type").unwrap_or_default();
    Record::new(answer.body, content_type, stamps)
}

/// The revision that an answer's entity tag names.
pub(crate) fn etag(answer: &Answer) -> Option<u64> {
    answer.header("etag")?.trim_matches('"').parse().ok()
}

/// Reads the changes of a key, newest first, those before a revision where one is given.
///
/// # Errors
///
/// Whatever is no history.
pub(crate) async fn history(
    key: &str,
    before: Option<u64>,
    limit: usize,
) -> Result<KeyHistory, Failure> {
    let before = before.map_or_else(String::new, |before| format!("&before={before}"));
    let target = format!(
        "/api/keys?key={}&history=true&limit={limit}{before}",
        escape(key)
    );
    match Request::get(target.clone()).json().await {
        Err(why) if is_leaderless(&why) => Request::get(target + "&level=stale").json().await,
        other => other,
    }
}

/// Returns the first revision from which on changes are kept; none when none was dropped, or when that
/// cannot be learnt at this moment. The refusal of an older one is what says it.
pub(crate) async fn oldest(key: &str) -> Option<u64> {
    let target = format!("/api/keys?key={}&revision=1", escape(key));
    match Request::get(target).send().await {
        Err(Failure::Refused {
            problem: Some(problem),
            ..
        }) => problem.oldest,
        _ => None,
    }
}

/// Says who holds the lock of this name, and with which token; none when nobody does, or when that
/// cannot be learnt at this moment.
pub(crate) async fn lock_holder(name: &str) -> Option<(String, u64)> {
    if name.len() > limits::LOCK_NAME_BYTES {
        return None;
    }
    // As a parameter and never in the path: a browser takes the segments `.` and `..` away.
    let target = format!("/api/locks?name={}", escape(name));
    let info: LockInfo = Request::get(target).json().await.ok()?;
    let holder = info.holder?;
    Some((holder.owner, holder.token))
}
