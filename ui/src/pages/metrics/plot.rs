//! A chart's picture: elements that are made once, and changed only where another tick looks different.

use std::cell::RefCell;

use conclave_shared::metrics::{MarkKind, MetricsSeries};
use wasm_bindgen::JsCast;
use web_sys::{Element, HtmlElement};

use super::controls::clock_of;
use crate::{
    dom::{El, el, svg},
    model::{
        metrics::{
            catalogue::{Chart, Line, unmeasured},
            chart::{COLUMNS, ROWS, path, share},
        },
        order::sort,
        text::age,
    },
};

/// Labels of an axis, the zero among them.
const TICKS: usize = 5;
/// Gaps that are labelled; the longest are.
const GAPS: usize = 4;
/// Kinds of lines that can be told apart.
const STYLES: usize = 6;

/// The elements of a picture.
pub(super) struct Plot {
    pub(super) frame: El,
    grid: Slot,
    leaders: Slot,
    members: Slot,
    lines: Vec<Slot>,
    ticks: Vec<(Slot, Slot)>,
    gaps: Vec<(Slot, Slot, Slot)>,
    empty: Slot,
    pub(super) times: El,
    from: Slot,
    to: Slot,
}

impl Plot {
    pub(super) fn new(chart: &Chart) -> Self {
        let shape = |class: &str| svg("path").class(class);
        let (grid, leaders, members) = (
            shape("metrics-lines"),
            shape("metrics-mark").attr("data-kind", "leader"),
            shape("metrics-mark").attr("data-kind", "member"),
        );
        let lines: Vec<El> = (0..chart.most_lines()).map(line).collect();
        let drawing = || {
            svg("svg")
                .attr("viewBox", &format!("0 0 {COLUMNS} {ROWS}"))
                .attr("preserveAspectRatio", "none")
                .attr("aria-hidden", "true")
        };
        let labels = |count: usize, class: &str| -> Vec<El> {
            (0..count).map(|_| el("span").class(class)).collect()
        };
        let (ticks, words) = (
            labels(TICKS, "metrics-tick"),
            labels(GAPS, "metrics-gap-word"),
        );
        let gap = |word: &El| el("div").class("metrics-gap").child(word.clone());
        let gaps: Vec<El> = words.iter().map(gap).collect();
        let empty = el("p").class("metrics-empty");
        let frame = el("div")
            .class("metrics-plot")
            .testid("plot")
            .child(drawing().child(grid.clone()))
            .children(gaps.clone())
            .child(
                drawing()
                    .children([leaders.clone(), members.clone()])
                    .children(lines.clone()),
            )
            .children(ticks.clone())
            .child(el("div").class("metrics-cursor"))
            .child(empty.clone());
        let (from, to) = (el("span"), el("span"));
        let times = el("div")
            .class("metrics-times")
            .attr("aria-hidden", "true")
            .children([from.clone(), to.clone()]);
        let slots = |all: &[El]| all.iter().map(Slot::of).collect();
        Self {
            frame,
            grid: Slot::of(&grid),
            leaders: Slot::of(&leaders),
            members: Slot::of(&members),
            lines: slots(&lines),
            ticks: ticks.iter().map(|e| (Slot::of(e), Slot::of(e))).collect(),
            gaps: gaps
                .iter()
                .zip(&words)
                .map(|(gap, word)| (Slot::of(word), Slot::of(gap), Slot::of(gap)))
                .collect(),
            empty: Slot::of(&empty),
            times,
            from: Slot::of(&from),
            to: Slot::of(&to),
        }
    }

    /// Draws a chart's lines in the frame that it shares with the others.
    pub(super) fn draw(
        &self,
        chart: &Chart,
        data: &MetricsSeries,
        only: Option<&str>,
        frame: &Frame,
    ) {
        let lines = chart.lines(data);
        let is_shown = |line: &Line<'_>| is_only(chart, &line.name, only) != Some(false);
        let shown = lines.iter().filter(|line| is_shown(line));
        let values = shown.flat_map(|line| line.points.iter().copied().flatten());
        let max = values.fold(None, |max: Option<f64>, value| {
            Some(max.map_or(value, |max| max.max(value)))
        });
        let top = self.axis(chart, max.unwrap_or_default());
        for (place, slot) in self.lines.iter().enumerate() {
            let line = lines.get(place).filter(|line| is_shown(line));
            let drawn = line.map_or_else(String::new, |line| path(line.points, top));
            slot.attr("d", &drawn);
        }
        self.empty
            .text(if max.is_none() { chart.empty } else { "" });
        self.leaders.attr("d", &frame.leaders);
        self.members.attr("d", &frame.members);
        for ((word, left, width), gap) in self.gaps.iter().zip(&frame.gaps) {
            word.text(&gap.word);
            left.style("left", &gap.left);
            width.style("width", &gap.width);
        }
        self.from.text(&frame.from);
        self.to.text(&frame.to);
    }

