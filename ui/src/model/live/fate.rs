//! What became of a write, and what to do until that is known.
//!
//! A write carries an id under which the cluster applies it at most once. So it may be sent again
//! whenever its answer was lost: the repetition gets the first outcome. Nothing here claims what is
//! not certain: a write ends with an answer, with a refusal that excludes that it was or will be
//! applied, or as unknown.

use conclave_shared::{ErrorCode, FirstOutcome, RequestOutcome, RequestStatus};

use crate::model::failure::Failure;

/// How long a write is sent again after its first failure, milliseconds.
pub const RETRY_FOR_MS: f64 = 5_000.0;
/// How long after its first failure somebody is asked what became of it, milliseconds.
pub const ASK_FOR_MS: f64 = 15_000.0;
/// Wait before the next attempt, milliseconds.
pub const PAUSE_MS: u32 = 300;

/// What the reader is told while a write is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It was sent; no answer yet.
    Sent,
    /// Its answer was lost: it may have been applied, and the cluster is asked.
    Asking,
    /// It was refused because of something that passes, and is sent again.
    Retrying,
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Send the same request under the same id, after a pause.
    Send { after_ms: u32 },
    /// Look the id up.
    Ask,
    /// Settle the id for good, after a pause: applied, or never.
    Settle { after_ms: u32 },
    /// It was applied; the answer itself could not be had again.
    Applied(FirstOutcome),
    /// It was not applied and never will be.
    Refused,
    /// Nobody answers: it may have been applied, or may still be.
    Unknown,
}

/// The state of one write.
#[derive(Debug, Clone, Default)]
pub struct Fate {
    first_failure_ms: Option<f64>,
    /// An attempt may have been applied.
    is_open: bool,
    /// What the cluster said of the id.
    known: Option<RequestOutcome>,
}

impl Fate {
    /// Returns what the reader is told now.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        match (self.first_failure_ms, self.is_open) {
            (None, _) => Phase::Sent,
            (Some(_), true) => Phase::Asking,
            (Some(_), false) => Phase::Retrying,
        }
    }

    /// Decides after an attempt that failed.
    pub fn failed(&mut self, now_ms: f64, failure: &Failure) -> Step {
        let since = now_ms - *self.first_failure_ms.get_or_insert(now_ms);
        let is_late = since >= RETRY_FOR_MS;
        if let Some(step) = self.as_known(is_late) {
            return step;
        }
        if failure.may_be_applied() {
            self.is_open = true;
            return if is_late { settle_now() } else { Step::Ask };
        }
        match (self.is_open, passes(failure)) {
            (_, true) if !is_late => Step::Send { after_ms: PAUSE_MS },
            (true, true) => settle_now(),
            // The state machine itself, or a rule that holds for every attempt, said no.
            (_, false) | (false, true) => Step::Refused,
        }
    }

    /// Decides after the id was looked up; without an outcome nobody answered.
    pub fn looked_up(&mut self, now_ms: f64, said: Option<RequestOutcome>) -> Step {
        match said {
            Some(said) if said.status != RequestStatus::Unknown => {
                self.known = Some(said);
                Step::Send { after_ms: 0 }
            }
            _ if self.is_later_than(now_ms, RETRY_FOR_MS) => settle_now(),
            _ => Step::Send { after_ms: PAUSE_MS },
        }
    }

    /// Decides after the id was to be settled; without an outcome nobody answered.
    pub fn settled(&mut self, now_ms: f64, said: Option<RequestOutcome>) -> Step {
        match said {
            // The repetition has the first answer in full: the revision, the record in the way.
            Some(said) if said.outcome.is_some() => {
                self.known = Some(said);
                Step::Send { after_ms: 0 }
            }
            Some(said) if said.status == RequestStatus::NotApplied => Step::Refused,
            _ if self.is_later_than(now_ms, ASK_FOR_MS) => Step::Unknown,
            _ => Step::Settle { after_ms: PAUSE_MS },
        }
    }

    /// What is left when the outcome is known, but its repetition failed.
    fn as_known(&self, is_late: bool) -> Option<Step> {
        let known = self.known.as_ref()?;
        if !is_late {
            return Some(Step::Send { after_ms: PAUSE_MS });
        }
        Some(match (&known.outcome, known.status) {
            (Some(outcome), RequestStatus::Applied) => Step::Applied(outcome.clone()),
            _ => Step::Refused,
        })
    }

    fn is_later_than(&self, now_ms: f64, limit_ms: f64) -> bool {
        now_ms - self.first_failure_ms.unwrap_or(now_ms) >= limit_ms
    }
}

const fn settle_now() -> Step {
    Step::Settle { after_ms: 0 }
}

