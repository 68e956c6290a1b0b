//! A change stream read as cheaply as it can be: for many readers at once, of which each wants the
//! ids and a few bytes of the data. What is not an event of ours is an error.

use std::io;
use std::time::Instant;

use memchr::{memchr, memmem};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Bytes read at a time.
const READ_BYTES: usize = 32 << 10;
/// Longest head of an answer, and longest event.
const MOST_BYTES: usize = 16 << 20;

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedEvent<'a> {
    pub name: &'a [u8],
    pub id: Option<u64>,
    pub data: &'a [u8],
    /// When its end was read.
    pub at: Instant,
}

/// An open stream of events.
#[derive(Debug)]
pub struct Feed {
    stream: TcpStream,
    /// As it came: chunks with their sizes.
    raw: Vec<u8>,
    /// Bytes of the body up to the next chunk's size; the line end after a chunk is part of that.
    left: usize,
    /// The body that is not used yet.
    text: Vec<u8>,
    /// What came along with the head has not been looked at.
    is_new: bool,
}

impl Feed {
    /// Asks `host:port` for a stream and reads the head of the answer.
    ///
    /// # Errors
    ///
    /// Nobody is there, or the answer is not 200 and chunked.
    pub async fn open(address: &str, target: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        Self::over(stream, address, target).await
    }

    /// Asks for a stream over a connection.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub async fn over(mut stream: TcpStream, host: &str, target: &str) -> io::Result<Self> {
        stream.write_all(request(host, target).as_bytes()).await?;
        let mut feed = Self {
            stream,
            raw: Vec::new(),
            left: 0,
            text: Vec::new(),
            is_new: true,
        };
        let head = loop {
            if let Some(at) = memmem::find(&feed.raw, b"\r\n\r\n") {
                break at;
            }
            feed.fill().await?;
        };
        let text = String::from_utf8_lossy(&feed.raw[..head]).to_ascii_lowercase();
        let is_stream = text.starts_with("http/1.1 200 ")
            && text.contains("\r\ncontent-type: text/event-stream")
            && text.contains("\r\ntransfer-encoding: chunked");
        if !is_stream {
            return Err(bad(&String::from_utf8_lossy(&feed.raw)));
        }
        // The line end before the first chunk's size stays.
        feed.raw.drain(..head + 2);
        Ok(feed)
    }

    /// Waits for more, and gives every event that is whole to `each`. Returns false at the end of the
    /// stream. Cancel safe.
    ///
    /// # Errors
    ///
    /// The connection fails or ends without the end of the stream, or it is no stream of events.
    pub async fn read(&mut self, mut each: impl FnMut(FeedEvent<'_>)) -> io::Result<bool> {
        if !std::mem::take(&mut self.is_new) {
            self.fill().await?;
        }
        let goes_on = self.unchunk()?;
        let now = Instant::now();
        let (mut used, mut at) = (0, 0);
        let mut block = Block::default();
        while let Some(length) = memchr(b'\n', &self.text[at..]) {
            let line = &self.text[at..at + length];
            at += length + 1;
            if !line.is_empty() {
                block.line(line)?;
                continue;
            }
            used = at;
            if let Some(event) = std::mem::take(&mut block).end(now)? {
                each(event);
            }
        }
        self.text.drain(..used);
        Ok(goes_on)
    }

    async fn fill(&mut self) -> io::Result<()> {
        if self.raw.len() + self.text.len() > MOST_BYTES {
            return Err(bad("an event or a head without an end"));
        }
        self.raw.reserve(READ_BYTES);
        match self.stream.read_buf(&mut self.raw).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Takes the body out of its chunks; returns false after the last one.
    fn unchunk(&mut self) -> io::Result<bool> {
        let mut at = 0;
        let mut goes_on = true;
        while at < self.raw.len() {
            if self.left == 0 {
                let rest = &self.raw[at..];
                // "\r\n<size>\r\n"
                let Some(length) = rest.get(2..).and_then(|rest| memmem::find(rest, b"\r\n"))
                else {
                    break;
                };
                let size = std::str::from_utf8(&rest[2..2 + length]).ok();
                let size = size.and_then(|size| usize::from_str_radix(size, 16).ok());
                self.left = size.ok_or_else(|| bad("no size of a chunk"))?;
                at += length + 4;
                goes_on = self.left > 0;
                if !goes_on {
                    break;
                }
            }
            let part = self.left.min(self.raw.len() - at);
            self.text.extend_from_slice(&self.raw[at..at + part]);
            at += part;
            self.left -= part;
        }
        self.raw.drain(..at);
        Ok(goes_on)
    }
}

/// Returns what asks `host` for a stream.
#[must_use]
pub fn request(host: &str, target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n\r\n")
}

/// The fields of an event.
#[derive(Debug, Default)]
struct Block<'a> {
    name: Option<&'a [u8]>,
    id: Option<u64>,
    data: Option<&'a [u8]>,
}

