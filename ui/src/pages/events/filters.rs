//! The filters, which stand in the address.

use leptos::prelude::{With, WithUntracked};

use super::Choice;
use crate::{
    dom::{El, button, checked, el, pause, spawn, target_value},
    model::{
        address::{Address, Screen},
        events::filter::KINDS,
    },
    route::Route,
};

/// Time after the last letter before the node is asked for something else, milliseconds.
const TYPED_MS: u32 = 300;

/// Shows the filters.
pub(super) fn bar(choice: Choice) -> El {
    let route = Route::here();
    let kinds = KINDS.map(|kind| {
        let is_on = move || {
            choice
                .filter
                .with(|filter| filter.kinds.iter().any(|k| k == kind))
        };
        let toggle = move |event: web_sys::Event| {
            let is_on = checked(&event);
            let mut kinds = choice.filter.with_untracked(|filter| filter.kinds.clone());
            kinds.retain(|k| k != kind);
            if is_on {
                kinds.push(kind.to_owned());
            }
            set(route, "types", &kinds.join(","));
        };
        el("label")
            .class("ev-kind")
            .child(
                el("input")
                    .attr("type", "checkbox")
                    .testid(&format!("events-type-{kind}"))
                    .prop_of("checked", move || is_on().into())
                    .on("change", toggle),
            )
            .text(kind)
    });
    el("div")
        .class("ev-filters")
        .attr("role", "search")
        .attr("aria-label", "Filters")
        .child(field(choice, "prefix", "Prefix", "any key or lock"))
        .child(field(choice, "by", "By", "anybody"))
        .child(
            el("fieldset")
                .class("ev-kinds")
                .child(el("legend").text("Kinds"))
                .children(kinds),
        )
        .child(
            button("Clear filters")
                .class("quiet-button")
                .testid("events-no-filter")
                .shown_if(move || choice.filter.with(|filter| !filter.is_empty()))
                .on_click(move || route.replace(Address::of(Screen::Events))),
        )
}

fn field(choice: Choice, name: &'static str, label: &str, none: &str) -> El {
    let route = Route::here();
    let typed = std::rc::Rc::new(std::cell::Cell::new(0_u32));
    let listen = move |event: web_sys::Event| {
        let text = target_value(&event);
        let number = typed.get().wrapping_add(1);
        typed.set(number);
        let typed = std::rc::Rc::clone(&typed);
        spawn(async move {
            pause(TYPED_MS).await;
            if typed.get() == number {
                set(route, name, &text);
            }
        });
    };
    let value = move || {
        choice.filter.with(|filter| match name {
            "prefix" => filter.prefix.clone(),
            _ => filter.by.clone(),
        })
    };
    el("label")
        .class("ev-field")
        .child(el("span").text(label))
        .child(
            el("input")
                .class("mono")
                .attr("type", "search")
                .attr("placeholder", none)
                .attr("autocomplete", "off")
                .attr("spellcheck", "false")
                .testid(&format!("events-{name}"))
                .value_of(value)
                .on("input", listen),
        )
}

fn set(route: Route, name: &str, value: &str) {
    let value = Some(value).filter(|value| !value.is_empty());
    route.replace(route.current().with(name, value));
}
