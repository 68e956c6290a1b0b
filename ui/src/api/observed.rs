//! What this page has heard of the members, kept over all screens from its opening on.

use conclave_shared::{ClusterStatus, NodeStatus};
use leptos::prelude::{GetUntracked, RwSignal, Update, With, provide_context, use_context};

use super::Live;
use crate::{
    dom::effect,
    model::{
        news::News,
        nodes::{Probe, Story},
    },
};

/// The page's memory of the members.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Observed(RwSignal<Story>);

impl Observed {
    /// Begins to remember; to be called once, by the shell.
    pub(crate) fn start(live: Live) {
        let observed = Self(RwSignal::new(Story::default()));
        provide_context(observed);
        effect(move || {
            live.cluster.with(|cluster| {
                live.status.with(|status| {
                    if let Some(status) = status {
                        observed.see(status, cluster.as_deref());
                    }
                });
            });
        });
        live.on_news(move |batch| {
            let members = batch.iter().filter_map(|news| match news {
                News::Member(change) => Some(change),
                _ => None,
            });
            for change in members {
                observed.0.update(|story| story.hear(change));
            }
        });
    }

    /// Returns the page's one memory.
    ///
    /// # Panics
    ///
    /// Outside the page, which is a mistake in the program.
    pub(crate) fn here() -> Self {
        use_context().expect("the shell starts the memory")
    }

    /// Reads it, tracked.
    pub(crate) fn with<T>(self, read: impl FnOnce(&Story) -> T) -> T {
        self.0.with(read)
    }

    /// Says whether the page's policy lets it ask an address, not tracked.
    pub(crate) fn may_ask(self, http: &str) -> bool {
        leptos::prelude::WithUntracked::with_untracked(&self.0, |story| story.may_ask(http))
    }

    /// Takes what a member answered this browser.
    pub(crate) fn take(self, probe: &Probe, live: Live) {
        if let Some(own) = probe.status() {
            let now_ms = live.now.get_untracked();
            self.0.update(|story| story.see_own(own, now_ms));
        }
    }

    fn see(self, status: &NodeStatus, cluster: Option<&ClusterStatus>) {
        self.0.update(|story| story.see(status, cluster));
    }
}
