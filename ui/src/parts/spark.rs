//! A sparkline: how one figure went, without axes.

use crate::{
    dom::{El, svg},
    model::overview::spark::path,
};

const WIDTH: f64 = 120.0;
const HEIGHT: f64 = 24.0;

/// Draws the points from left to right, zero at the bottom. The figure stands beside it in words, so
/// the picture is silent.
pub(crate) fn spark(points: impl Fn() -> Vec<Option<f64>> + 'static) -> El {
    svg("svg")
        .class("spark")
        .attr("aria-hidden", "true")
        .attr("viewBox", &format!("0 0 {WIDTH} {HEIGHT}"))
        .attr("preserveAspectRatio", "none")
        .child(svg("path").attr_of("d", move || Some(path(&points(), WIDTH, HEIGHT).0)))
}
