//! Changes: each under an id of its own, so that its outcome is never guessed.

use conclave_shared::{FirstOutcome, RequestOutcome};
use gloo_net::http::{Headers, Method};
use wasm_bindgen::JsValue;

use super::http::{Answer, Request};
use crate::{
    dom::{monotonic_ms, pause},
    model::{
        address::escape,
        failure::Failure,
        live::fate::{Fate, Step},
    },
};

pub(crate) use crate::model::live::fate::Phase;

/// Longest wait for one answer: a node knows within an election timeout and a lease.
const ATTEMPT_MS: u32 = 8_000;
/// Longest wait for what became of an id.
const LOOK_UP_MS: u32 = 2_000;

/// A change that is being made.
pub(crate) struct Write {
    method: Method,
    target: String,
    headers: Vec<(&'static str, String)>,
    body: Option<JsValue>,
    id: String,
}

impl Write {
    /// A change by any method at a path with its query, such as `/api/locks/a/renew`.
    pub(crate) fn of(method: Method, target: impl Into<String>) -> Self {
        Self {
            method,
            target: target.into(),
            headers: vec![("conclave-client", "dashboard".to_owned())],
            body: None,
            id: new_id(),
        }
    }

    /// Puts a value under a key.
    pub(crate) fn put(key: &str) -> Self {
        Self::of(Method::PUT, format!("/api/keys?key={}", escape(key)))
    }

    /// Deletes a key.
    pub(crate) fn delete(key: &str) -> Self {
        Self::of(Method::DELETE, format!("/api/keys?key={}", escape(key)))
    }

    /// Adds a parameter.
    pub(crate) fn query(mut self, name: &str, value: &str) -> Self {
        self.target
            .push(if self.target.contains('?') { '&' } else { '?' });
        self.target.push_str(name);
        self.target.push('=');
        self.target.push_str(&escape(value));
        self
    }

    /// Makes it depend on the key's last revision; 0: that there is no such key.
    pub(crate) fn cas(self, revision: u64) -> Self {
        self.query("cas", &revision.to_string())
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn content_type(self, value: &str) -> Self {
        self.header("content-type", value)
    }

    pub(crate) fn body_text(mut self, body: &str) -> Self {
        self.body = Some(JsValue::from_str(body));
        self
    }

    pub(crate) fn body_bytes(mut self, body: &[u8]) -> Self {
        self.body = Some(js_sys::Uint8Array::from(body).into());
        self
    }

    /// Sends it until its outcome is certain, at most about 25 s. `phase` is told what happens
    /// meanwhile, each time that it changes. Dropped early, it may or may not be applied.
    ///
    /// The answer is the first one, or its repetition. Where only the outcome could be had, it has
    /// the status, `Conclave-Revision`, and `{"revision":…}` as its body.
    ///
    /// # Errors
    ///
    /// A refusal that is certain; or, with [`Failure::is_unknown`], that nobody could be asked.
    pub(crate) async fn send(self, phase: impl Fn(Phase) + 'static) -> Result<Answer, Failure> {
        let phase: Box<dyn Fn(Phase)> = Box::new(phase);
        let mut fate = Fate::default();
        let mut told = fate.phase();
        phase(told);
        let mut step = Step::Send { after_ms: 0 };
        let mut failure = Failure::Unknown(self.id.clone());
        loop {
            step = match step {
                Step::Send { after_ms } => {
                    wait(after_ms).await;
                    match self.attempt().await {
                        Ok(answer) => return Ok(answer),
                        Err(why) => {
                            let next = fate.failed(monotonic_ms(), &why);
                            failure = why;
                            next
                        }
                    }
                }
                Step::Ask => {
                    let said = self.outcome(Method::GET).await;
                    fate.looked_up(monotonic_ms(), said)
                }
                Step::Settle { after_ms } => {
                    wait(after_ms).await;
                    let said = self.outcome(Method::DELETE).await;
                    fate.settled(monotonic_ms(), said)
                }
                Step::Applied(outcome) => return Ok(repeated(&outcome)),
                Step::Refused if failure.may_be_applied() => return Err(Failure::Withdrawn),
                Step::Refused => return Err(failure.of_write()),
                Step::Unknown => return Err(Failure::Unknown(self.id)),
            };
            if told != fate.phase() {
                told = fate.phase();
                phase(told);
            }
        }
    }

    async fn attempt(&self) -> Result<Answer, Failure> {
        let mut request = Request::new(self.method.clone(), self.target.clone())
            .timeout(ATTEMPT_MS)
            .header("accept", "application/json")
            .header("idempotency-key", self.id.clone());
        for (name, value) in &self.headers {
            request = request.header(name, value.clone());
        }
        if let Some(body) = &self.body {
            request = request.body(body.clone());
        }
        request.send().await
    }

    /// Asks what became of the id, or, with DELETE, settles it. None when nobody answers that.
    async fn outcome(&self, method: Method) -> Option<RequestOutcome> {
        Request::new(method, format!("/api/requests/{}", self.id))
            .timeout(LOOK_UP_MS)
            .json()
            .await
            .ok()
    }
}

async fn wait(ms: u32) {
    if ms > 0 {
        pause(ms).await;
    }
}

/// What is left of an answer that could not be had again.
fn repeated(outcome: &FirstOutcome) -> Answer {
    let headers = Headers::new();
    let mut body = b"{}".to_vec();
    if let Some(revision) = outcome.revision {
        headers.set("conclave-revision", &revision.to_string());
        body = format!(r#"{{"revision":{revision}}}"#).into_bytes();
    }
    Answer {
        status: outcome.status,
        headers,
        body,
    }
}

/// Makes an id that nobody else has: 104 bits of chance. `crypto.randomUUID` is there on secure
/// origins only.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "52 bits of a number from 0 to 1"
)]
pub(super) fn new_id() -> String {
    let chance = || (js_sys::Math::random() * 4_503_599_627_370_496.0) as u64;
    format!("dashboard-{:013x}{:013x}", chance(), chance())
}
