//! The live view of the serving node: a poll each second and the clock that ages it.
//!
//! The two are separate tasks, so that ages go on while an answer is late. Both live as long as the
//! page. A hidden tab asks nothing.

use conclave_shared::NodeStatus;
use gloo_timers::future::sleep;
use leptos::{
    prelude::{Get, GetUntracked, Memo, RwSignal, Set, Update, document, window},
    task::spawn_local,
};
use std::time::Duration;

use super::http;
use crate::model::freshness::{Contact, POLL_INTERVAL_MS, Stream};

/// Step of the clock on the page.
const TICK: Duration = Duration::from_millis(250);

/// What the page knows of its node. Cheap to copy: all parts are signals.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Live {
    /// The last status that arrived; none before the first.
    pub(crate) status: RwSignal<Option<NodeStatus>>,
    /// Why the last attempt failed; none after one that did not.
    pub(crate) error: RwSignal<Option<String>>,
    /// State of the connection.
    pub(crate) stream: Memo<Stream>,
    /// Whole seconds without an answer, once that is worth saying.
    pub(crate) silent: Memo<Option<u64>>,
    contact: RwSignal<Contact>,
    now: RwSignal<f64>,
}

/// Starts asking the serving node and returns what is known so far: nothing.
pub(crate) fn start() -> Live {
    let opened = monotonic_ms();
    let now = RwSignal::new(opened);
    let contact = RwSignal::new(Contact {
        heard_at: opened,
        paused: false,
    });
    let live = Live {
        status: RwSignal::new(None),
        error: RwSignal::new(None),
        stream: Memo::new(move |_| contact.get().stream(now.get())),
        silent: Memo::new(move |_| contact.get().silent_seconds(now.get())),
        contact,
        now,
    };
    spawn_local(tick(live));
    spawn_local(poll(live));
    live
}

async fn tick(live: Live) {
    loop {
        live.now.set(monotonic_ms());
        sleep(TICK).await;
    }
}

async fn poll(live: Live) {
    loop {
        if document().hidden() {
            live.contact.update(|contact| contact.paused = true);
            sleep(TICK).await;
            continue;
        }
        let asked = monotonic_ms();
        attempt(live).await;
        let left = (POLL_INTERVAL_MS - (monotonic_ms() - asked)).max(0.0);
        sleep(Duration::from_secs_f64(left / 1_000.0)).await;
    }
}

async fn attempt(live: Live) {
    let mut contact = live.contact.get_untracked();
    contact.paused = false;
    match http::node_status().await {
        Ok(status) => {
            contact.heard_at = monotonic_ms();
            live.status.set(Some(status));
            live.error.set(None);
        }
        Err(error) => live.error.set(Some(error)),
    }
    live.now.set(monotonic_ms());
    live.contact.set(contact);
}

/// Milliseconds of a clock that never jumps; 0 where the browser has none.
fn monotonic_ms() -> f64 {
    window().performance().map_or(0.0, |clock| clock.now())
}
