//! The log itself: a window of rows over all that are kept, which follows the newest.

use std::{cell::RefCell, rc::Rc};

use leptos::prelude::{Get, GetUntracked, RwSignal, Set, Update, With, WithUntracked, window};
use wasm_bindgen::JsCast;
use web_sys::{Element, HtmlElement};

use super::{Choice, detail::detail, row};
use crate::{
    api::Feed,
    dom::{El, after, checked, each, effect, el, listen_here},
    model::{
        events::{filter::Filter, ring::Ring, row::Row, window::List},
        text::grouped,
    },
};

/// Height of a row on a wide screen, and on a narrow one with two lines, pixels. The style sheet has
/// the same.
const ROW: f64 = 32.0;
const NARROW_ROW: f64 = 56.0;
/// How much higher an opened row is, pixels. The style sheet has the same.
const MORE: f64 = 240.0;
/// In the list of rows that are shown: what belongs to the opened row `id` is `OPENED + id`.
const OPENED: u64 = 1 << 62;

/// What the log shows now.
#[derive(Clone)]
struct Log {
    choice: Choice,
    feed: Feed,
    /// The rows in the document.
    shown: RwSignal<Vec<u64>>,
    /// The newest row when the reader left the end; none while the log follows.
    left_at: RwSignal<Option<u64>>,
    /// Rows that came since the log stopped following.
    below: RwSignal<usize>,
    rows: RwSignal<usize>,
    /// Rises when the view was moved or has another size.
    moved: RwSignal<u64>,
    last: Rc<RefCell<Last>>,
}

/// What was drawn last.
#[derive(Debug, Default)]
struct Last {
    /// Where the view stood, pixels.
    top: f64,
    /// The row that was opened.
    open: Option<u64>,
    rows: Vec<Rc<Row>>,
}

/// The elements that are moved: the view that scrolls, the space of all rows in it, and in that the
/// rows that are there.
#[derive(Debug, Clone)]
struct Frame {
    view: Element,
    space: HtmlElement,
    rows: HtmlElement,
}

/// Shows the log.
pub(super) fn log(choice: Choice) -> El {
    let log = Log {
        choice,
        feed: Feed::here(),
        shown: RwSignal::new(Vec::new()),
        left_at: RwSignal::new(None),
        below: RwSignal::new(0),
        rows: RwSignal::new(0),
        moved: RwSignal::new(0),
        last: Rc::default(),
    };
    let aloud = RwSignal::new(false);
    let (view, frame) = view(&log, aloud);
    let (at, scrolled) = (frame.view.clone(), log.clone());
    let view = view.on("scroll", move |_| scrolled.scrolled(&at));
    let moved = log.moved;
    let turn = move || moved.update(|moved| *moved += 1);
    listen_here(&window(), "resize", Box::new(move |_| turn()));
    let drawn = log.clone();
    // The first time it has no size: the page is not in the document yet.
    after(0, turn);
    effect(move || drawn.draw(&frame));
    el("div")
        .class("ev-frame")
        .child(heads())
        .child(view)
        .child(empty(&log))
        .child(below(&log))
        .child(
            el("label")
                .class("ev-aloud")
                .child(
                    el("input")
                        .attr("type", "checkbox")
                        .testid("events-aloud")
                        .on("change", move |event| aloud.set(checked(&event))),
                )
                .text("Have new events read aloud"),
        )
}

fn heads() -> El {
    let words = ["Revision", "Time", "Kind", "Key or lock", "Change", "By"];
    el("div")
        .class("ev-row ev-heads")
        .attr("aria-hidden", "true")
        .children(words.map(|word| el("span").text(word)))
}

fn view(log: &Log, aloud: RwSignal<bool>) -> (El, Frame) {
    let (feed, choice, shown) = (log.feed, log.choice, log.shown);
    let make = move |id: RwSignal<u64>| {
        let id = id.get_untracked();
        let row = feed.look(|ring| ring.get(id % OPENED));
        match row {
            Some(row) if id >= OPENED => detail(&row),
            Some(row) => row::row(&row, choice),
            None => el("div"),
        }
    };
    let rows = el("div")
        .class("ev-rows")
        .child(each(move || shown.get(), u64::to_string, make));
    let (left_at, count) = (log.left_at, log.rows);
    let space = el("div").class("ev-space").child(rows.clone());
    let view = el("div")
        .class("ev-log")
        .testid("events-log")
        .attr("role", "log")
        .attr("tabindex", "0")
        .attr("aria-label", "Changes, newest last")
        .attr_of("aria-live", move || {
            Some(if aloud.get() { "polite" } else { "off" }.to_owned())
        })
        .attr_of("data-following", move || {
            Some((left_at.get().is_none() && choice.paused.get().is_none()).to_string())
        })
        .attr_of("data-rows", move || Some(count.get().to_string()))
        .child(space.clone());
    let frame = Frame {
        view: view.element(),
        space: space.element().unchecked_into(),
        rows: rows.element().unchecked_into(),
    };
    (view, frame)
}

