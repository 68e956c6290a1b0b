//! The listener: accepts connections, bounds them, and stops them in order.
//!
//! `axum::serve` sets no timer, so a client that sends half a header would hold its connection for
//! ever; hence this loop. HTTP/1.1 only.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::time::Instant;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service as _;

use super::measure::Begun;
use super::service::{RequestService, service};
use super::state::Edge;
use super::stream::ClientStream;

/// Pause after an accept error that concerns the process and not one connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// At most one warning of a kind in this time.
const WARN_EVERY: Duration = Duration::from_secs(10);
/// How often the edge lets go of what nobody uses.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// Routes that may ask something of their connection.
const LOCKS: &str = "/api/locks";

/// Limits of the listener and its connections.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// Connections at a time, from all clients; further ones wait to be accepted.
    pub max_connections: usize,
    /// Longest time from the start of waiting for a request to the end of its head. It ends idle
    /// connections too.
    pub header_timeout: Duration,
    /// Largest head of a request, bytes; 431 above it.
    pub max_header_bytes: usize,
    /// Longest time without a byte of a request's body; 408 after it.
    pub body_idle_timeout: Duration,
    /// Longest time that a client accepts no byte of an answer.
    pub write_idle_timeout: Duration,
    /// Longest time that a stream waits for a node that is starting.
    pub starting_wait: Duration,
    /// Time that running requests get to finish when the node stops.
    pub stop_grace: Duration,
    /// Clients' changes are refused.
    pub read_only: bool,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            max_connections: 4_096,
            header_timeout: Duration::from_secs(10),
            max_header_bytes: 64 << 10,
            body_idle_timeout: Duration::from_secs(30),
            write_idle_timeout: Duration::from_secs(30),
            starting_wait: Duration::from_secs(20),
            stop_grace: Duration::from_secs(5),
            read_only: false,
        }
    }
}

/// Serves HTTP until `stop`, then lets running requests finish and returns.
///
/// Returns at the latest [`HttpOptions::stop_grace`] after `stop`. Dropping the future stops
/// accepting, but leaves connections that are open to run out by themselves.
pub async fn serve(listener: TcpListener, edge: Edge, stop: CancellationToken) {
    let options = edge.options().clone();
    let server = Server {
        service: service(edge.clone()),
        slots: Arc::new(Semaphore::new(options.max_connections)),
        connections: TaskTracker::new(),
        options,
        stop,
    };
    let mut sweep = tokio::time::interval(SWEEP_EVERY);
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut warnings = Warnings::default();
    loop {
        tokio::select! {
            biased;
            () = server.stop.cancelled() => break,
            _ = sweep.tick() => edge.sweep(),
            accepted = server.accept(&listener, &mut warnings) => {
                if let Some((stream, slot)) = accepted {
                    server.start(stream, slot);
                }
            }
        }
    }
    drop(listener);
    server.connections.close();
    server.connections.wait().await;
}

struct Server {
    service: RequestService,
    slots: Arc<Semaphore>,
    connections: TaskTracker,
    options: HttpOptions,
    stop: CancellationToken,
}

impl Server {
    /// Waits for a free slot and a connection. Cancellation loses neither.
    async fn accept(
        &self,
        listener: &TcpListener,
        warnings: &mut Warnings,
    ) -> Option<(TcpStream, OwnedSemaphorePermit)> {
        if self.slots.available_permits() == 0 && warnings.may_warn_of_limit() {
            let limit = self.options.max_connections;
            tracing::warn!(limit, "{limit} connections are open, further ones wait");
        }
        let slot = self.slots.clone().acquire_owned().await.ok()?;
        match listener.accept().await {
            Ok((stream, _)) => Some((stream, slot)),
            Err(error) if concerns_one_connection(&error) => None,
            Err(error) => {
                if warnings.may_warn_of_accept() {
                    tracing::warn!(%error, "cannot accept connections: {error}");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
                None
            }
        }
    }

    fn start(&self, stream: TcpStream, slot: OwnedSemaphorePermit) {
        // Without it a small answer could wait for the client's delayed acknowledgement.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        let service = self.service.clone();
        let stream = ClientStream::new(stream, self.options.write_idle_timeout);
        let wishes = stream.wishes();
        let handler = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            if request.uri().path().starts_with(LOCKS) {
                request.extensions_mut().insert(wishes.clone());
            }
            answer(service.clone(), request)
        });
        let io = TokioIo::new(stream);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.options.header_timeout)
            .max_header_size(self.options.max_header_bytes)
            // No `pipeline_flush`: with it hyper 1.12 never sends a 431, because unread bytes of
            // the head look to it like a next request to wait for.
            .serve_connection(io, handler);
        let (stop, grace) = (self.stop.clone(), self.options.stop_grace);
        self.connections.spawn(async move {
            let _slot = slot;
            let mut connection = std::pin::pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => Some(ended),
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    tokio::time::timeout(grace, connection).await.ok()
                }
            };
            match ended {
                Some(Ok(())) => {}
                Some(Err(error)) => tracing::debug!(%error, "a connection ended: {error}"),
                None => tracing::debug!("a connection did not finish in time and was closed"),
            }
        });
    }
}

async fn answer(
    mut service: RequestService,
    request: Request<Incoming>,
) -> Result<Response<impl http_body::Body<Data = bytes::Bytes, Error: Into<BoxError>>>, Infallible>
{
    // Most requests have no body: then nothing is allocated for it.
    let request = request.map(|body| {
        if body.is_end_stream() {
            Body::empty()
        } else {
            Body::new(body)
        }
    });
    let begun = Begun::new(&request);
    let response = service.call(request).await?;
    begun.end(service.get_ref().metrics(), &response);
    Ok(response)
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

/// Keeps a lasting condition from filling the log.
#[derive(Debug, Default)]
struct Warnings {
    accept: Option<Instant>,
    limit: Option<Instant>,
}

impl Warnings {
    fn may_warn_of_accept(&mut self) -> bool {
        is_due(&mut self.accept)
    }

    fn may_warn_of_limit(&mut self) -> bool {
        is_due(&mut self.limit)
    }
}

fn is_due(last: &mut Option<Instant>) -> bool {
    let now = crate::clock::now();
    let due = last.is_none_or(|last| now.duration_since(last) >= WARN_EVERY);
    if due {
        *last = Some(now);
    }
    due
}
