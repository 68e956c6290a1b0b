//! The `Conclave-*` headers of an answer.
//!
//! On the path of every read, so all values of one answer are written into one buffer and the
//! headers share it.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use conclave_shared::ReadLevel;
use http::header::{CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue};

use crate::node::{AnswerMeta, Timing};
use crate::state::{RequestId, Stamps};

pub(crate) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
pub(crate) const LEADER: HeaderName = HeaderName::from_static("conclave-leader");
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
pub(crate) const CLIENT: HeaderName = HeaderName::from_static("conclave-client");
pub(crate) const LOCK: HeaderName = HeaderName::from_static("conclave-lock");
pub(crate) const TTL: HeaderName = HeaderName::from_static("ttl");
pub(crate) const TTL_MS: HeaderName = HeaderName::from_static("conclave-ttl-ms");
const REVISION: HeaderName = HeaderName::from_static("conclave-revision");
const CONSISTENCY: HeaderName = HeaderName::from_static("conclave-consistency");
const TERM: HeaderName = HeaderName::from_static("conclave-term");
const APPLIED_INDEX: HeaderName = HeaderName::from_static("conclave-applied-index");
const SERVED_BY: HeaderName = HeaderName::from_static("conclave-served-by");
const KNOWN_LEADER: HeaderName = HeaderName::from_static("conclave-known-leader");
const LAST_CONTACT: HeaderName = HeaderName::from_static("conclave-last-contact");
const FORWARDED: HeaderName = HeaderName::from_static("conclave-forwarded");
/// The write was a repetition: this is the first one's outcome.
const REPLAYED: HeaderName = HeaderName::from_static("conclave-replayed");
const REQUEST_ID: HeaderName = HeaderName::from_static("conclave-request-id");
const CREATE_REVISION: HeaderName = HeaderName::from_static("conclave-create-revision");
const VERSION: HeaderName = HeaderName::from_static("conclave-version");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
const ETAG: HeaderName = http::header::ETAG;

/// Headers that one answer writes from its numbers and names; a few more than there are.
const SLOTS: usize = 16;

/// Puts the headers that every answer about state carries.
pub(crate) fn put(headers: &mut HeaderMap, meta: &AnswerMeta) {
    let mut pen = Pen::new();
    write_meta(&mut pen, headers, meta);
    pen.finish(headers);
}

/// Puts the headers of an answer that shows or has written one record.
pub(crate) fn put_with_stamps(headers: &mut HeaderMap, meta: &AnswerMeta, stamps: Stamps) {
    let mut pen = Pen::new();
    write_meta(&mut pen, headers, meta);
    pen.write(ETAG, |buffer| {
        buffer.extend_from_slice(b"\"");
        push_number(buffer, stamps.mod_revision);
        buffer.extend_from_slice(b"\"");
    });
    pen.number(CREATE_REVISION, stamps.create_revision);
    pen.number(VERSION, stamps.version);
    pen.finish(headers);
}

/// Puts the id of a write that failed before the node could answer with its own headers.
pub(crate) fn put_request_id(headers: &mut HeaderMap, id: &RequestId) {
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        headers.insert(REQUEST_ID, value);
    }
}

/// Returns the read level that an answer says it was given at.
pub(crate) fn level_of(headers: &HeaderMap) -> Option<ReadLevel> {
    let said = headers.get(CONSISTENCY)?.as_bytes();
    ReadLevel::ALL
        .into_iter()
        .find(|level| level.as_str().as_bytes() == said)
}

/// Returns the strong validator of a record.
pub(crate) fn etag(revision: u64) -> HeaderValue {
    let text = format!("\"{revision}\"");
    HeaderValue::from_maybe_shared(Bytes::from(text)).unwrap_or(HeaderValue::from_static("\"0\""))
}

fn write_meta(pen: &mut Pen, headers: &mut HeaderMap, meta: &AnswerMeta) {
    // A map that grows allocates again, and moves all that it has.
    headers.reserve(SLOTS);
    headers.insert(CACHE_CONTROL, NO_STORE);
    headers.insert(CONSISTENCY, level(meta.level));
    headers.insert(KNOWN_LEADER, truth(meta.leader.is_some()));
    if meta.forwarded {
        headers.insert(FORWARDED, truth(true));
    }
    if meta.replayed {
        headers.insert(REPLAYED, truth(true));
    }
    pen.number(REVISION, meta.revision);
    pen.number(TERM, meta.term);
    pen.number(APPLIED_INDEX, meta.applied_index);
    pen.text(SERVED_BY, &meta.served_by);
    if let Some(leader) = &meta.leader {
        pen.text(LEADER, leader);
    }
    if let Some(age) = meta.last_contact {
        // Rounded up: it is an upper bound.
        let ms = age.as_micros().div_ceil(1_000);
        pen.number(LAST_CONTACT, u64::try_from(ms).unwrap_or(u64::MAX));
    }
    if let Some(id) = &meta.request_id {
        pen.text(REQUEST_ID, id.as_str());
    }
    match timing(&meta.timing) {
        None => drop(headers.insert(SERVER_TIMING, HeaderValue::from_static("local"))),
        Some(parts) => pen.write(SERVER_TIMING, |buffer| push_timing(buffer, parts)),
    }
}

