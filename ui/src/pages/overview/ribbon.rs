//! The log ribbon: a row per member over the last entries of the log. It grows at its right edge;
//! who is cut off stays behind there.

use leptos::prelude::{Get, RwSignal, Set, With, WithUntracked};
use wasm_bindgen::JsCast;
use web_sys::{Element, MouseEvent};

use super::Shared;
use crate::{
    api::Feed,
    dom::{El, View, each, el},
    model::{
        address::{Address, Screen},
        overview::{
            recent::line,
            ribbon::{COLUMNS, Extent, column, extent, index, ticks},
            seen::Place,
            words,
        },
        seats::Seat,
        text::grouped,
    },
    route::Route,
};

/// Marks of the axis that are there at most; as many as 256 columns can have.
const TICKS: usize = 5;
/// Events among which that of a column is looked for: an index may have several.
const NAMED: usize = 1_000;
/// Begins of terms that are drawn at most.
const RULES: usize = 4;

/// Draws the ribbon.
pub(super) fn ribbon(shared: Shared) -> El {
    let seen = shared.seen;
    let pointed = RwSignal::new(None::<u64>);
    let rows = each(
        move || seen.with(|seen| seen.places.clone()),
        |place| place.node.clone(),
        move |place| row(shared, place, pointed),
    );
    el("section")
        .class("ov-ribbon")
        .attr("aria-labelledby", "ov-log")
        .testid("ribbon")
        .style_of("--rows", move || {
            seen.with(|seen| seen.places.len()).to_string()
        })
        .child(
            el("div")
                .class("ov-ribbon-head")
                .child(el("h2").attr("id", "ov-log").text("Log"))
                .child(
                    el("span")
                        .class("ov-readout")
                        .testid("readout")
                        .text_of(move || readout(shared, pointed)),
                ),
        )
        .child(el("div").class("ov-rows").child(rows))
        .child(axis(shared))
        .child(legend())
}

fn row(shared: Shared, place: RwSignal<Place>, pointed: RwSignal<Option<u64>>) -> El {
    let seen = shared.seen;
    let extent = move || {
        let head = seen.with(|seen| seen.head);
        place.with(|p| p.log.map_or_else(Extent::default, |log| extent(&log, head)))
    };
    let route = Route::here();
    let at = move |event: web_sys::Event| {
        let head = seen.try_with_untracked(|seen| seen.head)?;
        column_of(&event).and_then(|column| index(column, head))
    };
    el("div")
        .class("ov-row")
        .testid("ribbon-row")
        .attr_of("data-node", move || Some(place.with(|p| p.node.clone())))
        .attr_of("data-seat", move || {
            Some(place.with(|p| p.seat.as_str().to_owned()))
        })
        .attr_of("data-age", move || {
            let now = shared.now.get();
            place
                .with(|p| words::freshness(p.heard, now))
                .map(str::to_owned)
        })
        .attr_of("data-last", move || {
            place.with(|p| p.log.map(|log| log.last.to_string()))
        })
        .attr_of("data-stored", move || Some(extent().stored.to_string()))
        .attr_of("data-applied", move || Some(extent().applied.to_string()))
        .child(
            el("span")
                .class("ov-row-name mono")
                .child(el("bdi").text_of(move || place.with(|p| p.node.clone()))),
        )
        .child(
            el("div")
                .class("ov-track")
                .style_of("--applied", move || extent().applied.to_string())
                .style_of("--stored", move || extent().stored.to_string())
                .style_of("--known", move || known(seen.with(|s| s.head)).to_string())
                .child(el("i").class("ov-missing"))
                .child(el("i").class("ov-stored"))
                .child(el("i").class("ov-applied"))
                .child(
                    el("i")
                        .class("ov-post")
                        .shown_if(move || extent().post.is_some())
                        .style_of("--at", move || {
                            extent().post.unwrap_or_default().to_string()
                        }),
                )
                .on("pointermove", move |event| pointed.set(at(event)))
                .on("pointerleave", move |_| pointed.set(None))
                .on("click", move |event| {
                    if let Some(index) = at(event) {
                        let since = index.saturating_sub(1).to_string();
                        route.go(Address::of(Screen::Events).with("since", Some(&since)));
                    }
                }),
        )
        .child(el("span").class("ov-row-end").text_of(move || {
            place.with(|p| match (p.log, p.lag) {
                (None, _) => "not known".to_owned(),
                (Some(_), Some(lag @ 1..)) if p.seat != Seat::Leader => {
                    format!("−{}", grouped(lag))
                }
                (Some(log), _) => grouped(log.applied),
            })
        }))
}

