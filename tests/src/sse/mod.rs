//! Event streams: a client of one stream that shows everything, and can break off anywhere.
//!
//! It opens no second connection by itself: what was a connection and what was not matters to those
//! who test resuming. [`Subscription`] says what is asked for, [`EventStream`] reads it.

mod chunks;
mod parser;
mod subscription;

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::{Instant, timeout, timeout_at};

use crate::http::{Connection, Failure, Request, Response};
use chunks::Chunks;
pub use parser::{Event, Parser};
pub use subscription::Subscription;

/// Longest wait for the head of an answer: a stream begins at once.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// What a server answers to somebody who asks for a stream.
#[derive(Debug)]
pub enum Opened {
    Stream(Box<EventStream>),
    /// Any other answer.
    Refused(Response),
}

/// What comes next on a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    Event(Event),
    /// Nothing, all the time.
    Silence,
    /// The stream is over: how.
    End(String),
}

/// One open stream.
#[derive(Debug)]
pub struct EventStream {
    address: String,
    head: Response,
    connection: Connection,
    chunks: Chunks,
    parser: Parser,
    /// Read and not yet given.
    events: VecDeque<Event>,
    last_id: String,
    /// Body bytes after which the client breaks off.
    left: Option<usize>,
    end: Option<String>,
}

impl EventStream {
    /// Asks `host:port` for a stream.
    ///
    /// # Errors
    ///
    /// There is no answer within ten seconds, or none that is HTTP.
    pub async fn open(address: &str, request: &Request) -> Result<Opened, Failure> {
        let deadline = Instant::now() + HEAD_WITHIN;
        let mut connection = timeout_at(deadline, Connection::open(address))
            .await
            .map_err(anyhow::Error::from)
            .flatten()
            .map_err(Failure::NotSent)?;
        let answer = async {
            connection.send_raw(&request.render(address)).await?;
            let head = connection.read_head().await?;
            let kind = head.header("content-type").unwrap_or_default();
            let streams = head.status == 200 && kind.starts_with("text/event-stream");
            if streams && request.method != "HEAD" {
                return Ok((head, true));
            }
            Ok((connection.read_body(head, &request.method).await?, false))
        };
        let answer = timeout_at(deadline, answer).await;
        let answer: Result<_> = answer.map_err(anyhow::Error::from).flatten();
        let (head, streams) = answer
            .map_err(|error| Failure::Unknown(error.context(format!("{request} at {address}"))))?;
        if !streams {
            return Ok(Opened::Refused(head));
        }
        Ok(Opened::Stream(Box::new(Self {
            address: address.to_owned(),
            head,
            connection,
            chunks: Chunks::default(),
            parser: Parser::default(),
            events: VecDeque::new(),
            last_id: String::new(),
            left: None,
            end: None,
        })))
    }

    /// Opens a stream that must open.
    ///
    /// # Panics
    ///
    /// It does not.
    pub async fn expect_open(address: &str, request: &Request) -> Self {
        match Self::open(address, request).await {
            Ok(Opened::Stream(stream)) => *stream,
            Ok(Opened::Refused(response)) => panic!("{request} at {address}: {response:?}"),
            Err(failure) => panic!("{request} at {address}: {failure}"),
        }
    }

    /// Returns status and headers.
    #[must_use]
    pub const fn head(&self) -> &Response {
        &self.head
    }

    /// Returns the `host:port` it was opened at.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Returns what a client would resume after that has handled the events given so far; empty
    /// when there is nothing.
    #[must_use]
    pub fn last_id(&self) -> &str {
        &self.last_id
    }

    /// Returns the number of blocks without data, which no server may send.
    #[must_use]
    pub const fn without_data(&self) -> usize {
        self.parser.without_data()
    }

    /// Breaks off after so many further bytes, wherever that is: in the middle of an event too.
    pub const fn cut_after(&mut self, bytes: usize) {
        self.left = Some(bytes);
    }

