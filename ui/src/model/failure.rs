//! Why a request got no answer that could be used, in words for the reader.

use conclave_shared::{Applied, ErrorCode, Problem};

/// What became of a request that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The node answered, with an error.
    Refused {
        status: u16,
        /// The problem document; none when the body was not one.
        problem: Option<Box<Problem>>,
        /// What the body said.
        body: String,
    },
    /// No answer: the node is down, cut off from this browser, or the connection broke.
    Unreachable(String),
    /// No answer in this time, milliseconds.
    TimedOut(u32),
    /// A successful answer that this page does not understand.
    Malformed(String),
    /// A write whose answer was lost was withdrawn: it was not applied and never will be.
    Withdrawn,
    /// Nobody could say what became of the write with this id.
    Unknown(String),
    /// A part of the dashboard itself could not be had from the node.
    NotLoaded,
}

impl Failure {
    /// Returns the stable code of the node's refusal.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused { problem, .. } => problem.as_ref().map(|problem| problem.code),
            _ => None,
        }
    }

    /// Returns the status of the node's refusal; 0 without an answer.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Refused { status, .. } => *status,
            _ => 0,
        }
    }

    /// Says whether a write may have taken effect although it failed.
    #[must_use]
    pub fn may_be_applied(&self) -> bool {
        match self {
            Self::Refused {
                problem, status, ..
            } => match problem {
                Some(problem) => problem.applied != Applied::No,
                None => *status >= 500,
            },
            Self::Unreachable(_) | Self::TimedOut(_) | Self::Malformed(_) | Self::Unknown(_) => {
                true
            }
            Self::Withdrawn | Self::NotLoaded => false,
        }
    }

    /// Says whether the outcome of a write could not be found out; the sentence then says so.
    #[must_use]
    pub const fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown(_))
    }

    /// The failure of a write: a node that could not take it says so, whether it was read or written,
    /// and only then there is something that was not changed.
    #[must_use]
    pub fn of_write(mut self) -> Self {
        if let Self::Refused {
            problem: Some(problem),
            ..
        } = &mut self
            && problem.applied == Applied::No
            && is_of_any_request(problem.code)
        {
            let reason = problem.detail.trim_end_matches('.').len();
            problem.detail.truncate(reason);
            problem.detail.push_str(". Nothing was changed.");
        }
        self
    }

    /// Says what happened, for the reader.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self {
            Self::Refused {
                status,
                problem,
                body,
            } => match problem {
                Some(problem) => refusal(problem),
                None => format!("The node answered {status}: {}", first_line(body)),
            },
            Self::Unreachable(why) => format!("The node does not answer ({why})."),
            Self::TimedOut(ms) => format!("No answer within {} s.", f64::from(*ms) / 1_000.0),
            Self::Malformed(why) => format!("The node's answer could not be read: {why}"),
            Self::Withdrawn => {
                "The answer was lost, and the write was withdrawn: nothing was changed.".to_owned()
            }
            Self::Unknown(id) => format!(
                "The answer was lost and nobody could be asked: it is not known whether the write \
                 took effect. Its request id is {id}."
            ),
            Self::NotLoaded => {
                "This screen could not be loaded from the node. If the node has just been updated, \
                 reload the page."
                    .to_owned()
            }
        }
    }
}

/// What a refusal means for the reader, then the node's own reason, then what to do.
fn refusal(problem: &Problem) -> String {
    let reason = &problem.detail;
    let Some(meaning) = meaning(problem.code) else {
        return reason.clone();
    };
    let mut said = format!("{meaning}: {}.", reason.trim_end_matches('.'));
    if let Some(ms) = problem.retry_after_ms {
        let seconds = ms.div_ceil(1_000).max(1);
        said.push_str(&format!(" Try again in {seconds} s."));
    }
    if problem.applied == Applied::Unknown
        && let Some(id) = &problem.request_id
    {
        said.push_str(&format!(" Its request id is {id}."));
    }
    said
}

/// Says whether a node refuses with it whatever it was asked, a read too.
const fn is_of_any_request(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::Overloaded
            | ErrorCode::NoLeader
            | ErrorCode::NotCaughtUp
            | ErrorCode::Starting
            | ErrorCode::Draining
            | ErrorCode::DiskFull
    )
}

