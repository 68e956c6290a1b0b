//! Listings: pages pinned at one revision, a whole prefix as a stream of lines, a key's children.
//!
//! A page is ordered by bytes, keys and folders together; JSON shows the two kinds in an array
//! each. All pages of a listing come from the view that the first one was read from, so nothing is
//! missed or shown twice while writes go on.

use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use conclave_shared::{ErrorCode, ReadLevel, limits};
use futures::stream;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue, LINK};
use http::{HeaderMap, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use crate::clock;
use crate::http::error::Failure;
use crate::http::extract;
use crate::http::headers;
use crate::http::params::Params;
use crate::http::state::Edge;
use crate::http::wire::{self, EnvelopeRef, Show};
use crate::node::listing::Cursor;
use crate::node::{Answer, ReadOptions, ServiceError, View};
use crate::state::Key;
use crate::state::listing::{self, Entry, Listing, Page};

/// Most bytes of keys and values of a page.
const PAGE_BYTES: usize = 8 << 20;
/// Lines are written in chunks of about this size; one chunk is in memory at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// `GET /api/keys`.
pub(crate) async fn list(
    edge: &Edge,
    headers: &HeaderMap,
    mut params: Params<'_>,
) -> Result<Response, Failure> {
    let query = Query::parse(&mut params)?;
    let options = extract::read_options(&mut params)?;
    if accepts_lines(headers) {
        query.check_streamable()?;
        let answer = edge.node()?.view(&options).await?;
        return Ok(stream_lines(answer, query));
    }
    let answer = view(edge, &query, &options).await?;
    let (view, asked) = (answer.value.clone(), query.clone());
    // A page may walk many keys: not on a thread that other requests wait for.
    let rendered = tokio::task::spawn_blocking(move || render_page(&view, &asked)).await;
    let (body, next) = rendered.map_err(|error| Failure::internal(&error))??;
    if next.is_some() {
        edge.pins().keep(&answer, clock::now());
    }
    Ok(page_response(
        body,
        next.map(|cursor| query.link(&cursor)),
        &answer,
    ))
}

/// `GET /api/keys/{key}?children=true`: the key, and what lies directly below it.
pub(crate) async fn children(
    edge: &Edge,
    key: &Key,
    mut params: Params<'_>,
) -> Result<Response, Failure> {
    let options = extract::read_options(&mut params)?;
    let limit = extract::limit(&mut params)?;
    let answer = edge.node()?.view(&options).await?;
    let (view, key) = (answer.value.clone(), key.clone());
    let below = if key.ends_with('/') {
        key.to_string()
    } else {
        format!("{key}/")
    };
    let query = Query {
        delimiter: Some("/".into()),
        limit,
        ..Query::of(below)
    };
    let asked = query.clone();
    let name = key.clone();
    let rendered = tokio::task::spawn_blocking(move || {
        let page = asked.page(&view);
        let record = view.state.get(&name);
        if record.is_none() && page.entries.is_empty() {
            return Ok(None);
        }
        let mut body = PageBody::new(&view, &page, &asked);
        body.record =
            Some(record.map(|record| {
                EnvelopeRef::new(&name, record, Show::Values, view.state.log_time_ms())
            }));
        encode(&body).map(|bytes| Some((bytes, body.next)))
    });
    match rendered
        .await
        .map_err(|error| Failure::internal(&error))??
    {
        None => Err(wire::key_not_found(&key, answer.meta)),
        Some((body, next)) => {
            if next.is_some() {
                edge.pins().keep(&answer, clock::now());
            }
            Ok(page_response(
                body,
                next.map(|cursor| query.link(&cursor)),
                &answer,
            ))
        }
    }
}

/// A listing as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Query {
    prefix: String,
    delimiter: Option<String>,
    start: String,
    limit: Option<usize>,
    cursor: Option<Cursor>,
    show: Show,
    is_counted: bool,
}

impl Query {
    fn of(prefix: String) -> Self {
        Self {
            prefix,
            delimiter: None,
            start: String::new(),
            limit: None,
            cursor: None,
            show: Show::Values,
            is_counted: false,
        }
    }

