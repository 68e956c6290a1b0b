//! What is left of the page after a mistake in its program: the message and a way to begin anew. A
//! page that only looks alive would be worse.

use std::{panic::PanicHookInfo, sync::Once};

use leptos::prelude::{document, window};

use crate::dom::{View, button, el};

/// Shows that the dashboard stopped, should the program panic from now on.
pub(crate) fn watch() {
    std::panic::set_hook(Box::new(|panic| {
        static ONCE: Once = Once::new();
        // What still runs may fail again and again; the first message says why.
        ONCE.call_once(|| show(&message(panic)));
    }));
}

fn message(panic: &PanicHookInfo<'_>) -> String {
    let place = panic.location().map(ToString::to_string);
    let text = panic.payload_as_str().unwrap_or("no message");
    format!("{text} ({})", place.unwrap_or_default())
}

fn show(message: &str) {
    let Some(host) = document().get_element_by_id("app") else {
        return;
    };
    host.set_inner_html("");
    // Ends the stream and what else is on its way. Fails in no page that is shown.
    drop(window().stop());
    // Fails in a page that may not be left.
    let reload = || drop(window().location().reload());
    let text = "This page met a mistake in its own program. The cluster is not affected, and what was \
                saved is saved.";
    let page = el("main")
        .class("stopped")
        .testid("stopped")
        .attr("role", "alert")
        .child(el("h1").text("The dashboard stopped"))
        .child(el("p").text(text))
        .child(el("pre").class("mono").text(message))
        .child(
            el("p").child(
                button("Reload the dashboard")
                    .class("primary")
                    .on_click(reload),
            ),
        );
    View::from(page).mount(&host);
}