/// The meaning of a code; none where the node's own reason says it all.
const fn meaning(code: ErrorCode) -> Option<&'static str> {
    Some(match code {
        ErrorCode::CrossSite => "The node takes no changes from pages of another site",
        ErrorCode::ReadOnly => "This node is read-only, another one takes the same change",
        ErrorCode::PreconditionFailed => "It was changed meanwhile",
        ErrorCode::TokenSuperseded => "The lock was granted again meanwhile",
        ErrorCode::TooLarge => "It is too large",
        ErrorCode::Overloaded | ErrorCode::TooManyStreams => "The node has too much to do",
        ErrorCode::NoLeader => "No node leads at this moment",
        ErrorCode::NotCaughtUp | ErrorCode::Starting => "The node is not ready yet",
        ErrorCode::Draining => "The node is stopping",
        ErrorCode::DiskFull => "The node's disk is full, reads go on",
        ErrorCode::OutcomeUnknown | ErrorCode::ChangeUnfinished => {
            "It is not known whether this took effect"
        }
        ErrorCode::Internal => "The node met a mistake of its own",
        _ => return None,
    })
}

/// The beginning of a text that may be anything.
fn first_line(text: &str) -> String {
    text.lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(200)
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A node's refusal with this code.
    pub(crate) fn refused(code: ErrorCode) -> Failure {
        Failure::Refused {
            status: code.status(),
            problem: Some(Box::new(Problem {
                kind: format!("urn:conclave:error:{code}"),
                title: "title".to_owned(),
                status: code.status(),
                detail: "what the node said".to_owned(),
                code,
                applied: code.applied(),
                request_id: None,
                leader: None,
                revision: None,
                limit: None,
                count: None,
                retry_after_ms: None,
                current: None,
                token: None,
                lock: None,
                oldest: None,
            })),
            body: String::new(),
        }
    }

    #[test]
    fn each_kind_of_refusal_says_what_it_means_f_13() {
        let mut said: Vec<String> = [
            ErrorCode::CrossSite,
            ErrorCode::KeyNotFound,
            ErrorCode::PreconditionFailed,
            ErrorCode::TooLarge,
            ErrorCode::Overloaded,
            ErrorCode::NoLeader,
            ErrorCode::OutcomeUnknown,
            ErrorCode::Internal,
        ]
        .map(|code| refused(code).sentence())
        .into();
        for text in &said {
            assert!(text.contains("what the node said"), "{text}");
        }
        said.dedup();
        assert_eq!(said.len(), 8);
    }

    #[test]
    fn a_refusal_says_when_to_try_again_and_under_which_id_to_ask() {
        let with = |code, change: fn(&mut Problem)| {
            let Failure::Refused {
                status,
                mut problem,
                body,
            } = refused(code)
            else {
                unreachable!()
            };
            change(problem.as_mut().unwrap());
            let failure = Failure::Refused {
                status,
                problem,
                body,
            };
            failure.sentence()
        };
        let late = with(ErrorCode::NoLeader, |problem| {
            problem.retry_after_ms = Some(1_200);
        });
        assert!(
            late.ends_with("what the node said. Try again in 2 s."),
            "{late}"
        );
        let unknown = with(ErrorCode::OutcomeUnknown, |problem| {
            problem.request_id = Some("a-1".to_owned());
        });
        assert!(unknown.ends_with("Its request id is a-1."), "{unknown}");
    }

    #[test]
    fn only_a_write_changed_nothing() {
        let words = "Nothing was changed";
        for code in [
            ErrorCode::NoLeader,
            ErrorCode::Overloaded,
            ErrorCode::DiskFull,
        ] {
            let read = refused(code).sentence();
            assert!(
                !read.contains(words) && !read.contains("nothing was"),
                "{read}"
            );
            let write = refused(code).of_write().sentence();
            assert!(
                write.ends_with("what the node said. Nothing was changed."),
                "{write}"
            );
        }
        for code in [ErrorCode::PreconditionFailed, ErrorCode::OutcomeUnknown] {
            assert_eq!(refused(code).of_write(), refused(code));
        }
    }

    #[test]
    fn what_is_no_problem_document_is_shown_as_it_begins() {
        let failure = Failure::Refused {
            status: 502,
            problem: None,
            body: "<html>Bad gateway\nfrom a proxy".to_owned(),
        };
        assert_eq!(
            failure.sentence(),
            "The node answered 502: <html>Bad gateway"
        );
    }
}
