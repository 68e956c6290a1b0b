//! Requests to a node: the serving one, or another member by its address.

use std::pin::Pin;

use conclave_shared::Problem;
use gloo_net::http::{Headers, Method, RequestBuilder, Response};
use serde::de::DeserializeOwned;
use wasm_bindgen::JsValue;
use web_sys::{AbortController, AbortSignal};

use crate::model::failure::Failure;

/// Longest wait for an answer when a request names none. A node answers a write within an election
/// timeout and a lease, or says that it cannot.
const TIMEOUT_MS: u32 = 10_000;

/// An answer that is waited for. Boxed, so that who waits does not contain how.
pub(crate) type Pending = Pin<Box<dyn Future<Output = Result<Answer, Failure>>>>;

/// A request that is being made.
pub(crate) struct Request {
    method: Method,
    url: String,
    headers: Vec<(&'static str, String)>,
    body: Option<JsValue>,
    timeout_ms: u32,
    abort: Option<AbortSignal>,
}

impl Request {
    /// A request to the serving node; `target` is a path with its query, such as `/api/status`.
    pub(crate) fn new(method: Method, target: impl Into<String>) -> Self {
        Self {
            method,
            url: target.into(),
            headers: Vec::new(),
            body: None,
            timeout_ms: TIMEOUT_MS,
            abort: None,
        }
    }

    /// Reads from the serving node.
    pub(crate) fn get(target: impl Into<String>) -> Self {
        Self::new(Method::GET, target)
    }

    /// Sends it to the member with this HTTP address instead. Members answer reads only.
    pub(crate) fn at(mut self, address: &str) -> Self {
        self.url = format!("http://{address}{}", self.url);
        self
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn text(self, body: &str) -> Self {
        self.body(JsValue::from_str(body))
    }

    pub(crate) fn body(mut self, body: JsValue) -> Self {
        self.body = Some(body);
        self
    }

    pub(crate) const fn timeout(mut self, ms: u32) -> Self {
        self.timeout_ms = ms;
        self
    }

    /// Lets somebody end the request early.
    pub(crate) fn abort(mut self, controller: &AbortController) -> Self {
        self.abort = Some(controller.signal());
        self
    }

    /// Sends it and reads the whole answer.
    ///
    /// # Errors
    ///
    /// Whatever is no answer with a status of 2xx.
    pub(crate) fn send(self) -> Pending {
        Box::pin(async move {
            let answer = self.exchange().await?;
            match answer.status {
                200..=299 => Ok(answer),
                _ => Err(answer.refusal()),
            }
        })
    }

    /// Sends it and reads the whole answer, whatever its status.
    ///
    /// # Errors
    ///
    /// When there is no answer.
    pub(crate) fn exchange(self) -> Pending {
        Box::pin(self.exchange_now())
    }

    async fn exchange_now(self) -> Result<Answer, Failure> {
        let timeout_ms = self.timeout_ms;
        let clock = AbortSignal::timeout_with_u32(timeout_ms);
        let signal = match &self.abort {
            Some(abort) => AbortSignal::any(&js_sys::Array::of2(abort, &clock)),
            None => clock.clone(),
        };
        let failed = |error: gloo_net::Error| {
            if clock.aborted() {
                Failure::TimedOut(timeout_ms)
            } else {
                Failure::Unreachable(error.to_string())
            }
        };
        let response = self.start(&signal).await.map_err(failed)?;
        let (status, headers) = (response.status(), response.headers());
        let body = response.binary().await.map_err(failed)?;
        Ok(Answer {
            status,
            headers,
            body,
        })
    }

    /// Sends it and reads the answer's JSON.
    ///
    /// # Errors
    ///
    /// As [`Request::send`], or that the answer is another JSON.
    pub(crate) fn json<T: DeserializeOwned>(self) -> impl Future<Output = Result<T, Failure>> {
        let sent = self.header("accept", "application/json").send();
        async move { sent.await?.json() }
    }

    /// Sends it and returns the answer's head; its body comes as the node writes it.
    pub(crate) async fn start(self, signal: &AbortSignal) -> Result<Response, gloo_net::Error> {
        let mut builder = RequestBuilder::new(&self.url)
            .method(self.method)
            .abort_signal(Some(signal));
        for (name, value) in &self.headers {
            builder = builder.header(name, value);
        }
        match self.body {
            Some(body) => builder.body(body)?.send().await,
            None => builder.send().await,
        }
    }
}

/// A whole answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Headers,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// Returns what an answer with a status other than 2xx says.
    pub(crate) fn refusal(&self) -> Failure {
        Failure::Refused {
            status: self.status,
            problem: serde_json::from_slice::<Problem>(&self.body)
                .ok()
                .map(Box::new),
            body: String::from_utf8_lossy(&self.body).into_owned(),
        }
    }

    /// Returns a header's value.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name)
    }

    /// Returns a header that is a number, such as `Conclave-Revision`.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.header(name)?.parse().ok()
    }

    /// Reads the body as JSON.
    ///
    /// # Errors
    ///
    /// When it is another JSON, or none.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.body).map_err(malformed)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the form that map_err wants")]
fn malformed(error: serde_json::Error) -> Failure {
    Failure::Malformed(error.to_string())
}
