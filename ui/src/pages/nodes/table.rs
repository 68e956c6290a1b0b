//! The table of the members. Each row asks its member itself and is made of its own answers.

use leptos::prelude::{Get, Memo, With};

use crate::{
    dom::{El, View, each, el, icon, spawn, when},
    model::{
        address::{Address, Screen},
        nodes::{Evidence, Row},
        seats::Seat,
    },
    parts::mark,
    route::{Route, link},
};

use super::Nodes;

/// Shows all members.
pub(super) fn table(nodes: Nodes) -> View {
    let serving = Memo::new(move |_| {
        nodes.live.status.with(|status| {
            status
                .as_ref()
                .map_or_else(String::new, |status| status.node.clone())
        })
    });
    let names = move || {
        nodes
            .rows
            .with(|rows| rows.iter().map(|row| row.name.clone()).collect::<Vec<_>>())
    };
    let table = el("table")
        .class("table nodes-table")
        .attr("aria-label", "Members of the cluster")
        .child(head(serving))
        .child(each(names, String::clone, move |name| {
            body(
                nodes,
                serving,
                &leptos::prelude::GetUntracked::get_untracked(&name),
            )
        }));
    View::from(vec![
        when(
            move || nodes.rows.with(Vec::is_empty),
            || {
                el("p")
                    .class("waiting")
                    .text("Waiting for the node's first word…")
                    .into()
            },
        ),
        el("div")
            .class("scroll")
            .attr("tabindex", "0")
            .attr("role", "region")
            .attr("aria-label", "Members of the cluster")
            .shown_if(move || nodes.rows.with(|rows| !rows.is_empty()))
            .child(table)
            .into(),
    ])
}

fn head(serving: Memo<String>) -> El {
    let column = |first: &str, second: &str| {
        let cell = el("th").attr("scope", "col").text(first);
        match second {
            "" => cell,
            second => cell.child(el("span").class("nodes-second").text(second)),
        }
    };
    let seen = el("th")
        .attr("scope", "col")
        .text_of(move || format!("Seen by {}", serving.get()));
    el("thead").child(
        el("tr")
            .child(column("Node", "part, id"))
            .child(seen)
            .child(column("From this browser", "round trip, age"))
            .child(column("Leader heard it", ""))
            .child(column("Term", "").class("number"))
            .child(column("Last log", "commit").class("number"))
            .child(column("Applied", "behind").class("number"))
            .child(column("HTTP", "Raft"))
            .child(column("Version", "up for"))
            .child(column("Dashboard", "")),
    )
}

fn body(nodes: Nodes, serving: Memo<String>, name: &str) -> El {
    spawn(nodes.keep_asking(name.to_owned()));
    let seen_by = move || Some(format!("Seen by {}", serving.get()));
    let row = row(nodes, name)
        .child(name_cell(nodes, name))
        .child(evidence(nodes, name, |row| &row.here).attr_of("data-label", seen_by))
        .child(evidence(nodes, name, |row| &row.browser).attr("data-label", "From this browser"))
        .children(figures(nodes, name))
        .child(el("td").child(open_its_dashboard(nodes, name)));
    el("tbody").child(row).child(note(nodes, name))
}

/// The row itself, with what tests and styles read.
fn row(nodes: Nodes, name: &str) -> El {
    let route = Route::here();
    let chosen = name.to_owned();
    let old = name.to_owned();
    let reachable = |of: fn(&Row) -> Seat| {
        let seat = seat_of(nodes, name, of);
        move || Some(seat().reachable().to_owned())
    };
    let role = seat_of(nodes, name, |row| row.seat);
    el("tr")
        .class("nodes-row")
        .testid("node-row")
        .attr("data-node", name)
        .attr_of("data-role", move || Some(role().as_str().to_owned()))
        .attr_of("data-reachable", reachable(|row| row.seat))
        .attr_of("data-heard", reachable(|row| row.here.seat))
        .attr_of("data-probe", reachable(|row| row.browser.seat))
        .flag_of("data-old", move || {
            nodes.row(&old, |row| row.is_old).unwrap_or_default()
        })
        .attr_of("aria-current", move || {
            (route.get("node").as_deref() == Some(chosen.as_str())).then(|| "true".to_owned())
        })
}

