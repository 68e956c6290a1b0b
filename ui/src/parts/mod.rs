//! Widgets that several screens use. They know no screen.

mod age;
mod bar;
mod claims;
mod copy;
mod dialog;
mod diff;
mod mark;
mod problem;
mod spark;
mod status_line;
mod toast;

pub(crate) use age::{age_of, time_of};
pub(crate) use bar::bar;
pub(crate) use claims::lost_claims;
pub(crate) use copy::copy_button;
pub(crate) use dialog::dialog;
pub(crate) use diff::{diff, pieces};
pub(crate) use mark::mark;
pub(crate) use problem::problem;
pub(crate) use spark::spark;
pub(crate) use status_line::status_line;
pub(crate) use toast::{Toasts, toast};

use crate::dom::{El, el};

/// The one title of a screen. It takes the focus when the screen is opened.
pub(crate) fn title(text: &str) -> El {
    el("h1").attr("tabindex", "-1").text(text)
}

/// A button that writes: off, with the reason as its description, while nothing can be written.
pub(crate) fn writing_button(text: &str) -> El {
    let live = crate::api::Live::here();
    crate::dom::button(text)
        .flag_of("disabled", move || {
            leptos::prelude::With::with(&live.writes_off, Option::is_some)
        })
        .attr_of("title", move || leptos::prelude::Get::get(&live.writes_off))
}
