//! What this tab has heard since it was opened, whichever screen was shown.

use std::{cell::RefCell, rc::Rc};

use gloo_timers::callback::Timeout;
use leptos::prelude::{
    Get, GetUntracked, GetValue, LocalStorage, RwSignal, SetValue, StoredValue, Update,
    provide_context, use_context,
};
use web_sys::AbortController;

use super::{Live, http::Request, stream};
use crate::{
    dom::{effect, monotonic_ms, spawn_apart},
    model::{
        address::escape,
        events::{
            ring::Ring,
            span::{Heard, Missed},
        },
        live::{resume::change, sse::Message},
        news::{Interest, News},
    },
};

/// Shortest time between two looks of the page at the ring, milliseconds.
const TOGETHER_MS: u32 = 100;

/// The tab's log of changes. Cheap to copy.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Feed {
    /// Rises when there is something new, at most ten times a second.
    pub(crate) version: RwSignal<u64>,
    ring: StoredValue<Rc<RefCell<Ring>>, LocalStorage>,
    is_due: StoredValue<bool>,
}

impl Feed {
    /// Begins to keep the news; to be called once, by the shell.
    pub(crate) fn start(live: Live) {
        let feed = Self {
            version: RwSignal::new(0),
            ring: StoredValue::new_local(Rc::default()),
            is_due: StoredValue::new(false),
        };
        provide_context(feed);
        live.on_news(move |batch| feed.hear(live, batch));
        let heard = RefCell::new(Heard::default());
        effect(move || {
            let (interest, told) = live.told.get();
            let missed = heard.borrow_mut().want(&interest, told);
            if let Some(missed) = missed {
                spawn_apart(feed.read_past(live, interest, missed, told));
            }
        });
    }

    /// Returns the tab's one log.
    ///
    /// # Panics
    ///
    /// Outside the page, which is a mistake in the program.
    pub(crate) fn here() -> Self {
        use_context().expect("the shell starts the feed")
    }

    /// Looks at the kept rows; not tracked.
    pub(crate) fn look<R>(self, look: impl FnOnce(&Ring) -> R) -> R {
        look(&self.ring.get_value().borrow())
    }

    fn hear(self, live: Live, batch: &[News]) {
        let (now_ms, heard_ms) = (live.now.get_untracked(), monotonic_ms());
        let ring = self.ring.get_value();
        for news in batch {
            ring.borrow_mut().push(news, now_ms, heard_ms);
        }
        self.say();
    }

    /// Tells the page soon that there is something new.
    fn say(self) {
        if self.is_due.get_value() {
            return;
        }
        self.is_due.set_value(true);
        let tell = move || {
            self.is_due.set_value(false);
            self.version.update(|version| *version += 1);
        };
        // The feed lives as long as the tab, so nothing needs to end the timer.
        Timeout::new(TOGETHER_MS, tell).forget();
    }

    /// Reads what was missed while the page wanted other news, and puts it into its place.
    async fn read_past(self, live: Live, interest: Interest, missed: Missed, until: u64) {
        let mut target = format!("/api/events?values=false&since={}", missed.after);
        for prefix in &interest.prefixes {
            target.push_str("&prefix=");
            target.push_str(&escape(prefix));
        }
        if !interest.types.is_empty() {
            target.push_str("&types=");
            target.push_str(&escape(&interest.types.join(",")));
        }
        let Ok(controller) = AbortController::new() else {
            return;
        };
        let request = Request::get(target).header("accept", "text/event-stream");
        let Ok(response) = request.start(&controller.signal()).await else {
            return self.fill(live, missed.after, until, &[lost(missed.after, until)]);
        };
        if !stream::is_stream(&response) {
            return self.fill(live, missed.after, until, &[lost(missed.after, until)]);
        }
        if let Some(from) = missed.left_out {
            self.fill(
                live,
                missed.after,
                missed.after,
                &[lost(from, missed.after)],
            );
        }
        // What is read of a revision waits until the revision is complete.
        let read = RefCell::new((missed.after, Vec::new()));
        let take = |messages: Vec<Message>| {
            let (after, waiting) = &mut *read.borrow_mut();
            for message in messages {
                waiting.extend(change(&message));
                let id = message.id.and_then(|id| id.parse::<u64>().ok());
                let Some(id) = id else { continue };
                waiting.retain(|news| news.revision().is_some_and(|revision| revision <= until));
                self.fill(live, *after, id.min(until), waiting);
                waiting.clear();
                *after = id;
                if id >= until {
                    return false;
                }
            }
            true
        };
        stream::read(&response, &take).await;
        controller.abort();
    }

    fn fill(self, live: Live, after: u64, until: u64, told: &[News]) {
        let (now_ms, ring) = (live.now.get_untracked(), self.ring.get_value());
        // It was not heard just now, so it counts for no rate.
        ring.borrow_mut().fill(after, until, told, now_ms, 0.0);
        self.say();
    }
}

/// Says that changes are missing.
const fn lost(after: u64, oldest: u64) -> News {
    News::Gap { after, oldest }
}
