//! Writes under an `Idempotency-Key`, and the check that a repetition gets the first outcome.

use serde_json::Value;

use crate::cluster::Node;
use crate::http::{Request, Response, assert_problem};

/// The header that makes a repeated write count once.
const IDEMPOTENCY_KEY: &str = "Idempotency-Key";
/// Headers that a repetition has as the first answer has them, or has not.
const SAME_HEADERS: [&str; 4] = [
    "conclave-revision",
    "etag",
    "conclave-create-revision",
    "conclave-version",
];

/// A write under an id, with its first answer.
#[derive(Debug, Clone)]
pub struct Sent {
    pub id: String,
    pub request: Request,
    pub first: Response,
}

/// Puts a request under an id.
#[must_use]
pub fn under(id: &str, request: Request) -> Request {
    request.header(IDEMPOTENCY_KEY, id)
}

/// Sends one write of every kind, in every dialect, and refused ones too; each under an id that
/// begins with `run`. Afterwards the state has moved on, so that doing any of them once more would
/// change it or give another answer.
///
/// # Panics
///
/// One has another status than it should.
pub async fn send_every_kind(node: &Node, run: &str) -> Vec<Sent> {
    let key = |rest: &str| format!("/api/keys/{run}/{rest}");
    let many = format!(r#"{{"{run}/b/1": "x", "{run}/b/2": "y"}}"#);
    let form = Request::post(&key("form"), "value=wide")
        .header("Content-Type", "application/x-www-form-urlencoded");
    let writes = [
        ("create", 201, Request::put(&key("a"), "1")),
        ("replace", 200, Request::put(&key("a"), "2")),
        ("prev", 200, Request::put(&key("a?prev=true"), "3")),
        ("only-create", 201, Request::put(&key("once?cas=0"), "1")),
        (
            "refused",
            412,
            Request::put(&key("a"), "4").header("If-None-Match", "*"),
        ),
        ("absent", 404, Request::delete(&key("none"))),
        ("post", 201, Request::post(&key("post"), "1")),
        ("form", 201, form),
        ("many", 200, Request::post("/key", many)),
        (
            "many-absent",
            404,
            Request::delete(&format!("/key/{run}/none")),
        ),
        (
            "many-delete",
            200,
            Request::delete(&format!("/key/{run}/b/1")),
        ),
        ("raw", 201, Request::put(&format!("/{run}/raw"), "1")),
        ("delete", 200, Request::delete(&key("a?prev=true"))),
        ("recursive", 200, Request::delete(&key("b/?recursive=true"))),
    ];
    let mut sent = Vec::new();
    for (name, status, request) in writes {
        let id = format!("{run}-{name}");
        let request = under(&id, request);
        let first = node.send(&request).await.expect_status(status);
        assert_eq!(first.header("conclave-replayed"), None, "{first:?}");
        assert_eq!(first.expect_header("conclave-request-id"), id);
        sent.push(Sent { id, request, first });
    }
    for (rest, value) in [("none", "now"), ("a", "again"), ("b/3", "later")] {
        node.put(&key(rest), value).await.expect_status(201);
    }
    let once = Request::delete(&key("once"));
    node.send(&once).await.expect_status(200);
    sent
}

/// Repeats every request at `node`: each gets its first outcome, its look-up agrees, another
/// request under its id is refused, and the node's state is what it was.
///
/// # Panics
///
/// One of that is not so, or the node had not applied everything before.
pub async fn assert_repeated(node: &Node, sent: &[Sent]) {
    // A node is ready before it has applied all that it finds in its log; such a read waits for that.
    node.get("/api/keys/none?level=consistent").await;
    let before = node.status().await["state_hash"].clone();
    assert!(before["hash"].is_string(), "{before}");
    for one in sent {
        let again = node.send(&one.request).await;
        assert_same_outcome(one, &again);
        let found = node.get(&format!("/api/requests/{}", one.id)).await;
        assert_looked_up(one, &found.expect_status(200).json());
        let other = under(&one.id, Request::put("/api/keys/other", &*one.id));
        assert_problem(&node.send(&other).await, 422, "idempotency_key_reused");
    }
    let after = node.status().await["state_hash"].clone();
    assert_eq!(after, before, "repetitions changed the state");
}

/// Checks one repetition against the first answer.
///
/// # Panics
///
/// It is another outcome, or does not say that it is a repetition.
pub fn assert_same_outcome(one: &Sent, again: &Response) {
    let Sent { id, first, .. } = one;
    assert_eq!(again.status, first.status, "{first:?}\n{again:?}");
    assert_eq!(again.expect_header("conclave-replayed"), "true");
    assert_eq!(again.expect_header("conclave-request-id"), id);
    if again.status >= 400 {
        // A refusal changed nothing: it has no revision of its own.
        assert_eq!(again.header("etag"), None, "no record: {again:?}");
    } else {
        for name in SAME_HEADERS {
            let (was, is) = (first.header(name), again.header(name));
            assert_eq!(was, is, "{name}\n{first:?}\n{again:?}");
        }
    }
    assert_eq!(outcome(again), outcome(first), "{first:?}\n{again:?}");
    let body = parsed(again);
    assert!(body["previous"].is_null(), "no record: {again:?}");
    assert!(body["current"].is_null(), "no record: {again:?}");
}

/// Returns what of a body must be the same: all but records, and in an error what describes the
/// present state.
fn outcome(response: &Response) -> Value {
    let mut body = parsed(response);
    if let Some(members) = body.as_object_mut() {
        members.remove("previous");
        if response.status >= 400 {
            for name in ["current", "detail", "leader", "revision"] {
                members.remove(name);
            }
        }
    }
    body
}

fn parsed(response: &Response) -> Value {
    let text = || Value::String(response.text());
    serde_json::from_slice(&response.body).unwrap_or_else(|_| text())
}

fn assert_looked_up(one: &Sent, found: &Value) {
    let applied = one.first.status < 400;
    let status = if applied { "applied" } else { "not_applied" };
    assert_eq!(found["request_id"], *one.id, "{found}");
    assert_eq!(found["status"], status, "{found}");
    assert_eq!(found["outcome"]["status"], one.first.status, "{found}");
    let revision = &found["outcome"]["revision"];
    if applied {
        assert_eq!(*revision, one.first.expect_number("conclave-revision"));
    } else {
        assert!(revision.is_null(), "{found}");
    }
}
