//! The bar below the status line: what the whole page must know while something is wrong, where else
//! to look, and once that it is over. Nothing is there while all is well.

use std::{
    cell::{Cell, RefCell},
    sync::Arc,
};

use conclave_shared::{MemberAddress, NodeStatus};
use leptos::prelude::{
    Get, GetUntracked, Memo, RwSignal, Set, Update, With, WithUntracked, window,
};

use crate::model::order::sort;
use crate::{
    api::{Live, http::Request},
    dom::{View, button, each, effect, el, icon, monotonic_ms, pause, spawn_apart, when},
    model::{
        connection::Connection,
        live::{
            recovery::{Look, Recovery},
            status::is_cut_off,
            trouble::{
                Probe, Trouble, announced, caught_up, copy_age_ms, leads, sentence, trouble,
            },
        },
    },
    route::Route,
};

/// Time between two rounds of questions to the members, milliseconds.
const ROUND_MS: u32 = 2_000;
/// Longest wait for a member's answer, milliseconds.
const PROBE_MS: u32 = 1_500;
/// How long it is said that the node has caught up, milliseconds.
const SAID_MS: u32 = 8_000;

/// What the bar goes by.
#[derive(Clone, Copy)]
struct Course {
    live: Live,
    route: Route,
    /// Moment of the node's clock up to which its copy is known to have been current.
    fresh: RwSignal<Option<u64>>,
    /// Since when the node has been without a majority, by its clock.
    ill: RwSignal<Option<u64>>,
    probes: RwSignal<Vec<Probe>>,
    /// Which trouble this is; an answer to a question of an earlier one means nothing.
    trouble_number: RwSignal<u64>,
    trouble: Memo<Option<Trouble>>,
    /// What the node has caught up, for some seconds.
    caught_up: RwSignal<String>,
}

/// Shows the bar; to be called once, by the shell.
pub(crate) fn bar() -> View {
    let live = Live::here();
    let (fresh, ill) = (RwSignal::new(None), RwSignal::new(None));
    let probes = RwSignal::new(Vec::new());
    let found = Memo::new(move |_| {
        let now = live.now.get();
        let ill_ms = ill.get().map_or(0, |since: u64| now.saturating_sub(since));
        let is_online = window().navigator().on_line();
        let (connection, refused) = (live.connection.get(), live.refused.get());
        live.status.with(|status| {
            let status = status.as_deref()?;
            probes.with(|probes| trouble(status, connection, is_online, refused, ill_ms, probes))
        })
    });
    let course = Course {
        live,
        route: Route::here(),
        fresh,
        ill,
        probes,
        trouble_number: RwSignal::new(0),
        trouble: found,
        caught_up: RwSignal::new(String::new()),
    };
    effect(move || course.note_health());
    course.watch_recovery();
    View::from(vec![
        when(
            move || course.trouble.get().is_some(),
            move || course.section(),
        ),
        course.good_news(),
        newer(live),
        announcer(course),
    ])
}

impl Course {
    /// Notes since when the node's copy is old.
    fn note_health(self) {
        self.live.status.with(|status| {
            let Some(status) = status.as_deref() else {
                return;
            };
            let known = copy_age_ms(status).map(|old| status.now_ms.saturating_sub(old));
            if !is_cut_off(status) {
                self.fresh.set(Some(status.now_ms));
                self.ill.set(None);
                return;
            }
            if self.ill.get_untracked().is_none() {
                self.ill.set(Some(status.now_ms));
            }
            if let Some(known) = known {
                self.fresh.set(Some(known));
            }
        });
    }

    /// Says once what a node had to catch up after trouble.
    fn watch_recovery(self) {
        let recovery = Cell::new(Recovery::default());
        effect(move || {
            let (trouble, connection) = (self.trouble.get(), self.live.connection.get());
            let Some(status) = self.live.status.get() else {
                return;
            };
            let mut followed = recovery.get();
            let recovered = followed.look(Look {
                at_ms: monotonic_ms(),
                is_ill: trouble.is_some(),
                is_heard: connection == Connection::Live,
                said_ms: status.now_ms,
                applied: status.applied_index,
                goal: self.goal(&status),
            });
            recovery.set(followed);
            if let Some(recovered) = recovered {
                self.tell(caught_up(&status.node, recovered));
            }
        });
    }

    /// Shows good news for some seconds.
    fn tell(self, text: String) {
        let said = self.caught_up;
        said.set(text.clone());
        // Apart from the effect that found it, which runs again with the next heartbeat.
        spawn_apart(async move {
            pause(SAID_MS).await;
            // What was said of a later recovery has its own time.
            if said.get_untracked() == text {
                said.set(String::new());
            }
        });
    }

    /// What the leader had committed when it was last asked; none while nobody has asked it since.
    fn goal(self, status: &NodeStatus) -> Option<u64> {
        self.live.cluster.with_untracked(|cluster| {
            let mut members = cluster.iter().flat_map(|cluster| &cluster.members);
            let leader =
                members.find(|member| Some(&member.address.node) == status.leader.as_ref())?;
            Some(leader.status.as_ref()?.commit_index)
        })
    }

