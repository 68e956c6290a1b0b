//! The claims on locks that this tab has made. They live as long as the tab, whichever screen is
//! shown; [`Hold`] decides, and this does what it asks for.

use std::{cell::RefCell, rc::Rc};

use conclave_shared::{AcquireLock, ErrorCode, LockGrant};
use gloo_net::http::Method;
use leptos::prelude::{
    GetUntracked, GetValue, LocalStorage, Memo, RwSignal, Set, StoredValue, Update, With,
    WithUntracked, document, provide_context, use_context, window,
};
use wasm_bindgen::{JsCast, JsValue};

use super::{
    Live,
    http::Request,
    write::{Write, new_id},
};
use crate::{
    dom::{every, listen, monotonic_ms, now_ms, spawn_apart},
    model::{
        address::escape,
        failure::Failure,
        locks::{
            clock::Clock,
            hold::{Ask, Hold, Said},
        },
        news::News,
    },
};

/// How often time is let pass, milliseconds.
const TICK_MS: u32 = 200;
/// Claims of one tab, those included that are over and still shown.
const MOST: usize = 32;

/// The tab's claims. Cheap to copy.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claims {
    pub(crate) all: RwSignal<Vec<Hold>>,
    /// The tab's clock, milliseconds; ticks while there are claims.
    pub(crate) now: RwSignal<u64>,
    clock: StoredValue<Rc<RefCell<(Clock, u64)>>, LocalStorage>,
}

impl Claims {
    /// Makes the place for them; to be called once, by the shell.
    pub(crate) fn start(live: Live) {
        let claims = Self {
            all: RwSignal::new(Vec::new()),
            now: RwSignal::new(0),
            clock: StoredValue::new_local(Rc::default()),
        };
        provide_context(claims);
        every(TICK_MS, move || claims.tick());
        live.on_news(move |batch| claims.hear(batch));
        let shown = move |_| claims.tick();
        listen(&document(), "visibilitychange", Box::new(shown));
        let leaves = move |_| claims.leave_with_the_page();
        listen(&window(), "pagehide", Box::new(leaves));
    }

    /// Returns the tab's claims.
    ///
    /// # Panics
    ///
    /// Outside the page, which is a mistake in the program.
    pub(crate) fn here() -> Self {
        use_context().expect("the shell starts the claims")
    }

    /// Whether this tab holds a lock, followed: the tab's title says it.
    pub(crate) fn holds(self) -> Memo<bool> {
        Memo::new(move |_| {
            self.all
                .with(|all| all.iter().any(|hold| hold.token().is_some()))
        })
    }

    /// Returns the time of the tab's own clock, milliseconds.
    pub(crate) fn clock(self) -> f64 {
        let inner = self.clock.get_value();
        inner.borrow_mut().0.now(monotonic_ms(), now_ms())
    }

    /// Claims a lock, and waits for it if it must.
    pub(crate) fn take(self, name: &str, owner: String, ttl_ms: u64) {
        let number = {
            let clock = self.clock.get_value();
            let mut clock = clock.borrow_mut();
            clock.1 += 1;
            clock.1
        };
        let now = self.clock();
        let hold = Hold::new(number, name.to_owned(), owner, ttl_ms, new_id(), now);
        self.all.update(|all| {
            all.retain(|hold| hold.is_open() || hold.name != name);
            if all.len() == MOST {
                all.retain(Hold::is_open);
            }
            all.push(hold);
        });
        self.tick();
    }

    /// Gives a claim back, or leaves the queue. It is not said to be held from this moment on.
    pub(crate) fn leave(self, number: u64, words: &str) {
        let mut released = None;
        self.change(number, |hold| {
            released = hold
                .leave(words)
                .map(|session| (hold.name.clone(), session));
        });
        if let Some((name, session)) = released {
            release(name, session);
        }
    }

    /// Takes a claim that is over away.
    pub(crate) fn dismiss(self, number: u64) {
        self.all
            .update(|all| all.retain(|hold| hold.number != number));
    }

