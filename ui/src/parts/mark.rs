//! The mark of a node's state: a shape first, a colour second. The word stands beside it.

use crate::{
    dom::{El, svg},
    model::seats::Seat,
};

/// Draws a seat's mark. The word stands beside it in the text, so the picture itself is silent.
pub(crate) fn mark(seat: impl Fn() -> Seat + Clone + 'static) -> El {
    let shape = seat.clone();
    svg("svg")
        .class("mark")
        .attr("aria-hidden", "true")
        .attr_of("data-role", move || Some(seat().as_str().to_owned()))
        .child(svg("use").attr_of("href", move || Some(format!("#mark-{}", shape().as_str()))))
}
