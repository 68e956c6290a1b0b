//! What of the list is in sight, and where the keyboard is.
//!
//! The list scrolls by the reader only: when rows come or go above those in sight, these stay where
//! they are.

use leptos::prelude::{Get, document};
use wasm_bindgen::JsCast;
use web_sys::HtmlElement;

use super::{Goal, Inner, Keys};
use crate::{dom::after, model::keys::row::Row};

/// Longest text of open folders in the address.
const OPEN_BYTES: usize = 1_500;

impl Keys {
    /// Takes the element that scrolls.
    pub(in crate::pages::keys) fn take_list(self, list: HtmlElement) {
        if let Some(inner) = self.inner() {
            inner.borrow_mut().list = Some(list);
        }
    }

    /// Returns the rows to be shown, tracked; the one that the keyboard is at is always among them.
    pub(in crate::pages::keys) fn rows(self) -> Vec<Row> {
        self.changed.get();
        let Some(inner) = self.inner() else {
            return Vec::new();
        };
        let inner = inner.borrow();
        let range = inner.sight.rows(inner.tree.len());
        let active = inner.place();
        let mut rows = inner.tree.rows(range.clone());
        if !range.contains(&active) {
            rows.extend(inner.tree.rows(active..active + 1));
        }
        let selected = self.selected.get();
        for row in &mut rows {
            let flash = inner.flashes.iter().find(|flash| flash.name == row.name);
            row.mark.flash = flash.map_or(0, |flash| flash.number);
            row.mark.is_active = row.at == active;
            row.mark.is_selected =
                selected.as_ref() == Some(&row.name) && row.id().starts_with('k');
        }
        rows
    }

    /// Height of a row, pixels.
    pub(in crate::pages::keys) fn row_px(self) -> f64 {
        self.inner().map_or(0.0, |inner| inner.borrow().sight.row)
    }

    /// Takes what the list's element says of itself.
    pub(in crate::pages::keys) fn measure(self, row: Option<f64>) {
        let Some(inner) = self.inner() else { return };
        let is_other = inner.borrow_mut().measure(row);
        if is_other {
            self.touch();
        }
    }

    /// Keeps the rows in sight where they are, or brings what is wanted into sight: after each change.
    pub(in crate::pages::keys) fn settle(self) {
        self.changed.get();
        let Some(inner) = self.inner() else { return };
        let mut inner = inner.borrow_mut();
        match inner.goal.clone() {
            Some(Goal::Row(id)) => {
                if let Some(place) = inner.tree.place(&id) {
                    inner.goal = None;
                    inner.go(place);
                    return;
                }
            }
            Some(Goal::End) => {
                if inner.tree.unfinished().is_none() {
                    inner.goal = None;
                }
                let last = inner.tree.len().saturating_sub(1);
                inner.go(last);
                return;
            }
            None => {}
        }
        inner.hold();
    }

    /// Gives up what was to come into sight: the reader goes somewhere else.
    pub(in crate::pages::keys) fn drop_goal(self) {
        if let Some(inner) = self.inner() {
            inner.borrow_mut().goal = None;
        }
    }

    /// Moves the keyboard's place as a key says. Returns false for a key that moves nothing.
    pub(in crate::pages::keys) fn step(self, key: &str) -> bool {
        let Some(inner) = self.inner() else {
            return false;
        };
        {
            let mut inner = inner.borrow_mut();
            let len = inner.tree.len();
            let from = (!inner.active.0.is_empty()).then(|| inner.place());
            let Some(to) = inner.sight.step(key, from, len) else {
                return false;
            };
            inner.goal = (key == "End").then_some(Goal::End);
            inner.go(to);
        }
        self.touch();
        self.focus();
        true
    }

    /// Moves the keyboard's place to the row with this id.
    pub(in crate::pages::keys) fn go(self, id: &str) {
        let Some(inner) = self.inner() else { return };
        {
            let mut inner = inner.borrow_mut();
            let Some(place) = inner.tree.place(id) else {
                return;
            };
            inner.go(place);
        }
        self.touch();
    }

    /// Moves to the folder that a row lies in.
    pub(in crate::pages::keys) fn go_up(self, row: &Row) {
        let Some(inner) = self.inner() else { return };
        let parent = inner.borrow().tree.parent(row);
        if let Some(parent) = parent {
            self.go(&parent);
            self.focus();
        }
    }

