//! The dashboard as a whole: what runs on every screen, and the attributes of `body` that tests and
//! styles read.

use leptos::prelude::{Get, Owner, With, document};
use web_sys::Element;

use crate::{
    api::{Claims, Feed, Live, Observed},
    dom::{View, effect, el},
    pages,
    parts::{Toasts, bar, lost_claims, status_line},
    route::Route,
    shell, stopped,
};

/// Replaces the static "opening" text of the page by the dashboard.
pub fn mount() {
    let Some(host) = document().get_element_by_id("app") else {
        return;
    };
    stopped::watch();
    // Fails when another executor is set: there is none.
    drop(any_spawner::Executor::init_wasm_bindgen());
    host.set_inner_html("");
    let owner = Owner::new();
    owner.with(|| dashboard().mount(&host));
    pages::fetch_ahead();
    // The page lives until the browser drops it.
    Box::leak(Box::new(owner));
}

fn dashboard() -> View {
    Route::start();
    let live = Live::start();
    Feed::start(live);
    Claims::start(live);
    Observed::start(live);
    let toasts = Toasts::start();
    effect(move || mark_body(live));
    let bars = el("div").class("bars").child(bar()).child(lost_claims());
    View::from(vec![shell::frame(status_line(), bars.into()), toasts])
}

fn mark_body(live: Live) {
    let Some(body) = document().body() else {
        return;
    };
    let (revision, leader) = live.status.with(|status| {
        status.as_ref().map_or_else(Default::default, |status| {
            (
                status.revision.to_string(),
                status.leader.clone().unwrap_or_default(),
            )
        })
    });
    set(&body, "data-stream", live.connection.get().as_str());
    set(&body, "data-revision", &revision);
    set(&body, "data-leader", &leader);
}

fn set(element: &Element, name: &str, value: &str) {
    // Fails for an invalid name only.
    drop(element.set_attribute(name, value));
}
