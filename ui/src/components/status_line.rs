//! The line on top of every screen: which node answers, who leads, how old this is.

use conclave_shared::NodeStatus;
use leptos::prelude::*;

use super::mark::Mark;
use crate::{
    api::Live,
    model::{
        seats::{Seat, own_seat},
        text::grouped,
    },
};

/// Shows the serving node, the term, the leader, the commit index and the state of the connection.
#[component]
pub(crate) fn StatusLine() -> impl IntoView {
    let live = expect_context::<Live>();
    let of = move |read: fn(&NodeStatus) -> String| {
        move || {
            live.status
                .with(|status| status.as_ref().map_or_else(dash, read))
        }
    };
    let seat = Memo::new(move |_| {
        live.status
            .with(|s| s.as_ref().map_or(Seat::Unknown, own_seat))
    });
    view! {
        <header class="status-line" data-testid="status-line">
            <a class="brand" href="/ui/">
                <svg class="brand-mark" aria-hidden="true">
                    <use href="#brand"></use>
                </svg>
                "Conclave"
            </a>
            <dl class="facts">
                <div class="fact served">
                    <dt>"Served by"</dt>
                    <dd>
                        <Mark seat=seat />
                        <span data-testid="node-name">{of(|s| s.node.clone())}</span>
                        <span class="quiet" data-testid="node-role">
                            {of(|s| own_seat(s).word().to_lowercase())}
                        </span>
                    </dd>
                </div>
                <div class="fact">
                    <dt>"Term"</dt>
                    <dd data-testid="term">{of(|s| grouped(s.term))}</dd>
                </div>
                <div class="fact">
                    <dt>"Leader"</dt>
                    <dd data-testid="leader">
                        {of(|s| s.leader.clone().unwrap_or_else(|| "none known".to_owned()))}
                    </dd>
                </div>
                <div class="fact">
                    <dt>"Commit"</dt>
                    <dd>{of(|s| grouped(s.commit_index))}</dd>
                </div>
            </dl>
            <Connection />
        </header>
    }
}

#[component]
fn Connection() -> impl IntoView {
    let live = expect_context::<Live>();
    let silence = move || {
        live.silent
            .get()
            .map(|seconds| format!(" · no answer for {seconds} s"))
    };
    view! {
        <p class="connection" title=move || live.error.get()>
            <span class="pulse" aria-hidden="true"></span>
            <span data-testid="stream" role="status">
                {move || live.stream.get().word()}
            </span>
            <span class="silence" data-testid="silence">
                {silence}
            </span>
        </p>
    }
}

/// What stands for a figure that is not known yet.
fn dash() -> String {
    "–".to_owned()
}