    /// Opens a closed folder, closes an open one, and says so in the address.
    pub(in crate::pages::keys) fn toggle(self, folder: &str) {
        let mut open = String::new();
        self.change(|inner| {
            inner.goal = None;
            inner.tree.toggle(folder);
            open = inner.tree.open_folders().join("\n");
        });
        let route = self.route;
        let open = Some(open.as_str()).filter(|open| !open.is_empty() && open.len() < OPEN_BYTES);
        route.replace(route.current().with("open", open));
    }

    /// Reads more of a level that has much.
    pub(in crate::pages::keys) fn read_on(self, level: &str) {
        self.change(|inner| inner.tree.read_on(level));
    }

    /// Gives the focus to the row that the keyboard is at, once it is there.
    pub(in crate::pages::keys) fn focus(self) {
        self.run(|| {
            after(0, move || {
                let Some(list) = self.inner().and_then(|inner| inner.borrow().list.clone()) else {
                    return;
                };
                let row = list
                    .query_selector("[role=row][tabindex='0']")
                    .ok()
                    .flatten();
                if let Some(row) = row.and_then(|row| row.dyn_into::<HtmlElement>().ok()) {
                    // Fails for no element only.
                    drop(row.focus());
                }
            });
        });
    }

    pub(super) fn has_focus(self) -> bool {
        let list = self.inner().and_then(|inner| inner.borrow().list.clone());
        list.is_some_and(|list| list.contains(document().active_element().as_deref()))
    }
}

impl Inner {
    /// Moves the keyboard's place, and the list so that it is in sight.
    fn go(&mut self, place: usize) {
        if let Some(row) = self.tree.rows(place..place + 1).first() {
            self.active = (row.id(), place);
        }
        let top = self.sight.show(place);
        self.scroll(top);
    }

    /// Scrolls, and gives the list the height that it needs for that.
    pub(super) fn scroll(&mut self, top: f64) {
        let Some(list) = self.list.clone() else {
            return;
        };
        let all = self.sight.px(self.tree.len());
        if let Some(space) = list.first_element_child() {
            let style = space.unchecked_ref::<HtmlElement>().style();
            // Fails for a read-only style only.
            drop(style.set_property("height", &format!("{all}px")));
        }
        let top = top.min(all - self.sight.height).max(0.0);
        if (top - self.sight.top).abs() >= 0.5 {
            set_scroll_top(&list, top);
        }
        self.sight.top = top;
        self.keep_anchor();
    }

    /// Scrolls by as much as rows came or went above those in sight.
    fn hold(&mut self) {
        let (id, above) = self.anchor.clone();
        let place = self.tree.place(&id);
        let top = match place {
            Some(place) if self.sight.top > 0.0 => self.sight.px(place) + above,
            _ => self.sight.top,
        };
        self.scroll(top);
    }

    fn keep_anchor(&mut self) {
        let first = self.sight.first();
        self.anchor = match self.tree.rows(first..first + 1).first() {
            Some(row) => (row.id(), self.sight.top - self.sight.px(first)),
            None => (String::new(), 0.0),
        };
    }

    /// Takes what the list's element says. Returns whether other rows are to be shown then.
    fn measure(&mut self, row: Option<f64>) -> bool {
        let Some(list) = &self.list else {
            return false;
        };
        let before = (self.sight.rows(self.tree.len()), self.sight.row);
        self.sight.top = scroll_top(list);
        self.sight.height = f64::from(list.client_height());
        if let Some(row) = row {
            self.sight.row = row;
        }
        self.keep_anchor();
        before != (self.sight.rows(self.tree.len()), self.sight.row)
    }
}

/// How far an element is scrolled, with the fractions that browsers have and `scrollTop` of `web_sys`
/// has not.
fn scroll_top(element: &HtmlElement) -> f64 {
    let top = js_sys::Reflect::get(element, &"scrollTop".into());
    top.ok().and_then(|top| top.as_f64()).unwrap_or_default()
}

fn set_scroll_top(element: &HtmlElement, top: f64) {
    // Fails for a frozen object only.
    drop(js_sys::Reflect::set(
        element,
        &"scrollTop".into(),
        &top.into(),
    ));
}
