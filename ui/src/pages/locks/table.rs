//! All locks that are held.

use conclave_shared::LockInfo;
use leptos::prelude::{Get, RwSignal, With};

use super::Page;
use crate::{
    dom::{El, View, each, el, icon, switch},
    model::{
        address::{Address, Screen},
        text::{age, grouped},
    },
    route::link,
};

const HEADS: [&str; 6] = ["Lock", "Holder", "Token", "Held for", "TTL left", "Waiting"];

/// Shows the table, or what would be in it.
pub(super) fn table(page: Page) -> El {
    let is_empty = move || page.locks.with(|locks| locks.all.is_empty());
    let heads = HEADS.map(|head| {
        let is_number = matches!(head, "Token" | "Held for" | "Waiting");
        let cell = el("th").attr("scope", "col").text(head);
        if is_number {
            cell.class("number")
        } else {
            cell
        }
    });
    let rows = move || page.locks.get().all;
    let body = el("tbody").child(each(
        rows,
        |lock| lock.name.clone(),
        move |lock| row(page, lock),
    ));
    el("section")
        .class("lk-all")
        .attr("aria-label", "All locks")
        .child(
            el("div")
                .class("scroll")
                .attr("tabindex", "0")
                .attr("role", "region")
                .attr("aria-label", "Table of locks")
                .shown_if(move || !is_empty())
                .child(
                    el("table")
                        .class("table lk-table")
                        .child(el("thead").child(el("tr").children(heads)))
                        .child(body),
                ),
        )
        .child(switch(is_empty, move |is_empty| {
            if is_empty { none(page) } else { View::none() }
        }))
        .child(
            el("p")
                .class("hint")
                .testid("locks-note")
                .text_of(move || note(page)),
        )
}

fn none(page: Page) -> View {
    let text = move || match page.prefix.get() {
        Some(prefix) => format!("Nobody holds a lock whose name begins with {prefix}."),
        None => "Nobody holds a lock. Take one above, or with POST /api/locks/{name}.".to_owned(),
    };
    el("div")
        .class("empty")
        .child(icon("unlock"))
        .child(el("p").text_of(text))
        .into()
}

fn note(page: Page) -> String {
    let now = page.now.get();
    page.locks.with(|locks| {
        let old = locks.passed(now);
        let cut = if locks.is_cut {
            "More locks are held than this table shows: look for the beginning of a name. "
        } else {
            ""
        };
        let why = page.failure.get();
        match why {
            Some(why) => format!("{cut}Read {} ago. {why}", age(old)),
            None => cut.to_owned(),
        }
    })
}

fn row(page: Page, lock: RwSignal<LockInfo>) -> El {
    let name = lock.with(|lock| lock.name.clone());
    let address = {
        let name = name.clone();
        move || {
            let prefix = page.prefix.get();
            Address::of(Screen::Locks)
                .with("prefix", prefix.as_deref())
                .with("lock", Some(&name))
        }
    };
    let is_selected = {
        let name = name.clone();
        move || {
            page.selected
                .with(|selected| selected.as_ref() == Some(&name))
        }
    };
    el("tr")
        .testid("lock-row")
        .attr("data-lock", &name)
        .attr_of("data-token", move || {
            lock.with(|lock| lock.token.map(|token| token.to_string()))
        })
        .attr_of("data-selected", move || {
            is_selected().then(|| "true".to_owned())
        })
        .child(
            el("th")
                .attr("scope", "row")
                .class("mono lk-name")
                .child(link(address).text(&name)),
        )
        .child(el("td").class("lk-holder").child(holder(lock)))
        .child(
            el("td")
                .class("number lk-token")
                .attr("data-label", "Token")
                .child(token(lock)),
        )
        .child(
            el("td")
                .class("number lk-held")
                .attr("data-label", "Held for")
                .text_of(move || {
                    let now = page.now.get();
                    let held = page
                        .locks
                        .with(|locks| lock.with(|lock| locks.held(lock, now)));
                    held.map_or_else(String::new, age)
                }),
        )
        .child(el("td").class("lk-ttl").child(ttl(page, lock)))
        .child(
            el("td")
                .class("number lk-waits")
                .attr("data-label", "Waiting")
                .text_of(move || lock.with(|lock| grouped(lock.next.len() as u64))),
        )
}

/// Who holds it: what it calls itself, its session, and the node that took the claim. A hand-over
/// makes it anew, which shows.
fn holder(lock: RwSignal<LockInfo>) -> View {
    switch(
        move || {
            lock.with(|lock| {
                let holder = lock.holder.as_ref();
                holder.map(|holder| {
                    [
                        holder.owner.clone(),
                        holder.session.clone(),
                        holder.node.clone(),
                    ]
                })
            })
        },
        |holder| {
            let Some([owner, session, node]) = holder else {
                return View::none();
            };
            el("span")
                .class("lk-who lk-step")
                .child(el("span").class("lk-owner").text(&owner))
                .child(
                    el("span")
                        .class("quiet lk-session")
                        .text("session ")
                        .child(el("span").class("mono").text(&session))
                        .text(&format!(", {node}")),
                )
                .into()
        },
    )
}

fn token(lock: RwSignal<LockInfo>) -> View {
    switch(
        move || lock.with(|lock| lock.token),
        |token| {
            let text = token.map_or_else(String::new, grouped);
            el("span").class("lk-step").text(&text).into()
        },
    )
}

/// The bar that drains, and the time in words.
pub(super) fn ttl(page: Page, lock: RwSignal<LockInfo>) -> El {
    let left = move || {
        let now = page.now.get();
        page.locks
            .with(|locks| lock.with(|lock| locks.left(lock, now)))
    };
    el("span")
        .class("lk-left")
        .child(
            el("span")
                .class("lk-bar")
                .attr("aria-hidden", "true")
                .child(el("span").style_of("--left", move || {
                    format!("{}%", left().map_or(0, |(_, percent)| percent))
                })),
        )
        .child(el("span").class("mono").text_of(move || match left() {
            Some((0, _)) => "due".to_owned(),
            Some((ms, _)) => age(ms),
            None => String::new(),
        }))
}
