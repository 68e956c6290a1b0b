//! `GET /api/events`: the change stream.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use bytes::BytesMut;
use conclave_shared::{ClusterStatus, MemberAddress, NodeStatus, limits};
use serde::Serialize;

use crate::events::{Filter, Kind};
use crate::http::error::Failure;
use crate::http::extract;
use crate::http::params::Params;
use crate::http::sse;
use crate::http::state::Edge;
use crate::http::wire::{EnvelopeRef, Show};
use crate::node::watch::{HEARTBEAT, Hello, StatePart, WatchEvent, WatchRequest};
use crate::state::{Change, ChangeSet, Lock, LockChange, LockChangeKind, LockName, Record};

/// Prefixes of one stream.
const PREFIXES: usize = 32;
/// Intervals of heartbeats that a stream may ask for.
const HEARTBEATS: RangeInclusive<Duration> = Duration::from_millis(500)..=Duration::from_secs(60);
/// The forms of an entry that its readers share; Tansu's streams have another one.
const WITH_VALUES: usize = 0;
const WITHOUT_VALUES: usize = 1;

/// `GET /api/events?prefix=&types=&since=&values=&heartbeat=&on_compacted=snapshot`.
pub(crate) async fn events(
    State(edge): State<Edge>,
    request: Request,
) -> Result<Response, Failure> {
    let uri = request.uri();
    let mut params = Params::parse(uri.query())?;
    let (kinds, leader) = types(params.take("types")?.as_deref())?;
    let prefixes = prefixes(&mut params)?;
    let since = params.take_number("since")?;
    let with_values = params.take_switch("values")?.unwrap_or(true);
    let heartbeat = heartbeat(
        params
            .take_bare("heartbeat")?
            .as_ref()
            .map(Option::as_deref),
    )?;
    let reset_when_gone = match params.take("on_compacted")?.as_deref() {
        None => false,
        Some("snapshot") => true,
        Some(other) => {
            return Err(Failure::invalid(format!(
                "`on_compacted` is `{other}`, and not snapshot"
            )));
        }
    };
    params.finish()?;
    let watch = edge.node_for_stream().await?.watch(WatchRequest {
        filter: Filter::prefixes(kinds, prefixes),
        since: sse::resume_point(request.headers(), since)?,
        reset_when_gone,
        leader,
        heartbeat,
    })?;
    let form = if with_values {
        WITH_VALUES
    } else {
        WITHOUT_VALUES
    };
    Ok(sse::changes(edge, watch, Native { form }))
}

fn types(text: Option<&str>) -> Result<(Vec<Kind>, bool), Failure> {
    let Some(text) = text else {
        return Ok((Kind::ALL.to_vec(), true));
    };
    let (mut kinds, mut leader) = (Vec::new(), false);
    for word in text.split(',') {
        match Kind::ALL.into_iter().find(|kind| kind.as_str() == word) {
            Some(kind) => kinds.push(kind),
            None if word == "leader" => leader = true,
            None => {
                return Err(Failure::invalid(format!(
                    "`types` names `{word}`, and not put, delete, expire, lock, member or leader"
                )));
            }
        }
    }
    Ok((kinds, leader))
}

/// `heartbeat=true` asks for the usual interval, `heartbeat=1s` for its own.
fn heartbeat(given: Option<Option<&str>>) -> Result<Option<Duration>, Failure> {
    match given {
        None | Some(Some("false")) => Ok(None),
        Some(None | Some("true")) => Ok(Some(HEARTBEAT)),
        Some(Some(text)) => {
            let interval = extract::duration("heartbeat", text)?;
            if !HEARTBEATS.contains(&interval) {
                return Err(Failure::invalid("`heartbeat` is not within 500ms and 60s"));
            }
            Ok(Some(interval))
        }
    }
}

fn prefixes(params: &mut Params<'_>) -> Result<Vec<String>, Failure> {
    let prefixes = params.take_all("prefix")?;
    if prefixes.len() > PREFIXES {
        return Err(Failure::invalid(format!(
            "more than {PREFIXES} prefixes in one stream"
        )));
    }
    if prefixes
        .iter()
        .any(|prefix| prefix.len() > limits::KEY_BYTES)
    {
        let most = limits::KEY_BYTES;
        return Err(Failure::invalid(format!(
            "a `prefix` is above {most} bytes, the longest key"
        )));
    }
    Ok(prefixes.into_iter().map(Into::into).collect())
}

/// How the native API shows changes.
#[derive(Debug, Clone, Copy)]
struct Native {
    form: usize,
}

impl sse::Shape for Native {
    fn form(&self) -> usize {
        self.form
    }

