//! A small HTTP client for a node's own API.

use std::time::Duration;

use bytes::Bytes;
use conclave_shared::Problem;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use crate::config::HostPort;

/// Longest wait for a connection, and for one more piece of an answer.
const CONNECT: Duration = Duration::from_secs(5);
const PIECE: Duration = Duration::from_secs(30);
/// Most that is read of a short answer, bytes.
const SHORT: usize = 1 << 20;

/// An answer whose body is yet to come.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// `Content-Length`.
    pub(super) length: Option<u64>,
    body: Incoming,
    /// Ends with the answer.
    _connection: AbortOnDropHandle<hyper::Result<()>>,
}

/// Sends a GET and waits for the head of its answer, at most `limit`.
pub(super) async fn get(node: &HostPort, path: &str, limit: Duration) -> Result<Answer, String> {
    let late = |what: &str| format!("{node}: {what}");
    let connect = TcpStream::connect((node.host.as_str(), node.port));
    let stream = tokio::time::timeout(CONNECT.min(limit), connect)
        .await
        .map_err(|_elapsed| late("no connection in time"))?
        .map_err(|error| late(&error.to_string()))?;
    let request = Request::get(path)
        .header("host", node.to_string())
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let ask = async {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = AbortOnDropHandle::new(tokio::spawn(connection));
        Ok::<_, hyper::Error>((sender.send_request(request).await?, connection))
    };
    let (response, connection) = tokio::time::timeout(limit, ask)
        .await
        .map_err(|_elapsed| late("no answer in time"))?
        .map_err(|error| late(&format!("it does not speak HTTP: {error}")))?;
    let length = response.headers().get("content-length");
    Ok(Answer {
        status: response.status().as_u16(),
        length: length.and_then(|length| length.to_str().ok()?.parse().ok()),
        body: response.into_body(),
        _connection: connection,
    })
}

impl Answer {
    /// Returns the next piece of the body; `None` at its end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, String> {
        loop {
            let frame = tokio::time::timeout(PIECE, self.body.frame())
                .await
                .map_err(|_elapsed| format!("nothing came for {PIECE:?}"))?;
            match frame {
                None => return Ok(None),
                Some(Err(error)) => return Err(error.to_string()),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// Returns the whole body of a short answer.
    pub(super) async fn whole(mut self) -> Result<Vec<u8>, String> {
        let mut body = Vec::new();
        while let Some(piece) = self.next().await? {
            body.extend_from_slice(&piece);
            if body.len() > SHORT {
                return Err(format!("an answer of more than {SHORT} bytes"));
            }
        }
        Ok(body)
    }

    /// Says why the node has refused.
    pub(super) async fn refusal(self) -> String {
        let status = self.status;
        let body = self.whole().await.unwrap_or_default();
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => format!("{status} {}: {}", problem.code, problem.detail),
            Err(_no_problem) => format!("it answers {status} and may be no Conclave node"),
        }
    }
}
