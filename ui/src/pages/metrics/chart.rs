//! A chart: its legend, its picture, its table. Everything is made once; a tick changes what it must and
//! makes nothing.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use leptos::prelude::{Get, GetUntracked, Set};
use wasm_bindgen::JsCast;
use web_sys::{Element, Event, MouseEvent};

use super::{
    controls::{is_table, table_button},
    plot::{Frame, Plot, Slot, is_only, line, put},
    state::State,
    table::table,
};
use crate::{
    dom::{El, button, effect, el, svg, switch},
    model::metrics::catalogue::{CHARTS, Chart, Line},
};

/// A chart's elements that follow the figures.
struct Panel {
    chart: &'static Chart,
    entries: Vec<Entry>,
    plot: Plot,
}

/// Shows all charts.
pub(super) fn charts(state: State) -> Vec<El> {
    let panels: Vec<Panel> = CHARTS.iter().map(Panel::new).collect();
    let shown = panels.iter().map(|panel| panel.show(state)).collect();
    follow(state, panels);
    shown
}

/// Keeps all charts by one effect for the values and one for the pictures, which change less often.
fn follow(state: State, panels: Vec<Panel>) {
    let panels = Rc::new(panels);
    let legends = Rc::clone(&panels);
    effect(move || {
        state.tick.get();
        let (at, only) = (state.index(), state.only.get());
        state.read(|data| {
            for Panel { chart, entries, .. } in legends.iter() {
                let lines = chart.lines(data);
                for (place, entry) in entries.iter().enumerate() {
                    entry.show(chart, lines.get(place), at, only.as_deref());
                }
            }
        });
    });
    effect(move || {
        state.drawn.get();
        let only = state.only.get();
        state.read(|data| {
            let frame = Frame::of(data);
            for Panel { chart, plot, .. } in panels.iter() {
                if !is_table(state, chart.id) {
                    plot.draw(chart, data, only.as_deref(), &frame);
                }
            }
        });
    });
}

impl Panel {
    fn new(chart: &'static Chart) -> Self {
        Self {
            chart,
            entries: (0..chart.most_lines()).map(Entry::new).collect(),
            plot: Plot::new(chart),
        }
    }

    fn show(&self, state: State) -> El {
        let chart = self.chart;
        let picture = picture(state, chart, &self.plot);
        let body = switch(
            move || is_table(state, chart.id),
            move |is_table| match is_table {
                true => table(state, chart),
                false => picture.to_vec().into(),
            },
        );
        el("section")
            .class("metrics-chart")
            .testid("chart")
            .attr("data-chart", chart.id)
            .child(
                el("div")
                    .class("metrics-head")
                    .child(el("h2").text(chart.title))
                    .child(table_button(state, chart.id)),
            )
            .child(self.legend(state))
            .child(body)
    }

    /// The lines by name, each with its value at the crosshair. A press shows one line alone.
    fn legend(&self, state: State) -> El {
        let id = self.chart.id;
        el("div")
            .class("metrics-legend")
            .children(self.entries.iter().map(|entry| {
                let name = Rc::clone(&entry.name);
                entry.button.clone().on_click(move || {
                    let this = format!("{id}:{}", name.borrow());
                    let is_alone = state.only.get_untracked().as_deref() == Some(&this);
                    state.say("only", Some(this.as_str()).filter(|_| !is_alone));
                })
            }))
    }
}

/// The picture with what it does below the pointer, and its times.
fn picture(state: State, chart: &Chart, plot: &Plot) -> [El; 2] {
    let element = plot.frame.element();
    let place = move |event: &Event| place_of(state, &element, event);
    let click = place.clone();
    let frame = plot
        .frame
        .clone()
        .on("pointermove", move |event| {
            let is_free = state.held.try_get_untracked() == Some(None);
            if let Some(at) = place(&event).filter(|_| is_free) {
                state.cursor.set(Some(at));
            }
        })
        .on("pointerleave", move |_| {
            if state.held.try_get_untracked() == Some(None) {
                state.cursor.set(None);
            }
        })
        .on("click", move |event| {
            match state.held.try_get_untracked() {
                Some(None) => (),
                Some(Some(_)) => return state.let_go(),
                None => return,
            }
            state.cursor.set(click(&event));
            state.hold();
        })
        .attr("role", "img")
        .attr("aria-label", &format!("Line chart: {}", chart.title));
    [frame, plot.times.clone()]
}

/// Returns which point is below the pointer.
fn place_of(state: State, frame: &Element, event: &Event) -> Option<u64> {
    let x = f64::from(event.dyn_ref::<MouseEvent>()?.client_x());
    let bounds = frame.get_bounding_client_rect();
    let last = state.read(|data| data.times.len().saturating_sub(1))?;
    let share = ((x - bounds.left()) / bounds.width().max(1.0)).clamp(0.0, 1.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "at most 900 points"
    )]
    Some((share * last as f64).round() as u64)
}

/// A line's entry in the legend.
struct Entry {
    button: El,
    name: Rc<RefCell<String>>,
    word: Slot,
    value: Slot,
    pressed: Slot,
    is_hidden: Cell<bool>,
}

impl Entry {
    fn new(place: usize) -> Self {
        let (word, value) = (el("span"), el("span").class("number"));
        let sample = svg("svg")
            .class("metrics-sample")
            .attr("aria-hidden", "true")
            .attr("viewBox", "0 0 18 8")
            .child(line(place).attr("d", "M1 4h16"));
        let button = button("")
            .class("metrics-entry")
            .testid("series")
            .child(sample)
            .child(word.clone())
            .child(value.clone());
        Self {
            name: Rc::default(),
            word: Slot::of(&word),
            value: Slot::of(&value),
            pressed: Slot::of(&button),
            is_hidden: Cell::new(false),
            button,
        }
    }

    fn show(&self, chart: &Chart, line: Option<&Line<'_>>, at: usize, only: Option<&str>) {
        if self.is_hidden.replace(line.is_none()) != line.is_none() {
            let element = self.button.element();
            match line {
                Some(_) => drop(element.remove_attribute("hidden")),
                None => put(&element, "hidden", ""),
            }
        }
        let Some(line) = line else {
            return;
        };
        let value = line.points.get(at).copied().flatten();
        let value = value.map_or_else(|| "–".to_owned(), |value| chart.unit.text(value));
        self.word.text(&line.name);
        self.value.text(&value);
        if *self.name.borrow() != *line.name {
            self.name.replace(line.name.to_string());
            put(&self.button.element(), "data-series", &line.name);
        }
        let is_alone = is_only(chart, &line.name, only) == Some(true);
        let pressed = if is_alone { "true" } else { "false" };
        self.pressed.attr("aria-pressed", pressed);
    }
}
