//! Change streams without faults: what they bring, from where, and in which form.

use std::time::Duration;

use conclave_tests::sse::{Event, EventStream, Subscription};
use conclave_tests::watch::{Canon, Message};
use conclave_tests::{Cluster, Node, Request, Response};
use serde_json::Value;

pub(crate) const SOON: Duration = Duration::from_secs(5);
/// `progress` comes every five seconds.
pub(crate) const IDLE: Duration = Duration::from_secs(9);

pub(crate) async fn open(node: &Node, request: &Request) -> EventStream {
    EventStream::expect_open(&node.http_address(), request).await
}

/// Writes, and returns the revision.
pub(crate) async fn put(node: &Node, key: &str, value: &str) -> u64 {
    let written = node.put(&format!("/api/keys/{key}"), value).await;
    assert!(matches!(written.status, 200 | 201), "{written:?}");
    revision(&written)
}

fn revision(written: &Response) -> u64 {
    let revision = written.json()["revision"].as_u64();
    revision.unwrap_or_else(|| panic!("no revision in {written:?}"))
}

fn is_change(event: &Event) -> bool {
    matches!(
        event.name.as_str(),
        "put" | "delete" | "expire" | "lock" | "member"
    )
}

/// Reads so many changes and returns them as name, revision and whether there was an id.
async fn changes(stream: &mut EventStream, wanted: usize) -> Vec<(String, String, u64, bool)> {
    let mut seen = 0;
    let events = stream
        .expect_until("changes", SOON, |event| {
            seen += usize::from(is_change(event));
            seen == wanted
        })
        .await;
    let changes = events.iter().filter(|event| is_change(event));
    let told = changes.map(|event| {
        let body = event.json();
        let revision = body["revision"].as_u64().unwrap_or(0);
        if let Some(id) = &event.id {
            assert_eq!(*id, revision.to_string(), "{event:?}");
        }
        let name = body["key"].as_str().or(body["lock"].as_str());
        let name = name.unwrap_or_default().to_owned();
        (event.name.clone(), name, revision, event.id.is_some())
    });
    told.collect()
}

#[tokio::test]
async fn a_put_a_delete_and_an_expiry_show_the_records_before_and_after() {
    let cluster = Cluster::single().await;
    let node = &cluster[0];
    let mut stream = open(node, &Subscription::all().prefix("a/").request()).await;
    let labelled = Request::put("/api/keys/a/1", "one")
        .header("Content-Type", "text/x-one")
        .header("Conclave-Client", "job-7");
    let first = revision(&node.send(&labelled).await.expect_status(201));
    let put = stream.expect("put", SOON).await;
    let body = put.json();
    assert_eq!(put.id, Some(first.to_string()));
    assert_eq!(
        (&body["key"], &body["revision"]),
        (&"a/1".into(), &first.into())
    );
    assert_eq!(
        (&body["origin"], &body["client"]),
        (&node.name().into(), &"job-7".into())
    );
    assert!(
        body["wall_time_ms"].as_u64() > Some(1_600_000_000_000),
        "{body}"
    );
    assert!(body["previous"].is_null(), "{body}");
    let record = &body["record"];
    let envelope = [
        ("key", "a/1".into()),
        ("value", "one".into()),
        ("content_type", "text/x-one".into()),
        ("create_revision", first.into()),
        ("mod_revision", first.into()),
        ("version", Value::from(1)),
        ("origin", node.name().into()),
    ];
    for (field, value) in envelope {
        assert_eq!(record[field], value, "{field} in {body}");
    }

    let second = Request::put("/api/keys/a/1?ttl=1s", vec![0xff, 0x00]);
    let second = revision(&node.send(&second).await.expect_status(200));
    let body = stream.expect("put", SOON).await.json();
    assert_eq!(body["previous"]["value"], "one", "{body}");
    assert_eq!(body["record"]["value_base64"], "/wA=", "{body}");
    assert_eq!(body["record"]["version"], 2, "{body}");
    assert!(body.get("client").is_none_or(Value::is_null), "{body}");

    let expire = stream.expect("expire", SOON).await;
    let body = expire.json();
    assert!(body["revision"].as_u64() > Some(second), "{body}");
    assert_eq!(
        expire.id.as_deref(),
        Some(body["revision"].to_string().as_str())
    );
    assert!(body["record"].is_null(), "{body}");
    assert_eq!(body["previous"]["mod_revision"], second, "{body}");

    self::put(node, "a/1", "again").await;
    let gone = revision(&node.delete("/api/keys/a/1").await.expect_status(200));
    let body = stream.expect("delete", SOON).await.json();
    assert_eq!(
        (&body["revision"], &body["record"]),
        (&gone.into(), &Value::Null),
        "{body}"
    );
    assert_eq!(body["previous"]["value"], "again", "{body}");
    assert_eq!(body["previous"]["version"], 1, "{body}");
}

