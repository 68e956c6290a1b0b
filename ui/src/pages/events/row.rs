//! One row of the log, and what it shows when it is opened.

use super::Choice;
use crate::{
    dom::{El, View, button, el},
    model::{
        address::{Address, Screen},
        events::row::Row,
        news::News,
        text::grouped,
    },
    parts::time_of,
    route::link,
};
use leptos::prelude::{GetUntracked, Set};

/// Shows a row. Rows never change, so nothing in it follows a signal.
pub(super) fn row(row: &Row, choice: Choice) -> El {
    let revision = row.news.revision();
    let all = el("div")
        .class("ev-row")
        .testid("event-row")
        .attr("data-kind", row.kind())
        .attr("data-id", &row.id.to_string());
    let all = match revision {
        Some(revision) => all.attr("data-revision", &revision.to_string()),
        None => all,
    };
    if matches!(row.news, News::Gap { .. }) {
        return all.child(el("span").class("ev-gap").text(&row.words()));
    }
    let time = time_of(row.time_ms);
    let clock = time.get(11..).unwrap_or_default();
    let kind = match &row.news {
        News::Lock(_) => "lock",
        _ => row.kind(),
    };
    let all = all
        .child(
            el("span")
                .class("ev-revision mono")
                .text(&revision.map_or_else(String::new, grouped)),
        )
        .child(
            el("time")
                .class("ev-time mono")
                .attr("title", &time)
                .text(clock),
        )
        .child(el("span").class("ev-word").text(kind))
        .child(el("span").class("ev-name mono").child(name(row)))
        .child(el("span").class("ev-words").text(&row.words()))
        .child(el("span").class("ev-by").text(&by(row)));
    if has_more(row) {
        all.child(opener(row, choice))
    } else {
        all
    }
}

/// Returns whether there is more to show of a row than it says itself.
pub(super) const fn has_more(row: &Row) -> bool {
    matches!(row.news, News::Key(..))
}

fn opener(row: &Row, choice: Choice) -> El {
    let id = row.id;
    let turn = move || {
        let now = choice.open.get_untracked();
        choice.open.set((now != Some(id)).then_some(id));
    };
    let is_open = choice.open.get_untracked() == Some(id);
    button("")
        .class("ev-open")
        .attr("aria-label", "Show what changed")
        .attr("aria-expanded", if is_open { "true" } else { "false" })
        .attr_of("aria-expanded", move || {
            Some((leptos::prelude::Get::get(&choice.open) == Some(id)).to_string())
        })
        .on_click(turn)
}

fn name(row: &Row) -> View {
    let Some(name) = row.name() else {
        return View::none();
    };
    let (screen, parameter) = match row.news {
        News::Lock(_) => (Screen::Locks, "lock"),
        _ => (Screen::Keys, "key"),
    };
    let mut address = Address::of(screen).with(parameter, Some(name));
    if screen == Screen::Keys
        && let Some(revision) = row.news.revision()
    {
        address = address.with("revision", Some(&revision.to_string()));
    }
    link(move || address.clone()).text(name).into()
}

fn by(row: &Row) -> String {
    match row.by() {
        Some((node, Some(client))) => format!("{node}, {client}"),
        Some((node, None)) => node.to_owned(),
        None => String::new(),
    }
}