    fn tick(self) {
        if self.all.with_untracked(Vec::is_empty) {
            return;
        }
        let now = self.clock();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "milliseconds since the tab was opened"
        )]
        self.now.set(now as u64);
        let mut asks = Vec::new();
        self.change_all(|hold| asks.extend(hold.tick(now)));
        for ask in asks {
            spawn_apart(self.ask(ask));
        }
    }

    async fn ask(self, ask: Ask) {
        let said = said(&ask).await;
        let now = self.clock();
        // Unless it is known what to do with it, because the reader took the claim away.
        let mut unwanted = match &said {
            Said::Granted { session, .. } | Said::Queued { session, .. } => Some(session.clone()),
            Said::Lost { .. } | Said::Nothing(_) | Said::Refused(_) => None,
        };
        self.change(ask.number, |hold| {
            unwanted = hold.answered(said.clone(), now)
        });
        if let Some(session) = unwanted {
            release(ask.name, session);
        }
        self.tick();
    }

    fn hear(self, batch: &[News]) {
        if self.all.with_untracked(Vec::is_empty) {
            return;
        }
        let now = self.clock();
        for news in batch {
            if let News::Lock(change) = news {
                self.change_all(|hold| hold.heard(change, now));
            }
        }
        self.tick();
    }

    /// Gives everything back when the page goes: a request that outlives it says so.
    fn leave_with_the_page(self) {
        let mut released = Vec::new();
        self.change_all(|hold| {
            if hold.is_open()
                && let Some(session) = hold.leave_at_once("Given back when this page was left.")
            {
                released.push((hold.name.clone(), session));
            }
        });
        for (name, session) in released {
            let init = js_sys::Object::new();
            for (name, value) in [
                ("method", JsValue::from_str("DELETE")),
                ("keepalive", JsValue::TRUE),
            ] {
                // Fails for a frozen object only.
                drop(js_sys::Reflect::set(&init, &name.into(), &value));
            }
            // Nobody is left to hear what comes of it; the claim's TTL is the last resort.
            drop(window().fetch_with_str_and_init(&target(&name, &session), init.unchecked_ref()));
        }
    }

    fn change(self, number: u64, mut change: impl FnMut(&mut Hold)) {
        self.change_all(|hold| {
            if hold.number == number {
                change(hold);
            }
        });
    }

    /// Changes claims, and tells the page only when something is another than before.
    fn change_all(self, mut change: impl FnMut(&mut Hold)) {
        let before = self.all.get_untracked();
        let mut all = before.clone();
        all.iter_mut().for_each(&mut change);
        if all != before {
            self.all.set(all);
        }
    }
}

fn target(name: &str, session: &str) -> String {
    format!(
        "/api/locks?name={}&session={}",
        escape(name),
        escape(session)
    )
}

fn release(name: String, session: String) {
    spawn_apart(async move {
        // Where it fails the claim ends with its TTL: it is renewed no more.
        drop(
            Write::of(Method::DELETE, target(&name, &session))
                .send(|_| ())
                .await,
        );
    });
}

/// Sends a claim or a renewal.
async fn said(ask: &Ask) -> Said {
    let wanted = AcquireLock {
        owner: Some(ask.owner.clone()),
        ttl_ms: Some(ask.ttl_ms),
        // Queues, and answers at once: the news say when the turn has come.
        wait_ms: Some(1),
        session: ask.session.clone(),
    };
    let body = serde_json::to_string(&wanted).unwrap_or_default();
    let mut request = Request::new(
        Method::POST,
        format!("/api/locks?name={}", escape(&ask.name)),
    )
    .header("accept", "application/json")
    .header("content-type", "application/json")
    .header("conclave-client", "dashboard")
    .timeout(ask.timeout_ms)
    .text(&body);
    if let Some(id) = &ask.id {
        request = request.header("idempotency-key", id.clone());
    }
    match request
        .send()
        .await
        .and_then(|answer| answer.json::<LockGrant>())
    {
        Ok(grant) => Said::Granted {
            session: grant.session,
            token: grant.token,
            ttl_ms: grant.ttl_ms,
        },
        Err(failure) => refused(failure, ask.session.as_ref()),
    }
}

fn refused(failure: Failure, session: Option<&String>) -> Said {
    let words = failure.sentence();
    let may_be_applied = failure.may_be_applied();
    let Failure::Refused {
        problem: Some(problem),
        ..
    } = failure
    else {
        return Said::Nothing(words);
    };
    match (problem.code, &problem.lock) {
        (ErrorCode::LockHeld, Some(lock)) => match lock.session.as_ref().or(session) {
            Some(session) => Said::Queued {
                session: session.clone(),
                place: lock.position,
            },
            None => Said::Refused(words),
        },
        (ErrorCode::LockLost, _) => Said::Lost {
            newer: problem.token,
        },
        (code, _) if code.is_retryable() || may_be_applied => Said::Nothing(words),
        _ => Said::Refused(words),
    }
}