#[tokio::test]
async fn changes_of_one_revision_come_together_with_the_id_on_the_last_that_matches() {
    let cluster = Cluster::single().await;
    let node = &cluster[0];
    let mut all = open(node, &Subscription::all().request()).await;
    let mut some = open(
        node,
        &Subscription::all().prefix("a/").prefix("c/").request(),
    )
    .await;
    let body = r#"{"a/1":"1","a/2":"2","b/1":"3","c/1":"4","d/1":"5"}"#;
    let one = revision(&node.post("/key", body).await.expect_status(200));
    let ids = |seen: &[(String, String, u64, bool)]| {
        assert!(seen.iter().all(|change| change.2 == one), "{seen:?}");
        seen.iter().map(|change| change.3).collect::<Vec<_>>()
    };
    let seen = changes(&mut all, 5).await;
    assert_eq!(ids(&seen), [false, false, false, false, true], "{seen:?}");
    let seen = changes(&mut some, 3).await;
    assert_eq!(ids(&seen), [false, false, true], "{seen:?}");

    let gone = node.delete("/api/keys/a/?recursive=true").await;
    let gone = revision(&gone.expect_status(200));
    let seen = changes(&mut some, 2).await;
    let deletes =
        ["a/1", "a/2"].map(|key| ("delete".to_owned(), key.to_owned(), gone, key == "a/2"));
    assert_eq!(seen, deletes);
}

#[tokio::test]
async fn every_node_tells_the_changes_of_one_revision_in_the_same_order() {
    const KEYS: usize = 20;
    let cluster = Cluster::start().await;
    let mut body = serde_json::Map::new();
    for number in 0..KEYS {
        body.insert(format!("o/{number}"), "x".into());
    }
    let body = Value::Object(body).to_string();
    cluster[0].post("/key", &body).await.expect_status(200);
    let gone = cluster[1].delete("/api/keys/o/?recursive=true").await;
    let gone = revision(&gone.expect_status(200));
    let first = Canon::read(&cluster[0].http_address(), gone).await;
    assert!(first.changes() >= 2 * KEYS, "{first:?}");
    for node in &cluster.nodes()[1..] {
        let other = Canon::read(&node.http_address(), gone).await;
        assert!(
            first == other,
            "another order at {}:\n{other:?}\nthan\n{first:?}",
            node.name()
        );
    }
    cluster.assert_converged().await;
}

#[tokio::test]
async fn only_the_kinds_and_prefixes_that_are_asked_for_come() {
    let cluster = Cluster::single().await;
    let node = &cluster[0];
    let start = put(node, "z", "x").await;
    for key in ["a/1", "ab", "b/1", "c"] {
        put(node, key, "x").await;
        node.delete(&format!("/api/keys/{key}"))
            .await
            .expect_status(200);
    }
    let lock = r#"{"owner":"o","ttl_ms":60000,"wait_ms":0}"#;
    node.post("/api/locks/a%2Flock", lock)
        .await
        .expect_status(200);
    put(node, "a/last", "x").await;
    let cases: [(Subscription, &[&str]); 7] = [
        (
            Subscription::all().prefix("a/"),
            &["put a/1", "delete a/1", "lock a/lock", "put a/last"],
        ),
        (
            Subscription::all().prefix("a").types(&["put"]),
            &["put a/1", "put ab", "put a/last"],
        ),
        (
            Subscription::all()
                .prefix("b/")
                .prefix("c")
                .types(&["delete"]),
            &["delete b/1", "delete c"],
        ),
        (Subscription::all().types(&["lock"]), &["lock a/lock"]),
        (
            Subscription::all().prefix("a/1").prefix("a/"),
            &["put a/1", "delete a/1", "lock a/lock"],
        ),
        (
            Subscription::all().prefix("a/").types(&["put", "lock"]),
            &["put a/1", "lock a/lock", "put a/last"],
        ),
        (
            Subscription::all().types(&["expire", "lock", "member"]),
            &["lock a/lock"],
        ),
    ];
    for (asked, wanted) in cases {
        let mut stream = open(node, &asked.since(start)).await;
        let seen = changes(&mut stream, wanted.len()).await;
        let seen: Vec<_> = seen.iter().map(|c| format!("{} {}", c.0, c.1)).collect();
        assert_eq!(seen, wanted, "{asked:?}");
    }
}

