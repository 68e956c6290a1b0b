//! A watcher that asks for a stream and never reads what comes.

use std::io;
use std::time::{Duration, Instant};

use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::timeout;

use crate::load::feed::request;

/// What its kernel takes for it: the least that there is.
const RECEIVE_BYTES: u32 = 2_048;
/// Longest wait for the end of a connection that the server has closed.
const END_WITHIN: Duration = Duration::from_secs(5);

/// An open connection that is not read.
#[derive(Debug)]
pub struct Stalled {
    stream: TcpStream,
    opened: Instant,
    client: u16,
    server: u16,
}

impl Stalled {
    /// Asks `host:port` for a stream.
    ///
    /// # Errors
    ///
    /// Nobody is there.
    pub async fn open(address: &str, target: &str) -> io::Result<Self> {
        let mut failure = io::ErrorKind::NotFound.into();
        for server in lookup_host(address).await? {
            let socket = match server.is_ipv4() {
                true => TcpSocket::new_v4()?,
                false => TcpSocket::new_v6()?,
            };
            socket.set_recv_buffer_size(RECEIVE_BYTES)?;
            let mut stream = match socket.connect(server).await {
                Ok(stream) => stream,
                Err(error) => {
                    failure = error;
                    continue;
                }
            };
            stream
                .write_all(request(address, target).as_bytes())
                .await?;
            return Ok(Self {
                opened: Instant::now(),
                client: stream.local_addr()?.port(),
                server: server.port(),
                stream,
            });
        }
        Err(failure)
    }

    /// Returns when it asked.
    #[must_use]
    pub const fn opened(&self) -> Instant {
        self.opened
    }

    /// Returns its own port; see [`open_connections`](crate::cluster::usage::open_connections).
    #[must_use]
    pub const fn client(&self) -> u16 {
        self.client
    }

    /// Returns the server's port.
    #[must_use]
    pub const fn server(&self) -> u16 {
        self.server
    }

    /// Reads what is left of a connection that the server has closed, and says how it ended.
    pub async fn read_end(mut self) -> String {
        let mut rest = Vec::new();
        let ended = timeout(END_WITHIN, self.stream.read_to_end(&mut rest)).await;
        let read = rest.len();
        if memmem::find(&rest, b"event: lagged").is_some() {
            return format!("`lagged` after {read} bytes");
        }
        match ended {
            Ok(Ok(_)) => format!("cut off after {read} bytes"),
            Ok(Err(error)) => format!("{error} after {read} bytes"),
            Err(_) => format!("still open after {read} bytes"),
        }
    }
}
