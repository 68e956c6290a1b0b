//! A body that has no end yet: its bytes as they come, and a client that can break off anywhere.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::{Instant, timeout_at};

use super::chunks::Chunks;
use super::{Connection, Failure, Request, Response};

/// Longest wait for the head of an answer: a stream begins at once.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// What a server answers to somebody who asks for a stream.
#[derive(Debug)]
pub(crate) enum Streamed {
    Body(Box<StreamedBody>),
    /// Any other answer.
    Refused(Response),
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    Bytes(Vec<u8>),
    /// Nothing, all the time.
    Silence,
    /// The body is over: how.
    End(String),
}

/// The body of one answer, and its connection.
#[derive(Debug)]
pub(crate) struct StreamedBody {
    head: Response,
    connection: Connection,
    chunks: Chunks,
    /// Bytes after which the client breaks off.
    left: Option<usize>,
    end: Option<String>,
}

impl StreamedBody {
    /// Asks `host:port` for a body of a media type.
    ///
    /// # Errors
    ///
    /// There is no answer within ten seconds, or none that is HTTP.
    pub(crate) async fn open(
        address: &str,
        request: &Request,
        kind: &str,
    ) -> Result<Streamed, Failure> {
        let deadline = Instant::now() + HEAD_WITHIN;
        let mut connection = timeout_at(deadline, Connection::open(address))
            .await
            .map_err(anyhow::Error::from)
            .flatten()
            .map_err(Failure::NotSent)?;
        let answer = async {
            connection.send_raw(&request.render(address)).await?;
            let head = connection.read_head().await?;
            let came = head.header("content-type").unwrap_or_default();
            let streams = head.status == 200 && came.starts_with(kind);
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
            return Ok(Streamed::Refused(head));
        }
        Ok(Streamed::Body(Box::new(Self {
            head,
            connection,
            chunks: Chunks::default(),
            left: None,
            end: None,
        })))
    }

    /// Returns status and headers.
    pub(crate) const fn head(&self) -> &Response {
        &self.head
    }

    /// Breaks off after so many further bytes.
    pub(crate) const fn cut_after(&mut self, bytes: usize) {
        self.left = Some(bytes);
    }

    /// Waits for the next bytes. May be dropped at any time, nothing is lost by that.
    pub(crate) async fn next(&mut self, deadline: Instant) -> Piece {
        loop {
            if let Some(end) = &self.end {
                return Piece::End(end.clone());
            }
            match timeout_at(deadline, self.connection.read_some()).await {
                Err(_) => return Piece::Silence,
                Ok(Ok(bytes)) if bytes.is_empty() => self.end = Some("closed".to_owned()),
                Ok(Ok(bytes)) => {
                    let body = self.take(&bytes);
                    if !body.is_empty() {
                        return Piece::Bytes(body);
                    }
                }
                Ok(Err(error)) => self.end = Some(format!("{error:#}")),
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut body = match self.decode(bytes) {
            Ok(body) => body,
            Err(error) => {
                self.end = Some(format!("broken: {error:#}"));
                return Vec::new();
            }
        };
        if let Some(left) = &mut self.left {
            body.truncate(*left);
            *left -= body.len();
            if *left == 0 {
                self.end = Some("cut by the client".to_owned());
            }
        }
        if self.chunks.ended() && self.end.is_none() {
            self.end = Some("ended".to_owned());
        }
        body
    }

    fn decode(&mut self, bytes: &[u8]) -> Result<Vec<u8>> {
        let coding = self.head.header("transfer-encoding");
        if coding == Some("chunked") {
            return self.chunks.push(bytes);
        }
        ensure!(coding.is_none(), "coding {coding:?}");
        Ok(bytes.to_vec())
    }
}