fn empty(log: &Log) -> El {
    let (rows, filter) = (log.rows, log.choice.filter);
    let words = move || {
        if filter.with(Filter::is_empty) {
            "No change since this tab was opened. Write a key or take a lock, and it shows here."
        } else {
            "No change matches these filters since this tab was opened."
        }
        .to_owned()
    };
    el("p")
        .class("ev-empty quiet")
        .shown_if(move || rows.get() == 0)
        .text_of(words)
}

/// The button that says how much is new below, and goes there.
fn below(log: &Log) -> El {
    let (count, left_at, choice) = (log.below, log.left_at, log.choice);
    el("button")
        .attr("type", "button")
        .class("ev-below")
        .testid("events-below")
        .shown_if(move || count.get() > 0)
        .text_of(move || format!("{} new below", grouped(count.get() as u64)))
        .on_click(move || {
            choice.open.set(None);
            choice.paused.set(None);
            left_at.set(None);
        })
}

impl Log {
    /// Notes that the view was moved: up stops following, the end starts it again.
    fn scrolled(&self, view: &Element) {
        let top = f64::from(view.scroll_top());
        let bottom = top + f64::from(view.client_height());
        let is_at_end = bottom >= f64::from(view.scroll_height()) - ROW / 2.0;
        let Ok(mut last) = self.last.try_borrow_mut() else {
            return;
        };
        let was = std::mem::replace(&mut last.top, top);
        drop(last);
        // The part may have ended: then the signals are gone.
        let Some(is_following) = self.left_at.try_get_untracked().map(|left| left.is_none()) else {
            return;
        };
        if is_at_end && self.choice.open.get_untracked().is_none() {
            if !is_following {
                self.left_at.set(None);
            }
        } else if is_following && top < was - 1.0 {
            self.left_at.set(Some(self.feed.look(Ring::newest)));
        }
        self.moved.update(|moved| *moved += 1);
    }

    /// Puts the rows that can be seen into the document. Tracks what they depend on.
    fn draw(&self, frame: &Frame) {
        self.feed.version.get();
        self.moved.get();
        let choice = self.choice;
        let (paused, cleared) = (choice.paused.get(), choice.cleared.get());
        let (open, left_at) = (choice.open.get(), self.left_at.get());
        if open.is_some() && left_at.is_none() {
            // What is being read must not run away.
            self.left_at.set(Some(self.feed.look(Ring::newest)));
        }
        let stopped_at = paused.or(left_at);
        let until = paused.unwrap_or(u64::MAX);
        let (rows, below) = choice.filter.with(|filter| {
            self.feed.look(|ring| {
                let below = stopped_at.map_or(0, |last| ring.count(filter, last.max(cleared)));
                (ring.select(filter, cleared, until), below)
            })
        });
        let list = List {
            rows: rows.len(),
            row: row_height(),
            open: open.and_then(|id| rows.iter().position(|row| row.id == id)),
            more: MORE,
        };
        let height = f64::from(frame.view.client_height());
        let top = if stopped_at.is_none() && open.is_none() {
            (list.height() - height).max(0.0)
        } else {
            let last = self.last.borrow();
            let top = last.top - list.row * gone(&last.rows, &rows);
            match list.open {
                // What has just been opened is moved into sight as a whole.
                Some(place) if last.open != open => top.max(list.top(place + 1) - height),
                _ => top,
            }
            .max(0.0)
        };
        let part = list.part(top, height);
        let mut shown = Vec::with_capacity(part.end - part.first + 1);
        for row in rows.get(part.first..part.end).unwrap_or_default() {
            shown.push(row.id);
            if open == Some(row.id) {
                shown.push(OPENED + row.id);
            }
        }
        frame.place(list.height(), part.top, top);
        change(self.below, below);
        change(self.rows, rows.len());
        if self.shown.with_untracked(|last| *last != shown) {
            self.shown.set(shown);
        }
        self.last.replace(Last { top, open, rows });
    }
}

impl Frame {
    /// Gives the space its height, the rows their place, and moves the view; all in pixels.
    fn place(&self, height: f64, rows: f64, top: f64) {
        // Fails for read-only styles only.
        drop(
            self.space
                .style()
                .set_property("height", &format!("{height}px")),
        );
        let place = format!("translateY({rows}px)");
        drop(self.rows.style().set_property("transform", &place));
        if (f64::from(self.view.scroll_top()) - top).abs() >= 1.0 {
            #[expect(clippy::cast_possible_truncation, reason = "pixels of a page")]
            self.view.set_scroll_top(top.round() as i32);
        }
    }
}

fn change(signal: RwSignal<usize>, now: usize) {
    if signal.get_untracked() != now {
        signal.set(now);
    }
}

/// How many rows have gone at the top of the list between two looks.
#[expect(clippy::cast_precision_loss, reason = "thousands of rows")]
fn gone(before: &[Rc<Row>], now: &[Rc<Row>]) -> f64 {
    let Some(first) = now.first() else { return 0.0 };
    let place = before.iter().position(|row| row.id == first.id);
    place.unwrap_or(0) as f64
}

fn row_height() -> f64 {
    let narrow = window().match_media("(width < 640px)").ok().flatten();
    if narrow.is_some_and(|query| query.matches()) {
        NARROW_ROW
    } else {
        ROW
    }
}
