//! One lock: who holds it, who waits for it in which order, and how its token is used.

use conclave_shared::{LockInfo, LockWaiter};
use leptos::prelude::{Get, GetUntracked, Memo, RwSignal, Set, With, window};

use super::Page;
use crate::{
    dom::{El, View, button, copy, each, effect, el, icon, switch},
    model::{
        address::{Address, Screen},
        locks::words,
        text::{age, grouped},
    },
    parts::{toast, writing_button},
    route::link,
};

/// Shows the lock of this name.
pub(super) fn queue(page: Page, name: String) -> View {
    let lock = {
        let name = name.clone();
        Memo::new(move |_| page.locks.with(|locks| locks.get(&name).cloned()))
    };
    let close = link(|| Address::of(Screen::Locks))
        .class("button icon-button")
        .attr("aria-label", "Close this lock")
        .child(icon("close"));
    let force = {
        let name = name.clone();
        move || page.force.set(Some(name.clone()))
    };
    let is_held = move || lock.with(|lock| lock.as_ref().is_some_and(|l| l.holder.is_some()));
    el("section")
        .class("lk-queue")
        .testid("lock-queue")
        .attr("data-lock", &name)
        .attr("aria-label", &format!("The lock {name}"))
        .child(
            el("div")
                .class("lk-queue-head")
                .child(el("h2").class("mono").text(&name))
                .child(close),
        )
        .child(state(page, lock))
        .child(line(page, lock))
        .child(handed(name.clone(), lock))
        .child(
            writing_button("Release it by force…")
                .class("danger-button")
                .testid("lock-force")
                .shown_if(is_held)
                .on_click(force),
        )
        .child(how_to(name, lock))
        .into()
}

fn state(page: Page, lock: Memo<Option<LockInfo>>) -> El {
    let token = move || lock.with(|lock| lock.as_ref().and_then(|lock| lock.token));
    let held = move || {
        lock.with(|lock| {
            lock.as_ref()
                .and_then(|lock| lock.holder.as_ref())
                .map(|holder| (holder.owner.clone(), holder.node.clone()))
        })
    };
    let next = move || {
        let revision = page.locks.with(|locks| locks.revision);
        format!("above {}", grouped(revision))
    };
    el("dl")
        .class("properties")
        .child(el("dt").text("Holder"))
        .child(
            el("dd")
                .testid("queue-holder")
                .text_of(move || match held() {
                    Some((owner, node)) => format!("{owner}, through {node}"),
                    None => "nobody".to_owned(),
                }),
        )
        .child(el("dt").text("Session"))
        .child(el("dd").class("mono").text_of(move || {
            lock.with(|lock| {
                let holder = lock.as_ref().and_then(|lock| lock.holder.as_ref());
                holder.map_or_else(|| "none".to_owned(), |holder| holder.session.clone())
            })
        }))
        .child(el("dt").text("Token"))
        .child(
            el("dd")
                .class("mono")
                .testid("queue-token")
                .child(switch(token, |token| {
                    let text = token.map_or_else(|| "none".to_owned(), grouped);
                    el("span").class("lk-step").text(&text).into()
                })),
        )
        .child(el("dt").text("Next token"))
        .child(
            el("dd")
                .class("mono")
                .attr(
                    "title",
                    "A token is the revision of its grant, so each is above all before it.",
                )
                .text_of(next),
        )
}

fn line(page: Page, lock: Memo<Option<LockInfo>>) -> El {
    let waiters = move || lock.get().map_or_else(Vec::new, |lock| lock.next);
    let is_empty = move || lock.with(|lock| lock.as_ref().is_none_or(|lock| lock.next.is_empty()));
    let row = move |waiter: RwSignal<LockWaiter>| {
        let waits = move || {
            let passed = page.locks.with(|locks| locks.passed(page.now.get()));
            age(waiter.with(|waiter| waiter.waiting_ms) + passed)
        };
        el("li")
            .class("lk-waiter lk-step")
            .testid("lock-waiter")
            .attr(
                "data-session",
                &waiter.with(|waiter| waiter.session.clone()),
            )
            .attr_of("data-position", move || {
                Some(waiter.with(|waiter| waiter.position.to_string()))
            })
            .child(
                el("span")
                    .class("mono lk-place")
                    .text_of(move || waiter.with(|waiter| waiter.position.to_string())),
            )
            .child(el("span").class("lk-owner").text_of(move || {
                waiter.with(|waiter| format!("{}, {}", waiter.owner, waiter.node))
            }))
            .child(el("span").class("mono quiet").text_of(waits))
    };
    el("div")
        .class("lk-line")
        .child(el("h3").text("Waiting, in this order"))
        .child(el("ol").shown_if(move || !is_empty()).child(each(
            waiters,
            |waiter| waiter.session.clone(),
            row,
        )))
        .child(
            el("p")
                .class("quiet")
                .shown_if(is_empty)
                .text("Nobody waits."),
        )
}

/// Says politely that the lock has gone from one to another.
fn handed(name: String, lock: Memo<Option<LockInfo>>) -> El {
    let text = RwSignal::new(String::new());
    let mut last = None::<(u64, String)>;
    effect(move || {
        let now = lock.with(|lock| {
            let holder = lock.as_ref()?.holder.as_ref()?;
            Some((holder.token, holder.owner.clone()))
        });
        if let (Some((before, from)), Some((token, to))) = (&last, &now)
            && before != token
        {
            text.set(format!(
                "{name} passed from {from} to {to}, token {}.",
                grouped(*token)
            ));
        }
        if now.is_some() {
            last = now;
        }
    });
    el("p")
        .class("hint")
        .attr("role", "status")
        .testid("lock-handed")
        .text_of(move || text.get())
}

fn how_to(name: String, lock: Memo<Option<LockInfo>>) -> El {
    let origin = window().location().origin().unwrap_or_default();
    let text = Memo::new(move |_| {
        let token = lock.with(|lock| lock.as_ref().and_then(|lock| lock.token));
        words::command(&origin, &name, token.unwrap_or(0))
    });
    let is_held = move || lock.with(|lock| lock.as_ref().is_some_and(|l| l.token.is_some()));
    el("div")
        .class("lk-how")
        .shown_if(is_held)
        .child(el("h3").text("How the token protects"))
        .child(el("p").class("quiet").text(
            "Send it with each write. The write is made only while this lock is held under this \
             token: a holder that has lost the lock and does not know it changes nothing.",
        ))
        .child(
            el("div")
                .class("lk-snippet")
                .child(
                    el("pre")
                        .class("mono")
                        .attr("tabindex", "0")
                        .testid("lock-snippet")
                        .text_of(move || text.get()),
                )
                .child(button("Copy the command").on_click(move || {
                    toast(if copy(&text.get_untracked()) {
                        "The command is in the clipboard."
                    } else {
                        "The browser does not let this page copy."
                    });
                })),
        )
}
