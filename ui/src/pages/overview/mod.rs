//! The screen Overview: how the cluster is in one sentence, the round table, the log ribbon, and what
//! happened last.

mod first;
mod members;
mod ribbon;
mod side;
mod table;

use std::{cell::Cell, rc::Rc};

use leptos::prelude::{Get, GetUntracked, Memo, RwSignal, Set, Update, With, WithUntracked};

use crate::{
    api::Live,
    dom::{El, View, button, effect, el, every, monotonic_ms, when},
    model::{
        headline::{Headline, Tone, of_cluster},
        overview::{seen::Seen, words},
    },
    parts::{age_of, title},
    route::Route,
};

/// How often the time of an election is told anew, milliseconds.
const ELECTION_MS: u32 = 200;

/// What the parts of the screen share.
#[derive(Debug, Clone, Copy)]
struct Shared {
    seen: RwSignal<Seen>,
    headline: Memo<Headline>,
    /// The members are shown as a table instead of a picture.
    is_table: Memo<bool>,
    /// The serving node's clock: each second, and more often while nobody leads.
    now: RwSignal<u64>,
}

/// Shows the screen.
pub(crate) fn page() -> View {
    let live = Live::here();
    let route = Route::here();
    let view = route.query("view");
    let shared = Shared {
        seen: RwSignal::new(Seen::default()),
        headline: Memo::new(move |_| say(live)),
        is_table: Memo::new(move |_| view.with(|view| view.as_deref() == Some("table"))),
        now: RwSignal::new(live.now.get_untracked()),
    };
    listen(live, shared);
    let toggle = button("View as table")
        .class("quiet-button ov-toggle")
        .testid("view-as-table")
        .attr_of("aria-pressed", move || {
            Some(shared.is_table.get().to_string())
        })
        .on_click(move || {
            let address = route.current();
            let next = (address.get("view") != Some("table")).then_some("table");
            route.replace(address.with("view", next));
        });
    let is_known = move || shared.seen.with(|seen| seen.heard > 0);
    el("div")
        .class("screen overview")
        .attr_of("data-view", move || {
            Some(
                if shared.is_table.get() {
                    "table"
                } else {
                    "picture"
                }
                .to_owned(),
            )
        })
        .attr_of("data-age", move || {
            let now = shared.now.get();
            shared.seen.with(|seen| {
                let age = words::freshness(Some(seen.heard), now)?;
                (seen.heard > 0).then(|| age.to_owned())
            })
        })
        .child(head(shared, toggle))
        .child(first::hint(live))
        .child(
            el("div")
                .class("ov-grid")
                .child(when(is_known, move || {
                    el("div")
                        .class("ov-main")
                        .child(table::picture(shared))
                        .child(members::table(shared))
                        .child(ribbon::ribbon(shared))
                        .into()
                }))
                .child(side::column(shared)),
        )
        .into()
}

/// The title and the headline.
fn head(shared: Shared, toggle: El) -> El {
    el("header")
        .class("ov-head")
        .child(
            el("div")
                .class("screen-head")
                .child(title("Overview"))
                .child(toggle),
        )
        .child(
            el("p")
                .class("ov-headline")
                .testid("headline")
                .attr_of("data-tone", move || {
                    Some(shared.headline.with(|said| said.tone.as_str().to_owned()))
                })
                .text_of(move || shared.headline.with(|said| said.text.clone())),
        )
        .child(
            el("p")
                .class("ov-asof quiet")
                .testid("as-of")
                .shown_if(move || {
                    let now = shared.now.get();
                    let heard = shared.seen.with(|seen| seen.heard);
                    heard > 0 && words::freshness(Some(heard), now).is_some()
                })
                .child(crate::dom::icon("clock"))
                .text("The node’s last word came ")
                .child(age_of(move || Some(shared.seen.with(|seen| seen.heard))))
                .text(". All below is as it was then."),
        )
}

fn say(live: Live) -> Headline {
    let (status, cluster) = (live.status.get(), live.cluster.get());
    match (status, cluster) {
        (Some(status), Some(cluster)) => of_cluster(&status, &cluster),
        (Some(status), None) => crate::model::headline::headline(&status),
        (None, _) => Headline {
            tone: Tone::Calm,
            text: "Asking the node…".to_owned(),
        },
    }
}

/// Takes in each word of the node, and keeps the clock.
fn listen(live: Live, shared: Shared) {
    // Between the node's clock and the browser's monotonic one, at the last word.
    let offset = Rc::new(Cell::new(0.0));
    let kept = Rc::clone(&offset);
    effect(move || {
        let (Some(status), Some(cluster)) = (live.status.get(), live.cluster.get()) else {
            return;
        };
        let now = live.now.get_untracked();
        kept.set(millis(now) - monotonic_ms());
        shared.seen.update(|seen| seen.hear(&status, &cluster, now));
    });
    effect(move || shared.now.set(live.now.get()));
    let is_leaderless = Memo::new(move |_| shared.seen.with(|seen| seen.leaderless.is_some()));
    when_true(is_leaderless, move || {
        let offset = Rc::clone(&offset);
        every(ELECTION_MS, move || {
            let now = monotonic_ms() + offset.get();
            if let Some(heard) = shared.seen.try_with_untracked(|seen| seen.heard) {
                shared.now.set(whole(now).max(heard));
            }
        });
    });
}

/// Runs `begin` each time that this becomes true; what it starts ends when it is false.
fn when_true(is_true: Memo<bool>, begin: impl Fn() + 'static) {
    // An empty part of the page: its owner ends what runs.
    let part = when(
        move || is_true.get(),
        move || {
            begin();
            View::none()
        },
    );
    part.mount(&el("div").element());
}

#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds since 1970 fit for 285,000 years"
)]
const fn millis(moment: u64) -> f64 {
    moment as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a moment after 1970"
)]
const fn whole(moment: f64) -> u64 {
    moment as u64
}
