//! One connection of the event stream, from its request to its end. It knows no pages: it hands what
//! comes to the live view, which decides when the next one is made.

use conclave_shared::Problem;
use gloo_net::http::Response;
use wasm_bindgen::JsCast;
use web_sys::{AbortSignal, ReadableStreamDefaultReader};

use super::{Live, http::Request};
use crate::model::live::{
    resume::End,
    sse::{Message, Parser},
};

/// Status of an answer to a resume point that is too old.
pub(super) const GONE: u16 = 410;

/// Opens the stream at a target and reads it until it ends or the signal ends it.
pub(crate) async fn listen(live: Live, number: u64, target: String, signal: AbortSignal) {
    let request = Request::get(target).header("accept", "text/event-stream");
    let end = match request.start(&signal).await {
        Ok(response) if is_stream(&response) => {
            let take = |messages| {
                live.received(number, messages);
                true
            };
            read(&response, &take).await;
            End::Broken
        }
        Ok(response) if response.status() == GONE => {
            let body = response.binary().await.unwrap_or_default();
            let problem = serde_json::from_slice::<Problem>(&body);
            End::Gone(problem.ok().and_then(|problem| problem.oldest))
        }
        Ok(response) => End::Refused(response.status()),
        Err(_) => End::Broken,
    };
    live.ended(number, end);
}

pub(super) fn is_stream(response: &Response) -> bool {
    let kind = response.headers().get("content-type").unwrap_or_default();
    response.status() == 200 && kind.starts_with("text/event-stream")
}

/// Hands over what comes, until the stream ends, breaks, or is none, or `take` wants no more.
pub(super) async fn read(response: &Response, take: &dyn Fn(Vec<Message>) -> bool) {
    let Some(body) = response.body() else { return };
    let reader: ReadableStreamDefaultReader = body.get_reader().unchecked_into();
    let mut parser = Parser::default();
    while let Ok(piece) = reader.read().await {
        let Some(bytes) = bytes_of(&piece) else {
            return;
        };
        match parser.push(&bytes) {
            Ok(messages) => {
                if !take(messages) {
                    return;
                }
            }
            Err(_) => return,
        }
    }
}

/// The bytes of a read; none at the end of the stream.
fn bytes_of(piece: &wasm_bindgen::JsValue) -> Option<Vec<u8>> {
    let value = js_sys::Reflect::get(piece, &"value".into()).ok()?;
    let bytes = value.dyn_ref::<js_sys::Uint8Array>()?;
    Some(bytes.to_vec())
}