    fn write_change(&self, out: &mut BytesMut, set: &ChangeSet, change: &Change, id: Option<u64>) {
        let name = Kind::of(change).as_str();
        match change {
            Change::Put {
                key,
                record,
                previous,
            } => {
                let shown = KeyChange::new(set, key, Some(record), previous.as_deref(), self.form);
                sse::event(out, name, id, &shown);
            }
            Change::Delete { key, previous } | Change::Expire { key, previous } => {
                let shown = KeyChange::new(set, key, None, Some(previous), self.form);
                sse::event(out, name, id, &shown);
            }
            Change::Lock(change) => {
                let shown = LockEvent::new(change, set.revision, Some(set.wall_time_ms));
                sse::event(out, name, id, &shown);
            }
            Change::Members { before, after } => {
                let shown = MemberEvent {
                    revision: set.revision,
                    wall_time_ms: set.wall_time_ms,
                    members: after,
                    changes: member_changes(before, after),
                };
                sse::event(out, name, id, &shown);
            }
        }
    }

    fn write_event(&self, out: &mut BytesMut, event: &WatchEvent) {
        match event {
            WatchEvent::Changes(_) => {}
            WatchEvent::Hello(hello) => sse::event(out, "hello", None, &HelloEvent::new(hello)),
            WatchEvent::Progress(revision) => {
                let data = Revision {
                    revision: *revision,
                    oldest: None,
                };
                sse::event(out, "progress", Some(*revision), &data);
            }
            WatchEvent::Reset { revision, oldest } => {
                let data = Revision {
                    revision: *revision,
                    oldest: Some(*oldest),
                };
                sse::event(out, "reset", None, &data);
            }
            WatchEvent::State(part) => write_state(out, part, self.form),
            WatchEvent::Synced(revision) => {
                let data = Revision {
                    revision: *revision,
                    oldest: None,
                };
                sse::event(out, "synced", Some(*revision), &data);
            }
            WatchEvent::Leader { leader, term } => {
                let data = LeaderEvent {
                    leader: leader.as_deref(),
                    term: *term,
                };
                sse::event(out, "leader", None, &data);
            }
            WatchEvent::Heartbeat(status, heartbeat) => {
                let data = HeartbeatEvent {
                    status,
                    cluster: &heartbeat.cluster,
                };
                sse::event(out, "hb", None, &data);
            }
            WatchEvent::Lagged { resume, oldest } => {
                sse::lagged(out, *resume, *oldest);
            }
        }
    }
}

fn write_state(out: &mut BytesMut, part: &StatePart, form: usize) {
    for (key, record) in &part.keys {
        let show = if form == WITH_VALUES {
            Show::Values
        } else {
            Show::KeysOnly
        };
        let data = KeyState {
            key,
            revision: record.mod_revision,
            origin: &record.origin,
            snapshot: true,
            record: EnvelopeRef::new(key, record, show, part.log_time_ms),
        };
        sse::event(out, Kind::Put.as_str(), None, &data);
    }
    for (name, lock) in &part.locks {
        let data = LockState {
            event: LockEvent::held(name, lock),
            snapshot: true,
        };
        sse::event(out, Kind::Lock.as_str(), None, &data);
    }
}

#[derive(Debug, Serialize)]
struct HelloEvent<'a> {
    node: &'a str,
    leader: Option<&'a str>,
    term: u64,
    revision: u64,
    oldest: u64,
}

impl<'a> HelloEvent<'a> {
    fn new(hello: &'a Hello) -> Self {
        Self {
            node: &hello.node,
            leader: hello.leader.as_deref(),
            term: hello.term,
            revision: hello.revision,
            oldest: hello.oldest,
        }
    }
}

#[derive(Debug, Serialize)]
struct Revision {
    revision: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest: Option<u64>,
}

#[derive(Debug, Serialize)]
struct LeaderEvent<'a> {
    leader: Option<&'a str>,
    term: u64,
}

#[derive(Debug, Serialize)]
struct HeartbeatEvent<'a> {
    status: &'a NodeStatus,
    cluster: &'a ClusterStatus,
}

#[derive(Debug, Serialize)]
struct KeyChange<'a> {
    key: &'a str,
    revision: u64,
    origin: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<&'a str>,
    wall_time_ms: u64,
    /// Size of the value; null after a delete.
    bytes: Option<usize>,
    /// Size of the value before; null where there was none.
    previous_bytes: Option<usize>,
    /// Revision of the write before; null where there was none.
    previous_revision: Option<u64>,
    /// Absent without values; null after a delete.
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<Option<EnvelopeRef<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<Option<EnvelopeRef<'a>>>,
}

impl<'a> KeyChange<'a> {
    fn new(
        set: &'a ChangeSet,
        key: &'a str,
        record: Option<&'a Arc<Record>>,
        previous: Option<&'a Record>,
        form: usize,
    ) -> Self {
        let shown = |record: Option<&'a Record>| {
            let envelope = record.map(|r| EnvelopeRef::new(key, r, Show::Values, set.log_time_ms));
            (form == WITH_VALUES).then_some(envelope)
        };
        Self {
            key,
            revision: set.revision,
            origin: &set.origin,
            client: set.client.as_deref(),
            wall_time_ms: set.wall_time_ms,
            bytes: record.map(|record| record.value.len()),
            previous_bytes: previous.map(|record| record.value.len()),
            previous_revision: previous.map(|record| record.mod_revision),
            record: shown(record.map(AsRef::as_ref)),
            previous: shown(previous),
        }
    }
}

