//! Clients of locks: they queue or do not, renew, release or let their claims run out, and write under
//! their tokens, also under old ones. They note for how long each could take itself for the holder.

use std::time::{Duration, Instant};

use conclave_server::clock;
use conclave_server::node::WriteRequest;
use conclave_server::node::locks::{ClaimRequest, Hold, Standing};
use conclave_server::raft::NodeId;
use conclave_server::runtime;
use conclave_server::state::{
    Condition, Guard, LockName, Op, Outcome, Release, RequestId, SessionId,
};

use crate::random;
use crate::workload::{ATTEMPTS, Client, End, Fate, fate, put};

/// Locks that all these clients want.
const LOCKS: [&str; 2] = ["lock/a", "lock/b"];
/// TTLs of their claims, milliseconds. Short, so that all of them end within a run.
const TTLS_MS: [u64; 3] = [500, 800, LONGEST_TTL_MS];
/// Longest TTL of a claim that does not last as long as a connection, milliseconds.
pub(crate) const LONGEST_TTL_MS: u64 = 1_500;

/// A time in which a client could be certain to hold a lock.
#[derive(Debug, Clone)]
pub(crate) struct Tenure {
    pub(crate) lock: &'static str,
    pub(crate) token: u64,
    pub(crate) from: Instant,
    pub(crate) until: Instant,
}

/// A write that was guarded by a token.
#[derive(Debug)]
pub(crate) struct Guarded {
    pub(crate) key: String,
    /// Of no other write.
    pub(crate) value: String,
    pub(crate) fate: Fate,
}

/// All that these clients saw.
#[derive(Debug, Default)]
pub(crate) struct LockNotes {
    pub(crate) tenures: Vec<Tenure>,
    /// Token and session of each grant that somebody was told of.
    pub(crate) grants: Vec<(u64, SessionId)>,
    pub(crate) guarded: Vec<Guarded>,
}

/// A client of locks.
pub(crate) struct Locker {
    client: Client,
    end: Instant,
}

/// A lock that was granted.
struct Held {
    lock: &'static str,
    session: SessionId,
    token: u64,
    ttl: Duration,
    tenures: Vec<Tenure>,
}

impl Held {
    /// Notes an answer to what was asked at `asked`: the claim lives for a TTL after that.
    fn confirm(&mut self, asked: Instant) {
        self.tenures.push(Tenure {
            lock: self.lock,
            token: self.token,
            from: clock::now(),
            until: asked + self.ttl,
        });
    }

    /// Notes that the client no longer takes itself for the holder.
    fn give_up(&mut self) {
        let now = clock::now();
        for tenure in &mut self.tenures {
            tenure.until = tenure.until.min(now);
        }
    }
}

fn name(lock: &str) -> LockName {
    LockName::try_from(lock).expect("a lock's name")
}

async fn rest(longest_ms: u64) {
    runtime::sleep(Duration::from_millis(random::below(longest_ms))).await;
}

impl Locker {
    pub(crate) const fn new(client: Client, end: Instant) -> Self {
        Self { client, end }
    }

    fn goes_on(&self) -> bool {
        clock::now() < self.end && !self.client.must_be_quiet()
    }

    /// Works until the end.
    pub(crate) async fn run(mut self) {
        while clock::now() < self.end {
            rest(150).await;
            if !self.goes_on() {
                continue;
            }
            let lock = random::pick(&LOCKS);
            if random::once_in(5) {
                self.hold(lock).await;
            } else {
                self.claim(lock).await;
            }
        }
    }

    /// Asks for a lock until it has it or gives up.
    async fn claim(&mut self, lock: &'static str) {
        let ttl_ms = random::pick(&TTLS_MS);
        let wait_ms = if random::once_in(3) { 0 } else { 1_000 };
        let mut claimed = self.acquire(lock, ttl_ms, None, wait_ms).await;
        while let Some((asked, outcome)) = claimed {
            match outcome {
                Outcome::LockGranted { session, token, .. } => {
                    self.note_grant(token, session);
                    let mut held = Held {
                        lock,
                        session,
                        token,
                        ttl: Duration::from_millis(ttl_ms),
                        tenures: Vec::new(),
                    };
                    held.confirm(asked);
                    return self.use_it(held).await;
                }
                Outcome::LockQueued { session, .. } => match random::below(6) {
                    // Its place is kept for as long as its TTL.
                    0 => return,
                    1 => return self.release(lock, session).await,
                    _ if !self.goes_on() => return,
                    _ => claimed = self.acquire(lock, ttl_ms, Some(session), 1_000).await,
                },
                Outcome::Rejected(_) => return,
                other => panic!("a claim came to {other:?}"),
            }
        }
    }

    /// Claims a lock; returns when it first asked for that, and what it came to.
    async fn acquire(
        &mut self,
        lock: &str,
        ttl_ms: u64,
        session: Option<SessionId>,
        longest_wait_ms: u64,
    ) -> Option<(Instant, Outcome)> {
        let id = self.client.next_id();
        let wait = Duration::from_millis(random::below(longest_wait_ms));
        let asked = clock::now();
        for _ in 0..ATTEMPTS {
            let claim = ClaimRequest {
                lock: name(lock),
                owner: self.owner(),
                ttl_ms,
                session,
                wait,
            };
            let frame = framed(&id);
            let answer = self
                .client
                .ask(|node| async move { node.acquire(claim, frame).await });
            if let Some((_, Ok(answer))) = answer.await {
                return Some((asked, answer.value));
            }
            if !self.goes_on() {
                return None;
            }
            Client::pause().await;
        }
        None
    }

