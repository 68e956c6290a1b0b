//! What to do with a cluster that has no keys yet.

use leptos::prelude::{GetUntracked, RwSignal, Set, With, window};

use crate::{
    api::{Live, write::Write},
    dom::{El, View, el, spawn, when},
    model::address::{Address, Screen},
    parts::{copy_button, toast, writing_button},
    route::link,
};

/// The first key: a name that explains itself.
const KEY: &str = "hello";
const VALUE: &str = "Hello, conclave";

/// Three lines, while there is no key.
pub(super) fn hint(live: Live) -> View {
    let is_empty = move || {
        live.status
            .with(|status| status.as_ref().is_some_and(|status| status.keys == 0))
    };
    when(is_empty, move || lines().into())
}

fn lines() -> El {
    let failure = RwSignal::new(String::new());
    let busy = RwSignal::new(false);
    let write = writing_button("Write a first key")
        .class("primary")
        .testid("first-key")
        .on_click(move || {
            if busy.get_untracked() {
                return;
            }
            busy.set(true);
            failure.set(String::new());
            spawn(async move {
                let write = Write::put(KEY).content_type("text/plain").body_text(VALUE);
                let done = write.send(|_| {}).await;
                busy.set(false);
                match done {
                    Ok(_) => toast(format!("{KEY} is written. Keys shows it.")),
                    Err(why) => failure.set(why.sentence()),
                }
            });
        });
    el("section")
        .class("ov-first")
        .testid("first-run")
        .attr("aria-labelledby", "ov-first")
        .child(el("h2").attr("id", "ov-first").text("Nothing is stored yet"))
        .child(
            el("ol")
                .child(el("li").text("Write a key, here or with the line below: every member gets it, and this page shows it arrive."))
                .child(
                    el("li")
                        .text("Take a lock under ")
                        .child(link(|| Address::of(Screen::Locks)).text("Locks"))
                        .text(": one holder at a time, with a token that only grows."))
                .child(
                    el("li")
                        .text("Stop a node and look here: the others go on while a majority is left.")),
        )
        .child(
            el("div")
                .class("ov-curl")
                .child(el("code").attr("tabindex", "0").testid("curl").text(&curl()))
                .child(copy_button(curl)),
        )
        .child(el("div").class("ov-first-act").child(write))
        .child(
            el("p")
                .class("reason")
                .attr("role", "alert")
                .shown_if(move || failure.with(|text| !text.is_empty()))
                .text_of(move || failure.with(String::clone)),
        )
}

/// The same write for a shell.
fn curl() -> String {
    let origin = window().location().origin().unwrap_or_default();
    format!("curl -X PUT --data-binary '{VALUE}' {origin}/api/keys/{KEY}")
}
