//! One member: its facts, where its log stands, what became of it, and what can be done with it.

use std::sync::Arc;

use conclave_shared::{
    NodeStatus,
    metrics::{Mark, MarkKind},
};
use leptos::prelude::{Memo, RwSignal, Set, With, document, untrack};

use crate::{
    api::members,
    dom::{El, View, each, el, icon, pause, spawn, svg, switch, when},
    model::{
        address::{Address, Screen},
        nodes::{Action, Change, Position, change::done_by, position::SHOWN},
        text::{age, grouped, size},
    },
    parts::{age_of, copy_button, time_of, writing_button},
    route::link,
};

use super::{Ask, Nodes};

/// Time between two looks at a member's own marks, milliseconds.
const MARKS_EVERY_MS: u32 = 10_000;
/// Marks that are shown.
const MARKS: usize = 20;
/// Height of the bar in its own units; its width is one for each entry.
const HEIGHT: &str = "12";

/// Shows one member.
pub(super) fn panel(nodes: Nodes, name: &str) -> View {
    let close = link(|| Address::of(Screen::Nodes))
        .class("button icon-button")
        .attr("aria-label", "Close the details")
        .child(icon("close"));
    let is_member = {
        let name = name.to_owned();
        move || nodes.row(&name, |_| ()).is_some()
    };
    let inner = name.to_owned();
    let body = switch(is_member, move |is_member| {
        if is_member {
            facts_and_actions(nodes, &inner)
        } else {
            el("p")
                .class("quiet")
                .testid("node-gone")
                .text(&format!("{inner} is no member of this cluster."))
                .into()
        }
    });
    el("section")
        .class("nodes-detail")
        .testid("node-detail")
        .attr("data-node", name)
        .attr("aria-label", name)
        .child(
            el("div")
                .class("screen-head")
                .child(el("h2").text(name))
                .child(close),
        )
        .child(body)
        .child(history(nodes, name))
        .child(raw(nodes, name))
        .into()
}

fn facts_and_actions(nodes: Nodes, name: &str) -> View {
    let own = own(nodes, name);
    View::from(vec![
        actions(nodes, name),
        el("div")
            .class("nodes-columns")
            .child(facts(nodes, name, own))
            .child(position(nodes, own))
            .into(),
    ])
}

/// The member's newest own word that this page knows.
fn own(nodes: Nodes, name: &str) -> Memo<Option<Arc<NodeStatus>>> {
    let name = name.to_owned();
    Memo::new(move |_| {
        let last =
            |story: &crate::model::nodes::Story| story.last(&name).map(|(own, _)| Arc::clone(own));
        nodes.observed.with(last)
    })
}

fn actions(nodes: Nodes, name: &str) -> View {
    let offered = {
        let name = name.to_owned();
        move || nodes.row(&name, Action::offered).unwrap_or_default()
    };
    let name = name.to_owned();
    let buttons = switch(offered, move |offered| {
        let button = |action: &Action| {
            let (action, node) = (*action, name.clone());
            let ask = move || {
                let node = node.clone();
                nodes.ask.set(Some(Ask { action, node }));
            };
            let class = if action == Action::Remove {
                "danger-button"
            } else {
                ""
            };
            writing_button(&action.words(&name))
                .class(class)
                .testid(&format!("member-{}", action.as_str()))
                .on_click(ask)
        };
        offered.iter().map(button).collect::<Vec<_>>().into()
    });
    el("div")
        .class("toolbar")
        .child(buttons)
        .child(
            el("span")
                .class("hint")
                .testid("done-by")
                .text_of(move || leader_does_it(nodes)),
        )
        .into()
}

/// Says which node makes changes of the membership.
pub(super) fn leader_does_it(nodes: Nodes) -> String {
    nodes.live.status.with(|status| {
        status.as_ref().map_or_else(String::new, |status| {
            done_by(&status.node, status.leader.as_deref())
        })
    })
}

