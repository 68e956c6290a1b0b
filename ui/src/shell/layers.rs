//! What can lie above the page: the palette and the list of shortcuts; and whether keys open them.

use leptos::prelude::{Get, GetUntracked, RwSignal, Set};

use crate::dom::{store, stored};

/// Under which name this browser keeps that single keys do nothing.
const KEPT: &str = "conclave.shortcuts";
const OFF: &str = "off";

/// The layers' state. Cheap to copy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layers {
    /// The palette, with the text that it opens with.
    pub(super) palette: RwSignal<Option<String>>,
    /// The list of shortcuts.
    pub(super) shortcuts: RwSignal<Option<String>>,
    are_keys_on: RwSignal<bool>,
}

impl Layers {
    pub(super) fn new() -> Self {
        Self {
            palette: RwSignal::new(None),
            shortcuts: RwSignal::new(None),
            are_keys_on: RwSignal::new(stored(KEPT).as_deref() != Some(OFF)),
        }
    }

    /// Says whether single keys do something, tracked.
    pub(super) fn are_keys_on(self) -> bool {
        self.are_keys_on.get()
    }

    /// Switches single keys on or off, now and for later visits.
    pub(super) fn turn_keys(self) {
        let is_on = !self.are_keys_on.get_untracked();
        store(KEPT, if is_on { "on" } else { OFF });
        self.are_keys_on.set(is_on);
    }

    pub(super) fn open_palette(self) {
        self.shortcuts.set(None);
        self.palette.set(Some(String::new()));
    }

    pub(super) fn open_shortcuts(self) {
        self.palette.set(None);
        self.shortcuts.set(Some(String::new()));
    }
}
