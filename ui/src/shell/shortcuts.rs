//! The list of shortcuts, and the switch that turns single keys off.

use super::{keyboard::letter, layers::Layers};
use crate::{
    dom::{El, View, button, el},
    model::address::Screen,
    parts::dialog,
};

/// Shows the list while it is open.
pub(super) fn list(layers: Layers) -> View {
    dialog("Keyboard shortcuts", layers.shortcuts, move |_| {
        body(layers)
    })
}

fn body(layers: Layers) -> View {
    let screens = Screen::ALL.map(|screen| {
        (
            format!("g {}", letter(screen)),
            format!("Go to {}", screen.word()),
        )
    });
    let others = [
        (palette_keys(), "Find a command or a key"),
        ("/", "Search this screen"),
        ("j", "Next row of a list"),
        ("k", "Previous row of a list"),
        ("?", "This list"),
        ("Esc", "Close what lies on top"),
    ];
    let row = |keys: &str, word: &str| {
        el("div")
            .class("shortcut")
            .child(el("dt").child(hint(keys)))
            .child(el("dd").text(word))
    };
    let switch = el("label")
        .class("check")
        .child(
            el("input")
                .attr("type", "checkbox")
                .testid("shortcuts-on")
                .flag_of("checked", move || layers.are_keys_on())
                .on("change", move |_| layers.turn_keys()),
        )
        .child(el("span").text("Single keys work on every screen"));
    let column = |rows: Vec<El>| el("dl").children(rows);
    let list = el("div")
        .class("shortcuts")
        .child(column(others.map(|(keys, word)| row(keys, word)).to_vec()))
        .child(column(
            screens.map(|(keys, word)| row(&keys, &word)).to_vec(),
        ));
    let close = move || leptos::prelude::Set::set(&layers.shortcuts, None);
    View::from(vec![
        el("h2").text("Keyboard shortcuts"),
        list,
        el("p").class("hint").text(
            "No shortcut changes or deletes anything, and single keys do nothing while you type.",
        ),
        el("div")
            .class("shortcuts-foot")
            .child(switch)
            .child(button("Close the list").on_click(close)),
    ])
}

/// Keys as caps, one for each word.
pub(super) fn hint(keys: &str) -> El {
    let caps = keys.split_whitespace().map(|key| el("kbd").text(key));
    el("span").class("keys-hint").children(caps)
}

/// The keys that open the palette, as this machine calls them.
pub(super) fn palette_keys() -> &'static str {
    let agent = leptos::prelude::window().navigator().user_agent();
    if agent.is_ok_and(|agent| agent.contains("Mac")) {
        "Cmd K"
    } else {
        "Ctrl K"
    }
}