/// With so many, changes gather in slots and are chosen and shown for all of them together.
#[tokio::test]
async fn many_watchers_are_told_everything_in_order_whatever_they_ask_for() {
    const WATCHERS: usize = 120;
    const WRITES: usize = 150;
    let cluster = Cluster::single().await;
    let node = &cluster[0];
    let start = put(node, "z", "x").await;
    let asked = [
        Subscription::all().prefix("m/"),
        Subscription::all().prefix("m/1/"),
        Subscription::all().prefix("m/").types(&["delete"]),
    ];
    let is_asked = |number: usize, name: &str, key: &str| match number % 3 {
        0 => true,
        1 => key.starts_with("m/1/"),
        _ => name == "delete",
    };
    let mut streams = Vec::new();
    for number in 0..WATCHERS {
        let asked = asked[number % asked.len()].clone();
        streams.push(open(node, &asked.since(start)).await);
    }
    let mut all = Vec::new();
    for number in 0..WRITES {
        let key = format!("m/{}/{number}", number % 2);
        let written = put(node, &key, "x").await;
        all.push(("put".to_owned(), key.clone(), written, true));
        if number % 3 == 0 {
            let gone = node.delete(&format!("/api/keys/{key}")).await;
            let gone = revision(&gone.expect_status(200));
            all.push(("delete".to_owned(), key, gone, true));
        }
    }
    for (number, stream) in streams.iter_mut().enumerate() {
        let wanted: Vec<_> = all
            .iter()
            .filter(|(name, key, ..)| is_asked(number, name, key))
            .cloned()
            .collect();
        assert_eq!(changes(stream, wanted.len()).await, wanted, "{number}");
    }
}

#[tokio::test]
async fn records_are_left_out_when_they_are_not_wanted() {
    let cluster = Cluster::single().await;
    let node = &cluster[0];
    let start = put(node, "a", "1").await;
    put(node, "a", "2").await;
    node.delete("/api/keys/a").await.expect_status(200);
    let mut stream = open(node, &Subscription::all().names_only().since(start)).await;
    for name in ["put", "delete"] {
        let body = stream.expect(name, SOON).await.json();
        assert_eq!(body["key"], "a", "{body}");
        assert!(
            body.get("record").is_none() && body.get("previous").is_none(),
            "{body}"
        );
    }
}

#[tokio::test]
async fn a_listing_and_the_changes_after_its_revision_are_the_whole_state() {
    let cluster = Cluster::start().await;
    for number in 0..20 {
        put(&cluster[number % 3], &format!("s/{number}"), "old").await;
    }
    let listed = cluster[1]
        .get("/api/keys?prefix=s/&keys=true&level=consistent")
        .await;
    let from = listed.expect_number("conclave-revision");
    for number in 10..30 {
        put(&cluster[number % 3], &format!("s/{number}"), "new").await;
    }
    let mut stream = open(&cluster[2], &Subscription::all().prefix("s/").since(from)).await;
    let seen = changes(&mut stream, 20).await;
    let names: Vec<_> = seen.iter().map(|change| change.1.clone()).collect();
    let wanted: Vec<_> = (10..30).map(|number| format!("s/{number}")).collect();
    assert_eq!(names, wanted);
    // And it goes on.
    put(&cluster[0], "s/next", "x").await;
    assert_eq!(changes(&mut stream, 1).await[0].1, "s/next");
}

#[tokio::test]
async fn a_last_event_id_wins_over_since_and_counts_on_every_node() {
    let cluster = Cluster::start().await;
    let mut revisions = Vec::new();
    for number in 0..6 {
        revisions.push(put(&cluster[0], "k", &number.to_string()).await);
    }
    for node in cluster.nodes() {
        let request = Subscription::all().since(revisions[0]);
        let request = request.header("Last-Event-ID", &revisions[3].to_string());
        let mut stream = open(node, &request).await;
        let seen = changes(&mut stream, 2).await;
        let seen: Vec<_> = seen.iter().map(|change| change.2).collect();
        assert_eq!(seen, revisions[4..], "{}", node.name());
    }
}