    /// Returns whether the stream broke off in the middle of an event.
    #[must_use]
    pub const fn is_inside(&self) -> bool {
        self.parser.is_inside()
    }

    /// Waits for the next event. May be dropped at any time, nothing is lost by that.
    pub async fn next(&mut self, bound: Duration) -> Next {
        let deadline = Instant::now() + bound;
        loop {
            if let Some(event) = self.events.pop_front() {
                if let Some(id) = &event.id {
                    self.last_id.clone_from(id);
                }
                return Next::Event(event);
            }
            if let Some(end) = &self.end {
                return Next::End(end.clone());
            }
            match timeout_at(deadline, self.connection.read_some()).await {
                Err(_) => return Next::Silence,
                Ok(Ok(bytes)) if bytes.is_empty() => self.end = Some("closed".to_owned()),
                Ok(Ok(bytes)) => self.take(&bytes),
                Ok(Err(error)) => self.end = Some(format!("{error:#}")),
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        let body = match self.decode(bytes) {
            Ok(body) => body,
            Err(error) => {
                self.end = Some(format!("broken: {error:#}"));
                return;
            }
        };
        let taken = self.left.map_or(body.len(), |left| left.min(body.len()));
        self.events.extend(self.parser.push(&body[..taken]));
        if let Some(left) = &mut self.left {
            *left -= taken;
            if *left == 0 {
                self.end = Some("cut by the client".to_owned());
            }
        }
        if self.chunks.ended() && self.end.is_none() {
            self.end = Some("ended".to_owned());
        }
    }

    fn decode(&mut self, bytes: &[u8]) -> Result<Vec<u8>> {
        let coding = self.head.header("transfer-encoding");
        if coding == Some("chunked") {
            return self.chunks.push(bytes);
        }
        ensure!(coding.is_none(), "coding {coding:?}");
        Ok(bytes.to_vec())
    }

    /// Waits for an event of that name and returns its data; others before it are passed over.
    ///
    /// # Panics
    ///
    /// It does not come within `bound`; what came is said.
    pub async fn expect(&mut self, name: &str, bound: Duration) -> Event {
        let deadline = Instant::now() + bound;
        let mut seen = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.next(left).await {
                Next::Event(event) if event.name == name => return event,
                Next::Event(event) => seen.push(event),
                other => panic!(
                    "no `{name}` from {} within {bound:?}: {other:?}; before it {seen:#?}",
                    self.address
                ),
            }
        }
    }

    /// Reads on until an event fulfils the condition, and returns all up to and with it.
    ///
    /// # Panics
    ///
    /// None does within `bound`; what came is said.
    pub async fn expect_until(
        &mut self,
        what: &str,
        bound: Duration,
        mut is_last: impl FnMut(&Event) -> bool,
    ) -> Vec<Event> {
        let deadline = Instant::now() + bound;
        let mut seen = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.next(left).await {
                Next::Event(event) => {
                    let last = is_last(&event);
                    seen.push(event);
                    if last {
                        return seen;
                    }
                }
                other => panic!(
                    "{what}: not from {} within {bound:?}: {other:?}; before it {seen:#?}",
                    self.address
                ),
            }
        }
    }

    /// Waits for the end of the stream, and returns what came before and how it ended.
    ///
    /// # Errors
    ///
    /// It has not ended within `bound`.
    pub async fn ended_within(&mut self, bound: Duration) -> Result<(Vec<Event>, String)> {
        let mut seen = Vec::new();
        let end = async {
            loop {
                match self.next(bound).await {
                    Next::Event(event) => seen.push(event),
                    Next::End(end) => return end,
                    Next::Silence => {}
                }
            }
        };
        let end = timeout(bound, end).await;
        let end = end.with_context(|| format!("the stream is still open after {bound:?}"))?;
        Ok((seen, end))
    }
}

impl Event {
    /// Returns the data as JSON.
    ///
    /// # Panics
    ///
    /// It is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.data)
            .unwrap_or_else(|error| panic!("data is not JSON ({error}): {self:?}"))
    }
}

#[cfg(test)]
mod tests;
