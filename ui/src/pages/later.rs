//! The screens other than the first. In a released dashboard they are a file of their own.
//!
//! The first load then has the size of one screen. The file is fetched as soon as the first screen is
//! painted: a page that is cut off later has all of them. What this module reaches through
//! [`file::page`] and nothing else reaches is in that file; no list says so. Without the feature
//! `split`, as under `trunk serve`, the file is the program itself and always there.

use std::{cell::RefCell, rc::Rc};

use leptos::prelude::{Get, Owner, RwSignal, Set, document, untrack};

use super::{events, keys, lab, locks, metrics, nodes, overview};
use crate::{
    dom::{El, View, after, el, focus, pause, spawn, spawn_apart, switch},
    model::{address::Screen, failure::Failure},
    parts::{problem, title},
};

/// Pauses before each try to have the file, milliseconds. The first lets the page be painted.
const AHEAD_MS: [u32; 4] = [50, 2_000, 10_000, 60_000];

/// Fetches the screens that are not shown yet. Without success nothing is lost: opening one tries
/// again.
pub(crate) fn fetch_ahead() {
    spawn_apart(async {
        for ms in AHEAD_MS {
            pause(ms).await;
            if file::fetch().await.is_ok() {
                return;
            }
        }
    });
}

/// Shows a screen when it is there: at once, but for the first moments of a page.
pub(super) fn show(screen: Screen) -> View {
    let opening = Rc::new(Opening {
        screen,
        owner: Owner::current().unwrap_or_default(),
        title: title(screen.word()),
        is_here: RwSignal::new(false),
        failure: RwSignal::new(None),
        page: RefCell::default(),
    });
    opening.begin();
    let is_here = opening.is_here;
    switch(
        move || is_here.get(),
        move |is_here| {
            if is_here {
                return opening.page.take().into();
            }
            opening.waiting()
        },
    )
}

/// A screen on its way.
struct Opening {
    screen: Screen,
    /// The part of the page that the screen belongs to.
    owner: Owner,
    /// Stands where the screen's own title will.
    title: El,
    is_here: RwSignal<bool>,
    failure: RwSignal<Option<Failure>>,
    /// What has come and is not shown yet.
    page: RefCell<Option<View>>,
}

impl Opening {
    /// Asks for the screen.
    fn begin(self: &Rc<Self>) {
        let opening = Rc::clone(self);
        let task = async move {
            match file::page(opening.screen).await {
                Ok(page) => opening.end(page),
                Err(failure) => opening.failure.set(Some(failure)),
            }
        };
        self.owner.with(|| spawn(task));
    }

    fn end(&self, page: View) {
        self.page.replace(Some(page));
        let has_focus = document().active_element() == Some(self.title.element());
        self.is_here.set(true);
        if has_focus {
            after(0, || {
                focus("main h1");
            });
        }
    }

    fn waiting(self: &Rc<Self>) -> View {
        let opening = Rc::clone(self);
        let failure = self.failure;
        let retry = move || {
            failure.set(None);
            opening.begin();
        };
        el("section")
            .class("screen")
            .testid("opening")
            .child(el("div").class("screen-head").child(self.title.clone()))
            .child(problem(failure, retry))
            .into()
    }
}

fn page(screen: Screen) -> View {
    untrack(|| match screen {
        Screen::Overview => overview::page(),
        Screen::Nodes => nodes::page(),
        Screen::Keys => keys::page(),
        Screen::Locks => locks::page(),
        Screen::Events => events::page(),
        Screen::Lab => lab::page(),
        Screen::Metrics => metrics::page(),
    })
}

/// The file. `cargo xtask` cuts the program here after it is linked.
#[cfg(feature = "split")]
mod file {
    use wasm_split_helpers::{SplitLoaderError, wasm_split};

    use crate::{dom::View, model::address::Screen, model::failure::Failure};

    #[wasm_split(screens, fallible, preload(fetch))]
    pub(super) fn page(screen: Screen) -> Result<View, Failure> {
        Ok(super::page(screen))
    }

    impl From<SplitLoaderError> for Failure {
        fn from(_: SplitLoaderError) -> Self {
            Self::NotLoaded
        }
    }
}

#[cfg(not(feature = "split"))]
mod file {
    use std::future::{Ready, ready};

    use crate::{dom::View, model::address::Screen, model::failure::Failure};

    pub(super) fn page(screen: Screen) -> Ready<Result<View, Failure>> {
        ready(Ok(super::page(screen)))
    }

    pub(super) fn fetch() -> Ready<Result<(), Failure>> {
        ready(Ok(()))
    }
}
