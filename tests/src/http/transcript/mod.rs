//! Golden transcripts: the seeds' own `curl` commands with what they must print.
//!
//! ```text
//! # a comment
//! == a section
//! $ curl -XGET {node0}/key/foo -L
//! 200
//! {"foo":"bar"}
//! ```
//!
//! A command is followed by the status and the body, up to an empty line or the next command. In a
//! command `{name}` is an address that the test gives, and `{any}` one of them, by chance. In a
//! body `{number}` stands for digits, and the line `...` for any body. The body's last line break
//! is not compared.
//!
//! `~ curl …` is a command that goes on, a stream of events, while the others run; below its status
//! are the events that it must have brought at the end of the section, each from its `id:` line on.
//! `data:` is JSON, to which fields may be added. Commands are run by the harness' own client, which knows just the flags that
//! the seeds use, or by the real `curl`.

mod streaming;

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::process::Command;
use tokio::time::timeout;

use crate::http::{Client, Request, split_url};
use crate::random::Random;

pub use streaming::Streaming;

const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Who runs the commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Own,
    Curl,
}

impl Engine {
    /// Returns the engines that this machine has.
    #[must_use]
    pub fn available() -> Vec<Self> {
        let curl = std::process::Command::new("curl")
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        let mut engines = vec![Self::Own];
        if curl.is_ok_and(|status| status.success()) {
            engines.push(Self::Curl);
        }
        engines
    }
}

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    ByItself,
    /// With the section.
    Stream,
}

/// A parsed transcript.
#[derive(Debug)]
pub struct Transcript {
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    section: String,
    line: usize,
    kind: Kind,
    command: String,
    status: u16,
    body: Vec<String>,
}

impl Transcript {
    /// Reads a transcript.
    ///
    /// # Panics
    ///
    /// It is not well formed.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match parse(text) {
            Ok(steps) => Self { steps },
            Err(error) => panic!("transcript: {error:#}"),
        }
    }

    /// Runs the commands of a section in order and compares what they print.
    ///
    /// # Panics
    ///
    /// An answer is not the expected one, or the section has no command.
    pub async fn play(&self, section: &str, places: &[(&str, String)], engine: Engine) {
        let steps: Vec<_> = self
            .steps
            .iter()
            .filter(|step| step.section == section)
            .collect();
        assert!(!steps.is_empty(), "no section `{section}`");
        let mut streams = Vec::new();
        for step in steps {
            let command = fill(&step.command, places);
            if step.kind == Kind::Stream {
                let stream = Streaming::start(&command, engine).await;
                assert_eq!(
                    stream.status(),
                    step.status,
                    "line {}: `{command}`",
                    step.line
                );
                streams.push((step, stream));
                continue;
            }
            let (status, body) = match run(&command, engine).await {
                Ok(answer) => answer,
                Err(error) => panic!("line {}: `{command}`: {error:#}", step.line),
            };
            let body = body.strip_suffix('\n').unwrap_or(&body);
            let expected = step.body.join("\n");
            assert!(
                status == step.status && matches_body(&expected, body),
                "line {}: `{command}` ({engine:?})\nexpected {} {expected}\n     got {status} {body}",
                step.line,
                step.status,
            );
        }
        for (step, mut stream) in streams {
            stream.expect_events(&step.body, step.line).await;
        }
    }
}

fn parse(text: &str) -> Result<Vec<Step>> {
    let mut steps: Vec<Step> = Vec::new();
    let mut section = String::new();
    let mut open = false;
    for (number, line) in (1..).zip(text.lines()) {
        if let Some(name) = line.strip_prefix("== ") {
            name.clone_into(&mut section);
            open = false;
        } else if let Some((kind, command)) = command_of(line) {
            steps.push(Step {
                section: section.clone(),
                line: number,
                kind,
                command: command.to_owned(),
                status: 0,
                body: Vec::new(),
            });
            open = true;
        } else if line.is_empty() || line.starts_with("# ") {
            open = false;
        } else {
            let step = steps.last_mut().filter(|_| open);
            let step = step.with_context(|| format!("line {number} belongs to no command"))?;
            if step.status == 0 {
                step.status = line
                    .parse()
                    .with_context(|| format!("status in line {number}"))?;
            } else {
                step.body.push(line.to_owned());
            }
        }
    }
    for step in &steps {
        ensure!(
            step.status != 0,
            "the command of line {} has no status",
            step.line
        );
    }
    Ok(steps)
}

fn command_of(line: &str) -> Option<(Kind, &str)> {
    let stream = line
        .strip_prefix("~ ")
        .map(|command| (Kind::Stream, command));
    stream.or_else(|| Some((Kind::ByItself, line.strip_prefix("$ ")?)))
}

/// Replaces the names of nodes by their addresses, and `{any}` by one of them.
#[must_use]
pub fn fill(command: &str, places: &[(&str, String)]) -> String {
    let mut command = command.to_owned();
    let mut random = Random::new(crate::random::fresh_seed());
    for (name, address) in places {
        command = command.replace(&format!("{{{name}}}"), address);
    }
    while command.contains("{any}") && !places.is_empty() {
        let (_, address) = &places[random.below(places.len())];
        command = command.replacen("{any}", address, 1);
    }
    command
}

