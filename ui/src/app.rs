//! The shell: mounts the page and keeps the attributes of `body` that tests and styles read.

use leptos::prelude::*;

use crate::{
    api::{self, Live},
    components::status_line::StatusLine,
    pages::overview::Overview,
};

/// Replaces the static "opening" text of the page by the dashboard.
pub fn mount() {
    let Some(host) = document().get_element_by_id("app") else {
        return;
    };
    host.set_inner_html("");
    if let Ok(host) = wasm_bindgen::JsCast::dyn_into(host) {
        mount_to(host, App).forget();
    }
}

#[component]
fn App() -> impl IntoView {
    let live = api::start();
    provide_context(live);
    Effect::new(move || mark_body(live));
    view! {
        <a class="skip" href="#main">"Skip to the content"</a>
        <StatusLine />
        <main id="main" tabindex="-1">
            <Overview />
        </main>
    }
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
    for (name, value) in [
        ("data-stream", live.stream.get().as_str()),
        ("data-revision", revision.as_str()),
        ("data-leader", leader.as_str()),
    ] {
        // Fails for an invalid name only.
        drop(body.set_attribute(name, value));
    }
}
