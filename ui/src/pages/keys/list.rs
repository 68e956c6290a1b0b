//! The list of keys: a tree grid of which only the rows in sight are elements.
//!
//! Rows have fixed heights and lie where their place says, so that the list scrolls as if all of them
//! were there. One row takes part in the order of the Tab key, and the keyboard moves it.

use leptos::prelude::{Get, GetUntracked, RwSignal, Set, With, WithUntracked, untrack};
use wasm_bindgen::{JsCast, closure::Closure};
use web_sys::{Element, Event, HtmlElement, KeyboardEvent, ResizeObserver};

use super::state::Keys;
use crate::{
    dom::{El, View, copy, each, effect, el, icon, key_of},
    model::{
        keys::{
            erase::counted,
            row::{Kind, Row},
        },
        text::{grouped, size},
    },
    parts::toast,
};

/// Shows the list.
pub(super) fn list(keys: Keys) -> View {
    let rows = each(move || keys.rows(), Row::id, move |row| row_of(keys, row));
    let list = el("div")
        .class("keys-list")
        .testid("key-list")
        .attr("role", "treegrid")
        .attr("aria-label", "Keys")
        .attr_of("aria-rowcount", move || {
            Some(keys.look(|tree| tree.size()).to_string())
        })
        .shown_if(move || keys.look(|tree| !tree.is_empty()))
        .on("scroll", move |_| keys.measure(None))
        .on("wheel", move |_| keys.drop_goal())
        .on("pointerdown", move |_| keys.drop_goal())
        .on("keydown", move |event| on_key(keys, &event))
        .child(
            el("div")
                .class("keys-space")
                .attr("role", "rowgroup")
                .child(rows),
        );
    let element: HtmlElement = list.element().unchecked_into();
    keys.take_list(element.clone());
    effect(move || keys.settle());
    observe(&element.clone(), move || {
        keys.measure(row_height(&element));
    });
    list.into()
}

/// Calls `run` whenever an element's size is another one, from the first on.
fn observe(element: &Element, run: impl FnMut() + 'static) {
    let run = Closure::<dyn FnMut()>::new(run).into_js_value();
    if let Ok(observer) = ResizeObserver::new(run.unchecked_ref()) {
        observer.observe(element);
    }
}

/// Height of a row as the styles have it, pixels.
fn row_height(list: &HtmlElement) -> Option<f64> {
    let style = leptos::prelude::window().get_computed_style(list).ok()??;
    let text = style.get_property_value("--row").ok()?;
    text.trim().strip_suffix("px")?.parse().ok()
}

/// The elements of a row that follow it.
struct Parts {
    row: HtmlElement,
    head: Element,
    tail: Element,
    note: Element,
    revision: Element,
}

fn row_of(keys: Keys, row: RwSignal<Row>) -> El {
    let [head, tail, revision] =
        ["keys-head", "keys-tail", "keys-revision"].map(|name| el("span").class(name));
    let note = el("span").class("keys-note").attr("role", "gridcell");
    let element = el("div").attr("role", "row");
    let parts = Parts {
        row: element.element().unchecked_into(),
        head: head.element(),
        tail: tail.element(),
        note: note.element(),
        revision: revision.element(),
    };
    let kind = row.with_untracked(|row| row.kind.clone());
    let name = el("span").class("keys-name mono").attr("role", "gridcell");
    let name = match kind {
        Kind::Folder { .. } => name.child(icon("chevron-right")),
        _ => name,
    };
    let element = element
        .child(name.child(head).child(tail))
        .child(note)
        .child(match kind {
            Kind::Key { .. } => revision.attr("role", "gridcell"),
            Kind::Folder { .. } => el("span")
                .attr("role", "gridcell")
                .class("keys-tools")
                .child(erase_button(keys, row)),
            Kind::More { .. } => revision.attr("role", "gridcell"),
        })
        .on("focus", move |_| {
            if let Some(row) = row.try_get_untracked().filter(|row| !row.mark.is_active) {
                keys.go(&row.id());
            }
        })
        .on_click(move || {
            if let Some(row) = row.try_get_untracked() {
                keys.go(&row.id());
                keys.focus();
                act(keys, &row);
            }
        });
    effect(move || row.with(|row| paint(&parts, row, keys.row_px())));
    element
}

fn erase_button(keys: Keys, row: RwSignal<Row>) -> El {
    el("button")
        .attr("type", "button")
        .class("icon-button")
        .testid("folder-delete")
        .attr_of("tabindex", move || {
            let is_active = row.with(|row| row.mark.is_active);
            Some(if is_active { "0" } else { "-1" }.to_owned())
        })
        .attr_of("aria-label", move || {
            Some(format!("Delete all keys in {}", row.get().name))
        })
        .child(icon("trash"))
        .on("click", move |event| {
            event.stop_propagation();
            if let Some(row) = row.try_get_untracked() {
                keys.erasing.set(Some(row.name));
            }
        })
}

