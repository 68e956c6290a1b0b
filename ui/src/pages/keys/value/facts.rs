//! What is known of a value beside its bytes.

use leptos::prelude::{Get, With};

use super::{desk::Work, write::clock};
use crate::{
    api::Live,
    dom::{El, View, el, when},
    model::{
        address::{Address, Screen},
        text::{age, grouped, size},
        value::{
            editing::Editing,
            record::{Ends, Record},
        },
    },
    route::link,
};

/// Shows the stamps of what was opened.
pub(super) fn facts(work: Work) -> View {
    let of = move |say: fn(&Record) -> String| {
        move || {
            work.state.with(|state| {
                state
                    .opened()
                    .map_or_else(String::new, |record| say(record))
            })
        }
    };
    let live = Live::here();
    let left = move || {
        live.now.get();
        let left = work.state.with(|state| {
            state
                .opened()
                .and_then(|record| record.ttl_left_ms(clock()))
        });
        match left {
            None => "never".to_owned(),
            Some(0) => "about now".to_owned(),
            Some(left) => format!("in {}", age(left)),
        }
    };
    el("dl")
        .class("value-facts")
        .testid("value-facts")
        .child(fact(
            "Size",
            "value-size",
            of(|record| size(record.bytes.len() as u64)),
        ))
        .child(fact("Content", "value-guess", of(content)))
        .child(fact(
            "Revision",
            "value-revision",
            of(|record| grouped(record.revision)),
        ))
        .child(fact(
            "Created at",
            "value-created",
            of(|record| grouped(record.create_revision)),
        ))
        .child(fact(
            "Version",
            "value-version",
            of(|record| grouped(record.version)),
        ))
        .child(fact("Expires", "value-ttl", left))
        .child(when(
            move || work.lock.with(Option::is_some),
            move || lock(work),
        ))
        .into()
}

fn fact(name: &str, testid: &str, value: impl Fn() -> String + 'static) -> El {
    el("div")
        .class("value-fact")
        .child(el("dt").text(name))
        .child(el("dd").class("mono").testid(testid).text_of(value))
}

fn content(record: &Record) -> String {
    let ends = match record.ends() {
        Ends::Lf => "",
        Ends::CrLf => ", CRLF",
        Ends::Mixed => ", mixed line ends",
    };
    let guess = record.guess().word();
    match record.content_type.as_str() {
        "" => format!("{guess}{ends}"),
        said => format!("{guess}{ends} ({said})"),
    }
}

fn lock(work: Work) -> View {
    let of = move || Address::of(Screen::Locks).with("lock", Some(&work.key()));
    let holder = move || {
        let holder = work.lock.get();
        holder.map_or_else(String::new, |(owner, token)| {
            format!("{owner}, token {}", grouped(token))
        })
    };
    el("div")
        .class("value-fact")
        .child(el("dt").text("Lock of this name"))
        .child(
            el("dd")
                .class("mono")
                .testid("value-lock")
                .child(link(of).text_of(holder)),
        )
        .into()
}

/// How old the value may be, when no leader has confirmed it.
pub(super) fn copy_age(state: &Editing) -> Option<String> {
    let age_ms = state.opened()?.copy_age_ms?;
    Some(format!(
        "This is the node's own copy: no leader confirmed it. When it was read, it may have been {} old.",
        age(age_ms)
    ))
}
