//! One connection: bytes out, responses in, and raw access for requests that are not whole.

use std::io;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Request, Response};

/// Longest head accepted.
const HEAD_BYTES: usize = 64 << 10;

/// A TCP connection with what was read of it and not yet used.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Connection {
    /// Connects to `host:port`, trying every address of the host.
    ///
    /// # Errors
    ///
    /// Nobody listens.
    pub async fn open(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            unread: Vec::new(),
        })
    }

    /// Returns false when the server has closed an idle connection, or has said something unasked.
    #[must_use]
    pub fn is_open(&self) -> bool {
        let mut byte = [0];
        let closed = !matches!(
            self.stream.try_read(&mut byte),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock
        );
        !closed && self.unread.is_empty()
    }

    /// Sends a request and reads its answer.
    ///
    /// # Errors
    ///
    /// The connection ends first, or the answer is not HTTP.
    pub async fn exchange(&mut self, request: &Request, host: &str) -> Result<Response> {
        let sent = self.send_raw(&request.render(host)).await;
        // A server may answer and close before it has read all of a body that it refuses.
        match (self.read_response(&request.method).await, sent) {
            (Ok(response), _) => Ok(response),
            (Err(error), Ok(())) => Err(error),
            (Err(_), Err(error)) => Err(error.into()),
        }
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    ///
    /// The server has closed the connection.
    pub async fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Reads one answer to a request with `method`.
    ///
    /// # Errors
    ///
    /// The connection ends first, or the answer is not HTTP.
    pub async fn read_response(&mut self, method: &str) -> Result<Response> {
        let head = self.read_head().await?;
        self.read_body(head, method).await
    }

    /// Reads status and headers of one answer, and leaves its body.
    ///
    /// # Errors
    ///
    /// The connection ends first, or the answer is not HTTP.
    pub async fn read_head(&mut self) -> Result<Response> {
        let head = self.read_until(b"\r\n\r\n").await?;
        parse_head(&head)
    }

    /// Reads the body that follows the head of an answer to a request with `method`.
    ///
    /// # Errors
    ///
    /// The connection ends first, or the answer is not HTTP.
    pub async fn read_body(&mut self, head: Response, method: &str) -> Result<Response> {
        let mut response = head;
        let without_body = method == "HEAD" || matches!(response.status, 100..=199 | 204 | 304);
        if without_body {
            return Ok(response);
        }
        let chunked = response.header("transfer-encoding") == Some("chunked");
        response.body = if chunked {
            let (body, trailers) = self.read_chunks().await?;
            let announced = response.header("trailer").is_some();
            ensure!(announced || trailers.is_empty(), "trailers {trailers:?}");
            response.headers.extend(trailers);
            body
        } else if let Some(length) = response.header("content-length") {
            let length = length.parse().context("content-length")?;
            self.read_exactly(length).await?
        } else {
            self.read_to_end().await?
        };
        Ok(response)
    }

    /// Waits for bytes and returns all that are there; none when the server has closed the
    /// connection. May be dropped while it waits.
    ///
    /// # Errors
    ///
    /// The connection broke.
    pub async fn read_some(&mut self) -> Result<Vec<u8>> {
        if self.unread.is_empty() {
            self.unread.reserve(8 << 10);
            self.stream.read_buf(&mut self.unread).await?;
        }
        Ok(std::mem::take(&mut self.unread))
    }

    /// Waits until the server closes the connection; returns what it said before.
    ///
    /// # Errors
    ///
    /// It does not within `bound`.
    pub async fn closed_within(&mut self, bound: Duration) -> Result<Vec<u8>> {
        timeout(bound, self.read_to_end())
            .await
            .with_context(|| format!("connection still open after {bound:?}"))?
    }

    /// Returns a body and what follows it.
    async fn read_chunks(&mut self) -> Result<(Vec<u8>, Vec<(String, String)>)> {
        let mut body = Vec::new();
        loop {
            let line = self.read_until(b"\r\n").await?;
            let size = std::str::from_utf8(&line)?.trim_end();
            let size = size.split(';').next().unwrap_or_default();
            let size = usize::from_str_radix(size, 16).context("chunk size")?;
            if size == 0 {
                return Ok((body, self.read_trailers().await?));
            }
            body.extend(self.read_exactly(size).await?);
            ensure!(self.read_exactly(2).await? == b"\r\n", "end of chunk");
        }
    }

    async fn read_trailers(&mut self) -> Result<Vec<(String, String)>> {
        let mut trailers = Vec::new();
        loop {
            let line = self.read_until(b"\r\n").await?;
            match std::str::from_utf8(&line)?.trim_end() {
                "" => return Ok(trailers),
                line => trailers.push(parse_header(line)?),
            }
        }
    }

    /// Returns everything up to and with `end`.
    async fn read_until(&mut self, end: &[u8]) -> Result<Vec<u8>> {
        let mut searched = 0;
        loop {
            let found = self.unread[searched..]
                .windows(end.len())
                .position(|part| part == end);
            if let Some(at) = found {
                let rest = self.unread.split_off(searched + at + end.len());
                return Ok(std::mem::replace(&mut self.unread, rest));
            }
            ensure!(
                self.unread.len() < HEAD_BYTES,
                "head above {HEAD_BYTES} bytes"
            );
            searched = self.unread.len().saturating_sub(end.len() - 1);
            self.fill().await?;
        }
    }

    async fn read_exactly(&mut self, length: usize) -> Result<Vec<u8>> {
        while self.unread.len() < length {
            self.fill().await?;
        }
        let rest = self.unread.split_off(length);
        Ok(std::mem::replace(&mut self.unread, rest))
    }

    async fn read_to_end(&mut self) -> Result<Vec<u8>> {
        match self.stream.read_to_end(&mut self.unread).await {
            Ok(_) => {}
            // A reset closes a connection as well as an end does.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            Err(error) => return Err(error.into()),
        }
        Ok(std::mem::take(&mut self.unread))
    }

    async fn fill(&mut self) -> Result<()> {
        self.unread.reserve(8 << 10);
        let read = self.stream.read_buf(&mut self.unread).await?;
        ensure!(
            read > 0,
            "the server closed the connection in the middle of an answer"
        );
        Ok(())
    }
}

