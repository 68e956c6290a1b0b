//! Asking members directly, and changing who is one.
//!
//! Changes of the membership have no request ids: a node that is asked twice refuses what is done
//! already. So they are sent once, and where the outcome is unknown the members themselves tell it.

use std::sync::Arc;

use conclave_shared::{MetricsSeries, NodeStatus, cluster::MemberPlan};
use gloo_net::http::Method;
use wasm_bindgen::JsValue;

use super::http::{Answer, Request};
use crate::{
    dom::{monotonic_ms, now_ms},
    model::{
        address::escape,
        failure::Failure,
        nodes::{
            Action, Probe, Word,
            probe::{LIMIT_MS, micros},
        },
    },
};

/// Longest wait for a change: the leader may wait for another change, and for an election.
const CHANGE_MS: u32 = 25_000;

/// Asks a member for its own view; one without address is the serving node.
pub(crate) async fn probe(name: &str, address: Option<&str>, page_ms: impl Fn() -> u64) -> Probe {
    let (begun, begun_wall) = (monotonic_ms(), now_ms());
    let answer = to(Request::get("/api/status"), address)
        .timeout(LIMIT_MS)
        .send()
        .await;
    let took_ms = monotonic_ms() - begun;
    let mut raw = Arc::from("");
    let read = answer.and_then(|answer| {
        raw = String::from_utf8_lossy(&answer.body).into();
        answer.json::<NodeStatus>()
    });
    let mut offset_ms = 0;
    let word = match read {
        Ok(status) if status.node == name => {
            offset_ms = offset(status.now_ms, begun_wall + took_ms / 2.0);
            Word::Answered(Arc::new(status))
        }
        Ok(status) => Word::Silent(format!("{} answers there", status.node)),
        Err(failure) => Word::Silent(silence(&failure)),
    };
    Probe {
        word,
        at_ms: page_ms(),
        took_us: micros(took_ms),
        offset_ms,
        raw,
    }
}

/// Reads what a member has marked in its last 15 minutes; one without address is the serving node.
///
/// # Errors
///
/// When it does not answer.
pub(crate) async fn marks(address: Option<&str>) -> Result<MetricsSeries, Failure> {
    let target = "/api/metrics/series?range=15m&step=60s";
    to(Request::get(target), address)
        .timeout(LIMIT_MS)
        .json()
        .await
}

/// Asks what a removal or a promotion would do.
///
/// # Errors
///
/// When it cannot be planned: there is no such member, or no leader.
pub(crate) async fn plan(action: Action, node: &str) -> Result<MemberPlan, Failure> {
    change_request(action, node, "?dry_run=true").json().await
}

/// Removes or promotes a member.
///
/// # Errors
///
/// The leader's refusal; or an unknown outcome, where [`Failure::may_be_applied`] says so.
pub(crate) async fn change(action: Action, node: &str) -> Result<MemberPlan, Failure> {
    change_request(action, node, "").json().await
}

/// Removes a member although no majority would answer afterwards.
///
/// # Errors
///
/// As [`change`].
pub(crate) async fn remove_by_force(node: &str) -> Result<MemberPlan, Failure> {
    change_request(Action::Remove, node, "?force=true")
        .json()
        .await
}

/// Lets a voter lead, or whoever can take over soonest. Returns who leads.
///
/// # Errors
///
/// When nobody takes over.
pub(crate) async fn hand_over(to: Option<&str>) -> Result<String, Failure> {
    let body = to.map_or_else(String::new, |to| format!("{{\"to\":{}}}", quoted(to)));
    let request = Request::new(Method::POST, "/api/cluster/transfer").timeout(CHANGE_MS);
    let answer = request.text(&body).send().await?;
    Ok(text_of(&answer, "leader"))
}

/// Adds a node that waits to be joined.
///
/// # Errors
///
/// When it does not wait, or its name is in use.
pub(crate) async fn add(name: &str, http: &str, raft: &str) -> Result<(), Failure> {
    let body = format!(
        "{{\"name\":{},\"http\":{},\"raft\":{}}}",
        quoted(name),
        quoted(http),
        quoted(raft)
    );
    let request = Request::new(Method::POST, "/api/cluster/members").timeout(CHANGE_MS);
    request.text(&body).send().await.map(drop)
}

fn change_request(action: Action, node: &str, query: &str) -> Request {
    let node = escape(node);
    let (method, rest) = match action {
        Action::Promote => (Method::POST, "/promote"),
        _ => (Method::DELETE, ""),
    };
    Request::new(method, format!("/api/cluster/members/{node}{rest}{query}")).timeout(CHANGE_MS)
}

fn to(request: Request, address: Option<&str>) -> Request {
    match address {
        Some(address) => request.at(address),
        None => request,
    }
}

/// Says a failed question in a few words, for a cell.
fn silence(failure: &Failure) -> String {
    match failure {
        Failure::TimedOut(_) => "No answer in 2 s".to_owned(),
        Failure::Refused { status, .. } => format!("Answers {status}"),
        Failure::Malformed(_) => "Answers something else".to_owned(),
        _ => "Unreachable".to_owned(),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "milliseconds since 1970 fit for 285,000 years"
)]
fn offset(node_ms: u64, browser_ms: f64) -> i64 {
    (node_ms as f64 - browser_ms) as i64
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

/// Returns a text of an answer's object, without a type for it.
fn text_of(answer: &Answer, name: &str) -> String {
    let text = String::from_utf8_lossy(&answer.body);
    let value = js_sys::JSON::parse(&text)
        .and_then(|object| js_sys::Reflect::get(&object, &JsValue::from_str(name)));
    let value = value.ok().and_then(|value| value.as_string());
    value.unwrap_or_default()
}
