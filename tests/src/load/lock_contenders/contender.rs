//! One contender: asks for the lock, writes under it, gives it back, again and again.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Contest;
use super::entry::{Entry, What, now};
use crate::http::{Client, Failure, Request, Response};
use crate::random::Random;
use crate::wait::{self, before_retry};

/// Longest wait for an answer, beyond the time that the server waits for the lock.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// How long one request waits for the lock at most, milliseconds: less than any TTL, so that a
/// waiter always asks again in time.
const WAIT_MS: u64 = 300;
/// One grant in so many is followed by a sleep past the TTL.
const LAPSES_ONE_IN: usize = 40;
/// Longest such sleep beyond the TTL.
const LAPSE_LONGER: Duration = Duration::from_secs(4);
const LOOK: Duration = Duration::from_millis(50);
/// How long a process keeps the lock, so that it can be stopped meanwhile.
const KEEPS: Duration = Duration::from_millis(40);

/// How a contender loses its lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lapse {
    /// It is stopped from outside.
    FromOutside,
    /// It sleeps now and then.
    Sometimes,
}

/// One contender.
#[derive(Debug)]
pub struct Contender {
    number: usize,
    clients: Vec<Client>,
    client: usize,
    lock: String,
    guarded: String,
    cell: PathBuf,
    ttl: Duration,
    lapse: Lapse,
    random: Random,
}

/// A lock that was granted.
#[derive(Debug, Clone)]
struct Held {
    token: u64,
    session: String,
}

impl Contender {
    /// Prepares the `number`th.
    #[must_use]
    pub fn new(contest: &Contest, number: usize, lapse: Lapse) -> Self {
        let clients = contest.addresses.iter().map(Client::new);
        let clients = clients.map(|client| client.with_timeout(ANSWER_WITHIN));
        Self {
            number,
            clients: clients.collect(),
            client: number % contest.addresses.len().max(1),
            lock: contest.lock.clone(),
            guarded: contest.guarded.clone(),
            cell: contest.cell.clone(),
            ttl: contest.ttl,
            lapse,
            random: Random::new(contest.seed ^ (number as u64 + 1)),
        }
    }

    /// Contends until `stopped`, and tells `note` everything.
    pub async fn run(mut self, stopped: impl Fn() -> bool, mut note: impl FnMut(Entry)) {
        while !stopped() {
            let Some(held) = self.acquire(&stopped, &mut note).await else {
                break;
            };
            self.hold(&held, &mut note).await;
            // Twice: a token that is too old at the second is so at the first as well.
            for _ in 0..1 + self.random.below(2) {
                note(self.write_guarded(&held).await);
            }
            note(self.write_cell(&held));
            if self.random.one_in(4) {
                note(self.renew(&held).await);
                note(self.write_guarded(&held).await);
            }
            note(self.release(&held).await);
            // The others shall have a chance to be before it in the queue.
            before_retry().await;
        }
    }

    async fn acquire(
        &mut self,
        stopped: &impl Fn() -> bool,
        note: &mut impl FnMut(Entry),
    ) -> Option<Held> {
        let mut session: Option<String> = None;
        while !stopped() {
            let mut body = json!({
                "owner": format!("contender-{}", self.number),
                "ttl_ms": u64::try_from(self.ttl.as_millis()).unwrap_or(0),
                "wait_ms": WAIT_MS,
            });
            if let Some(session) = &session {
                body["session"] = json!(session);
            }
            let request = Request::post(&format!("/api/locks/{}", self.lock), body.to_string());
            let began = now();
            let answer = self.send(&request).await;
            let told = body_of(&answer);
            match status_of(&answer) {
                200 => {
                    let held = Held {
                        token: told["token"].as_u64().unwrap_or(0),
                        session: told["session"].as_str().unwrap_or_default().to_owned(),
                    };
                    note(self.entry(What::Granted, &held, (began, 200, None)));
                    return Some(held);
                }
                423 => session = told["lock"]["session"].as_str().map(str::to_owned),
                // The claim is gone: a new one.
                409 => session = None,
                _ => self.turn().await,
            }
        }
        None
    }

    async fn hold(&mut self, held: &Held, note: &mut impl FnMut(Entry)) {
        if self.lapse == Lapse::FromOutside {
            wait::pass(KEEPS).await;
        } else if self.random.one_in(LAPSES_ONE_IN) {
            let began = Instant::now();
            let longest = self.ttl + LAPSE_LONGER;
            while read_cell(&self.cell) <= held.token && began.elapsed() < longest {
                wait::pass(LOOK).await;
            }
        } else {
            // Renewed in time, it is not lost.
            if self.random.one_in(10) {
                note(self.renew(held).await);
            }
            wait::pass(Duration::from_millis(self.random.number() % 8)).await;
        }
    }

    async fn write_guarded(&mut self, held: &Held) -> Entry {
        let target = format!("/api/keys/{}", self.guarded);
        let fence = format!("{};token={}", self.lock, held.token);
        let request = Request::put(&target, held.token.to_string()).header("Conclave-Lock", &fence);
        let began = now();
        let answer = self.send(&request).await;
        let status = status_of(&answer);
        let revision = body_of(&answer)["revision"].as_u64();
        let revision = revision.filter(|_| matches!(status, 200 | 201));
        self.entry(What::Guarded, held, (began, status, revision))
    }

    fn write_cell(&self, held: &Held) -> Entry {
        let began = now();
        let found = read_cell(&self.cell);
        let written = fs::write(&self.cell, held.token.to_string());
        let status = if written.is_ok() { 200 } else { 0 };
        self.entry(What::Cell, held, (began, status, Some(found)))
    }

    async fn renew(&mut self, held: &Held) -> Entry {
        let target = format!("/api/locks/{}/renew", self.lock);
        let body = json!({"session": held.session}).to_string();
        let began = now();
        let answer = self.send(&Request::post(&target, body)).await;
        self.entry(What::Renewed, held, (began, status_of(&answer), None))
    }

    async fn release(&mut self, held: &Held) -> Entry {
        let target = format!(
            "/api/locks/{}?session={}&token={}",
            self.lock, held.session, held.token
        );
        let began = now();
        let answer = self.send(&Request::delete(&target)).await;
        self.entry(What::Released, held, (began, status_of(&answer), None))
    }

    fn entry(&self, what: What, held: &Held, seen: (u64, u16, Option<u64>)) -> Entry {
        let (began, status, found) = seen;
        Entry {
            contender: self.number,
            what,
            token: held.token,
            session: held.session.clone(),
            status,
            found,
            began,
            ended: now(),
        }
    }

    async fn send(&mut self, request: &Request) -> Result<Response, Failure> {
        let answer = self.clients[self.client].send(request).await;
        if status_of(&answer) == 0 {
            self.turn().await;
        }
        answer
    }

    /// Turns to the next node.
    async fn turn(&mut self) {
        self.client = (self.client + 1) % self.clients.len();
        before_retry().await;
    }
}

fn status_of(answer: &Result<Response, Failure>) -> u16 {
    answer.as_ref().map_or(0, |response| response.status)
}

fn body_of(answer: &Result<Response, Failure>) -> Value {
    let body = answer.as_ref().ok();
    let body = body.and_then(|response| serde_json::from_slice(&response.body).ok());
    body.unwrap_or_default()
}

/// Returns the token in the cell; 0 when there is none.
pub(super) fn read_cell(cell: &Path) -> u64 {
    let text = fs::read_to_string(cell).unwrap_or_default();
    text.parse().unwrap_or(0)
}
