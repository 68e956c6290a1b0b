//! The way between screens: a rail at the left, icons only where it is narrow, and a bar at the foot of
//! a telephone, where what does not fit is in a sheet.

use leptos::prelude::{Get, RwSignal, Set, Update};

use super::{
    layers::Layers,
    shortcuts::{hint, palette_keys},
    theme::Theme,
};
use crate::{
    dom::{El, View, el, focus, icon, key_of, svg},
    model::address::{Address, Screen},
    route::{Route, link},
};

/// Screens that a telephone's bar shows; the rest is behind its fifth item.
const IN_BAR: usize = 4;

/// Shows the rail.
pub(super) fn rail(layers: Layers) -> View {
    let route = Route::here();
    let open = RwSignal::new(false);
    let (bar, rest) = Screen::ALL.split_at(IN_BAR);
    let sheet = el("div")
        .class("rail-sheet")
        .attr("id", "rail-sheet")
        .on("click", move |_| open.set(false))
        .children(rest.iter().map(|screen| entry(route, *screen)))
        .child(tools(layers));
    el("nav")
        .class("rail")
        .attr("aria-label", "Screens")
        .flag_of("data-open", move || open.get())
        .on("keydown", move |event| {
            if key_of(&event) == "Escape" {
                open.set(false);
                focus("[data-testid=nav-more]");
            }
        })
        .children(bar.iter().map(|screen| entry(route, *screen)))
        .child(more(route, open))
        .child(
            el("div")
                .class("backdrop")
                .on("click", move |_| open.set(false)),
        )
        .child(sheet)
        .into()
}

/// The brand at the head of the page, a link to the overview.
pub(super) fn brand() -> View {
    let mark = svg("svg")
        .class("brand-mark")
        .attr("aria-hidden", "true")
        .child(svg("use").attr("href", "#brand"));
    link(|| Address::of(Screen::Overview))
        .class("brand")
        .attr("aria-label", "Conclave, overview")
        .child(mark)
        .child(el("span").class("brand-word").text("Conclave"))
        .into()
}

fn entry(route: Route, screen: Screen) -> El {
    let entry = link(move || Address::of(screen)).attr_of("aria-current", move || {
        (route.screen() == screen).then(|| "page".to_owned())
    });
    item(entry, screen.as_str())
        .testid(&format!("nav-{}", screen.as_str()))
        .child(word(screen.word()))
}

fn more(route: Route, open: RwSignal<bool>) -> El {
    let is_there = move || !Screen::ALL[..IN_BAR].contains(&route.screen());
    item(el("button").attr("type", "button"), "more")
        .class("rail-item rail-more")
        .testid("nav-more")
        .attr("aria-controls", "rail-sheet")
        .attr_of("aria-expanded", move || Some(open.get().to_string()))
        .attr_of("aria-current", move || {
            is_there().then(|| "true".to_owned())
        })
        .on_click(move || open.update(|open| *open = !*open))
        .child(word("More"))
}

fn tools(layers: Layers) -> El {
    let theme = Theme::here();
    let choice = item(el("button").attr("type", "button"), "")
        .testid("theme")
        .attr_of("data-theme-choice", move || Some(theme.word()))
        .child(picture(move || format!("theme-{}", theme.word())))
        .child(
            el("span")
                .class("rail-word")
                .text_of(move || format!("Theme: {}", theme.word())),
        )
        // It stays open, so that the next choice is one click away.
        .on("click", move |event| {
            event.stop_propagation();
            theme.turn();
        });
    let tool = |picture: &str, text: &str, keys: &str| {
        item(el("button").attr("type", "button"), picture)
            .child(word(text))
            .child(hint(keys))
    };
    el("div")
        .class("rail-tools")
        .child(
            tool("search", "Find…", palette_keys())
                .testid("open-palette")
                .on_click(move || layers.open_palette()),
        )
        .child(
            tool("keyboard", "Shortcuts", "?")
                .testid("open-shortcuts")
                .on_click(move || layers.open_shortcuts()),
        )
        .child(choice)
}

/// Something in the rail; its icon by name, or none.
fn item(element: El, picture: &str) -> El {
    let element = element.class("rail-item");
    if picture.is_empty() {
        element
    } else {
        element.child(icon(picture))
    }
}

fn word(text: &str) -> El {
    el("span").class("rail-word").text(text)
}

fn picture(name: impl Fn() -> String + 'static) -> El {
    svg("svg")
        .class("icon")
        .attr("aria-hidden", "true")
        .child(svg("use").attr_of("href", move || Some(format!("#icon-{}", name()))))
}
