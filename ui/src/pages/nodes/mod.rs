//! The screen Nodes: a row per member, with what the serving node sees of it beside what this browser
//! sees; the details of one; and the changes of the membership.

mod change;
mod detail;
mod table;

use std::collections::BTreeMap;

use leptos::prelude::{Get, GetUntracked, Memo, RwSignal, Update, With, document};

use crate::{
    api::{Live, Observed, members},
    dom::{View, el, icon, monotonic_ms, pause, switch},
    model::nodes::{
        Action, Probe, Row, Word,
        probe::EVERY_MS,
        row::{Sources, rows},
    },
    parts::{title, writing_button},
    route::Route,
};

/// How often a row looks whether its member is to be asked, milliseconds.
const LOOK_MS: u32 = 250;

/// What the parts of this screen share.
#[derive(Debug, Clone, Copy)]
struct Nodes {
    live: Live,
    observed: Observed,
    probes: RwSignal<BTreeMap<String, Probe>>,
    rows: Memo<Vec<Row>>,
    /// What the open dialog asks.
    ask: RwSignal<Option<Ask>>,
}

/// What is to be done with which member.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ask {
    action: Action,
    node: String,
}

impl Nodes {
    fn start() -> Self {
        let (live, observed) = (Live::here(), Observed::here());
        let probes = RwSignal::new(BTreeMap::new());
        let made = move |status: &conclave_shared::NodeStatus| {
            live.cluster.with(|cluster| {
                probes.with(|probes| {
                    observed.with(|story| {
                        rows(Sources {
                            status,
                            cluster: cluster.as_deref(),
                            probes,
                            story,
                            now_ms: live.now.get(),
                        })
                    })
                })
            })
        };
        Self {
            live,
            observed,
            probes,
            rows: Memo::new(move |_| {
                let status = live.status.get();
                status.map_or_else(Vec::new, |status| made(&status))
            }),
            ask: RwSignal::new(None),
        }
    }

    /// A text of one member's row, followed.
    fn text(self, name: &str, of: fn(&Row) -> String) -> impl Fn() -> String + Clone + 'static {
        let name = name.to_owned();
        move || self.row(&name, of).unwrap_or_default()
    }

    /// Something of one member's row, tracked; none when there is no such member.
    fn row<T>(self, name: &str, of: impl FnOnce(&Row) -> T) -> Option<T> {
        self.rows
            .with(|rows| rows.iter().find(|row| row.name == name).map(of))
    }

    /// Whose address a member is asked at: none for the serving node itself.
    fn address(self, name: &str) -> Option<Option<String>> {
        self.row(name, |row| (!row.serving).then(|| row.http.clone()))
    }

    /// Asks a member again and again while the page is visible, until its row ends.
    async fn keep_asking(self, name: String) {
        let mut asked = None::<f64>;
        loop {
            #[expect(clippy::cast_precision_loss, reason = "five seconds")]
            let is_due = asked.is_none_or(|at| monotonic_ms() - at >= EVERY_MS as f64);
            if is_due && !document().hidden() {
                asked = Some(monotonic_ms());
                let address = leptos::prelude::untrack(|| self.address(&name));
                if let Some(address) = address {
                    self.ask(&name, address).await;
                }
            }
            pause(LOOK_MS).await;
        }
    }

    async fn ask(self, name: &str, address: Option<String>) {
        let page_ms = move || self.live.now.get_untracked();
        let is_known = address
            .as_ref()
            .is_none_or(|address| self.observed.may_ask(address));
        let probe = if is_known {
            members::probe(name, address.as_deref(), page_ms).await
        } else {
            Probe {
                word: Word::NotAllowed,
                at_ms: page_ms(),
                took_us: 0,
                offset_ms: 0,
                raw: "".into(),
            }
        };
        self.observed.take(&probe, self.live);
        self.probes.update(|probes| {
            probes.insert(name.to_owned(), probe);
        });
    }
}

/// Shows the screen.
pub(crate) fn page() -> View {
    let nodes = Nodes::start();
    let selected = Route::here().query("node");
    let add = move || {
        nodes.ask.update(|ask| {
            *ask = Some(Ask {
                action: Action::Add,
                node: String::new(),
            });
        });
    };
    let head = el("div").class("screen-head").child(title("Nodes")).child(
        writing_button("")
            .testid("member-add")
            .child(icon("plus"))
            .text("Add a node")
            .on_click(add),
    );
    let is_joint = move || {
        let status = nodes.live.status;
        status.with(|status| status.as_ref().is_some_and(|status| status.joint))
    };
    let detail = switch(
        move || selected.get(),
        move |node| node.map_or_else(View::none, |node| detail::panel(nodes, &node)),
    );
    el("div")
        .class("screen nodes")
        .child(head)
        .child(el("p").class("warn").shown_if(is_joint).text(
            "A change of the members has begun and is not finished: until then a majority of \
                       the voters before and one of those after must both agree.",
        ))
        .child(table::table(nodes))
        .child(detail)
        .child(change::dialogs(nodes))
        .into()
}
