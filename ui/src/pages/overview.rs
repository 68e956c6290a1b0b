//! The first page: the state of the cluster in a sentence, this node's figures, the members.

use leptos::prelude::*;

use crate::{
    api::Live,
    components::{figures::Figures, identity::Identity, members::Members},
    model::headline::{Headline, Tone, headline},
};

/// The page at `/ui/`.
#[component]
pub(crate) fn Overview() -> impl IntoView {
    let live = expect_context::<Live>();
    let sentence = Memo::new(move |_| {
        live.status
            .with(|status| status.as_ref().map_or_else(waiting, headline))
    });
    let of = move |read: fn(&conclave_shared::NodeStatus) -> String| {
        move || {
            live.status
                .with(|status| status.as_ref().map(read).unwrap_or_default())
        }
    };
    // A reason is worth a line once the page is no longer live, not for one attempt that failed.
    let reason = move || {
        live.silent.get().and_then(|_| live.error.get()).map(|error| {
            view! { <p class="reason" data-testid="reason">{format!("The last attempt failed: {error}.")}</p> }
        })
    };
    view! {
        <div class="headline" data-tone=move || sentence.get().tone.as_str()>
            <h1 data-testid="headline">{move || sentence.get().text}</h1>
            <p class="quiet">
                {of(|status| format!("Cluster {} · environment {}", status.cluster_id, status.env))}
            </p>
            {reason}
        </div>
        <section aria-labelledby="this-node">
            <h2 id="this-node">"This node"</h2>
            <div class="node-panel">
                <Identity />
                <Figures />
            </div>
        </section>
        <section aria-labelledby="members">
            <h2 id="members">"Members"</h2>
            <Members />
        </section>
    }
}

fn waiting() -> Headline {
    Headline {
        tone: Tone::Calm,
        text: "Waiting for this node's first answer…".to_owned(),
    }
}
