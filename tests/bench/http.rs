//! Conclave's side of the load: requests rendered into a buffer that is used again; of an answer
//! only the status and the content length are looked at.

use std::io::{self, Write as _};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::load::{Answer, Request, Session, connect};

/// One connection.
#[derive(Debug)]
pub(crate) struct Http {
    stream: TcpStream,
    host: String,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Session for Http {
    async fn open(address: &str) -> io::Result<Self> {
        Ok(Self {
            stream: connect(address).await?,
            host: address.to_owned(),
            request: Vec::with_capacity(1024),
            answer: Vec::with_capacity(4096),
        })
    }

    async fn exchange(&mut self, request: Request<'_>) -> io::Result<Answer> {
        self.render(request)?;
        self.stream.write_all(&self.request).await?;
        match self.read_answer().await? {
            200 | 201 => Ok(Answer::Done),
            _ => Ok(Answer::Refused(
                String::from_utf8_lossy(&self.answer).into_owned(),
            )),
        }
    }
}

impl Http {
    fn render(&mut self, request: Request<'_>) -> io::Result<()> {
        let host = &self.host;
        let rendered = &mut self.request;
        rendered.clear();
        match request {
            Request::Get { key, level } => write!(
                rendered,
                "GET /api/keys/{key}?level={level} HTTP/1.1\r\nHost: {host}\r\n\r\n"
            ),
            Request::Put { key, value } => {
                write!(
                    rendered,
                    "PUT /api/keys/{key} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n\r\n",
                    value.len()
                )?;
                rendered.extend_from_slice(value);
                Ok(())
            }
        }
    }

    /// Reads one answer whole and returns its status.
    async fn read_answer(&mut self) -> io::Result<u16> {
        self.answer.clear();
        loop {
            self.read_more().await?;
            if let Some((status, length)) = parse(&self.answer)? {
                while self.answer.len() < length {
                    self.read_more().await?;
                }
                return Ok(status);
            }
        }
    }

    async fn read_more(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.answer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// Returns the status and the length of the whole answer, once its head is there.
fn parse(answer: &[u8]) -> io::Result<Option<(u16, usize)>> {
    let Some(head) = answer.windows(4).position(|part| part == b"\r\n\r\n") else {
        return Ok(None);
    };
    let bad = || {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "not an answer with a content length",
        )
    };
    let text = std::str::from_utf8(&answer[..head]).ok();
    let text = text.ok_or_else(bad)?;
    let status = text
        .get(9..12)
        .and_then(|status| status.parse().ok())
        .ok_or_else(bad)?;
    let length = text
        .split("\r\n")
        .skip(1)
        .find_map(content_length)
        .ok_or_else(bad)?;
    Ok(Some((status, head + 4 + length)))
}

fn content_length(line: &str) -> Option<usize> {
    let (name, value) = line.split_once(':')?;
    name.eq_ignore_ascii_case("content-length")
        .then(|| value.trim().parse().ok())?
}
