//! The screen Lab: one key, read of every member at every level at the same time, so that what the
//! levels promise can be seen.

mod grid;
mod run;

use conclave_shared::ReadLevel;
use leptos::prelude::{
    Get, GetUntracked, Memo, Owner, RwSignal, Set, Update, With, WithUntracked, untrack,
};
use web_sys::AbortController;

use crate::model::order::sort;
use crate::{
    api::{Live, Observed, replicas::Replica, write::Write},
    dom::{El, Task, View, all, button, effect, el, icon, spawn, target_value, when, within},
    model::{
        address::{Address, Screen},
        lab::{Cell, Line, PROBE_KEY, next_counter, verdict},
        text::grouped,
    },
    parts::{age_of, title, writing_button},
    route::{Route, link},
};

/// What the parts of this screen share.
#[derive(Debug, Clone, Copy)]
struct Lab {
    live: Live,
    observed: Observed,
    key: Memo<Option<String>>,
    lines: RwSignal<Vec<Line>>,
    /// Counts the readings: answers of an older one are dropped.
    round: RwSignal<u32>,
    /// When the last reading began.
    read_ms: RwSignal<Option<u64>>,
    /// What the last action came to.
    said: RwSignal<String>,
    is_busy: RwSignal<bool>,
    /// A run goes on while this is set.
    is_running: RwSignal<bool>,
}

impl Lab {
    fn start() -> Self {
        Self {
            live: Live::here(),
            observed: Observed::here(),
            key: Route::here().query("key"),
            lines: RwSignal::new(Vec::new()),
            round: RwSignal::new(0),
            read_ms: RwSignal::new(None),
            said: RwSignal::new(String::new()),
            is_busy: RwSignal::new(false),
            is_running: RwSignal::new(false),
        }
    }

    /// The members' names and HTTP addresses in order; the serving node has no address.
    fn members(self) -> Vec<(String, String)> {
        self.live.status.with(|status| {
            let Some(status) = status else {
                return Vec::new();
            };
            let http = |node: &str, http: &str| match node == status.node {
                true => String::new(),
                false => http.to_owned(),
            };
            let mut members: Vec<_> = status
                .members
                .iter()
                .map(|member| (member.node.clone(), http(&member.node, &member.http)))
                .collect();
            sort(&mut members, Ord::cmp);
            members.dedup_by(|one, other| one.0 == other.0);
            members
        })
    }

    fn replica(key: &str, line: &Line) -> Replica {
        Replica {
            address: Some(line.http.clone()).filter(|http| !http.is_empty()),
            key: key.to_owned(),
        }
    }

    /// Reads all cells of the key that is chosen now.
    async fn read_again(self) {
        if let Some(key) = self.key.get_untracked() {
            self.read_all(key).await;
        }
    }

    /// Reads all cells at once.
    async fn read_all(self, key: String) {
        let round = self.round.get_untracked() + 1;
        self.round.set(round);
        self.read_ms.set(Some(self.live.now.get_untracked()));
        let members = untrack(|| self.members());
        self.lines.update(|lines| {
            let kept = std::mem::take(lines);
            let line = |(node, http): (String, String)| {
                let old = kept.iter().find(|line| line.node == node);
                Line {
                    strip: old.map(|line| line.strip.clone()).unwrap_or_default(),
                    cells: [Cell::Asking, Cell::Asking, Cell::Asking],
                    node,
                    http,
                }
            };
            *lines = members.into_iter().map(line).collect();
        });
        let lines = self.lines.get_untracked();
        let tasks = lines.iter().map(|line| self.read_line(round, &key, line));
        all(tasks.collect()).await;
    }

    fn read_line(self, round: u32, key: &str, line: &Line) -> Task {
        let (node, http) = (line.node.clone(), line.http.clone());
        let replica = Self::replica(key, line);
        Box::pin(async move {
            if !http.is_empty() && !self.observed.may_ask(&http) {
                let reason = "It joined after this page was opened: reload the page.".to_owned();
                for level in ReadLevel::ALL {
                    let reason = reason.clone();
                    self.put(round, &node, level, Cell::OutOfReach { reason });
                }
                return;
            }
            let Ok(reach) = AbortController::new() else {
                return;
            };
            let one = |level: ReadLevel| -> Task {
                let (node, replica, reach) = (node.clone(), replica.clone(), reach.clone());
                Box::pin(async move {
                    let cell = match level {
                        ReadLevel::Stale => replica.stale().await,
                        _ => replica.at(level, &reach).await,
                    };
                    // Who does not give even its own state is out of reach at every level.
                    if level == ReadLevel::Stale && matches!(cell, Cell::OutOfReach { .. }) {
                        reach.abort();
                    }
                    self.put(round, &node, level, cell);
                })
            };
            all(ReadLevel::ALL.map(one).into()).await;
        })
    }

    fn put(self, round: u32, node: &str, level: ReadLevel, cell: Cell) {
        if self.round.get_untracked() != round {
            return;
        }
        self.lines.update(|lines| {
            if let Some(line) = lines.iter_mut().find(|line| line.node == node) {
                line.cells[place(level)] = cell;
            }
        });
    }

    /// Counts the key up, on condition that nobody else has written it meanwhile. Returns the counter
    /// and its revision.
    async fn write_probe(self, key: &str) -> Result<(u64, u64), String> {
        let own = Replica {
            address: None,
            key: key.to_owned(),
        };
        let (value, revision) = own.newest().await.map_err(|why| why.sentence())?;
        let Some(next) = next_counter(value.as_deref()) else {
            return Err(format!(
                "{key} holds something that is no counter, and is not overwritten. Choose another \
                 key, such as {PROBE_KEY}."
            ));
        };
        let write = Write::put(key)
            .cas(revision)
            .content_type("text/plain")
            .body_text(&next.to_string());
        let answer = write.send(|_| {}).await.map_err(|why| match why.status() {
            412 => "Somebody else wrote the key meanwhile. Nothing was overwritten.".to_owned(),
            _ => why.sentence(),
        })?;
        Ok((next, answer.number("conclave-revision").unwrap_or_default()))
    }
}

