//! Commands that go on: a stream of events read by `curl` or by the harness' own client.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{Instant, timeout, timeout_at};

use super::{ANSWER_WITHIN, Engine, matches_body, parse_curl, words};
use crate::sse::{Event, EventStream, Next, Opened, Parser};

/// Longest wait for an event that must come.
const EVENT_WITHIN: Duration = Duration::from_secs(20);

/// A running command.
#[derive(Debug)]
pub struct Streaming {
    status: u16,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Own(Box<EventStream>),
    Curl(Box<Curl>),
}

#[derive(Debug)]
struct Curl {
    child: Child,
    stdout: ChildStdout,
    parser: Parser,
    events: std::collections::VecDeque<Event>,
}

impl Streaming {
    /// Runs a command line and waits for the head of the answer.
    ///
    /// # Panics
    ///
    /// It is no `curl` with `-i` and `-s`, or there is no stream.
    pub async fn start(command: &str, engine: Engine) -> Self {
        let words = words(command).unwrap_or_else(|error| panic!("{error:#}"));
        let args = &words[1..];
        match engine {
            Engine::Own => {
                let parsed = parse_curl(args).unwrap_or_else(|error| panic!("{error:#}"));
                match EventStream::open(&parsed.address, &parsed.request).await {
                    Ok(Opened::Stream(stream)) => Self {
                        status: stream.head().status,
                        source: Source::Own(stream),
                    },
                    other => panic!("`{command}`: {other:?}"),
                }
            }
            Engine::Curl => Self::start_curl(command, args).await,
        }
    }

    async fn start_curl(command: &str, args: &[String]) -> Self {
        let child = Command::new("curl")
            .args(["--no-buffer", "--noproxy", "*"])
            .args(args)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let mut child = child.unwrap_or_else(|error| panic!("`{command}`: {error}"));
        let mut stdout = child.stdout.take().expect("a pipe");
        let mut head = Vec::new();
        let whole = async {
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stdout.read_u8().await?);
            }
            std::io::Result::Ok(())
        };
        let whole = timeout(ANSWER_WITHIN, whole).await;
        let head = String::from_utf8_lossy(&head).into_owned();
        assert!(
            matches!(whole, Ok(Ok(()))),
            "`{command}`: {whole:?} after `{head}`"
        );
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        Self {
            status: status.unwrap_or_else(|| panic!("`{command}`: {head}")),
            source: Source::Curl(Box::new(Curl {
                child,
                stdout,
                parser: Parser::default(),
                events: std::collections::VecDeque::new(),
            })),
        }
    }

    /// Returns the status of the answer.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// Waits for the next event; `None` when none comes, or the stream is over.
    pub async fn next(&mut self, bound: Duration) -> Option<Event> {
        match &mut self.source {
            Source::Own(stream) => match stream.next(bound).await {
                Next::Event(event) => Some(event),
                Next::Silence | Next::End(_) => None,
            },
            Source::Curl(curl) => curl.next(bound).await,
        }
    }

    /// Ends the command as `^C` does.
    pub fn interrupt(self) {
        if let Source::Curl(curl) = self.source {
            let pid = curl.child.id().and_then(|id| i32::try_from(id).ok());
            if let Some(pid) = pid.and_then(Pid::from_raw) {
                // A process that has ended meanwhile is as good.
                let _sent = kill_process(pid, Signal::INT);
            }
        }
    }

    /// Checks that the next events are those of a transcript.
    ///
    /// # Panics
    ///
    /// They are not.
    pub(super) async fn expect_events(&mut self, lines: &[String], line: usize) {
        for expected in expected(lines) {
            let event = self.next(EVENT_WITHIN).await;
            let event = event.unwrap_or_else(|| panic!("line {line}: no event for {expected:?}"));
            assert!(
                matches_event(&expected, &event),
                "line {line}: {event:?}, not {expected:?}"
            );
        }
    }
}

impl Curl {
    async fn next(&mut self, bound: Duration) -> Option<Event> {
        let deadline = Instant::now() + bound;
        while self.events.is_empty() {
            let mut bytes = Vec::with_capacity(4 << 10);
            let read = timeout_at(deadline, self.stdout.read_buf(&mut bytes)).await;
            match read {
                Ok(Ok(1..)) => self.events.extend(self.parser.push(&bytes)),
                _ => return None,
            }
        }
        self.events.pop_front()
    }
}

/// One event of a transcript.
#[derive(Debug, Default, PartialEq, Eq)]
struct Expected {
    id: Option<String>,
    event: String,
    data: String,
}

fn expected(lines: &[String]) -> Vec<Expected> {
    let mut events: Vec<Expected> = Vec::new();
    for line in lines {
        let (field, value) = line.split_once(": ").unwrap_or((line, ""));
        let begins = field == "id" || events.last().is_none_or(|last| !last.data.is_empty());
        if begins {
            events.push(Expected::default());
        }
        let Some(last) = events.last_mut() else {
            continue;
        };
        match field {
            "id" => last.id = Some(value.to_owned()),
            "event" => value.clone_into(&mut last.event),
            "data" => value.clone_into(&mut last.data),
            _ => panic!("`{line}` in a stream"),
        }
    }
    events
}

fn matches_event(expected: &Expected, event: &Event) -> bool {
    let id = match (&expected.id, &event.id) {
        (Some(expected), Some(id)) => matches_body(expected, id),
        (expected, id) => expected.is_none() && id.is_none(),
    };
    let wanted: Value = serde_json::from_str(&expected.data).unwrap_or_default();
    let came: Value = serde_json::from_str(&event.data).unwrap_or_default();
    let mut fields = wanted.as_object().into_iter().flatten();
    id && event.name == expected.event && fields.all(|(field, value)| came[field] == *value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_a_transcript_may_have_more_fields_and_no_others() {
        let lines = [
            "id: {number}",
            "event: set",
            r#"data: {"a":"x"}"#,
            "event: ping",
            "data: {}",
        ];
        let events = expected(&lines.map(str::to_owned));
        assert_eq!(events.len(), 2);
        let event = |name: &str, id: Option<&str>, data: &str| Event {
            name: name.to_owned(),
            id: id.map(str::to_owned),
            data: data.to_owned(),
        };
        assert!(matches_event(
            &events[0],
            &event("set", Some("7"), r#"{"a":"x","b":1}"#)
        ));
        assert!(matches_event(
            &events[1],
            &event("ping", None, r#"{"b":1}"#)
        ));
        for wrong in [
            event("set", None, r#"{"a":"x"}"#),
            event("set", Some("x"), r#"{"a":"x"}"#),
            event("put", Some("7"), r#"{"a":"x"}"#),
            event("set", Some("7"), r#"{"a":"y"}"#),
            event("set", Some("7"), r#"{"A":"x"}"#),
        ] {
            assert!(!matches_event(&events[0], &wrong), "{wrong:?}");
        }
    }
}
