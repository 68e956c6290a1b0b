//! A chart as a table. Its cells follow the figures; its rows stay, so that it can be read and scrolled.

use leptos::prelude::Get;

use super::{controls::clock_of, state::State};
use crate::{
    dom::{El, View, each, el},
    model::metrics::{
        catalogue::Chart,
        table::{ROWS, cell},
    },
};

/// Shows the table of a chart.
pub(super) fn table(state: State, chart: &'static Chart) -> View {
    let names = move || {
        state.tick.get();
        let names = state.read(|data| {
            let lines = chart.lines(data);
            lines
                .into_iter()
                .map(|line| line.name.into_owned())
                .collect::<Vec<_>>()
        });
        names.unwrap_or_default()
    };
    let head = move |name: leptos::prelude::RwSignal<String>| {
        el("th")
            .class("number")
            .attr("scope", "col")
            .text_of(move || name.get())
    };
    let head = el("tr")
        .child(el("th").attr("scope", "col").text("From"))
        .child(each(names, Clone::clone, head));
    let rows = (0..ROWS).map(move |row| self::row(state, chart, row, names));
    el("div")
        .class("scroll metrics-table")
        .attr("tabindex", "0")
        .attr("role", "region")
        .attr("aria-label", &format!("{}, as a table", chart.title))
        .child(
            el("table")
                .class("table")
                .testid("table")
                .child(el("thead").child(head))
                .child(el("tbody").children(rows)),
        )
        .into()
}

fn row(
    state: State,
    chart: &'static Chart,
    row: usize,
    names: impl Fn() -> Vec<String> + 'static,
) -> El {
    let begin = move || {
        state.tick.get();
        let time = state.read(|data| {
            let to = data
                .times
                .len()
                .checked_sub(row * block(data.times.len()))?;
            let from = to.saturating_sub(block(data.times.len()));
            (to > 0).then(|| clock_of(data.times[from]))
        });
        time.flatten().unwrap_or_default()
    };
    let cell = move |name: leptos::prelude::RwSignal<String>| {
        el("td").class("number").text_of(move || {
            state.tick.get();
            let name = name.get();
            value(state, chart, &name, row).unwrap_or_else(|| "–".to_owned())
        })
    };
    el("tr")
        .child(el("th").attr("scope", "row").class("mono").text_of(begin))
        .child(each(names, Clone::clone, cell))
}

fn value(state: State, chart: &Chart, name: &str, row: usize) -> Option<String> {
    let value = state.read(|data| {
        let line = chart
            .lines(data)
            .into_iter()
            .find(|line| line.name == name)?;
        let count = block(line.points.len());
        cell(line.points, row, count, line.aggregation)
    });
    value.flatten().map(|value| chart.unit.text(value))
}

/// Seconds of a row.
fn block(points: usize) -> usize {
    points.div_ceil(ROWS).max(1)
}
