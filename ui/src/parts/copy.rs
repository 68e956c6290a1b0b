//! A button that copies a text.

use leptos::prelude::{Get, RwSignal, Set};

use crate::dom::{El, after, button, copy};

/// How long the button says what became of it, milliseconds.
const SAID_MS: u32 = 2_000;

/// A button that copies what `text` is when it is pressed, and says that it has.
pub(crate) fn copy_button(text: impl Fn() -> String + 'static) -> El {
    let said = RwSignal::new("Copy".to_owned());
    button("")
        .class("quiet-button")
        .testid("copy")
        .attr("aria-live", "polite")
        .on_click(move || {
            let word = if copy(&text()) {
                "Copied"
            } else {
                "Not copied"
            };
            said.set(word.to_owned());
            after(SAID_MS, move || said.set("Copy".to_owned()));
        })
        .text_of(move || said.get())
}
