//! Breaking a lock that somebody holds.

use conclave_shared::LockList;
use gloo_net::http::Method;
use leptos::prelude::{Get, RwSignal, Set, With, untrack};

use super::Page;
use crate::{
    api::{http::Request, write::Write},
    dom::{El, View, button, el, spawn, target_value},
    model::{address::escape, failure::Failure, text::grouped},
    parts::{dialog, writing_button},
};

/// The dialog for the lock of `page.force`.
pub(super) fn dialog_of(page: Page) -> View {
    dialog("Release a lock by force", page.force, move |name| {
        body(page, &name)
    })
}

fn body(page: Page, name: &str) -> View {
    let typed = RwSignal::new(String::new());
    // What came of it; while it is made an empty text.
    let result = RwSignal::new(None::<String>);
    let (token, owner) = page.holder(name).unzip();
    let is_off = {
        let name = name.to_owned();
        move || result.with(Option::is_some) || typed.with(|typed| *typed != name)
    };
    let confirm = {
        let (name, is_off) = (name.to_owned(), is_off.clone());
        move || {
            if untrack(&is_off) {
                return;
            }
            let name = name.clone();
            result.set(Some(String::new()));
            spawn(async move {
                let words = match release(&name).await {
                    Ok(list) => words(&name, token, &list),
                    Err(failure) => failure.sentence(),
                };
                result.set(Some(words));
                page.read().await;
            });
        }
    };
    let submit = confirm.clone();
    let go = writing_button("Release it by force")
        .class("danger-button")
        .testid("confirm")
        .shown_if(move || result.with(Option::is_none))
        .attr_of("aria-disabled", move || is_off().then(|| "true".to_owned()))
        .on_click(confirm);
    let close = button("Close")
        .testid("cancel")
        .on_click(move || page.force.set(None));
    el("form")
        .on("submit", move |event| {
            event.prevent_default();
            submit();
        })
        .children(warning(name, owner.as_deref().unwrap_or("nobody")))
        .child(name_field(typed).shown_if(move || result.with(Option::is_none)))
        .child(
            el("p")
                .attr("role", "status")
                .testid("force-result")
                .text_of(move || match result.get() {
                    Some(words) if words.is_empty() => "Releasing…".to_owned(),
                    words => words.unwrap_or_default(),
                }),
        )
        .child(el("div").class("dialog-actions").child(close).child(go))
        .into()
}

fn warning(name: &str, owner: &str) -> [El; 2] {
    let text = format!(
        "{owner} is not told, and may go on as if it held {name}. Only the token protects what the \
         lock is for: writes with the old token are refused from now on, writes without a token are \
         not."
    );
    [
        el("h2")
            .text("Release ")
            .child(el("span").class("mono").text(name))
            .text(" by force?"),
        el("p").text(&text),
    ]
}

fn name_field(typed: RwSignal<String>) -> El {
    el("label")
        .class("field")
        .child(el("span").class("label").text("Type the lock's name"))
        .child(
            el("input")
                .class("mono")
                .attr("autocomplete", "off")
                .attr("spellcheck", "false")
                .testid("force-name")
                .on("input", move |event| typed.set(target_value(&event))),
        )
}

/// Breaks the lock, and reads what it is then.
async fn release(name: &str) -> Result<LockList, Failure> {
    let target = format!("/api/locks?name={}&force=true", escape(name));
    Write::of(Method::DELETE, target).send(|_| ()).await?;
    Request::get(format!("/api/locks?limit=1&prefix={}", escape(name)))
        .json()
        .await
}

fn words(name: &str, old: Option<u64>, list: &LockList) -> String {
    let old = old.map_or_else(String::new, |old| {
        format!("Token {} no longer counts. ", grouped(old))
    });
    let lock = list.locks.iter().find(|lock| lock.name == name);
    match lock.and_then(|lock| lock.holder.as_ref()) {
        Some(holder) => format!(
            "{old}Token {} is current, held by {}.",
            grouped(holder.token),
            holder.owner
        ),
        None => format!(
            "{old}Nobody holds the lock now; the next token is above {}.",
            grouped(list.revision)
        ),
    }
}
