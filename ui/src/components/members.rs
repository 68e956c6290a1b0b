//! The members table: one row per member, as the serving node sees it.

use leptos::prelude::*;

use super::mark::Mark;
use crate::{
    api::Live,
    model::{
        seats::{Row, Seat, rows},
        text::{age, grouped},
    },
};

/// Shows the members. A row keeps its place and its element while its figures change.
#[component]
pub(crate) fn Members() -> impl IntoView {
    let live = expect_context::<Live>();
    let all = Memo::new(move |_| {
        live.status
            .with(|s| s.as_ref().map(rows).unwrap_or_default())
    });
    let names = Memo::new(move |_| {
        all.with(|rows| {
            rows.iter()
                .map(|row| row.address.node.clone())
                .collect::<Vec<_>>()
        })
    });
    view! {
        <div class="scroll">
            <table class="members">
                <thead>
                    <tr>
                        <th scope="col">"Node"</th>
                        <th scope="col">"State"</th>
                        <th scope="col">"Vote"</th>
                        <th scope="col">"Address"</th>
                        <th scope="col" class="number">"On disk"</th>
                        <th scope="col" class="number">"Last heard"</th>
                    </tr>
                </thead>
                <tbody>
                    <For each=move || names.get() key=Clone::clone let:name>
                        <MemberRow all=all name=name />
                    </For>
                </tbody>
            </table>
        </div>
    }
}

#[component]
fn MemberRow(all: Memo<Vec<Row>>, name: String) -> impl IntoView {
    let node = name.clone();
    let row = Memo::new(move |_| {
        all.with(|rows| rows.iter().find(|row| row.address.node == name).cloned())
    });
    let of = move |read: fn(&Row) -> String| {
        move || row.with(|row| row.as_ref().map(read).unwrap_or_default())
    };
    let seat = Memo::new(move |_| row.with(|row| row.as_ref().map_or(Seat::Unknown, |r| r.seat)));
    view! {
        <tr
            data-testid="node-row"
            data-node=node
            data-role=move || seat.get().as_str()
            data-reachable=move || seat.get().reachable()
            data-serving=of(|row| row.serving.to_string())
        >
            <th scope="row">
                <span class="name">{of(|row| row.address.node.clone())}</span>
                <span class="here">{of(|row| if row.serving { "this page".into() } else { String::new() })}</span>
            </th>
            <td class="seat">
                <Mark seat=seat />
                {move || seat.get().word()}
            </td>
            <td>{of(|row| if row.address.voter { "voter".into() } else { "learner".into() })}</td>
            <td class="address">{of(|row| row.address.http.clone())}</td>
            <td class="number" data-label="On disk">{of(|row| row.match_index.map_or_else(dash, grouped))}</td>
            <td class="number" data-label="Last heard">{of(|row| row.heard_ms.map_or_else(dash, |ms| format!("{} ago", age(ms))))}</td>
        </tr>
    }
}

fn dash() -> String {
    "–".to_owned()
}