    /// Works under a grant, and gives it back or lets it run out.
    async fn use_it(&mut self, mut held: Held) {
        for _ in 0..random::below(5) {
            rest(300).await;
            if !self.goes_on() {
                break;
            }
            let goes_on = match random::below(3) {
                0 => self.renew(&mut held).await,
                _ => self.write_guarded(held.lock, held.token).await,
            };
            if !goes_on {
                break;
            }
        }
        let runs_out = random::once_in(2) && self.goes_on();
        if runs_out {
            // It has stopped, does not know that, and goes on where it was.
            runtime::sleep(held.ttl).await;
            rest(1_000).await;
            self.write_guarded(held.lock, held.token).await;
        }
        if !runs_out || random::once_in(2) {
            held.give_up();
            self.release(held.lock, held.session).await;
        }
        self.client.notes.lock().locks.tenures.extend(held.tenures);
    }

    /// Renews a claim; false when it may be gone.
    async fn renew(&self, held: &mut Held) -> bool {
        let op = Op::RenewLock {
            lock: name(held.lock),
            session: held.session,
        };
        let asked = clock::now();
        let request = WriteRequest::own(op);
        let answer = self
            .client
            .ask(|node| async move { node.write(request).await });
        let Some((_, Ok(answer))) = answer.await else {
            return false;
        };
        match answer.value {
            Outcome::LockGranted { session, token, .. } => {
                self.note_grant(token, session);
                held.confirm(asked);
                true
            }
            Outcome::Rejected(_) => false,
            other => panic!("a renewal came to {other:?}"),
        }
    }

    async fn release(&mut self, lock: &str, session: SessionId) {
        let by = Release::Claim {
            session: Some(session),
            token: None,
        };
        let lock = name(lock);
        match self.client.send(Op::ReleaseLock { lock, by }, None).await {
            End::Outcome(Outcome::LockReleased { .. } | Outcome::Rejected(_))
            | End::Settled(_)
            | End::Not
            | End::Open => {}
            End::Outcome(other) => panic!("a release came to {other:?}"),
        }
    }

    /// Writes under a token; false unless it was applied.
    async fn write_guarded(&mut self, lock: &str, token: u64) -> bool {
        let key = format!("guarded/{lock}");
        let value = self.client.next_id().as_str().to_owned();
        let guard = Guard {
            lock: name(lock),
            token,
        };
        let op = put(&key, &value, Condition::default());
        let fate = fate(&self.client.send(op, Some(guard)).await);
        let is_applied = matches!(fate, Fate::Applied { .. });
        let guarded = Guarded { key, value, fate };
        self.client.notes.lock().locks.guarded.push(guarded);
        is_applied
    }

    /// Holds a lock for as long as a connection to one node.
    async fn hold(&mut self, lock: &'static str) {
        let (wanted, owner) = (name(lock), self.owner());
        let answer = self
            .client
            .ask(|node| async move { node.hold(wanted, owner).await });
        let Some((node, Ok(mut hold))) = answer.await else {
            return;
        };
        let number = self.process(node);
        let waited = Duration::from_millis(random::below(2_000));
        let granted = runtime::timeout(waited, hold.changed(Standing::Waiting)).await;
        if let Ok(Standing::Holds { token }) = granted
            && self.process(node) == number
        {
            self.note_grant(token, hold.session());
            let mut tenure = Tenure {
                lock,
                token,
                from: clock::now(),
                until: clock::now(),
            };
            while self.goes_on() && !random::once_in(4) {
                self.write_guarded(lock, token).await;
                let holds = still_holds(&mut hold, token).await;
                if !holds || self.process(node) != number {
                    break;
                }
                tenure.until = clock::now();
            }
            self.client.notes.lock().locks.tenures.push(tenure);
        }
    }

    /// Returns the number of the process that a connection to a node is to.
    fn process(&self, node: NodeId) -> Option<u64> {
        let process = self.client.cluster.network.process(node);
        process.map(|process| process.number)
    }

    fn owner(&self) -> std::sync::Arc<str> {
        format!("client {}", self.client.number).into()
    }

    fn note_grant(&self, token: u64, session: SessionId) {
        self.client.notes.lock().locks.grants.push((token, session));
    }
}

/// Waits a moment, and returns whether a connection still has its lock.
async fn still_holds(hold: &mut Hold, token: u64) -> bool {
    let moment = Duration::from_millis(random::below(300));
    let changed = hold.changed(Standing::Holds { token });
    runtime::timeout(moment, changed).await.is_err()
}

/// Returns what goes along with a claim; its operation is not used.
fn framed(id: &RequestId) -> WriteRequest {
    WriteRequest {
        request_id: Some(id.clone()),
        ..WriteRequest::own(Op::Tick)
    }
}