    /// Divides the axis for values up to `max` and returns the value at its top.
    fn axis(&self, chart: &Chart, max: f64) -> f64 {
        let tick = chart.unit.tick(max);
        let count = (max / tick).ceil().max(1.0);
        let mut grid = String::new();
        let mut value = 0.0;
        for (slot, place) in &self.ticks {
            if value > count {
                slot.text("");
                continue;
            }
            let below = 1.0 - value / count;
            slot.text(&chart.unit.tick_text(value * tick, tick));
            place.style("top", &format!("{}%", below * 100.0));
            grid.push_str(&format!(
                "M0 {}H{COLUMNS}",
                (below * f64::from(ROWS)).round()
            ));
            value += 1.0;
        }
        self.grid.attr("d", &grid);
        count * tick
    }
}

/// What all pictures have in common: the times, and what happened in them.
#[derive(Default)]
pub(super) struct Frame {
    leaders: String,
    members: String,
    gaps: [Gap; GAPS],
    from: String,
    to: String,
}

/// A time without figures: its label and its place; none is without a word and without a width.
#[derive(Default)]
struct Gap {
    word: String,
    left: String,
    width: String,
}

impl Frame {
    pub(super) fn of(data: &MetricsSeries) -> Self {
        let clock = |time: Option<&u64>| time.map_or_else(String::new, |time| clock_of(*time));
        let mut frame = Self {
            gaps: gaps(data),
            from: clock(data.times.first()),
            to: clock(data.times.last()),
            ..Self::default()
        };
        frame.mark(data);
        frame
    }

    fn mark(&mut self, data: &MetricsSeries) {
        let (Some(first), Some(last)) = (data.times.first(), data.times.last()) else {
            return;
        };
        for mark in &data.marks {
            let (past, all) = (mark.time_ms.saturating_sub(*first), (last - first).max(1));
            let x = past * COLUMNS as u64 / all;
            if x <= COLUMNS as u64 {
                let out = match mark.kind {
                    MarkKind::Leader => &mut self.leaders,
                    MarkKind::Member | MarkKind::Other => &mut self.members,
                };
                out.push_str(&format!("M{x} 0V{ROWS}"));
            }
        }
    }
}

/// The longest gaps, from the longest one.
fn gaps(data: &MetricsSeries) -> [Gap; GAPS] {
    let mut found = unmeasured(data);
    sort(&mut found, |(from, to), (begin, end)| {
        (end - begin).cmp(&(to - from))
    });
    let mut found = found.into_iter();
    std::array::from_fn(|_| match found.next() {
        Some((from, to)) => {
            // The line ends before the gap and begins behind it.
            let count = data.times.len();
            let begin = share(from.saturating_sub(1), count) * 100.0;
            let end = share(to.min(count - 1), count) * 100.0;
            Gap {
                word: format!("no data, {}", age((to - from) as u64 * data.step_ms)),
                left: format!("{begin}%"),
                width: format!("{}%", end - begin),
            }
        }
        None => Gap {
            width: "0%".to_owned(),
            ..Gap::default()
        },
    })
}

/// Says whether a line is the one that is shown alone; none when no line of this chart is.
pub(super) fn is_only(chart: &Chart, name: &str, only: Option<&str>) -> Option<bool> {
    let (id, line) = only?.split_once(':')?;
    (id == chart.id).then_some(line == name)
}

/// The line in this place of its chart.
pub(super) fn line(place: usize) -> El {
    svg("path")
        .class("metrics-line")
        .attr("data-line", &(place % STYLES).to_string())
}

/// One text, attribute or property of style of an element, changed only when it is another one.
pub(super) struct Slot {
    element: Element,
    last: RefCell<String>,
}

impl Slot {
    pub(super) fn of(element: &El) -> Self {
        Self {
            element: element.element(),
            last: RefCell::default(),
        }
    }

    fn is_new(&self, value: &str) -> bool {
        let is_new = *self.last.borrow() != value;
        if is_new {
            self.last.replace(value.to_owned());
        }
        is_new
    }

    pub(super) fn text(&self, text: &str) {
        if !self.is_new(text) {
            return;
        }
        match self.element.first_child() {
            // Cheaper than another text in its place.
            Some(node) => node.set_node_value(Some(text)),
            None => self.element.set_text_content(Some(text)),
        }
    }

    pub(super) fn attr(&self, name: &str, value: &str) {
        if self.is_new(value) {
            put(&self.element, name, value);
        }
    }

    fn style(&self, name: &str, value: &str) {
        if self.is_new(value) {
            let style = self.element.unchecked_ref::<HtmlElement>().style();
            // Fails for a read-only style only.
            drop(style.set_property(name, value));
        }
    }
}

/// Sets an attribute.
pub(super) fn put(element: &Element, name: &str, value: &str) {
    // Fails for an invalid name only.
    drop(element.set_attribute(name, value));
}
