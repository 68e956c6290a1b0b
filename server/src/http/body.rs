//! Request bodies: read whole, within a limit, from clients that make progress.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use conclave_shared::{ErrorCode, limits};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;

use super::error::Failure;

/// Reads a whole body of at most [`limits::BODY_BYTES`].
///
/// A body announced to be larger is refused unread, and so is the connection's next request.
///
/// # Errors
///
/// 413 above the limit, 408 when nothing arrives for `idle`, 400 when it breaks off.
pub(crate) async fn read(mut body: Body, idle: Duration) -> Result<Bytes, Failure> {
    let most = limits::BODY_BYTES;
    if body.size_hint().lower() > most as u64 {
        return Err(too_large());
    }
    let Some(first) = next_chunk(&mut body, idle).await? else {
        return Ok(Bytes::new());
    };
    if body.is_end_stream() && first.len() <= most {
        // A copy: the chunk is a window on the connection's read buffer of 8 KiB or more, which a
        // stored value would keep alive as a whole.
        return Ok(Bytes::copy_from_slice(&first));
    }
    let expected = usize::try_from(body.size_hint().lower())
        .unwrap_or(0)
        .min(most);
    let mut whole = Vec::with_capacity(first.len() + expected);
    whole.extend_from_slice(&first);
    while let Some(chunk) = next_chunk(&mut body, idle).await? {
        if whole.len() + chunk.len() > most {
            return Err(too_large());
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(Bytes::from(whole))
}

/// Reads a body as JSON, whatever its content type says.
///
/// # Errors
///
/// As [`read`], and 400 for anything but one JSON object of this shape.
pub(crate) async fn read_json<T: DeserializeOwned>(
    body: Body,
    idle: Duration,
) -> Result<T, Failure> {
    parse_json(&read(body, idle).await?)
}

pub(crate) fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    // serde would take an array for a structure whose fields may all be missing.
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Err(Failure::invalid("the body is no JSON object"));
    }
    serde_json::from_slice(bytes)
        .map_err(|error| Failure::invalid(format!("the body is not the JSON wanted here: {error}")))
}

async fn next_chunk(body: &mut Body, idle: Duration) -> Result<Option<Bytes>, Failure> {
    loop {
        let Ok(frame) = tokio::time::timeout(idle, body.frame()).await else {
            let detail = format!("no byte of the body arrived for {} ms", idle.as_millis());
            return Err(Failure::new(ErrorCode::BodyTimeout, detail));
        };
        match frame {
            None => return Ok(None),
            Some(Err(error)) => {
                return Err(Failure::invalid(format!("the body broke off: {error}")));
            }
            // Trailers carry nothing for us, and an empty chunk is no end.
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if !data.is_empty() => return Ok(Some(data)),
                Ok(_) | Err(_) => {}
            },
        }
    }
}

fn too_large() -> Failure {
    Failure::too_large("the request body is too large", limits::BODY_BYTES)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::stream;

    use super::*;

    const IDLE: Duration = Duration::from_millis(20);

    fn chunks(chunks: Vec<Bytes>) -> Body {
        Body::from_stream(stream::iter(chunks.into_iter().map(Ok::<_, Infallible>)))
    }

    #[tokio::test]
    async fn chunks_are_joined_up_to_the_limit() {
        assert_eq!(read(Body::empty(), IDLE).await.unwrap(), "");
        assert_eq!(read(Body::from("whole"), IDLE).await.unwrap(), "whole");
        let parts = ["a", "", "b"].map(Bytes::from).to_vec();
        assert_eq!(read(chunks(parts), IDLE).await.unwrap(), "ab");
        let megabyte = Bytes::from(vec![0; 1 << 20]);
        assert_eq!(
            read(chunks(vec![megabyte.clone(); 8]), IDLE)
                .await
                .unwrap()
                .len(),
            8 << 20
        );
        let above = [vec![megabyte; 8], vec![Bytes::from_static(b"x")]].concat();
        assert_eq!(
            read(chunks(above), IDLE).await.unwrap_err().code(),
            ErrorCode::TooLarge
        );
        let announced = Body::from(vec![0; (8 << 20) + 1]);
        assert_eq!(
            read(announced, IDLE).await.unwrap_err().code(),
            ErrorCode::TooLarge
        );
    }

    #[tokio::test]
    async fn a_body_that_stops_is_given_up() {
        let stuck = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
        assert_eq!(
            read(stuck, IDLE).await.unwrap_err().code(),
            ErrorCode::BodyTimeout
        );
    }
}
