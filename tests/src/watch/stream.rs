//! An open stream of either system, as messages.

use std::time::Duration;

use super::Message;
use crate::campaign::Dialect;
use crate::etcd::WatchStream;
use crate::http::body::{Streamed, StreamedBody};
use crate::http::{Failure, Request, Response};
use crate::sse::{EventStream, Next, Opened};

/// What comes next on a stream.
#[derive(Debug)]
pub(crate) enum Heard {
    Message(Message),
    /// Something that breaks the contract.
    Malformed(String),
    /// Nothing, all the time.
    Silence,
    /// The stream is over: how.
    End(String),
}

/// What a server answers to somebody who asks for a stream.
#[derive(Debug)]
pub(super) enum Opening {
    Stream(Stream),
    /// Any other answer.
    Refused(Response),
}

/// One open stream.
#[derive(Debug)]
pub(super) enum Stream {
    Conclave(Box<EventStream>),
    Etcd(Box<WatchStream>),
}

impl Stream {
    /// Asks `host:port` for a stream.
    ///
    /// # Errors
    ///
    /// There is no answer within ten seconds, or none that is HTTP.
    pub(super) async fn open(
        dialect: Dialect,
        address: &str,
        request: &Request,
    ) -> Result<Opening, Failure> {
        let opened = match dialect {
            Dialect::Conclave => match EventStream::open(address, request).await? {
                Opened::Stream(stream) => Ok(Self::Conclave(stream)),
                Opened::Refused(response) => Err(response),
            },
            Dialect::Etcd => {
                match StreamedBody::open(address, request, "application/json").await? {
                    Streamed::Body(body) => Ok(Self::Etcd(Box::new(WatchStream::new(*body)))),
                    Streamed::Refused(response) => Err(response),
                }
            }
        };
        Ok(opened.map_or_else(Opening::Refused, Opening::Stream))
    }

    /// Breaks off after so many further bytes, wherever that is: in the middle of a message too.
    pub(super) fn cut_after(&mut self, bytes: usize) {
        match self {
            Self::Conclave(stream) => stream.cut_after(bytes),
            Self::Etcd(stream) => stream.cut_after(bytes),
        }
    }

    /// Waits for the next message. May be dropped at any time, nothing is lost by that.
    pub(super) async fn next(&mut self, bound: Duration) -> Heard {
        match self {
            Self::Conclave(stream) => match stream.next(bound).await {
                Next::Event(event) => {
                    Message::parse(&event).map_or_else(Heard::Malformed, Heard::Message)
                }
                Next::Silence => Heard::Silence,
                Next::End(how) => Heard::End(how),
            },
            Self::Etcd(stream) => stream.next(bound).await,
        }
    }

    /// Returns what is wrong with the stream between its messages.
    pub(super) fn complaint(&self) -> Option<String> {
        match self {
            Self::Conclave(stream) if stream.without_data() > 0 => {
                Some("a block without data".to_owned())
            }
            Self::Conclave(_) | Self::Etcd(_) => None,
        }
    }
}
