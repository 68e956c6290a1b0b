//! A small HTTP/1.1 client that shows everything: status, headers and body as they came.
//!
//! It keeps its connection, never repeats a request and follows no redirect unless asked, so that a
//! test knows what the server got. Failures say whether the request can have reached the server.

pub(crate) mod body;
mod chunks;
mod connection;
mod message;
pub mod openmetrics;
mod problem;
pub mod transcript;

use std::time::Duration;

use tokio::time::timeout;

pub use connection::Connection;
pub use message::{Request, Response};
pub use problem::{assert_is_problem, assert_problem};

/// Longest wait for an answer, unless [`Client::with_timeout`] says otherwise.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Redirects followed by [`Client::send_following`].
const REDIRECTS: usize = 5;

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    /// No connection was made: the server never saw the request.
    NotSent(anyhow::Error),
    /// The request may have arrived.
    Unknown(anyhow::Error),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotSent(error) => write!(f, "not sent: {error:#}"),
            Self::Unknown(error) => write!(f, "no answer: {error:#}"),
        }
    }
}

impl std::error::Error for Failure {}

/// A client of one server, with one connection that is opened when it is needed.
#[derive(Debug)]
pub struct Client {
    address: String,
    connection: Option<Connection>,
    timeout: Duration,
}

impl Client {
    /// Makes a client of `host:port`; connects with the first request.
    #[must_use]
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            connection: None,
            timeout: ANSWER_WITHIN,
        }
    }

    /// Sets the longest wait for an answer.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Returns the server's `host:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    ///
    /// See [`Failure`]. The connection is then dropped.
    pub async fn send(&mut self, request: &Request) -> Result<Response, Failure> {
        let mut connection = match self.connection.take() {
            Some(connection) if connection.is_open() => connection,
            _ => timeout(self.timeout, Connection::open(&self.address))
                .await
                .map_err(anyhow::Error::from)
                .flatten()
                .map_err(Failure::NotSent)?,
        };
        let exchange = connection.exchange(request, &self.address);
        let response = timeout(self.timeout, exchange)
            .await
            .map_err(anyhow::Error::from)
            .flatten()
            .map_err(|error| {
                let context = format!("{request} at {}", self.address);
                Failure::Unknown(error.context(context))
            })?;
        if response.keeps_alive() {
            self.connection = Some(connection);
        }
        Ok(response)
    }

    /// Like [`Self::send`], and follows redirects to other servers with method and body kept.
    ///
    /// # Errors
    ///
    /// As [`Self::send`], and when redirects go on for too long or lead nowhere.
    pub async fn send_following(&mut self, request: &Request) -> Result<Response, Failure> {
        let mut response = self.send(request).await?;
        let mut request = request.clone();
        for _ in 0..REDIRECTS {
            if !matches!(response.status, 307 | 308) {
                return Ok(response);
            }
            let location = response.header("location").unwrap_or_default().to_owned();
            let Some((address, target)) = split_url(&location) else {
                return Err(Failure::Unknown(anyhow::anyhow!(
                    "redirect to `{location}`"
                )));
            };
            request.target = target;
            response = Self::new(address)
                .with_timeout(self.timeout)
                .send(&request)
                .await?;
        }
        Err(Failure::Unknown(anyhow::anyhow!(
            "more than {REDIRECTS} redirects"
        )))
    }
}

/// Splits `http://host:port/path` into `host:port` and `/path`; the scheme may be absent.
#[must_use]
pub fn split_url(url: &str) -> Option<(String, String)> {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let (address, target) = match rest.find(['/', '?']) {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    let target = if target.starts_with('?') {
        format!("/{target}")
    } else {
        target.to_owned()
    };
    (!address.is_empty()).then(|| (address.to_owned(), target))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_split_with_and_without_a_scheme() {
        let parts = |a: &str, t: &str| Some((a.to_owned(), t.to_owned()));
        assert_eq!(
            split_url("localhost:1/key/foo?a=b"),
            parts("localhost:1", "/key/foo?a=b")
        );
        assert_eq!(split_url("http://h:1"), parts("h:1", "/"));
        assert_eq!(split_url("/only/a/path"), None);
    }
}