fn figures(nodes: Nodes, name: &str) -> [El; 6] {
    let one = |label: &str, of: fn(&Row) -> String| {
        el("td")
            .attr("data-label", label)
            .child(el("span").text_of(nodes.text(name, of)))
    };
    let two = |label: &str, first: fn(&Row) -> String, second: fn(&Row) -> String| {
        let second = nodes.text(name, second);
        one(label, first).child(el("span").class("nodes-second").text_of(second))
    };
    [
        one("Leader heard it", |row| row.heard.clone()),
        one("Term", |row| row.term.clone()).class("number"),
        two(
            "Last log, commit",
            |row| row.last_log.clone(),
            |row| row.commit.clone(),
        )
        .class("number"),
        two(
            "Applied, behind",
            |row| row.applied.clone(),
            |row| row.behind.clone(),
        )
        .class("number")
        .testid("node-applied"),
        two("HTTP, Raft", |row| row.http.clone(), |row| row.raft.clone()).class("mono"),
        two(
            "Version, up for",
            |row| row.version.clone(),
            |row| row.uptime.clone(),
        ),
    ]
}

/// What a reader should know of the member, below its row.
fn note(nodes: Nodes, name: &str) -> El {
    let notes = nodes.text(name, |row| row.notes.join(" "));
    let shown = notes.clone();
    el("tr")
        .class("nodes-note")
        .shown_if(move || !shown().is_empty())
        .child(
            el("td")
                .attr("colspan", "10")
                .child(icon("info"))
                .child(el("span").testid("node-note").text_of(notes)),
        )
}

fn name_cell(nodes: Nodes, name: &str) -> El {
    let seat = seat_of(nodes, name, |row| row.seat);
    let to = name.to_owned();
    el("th")
        .attr("scope", "row")
        .class("nodes-name")
        .child(mark(seat))
        .child(
            el("div")
                .child(
                    link(move || Address::of(Screen::Nodes).with("node", Some(&to)))
                        .testid("node-open")
                        .text(name),
                )
                .child(
                    el("span")
                        .class("nodes-part")
                        .testid("node-part")
                        .text_of(nodes.text(name, |row| row.seat.word().to_owned())),
                )
                .child(
                    el("span")
                        .class("nodes-second")
                        .text_of(nodes.text(name, |row| {
                            let part = if row.voter { "voter" } else { "learner" };
                            let serving = if row.serving {
                                ", serves this page"
                            } else {
                                ""
                            };
                            format!("{part}, id {}{serving}", row.id)
                        })),
                ),
        )
}

fn evidence(nodes: Nodes, name: &str, of: fn(&Row) -> &Evidence) -> El {
    let [shape, word, more] = [name; 3].map(str::to_owned);
    let seat = move || {
        nodes
            .row(&shape, |row| of(row).seat)
            .unwrap_or(Seat::Unknown)
    };
    let said = move |name: &str, part: fn(&Evidence) -> String| {
        nodes.row(name, |row| part(of(row))).unwrap_or_default()
    };
    el("td")
        .class("nodes-evidence")
        .child(
            el("span")
                .child(mark(seat))
                .child(el("span").text_of(move || said(&word, |evidence| evidence.word.clone()))),
        )
        .child(
            el("span")
                .class("nodes-second")
                .text_of(move || said(&more, |evidence| evidence.more.clone())),
        )
}

fn seat_of(nodes: Nodes, name: &str, of: fn(&Row) -> Seat) -> impl Fn() -> Seat + Clone + 'static {
    let name = name.to_owned();
    move || nodes.row(&name, of).unwrap_or(Seat::Unknown)
}

/// A link to the same place of the member's own dashboard.
fn open_its_dashboard(nodes: Nodes, name: &str) -> El {
    let address = nodes.text(name, |row| row.http.clone());
    let route = Route::here();
    let label = format!("Open the dashboard of {name}");
    el("a")
        .class("nodes-link")
        .testid("node-dashboard")
        .attr("aria-label", &label)
        .attr("title", &label)
        .attr_of("href", move || {
            Some(format!("http://{}{}", address(), route.address().href()))
        })
        .child(icon("external"))
        .child(el("span").text("Open"))
}
