//! The screens. The first is in the program itself, the others come after it.

mod events;
mod keys;
mod lab;
mod later;
mod locks;
mod metrics;
mod nodes;
mod overview;

use crate::{dom::View, model::address::Screen};

pub(crate) use later::fetch_ahead;

/// Shows a screen.
pub(crate) fn show(screen: Screen) -> View {
    match screen {
        Screen::Overview => overview::page(),
        other => later::show(other),
    }
}