impl<'a> Block<'a> {
    fn line(&mut self, line: &'a [u8]) -> io::Result<()> {
        if let Some(rest) = line.strip_prefix(b"data: ") {
            self.data = Some(rest);
        } else if let Some(rest) = line.strip_prefix(b"event: ") {
            self.name = Some(rest);
        } else if let Some(rest) = line.strip_prefix(b"id: ") {
            let number = std::str::from_utf8(rest).ok();
            self.id = number.and_then(|number| number.parse().ok());
            self.id.ok_or_else(|| bad("an id that is no number"))?;
        }
        Ok(())
    }

    /// Returns the event; `None` when there were only comments or `retry`.
    fn end(self, at: Instant) -> io::Result<Option<FeedEvent<'a>>> {
        let Self { name, id, data } = self;
        match (name, data) {
            (Some(name), Some(data)) => Ok(Some(FeedEvent { name, id, data, at })),
            (None, None) if id.is_none() => Ok(None),
            _ => Err(bad(&format!("half an event: {self:?}"))),
        }
    }
}

fn bad(what: &str) -> io::Error {
    let start: String = what.chars().take(300).collect();
    io::Error::new(io::ErrorKind::InvalidData, start)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Returns all events of an answer that is sent in two parts.
    async fn events_of(answer: &str, cut: usize) -> io::Result<Vec<(String, Option<u64>, String)>> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let server = async {
            let (mut stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            stream.write_all(&answer.as_bytes()[..cut]).await?;
            tokio::task::yield_now().await;
            stream.write_all(&answer.as_bytes()[cut..]).await
        };
        let client = async {
            let mut feed = Feed::open(&address, "/").await?;
            let mut all = Vec::new();
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let each = |event: FeedEvent<'_>| {
                all.push((text(event.name), event.id, text(event.data)));
            };
            let mut each = each;
            while feed.read(&mut each).await? {}
            Ok(all)
        };
        Ok(tokio::try_join!(server, client)?.1)
    }

    #[tokio::test]
    async fn events_are_found_wherever_the_answer_is_cut() {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                    Transfer-Encoding: chunked\r\n\r\n";
        let body = "10\r\nretry: 1\n\nid: 7\n\r\n15\r\nevent: put\ndata: {}\n\n\r\n4\r\n: \n\n\r\n\
                    17\r\nevent: ping\ndata: {1}\n\n\r\n0\r\n\r\n";
        let answer = format!("{head}{body}");
        let wanted = vec![
            ("put".to_owned(), Some(7), "{}".to_owned()),
            ("ping".to_owned(), None, "{1}".to_owned()),
        ];
        for cut in (head.len() - 3)..answer.len() {
            assert_eq!(
                events_of(&answer, cut).await.unwrap(),
                wanted,
                "cut at {cut}"
            );
        }
    }

    #[tokio::test]
    async fn what_is_no_stream_is_an_error() {
        for answer in [
            "HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n\
             9\r\ndata: 1\n\n\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
        ] {
            assert!(events_of(answer, 5).await.is_err(), "{answer}");
        }
    }
}
