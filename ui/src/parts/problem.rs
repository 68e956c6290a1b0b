//! A read that failed, next to what it was for: the node's own reason, and a way to try again.

use std::rc::Rc;

use leptos::prelude::{Get, Owner, RwSignal};

use crate::{
    dom::{View, button, el, icon, switch},
    model::failure::Failure,
};

/// Shows a read's failure while there is one. `retry` runs in the part of the page that asked for this.
pub(crate) fn problem(failure: RwSignal<Option<Failure>>, retry: impl Fn() + 'static) -> View {
    let owner = Owner::current().unwrap_or_default();
    let retry = Rc::new(move || owner.with(&retry));
    let sentence = move || failure.get().map(|failure| failure.sentence());
    let shown = switch(sentence, move |sentence| {
        let Some(sentence) = sentence else {
            return View::none();
        };
        let retry = Rc::clone(&retry);
        el("div")
            .class("problem")
            .testid("problem")
            .child(icon("warn"))
            .child(el("span").class("problem-text").text(&sentence))
            .child(
                button("Try again")
                    .testid("retry")
                    .on_click(move || retry()),
            )
            .into()
    });
    el("div").attr("role", "alert").child(shown).into()
}
