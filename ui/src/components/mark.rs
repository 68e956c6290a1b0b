//! The mark of a node's state: a shape, and the word it stands for.

use leptos::prelude::*;

use crate::model::seats::Seat;

/// Draws a seat's mark. The word stands beside it in the text, so the picture itself is silent.
#[component]
pub(crate) fn Mark(#[prop(into)] seat: Signal<Seat>) -> impl IntoView {
    view! {
        <svg class="mark" data-role=move || seat.get().as_str() aria-hidden="true">
            <use href=move || format!("#mark-{}", seat.get().as_str())></use>
        </svg>
    }
}
