//! A client's connection as hyper sees it: writes must make progress, and an end is not a reset.
//!
//! hyper bounds the time of a request's head and `body` that of its body; a client that does not
//! read its answer is bounded here, or it would hold the answer's memory for ever.
//!
//! A socket that is closed while sent bytes lie unread is reset, and the client may lose the answer
//! that said why (413, 408, 431). So at the end the rest of what was sent is read and thrown away,
//! for a short time and only while there is some (RFC 9112 §9.6).

use std::future::Future as _;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

/// Longest time that unread bytes are thrown away for.
const LINGER: Duration = Duration::from_secs(2);
/// Most unread bytes that are thrown away.
const LINGER_BYTES: usize = 64 << 20;

/// How long sent bytes may stay unacknowledged where somebody waits for the other side to vanish.
const VANISHED: Duration = Duration::from_secs(10);

/// A connection whose other side may vanish without a word.
pub(crate) trait Socket {
    /// Ends the connection when sent bytes stay unacknowledged for this long.
    fn limit_unacknowledged(&self, limit: Duration) -> io::Result<()>;
}

impl Socket for TcpStream {
    fn limit_unacknowledged(&self, limit: Duration) -> io::Result<()> {
        let ms = u32::try_from(limit.as_millis()).map_err(io::Error::other)?;
        Ok(rustix::net::sockopt::set_tcp_user_timeout(self, ms)?)
    }
}

/// What a request asks of the connection that it came on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wishes(Arc<AtomicBool>);

impl Wishes {
    /// Closes the connection when the other side has acknowledged nothing for 10 s, although it has
    /// been sent something (`TCP_USER_TIMEOUT`, RFC 5482): it vanished without a word.
    pub(crate) fn notice_vanishing(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// A stream that fails a write which the other side has not accepted a byte of for a given time.
#[derive(Debug)]
pub(crate) struct ClientStream<S> {
    stream: S,
    timeout: Duration,
    /// Made at the first wait, and reused by the following ones.
    timer: Option<Pin<Box<Sleep>>>,
    /// When a write that waits now is given up.
    waits_until: Option<Instant>,
    ending: Ending,
    wishes: Wishes,
}

#[derive(Debug, Clone, Copy)]
enum Ending {
    NotYet,
    /// Our side is closed; this many bytes of theirs were thrown away.
    Lingering {
        thrown: usize,
        until: Instant,
    },
    Done,
}

impl<S> ClientStream<S> {
    pub(crate) fn new(stream: S, timeout: Duration) -> Self {
        Self {
            stream,
            timeout,
            timer: None,
            waits_until: None,
            ending: Ending::NotYet,
            wishes: Wishes::default(),
        }
    }

    /// Returns what requests can ask of the connection.
    pub(crate) fn wishes(&self) -> Wishes {
        self.wishes.clone()
    }

    fn progressed<T>(
        &mut self,
        cx: &mut Context<'_>,
        done: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.waits_until = None;
            return done;
        }
        let until = *self
            .waits_until
            .get_or_insert_with(|| Instant::from_std(crate::clock::now()) + self.timeout);
        ready!(self.poll_timer(cx, until));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client does not read",
        )))
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(cx)
    }
}

impl<S: AsyncRead + Unpin> ClientStream<S> {
    fn poll_linger(&mut self, cx: &mut Context<'_>, mut thrown: usize, until: Instant) -> Poll<()> {
        let mut space = [MaybeUninit::uninit(); 8 << 10];
        loop {
            let mut buffer = ReadBuf::uninit(&mut space);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() && thrown < LINGER_BYTES => {
                    thrown += buffer.filled().len();
                    self.ending = Ending::Lingering { thrown, until };
                }
                Poll::Ready(_) => return Poll::Ready(()),
                // Nothing was unread: the end will be no reset.
                Poll::Pending if thrown == 0 => return Poll::Ready(()),
                Poll::Pending => return self.poll_timer(cx, until),
            }
        }
    }
}

impl<S: Socket> ClientStream<S> {
    fn fulfil_wishes(&self) {
        if self.wishes.0.load(Ordering::Acquire)
            && self.wishes.0.swap(false, Ordering::AcqRel)
            && let Err(error) = self.stream.limit_unacknowledged(VANISHED)
        {
            tracing::warn!(%error, "cannot set TCP_USER_TIMEOUT: {error}");
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Socket + Unpin> AsyncWrite for ClientStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.fulfil_wishes();
        let done = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.progressed(cx, done)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.fulfil_wishes();
        let done = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.progressed(cx, done)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_flush(cx);
        self.progressed(cx, done)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(self.ending, Ending::NotYet) {
            let done = Pin::new(&mut self.stream).poll_shutdown(cx);
            ready!(self.progressed(cx, done))?;
            self.ending = Ending::Lingering {
                thrown: 0,
                until: Instant::from_std(crate::clock::now()) + LINGER,
            };
        }
        if let Ending::Lingering { thrown, until } = self.ending {
            ready!(self.poll_linger(cx, thrown, until));
            self.ending = Ending::Done;
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    impl Socket for tokio::io::DuplexStream {
        fn limit_unacknowledged(&self, _: Duration) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_reader_that_stops_ends_the_connection() {
        let (near, far) = tokio::io::duplex(16);
        let mut near = ClientStream::new(near, Duration::from_millis(20));
        near.write_all(&[0; 16]).await.unwrap();
        let error = near.write_all(&[0; 16]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(far);
    }

    #[tokio::test]
    async fn an_end_takes_what_is_unread_and_waits_for_nothing_else() {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let mut near = ClientStream::new(near, Duration::from_secs(60));
        near.shutdown().await.unwrap();
        let (near, mut busy) = tokio::io::duplex(1 << 20);
        let mut near = ClientStream::new(near, Duration::from_secs(60));
        busy.write_all(&[0; 100_000]).await.unwrap();
        let sender = tokio::spawn(async move {
            let mut rest = Vec::new();
            busy.read_to_end(&mut rest).await.unwrap();
            busy.write_all(&[0; 900_000]).await
        });
        near.write_all(b"why").await.unwrap();
        near.shutdown().await.unwrap();
        assert!(sender.await.unwrap().is_ok(), "nothing was cut off");
        assert_eq!(far.read(&mut [0; 4]).await.unwrap(), 0);
    }
}
