//! The screen Keys: the list on the left, the value pane of the selected key on the right; where there is
//! no room for both, the pane lies over the list as a sheet.

mod create;
mod erase;
mod head;
mod list;
mod state;
mod value;

use wasm_bindgen::JsCast;
use web_sys::HtmlElement;

use crate::{
    dom::{View, after, button, el, icon, key_of, switch},
    pages::keys::state::Keys,
};
use leptos::prelude::{Get, With};

/// Shows the screen.
pub(crate) fn page() -> View {
    let keys = Keys::start();
    el("div")
        .class("screen keys")
        .attr_of("data-open", move || {
            keys.selected.with(Option::is_some).then(String::new)
        })
        .child(head::head(keys))
        .child(
            el("div")
                .class("keys-panes")
                .child(
                    el("div")
                        .class("keys-left")
                        .child(head::search(keys))
                        .child(list::list(keys))
                        .child(head::nothing(keys)),
                )
                .child(pane(keys)),
        )
        .child(create::dialog(keys))
        .child(erase::dialog(keys))
        .into()
}

/// The selected key's pane, or what would be there.
fn pane(keys: Keys) -> View {
    let close = move || {
        keys.route.go(keys.route.current().with("key", None));
        keys.focus();
    };
    let shown = switch(
        move || keys.selected.get(),
        move |key| match key {
            Some(key) => {
                let back = button("")
                    .class("keys-back quiet-button")
                    .testid("pane-close")
                    .child(icon("arrow-left"))
                    .text("All keys")
                    .on_click(close);
                focus_if_alone(back.element().unchecked_into());
                vec![back.into(), value::pane(key)].into()
            }
            None => el("p")
                .class("keys-unselected hint")
                .text("Select a key to see its value.")
                .into(),
        },
    );
    el("div")
        .class("keys-right")
        .on("keydown", move |event| {
            if key_of(&event) == "Escape" && !event.default_prevented() && is_sheet() {
                close();
            }
        })
        .child(shown)
        .into()
}

/// Gives the focus to the sheet's way back, where the pane is a sheet.
fn focus_if_alone(back: HtmlElement) {
    after(0, move || {
        if is_sheet() {
            // Fails for no element only.
            drop(back.focus());
        }
    });
}

/// Says whether the pane lies over the list.
fn is_sheet() -> bool {
    let query = leptos::prelude::window().match_media("(width < 900px)");
    query.ok().flatten().is_some_and(|query| query.matches())
}