type Parts = [(&'static [u8], Option<std::time::Duration>); 3];

fn timing(timing: &Timing) -> Option<Parts> {
    let parts: Parts = [
        (b"read_index;dur=", timing.read_index),
        (b"commit;dur=", timing.commit),
        (b"forward;dur=", timing.forward),
    ];
    parts
        .iter()
        .any(|(_, time)| time.is_some())
        .then_some(parts)
}

fn push_timing(buffer: &mut BytesMut, parts: Parts) {
    let start = buffer.len();
    for (name, time) in parts {
        let Some(time) = time else { continue };
        if buffer.len() > start {
            buffer.extend_from_slice(b", ");
        }
        buffer.extend_from_slice(name);
        push_number(buffer, u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        let micros = time.subsec_micros() % 1_000;
        let digit = |value: u32| b'0' + u8::try_from(value % 10).unwrap_or(0);
        buffer.extend_from_slice(&[b'.', digit(micros / 100), digit(micros / 10), digit(micros)]);
    }
}

fn push_number(buffer: &mut BytesMut, number: u64) {
    buffer.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

const fn level(level: ReadLevel) -> HeaderValue {
    HeaderValue::from_static(level.as_str())
}

const fn truth(is: bool) -> HeaderValue {
    HeaderValue::from_static(if is { "true" } else { "false" })
}

/// Writes values one after the other, and cuts them apart at the end.
struct Pen {
    buffer: BytesMut,
    slots: [Option<(HeaderName, Range<usize>)>; SLOTS],
    used: usize,
}

impl Pen {
    fn new() -> Self {
        Self {
            buffer: BytesMut::with_capacity(256),
            slots: [const { None }; SLOTS],
            used: 0,
        }
    }

    fn number(&mut self, name: HeaderName, number: u64) {
        self.write(name, |buffer| push_number(buffer, number));
    }

    fn text(&mut self, name: HeaderName, text: &str) {
        self.write(name, |buffer| buffer.extend_from_slice(text.as_bytes()));
    }

    fn write(&mut self, name: HeaderName, value: impl FnOnce(&mut BytesMut)) {
        let start = self.buffer.len();
        value(&mut self.buffer);
        if let Some(slot) = self.slots.get_mut(self.used) {
            *slot = Some((name, start..self.buffer.len()));
            self.used += 1;
        }
    }

    fn finish(self, headers: &mut HeaderMap) {
        let buffer = self.buffer.freeze();
        for (name, range) in self.slots.into_iter().flatten() {
            // A name with control characters cannot be a header; it is then left out.
            if let Ok(value) = HeaderValue::from_maybe_shared(buffer.slice(range)) {
                headers.insert(name, value);
            }
        }
    }
}

/// Returns the name of every header that an answer about state can carry.
#[cfg(test)]
pub(crate) fn every_name() -> Vec<HeaderName> {
    let mut headers = HeaderMap::new();
    let stamps = Stamps {
        create_revision: 5,
        mod_revision: 6,
        version: 2,
    };
    put_with_stamps(&mut headers, &tests::meta(), stamps);
    headers.keys().cloned().chain([TTL_MS]).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    pub(super) fn meta() -> AnswerMeta {
        AnswerMeta {
            revision: 7,
            level: ReadLevel::Consistent,
            term: 3,
            applied_index: 9,
            log_time_ms: 0,
            served_by: "node0".into(),
            leader: Some("node1".into()),
            last_contact: Some(Duration::from_micros(11_001)),
            forwarded: true,
            request_id: RequestId::new("r1"),
            replayed: true,
            timing: Timing {
                read_index: None,
                commit: Some(Duration::from_micros(1_042)),
                forward: Some(Duration::from_micros(20_999)),
            },
        }
    }

    #[test]
    fn an_answer_says_all_that_is_known_of_it() {
        let mut headers = HeaderMap::new();
        let stamps = Stamps {
            create_revision: 5,
            mod_revision: 6,
            version: 2,
        };
        put_with_stamps(&mut headers, &meta(), stamps);
        let wanted = [
            ("conclave-revision", "7"),
            ("conclave-consistency", "consistent"),
            ("conclave-term", "3"),
            ("conclave-applied-index", "9"),
            ("conclave-served-by", "node0"),
            ("conclave-leader", "node1"),
            ("conclave-known-leader", "true"),
            ("conclave-last-contact", "12"),
            ("conclave-forwarded", "true"),
            ("conclave-replayed", "true"),
            ("conclave-request-id", "r1"),
            ("server-timing", "commit;dur=1.042, forward;dur=20.999"),
            ("cache-control", "no-store"),
            ("etag", "\"6\""),
            ("conclave-create-revision", "5"),
            ("conclave-version", "2"),
        ];
        for (name, value) in wanted {
            assert_eq!(headers[name], value, "{name}");
        }
        assert_eq!(headers.len(), wanted.len());
    }

    #[test]
    fn what_is_not_known_is_not_said() {
        let mut headers = HeaderMap::new();
        let bare = AnswerMeta {
            leader: None,
            last_contact: None,
            forwarded: false,
            replayed: false,
            request_id: None,
            timing: Timing::default(),
            served_by: "bad\nname".into(),
            ..meta()
        };
        put(&mut headers, &bare);
        assert_eq!(headers["conclave-known-leader"], "false");
        assert_eq!(headers["server-timing"], "local");
        for name in [
            "conclave-leader",
            "conclave-last-contact",
            "conclave-served-by",
            "etag",
        ] {
            assert!(!headers.contains_key(name), "{name}");
        }
    }
}
