//! Keys that work everywhere. None of them changes data, and no single one works while somebody types,
//! while a layer is open, or when they are switched off (WCAG 2.1.4).

use std::cell::Cell;

use leptos::prelude::{GetUntracked, document, untrack};
use wasm_bindgen::JsCast;
use web_sys::{Element, HtmlElement, KeyboardEvent};

use super::layers::Layers;
use crate::{
    dom::{focus, listen, monotonic_ms},
    model::address::{Address, Screen},
    route::Route,
};

/// Longest time between `g` and the letter of a screen, milliseconds.
const PENDING_MS: f64 = 1_500.0;
/// Where a screen is searched.
const SEARCH: &str = "main [data-search], main input[type=search]";

/// The letter behind `g` that opens a screen.
pub(super) const fn letter(screen: Screen) -> &'static str {
    match screen {
        Screen::Overview => "o",
        Screen::Nodes => "n",
        Screen::Keys => "k",
        Screen::Locks => "l",
        Screen::Events => "e",
        Screen::Lab => "c",
        Screen::Metrics => "m",
    }
}

/// Listens to the keyboard from now on.
pub(super) fn listen_to_keys(layers: Layers) {
    let route = Route::here();
    let pending = Cell::new(f64::NEG_INFINITY);
    let press = move |event: web_sys::Event| {
        let Some(event) = event.dyn_ref::<KeyboardEvent>() else {
            return;
        };
        if is_palette(event) {
            event.prevent_default();
            if layers.palette.get_untracked().is_none() {
                layers.open_palette();
            }
            return;
        }
        let is_single = !(event.ctrl_key() || event.meta_key() || event.alt_key());
        let is_on = untrack(move || layers.are_keys_on());
        if !is_single || !is_on || event.default_prevented() || is_busy(event) {
            return;
        }
        let is_second = monotonic_ms() - pending.replace(f64::NEG_INFINITY) < PENDING_MS;
        let key = event.key();
        let is_done = match key.as_str() {
            key if is_second => go(route, key),
            "g" => {
                pending.set(monotonic_ms());
                true
            }
            "?" => {
                layers.open_shortcuts();
                true
            }
            "/" => focus(SEARCH),
            "j" => step(1),
            "k" => step(-1),
            _ => false,
        };
        if is_done {
            event.prevent_default();
        }
    };
    listen(&document(), "keydown", Box::new(press));
}

fn is_palette(event: &KeyboardEvent) -> bool {
    (event.ctrl_key() || event.meta_key())
        && !event.shift_key()
        && !event.alt_key()
        && event.key().eq_ignore_ascii_case("k")
}

/// Says whether the reader types, or looks at a layer.
fn is_busy(event: &KeyboardEvent) -> bool {
    let target = event.target().and_then(|target| target.dyn_into().ok());
    let is_typing = target.is_some_and(|target: Element| {
        let field = "input, textarea, select, [contenteditable], [role=textbox]";
        target.closest(field).ok().flatten().is_some()
    });
    is_typing || found("dialog[open]").is_some()
}

fn go(route: Route, key: &str) -> bool {
    let screen = Screen::ALL
        .into_iter()
        .find(|screen| letter(*screen) == key);
    if let Some(screen) = screen {
        route.go(Address::of(screen));
    }
    screen.is_some()
}

/// Moves the focus among a screen's rows, which have `data-row`.
fn step(by: i32) -> bool {
    let Ok(rows) = document().query_selector_all("main [data-row]") else {
        return false;
    };
    let focused = document().active_element();
    let rows: Vec<HtmlElement> = (0..rows.length())
        .filter_map(|at| rows.item(at)?.dyn_into().ok())
        .collect();
    let at = rows.iter().position(|row| {
        let focused = focused.as_ref().map(AsRef::as_ref);
        row.contains(focused)
    });
    let next = match at {
        Some(at) if by < 0 => at.checked_sub(1),
        Some(at) => Some(at + 1),
        None => Some(0),
    };
    let Some(row) = next.and_then(|next| rows.get(next)) else {
        return false;
    };
    // Fails for an element that is gone only.
    drop(row.focus());
    true
}

fn found(selector: &str) -> Option<Element> {
    document().query_selector(selector).ok().flatten()
}