/// Columns that the log has filled.
const fn known(head: u64) -> u64 {
    if head < COLUMNS { head } else { COLUMNS }
}

/// Which column the pointer is on.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a share of 256 columns"
)]
fn column_of(event: &web_sys::Event) -> Option<u64> {
    let event: &MouseEvent = event.dyn_ref()?;
    let track: Element = event.current_target()?.dyn_into().ok()?;
    let share = f64::from(event.offset_x()) / f64::from(track.client_width().max(1));
    Some((share.clamp(0.0, 0.999) * COLUMNS as f64) as u64)
}

/// What stands at the column that the pointer is on.
fn readout(shared: Shared, pointed: RwSignal<Option<u64>>) -> String {
    let Some(index) = pointed.get() else {
        return "The last 256 entries of each member".to_owned();
    };
    let what = Feed::here().look(|ring| {
        let mut rows = ring.last(NAMED);
        rows.find(|row| row.news.revision() == Some(index))
            .map(|row| line(row.id, &row.news))
    });
    let what = what.map(|line| format!("{} {}", line.kind, line.what));
    let term = shared.seen.with(|seen| {
        let mut begins = seen.terms.iter().rev();
        begins
            .find(|(first, _)| *first <= index)
            .map(|(_, term)| format!(", term {term}"))
    });
    let what = what.map(|what| format!(": {what}")).unwrap_or_default();
    format!("{}{}{what}", grouped(index), term.unwrap_or_default())
}

/// Ticks at every 64th index, and a rule where a term began.
fn axis(shared: Shared) -> El {
    let seen = shared.seen;
    let tick = move |number: usize| {
        let at = move || seen.with(|seen| ticks(seen.head).get(number).copied());
        mark_at("ov-tick-mark", shared, at, grouped)
    };
    let rule = move |number: usize| {
        let at = move || seen.with(|seen| seen.terms.get(number).map(|(first, _)| *first));
        let term = move |first: u64| {
            let terms = seen.with(|seen| seen.terms.clone());
            let mut found = terms.iter().filter(|(begin, _)| *begin == first);
            found
                .next_back()
                .map_or_else(String::new, |(_, term)| format!("term {term}"))
        };
        mark_at("ov-rule", shared, at, term)
    };
    el("div")
        .class("ov-axis")
        .attr("aria-hidden", "true")
        .child(
            el("div")
                .class("ov-axis-track")
                .children((0..TICKS).map(tick))
                .children((0..RULES).map(rule)),
        )
}

/// A mark on the axis at an index, while that is in sight.
fn mark_at(
    class: &str,
    shared: Shared,
    at: impl Fn() -> Option<u64> + Copy + 'static,
    word: impl Fn(u64) -> String + 'static,
) -> El {
    let place = move || {
        let head = shared.seen.with(|seen| seen.head);
        column(at()?, head)
    };
    el("span")
        .class(class)
        .shown_if(move || place().is_some())
        .style_of("--at", move || place().unwrap_or_default().to_string())
        .text_of(move || at().map(&word).unwrap_or_default())
}

fn legend() -> El {
    let entry = |class: &str, word: &str| {
        el("span")
            .class("ov-legend-entry")
            .child(el("i").class(class))
            .text(word)
    };
    let all: View = vec![
        entry("ov-applied", "applied"),
        entry("ov-stored", "stored, not committed"),
        entry("ov-missing", "missing"),
        entry("ov-post", "snapshot"),
    ]
    .into();
    el("p").class("ov-legend").child(all)
}
