//! What etcd 3.4's gateway says, and what is made of it.

use serde_json::{Value, json};

use super::{classify, request, watch, watch_request};
use crate::history::{Answer, Call, End};
use crate::http::{Failure, Response};
use crate::sse::Subscription;
use crate::watch::{Canon, Message};

fn body(call: &Call, level: &str) -> (String, Value) {
    let request = request("a/1", call, level);
    assert_eq!(request.method, "POST");
    let body = serde_json::from_slice(&request.body).unwrap();
    (request.target, body)
}

fn end(call: &Call, status: u16, body: &Value) -> End {
    let response = Response {
        status,
        headers: Vec::new(),
        body: body.to_string().into_bytes(),
    };
    classify(call, &Ok(response), 7)
}

fn answer(call: &Call, body: &Value) -> Answer {
    match end(call, 200, body) {
        End::Answered { at: 7, answer } => answer,
        other => panic!("{other:?}"),
    }
}

fn put() -> Call {
    Call::Put {
        value: "v".to_owned(),
    }
}

fn cas(expected: u64) -> Call {
    Call::Cas {
        expected,
        value: "v".to_owned(),
    }
}

#[test]
fn calls_become_requests_with_base64_and_numbers_in_strings() {
    let range = |serializable: bool| {
        let body = json!({"key": "YS8x", "serializable": serializable});
        ("/v3/kv/range".to_owned(), body)
    };
    assert_eq!(body(&Call::Get, "consistent"), range(false));
    assert_eq!(body(&Call::Get, "stale"), range(true));
    let (target, delete) = body(&Call::Delete, "stale");
    assert_eq!(
        (target.as_str(), delete),
        ("/v3/kv/deleterange", json!({"key": "YS8x"}))
    );
    let (target, transaction) = body(&cas(12), "stale");
    assert_eq!(target, "/v3/kv/txn");
    let condition = &transaction["compare"][0];
    assert_eq!(
        (&condition["mod_revision"], &condition["target"]),
        (&json!("12"), &json!("MOD"))
    );
    let put = json!({"key": "YS8x", "value": "dg=="});
    assert_eq!(transaction["success"][0]["request_put"], put);
}

#[test]
fn answers_are_read_with_their_defaults_left_out() {
    let header = json!({"revision": "9"});
    let there = json!([{"key": "YS8x", "value": "dg==", "mod_revision": "5"}]);
    let found = Answer::Found {
        value: "v".to_owned(),
        revision: 5,
    };
    let range = json!({"header": header, "kvs": there, "count": "1"});
    assert_eq!(answer(&Call::Get, &range), found);
    let empty = json!({"header": header});
    assert_eq!(answer(&Call::Get, &empty), Answer::Absent);
    assert_eq!(answer(&put(), &empty), Answer::Written { revision: 9 });
    assert_eq!(answer(&Call::Delete, &empty), Answer::Absent);
    let deleted = json!({"header": header, "deleted": "1"});
    assert_eq!(
        answer(&Call::Delete, &deleted),
        Answer::Deleted { revision: 9 }
    );
    let written = json!({"header": header, "succeeded": true});
    assert_eq!(answer(&cas(5), &written), Answer::Written { revision: 9 });
    let refused = json!({"header": header, "responses": [{"response_range": {"kvs": there}}]});
    assert_eq!(answer(&cas(4), &refused), Answer::Mismatch { current: 5 });
    let absent = json!({"header": header, "responses": [{"response_range": {}}]});
    assert_eq!(answer(&cas(4), &absent), Answer::Mismatch { current: 0 });
}

#[test]
fn only_what_reached_nobody_has_failed() {
    let error = |text: &str| json!({"error": text, "message": text, "code": 14});
    let timed_out = error("etcdserver: request timed out");
    assert_eq!(end(&put(), 503, &timed_out), End::Open);
    assert_eq!(
        end(&put(), 500, &error("raft proposal dropped")),
        End::Failed
    );
    let lost = Failure::Unknown(anyhow::anyhow!("reset"));
    assert_eq!(classify(&put(), &Err(lost), 7), End::Open);
    let unsent = Failure::NotSent(anyhow::anyhow!("refused"));
    assert_eq!(classify(&put(), &Err(unsent), 7), End::Failed);
}

#[test]
fn a_watch_asks_for_a_range_and_kinds() {
    let create = |asked: &Subscription, after: u64| {
        let body: Value = serde_json::from_slice(&watch_request(asked, after).body).unwrap();
        body["create_request"].clone()
    };
    let all = create(&Subscription::all(), 4);
    assert_eq!(
        all,
        json!({"key": "AA==", "range_end": "AA==", "start_revision": "5", "filters": [],
               "prev_kv": true})
    );
    let puts = create(&Subscription::all().prefix("a/").types(&["put"]), 0);
    // `a/` and `a0`.
    assert_eq!(
        (&puts["key"], &puts["range_end"]),
        (&json!("YS8="), &json!("YTA="))
    );
    assert_eq!(puts["filters"], json!(["NODELETE"]));
}

#[test]
fn a_response_becomes_messages_with_an_id_at_the_end_of_each_revision() {
    let pair = |value: &str, revision: u64, version: u64| {
        json!({"key": "YS8x", "value": value, "create_revision": "2",
               "mod_revision": revision.to_string(), "version": version.to_string()})
    };
    let other = json!({"key": "Yg==", "create_revision": "3", "mod_revision": "3", "version": "1"});
    let response = json!({"header": {"revision": "8"}, "events": [
        {"kv": pair("dg==", 2, 1)},
        {"kv": pair("dw==", 3, 2), "prev_kv": pair("dg==", 2, 1)},
        {"kv": other},
        {"type": "DELETE", "kv": {"key": "YS8x", "mod_revision": "4"}, "prev_kv": pair("dw==", 3, 2)},
    ]});
    let messages = watch::messages(&response).unwrap();
    let marks: Vec<_> = messages.iter().map(Message::mark).collect();
    assert_eq!(marks, [Some(2), None, Some(3), Some(4)]);
    // The changes say the records before, and add up.
    let changes = messages.into_iter().filter_map(|message| match message {
        Message::Change { change, .. } => Some(change),
        _ => None,
    });
    let canon = Canon::of(changes);
    let state = canon.state_at(4);
    assert_eq!(state.keys().collect::<Vec<_>>(), [&"b"]);
    assert_eq!(state["b"]["value"], "");
    // Nobody is known to have written them; nothing else is wrong.
    let wrong = canon.against(&[]);
    let unknown = wrong.iter().all(|one| one.what.starts_with("nobody wrote"));
    assert!(unknown && wrong.len() == 4, "{wrong:#?}");
}

#[test]
fn a_watch_that_is_cancelled_is_no_watch() {
    let created = json!({"header": {"revision": "8"}, "created": true});
    let hello = Message::Hello {
        revision: 8,
        oldest: 1,
    };
    assert_eq!(watch::messages(&created), Ok(vec![hello]));
    let cancelled = json!({"header": {"revision": "8"}, "canceled": true, "compact_revision": "5"});
    assert!(watch::messages(&cancelled).is_err());
}