    fn parse(params: &mut Params<'_>) -> Result<Self, Failure> {
        let prefix = bounded("prefix", params.take("prefix")?)?.unwrap_or_default();
        let mut query = Self::of(prefix);
        query.delimiter = bounded("delimiter", params.take("delimiter")?)?;
        query.delimiter = query.delimiter.filter(|text| !text.is_empty());
        query.limit = extract::limit(params)?;
        query.show = if params.is_on("keys")? {
            Show::KeysOnly
        } else {
            Show::Values
        };
        query.is_counted = params.is_on("count")?;
        let start = bounded("start", params.take("start")?)?;
        let cursor = params.take("cursor")?;
        if start.is_some() && cursor.is_some() {
            return Err(Failure::invalid("`start` and `cursor` contradict"));
        }
        if let Some(text) = cursor {
            let Some(cursor) = Cursor::decode(&text) else {
                return Err(Failure::invalid("`cursor` is not one that a listing gave"));
            };
            query.start.clone_from(&cursor.start);
            query.cursor = Some(cursor);
        }
        if let Some(start) = start {
            query.start = start;
        }
        Ok(query)
    }

    fn check_streamable(&self) -> Result<(), Failure> {
        let is_paged = self.limit.is_some() || self.cursor.is_some() || self.is_counted;
        if is_paged || self.delimiter.is_some() {
            return Err(Failure::invalid(
                "a stream of lines takes `prefix`, `start` and `keys`, and no paging",
            ));
        }
        Ok(())
    }

    fn page(&self, view: &View) -> Page {
        let bytes = match self.show {
            Show::Values => PAGE_BYTES,
            // At most a thousand keys without their values are small.
            Show::KeysOnly => usize::MAX / 2,
        };
        let limit = self.limit.unwrap_or(limits::PAGE_ENTRIES_DEFAULT);
        let (prefix, start) = (&*self.prefix, &*self.start);
        let delimiter = self.delimiter.as_deref();
        listing::page(
            &view.state,
            &Listing {
                prefix,
                delimiter,
                start,
                limit,
                bytes,
            },
        )
    }

    /// Returns the address of the page at `cursor`, escaped.
    fn link(&self, cursor: &str) -> String {
        let mut link = String::from("/api/keys?prefix=");
        link.extend(utf8_percent_encode(&self.prefix, NON_ALPHANUMERIC));
        if let Some(delimiter) = &self.delimiter {
            link.push_str("&delimiter=");
            link.extend(utf8_percent_encode(delimiter, NON_ALPHANUMERIC));
        }
        if let Some(limit) = self.limit {
            link.push_str(&format!("&limit={limit}"));
        }
        if self.show == Show::KeysOnly {
            link.push_str("&keys=true");
        }
        link.push_str("&cursor=");
        link.push_str(cursor);
        link
    }
}

fn bounded(name: &str, text: Option<Cow<'_, str>>) -> Result<Option<String>, Failure> {
    if text
        .as_ref()
        .is_some_and(|text| text.len() > limits::KEY_BYTES)
    {
        let most = limits::KEY_BYTES;
        return Err(Failure::invalid(format!(
            "`{name}` is above {most} bytes, the longest key"
        )));
    }
    Ok(text.map(Cow::into_owned))
}

/// Finds the view that a listing reads, or goes on reading.
async fn view(
    edge: &Edge,
    query: &Query,
    options: &ReadOptions,
) -> Result<Answer<Arc<View>>, Failure> {
    let node = edge.node()?;
    let Some(cursor) = &query.cursor else {
        return Ok(node.view(options).await?);
    };
    if let Some(pinned) = edge.pins().find(cursor.revision, clock::now()) {
        return Ok(pinned);
    }
    // Another node's cursor can be continued here as long as nothing has changed since.
    let current = node.view(&ReadOptions::level(ReadLevel::Stale)).await?;
    if current.value.state.revision() == cursor.revision {
        return Ok(current);
    }
    let error = ServiceError::CursorExpired {
        revision: cursor.revision,
    };
    debug_assert_eq!(error.code(), ErrorCode::CursorExpired);
    Err(Failure::from(error).with_meta(current.meta))
}

#[derive(Debug, Serialize)]
struct PageBody<'a> {
    revision: u64,
    /// The key whose children these are.
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<Option<EnvelopeRef<'a>>>,
    keys: Vec<EnvelopeRef<'a>>,
    folders: Vec<FolderRef<'a>>,
    /// All keys that start with the prefix, whatever the page shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    next: Option<String>,
}