#[tokio::test]
async fn a_stream_from_a_revision_that_is_still_to_come_waits_for_it() {
    let cluster = Cluster::single().await;
    let node = &cluster[0];
    let ahead = put(node, "k", "0").await + 5;
    let mut stream = open(node, &Subscription::all().since(ahead)).await;
    let mut first = 0;
    while first <= ahead {
        first = put(node, "k", "x").await;
    }
    let seen = stream.expect("put", SOON).await.json();
    assert_eq!(seen["revision"], first, "{seen}");
}

#[tokio::test]
async fn an_idle_stream_tells_the_revision_that_it_has_reached() {
    let cluster = Cluster::start().await;
    let newest = put(&cluster[0], "other", "x").await;
    let mut streams = Vec::new();
    for node in cluster.nodes() {
        streams.push(open(node, &Subscription::all().prefix("mine/").request()).await);
    }
    for (at, stream) in streams.iter_mut().enumerate() {
        let progress = stream.expect("progress", IDLE).await;
        let body = progress.json();
        assert!(body["revision"].as_u64() >= Some(newest), "{progress:?}");
        assert_eq!(
            progress.id.as_deref(),
            Some(body["revision"].to_string().as_str())
        );
        // It is a point to resume at.
        let key = format!("own/{at}");
        let own = put(&cluster[0], &key, "x").await;
        let resumed = Subscription::all().prefix(&key).after(stream.last_id());
        let mut resumed = open(&cluster[1], &resumed).await;
        assert_eq!(changes(&mut resumed, 1).await[0].2, own);
    }
}

#[tokio::test]
async fn a_watcher_that_does_not_read_for_a_while_misses_nothing() {
    // More than every buffer on the way holds.
    const WRITES: usize = 600;
    let cluster = Cluster::single().await;
    let node = &cluster[0];
    let value = "v".repeat(16 << 10);
    let mut stream = open(node, &Subscription::all().request()).await;
    stream.expect("hello", SOON).await;
    let mut client = node.client();
    let mut revisions = Vec::new();
    for _ in 0..WRITES {
        let written = client
            .send(&Request::put("/api/keys/k", value.as_bytes()))
            .await;
        revisions.push(revision(&written.expect("an answer")));
    }
    let mut seen = Vec::new();
    while seen.len() < WRITES {
        let put = stream.expect("put", SOON).await.json();
        seen.push(put["revision"].as_u64().unwrap_or(0));
    }
    assert_eq!(seen, revisions);
}

#[tokio::test]
async fn a_new_leader_is_told_and_leaves_no_gap() {
    let mut cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let follower = cluster.followers().await[0];
    let mut stream = open(&cluster[follower], &Subscription::all().request()).await;
    let before = put(&cluster[follower], "k", "1").await;
    assert_eq!(changes(&mut stream, 1).await[0].2, before);
    cluster[leader].kill();
    let told = stream.expect("leader", Duration::from_secs(20)).await;
    assert_eq!(told.id, None, "{told:?}");
    let new = cluster.leader().await;
    let after = put(&cluster[new], "k", "2").await;
    let seen = stream.expect("put", SOON).await.json();
    assert_eq!(seen["revision"], after, "{seen}");
    assert_eq!(seen["previous"]["mod_revision"], before, "{seen}");
}

#[tokio::test]
async fn a_new_member_is_told() {
    let mut cluster = Cluster::single().await;
    let mut stream = open(
        &cluster[0],
        &Subscription::all().types(&["member"]).request(),
    )
    .await;
    let index = cluster.add_node();
    let join = cluster[0].http_address();
    cluster[index].add_args(["-join", &join]);
    cluster[index].start().await;
    let is_voter = |event: &Event| {
        let body = event.json();
        let members = body["members"].as_array().cloned().unwrap_or_default();
        let voters = members.iter().filter(|member| member["voter"] == true);
        event.name == "member" && voters.count() == 2
    };
    let events = stream
        .expect_until("two voters", Duration::from_secs(20), is_voter)
        .await;
    for event in events.iter().filter(|event| event.name == "member") {
        let parsed = Message::parse(event);
        let with_id = matches!(&parsed, Ok(Message::Change { id: Some(_), .. }));
        assert!(with_id && event.json()["changes"].is_array(), "{event:?}");
    }
}