fn parse_head(head: &[u8]) -> Result<Response> {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.trim_end().split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let Some(rest) = status_line.strip_prefix("HTTP/1.1 ") else {
        bail!("not an HTTP/1.1 answer: `{status_line}`");
    };
    let status = rest.split(' ').next().unwrap_or_default();
    let status = status
        .parse()
        .with_context(|| format!("status line `{status_line}`"))?;
    let mut headers = Vec::new();
    for line in lines {
        headers.push(parse_header(line)?);
    }
    Ok(Response {
        status,
        headers,
        body: Vec::new(),
    })
}

fn parse_header(line: &str) -> Result<(String, String)> {
    let (name, value) = line
        .split_once(':')
        .with_context(|| format!("header `{line}`"))?;
    Ok((name.to_owned(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn answered(bytes: &'static [u8]) -> Result<Response> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let server = async {
            let (mut stream, _) = listener.accept().await?;
            let mut request = [0; 256];
            let read = stream.read(&mut request).await?;
            ensure!(read > 0, "no request");
            stream.write_all(bytes).await?;
            Ok(())
        };
        let request = Request::get("/a");
        let client = async {
            Connection::open(&address)
                .await?
                .exchange(&request, "h")
                .await
        };
        Ok(tokio::try_join!(server, client)?.1)
    }

    #[tokio::test]
    async fn a_chunked_body_is_put_together() {
        let response = answered(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1;x\r\nd\r\n0\r\n\r\n",
        );
        assert_eq!(response.await.unwrap().text(), "abcd");
    }

    #[tokio::test]
    async fn trailers_are_taken_only_when_they_were_announced() {
        let response = answered(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: t\r\n\r\n1\r\na\r\n0\r\nt: 1\r\n\r\n",
        );
        let response = response.await.unwrap();
        assert_eq!(
            (response.text().as_str(), response.header("t")),
            ("a", Some("1"))
        );
        let response =
            answered(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nt: 1\r\n\r\n");
        assert!(response.await.is_err());
    }

    #[tokio::test]
    async fn a_cut_body_is_an_error() {
        let response = answered(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc").await;
        assert!(response.is_err(), "{response:?}");
    }
}
