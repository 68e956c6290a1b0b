//! The screen Locks: who holds what under which token, who waits, and what this tab holds itself.

mod force;
mod mine;
mod queue;
mod table;
mod take;

use std::{cell::Cell, rc::Rc};

use conclave_shared::LockList;
use leptos::prelude::{Get, GetUntracked, Memo, RwSignal, Set, Update, WithUntracked, document};

use crate::{
    api::{Claims, Live, http::Request},
    dom::{View, effect, el, every, pause, spawn, switch, target_value},
    model::{address::escape, locks::list::Locks, news::News},
    parts::title,
    route::Route,
};

/// How often the list is read anew: renewals are no news.
const READ_MS: u32 = 1_000;
/// Time in which news come together before the list is read, milliseconds.
const TOGETHER_MS: u32 = 50;
/// Locks of one list.
const MOST: u32 = 200;

/// What this screen knows.
#[derive(Debug, Clone, Copy)]
struct Page {
    locks: RwSignal<Locks>,
    /// Why the last list could not be had.
    failure: RwSignal<Option<String>>,
    /// The tab's clock, milliseconds; ticks twice a second.
    now: RwSignal<f64>,
    selected: Memo<Option<String>>,
    prefix: Memo<Option<String>>,
    /// The lock that is to be broken.
    force: RwSignal<Option<String>>,
}

/// Shows the screen.
pub(crate) fn page() -> View {
    let route = Route::here();
    let page = Page {
        locks: RwSignal::new(Locks::default()),
        failure: RwSignal::new(None),
        now: RwSignal::new(Claims::here().clock()),
        selected: route.query("lock"),
        prefix: route.query("prefix"),
        force: RwSignal::new(None),
    };
    page.follow();
    let selected = page.selected;
    let queue = switch(
        move || selected.get(),
        move |name| name.map_or_else(View::none, |name| queue::queue(page, name)),
    );
    el("div")
        .class("screen locks")
        .child(
            el("div")
                .class("screen-head")
                .child(title("Locks"))
                .child(search(page)),
        )
        .child(mine::mine())
        .child(take::form(page))
        .child(
            el("div")
                .class("lk-body")
                .attr_of("data-open", move || selected.get().map(|_| String::new()))
                .child(table::table(page))
                .child(queue),
        )
        .child(force::dialog_of(page))
        .into()
}

fn search(page: Page) -> View {
    let route = Route::here();
    let listen = move |event: web_sys::Event| {
        let text = target_value(&event);
        let text = Some(text.as_str()).filter(|text| !text.is_empty());
        route.replace(route.current().with("prefix", text));
    };
    el("label")
        .class("search lk-search")
        .child(crate::dom::icon("search"))
        .child(
            el("input")
                .class("mono")
                .attr("type", "search")
                .attr("aria-label", "Locks whose names begin with")
                .attr("placeholder", "Begins with")
                .attr("autocomplete", "off")
                .attr("spellcheck", "false")
                .testid("locks-prefix")
                .value_of(move || page.prefix.get().unwrap_or_default())
                .on("change", listen),
        )
        .into()
}

impl Page {
    /// Reads the list now, on news of locks, and every second.
    fn follow(self) {
        let live = Live::here();
        let claims = Claims::here();
        every(500, move || self.now.set(claims.clock()));
        every(READ_MS, move || {
            if !document().hidden() {
                spawn(self.read());
            }
        });
        effect(move || {
            self.prefix.get();
            self.locks.set(Locks::default());
            spawn(self.read());
        });
        let is_due = Rc::new(Cell::new(false));
        live.on_news(move |batch| {
            let is_news = |news: &News| matches!(news, News::Lock(_) | News::Gap { .. });
            if batch.iter().any(is_news) && !is_due.replace(true) {
                let is_due = Rc::clone(&is_due);
                spawn(async move {
                    pause(TOGETHER_MS).await;
                    is_due.set(false);
                    self.read().await;
                });
            }
        });
    }

    async fn read(self) {
        let prefix = self.prefix.get_untracked().unwrap_or_default();
        let target = format!(
            "/api/locks?level=stale&limit={MOST}&prefix={}",
            escape(&prefix)
        );
        // The list is as old as the moment before it was asked for.
        let asked_at = self.now.get_untracked();
        let list = Request::get(target).timeout(3_000).json::<LockList>().await;
        match list {
            Ok(list) => {
                self.failure.set(None);
                self.locks.update(|locks| locks.take(list, asked_at));
            }
            Err(failure) => self.failure.set(Some(failure.sentence())),
        }
    }

    /// The token and the owner of a lock now, not tracked.
    fn holder(self, name: &str) -> Option<(u64, String)> {
        self.locks.with_untracked(|locks| {
            let holder = locks.get(name)?.holder.as_ref()?;
            Some((holder.token, holder.owner.clone()))
        })
    }
}