/// Says whether a refusal is about this moment and this node, and not about the request.
fn passes(failure: &Failure) -> bool {
    matches!(
        failure.code(),
        Some(
            ErrorCode::NoLeader
                | ErrorCode::Starting
                | ErrorCode::Draining
                | ErrorCode::NotCaughtUp
                | ErrorCode::Overloaded
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::failure::tests::refused;

    fn lost() -> Failure {
        Failure::Unreachable("reset".to_owned())
    }

    fn said(status: RequestStatus, http: Option<u16>) -> Option<RequestOutcome> {
        Some(RequestOutcome {
            request_id: "a".to_owned(),
            status,
            outcome: http.map(|status| FirstOutcome {
                status,
                revision: Some(7),
                keys: None,
            }),
        })
    }

    #[test]
    fn a_write_without_a_leader_is_sent_again_for_five_seconds_and_then_refused() {
        let mut fate = Fate::default();
        assert_eq!(fate.phase(), Phase::Sent);
        let none = refused(ErrorCode::NoLeader);
        assert_eq!(fate.failed(100.0, &none), Step::Send { after_ms: PAUSE_MS });
        assert_eq!(fate.phase(), Phase::Retrying);
        assert_eq!(
            fate.failed(5_000.0, &none),
            Step::Send { after_ms: PAUSE_MS }
        );
        assert_eq!(fate.failed(5_100.0, &none), Step::Refused);
    }

    #[test]
    fn what_the_request_itself_is_refused_for_is_said_at_once() {
        let mut fate = Fate::default();
        let refusal = refused(ErrorCode::PreconditionFailed);
        assert_eq!(fate.failed(0.0, &refusal), Step::Refused);
    }

    #[test]
    fn a_lost_answer_is_asked_for_and_then_had_again() {
        let mut fate = Fate::default();
        assert_eq!(fate.failed(0.0, &lost()), Step::Ask);
        assert_eq!(fate.phase(), Phase::Asking);
        let applied = said(RequestStatus::Applied, Some(200));
        assert_eq!(fate.looked_up(10.0, applied), Step::Send { after_ms: 0 });
    }

    #[test]
    fn an_id_that_nobody_knows_is_sent_again() {
        let mut fate = Fate::default();
        fate.failed(0.0, &lost());
        let unknown = said(RequestStatus::Unknown, None);
        assert_eq!(
            fate.looked_up(10.0, unknown),
            Step::Send { after_ms: PAUSE_MS }
        );
    }

    #[test]
    fn after_a_lost_answer_no_leader_is_no_refusal() {
        let mut fate = Fate::default();
        fate.failed(0.0, &lost());
        let none = refused(ErrorCode::NoLeader);
        assert_eq!(fate.failed(900.0, &none), Step::Send { after_ms: PAUSE_MS });
        assert_eq!(fate.failed(5_000.0, &none), Step::Settle { after_ms: 0 });
        assert_eq!(fate.phase(), Phase::Asking);
    }

    #[test]
    fn a_settled_id_is_certain_either_way() {
        let mut fate = Fate::default();
        fate.failed(0.0, &lost());
        let withdrawn = said(RequestStatus::NotApplied, None);
        assert_eq!(fate.settled(6_000.0, withdrawn), Step::Refused);
        let applied = said(RequestStatus::Applied, Some(201));
        assert_eq!(fate.settled(6_000.0, applied), Step::Send { after_ms: 0 });
        let outcome = FirstOutcome {
            status: 201,
            revision: Some(7),
            keys: None,
        };
        assert_eq!(fate.failed(6_100.0, &lost()), Step::Applied(outcome));
    }

    #[test]
    fn a_refusal_that_is_kept_is_no_success() {
        let mut fate = Fate::default();
        fate.failed(0.0, &lost());
        let kept = said(RequestStatus::NotApplied, Some(412));
        assert_eq!(fate.settled(6_000.0, kept), Step::Send { after_ms: 0 });
        assert_eq!(fate.failed(6_100.0, &lost()), Step::Refused);
    }

    #[test]
    fn without_any_answer_the_outcome_stays_unknown() {
        let mut fate = Fate::default();
        fate.failed(0.0, &lost());
        assert_eq!(
            fate.looked_up(4_000.0, None),
            Step::Send { after_ms: PAUSE_MS }
        );
        assert_eq!(fate.looked_up(6_000.0, None), Step::Settle { after_ms: 0 });
        assert_eq!(
            fate.settled(7_000.0, None),
            Step::Settle { after_ms: PAUSE_MS }
        );
        assert_eq!(fate.settled(15_000.0, None), Step::Unknown);
    }
}
