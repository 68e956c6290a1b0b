//! Asking a cluster to be added, through any member's HTTP or Raft address.

use std::time::{Duration, Instant};

use conclave_shared::{ErrorCode, Problem};

use super::client::{self, HttpFailure};
use crate::clock;
use crate::config::{Config, HostPort};
use crate::network::{AskError, ask_to_join};
use crate::node::JoinRequest;

/// Pause after nobody has answered.
const PAUSE: Duration = Duration::from_millis(250);
/// Longest wait for one member's answer; it includes adding this node.
const ANSWER: Duration = Duration::from_secs(30);

/// Why this node was not added.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotAdded {
    #[error("{by} refused the join: {reason}")]
    Refused {
        by: HostPort,
        code: Option<ErrorCode>,
        reason: String,
    },
    #[error("could not join within {limit:?} through {through}: {last}")]
    Late {
        limit: Duration,
        through: String,
        last: String,
    },
}

impl NotAdded {
    /// Returns whether it may be over soon for a node that was invited: somebody has its name, maybe
    /// itself, or a leader wanted to invite it again and could not.
    const fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                code: Some(ErrorCode::NameInUse | ErrorCode::NotWaiting),
                ..
            }
        )
    }
}

/// Time from the first question for which a leader may not reach this node: a link may be down for a
/// moment. After that its address is wrong.
const REACHED_WITHIN: Duration = Duration::from_secs(10);

/// What one member said.
enum Said {
    Added,
    /// Not now: ask again.
    Later(String),
    /// No: asking again would not help.
    No(Option<ErrorCode>, String),
}

impl Said {
    fn of(code: ErrorCode, reason: String) -> Self {
        match is_passing(code) {
            true => Self::Later(reason),
            false => Self::No(Some(code), reason),
        }
    }
}

/// Returns whether the same join may succeed later. One of unknown outcome may never have been made.
const fn is_passing(code: ErrorCode) -> bool {
    match code {
        ErrorCode::NoLeader
        | ErrorCode::MembershipConflict
        | ErrorCode::ChangeUnfinished
        | ErrorCode::OutcomeUnknown
        | ErrorCode::Starting
        | ErrorCode::Draining
        | ErrorCode::Overloaded => true,
        ErrorCode::BodyTimeout
        | ErrorCode::TooLarge
        | ErrorCode::ConditionFailed
        | ErrorCode::LockHeld
        | ErrorCode::LockLost
        | ErrorCode::LockNotHeld
        | ErrorCode::CrossSite
        | ErrorCode::CursorExpired
        | ErrorCode::DiskFull
        | ErrorCode::IdempotencyKeyReused
        | ErrorCode::Internal
        | ErrorCode::InvalidArgument
        | ErrorCode::KeyNotFound
        | ErrorCode::MethodNotAllowed
        | ErrorCode::AlreadyVoter
        | ErrorCode::LastVoter
        | ErrorCode::NameInUse
        | ErrorCode::NotAcceptable
        | ErrorCode::NotBuilt
        | ErrorCode::MemberNotFound
        | ErrorCode::NodeRemoved
        | ErrorCode::NotCaughtUp
        | ErrorCode::NotWaiting
        | ErrorCode::PreconditionFailed
        | ErrorCode::RequestWithdrawn
        | ErrorCode::RouteNotFound
        | ErrorCode::RevisionGone
        | ErrorCode::TokenSuperseded
        | ErrorCode::TooManyStreams
        | ErrorCode::TooManyVoters
        | ErrorCode::WouldLoseQuorum
        | ErrorCode::ReadOnly => false,
    }
}

