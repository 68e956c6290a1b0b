//! Event streams: a client of one stream that shows everything, and can break off anywhere.
//!
//! It opens no second connection by itself: what was a connection and what was not matters to those
//! who test resuming. [`Subscription`] says what is asked for, [`EventStream`] reads it.

mod parser;
mod subscription;

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::{Instant, timeout};

use crate::http::body::{Piece, Streamed, StreamedBody};
use crate::http::{Failure, Request, Response};
pub use parser::{Event, Parser};
pub use subscription::Subscription;

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
    body: StreamedBody,
    parser: Parser,
    /// Read and not yet given.
    events: VecDeque<Event>,
    last_id: String,
}

impl EventStream {
    /// Asks `host:port` for a stream.
    ///
    /// # Errors
    ///
    /// There is no answer within ten seconds, or none that is HTTP.
    pub async fn open(address: &str, request: &Request) -> Result<Opened, Failure> {
        let body = match StreamedBody::open(address, request, "text/event-stream").await? {
            Streamed::Body(body) => *body,
            Streamed::Refused(response) => return Ok(Opened::Refused(response)),
        };
        Ok(Opened::Stream(Box::new(Self {
            address: address.to_owned(),
            body,
            parser: Parser::default(),
            events: VecDeque::new(),
            last_id: String::new(),
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
        self.body.head()
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
        self.body.cut_after(bytes);
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
            match self.body.next(deadline).await {
                Piece::Bytes(bytes) => self.events.extend(self.parser.push(&bytes)),
                Piece::Silence => return Next::Silence,
                Piece::End(end) => return Next::End(end),
            }
        }
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