    fn section(self) -> View {
        self.ask_members();
        let text = move || {
            let Some(trouble) = self.trouble.get() else {
                return String::new();
            };
            let old = self
                .fresh
                .get()
                .map_or(0, |fresh| self.live.now.get().saturating_sub(fresh));
            self.live.status.with(|status| {
                let status = status.as_deref();
                self.probes.with(|probes| {
                    status.map_or_else(String::new, |status| sentence(trouble, status, old, probes))
                })
            })
        };
        let is_retried = move || self.trouble.get().is_some_and(Trouble::is_of_connection);
        el("section")
            .class("bar")
            .testid("bar")
            .attr("aria-label", "What is wrong")
            .attr_of("data-kind", move || {
                Some(self.trouble.get()?.as_str().to_owned())
            })
            .child(icon("warn"))
            .child(el("p").class("bar-text").testid("bar-text").text_of(text))
            .child(
                button("Retry now")
                    .testid("bar-retry")
                    .shown_if(is_retried)
                    .on_click(move || self.live.retry()),
            )
            .child(self.members())
            .into()
    }

    /// The members that this browser reaches: each a link to the same page there.
    fn members(self) -> View {
        let row = move |probe: RwSignal<Probe>| {
            let is_reached = move || probe.with(|probe| probe.status.is_some());
            let address = move || {
                let page = self.route.address().href();
                probe.with(|probe| format!("http://{}{page}", probe.http))
            };
            let link = el("a")
                .testid("bar-node")
                .attr_of("data-node", move || {
                    Some(probe.with(|probe| probe.node.clone()))
                })
                .attr_of("data-reachable", move || Some(is_reached().to_string()))
                .attr_of("href", move || is_reached().then(address))
                .text_of(move || probe.with(|probe| probe.node.clone()));
            el("li").child(link).text(" ").child(
                el("span")
                    .class("quiet")
                    .text_of(move || probe.with(Probe::word)),
            )
        };
        let probes = self.probes;
        el("div")
            .class("bar-nodes")
            .shown_if(move || probes.with(|probes| !probes.is_empty()))
            .child(el("span").class("quiet").text("From this browser:"))
            .child(el("ul").child(each(move || probes.get(), |probe| probe.node.clone(), row)))
            .into()
    }

    /// Asks every other member for its status, over and over, while there is trouble.
    fn ask_members(self) {
        self.probes.set(Vec::new());
        self.trouble_number.update(|number| *number += 1);
        let number = self.trouble_number.get_untracked();
        let Some(status) = self.live.status.get_untracked() else {
            return;
        };
        for member in &status.members {
            if member.node != status.node {
                // It outlives the bar: a question is not broken off, its answer means nothing then.
                spawn_apart(self.ask(member.clone(), number));
            }
        }
    }

    async fn ask(self, member: MemberAddress, number: u64) {
        let is_wanted = move || {
            self.trouble.get_untracked().is_some() && self.trouble_number.get_untracked() == number
        };
        while is_wanted() {
            let request = Request::get("/api/status")
                .at(&member.http)
                .timeout(PROBE_MS);
            let status = request.json::<NodeStatus>().await.ok();
            if !is_wanted() {
                return;
            }
            let probe = Probe {
                node: member.node.clone(),
                http: member.http.clone(),
                status: status.map(Arc::new),
            };
            self.probes.update(|probes| {
                probes.retain(|other| other.node != probe.node);
                probes.push(probe);
                sort(probes, |a, b| a.node.cmp(&b.node));
            });
            pause(ROUND_MS).await;
        }
    }

    fn good_news(self) -> View {
        let said = self.caught_up;
        el("p")
            .class("bar quiet-bar")
            .testid("caught-up")
            .attr("role", "status")
            .shown_if(move || self.trouble.get().is_none() && said.with(|text| !text.is_empty()))
            .text_of(move || said.get())
            .into()
    }
}

/// Says that the node serves another dashboard than this one by now.
fn newer(live: Live) -> View {
    let first = RefCell::new(None::<String>);
    let build = Memo::new(move |_| {
        live.status
            .with(|status| Some(status.as_ref()?.ui_build.clone()))
    });
    let is_newer = move || {
        let Some(now) = build.get() else { return false };
        *first.borrow_mut().get_or_insert_with(|| now.clone()) != now
    };
    let text = move || {
        let node = live
            .status
            .with(|status| Some(status.as_ref()?.node.clone()));
        format!(
            "{} now serves another dashboard than this one.",
            node.unwrap_or_default()
        )
    };
    // Fails in a page that may not be left.
    let reload = || drop(window().location().reload());
    el("div")
        .class("bar quiet-bar")
        .testid("newer")
        .shown_if(is_newer)
        .child(icon("info"))
        .child(el("p").class("bar-text").text_of(text))
        .child(button("Reload").on_click(reload))
        .into()
}

/// Tells those who listen to the page, once and politely: another leader, trouble, its end.
fn announcer(course: Course) -> View {
    let said = RwSignal::new(String::new());
    let last = RefCell::new(None::<String>);
    let live = course.live;
    effect(move || {
        let leader = live.status.with(|status| {
            let status = status.as_deref()?;
            Some((status.leader.clone()?, status.term))
        });
        let Some((leader, term)) = leader else { return };
        let was = last.replace(Some(leader.clone()));
        if let Some(was) = was
            && let Some(text) = leads(&was, &leader, term)
        {
            said.set(text);
        }
    });
    effect(move || {
        let Some(trouble) = course.trouble.get() else {
            return;
        };
        let node = live
            .status
            .with_untracked(|status| status.as_ref().map(|status| status.node.clone()));
        said.set(announced(trouble, &node.unwrap_or_default()));
    });
    el("p")
        .class("off-screen")
        .testid("announcer")
        .attr("role", "status")
        .text_of(move || said.get())
        .into()
}
