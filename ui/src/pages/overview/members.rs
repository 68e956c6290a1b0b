//! The members as a table: what the picture shows, for whoever reads it otherwise, and the list that
//! stands for the picture on a narrow screen.

use leptos::prelude::{Get, RwSignal, With};

use super::Shared;
use crate::{
    dom::{El, each, el},
    model::{
        overview::{
            seen::{Log, Place},
            words,
        },
        text::{age, grouped},
    },
    parts::mark,
};

const COLUMNS: [&str; 8] = [
    "Node", "Part", "Behind", "Applied", "Stored", "Snapshot", "Heard", "Address",
];

/// A row per member.
pub(super) fn table(shared: Shared) -> El {
    let places = move || shared.seen.with(|seen| seen.places.clone());
    let heads = COLUMNS.map(|name| el("th").attr("scope", "col").text(name));
    el("div").class("ov-members-frame").child(
        el("table")
            .class("ov-members")
            .child(
                el("caption")
                    .class("off-screen")
                    .text("Members of the cluster, as the serving node sees them"),
            )
            .child(el("thead").child(el("tr").children(heads)))
            .child(el("tbody").child(each(
                places,
                |place| place.node.clone(),
                move |place| row(shared, place),
            ))),
    )
}

fn row(shared: Shared, place: RwSignal<Place>) -> El {
    let index = move |name: &str, pick: fn(&Log) -> u64| {
        el("td")
            .class("ov-number")
            .attr("data-label", name)
            .text_of(move || {
                let index = place.with(|p| p.log.as_ref().map(pick));
                index
                    .filter(|index| *index > 0)
                    .map_or_else(|| "–".to_owned(), grouped)
            })
    };
    el("tr")
        .testid("node-row")
        .attr_of("data-node", move || Some(place.with(|p| p.node.clone())))
        .attr_of("data-role", move || {
            Some(place.with(|p| p.seat.as_str().to_owned()))
        })
        .attr_of("data-reachable", move || {
            Some(place.with(|p| p.seat.reachable().to_owned()))
        })
        .attr_of("data-age", move || {
            let now = shared.now.get();
            place
                .with(|p| words::freshness(p.heard, now))
                .map(str::to_owned)
        })
        .child(name(place))
        .child(
            el("td")
                .class("ov-part")
                .child(mark(move || place.with(|p| p.seat)))
                .child(el("span").text_of(move || {
                    let now = shared.now.get();
                    place.with(|p| words::role(p, now))
                })),
        )
        .child(
            el("td")
                .class("ov-behind")
                .text_of(move || place.with(words::lag)),
        )
        .child(index("Applied", |log| log.applied))
        .child(index("Stored", |log| log.last))
        .child(index("Snapshot", |log| log.snapshot))
        .child(el("td").class("ov-heard").text_of(move || {
            let now = shared.now.get();
            match place.with(|p| p.heard) {
                Some(heard) if now.saturating_sub(heard) < words::OLD_MS => "Now".to_owned(),
                Some(heard) => format!("{} ago", age(now.saturating_sub(heard))),
                None => "Never".to_owned(),
            }
        }))
        .child(
            el("td").class("ov-address mono").child(
                el("a")
                    // Beside the picture nobody sees where the focus would be.
                    .attr_of("href", move || {
                        let href = place.with(|p| format!("http://{}/ui/", p.http));
                        shared.is_table.get().then_some(href)
                    })
                    .text_of(move || place.with(|p| p.http.clone())),
            ),
        )
}

fn name(place: RwSignal<Place>) -> El {
    el("th")
        .attr("scope", "row")
        .child(
            el("span")
                .class("mono")
                .text_of(move || place.with(|p| p.node.clone())),
        )
        .child(
            el("span")
                .class("ov-you")
                .text("this node")
                .shown_if(move || place.with(|p| p.serving)),
        )
}
