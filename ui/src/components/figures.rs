//! The serving node's own figures.

use conclave_shared::NodeStatus;
use leptos::prelude::*;

use crate::{
    api::Live,
    model::text::{age, grouped, size},
};

/// A named figure and how it is read from a status.
struct Figure {
    id: &'static str,
    label: &'static str,
    read: fn(&NodeStatus) -> String,
}

/// The figures in the order of the page: the log first, then the store, then the process.
const FIGURES: [Figure; 12] = [
    Figure {
        id: "revision",
        label: "Revision",
        read: |s| grouped(s.revision),
    },
    Figure {
        id: "commit-index",
        label: "Committed",
        read: |s| grouped(s.commit_index),
    },
    Figure {
        id: "applied-index",
        label: "Applied",
        read: |s| grouped(s.applied_index),
    },
    Figure {
        id: "last-log-index",
        label: "Last in log",
        read: |s| grouped(s.last_log_index),
    },
    Figure {
        id: "snapshot-index",
        label: "Snapshot",
        read: |s| grouped(s.snapshot_index),
    },
    Figure {
        id: "keys",
        label: "Keys",
        read: |s| grouped(s.keys),
    },
    Figure {
        id: "bytes",
        label: "Data",
        read: |s| size(s.bytes),
    },
    Figure {
        id: "locks",
        label: "Locks",
        read: |s| grouped(s.locks),
    },
    Figure {
        id: "watchers",
        label: "Watchers",
        read: |s| grouped(s.watchers),
    },
    Figure {
        id: "state-hash",
        label: "State hash",
        read: |s| s.state_hash.hash.clone(),
    },
    Figure {
        id: "uptime",
        label: "Up for",
        read: |s| age(s.uptime_ms),
    },
    Figure {
        id: "version",
        label: "Version",
        read: |s| s.version.clone(),
    },
];

/// Shows the serving node's figures, greyed while they are old.
#[component]
pub(crate) fn Figures() -> impl IntoView {
    let live = expect_context::<Live>();
    let figure = move |figure: &'static Figure| {
        let value = move || {
            live.status
                .with(|status| status.as_ref().map_or_else(|| "–".to_owned(), figure.read))
        };
        view! {
            <div class="figure" data-figure=figure.id>
                <dt>{figure.label}</dt>
                <dd data-testid=figure.id>{value}</dd>
            </div>
        }
    };
    view! { <dl class="figures">{FIGURES.iter().map(figure).collect_view()}</dl> }
}