#[derive(Debug, Serialize)]
struct FolderRef<'a> {
    prefix: &'a str,
    count: u64,
    capped: bool,
}

impl<'a> PageBody<'a> {
    fn new(view: &View, page: &'a Page, query: &Query) -> Self {
        let (revision, now_ms) = (view.state.revision(), view.state.log_time_ms());
        let (mut keys, mut folders) = (Vec::new(), Vec::new());
        for entry in &page.entries {
            match entry {
                Entry::Key(key, record) => {
                    keys.push(EnvelopeRef::new(key, record, query.show, now_ms))
                }
                Entry::Folder {
                    prefix,
                    count,
                    capped,
                } => {
                    folders.push(FolderRef {
                        prefix,
                        count: *count,
                        capped: *capped,
                    });
                }
            }
        }
        let next = page
            .next
            .clone()
            .map(|start| Cursor { revision, start }.encode());
        let count = query
            .is_counted
            .then(|| listing::count(&view.state, &query.prefix));
        Self {
            revision,
            record: None,
            keys,
            folders,
            count,
            next,
        }
    }
}

fn render_page(view: &View, query: &Query) -> Result<(Bytes, Option<String>), Failure> {
    let page = query.page(view);
    let body = PageBody::new(view, &page, query);
    encode(&body).map(|bytes| (bytes, body.next))
}

fn encode(body: &PageBody<'_>) -> Result<Bytes, Failure> {
    match serde_json::to_vec(body) {
        Ok(bytes) => Ok(bytes.into()),
        Err(error) => Err(Failure::internal(&error)),
    }
}

fn page_response(body: Bytes, link: Option<String>, answer: &Answer<Arc<View>>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::OK;
    let head = response.headers_mut();
    headers::put(head, &answer.meta);
    head.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(value) = link.and_then(|link| format!("<{link}>; rel=\"next\"").parse().ok()) {
        head.insert(LINK, value);
    }
    response
}

fn accepts_lines(headers: &HeaderMap) -> bool {
    let accepts = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|accept| accept.to_str().ok());
    accepts.flat_map(|accept| accept.split(',')).any(|range| {
        let essence = range.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case("application/x-ndjson")
    })
}

/// Streams the prefix from one frozen view. A chunk is made when the client has taken the one
/// before, so a slow client costs the view and one chunk.
fn stream_lines(answer: Answer<Arc<View>>, query: Query) -> Response {
    let Answer { value: view, meta } = answer;
    let start = Some(query.start.clone());
    let lines = stream::unfold((view, query, start), |(view, query, start)| async move {
        let (chunk, next) = chunk_of_lines(&view, &query, &start?);
        (!chunk.is_empty()).then(|| (Ok::<_, Infallible>(chunk), (view, query, next)))
    });
    let mut response = Response::new(Body::from_stream(lines));
    let head = response.headers_mut();
    headers::put(head, &meta);
    head.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-ndjson"),
    );
    response
}

fn chunk_of_lines(view: &View, query: &Query, start: &str) -> (Bytes, Option<String>) {
    let mut chunk = Vec::with_capacity(CHUNK_BYTES);
    let from = start.max(&query.prefix);
    for (key, record) in view
        .state
        .from(from)
        .take_while(|(key, _)| key.starts_with(&query.prefix))
    {
        if chunk.len() >= CHUNK_BYTES {
            return (chunk.into(), Some(key.to_string()));
        }
        let line = EnvelopeRef::new(key, record, query.show, view.state.log_time_ms());
        let written = serde_json::to_writer(&mut chunk, &line);
        debug_assert!(written.is_ok(), "writing text to memory cannot fail");
        chunk.push(b'\n');
    }
    (chunk.into(), None)
}

#[cfg(test)]
mod tests {
    use conclave_shared::{Folder, KeyPage};

    use super::*;
    use crate::http::wire::tests::{meta, record};
    use crate::state::State;

    fn view(keys: usize, value: &[u8]) -> Arc<View> {
        let mut state = State::restore(7, 0, 0);
        for i in 0..keys {
            let key = Key::try_from(&*format!("a/{i:05}")).unwrap();
            state.restore_key(&key, Arc::new(record(value, "text/plain")));
        }
        Arc::new(View {
            state,
            applied_index: 7,
            applied_term: 1,
            ..View::default()
        })
    }

