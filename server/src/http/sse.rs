//! Server-Sent Events (WHATWG HTML §9.2): frames, and the answer that streams them.
//!
//! Every event has data, because a browser drops one without. An id stands only on the last message
//! of a revision, so a client that resumes from it gets whole revisions.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::{BufMut, Bytes, BytesMut};
use futures::{Stream, stream};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue};
use serde::Serialize;

use super::error::Failure;
use super::extract;
use super::params::number;
use super::state::Edge;
use crate::events::{Entry, Filter, Selection};
use crate::node::watch::{Watch, WatchEvent};
use crate::state::{Change, ChangeSet};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const ACCEL: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Size of what is handed to the connection at a time. It buffers 16 of such pieces for a client that
/// does not read.
const PIECE_BYTES: usize = 4 << 10;

/// Size from which on a revision is told in several pieces, and made for each watcher anew: a deleted
/// prefix may hold any number of bytes.
const LARGE_BYTES: usize = 4 << 20;

/// Tells a client how long to wait before it reconnects, milliseconds.
const RETRY: &[u8] = b"retry: 1000\n\n";

/// Appends one event.
pub(crate) fn event<T: Serialize + ?Sized>(
    out: &mut BytesMut,
    name: &str,
    id: Option<u64>,
    data: &T,
) {
    if let Some(id) = id {
        out.extend_from_slice(b"id: ");
        out.extend_from_slice(itoa::Buffer::new().format(id).as_bytes());
        out.extend_from_slice(b"\n");
    }
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\ndata: ");
    // JSON has no line ends of its own, so it is one line of data.
    let written = serde_json::to_writer(out.writer(), data);
    debug_assert!(written.is_ok(), "writing text to memory cannot fail");
    out.extend_from_slice(b"\n\n");
}

/// Appends a comment, which keeps the connection alive and is no event.
pub(crate) fn comment(out: &mut BytesMut) {
    out.extend_from_slice(b": \n\n");
}

/// Says that a client has read too slowly; the stream ends then.
pub(crate) fn lagged(out: &mut BytesMut, resume: u64, oldest: u64) {
    #[derive(Serialize)]
    struct Lagged {
        revision: u64,
        oldest: u64,
    }
    let data = Lagged {
        revision: resume,
        oldest,
    };
    event(out, "lagged", None, &data);
}

/// How a dialect shows what a watcher is told.
pub(crate) trait Shape: Send + Sync + 'static {
    /// The form under which entries keep what this shape makes of all their changes.
    fn form(&self) -> usize;

    /// Appends one change.
    fn write_change(&self, out: &mut BytesMut, set: &ChangeSet, change: &Change, id: Option<u64>);

    /// Appends anything but changes.
    fn write_event(&self, out: &mut BytesMut, event: &WatchEvent);
}

/// Answers with what a watcher is told, until it ends or the node stops.
pub(crate) fn changes(edge: Edge, watch: Watch, shape: impl Shape) -> Response {
    let writer = Writer {
        watch,
        shape,
        pieces: [].into(),
        next: 0,
        large: None,
        out: BytesMut::from(RETRY),
    };
    response(stream::unfold(
        (edge, writer),
        |(edge, mut writer)| async move {
            let piece = tokio::select! {
                piece = writer.next() => piece?,
                () = edge.draining() => return None,
            };
            Some((piece, (edge, writer)))
        },
    ))
}

/// Turns what a watcher is told into pieces.
struct Writer<S> {
    watch: Watch,
    shape: S,
    /// Changes that are under way, shared with others who are told the same, and the next piece of
    /// them.
    pieces: Arc<[Bytes]>,
    next: usize,
    /// A large revision that is under way.
    large: Option<Large>,
    /// Anything else, which goes first.
    out: BytesMut,
}

/// A revision that goes out in several pieces.
struct Large {
    selection: Arc<Selection>,
    /// Changes of it that are written already.
    written: usize,
}