/// Writes addresses for a person.
pub(super) fn list(targets: &[HostPort]) -> String {
    targets
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Asks the members in turn until one has had this node added.
///
/// # Errors
///
/// The cluster refuses this node, or nobody has answered by the deadline.
pub(super) async fn ask(
    config: &Config,
    targets: &[HostPort],
    limit: Duration,
) -> Result<(), NotAdded> {
    let request = JoinRequest {
        name: config.name.clone(),
        http: config.http.to_string(),
        raft: config.raft.to_string(),
        // A node without a directory is a new member at every start.
        replace: config.data_dir.is_none(),
    };
    ask_until(&request, targets, limit, REACHED_WITHIN).await
}

/// Asks on for an invited node until it sees itself `added` or a member says so. A leader that died may
/// have added it before it could answer; then the next one refuses the name, as it is in use by this very
/// node. Or it has not; then the next one does, once it reaches this node.
///
/// # Errors
///
/// As [`ask`]; that a name is in use or a leader cannot reach this node is no refusal before `until`.
pub(super) async fn ask_on<A: Future<Output = Result<(), NotAdded>>>(
    first: impl Future<Output = Result<(), NotAdded>>,
    added: impl Future<Output = ()>,
    mut again: impl FnMut(Duration) -> A,
    until: Instant,
) -> Result<(), NotAdded> {
    let asking = async {
        let mut answer = first.await;
        loop {
            let left = until.saturating_duration_since(clock::now());
            match answer {
                Err(error) if error.may_pass() && !left.is_zero() => {
                    tokio::time::sleep(PAUSE.min(left)).await;
                    answer = again(left).await;
                }
                answer => return answer,
            }
        }
    };
    tokio::select! {
        () = added => Ok(()),
        answer = asking => answer,
    }
}

/// `reached_within` is the time for which a leader may not reach this node.
async fn ask_until(
    request: &JoinRequest,
    targets: &[HostPort],
    limit: Duration,
    reached_within: Duration,
) -> Result<(), NotAdded> {
    let began = clock::now();
    let deadline = began + limit;
    let mut last = String::new();
    loop {
        for target in targets {
            let reason = match ask_one(target, request, deadline).await {
                Said::Added => return Ok(()),
                Said::Later(reason) => reason,
                Said::No(Some(ErrorCode::NotWaiting), reason)
                    if clock::since(began) < reached_within =>
                {
                    reason
                }
                Said::No(code, reason) => {
                    let by = target.clone();
                    return Err(NotAdded::Refused { by, code, reason });
                }
            };
            let text = format!("{target}: {reason}");
            if text != last {
                tracing::warn!("cannot join yet: {text}");
                last = text;
            }
        }
        let left = deadline.saturating_duration_since(clock::now());
        if left.is_zero() {
            let through = list(targets);
            return Err(NotAdded::Late {
                limit,
                through,
                last,
            });
        }
        tokio::time::sleep(PAUSE.min(left)).await;
    }
}

async fn ask_one(target: &HostPort, request: &JoinRequest, deadline: Instant) -> Said {
    let left = deadline
        .saturating_duration_since(clock::now())
        .clamp(PAUSE, ANSWER);
    match tokio::time::timeout(left, ask_http(target, request)).await {
        Err(_elapsed) => Said::Later("no answer in time".to_owned()),
        Ok(Ok(said)) => said,
        Ok(Err(HttpFailure::Connect(error))) => Said::Later(error),
        // Somebody listens there, but not for HTTP: a Raft address.
        Ok(Err(HttpFailure::NoHttp)) => {
            match ask_to_join(&target.to_string(), request, left).await {
                Ok(_joined) => Said::Added,
                Err(AskError::Unreachable(error)) => Said::Later(error.to_string()),
                Err(AskError::Refused(error)) => Said::of(error.code(), error.to_string()),
            }
        }
    }
}

/// `POST /api/cluster/members` on a member.
async fn ask_http(target: &HostPort, request: &JoinRequest) -> Result<Said, HttpFailure> {
    let body = serde_json::json!({
        "name": request.name, "http": request.http, "raft": request.raft,
    });
    let query = if request.replace { "?replace=true" } else { "" };
    let path = format!("/api/cluster/members{query}");
    let (status, body) = client::send(target, &path, Some(&body)).await?;
    if status.is_success() {
        return Ok(Said::Added);
    }
    Ok(match serde_json::from_slice::<Problem>(&body) {
        Ok(problem) => Said::of(problem.code, problem.detail),
        Err(_no_problem) => Said::No(None, format!("it answers {status} and is no Conclave node")),
    })
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// A member that refuses joins with these codes, one after the other, and makes the next one.
    struct FakeMember {
        address: HostPort,
        asked: Arc<AtomicUsize>,
    }

    impl FakeMember {
        async fn start(refusals: impl Iterator<Item = ErrorCode> + Send + 'static) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap().to_string().parse().unwrap();
            let asked = Arc::new(AtomicUsize::new(0));
            let counter = Arc::clone(&asked);
            tokio::spawn(async move {
                let answers = refusals.map(Some).chain(std::iter::once(None));
                for refusal in answers {
                    let (stream, _) = listener.accept().await.unwrap();
                    counter.fetch_add(1, Ordering::Relaxed);
                    answer(stream, refusal).await.unwrap();
                }
            });
            Self { address, asked }
        }

        async fn ask(&self, limit: Duration) -> Result<usize, String> {
            self.ask_reached_within(limit, REACHED_WITHIN).await
        }

        async fn ask_reached_within(
            &self,
            limit: Duration,
            reached_within: Duration,
        ) -> Result<usize, String> {
            let request = JoinRequest {
                name: "n".to_owned(),
                http: "localhost:1".to_owned(),
                raft: "localhost:2".to_owned(),
                replace: false,
            };
            let targets = std::slice::from_ref(&self.address);
            let asked = || self.asked.load(Ordering::Relaxed);
            let said = ask_until(&request, targets, limit, reached_within).await;
            said.map(|()| asked())
                .map_err(|error| format!("after {}: {error}", asked()))
        }
    }

    /// Answers the one request of a connection.
    async fn answer(mut stream: TcpStream, refusal: Option<ErrorCode>) -> io::Result<()> {
        let mut request = Vec::new();
        // Its body is one JSON object.
        while !request.ends_with(b"}") {
            if stream.read_buf(&mut request).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let (status, body) = match refusal {
            None => (200, "{}".to_owned()),
            Some(code) => (
                code.status(),
                serde_json::json!({
                    "type": "urn", "title": "no", "status": code.status(), "detail": "not this time",
                    "code": code, "applied": code.applied(),
                })
                .to_string(),
            ),
        };
        let head = format!(
            "HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).await
    }

    #[tokio::test]
    async fn a_join_of_unknown_outcome_is_asked_for_again() {
        let refusals = [ErrorCode::OutcomeUnknown, ErrorCode::ChangeUnfinished];
        let member = FakeMember::start(refusals.into_iter()).await;
        assert_eq!(member.ask(Duration::from_secs(20)).await, Ok(3));
    }

    #[tokio::test]
    async fn an_outcome_that_stays_unknown_is_asked_for_until_the_time_is_over() {
        let member = FakeMember::start(std::iter::repeat(ErrorCode::OutcomeUnknown)).await;
        let error = member.ask(4 * PAUSE).await.unwrap_err();
        assert!(error.contains("could not join within 1s"), "{error}");
        assert!(error.ends_with("not this time"), "{error}");
        assert!(!error.starts_with("after 1:"), "{error}");
    }

    #[tokio::test]
    async fn a_refusal_is_final() {
        let member = FakeMember::start(std::iter::repeat(ErrorCode::NameInUse)).await;
        let error = member.ask(Duration::from_secs(20)).await.unwrap_err();
        assert!(error.starts_with("after 1: "), "{error}");
        assert!(error.contains("refused the join: not this time"), "{error}");
    }

    #[tokio::test]
    async fn a_node_that_is_not_reached_for_a_moment_is_asked_for_again() {
        let member = FakeMember::start([ErrorCode::NotWaiting].into_iter()).await;
        assert_eq!(member.ask(Duration::from_secs(20)).await, Ok(2));
    }

    #[tokio::test]
    async fn a_node_that_is_never_reached_has_another_address() {
        let member = FakeMember::start(std::iter::repeat(ErrorCode::NotWaiting)).await;
        let limit = Duration::from_secs(20);
        let said = member.ask_reached_within(limit, 2 * PAUSE).await;
        let error = said.unwrap_err();
        assert!(error.contains("refused the join: not this time"), "{error}");
        assert!(!error.starts_with("after 1:"), "{error}");
    }

    fn refused(code: ErrorCode) -> Result<(), NotAdded> {
        Err(NotAdded::Refused {
            by: "localhost:1".parse().unwrap(),
            code: Some(code),
            reason: "no".to_owned(),
        })
    }

    #[tokio::test]
    async fn a_name_that_this_node_has_itself_is_no_refusal() {
        let until = clock::now() + Duration::from_secs(20);
        let in_use = || async { refused(ErrorCode::NameInUse) };
        let added = tokio::time::sleep(3 * PAUSE);
        let asked = AtomicUsize::new(0);
        let again = |_left| {
            asked.fetch_add(1, Ordering::Relaxed);
            in_use()
        };
        assert!(ask_on(in_use(), added, again, until).await.is_ok());
        assert!(asked.into_inner() > 0);
    }

    #[tokio::test]
    async fn an_invited_node_takes_no_for_an_answer() {
        let never = std::future::pending();
        let no = async { refused(ErrorCode::TooManyVoters) };
        let again = |_left| async { Ok(()) };
        let until = clock::now() + Duration::from_secs(20);
        let error = ask_on(no, never, again, until).await.unwrap_err();
        assert!(!error.may_pass(), "{error}");
        // Another one has the name, or the leader does not reach it, all the time.
        for code in [ErrorCode::NameInUse, ErrorCode::NotWaiting] {
            let never = std::future::pending();
            let no = || async move { refused(code) };
            let until = clock::now() + 2 * PAUSE;
            let error = ask_on(no(), never, |_left| no(), until).await;
            assert!(error.unwrap_err().may_pass());
        }
    }

    #[tokio::test]
    async fn an_invited_node_is_added_once_a_leader_reaches_it() {
        let never = std::future::pending();
        let no = async { refused(ErrorCode::NotWaiting) };
        let again = |_left| async { Ok(()) };
        let until = clock::now() + Duration::from_secs(20);
        assert!(ask_on(no, never, again, until).await.is_ok());
    }

    #[test]
    fn only_an_answer_that_may_change_is_asked_for_again() {
        let all = ErrorCode::ALL.iter();
        let passing = all.copied().filter(|code| is_passing(*code));
        let mut words: Vec<_> = passing.map(ErrorCode::as_str).collect();
        words.sort_unstable();
        let expected = [
            "change_unfinished",
            "draining",
            "membership_conflict",
            "no_leader",
            "outcome_unknown",
            "overloaded",
            "starting",
        ];
        assert_eq!(words, expected);
    }
}
