//! The address bar: what the page shows is in the address, and the address says what is shown.

use leptos::prelude::{
    Get, GetUntracked, Memo, RwSignal, Set, With, provide_context, use_context, window,
};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{Event, MouseEvent};

use crate::{
    dom::{El, el, listen},
    model::address::{Address, Screen},
};

/// Where the page is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Route(RwSignal<Address>);

impl Route {
    /// Follows the address bar from now on; to be called once.
    pub(crate) fn start() -> Self {
        let route = Self(RwSignal::new(now()));
        let back = move |_: Event| route.0.set(now());
        listen(&window(), "popstate", Box::new(back));
        provide_context(route);
        route
    }

    /// Returns the page's one route.
    ///
    /// # Panics
    ///
    /// Outside the page, which is a mistake in the program.
    pub(crate) fn here() -> Self {
        use_context().expect("the shell starts the route")
    }

    /// Which screen is shown, tracked.
    pub(crate) fn screen(self) -> Screen {
        self.0.with(|address| address.screen)
    }

    /// What stands under a name, tracked.
    pub(crate) fn get(self, name: &str) -> Option<String> {
        self.0.with(|address| address.get(name).map(str::to_owned))
    }

    /// What stands under a name, followed: changes only when it does.
    pub(crate) fn query(self, name: &'static str) -> Memo<Option<String>> {
        Memo::new(move |_| self.get(name))
    }

    /// The whole address, tracked.
    pub(crate) fn address(self) -> Address {
        self.0.get()
    }

    /// The whole address, not tracked.
    pub(crate) fn current(self) -> Address {
        self.0.get_untracked()
    }

    /// Goes to another place; Back returns from it.
    pub(crate) fn go(self, address: Address) {
        self.change(address, true);
    }

    /// Says under another address what is shown; Back does not return to the old one.
    pub(crate) fn replace(self, address: Address) {
        self.change(address, false);
    }

    fn change(self, address: Address, is_new: bool) {
        if self.0.get_untracked() == address {
            return;
        }
        let href = address.href();
        if let Ok(history) = window().history() {
            // Fail above a browser's limit of calls; the page then shows what its bar does not say.
            drop(if is_new {
                history.push_state_with_url(&JsValue::NULL, "", Some(&href))
            } else {
                history.replace_state_with_url(&JsValue::NULL, "", Some(&href))
            });
        }
        self.0.set(address);
    }
}

/// A link to a place of the dashboard, which is computed when it is followed or looked at.
pub(crate) fn link(to: impl Fn() -> Address + 'static) -> El {
    let to = std::rc::Rc::new(to);
    let target = std::rc::Rc::clone(&to);
    let route = Route::here();
    el("a")
        .attr_of("href", move || Some(to().href()))
        .on("click", move |event| {
            let event: MouseEvent = event.unchecked_into();
            let is_plain = event.button() == 0
                && !(event.ctrl_key() || event.meta_key() || event.shift_key() || event.alt_key());
            if is_plain && !event.default_prevented() {
                event.prevent_default();
                route.go(leptos::prelude::untrack(|| target()));
            }
        })
}

fn now() -> Address {
    let location = window().location();
    let path = location.pathname().unwrap_or_default();
    Address::parse(&path, &location.search().unwrap_or_default())
}