impl<S: Shape> Writer<S> {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(piece) = self.piece() {
                return Some(piece);
            }
            match self.watch.next().await {
                Ok(Some(WatchEvent::Changes(selection))) => self.begin(selection),
                Ok(Some(event)) => self.shape.write_event(&mut self.out, &event),
                Ok(None) => return None,
                Err(error) => {
                    tracing::error!(%error, "a change stream ended: {error}");
                    return None;
                }
            }
        }
    }

    fn begin(&mut self, selection: Arc<Selection>) {
        let is_large = |entry: &Arc<Entry>| entry.bytes() >= LARGE_BYTES;
        // One that is large is always taken alone.
        if selection.entries().first().is_some_and(is_large) {
            let written = 0;
            self.large = Some(Large { selection, written });
        } else {
            let make = |selection: &Selection| pieces(selection, &self.shape);
            self.pieces = selection.form(self.shape.form(), make);
            self.next = 0;
        }
    }

    fn piece(&mut self) -> Option<Bytes> {
        if !self.out.is_empty() {
            return Some(std::mem::take(&mut self.out).freeze());
        }
        if let Some(large) = &self.large {
            let (part, written) = self.part(large);
            self.large = (written > 0).then(|| Large {
                selection: large.selection.clone(),
                written,
            });
            return Some(part);
        }
        let piece = self.pieces.get(self.next)?.clone();
        self.next += 1;
        if self.next == self.pieces.len() {
            self.pieces = [].into();
        }
        Some(piece)
    }

    /// Returns the next part of a large revision, and how many of its changes are written then; 0
    /// when it is told whole. A client that loses the connection before its end resumes before its
    /// beginning, because the id stands on its last message.
    fn part(&self, large: &Large) -> (Bytes, usize) {
        let filter = large.selection.filter();
        let Some(entry) = large.selection.entries().first() else {
            return (Bytes::new(), 0);
        };
        let set = entry.set();
        let last = set
            .changes
            .iter()
            .rposition(|change| filter.matches(change));
        let mut out = BytesMut::new();
        for (at, change) in set.changes.iter().enumerate().skip(large.written) {
            if filter.matches(change) {
                let id = (Some(at) == last).then_some(set.revision);
                self.shape.write_change(&mut out, set, change, id);
            }
            if Some(at) >= last {
                break;
            }
            if out.len() >= PIECE_BYTES {
                return (out.freeze(), at + 1);
            }
        }
        (out.freeze(), 0)
    }
}

/// Returns pieces: whole revisions, together at most [`PIECE_BYTES`], or one that is larger.
fn pieces(selection: &Selection, shape: &impl Shape) -> Vec<Bytes> {
    let mut pieces = Vec::new();
    let mut out = BytesMut::new();
    for entry in selection.entries() {
        let revision = render(entry, selection.filter(), shape);
        if out.len() + revision.len() > PIECE_BYTES && !out.is_empty() {
            pieces.push(std::mem::take(&mut out).freeze());
        }
        if revision.len() >= PIECE_BYTES {
            pieces.push(revision);
            continue;
        }
        if out.is_empty() {
            out = BytesMut::with_capacity(PIECE_BYTES);
        }
        out.extend_from_slice(&revision);
    }
    if !out.is_empty() {
        pieces.push(out.freeze());
    }
    pieces
}

/// Returns what a filter lets through of one revision, made once for all watchers that want all of
/// it. Its last message carries the id.
fn render(entry: &Entry, filter: &Filter, shape: &impl Shape) -> Bytes {
    let write = |set: &ChangeSet, wanted: &dyn Fn(&Change) -> bool| {
        let mut out = BytesMut::new();
        let last = set.changes.iter().rposition(wanted);
        for (at, change) in set.changes.iter().enumerate() {
            if wanted(change) {
                let id = (Some(at) == last).then_some(set.revision);
                shape.write_change(&mut out, set, change, id);
            }
        }
        out.freeze()
    };
    let set = entry.set();
    if set.changes.iter().all(|change| filter.matches(change)) {
        entry.form(shape.form(), |set| write(set, &|_| true))
    } else {
        write(set, &|change| filter.matches(change))
    }
}

/// Answers with a stream of events. The first piece goes out at once.
pub(crate) fn response(pieces: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    use futures::StreamExt as _;
    let mut response = Response::new(Body::from_stream(pieces.map(Ok::<_, Infallible>)));
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("text/event-stream");
    headers.insert(CONTENT_TYPE, kind);
    let uncached = HeaderValue::from_static("no-store, no-transform");
    headers.insert(CACHE_CONTROL, uncached);
    headers.insert(ACCEL, HeaderValue::from_static("no"));
    response
}

/// Returns where a client resumes: `Last-Event-ID`, which a browser sends when it reconnects, or the
/// parameter `since`, in this order.
pub(crate) fn resume_point(
    headers: &HeaderMap,
    since: Option<u64>,
) -> Result<Option<u64>, Failure> {
    let last = extract::header(headers, &LAST_EVENT_ID)?;
    match last.as_deref().map(str::trim) {
        None | Some("") => Ok(since),
        Some(text) => number("Last-Event-ID", text).map(Some),
    }
}
