//! `/v3/watch`: one JSON object a line, as messages that a watcher of Conclave would get.
//!
//! A created watch is a `hello`; the changes of one response are messages of their own, the last of
//! each revision with the id. Where etcd splits a revision over two responses, both parts have it: the
//! checker then finds the revision incomplete, and twice.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::json::{encode, number, text};
use crate::http::Request;
use crate::http::body::{Piece, Streamed, StreamedBody};
use crate::sse::Subscription;
use crate::watch::{Canon, Change, Heard, Message};

/// Longest wait for a message of a history that is there.
const MESSAGE_WITHIN: Duration = Duration::from_secs(15);
/// All keys, as begin and end of a range.
const EVERYTHING: &[u8] = &[0];

/// Returns the request of a watch that begins with the first change after a revision.
///
/// # Panics
///
/// etcd has nothing of the kind: more than one prefix or kind, names only, or the state.
pub(crate) fn watch_request(asked: &Subscription, after: u64) -> Request {
    assert!(!asked.names_only && !asked.snapshot, "{asked:?} of etcd");
    let (key, end) = match asked.prefixes.as_slice() {
        [] => (EVERYTHING.to_vec(), EVERYTHING.to_vec()),
        [prefix] => (prefix.as_bytes().to_vec(), behind(prefix)),
        _ => panic!("{asked:?} of etcd"),
    };
    let kinds: Vec<_> = asked.types.iter().map(String::as_str).collect();
    let filters = match kinds.as_slice() {
        [] => json!([]),
        ["put"] => json!(["NODELETE"]),
        ["delete"] => json!(["NOPUT"]),
        _ => panic!("{asked:?} of etcd"),
    };
    let create = json!({
        "key": encode(&key),
        "range_end": encode(&end),
        "start_revision": (after + 1).to_string(),
        "filters": filters,
        "prev_kv": true,
    });
    Request::post("/v3/watch", json!({"create_request": create}).to_string())
}

/// Returns the first key behind all that begin with a prefix, which is not empty and of ASCII.
fn behind(prefix: &str) -> Vec<u8> {
    let mut bytes = prefix.as_bytes().to_vec();
    if let Some(last) = bytes.last_mut() {
        *last += 1;
    }
    bytes
}

/// One open watch.
#[derive(Debug)]
pub(crate) struct WatchStream {
    body: StreamedBody,
    /// The beginning of a line.
    unread: Vec<u8>,
    /// Read and not yet given.
    heard: VecDeque<Heard>,
}

impl WatchStream {
    pub(crate) const fn new(body: StreamedBody) -> Self {
        Self {
            body,
            unread: Vec::new(),
            heard: VecDeque::new(),
        }
    }

    /// Breaks off after so many further bytes, wherever that is.
    pub(crate) const fn cut_after(&mut self, bytes: usize) {
        self.body.cut_after(bytes);
    }

    /// Waits for the next message. May be dropped at any time, nothing is lost by that.
    pub(crate) async fn next(&mut self, bound: Duration) -> Heard {
        let deadline = Instant::now() + bound;
        loop {
            if let Some(heard) = self.heard.pop_front() {
                return heard;
            }
            match self.body.next(deadline).await {
                Piece::Bytes(bytes) => self.take(&bytes),
                Piece::Silence => return Heard::Silence,
                Piece::End(how) => return Heard::End(how),
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.unread.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.unread);
                self.heard.extend(heard(&line));
            }
        }
    }
}

/// Reads one line.
fn heard(line: &[u8]) -> Vec<Heard> {
    let line = String::from_utf8_lossy(line);
    let body: Value = match serde_json::from_str(&line) {
        Ok(body) => body,
        Err(error) => return vec![Heard::Malformed(format!("{error}: {line}"))],
    };
    // A member that goes down, or that has lost its leader, ends its watches so.
    if let Some(error) = body["error"]["message"].as_str() {
        return vec![Heard::End(error.to_owned())];
    }
    match messages(&body["result"]) {
        Ok(messages) => messages.into_iter().map(Heard::Message).collect(),
        Err(what) => vec![Heard::Malformed(format!("{what}: {line}"))],
    }
}

/// Returns the messages of one response.
///
/// # Errors
///
/// It is none of a watch that goes on.
pub(super) fn messages(response: &Value) -> Result<Vec<Message>, String> {
    let revision = number(&response["header"]["revision"]).ok_or("no revision")?;
    if response["canceled"] == true {
        return Err("the watch is cancelled".to_owned());
    }
    if response["created"] == true {
        return Ok(vec![Message::Hello {
            revision,
            oldest: 1,
        }]);
    }
    let events = response["events"].as_array();
    let events = events.map_or(&[][..], Vec::as_slice);
    if events.is_empty() {
        return Ok(vec![Message::Progress { revision }]);
    }
    let changes: Vec<_> = events.iter().map(change).collect::<Result<_, _>>()?;
    let next = changes.iter().skip(1).map(|change| Some(change.revision));
    let next: Vec<_> = next.chain([None]).collect();
    let message = |(change, next): (Change, Option<u64>)| Message::Change {
        id: (next != Some(change.revision)).then_some(change.revision),
        change,
        snapshot: false,
    };
    Ok(changes.into_iter().zip(next).map(message).collect())
}

fn change(event: &Value) -> Result<Change, String> {
    let kind = match event["type"].as_str() {
        None | Some("PUT") => "put",
        Some("DELETE") => "delete",
        Some(other) => return Err(format!("an event of type {other}")),
    };
    let pair = &event["kv"];
    let name = text(&pair["key"])?;
    let revision = number(&pair["mod_revision"]).ok_or("an event without a revision")?;
    let now = if kind == "put" {
        record(pair)?
    } else {
        Value::Null
    };
    let before = match &event["prev_kv"] {
        Value::Null => Value::Null,
        pair => record(pair)?,
    };
    let body = json!({"key": name, "revision": revision, "record": now, "previous": before});
    Ok(Change {
        kind: kind.to_owned(),
        revision,
        name,
        body,
    })
}

fn record(pair: &Value) -> Result<Value, String> {
    Ok(json!({
        "key": text(&pair["key"])?,
        "value": text(&pair["value"])?,
        "create_revision": number(&pair["create_revision"]),
        "mod_revision": number(&pair["mod_revision"]),
        "version": number(&pair["version"]),
    }))
}

/// Reads all changes of a member up to and with a revision that changed something.
///
/// # Panics
///
/// The watch ends or stops before, or its revisions fall.
pub async fn canon(address: &str, until: u64) -> Canon {
    let request = watch_request(&Subscription::all(), 0);
    let opened = StreamedBody::open(address, &request, "application/json").await;
    let mut stream = match opened {
        Ok(Streamed::Body(body)) => WatchStream::new(*body),
        other => panic!("{request} at {address}: {other:?}"),
    };
    let mut changes: Vec<Change> = Vec::new();
    loop {
        match stream.next(MESSAGE_WITHIN).await {
            Heard::Message(Message::Change { change, .. }) if change.revision > until => break,
            Heard::Message(Message::Change { change, id, .. }) => {
                let newest = changes.last().map_or(0, |last| last.revision);
                assert!(newest <= change.revision, "{change:?} after {newest}");
                changes.push(change);
                if id == Some(until) {
                    break;
                }
            }
            Heard::Message(_) => {}
            other => panic!("{address} up to {until}: {other:?}"),
        }
    }
    Canon::of(changes)
}
