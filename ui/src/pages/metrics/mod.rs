//! The screen Metrics: the serving node's own figures of the last minutes, as charts with one crosshair.

mod chart;
mod controls;
mod plot;
mod state;
mod table;

use leptos::prelude::Get;

use crate::{
    dom::{View, el, spawn, switch},
    parts::{problem, title},
};

use state::State;

/// Shows the screen.
pub(crate) fn page() -> View {
    let state = State::new();
    let head = el("div")
        .class("screen-head")
        .child(title("Metrics"))
        .child(controls::ranges(state));
    let charts = switch(
        move || state.range_s(),
        move |range_s| {
            state.forget();
            spawn(state.follow(range_s));
            charts(state)
        },
    );
    el("div")
        .class("screen metrics")
        .child(head)
        .child(controls::sources(state))
        .child(problem(state.failure, move || spawn(state.ask_again())))
        .child(controls::moment(state))
        .child(charts)
        .into()
}

/// All charts. The arrow keys move their crosshair, Enter holds it, Esc lets it go.
fn charts(state: State) -> View {
    let label = "Charts. Left and right move the crosshair, Enter holds it, Escape lets it go.";
    el("div")
        .class("metrics-grid")
        .testid("charts")
        .attr("role", "group")
        .attr("tabindex", "0")
        .attr("aria-label", label)
        .attr_of("data-held", move || state.held.get())
        .attr_of("data-tick", move || Some(state.tick.get().to_string()))
        .style_of("--at", move || state.cursor_share())
        .flag_of("data-cursor", move || state.cursor.get().is_some())
        .on("keydown", move |event| controls::press(state, &event))
        .children(chart::charts(state))
        .into()
}
