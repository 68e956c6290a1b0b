//! The grid: a row per member, a column per level, and below each column what the server promises.

use conclave_shared::ReadLevel;
use leptos::prelude::{GetUntracked, With};

use crate::{
    dom::{El, View, each, el, icon, switch},
    model::{
        lab::{
            Cell, Read,
            cell::{newest, refused},
            promise,
        },
        text::grouped,
    },
};

use super::{Lab, names, of_line, place};

/// Shows what every member answered at every level.
pub(super) fn grid(lab: Lab) -> View {
    let heads = ReadLevel::ALL.map(|level| {
        el("th")
            .attr("scope", "col")
            .child(el("code").text(level.as_str()))
    });
    let promises = ReadLevel::ALL.map(|level| {
        el("td")
            .attr("data-label", level.as_str())
            .testid("lab-promise")
            .attr("data-level", level.as_str())
            .text(promise(level))
    });
    let row = move |name: leptos::prelude::RwSignal<String>| row(lab, &name.get_untracked());
    let table = el("table")
        .class("lab-grid")
        .attr("aria-label", "Answers by node and level")
        .child(
            el("thead").child(
                el("tr")
                    .child(el("th").attr("scope", "col").text("Node"))
                    .children(heads),
            ),
        )
        .child(el("tbody").child(each(move || names(lab), String::clone, row)))
        .child(
            el("tfoot").child(
                el("tr")
                    .child(el("th").attr("scope", "row").text("Promise"))
                    .children(promises),
            ),
        );
    el("div")
        .class("scroll")
        .attr("tabindex", "0")
        .attr("role", "region")
        .attr("aria-label", "Answers by node and level")
        .child(table)
        .into()
}

fn row(lab: Lab, node: &str) -> El {
    let name = node.to_owned();
    let address = move || {
        of_line(lab, &name, |line| match line.http.is_empty() {
            true => "serves this page".to_owned(),
            false => line.http.clone(),
        })
    };
    el("tr")
        .testid("lab-row")
        .attr("data-node", node)
        .child(
            el("th")
                .attr("scope", "row")
                .child(el("span").class("lab-node").text(node))
                .child(el("span").class("hint mono").text_of(address)),
        )
        .children(ReadLevel::ALL.map(|level| cell(lab, node, level)))
}

fn cell(lab: Lab, node: &str, level: ReadLevel) -> El {
    let (name, kind) = (node.to_owned(), node.to_owned());
    let shown = move || {
        lab.lines.with(|lines| {
            let line = lines.iter().find(|line| line.node == name);
            let cell = line.map(|line| line.cells[place(level)].clone());
            let newest = newest(lines.iter().flat_map(|line| &line.cells));
            let behind = match (cell.as_ref().and_then(Cell::read), newest) {
                (Some(read), Some(newest)) => read.behind(newest),
                _ => String::new(),
            };
            (cell.unwrap_or_default(), behind)
        })
    };
    let asked = node.to_owned();
    el("td")
        .class("lab-cell")
        .testid("lab-cell")
        .attr("data-node", node)
        .attr("data-level", level.as_str())
        .attr("data-label", level.as_str())
        .attr_of("data-cell", move || {
            let word = of_line(lab, &kind, |line| line.cells[place(level)].as_str());
            Some(word.to_owned())
        })
        .child(switch(shown, move |(cell, behind)| match &cell {
            Cell::Empty => View::none(),
            Cell::Asking => el("span").class("waiting").text("Asking…").into(),
            Cell::Read(read) => answer(read, &behind, &asked, level),
            Cell::Refused {
                code,
                reason,
                took_us,
            } => failed(
                "warn",
                &format!("Refused: {}", refused(*code, *took_us)),
                reason,
            ),
            Cell::OutOfReach { reason } => {
                failed("warn", "Not reachable from this browser", reason)
            }
        }))
}

fn failed(icon_name: &str, what: &str, why: &str) -> View {
    View::from(vec![
        el("span")
            .class("lab-failed")
            .child(icon(icon_name))
            .child(el("strong").testid("lab-failed").text(what)),
        el("span").class("hint").text(why),
    ])
}

fn answer(read: &Read, behind: &str, asked: &str, level: ReadLevel) -> View {
    let value = match &read.value {
        Some(value) => View::from(vec![
            el("span")
                .class("lab-chip mono")
                .attr("data-hue", &read.hue.to_string())
                .attr(
                    "title",
                    "Letters of the value's hash: equal values have equal ones",
                )
                .text(&read.letters),
            el("span")
                .class("mono lab-value")
                .testid("lab-value")
                .text(value),
        ]),
        None => el("span").class("quiet").text("no such key").into(),
    };
    let tone = if behind == "newest" { "" } else { "warn" };
    let revision = match read.revision {
        Some(revision) => format!("revision {}", grouped(revision)),
        None => format!("at revision {}", grouped(read.state)),
    };
    let way = read.path(asked, level);
    let mut took = vec![read.took(), way.clone()];
    took.extend(read.bound(level));
    View::from(vec![
        el("span").class("lab-line").child(value),
        el("span")
            .class("lab-line")
            .child(
                el("span")
                    .class("badge")
                    .attr("data-tone", tone)
                    .testid("lab-behind")
                    .text(behind),
            )
            .child(el("span").class("number").text(&revision)),
        el("span")
            .class("hint")
            .testid("lab-path")
            .attr("data-path", &way)
            .attr("title", &format!("Server-Timing: {}", read.timing))
            .text(&took.join(", ")),
    ])
}
