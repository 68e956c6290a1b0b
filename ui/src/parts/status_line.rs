//! The status line: which node answers, what it is, and how the page hears it. On every screen.

use leptos::prelude::{Get, With};

use crate::{
    api::Live,
    dom::{El, View, el},
    model::{
        connection::Connection,
        live::{status::is_cut_off, trouble::copy_age_ms},
        seats::{Seat, own_seat, rows},
        text::{age, grouped},
    },
    parts::mark,
};
use conclave_shared::NodeStatus;

/// Shows the line's words; the shell has its place.
pub(crate) fn status_line() -> View {
    let live = Live::here();
    View::from(vec![
        el("dl")
            .class("facts")
            .shown_if(move || live.status.with(Option::is_some))
            .children([served(live), leader(live), term(live), commit(live)])
            .into(),
        connection(live),
    ])
}

/// A text of the node's status, followed; nothing before the first.
fn of(live: Live, text: impl Fn(&NodeStatus) -> String + 'static) -> impl Fn() -> String + 'static {
    move || {
        live.status
            .with(|status| status.as_deref().map_or_else(String::new, &text))
    }
}

fn fact(word: &str, name: &str, value: El) -> El {
    el("div")
        .class(&format!("fact {name}"))
        .child(el("dt").text(word))
        .child(value)
}

fn served(live: Live) -> El {
    let role = |status: &NodeStatus| {
        let role = status.role.as_str();
        let noted = if status.read_only { ", read-only" } else { "" };
        format!("{role}{noted}")
    };
    let value = el("dd")
        .child(
            el("span")
                .testid("node-name")
                .class("strong")
                .text_of(of(live, |s| s.node.clone())),
        )
        .child(
            el("span")
                .class("quiet")
                .text("(")
                .child(el("span").testid("node-role").text_of(of(live, role)))
                .text(")"),
        )
        .attr_of("title", move || {
            Some(of(live, |s| {
                format!("Cluster {} in {}", s.cluster_id, s.env)
            })())
        });
    fact("Served by", "served", value)
}

/// The leader with its mark; how long it has been unconfirmed, when it is.
fn leader(live: Live) -> El {
    let seat = move || {
        live.status
            .with(|status| status.as_deref().map_or(Seat::Unknown, leading))
    };
    let name = |status: &NodeStatus| {
        status
            .leader
            .clone()
            .unwrap_or_else(|| "none known".to_owned())
    };
    let doubt = move |status: &NodeStatus| match leading(status) {
        Seat::Unconfirmed => {
            let ago = status.quorum_ack_age_ms;
            ago.map_or_else(
                || "unconfirmed".to_owned(),
                |ago| format!("unconfirmed {}", age(ago)),
            )
        }
        _ => String::new(),
    };
    let value = el("dd")
        .child(mark(seat))
        .child(el("span").testid("leader").text_of(of(live, name)))
        .child(
            el("span")
                .class("quiet")
                .testid("unconfirmed")
                .text_of(of(live, doubt)),
        );
    let known = move || live.status.with(|status| status.as_ref()?.leader.clone());
    fact("Leader", "led", value).attr_of("data-known", move || Some(known().is_some().to_string()))
}

/// The leader's seat as the node knows it.
fn leading(status: &NodeStatus) -> Seat {
    if status.leader.as_deref() == Some(status.node.as_str()) {
        return own_seat(status);
    }
    let rows = rows(status);
    let row = rows.iter().find(|row| row.seat == Seat::Leader);
    match row {
        Some(_) if is_cut_off(status) => Seat::Unconfirmed,
        Some(_) => Seat::Leader,
        None => Seat::Unknown,
    }
}

fn term(live: Live) -> El {
    let value = el("dd")
        .class("number")
        .testid("term")
        .text_of(of(live, |status| grouped(status.term)));
    fact("Term", "figure-fact", value)
}

fn commit(live: Live) -> El {
    let value = el("dd")
        .class("number")
        .testid("commit")
        .text_of(of(live, |status| grouped(status.commit_index)));
    fact("Commit", "figure-fact", value)
}

/// The stream's state in words, and since when nothing was heard.
fn connection(live: Live) -> View {
    let word = move || match live.connection.get() {
        Connection::Live => live
            .status
            .with(|status| status.as_deref().and_then(stale))
            .unwrap_or_else(|| "Live".to_owned()),
        Connection::Reconnecting(0) => "Connecting".to_owned(),
        Connection::Reconnecting(attempts) => format!("Reconnecting ({attempts})"),
        Connection::Paused => "Paused".to_owned(),
        Connection::Offline => "Offline".to_owned(),
    };
    let silence = move || match live.silence.get() {
        0 => String::new(),
        silent => format!("no answer for {}", age(silent)),
    };
    el("p")
        .class("connection")
        .attr_of("data-stale", move || {
            let is_stale = live
                .status
                .with(|status| status.as_deref().is_some_and(is_cut_off));
            is_stale.then(String::new)
        })
        .child(el("span").class("pulse").attr("aria-hidden", "true"))
        .child(el("span").testid("connection").text_of(word))
        .child(
            el("span")
                .class("silence quiet")
                .testid("silence")
                .text_of(silence),
        )
        .into()
}

/// The node is heard, but what it has is old.
fn stale(status: &NodeStatus) -> Option<String> {
    is_cut_off(status).then(|| match copy_age_ms(status) {
        Some(old) => format!("Stale {}", age(old)),
        None => "Stale".to_owned(),
    })
}
