//! Who the serving node is: its mark, its name, its part, its term.

use leptos::prelude::*;

use super::mark::Mark;
use crate::{
    api::Live,
    model::{
        headline::part,
        seats::{Seat, own_seat},
        text::grouped,
    },
};

/// Shows the serving node's identity, large.
#[component]
pub(crate) fn Identity() -> impl IntoView {
    let live = expect_context::<Live>();
    let of = move |read: fn(&conclave_shared::NodeStatus) -> String| {
        move || {
            live.status
                .with(|status| status.as_ref().map_or_else(|| "–".to_owned(), read))
        }
    };
    let seat = Memo::new(move |_| {
        live.status
            .with(|s| s.as_ref().map_or(Seat::Unknown, own_seat))
    });
    view! {
        <div class="identity">
            <Mark seat=seat />
            <div class="who">
                <p class="who-name">{of(|status| status.node.clone())}</p>
                <p class="quiet">{of(part)}</p>
            </div>
            <p class="term">
                <span class="quiet">"Term"</span>
                " "
                <span class="term-number">{of(|status| grouped(status.term))}</span>
            </p>
        </div>
    }
}
