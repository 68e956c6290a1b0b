//! What stands above the charts: the range, where the figures come from, and the crosshair's moment.

use leptos::prelude::{Get, GetUntracked, Set, window};
use wasm_bindgen::JsCast;
use web_sys::{Event, KeyboardEvent};

use super::state::State;
use crate::{
    dom::{El, View, button, el, when},
    model::text::age,
    parts::{copy_button, time_of},
    route::link,
};

/// Steps of the crosshair with the Shift key.
const FAR: u64 = 10;

/// The choice of the range.
pub(super) fn ranges(state: State) -> View {
    let choice = move |word: &'static str, value: Option<&'static str>, range_s: u64| {
        link(move || state.address("range", value))
            .class("button")
            .testid(&format!("range-{range_s}"))
            .attr_of("aria-current", move || {
                (state.range_s() == range_s).then(|| "true".to_owned())
            })
            .text(word)
    };
    el("div")
        .class("segments")
        .attr("role", "group")
        .attr("aria-label", "Range")
        .child(choice("5 minutes", None, 300))
        .child(choice("15 minutes", Some("15m"), 900))
        .into()
}

/// Whose figures these are, and where else they are to be had.
pub(super) fn sources(state: State) -> View {
    let node = move || {
        state.tick.get();
        let node = state.read(|data| data.node.clone());
        node.map_or_else(String::new, |node| {
            format!("Measured by {node} itself, once a second.")
        })
    };
    let address = || {
        let origin = window().location().origin().unwrap_or_default();
        format!("{origin}/metrics")
    };
    let prometheus = el("span")
        .class("metrics-prometheus")
        .text("Prometheus: ")
        .child(
            el("a")
                .class("mono")
                .attr("href", "/metrics")
                .text("/metrics"),
        )
        .child(
            copy_button(address)
                .testid("copy-prometheus")
                .attr("title", "Copy the address for Prometheus"),
        );
    el("div")
        .class("metrics-sources quiet")
        .child(el("span").text_of(node))
        .child(prometheus)
        .into()
}

/// Which moment the legends speak of.
pub(super) fn moment(state: State) -> View {
    let release = when(
        move || state.held.get().is_some(),
        move || {
            button("Resume the charts")
                .testid("resume")
                .on_click(move || state.let_go())
                .into()
        },
    );
    el("div")
        .class("metrics-moment")
        .child(el("p").testid("moment").text_of(move || words(state)))
        .child(release)
        .into()
}

fn words(state: State) -> String {
    state.tick.get();
    let (cursor, held) = (state.cursor.get(), state.held.get());
    let at = state.index();
    let said = state.read(|data| {
        let time = data.times.get(at).copied().unwrap_or_default();
        let clock = clock_of(time);
        if cursor.is_none() {
            return format!("Values of the newest second, {clock}.");
        }
        let ago = age(data.now_ms.saturating_sub(time));
        let mut said = match held {
            Some(_) => format!("Held at {clock}"),
            None => format!("Values at {clock}, {ago} ago"),
        };
        let near = |mark: &&conclave_shared::metrics::Mark| {
            mark.time_ms.abs_diff(time) <= near_ms(data.times.len())
        };
        for mark in data.marks.iter().filter(near).take(2) {
            said.push_str(" · ");
            said.push_str(&mark.text);
        }
        said
    });
    said.unwrap_or_else(|| "Asking for the figures…".to_owned())
}

/// How near a mark is to the crosshair to be read out: a hundredth of the range, milliseconds.
const fn near_ms(seconds: usize) -> u64 {
    seconds as u64 * 10
}

/// The time of day, to the second.
pub(super) fn clock_of(time_ms: u64) -> String {
    let text = time_of(time_ms);
    text.get(11..19).unwrap_or(&text).to_owned()
}

/// Moves the crosshair, holds it and lets it go.
pub(super) fn press(state: State, event: &Event) {
    let Some(key) = event.dyn_ref::<KeyboardEvent>() else {
        return;
    };
    let is_own = key.target() == key.current_target();
    let last = state.read(|data| data.times.len().saturating_sub(1) as u64);
    let Some(last) = last.filter(|_| is_own && !key.ctrl_key() && !key.meta_key()) else {
        return;
    };
    let step = if key.shift_key() { FAR } else { 1 };
    let at = state.cursor.get_untracked().unwrap_or(last);
    let next = match key.key().as_str() {
        "ArrowLeft" => at.saturating_sub(step),
        "ArrowRight" => (at + step).min(last),
        "Home" => 0,
        "End" => last,
        "Enter" => {
            event.prevent_default();
            return state.hold();
        }
        "Escape" => return state.let_go(),
        _ => return,
    };
    event.prevent_default();
    state.cursor.set(Some(next));
    if state.held.get_untracked().is_some() {
        state.hold();
    }
}

/// A button that shows a chart as a table, or as a picture again.
pub(super) fn table_button(state: State, id: &'static str) -> El {
    let is_table = move || is_table(state, id);
    button("Table")
        .class("quiet-button metrics-table-button")
        .testid("as-table")
        .attr_of("aria-pressed", move || Some(is_table().to_string()))
        .on_click(move || turn(state, id))
}

/// Says whether a chart is shown as a table, tracked.
pub(super) fn is_table(state: State, id: &str) -> bool {
    let tables = state.tables.get().unwrap_or_default();
    tables.split(',').any(|table| table == id)
}

fn turn(state: State, id: &str) {
    let now = state.tables.get_untracked().unwrap_or_default();
    let mut tables: Vec<&str> = now.split(',').filter(|table| !table.is_empty()).collect();
    match tables.iter().position(|table| *table == id) {
        Some(at) => {
            tables.remove(at);
        }
        None => tables.push(id),
    }
    let tables = tables.join(",");
    state.say(
        "table",
        Some(tables.as_str()).filter(|tables| !tables.is_empty()),
    );
}
