//! Dialogs: the browser's own, which keeps the focus inside, closes on Esc and gives the focus back.

use leptos::prelude::{Get, RwSignal, Set};
use wasm_bindgen::JsCast;
use web_sys::HtmlDialogElement;

use crate::dom::{View, effect, el, switch};

/// A dialog that is open while `open` has something; `body` is made for it. Esc and a click beside it
/// close it: both set `open` to nothing.
pub(crate) fn dialog<T>(
    label: &'static str,
    open: RwSignal<Option<T>>,
    body: impl Fn(T) -> View + 'static,
) -> View
where
    T: Clone + PartialEq + Send + Sync + 'static,
{
    let frame = el("dialog").attr("aria-label", label).testid("dialog");
    let element: HtmlDialogElement = frame.element().unchecked_into();
    let shown = element.clone();
    let content = switch(
        move || open.get(),
        move |what| what.map_or_else(View::none, &body),
    );
    let frame = frame
        .on("close", move |_| open.set(None))
        .on("click", move |event| {
            let target = event.target().and_then(|target| target.dyn_into().ok());
            if target.is_some_and(|target: HtmlDialogElement| target == shown) {
                open.set(None);
            }
        })
        .child(el("div").class("dialog-body").child(content));
    effect(move || {
        let is_wanted = leptos::prelude::With::with(&open, Option::is_some);
        if is_wanted && !element.open() {
            // A dialog can be shown once it is in the document, which it is after this turn.
            let element = element.clone();
            crate::dom::after(0, move || drop(element.show_modal()));
        } else if !is_wanted && element.open() {
            element.close();
        }
    });
    frame.into()
}