fn facts(nodes: Nodes, name: &str, own: Memo<Option<Arc<NodeStatus>>>) -> El {
    let fact = |label: &str, class: &str, of: fn(&NodeStatus) -> String| {
        let text =
            move || own.with(|own| own.as_ref().map_or_else(|| "–".to_owned(), |own| of(own)));
        View::from(vec![
            el("dt").text(label),
            el("dd").class(class).text_of(text),
        ])
    };
    let address = nodes.text(name, |row| format!("{}, Raft {}", row.http, row.raft));
    el("dl")
        .class("properties")
        .testid("node-facts")
        .child(el("dt").text("Addresses"))
        .child(el("dd").class("mono").text_of(address))
        .child(fact("Its leader", "", |own| {
            own.leader
                .clone()
                .unwrap_or_else(|| "knows none".to_owned())
        }))
        .child(fact("Heard its leader", "", |own| {
            own.leader_contact_age_ms.map_or_else(
                || "–".to_owned(),
                |ms| format!("{} before it answered", age(ms)),
            )
        }))
        .child(fact("Revision", "number", |own| grouped(own.revision)))
        .child(fact("State hash", "mono", |own| {
            format!(
                "{} at {}",
                own.state_hash.hash,
                grouped(own.state_hash.revision)
            )
        }))
        .child(fact("Snapshot", "number", |own| {
            grouped(own.snapshot_index)
        }))
        .child(fact("Log begins", "number", |own| {
            grouped(own.purged_index + 1)
        }))
        .child(fact("History since", "number", |own| {
            own.oldest_revision.map_or_else(|| "–".to_owned(), grouped)
        }))
        .child(fact("Keys", "number", |own| {
            format!("{}, {}", grouped(own.keys), size(own.bytes))
        }))
        .child(fact("Locks", "number", |own| grouped(own.locks)))
        .child(fact("Watchers", "number", |own| grouped(own.watchers)))
        .child(fact("Clients' writes", "", |own| match own.read_only {
            true => "refused: started with -read-only".to_owned(),
            false => "taken".to_owned(),
        }))
        .child(fact("Wall clock", "number", |own| time_of(own.now_ms)))
        .child(fact("Environment", "mono", |own| own.env.clone()))
        .child(fact("Cluster", "mono", |own| own.cluster_id.clone()))
}

fn position(nodes: Nodes, own: Memo<Option<Arc<NodeStatus>>>) -> El {
    let position = Memo::new(move |_| {
        let newest = nodes.observed.with(crate::model::nodes::Story::newest);
        own.with(|own| own.as_ref().map(|own| Position::of(own, newest)))
    });
    let sentence = move || {
        position.with(|position| {
            position
                .as_ref()
                .map_or_else(String::new, Position::sentence)
        })
    };
    let range = move |at_end: u64| {
        position.with(|position| {
            position
                .as_ref()
                .map_or_else(String::new, |position| grouped(position.from + at_end))
        })
    };
    let bar = switch(
        move || position.with(Clone::clone),
        |position| position.map_or_else(View::none, |position| bar(&position)),
    );
    el("div")
        .class("nodes-position")
        .child(el("h3").text("Its log, the newest 256 entries"))
        .child(bar)
        .child(
            el("div")
                .class("nodes-scale number")
                .attr("aria-hidden", "true")
                .child(el("span").text_of(move || range(0)))
                .child(el("span").text_of(move || range(SHOWN - 1))),
        )
        .child(el("p").testid("node-position").text_of(sentence))
        .child(
            el("p")
                .class("hint")
                .text("Filled: applied. Half: committed. Outline: on its disk. Hatched: missing. The post: its snapshot."),
        )
}

fn bar(position: &Position) -> View {
    let rect = |x: u64, width: u64, part: &str| {
        svg("rect")
            .class("nodes-bar-part")
            .attr("data-part", part)
            .attr("x", &x.to_string())
            .attr("y", "0")
            .attr("width", &width.to_string())
            .attr("height", HEIGHT)
    };
    let parts = position.parts.iter();
    let parts = parts.map(|(part, begin, end)| rect(*begin, end - begin, part.as_str()));
    let post = position
        .snapshot
        .map(|at| rect(at.saturating_sub(1), 1, "snapshot"));
    svg("svg")
        .class("nodes-bar")
        .attr("viewBox", &format!("0 0 {SHOWN} {HEIGHT}"))
        .attr("preserveAspectRatio", "none")
        .attr("role", "img")
        .attr("aria-label", &position.sentence())
        .children(parts)
        .child(post)
        .into()
}