/// Brings a row's elements to what it is.
fn paint(parts: &Parts, row: &Row, px: f64) {
    let set = |name: &str, value: Option<&str>| {
        // Fail for an invalid name only.
        drop(match value {
            Some(value) => parts.row.set_attribute(name, value),
            None => parts.row.remove_attribute(name),
        });
    };
    let said = words(row);
    write(&parts.head, &said.head);
    write(&parts.tail, &said.tail);
    write(&parts.note, &said.note);
    write(&parts.revision, &said.revision);
    set("class", Some(said.class));
    set("data-testid", Some(said.class));
    set(said.data, Some(&row.name));
    set("title", Some(said.title).filter(|title| !title.is_empty()));
    set("aria-expanded", said.expanded);
    set("aria-level", Some(&(row.depth + 1).to_string()));
    set("aria-posinset", Some(&row.place.to_string()));
    let of = row.of.map_or_else(|| "-1".to_owned(), |of| of.to_string());
    set("aria-setsize", Some(&of));
    set("aria-rowindex", Some(&(row.at + 1).to_string()));
    set("aria-selected", row.mark.is_selected.then_some("true"));
    set(
        "tabindex",
        Some(if row.mark.is_active { "0" } else { "-1" }),
    );
    set("data-row", row.mark.is_active.then_some(""));
    let flash = match (row.mark.flash, row.mark.flash % 2) {
        (0, _) => None,
        (_, 0) => Some("even"),
        _ => Some("odd"),
    };
    set("data-flash", flash);
    let style = parts.row.style();
    #[expect(
        clippy::cast_precision_loss,
        reason = "a list has fewer rows than 2^52"
    )]
    let top = row.at as f64 * px;
    // Fail for a read-only style only.
    drop(style.set_property("top", &format!("{top}px")));
    drop(style.set_property("--depth", &row.depth.min(12).to_string()));
}

fn write(element: &Element, text: &str) {
    if element.text_content().as_deref() != Some(text) {
        element.set_text_content(Some(text));
    }
}

/// What a row says.
struct Words<'r> {
    class: &'static str,
    /// The attribute that names it to tests.
    data: &'static str,
    title: &'r str,
    head: String,
    tail: String,
    note: String,
    revision: String,
    expanded: Option<&'static str>,
}

fn words(row: &Row) -> Words<'_> {
    let (mut head, tail) = row.label.clone();
    if head.is_empty() && tail.is_empty() {
        "(empty name)".clone_into(&mut head);
    }
    match &row.kind {
        Kind::Key { revision, bytes } => Words {
            class: "key-row",
            data: "data-key",
            title: &row.name,
            head,
            tail,
            note: size(*bytes),
            revision: grouped(*revision),
            expanded: None,
        },
        Kind::Folder {
            count,
            is_capped,
            is_open,
        } => Words {
            class: "folder-row",
            data: "data-prefix",
            title: &row.name,
            head,
            tail,
            note: if *is_capped {
                format!("{}+ keys", grouped(*count))
            } else {
                counted(*count)
            },
            revision: String::new(),
            expanded: Some(if *is_open { "true" } else { "false" }),
        },
        Kind::More {
            loaded,
            of,
            failure,
            is_held,
        } => Words {
            class: "more-row",
            data: "data-level",
            title: "",
            head: more(*loaded, *of, failure.as_deref(), *is_held),
            tail: String::new(),
            note: String::new(),
            revision: String::new(),
            expanded: None,
        },
    }
}

fn more(loaded: u64, of: Option<u64>, failure: Option<&str>, is_held: bool) -> String {
    let loaded = match of {
        Some(of) => format!("{} of {} loaded", grouped(loaded), grouped(of)),
        None => "Reading keys".to_owned(),
    };
    match failure {
        Some(why) => format!("{loaded}. {why} Asking again."),
        None if is_held => format!("{loaded}. Load more"),
        None => loaded,
    }
}

/// Does what a row is for.
fn act(keys: Keys, row: &Row) {
    match row.kind {
        Kind::Key { .. } => {
            let route = keys.route;
            route.go(route.current().with("key", Some(&row.name)));
        }
        Kind::Folder { .. } => keys.toggle(&row.name),
        Kind::More { .. } => keys.read_on(&row.name),
    }
}

fn on_key(keys: Keys, event: &Event) {
    let Some(pressed) = event.dyn_ref::<KeyboardEvent>() else {
        return;
    };
    let key = key_of(event);
    let is_on_row = event
        .target()
        .and_then(|target| target.dyn_into::<Element>().ok())
        .is_some_and(|target| target.get_attribute("role").as_deref() == Some("row"));
    let rows = untrack(|| keys.rows());
    let row = rows.into_iter().find(|row| row.mark.is_active);
    let Some(row) = row.filter(|_| is_on_row && !pressed.alt_key()) else {
        return;
    };
    if pressed.ctrl_key() || pressed.meta_key() {
        if key == "c" && copy(&row.name) {
            event.prevent_default();
            keys.focus();
            keys.run(|| toast(format!("Copied {}", row.name)));
        }
        return;
    }
    let is_open = match row.kind {
        Kind::Folder { is_open, .. } => Some(is_open),
        _ => None,
    };
    match (key.as_str(), is_open) {
        ("Enter" | " ", _) | ("ArrowRight", Some(false)) | ("ArrowLeft", Some(true)) => {
            act(keys, &row);
            keys.focus();
        }
        ("ArrowRight", Some(true)) => {
            keys.step("ArrowDown");
        }
        ("ArrowLeft", _) => keys.go_up(&row),
        (key, _) if !keys.step(key) => return,
        _ => {}
    }
    event.prevent_default();
}