fn matches_body(expected: &str, body: &str) -> bool {
    if expected == "..." {
        return true;
    }
    let mut rest = body;
    let mut parts = expected.split("{number}");
    let first = parts.next().unwrap_or_default();
    let Some(after) = rest.strip_prefix(first) else {
        return false;
    };
    rest = after;
    for part in parts {
        let after = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        if after.len() == rest.len() {
            return false;
        }
        let Some(after) = after.strip_prefix(part) else {
            return false;
        };
        rest = after;
    }
    rest.is_empty()
}

async fn run(command: &str, engine: Engine) -> Result<(u16, String)> {
    let words = words(command)?;
    ensure!(
        words.first().is_some_and(|word| word == "curl"),
        "only curl is known"
    );
    match engine {
        Engine::Own => run_own(&words[1..]).await,
        Engine::Curl => run_curl(&words[1..]).await,
    }
}

/// A `curl` command line as the harness' own client understands it.
struct Parsed {
    address: String,
    request: Request,
    /// `-L`
    follow: bool,
}

fn parse_curl(args: &[String]) -> Result<Parsed> {
    let mut method = None;
    let mut data: Vec<&str> = Vec::new();
    let mut url = None;
    let mut follow = false;
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "-X" => method = args.next().map(String::as_str),
            "-d" => data.extend(args.next().map(String::as_str)),
            "-L" => follow = true,
            "-i" | "-s" => {}
            flag if flag.starts_with("-X") => method = flag.strip_prefix("-X"),
            flag if flag.starts_with('-') => bail!("unknown flag `{flag}`"),
            address => url = Some(address),
        }
    }
    let (address, target) = url.and_then(split_url).context("no URL")?;
    let usual = if data.is_empty() { "GET" } else { "POST" };
    let mut request = Request::new(method.unwrap_or(usual), &target).header("Accept", "*/*");
    if !data.is_empty() {
        request = request
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(data.join("&"));
    }
    Ok(Parsed {
        address,
        request,
        follow,
    })
}

/// Runs a `curl` command line with the harness' own client.
async fn run_own(args: &[String]) -> Result<(u16, String)> {
    let parsed = parse_curl(args)?;
    let mut client = Client::new(parsed.address);
    let answer = if parsed.follow {
        client.send_following(&parsed.request).await?
    } else {
        client.send(&parsed.request).await?
    };
    Ok((answer.status, answer.text()))
}

async fn run_curl(args: &[String]) -> Result<(u16, String)> {
    const MARK: &str = "\u{1}status ";
    let mut command = Command::new("curl");
    command
        .args(["--silent", "--show-error", "--noproxy", "*", "--write-out"])
        .arg(format!("{MARK}%{{http_code}}"))
        .args(args)
        .kill_on_drop(true);
    let output = timeout(ANSWER_WITHIN, command.output())
        .await
        .context("curl hangs")??;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "curl: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let (printed, status) = text.rsplit_once(MARK).context("no status from curl")?;
    let mut body = printed;
    if args.iter().any(|arg| arg == "-i") {
        // One head for each answer on the way.
        while body.starts_with("HTTP/") {
            body = body.split_once("\r\n\r\n").context("end of the head")?.1;
        }
    }
    Ok((status.parse().context("status")?, body.to_owned()))
}

/// Splits a command line at spaces outside of quotes.
fn words(command: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in command.chars() {
        match (quote, c) {
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (Some(open), _) if open == c => quote = None,
            _ => word.get_or_insert_default().push(c),
        }
    }
    ensure!(quote.is_none(), "unclosed quote in `{command}`");
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_split_as_a_shell_does() {
        let split = words(r#"curl -X POST h:1/key -d '{"foo": "bar"}' -L"#).unwrap();
        assert_eq!(
            split,
            [
                "curl",
                "-X",
                "POST",
                "h:1/key",
                "-d",
                r#"{"foo": "bar"}"#,
                "-L"
            ]
        );
        assert!(words("curl 'open").is_err());
    }

    #[test]
    fn a_number_in_a_body_stands_for_digits_only() {
        assert!(matches_body(
            r#"{"revision":{number}}"#,
            r#"{"revision":17}"#
        ));
        assert!(!matches_body(
            r#"{"revision":{number}}"#,
            r#"{"revision":}"#
        ));
        assert!(!matches_body("bar", "bar2"));
        assert!(matches_body("...", "whatever"));
    }

    #[test]
    fn a_transcript_has_sections_commands_and_answers() {
        let steps = parse("# c\n== s\n$ curl a\n200\nx\ny\n\n$ curl b\n404\n").unwrap();
        let first = Step {
            section: "s".to_owned(),
            line: 3,
            kind: Kind::ByItself,
            command: "curl a".to_owned(),
            status: 200,
            body: vec!["x".to_owned(), "y".to_owned()],
        };
        assert_eq!(steps[0], first);
        assert_eq!(
            (steps.len(), steps[1].status, steps[1].body.len()),
            (2, 404, 0)
        );
        let steps = parse("~ curl a\n200\nid: {number}\ndata: {}\n").unwrap();
        assert_eq!((steps[0].kind, steps[0].body.len()), (Kind::Stream, 2));
    }
}
