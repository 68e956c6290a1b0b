//! What every screen says of this tab's claims on locks: that one is lost, loudly.

use leptos::prelude::{Get, RwSignal, With};

use crate::{
    api::Claims,
    dom::{El, View, button, each, el, icon},
    model::locks::{
        hold::{Hold, Standing},
        words,
    },
};

/// The claims that are lost, each until it is closed.
pub(crate) fn lost_claims() -> View {
    let claims = Claims::here();
    let lost = move || {
        let mut all = claims.all.get();
        all.retain(|hold| matches!(hold.standing, Standing::Lost(_)));
        all
    };
    el("div")
        .class("lk-lost-all")
        .attr("role", "alert")
        .child(each(
            lost,
            |hold| hold.number.to_string(),
            move |hold| one(claims, hold),
        ))
        .into()
}

fn one(claims: Claims, hold: RwSignal<Hold>) -> El {
    let (number, name, owner, ttl_ms) = hold.with(|hold| {
        (
            hold.number,
            hold.name.clone(),
            hold.owner.clone(),
            hold.ttl_ms,
        )
    });
    let lock = name.clone();
    let text = move || {
        let now = claims.now.get();
        hold.with(|hold| match &hold.standing {
            Standing::Lost(lost) => words::lost(&hold.name, lost, now),
            _ => String::new(),
        })
    };
    el("div")
        .class("lk-lost")
        .testid("lock-lost")
        .attr("data-lock", &name)
        .child(icon("warn"))
        .child(el("p").text_of(text))
        .child(button("Take it again").on_click(move || claims.take(&lock, owner.clone(), ttl_ms)))
        .child(
            button("Close")
                .class("quiet-button")
                .on_click(move || claims.dismiss(number)),
        )
}
