//! The screen Events: the log of changes as this tab has heard them, newest at the bottom.

mod detail;
mod filters;
mod log;
mod row;

use leptos::prelude::{Get, GetUntracked, Memo, RwSignal, Set, With};

use crate::{
    api::{Feed, Live},
    dom::{El, View, button, download, effect, el, monotonic_ms},
    model::{
        events::{filter::Filter, ring::KEPT},
        text::grouped,
    },
    parts::title,
    route::Route,
};

/// Over which time the rate of matching rows is taken, milliseconds.
const RATE_MS: f64 = 3_000.0;

/// What the reader has chosen on this screen.
#[derive(Debug, Clone, Copy)]
struct Choice {
    filter: Memo<Filter>,
    /// The log stands still at this row.
    paused: RwSignal<Option<u64>>,
    /// Rows up to this one were cleared away.
    cleared: RwSignal<u64>,
    /// The row that is opened.
    open: RwSignal<Option<u64>>,
}

/// Shows the screen.
pub(crate) fn page() -> View {
    let (route, live) = (Route::here(), Live::here());
    let (prefix, types, by) = (
        route.query("prefix"),
        route.query("types"),
        route.query("by"),
    );
    let filter = Memo::new(move |_| Filter::parse(prefix.get(), types.get().as_deref(), by.get()));
    let choice = Choice {
        filter,
        paused: RwSignal::new(None),
        cleared: RwSignal::new(0),
        open: RwSignal::new(None),
    };
    effect(move || live.want(filter.with(Filter::interest)));
    el("div")
        .class("screen events")
        .child(
            el("div")
                .class("ev-head")
                .child(title("Events"))
                .child(tools(choice)),
        )
        .child(filters::bar(choice))
        .child(numbers(choice))
        .child(log::log(choice))
        .into()
}

fn tools(choice: Choice) -> El {
    let feed = Feed::here();
    let pause = move || {
        let now = match choice.paused.get_untracked() {
            Some(_) => None,
            None => Some(feed.look(|ring| ring.newest())),
        };
        choice.paused.set(now);
    };
    let clear = move || {
        choice.cleared.set(feed.look(|ring| ring.newest()));
        choice.open.set(None);
        choice.paused.set(None);
    };
    let export = move || {
        let lines = feed.look(|ring| ring.export());
        download("conclave-events.ndjson", lines.as_bytes());
    };
    el("div")
        .class("ev-tools")
        .child(
            el("button")
                .attr("type", "button")
                .testid("events-pause")
                .attr_of("aria-pressed", move || {
                    Some(choice.paused.get().is_some().to_string())
                })
                .text_of(move || match choice.paused.get() {
                    Some(_) => "Resume".to_owned(),
                    None => "Pause".to_owned(),
                })
                .on_click(pause),
        )
        .child(
            button("Clear")
                .testid("events-clear")
                .attr(
                    "title",
                    "Clears the screen. The export still has these events.",
                )
                .on_click(clear),
        )
        .child(
            button("Export NDJSON")
                .testid("events-export")
                .attr(
                    "title",
                    "Saves all events that this tab has kept, filtered or not.",
                )
                .on_click(export),
        )
}

/// The line of numbers: how fast events come, and what of them is kept and shown.
fn numbers(choice: Choice) -> El {
    let (feed, live) = (Feed::here(), Live::here());
    let all = rate_of_all(live);
    let rate = move || {
        // Once a second is enough to read it.
        live.now.get();
        let since = monotonic_ms() - RATE_MS;
        let count = choice
            .filter
            .with(|filter| feed.look(|ring| ring.heard_since(filter, since)));
        let matching = (count as u64 * 1_000).div_ceil(RATE_MS as u64);
        let all = all.get().max(matching);
        format!("Matching {}/s of {}/s", grouped(matching), grouped(all))
    };
    let kept = move || {
        feed.version.get();
        feed.look(|ring| match ring.dropped {
            0 => format!(
                "{} events since this tab was opened, all kept",
                grouped(ring.len() as u64)
            ),
            dropped => format!(
                "The newest {} events are kept and exported; {} older ones are not",
                grouped(KEPT as u64),
                grouped(dropped)
            ),
        })
    };
    el("p")
        .class("ev-numbers quiet")
        .child(el("span").testid("events-rate").text_of(rate))
        .child(el("span").testid("events-kept").text_of(kept))
}

/// How many revisions the node applies in a second: what all changes of the cluster come to.
fn rate_of_all(live: Live) -> RwSignal<u64> {
    let rate = RwSignal::new(0);
    let mut last = None;
    effect(move || {
        let now = live
            .status
            .with(|status| status.as_ref().map(|s| (s.revision, s.now_ms)));
        if let (Some((revision, now_ms)), Some((before, before_ms))) = (now, last)
            && now_ms > before_ms
        {
            let (revision, before): (u64, u64) = (revision, before);
            let span: u64 = now_ms - before_ms;
            rate.set(revision.saturating_sub(before) * 1_000 / span);
        }
        last = now;
    });
    rate
}