    fn query(text: &str) -> Result<Query, Failure> {
        Query::parse(&mut Params::parse(Some(text))?)
    }

    #[test]
    fn pages_link_to_the_next_one_and_end() {
        let view = view(5, b"v");
        let (mut asked, mut seen) = (query("prefix=a/&limit=2").unwrap(), Vec::new());
        loop {
            let (body, next) = render_page(&view, &asked).unwrap();
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body["revision"], 7);
            assert_eq!(body["next"].as_str(), next.as_deref());
            let keys = body["keys"].as_array().unwrap();
            seen.extend(
                keys.iter()
                    .map(|key| key["key"].as_str().unwrap().to_owned()),
            );
            let Some(cursor) = next else { break };
            let link = asked.link(&cursor);
            asked = query(link.strip_prefix("/api/keys?").unwrap()).unwrap();
            assert_eq!((asked.limit, &*asked.prefix), (Some(2), "a/"));
        }
        assert_eq!(
            seen,
            ["a/00000", "a/00001", "a/00002", "a/00003", "a/00004"]
        );
    }

    #[test]
    fn a_page_shows_folders_counts_and_sizes_when_asked() {
        let view = view(5, b"value");
        let asked = query("delimiter=/&count=true&keys=true").unwrap();
        let (body, _) = render_page(&view, &asked).unwrap();
        let page: KeyPage = serde_json::from_slice(&body).unwrap();
        let folder = Folder {
            prefix: "a/".into(),
            count: 5,
            capped: false,
        };
        assert_eq!((page.folders, page.count), (vec![folder], Some(5)));
        let (body, _) = render_page(&view, &query("keys").unwrap()).unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (
                &body["keys"][0]["value_bytes"],
                body["keys"][0].get("value")
            ),
            (&5.into(), None)
        );
    }

    #[test]
    fn a_page_is_bounded_in_bytes() {
        let view = view(20, &vec![b'x'; limits::VALUE_BYTES]);
        let (body, next) = render_page(&view, &query("limit=1000").unwrap()).unwrap();
        assert!(
            body.len() < PAGE_BYTES + 10_000 && next.is_some(),
            "{}",
            body.len()
        );
        let (body, next) = render_page(&view, &query("limit=1000&keys=true").unwrap()).unwrap();
        assert!(body.len() < 10_000 && next.is_none(), "{}", body.len());
    }

    #[test]
    fn listings_are_asked_for_within_limits() {
        let long = "x".repeat(1_025);
        let prefix = format!("prefix={long}");
        let wrong = [
            "limit=0",
            "limit=1001",
            "limit=x",
            "cursor=!",
            "cursor=",
            "keys=1",
            "start=a&cursor=AQAAAAAAAAAHYQ",
            &prefix,
        ];
        for text in wrong {
            assert!(query(text).is_err(), "{text}");
        }
        assert_eq!(query("cursor=AQAAAAAAAAAHYQ").unwrap().start, "a");
        assert_eq!(query("delimiter=").unwrap().delimiter, None);
        assert!(query("limit=5").unwrap().check_streamable().is_err());
    }

    #[tokio::test]
    async fn lines_stream_the_whole_prefix_in_chunks() {
        use http_body_util::BodyExt as _;
        let answer = Answer {
            value: view(3_000, &[b'x'; 100]),
            meta: meta(),
        };
        let mut body = stream_lines(answer, query("prefix=a/").unwrap()).into_body();
        let (mut lines, mut chunks) = (Vec::new(), 0);
        while let Some(frame) = body.frame().await {
            let chunk = frame.unwrap().into_data().unwrap();
            assert!(chunk.len() < CHUNK_BYTES + 1_000);
            assert!(chunk.ends_with(b"\n"));
            for line in std::str::from_utf8(&chunk).unwrap().lines() {
                lines.push(
                    serde_json::from_str::<conclave_shared::Envelope>(line)
                        .unwrap()
                        .key,
                );
            }
            chunks += 1;
        }
        assert_eq!(lines.len(), 3_000);
        assert!(lines.is_sorted() && chunks > 5, "{chunks}");
    }
}