const fn place(level: ReadLevel) -> usize {
    match level {
        ReadLevel::Stale => 0,
        ReadLevel::Default => 1,
        ReadLevel::Consistent => 2,
    }
}

/// Shows the screen.
pub(crate) fn page() -> View {
    let lab = Lab::start();
    let members = Memo::new(move |_| lab.members());
    effect(move || {
        let key = lab.key.get();
        if members.with(Vec::is_empty) {
            return;
        }
        // Another key is another experiment.
        lab.is_running.set(false);
        lab.lines.set(Vec::new());
        if let Some(key) = key {
            spawn(lab.read_all(key));
        }
    });
    let has_key = move || lab.key.with(Option::is_some);
    el("div")
        .class("screen lab")
        .child(el("div").class("screen-head").child(title("Lab")))
        .child(
            el("p").class("quiet lab-about").text(
                "One key, read of every node at every level at the same time, by this browser itself.",
            ),
        )
        .child(tools(lab))
        .child(when(has_key, move || {
            View::from(vec![
                outcome(lab).into(),
                grid::grid(lab),
                run::strips(lab),
            ])
        }))
        .child(when(
            move || !has_key(),
            || {
                el("div")
                    .class("empty")
                    .child(icon("lab"))
                    .child(el("h2").text("Choose a key"))
                    .child(el("p").text(
                        "The grid shows what each node says of it, how fresh that is, and which way the \
                         request took.",
                    ))
                    .child(
                        link(|| Address::of(Screen::Lab).with("key", Some(PROBE_KEY)))
                            .class("button primary")
                            .testid("lab-begin")
                            .text("Use the key lab/probe"),
                    )
                    .into()
            },
        ))
        .into()
}

fn tools(lab: Lab) -> El {
    let route = Route::here();
    let typed = RwSignal::new(lab.key.get_untracked().unwrap_or_default());
    effect(move || typed.set(lab.key.get().unwrap_or_default()));
    let owner = Owner::current().unwrap_or_default();
    let submit = move |event: web_sys::Event| {
        event.prevent_default();
        let key = typed.get_untracked();
        if key.is_empty() {
            return;
        }
        let to = Address::of(Screen::Lab).with("key", Some(&key));
        if route.current() == to {
            owner.with(|| spawn(lab.read_all(key)));
        } else {
            route.go(to);
        }
    };
    el("form")
        .class("lab-tools")
        .on("submit", submit)
        .child(
            el("label")
                .class("field")
                .child(el("span").class("label").text("Key"))
                .child(
                    el("input")
                        .class("mono")
                        .attr("autocomplete", "off")
                        .attr("spellcheck", "false")
                        .attr("placeholder", PROBE_KEY)
                        .testid("lab-key")
                        .value_of(move || typed.get())
                        .on("input", move |event| typed.set(target_value(&event))),
                ),
        )
        .child(
            button("Read every cell")
                .attr("type", "submit")
                .testid("lab-read"),
        )
        .child(writes(lab))
        .child(run::stop_button(lab))
}

/// The buttons that write.
fn writes(lab: Lab) -> El {
    let is_idle = move || lab.key.with(Option::is_some) && !lab.is_busy.get();
    let write = move || {
        let Some(key) = lab.key.get_untracked() else {
            return;
        };
        spawn(async move {
            lab.is_busy.set(true);
            let wrote = lab.write_probe(&key).await;
            lab.said.set(match wrote {
                Ok((counter, revision)) => format!(
                    "Wrote {counter} as revision {}, then read every cell at once.",
                    grouped(revision)
                ),
                Err(why) => why,
            });
            lab.read_again().await;
            lab.is_busy.set(false);
        });
    };
    el("fieldset")
        .class("lab-writes")
        .flag_of("disabled", move || !is_idle())
        .child(
            writing_button("Write probe")
                .testid("lab-write")
                .on_click(within(write)),
        )
        .child(run::start_button(lab))
}

/// What the last action came to, and what the answers prove.
fn outcome(lab: Lab) -> El {
    let proven = Memo::new(move |_| lab.lines.with(|lines| verdict(lines)).unwrap_or_default());
    el("div")
        .class("lab-outcome")
        .child(
            el("p")
                .class("lab-verdict")
                .testid("lab-verdict")
                .attr("aria-live", "polite")
                .text_of(move || proven.get()),
        )
        .child(
            el("p")
                .class("hint")
                .child(
                    el("span")
                        .testid("lab-said")
                        .attr("role", "status")
                        .text_of(move || lab.said.get()),
                )
                .text(" ")
                .child(
                    el("span")
                        .shown_if(move || lab.read_ms.with(Option::is_some))
                        .text("Read ")
                        .child(age_of(move || lab.read_ms.get()))
                        .text("."),
                ),
        )
}

/// The members that the grid shows, in order.
fn names(lab: Lab) -> Vec<String> {
    lab.lines
        .with(|lines| lines.iter().map(|line| line.node.clone()).collect())
}

/// Something of one member's line, tracked.
fn of_line<T: Default>(lab: Lab, node: &str, of: impl FnOnce(&Line) -> T) -> T {
    lab.lines.with(|lines| {
        let line = lines.iter().find(|line| line.node == node);
        line.map(of).unwrap_or_default()
    })
}

/// The lines as they are, not tracked.
fn lines_now(lab: Lab) -> Vec<Line> {
    lab.lines.with_untracked(Clone::clone)
}