/// A key of the state that follows a `reset`.
#[derive(Debug, Serialize)]
struct KeyState<'a> {
    key: &'a str,
    revision: u64,
    origin: &'a str,
    snapshot: bool,
    record: EnvelopeRef<'a>,
}

#[derive(Debug, Serialize)]
struct LockEvent<'a> {
    lock: &'a str,
    change: &'static str,
    session: String,
    owner: &'a str,
    node: &'a str,
    token: Option<u64>,
    waiters: u64,
    revision: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    wall_time_ms: Option<u64>,
}

impl<'a> LockEvent<'a> {
    fn new(change: &'a LockChange, revision: u64, wall_time_ms: Option<u64>) -> Self {
        Self {
            lock: &change.lock,
            change: match change.kind {
                LockChangeKind::Granted => "granted",
                LockChangeKind::Queued => "queued",
                LockChangeKind::Released => "released",
                LockChangeKind::Expired => "expired",
                LockChangeKind::Broken => "broken",
                LockChangeKind::Left => "left",
            },
            session: change.session.to_string(),
            owner: &change.owner,
            node: &change.node,
            token: change.token,
            waiters: change.waiters,
            revision,
            wall_time_ms,
        }
    }

    fn held(name: &'a LockName, lock: &'a Lock) -> Self {
        Self {
            lock: name,
            change: "granted",
            session: lock.holder.session.to_string(),
            owner: &lock.holder.owner,
            node: &lock.holder.node,
            token: Some(lock.token),
            waiters: lock.waiters.len() as u64,
            revision: lock.token,
            wall_time_ms: None,
        }
    }
}

#[derive(Debug, Serialize)]
struct LockState<'a> {
    #[serde(flatten)]
    event: LockEvent<'a>,
    snapshot: bool,
}

#[derive(Debug, Serialize)]
struct MemberEvent<'a> {
    revision: u64,
    wall_time_ms: u64,
    /// All members after the change.
    members: &'a [MemberAddress],
    changes: Vec<MemberChange<'a>>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct MemberChange<'a> {
    node: &'a str,
    id: u64,
    change: &'static str,
}

fn member_changes<'a>(
    before: &'a [MemberAddress],
    after: &'a [MemberAddress],
) -> Vec<MemberChange<'a>> {
    let find = |all: &'a [MemberAddress], id| all.iter().find(|member| member.id == id);
    let change = |member: &'a MemberAddress, change| MemberChange {
        node: &member.node,
        id: member.id,
        change,
    };
    let mut changes = Vec::new();
    for now in after {
        match find(before, now.id) {
            None => changes.push(change(now, "added")),
            Some(old) => {
                if now.voter != old.voter {
                    changes.push(change(now, if now.voter { "promoted" } else { "demoted" }));
                }
                let address = |m: &MemberAddress| (m.node.clone(), m.http.clone(), m.raft.clone());
                if address(now) != address(old) {
                    changes.push(change(now, "updated"));
                }
            }
        }
    }
    let gone = before.iter().filter(|old| find(after, old.id).is_none());
    changes.extend(gone.map(|old| change(old, "removed")));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_words_and_all_without_any() {
        assert_eq!(types(None).unwrap(), (Kind::ALL.to_vec(), true));
        let some = types(Some("put,leader")).unwrap();
        assert_eq!(some, (vec![Kind::Put], true));
        for wrong in ["", "set", "put,,delete", "PUT"] {
            assert!(types(Some(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_the_dashboard_reads_is_what_is_written() {
        let set = ChangeSet {
            revision: 9,
            log_time_ms: 0,
            wall_time_ms: 1_700_000_000_000,
            origin: "node0".into(),
            client: None,
            changes: Vec::new(),
        };
        let shown = KeyChange::new(&set, "a/b", None, None, WITHOUT_VALUES);
        let json = serde_json::to_string(&shown).unwrap();
        let read: conclave_shared::stream::KeyChange = serde_json::from_str(&json).unwrap();
        assert_eq!(
            (read.key.as_str(), read.revision, read.bytes),
            ("a/b", 9, None)
        );
    }

    #[test]
    fn changes_of_the_membership_are_named() {
        let member = |id, voter, http: &str| MemberAddress {
            node: format!("n{id}"),
            id,
            http: http.to_owned(),
            raft: String::new(),
            voter,
        };
        let before = [
            member(1, true, "a"),
            member(2, false, "b"),
            member(3, true, "c"),
        ];
        let after = [
            member(1, true, "x"),
            member(2, true, "b"),
            member(4, false, "d"),
        ];
        let changes = member_changes(&before, &after);
        let found: Vec<_> = changes.iter().map(|c| (c.node, c.change)).collect();
        let wanted = [
            ("n1", "updated"),
            ("n2", "promoted"),
            ("n4", "added"),
            ("n3", "removed"),
        ];
        assert_eq!(found, wanted);
    }
}
