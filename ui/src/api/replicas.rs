//! Reading one key of one member at one level, with all that the answer says about its way.

use conclave_shared::ReadLevel;
use gloo_net::http::Method;
use web_sys::AbortController;

use super::http::{Answer, Request};
use crate::{
    dom::monotonic_ms,
    model::{
        address::escape,
        failure::Failure,
        lab::{ANSWER_LIMIT_MS, Cell, REACH_LIMIT_MS, Read, cell::chip, cell::short},
        nodes::probe::micros,
    },
};

/// Whom to ask, and for what.
#[derive(Debug, Clone)]
pub(crate) struct Replica {
    /// The member's HTTP address; none: the serving node.
    pub(crate) address: Option<String>,
    pub(crate) key: String,
}

impl Replica {
    fn request(&self, level: ReadLevel) -> Request {
        let target = format!("/api/keys?key={}&level={level}", escape(&self.key));
        let request = Request::new(Method::GET, target);
        match &self.address {
            Some(address) => request.at(address),
            None => request,
        }
    }

    /// Reads the member's own state, which it can always answer.
    pub(crate) async fn stale(&self) -> Cell {
        let request = self.request(ReadLevel::Stale).timeout(REACH_LIMIT_MS);
        cell(request).await
    }

    /// Reads at a level for which the member may have to wait. `reach` ends the wait.
    pub(crate) async fn at(&self, level: ReadLevel, reach: &AbortController) -> Cell {
        let request = self.request(level).timeout(ANSWER_LIMIT_MS).abort(reach);
        cell(request).await
    }

    /// Returns the value in the member's own state; `Err` when it does not answer.
    pub(crate) async fn value(&self) -> Result<Option<String>, Failure> {
        let request = self.request(ReadLevel::Stale).timeout(REACH_LIMIT_MS);
        value_of(&request.exchange().await?).map(|(value, _)| value)
    }

    /// Returns the newest value and the revision of its write, 0 when there is no such key.
    ///
    /// # Errors
    ///
    /// When no quorum answers.
    pub(crate) async fn newest(&self) -> Result<(Option<String>, u64), Failure> {
        value_of(&self.request(ReadLevel::Consistent).exchange().await?)
    }
}

fn value_of(answer: &Answer) -> Result<(Option<String>, u64), Failure> {
    match answer.status {
        200..=299 => {
            let revision = etag(answer).unwrap_or_default();
            Ok((
                Some(String::from_utf8_lossy(&answer.body).into_owned()),
                revision,
            ))
        }
        404 => Ok((None, 0)),
        _ => Err(answer.refusal()),
    }
}

async fn cell(request: Request) -> Cell {
    let begun = monotonic_ms();
    let answer = request.exchange().await;
    let took_us = micros(monotonic_ms() - begun);
    match answer {
        Ok(answer) if matches!(answer.status, 200..=299 | 404) => {
            Cell::Read(Box::new(read(&answer, took_us)))
        }
        Ok(answer) => {
            let failure = answer.refusal();
            Cell::Refused {
                code: failure.code(),
                reason: failure.sentence(),
                took_us,
            }
        }
        Err(Failure::TimedOut(ms)) => Cell::OutOfReach {
            reason: format!("No answer within {} s.", ms / 1_000),
        },
        Err(_) => Cell::OutOfReach {
            reason: "Your browser cannot reach it.".to_owned(),
        },
    }
}

fn read(answer: &Answer, took_us: u64) -> Read {
    let is_there = answer.status != 404;
    let (letters, hue) = if is_there {
        chip(&answer.body)
    } else {
        (String::new(), 0)
    };
    Read {
        value: is_there.then(|| short(&answer.body)),
        letters,
        hue,
        revision: etag(answer).filter(|_| is_there),
        version: answer.number("conclave-version").filter(|_| is_there),
        state: answer.number("conclave-revision").unwrap_or_default(),
        served_by: answer.header("conclave-served-by").unwrap_or_default(),
        leader: answer.header("conclave-leader"),
        forwarded: answer.header("conclave-forwarded").is_some(),
        timing: answer.header("server-timing").unwrap_or_default(),
        last_contact_ms: answer.number("conclave-last-contact"),
        took_us,
    }
}

fn etag(answer: &Answer) -> Option<u64> {
    answer.header("etag")?.trim_matches('"').parse().ok()
}
