//! The frame round every screen: brand, rail, palette, keys, theme, and where the focus goes when the
//! screen changes.

mod commands;
mod keyboard;
mod layers;
mod palette;
mod rail;
mod shortcuts;
mod theme;

use std::cell::Cell;

use leptos::prelude::{Get, document};

use crate::{
    api::Claims,
    dom::{View, after, effect, el, focus, switch},
    model::address::Screen,
    pages,
    route::Route,
};

use layers::Layers;
use theme::Theme;

/// Shows the frame and in it the screen of the address. `status` is the status line's content, `bar`
/// what the whole page must know.
pub(crate) fn frame(status: View, bar: View) -> View {
    let route = Route::here();
    Theme::start();
    let layers = Layers::new();
    keyboard::listen_to_keys(layers);
    follow_screen(route);
    let main = el("main")
        .attr("id", "main")
        .attr("tabindex", "-1")
        .child(switch(move || route.screen(), pages::show));
    let head = el("header").class("top").child(rail::brand()).child(
        el("div")
            .class("status-line")
            .testid("status-line")
            .child(status),
    );
    let column = el("div").class("column").child(bar).child(main);
    View::from(vec![
        View::from(
            el("a")
                .class("skip")
                .attr("href", "#main")
                .text("Skip to the content"),
        ),
        head.into(),
        el("div")
            .class("frame")
            .child(rail::rail(layers))
            .child(column)
            .into(),
        palette::palette(layers),
        shortcuts::list(layers),
    ])
}

/// Names the tab after the screen, and gives the focus to its title whenever another one is opened.
fn follow_screen(route: Route) {
    let last = Cell::new(None::<Screen>);
    let holds = Claims::here().holds();
    effect(move || {
        let screen = route.screen();
        let key = if holds.get() { "\u{26bf} " } else { "" };
        document().set_title(&match screen {
            Screen::Overview => format!("{key}Conclave"),
            other => format!("{key}{} · Conclave", other.word()),
        });
        if last
            .replace(Some(screen))
            .is_some_and(|last| last != screen)
        {
            after(0, || {
                focus("main h1");
            });
        }
    });
}