fn raw(nodes: Nodes, name: &str) -> View {
    let name = name.to_owned();
    let text = move || {
        nodes.probes.with(|probes| {
            let probe = probes.get(&name).filter(|probe| probe.status().is_some());
            probe.map_or_else(String::new, |probe| indented(&probe.raw))
        })
    };
    let (shown, copied) = (text.clone(), text.clone());
    el("details")
        .class("nodes-raw")
        .testid("node-raw")
        .child(el("summary").text("Its status as JSON, as this browser got it"))
        .child(when(
            move || text().is_empty(),
            || {
                el("p")
                    .class("quiet")
                    .text("This browser has no answer of it.")
                    .into()
            },
        ))
        .child(
            el("pre")
                .attr("tabindex", "0")
                .attr("aria-label", "Status as JSON")
                .text_of(shown),
        )
        .child(copy_button(move || untrack(&copied)).testid("raw-copy"))
        .into()
}

/// Indents JSON; another text stays as it is.
fn indented(text: &str) -> String {
    let two = wasm_bindgen::JsValue::from_f64(2.0);
    js_sys::JSON::parse(text)
        .and_then(|value| {
            js_sys::JSON::stringify_with_replacer_and_space(
                &value,
                &wasm_bindgen::JsValue::NULL,
                &two,
            )
        })
        .map_or_else(|_| text.to_owned(), String::from)
}

/// What became of the member: what this page heard, and what the member itself has marked.
fn history(nodes: Nodes, name: &str) -> View {
    let heard = {
        let name = name.to_owned();
        Memo::new(move |_| nodes.observed.with(|story| lines(story.changes(&name))))
    };
    let marks = RwSignal::new(Vec::<String>::new());
    let said = RwSignal::new("Asking…".to_owned());
    spawn(keep_marks(nodes, name.to_owned(), marks, said));
    el("div")
        .class("nodes-columns")
        .child(list(
            "Heard by this page",
            "node-changes",
            move || heard.with(Clone::clone),
            move || "Nothing has changed since the page was opened.".to_owned(),
        ))
        .child(list(
            "Marked by the node, last 15 minutes",
            "node-marks",
            move || marks.with(Clone::clone),
            move || said.with(Clone::clone),
        ))
        .into()
}

fn lines(changes: Vec<Change>) -> Vec<String> {
    let line = |change: Change| format!("{} {}", change.at_ms, change.text);
    changes.into_iter().map(line).collect()
}

/// A list of lines, each of which begins with its moment.
fn list(
    heading: &str,
    id: &str,
    lines: impl Fn() -> Vec<String> + Clone + 'static,
    empty: impl Fn() -> String + 'static,
) -> El {
    let none = lines.clone();
    let row = |line: RwSignal<String>| {
        let line = untrack(|| line.with(Clone::clone));
        let (at, text) = line.split_once(' ').unwrap_or_default();
        let at = at.parse::<u64>().ok();
        el("li")
            .child(el("span").text(text))
            .child(age_of(move || at).class("hint"))
    };
    el("div")
        .class("nodes-list")
        .child(el("h3").text(heading))
        .child(el("ol").testid(id).child(each(lines, String::clone, row)))
        .child(
            el("p")
                .class("quiet")
                .shown_if(move || none().is_empty())
                .text_of(empty),
        )
}

/// Asks the member for its marks again and again, until the details are closed.
async fn keep_marks(
    nodes: Nodes,
    name: String,
    marks: RwSignal<Vec<String>>,
    said: RwSignal<String>,
) {
    loop {
        let address = untrack(|| nodes.address(&name));
        if let Some(address) = address.filter(|_| !document().hidden()) {
            let is_known = address
                .as_ref()
                .is_none_or(|address| nodes.observed.may_ask(address));
            if is_known {
                match members::marks(address.as_deref()).await {
                    Ok(series) => {
                        said.set("None.".to_owned());
                        let newest = series.marks.iter().rev().take(MARKS);
                        marks.set(newest.map(marked).collect());
                    }
                    Err(_) => said.set("This browser gets no answer of it.".to_owned()),
                }
            } else {
                said.set("Reload the page to let your browser ask it.".to_owned());
            }
        }
        pause(MARKS_EVERY_MS).await;
    }
}

fn marked(mark: &Mark) -> String {
    let kind = match mark.kind {
        MarkKind::Leader => "Leader: ",
        MarkKind::Member => "Member: ",
        MarkKind::Other => "",
    };
    format!("{} {kind}{}", mark.time_ms, mark.text)
}
