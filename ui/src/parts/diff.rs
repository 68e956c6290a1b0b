//! A difference of two texts, as lines.

use crate::{
    dom::{El, View, el},
    model::value::diff::{Kind, Piece, Row, rows},
};

/// Equal lines around a change.
const CONTEXT: usize = 3;
/// Rows that are drawn; what is beyond is counted.
const MOST: usize = 2_000;

/// Shows what turned the old text into the new one. The signs in front of the lines say which is which.
pub(crate) fn diff(old: &str, new: &str) -> View {
    let rows = rows(old, new, CONTEXT);
    if rows
        .iter()
        .all(|row| matches!(row.kind, Kind::Same | Kind::Skipped(_)))
    {
        return el("p").class("quiet").text("The two are equal.").into();
    }
    let left_out = rows.len().saturating_sub(MOST);
    let left_out = (left_out > 0).then(|| {
        el("p")
            .class("quiet")
            .text(&format!("{left_out} more lines are not shown."))
    });
    View::from(vec![
        el("div")
            .class("diff mono")
            .testid("diff")
            .attr("tabindex", "0")
            .attr("role", "group")
            .attr("aria-label", "Difference")
            .children(rows.iter().take(MOST).map(line))
            .into(),
        View::from(left_out),
    ])
}

fn line(row: &Row) -> El {
    let (name, sign) = match row.kind {
        Kind::Same => ("same", " "),
        Kind::Old => ("old", "-"),
        Kind::New => ("new", "+"),
        Kind::Skipped(count) => {
            let lines = if count == 1 { "line" } else { "lines" };
            return el("div")
                .class("diff-line")
                .attr("data-kind", "skipped")
                .text(&format!("{count} equal {lines}"));
        }
    };
    let number = |number: Option<usize>| {
        let text = number.map_or_else(String::new, |number| number.to_string());
        el("span")
            .class("diff-number")
            .attr("aria-hidden", "true")
            .text(&text)
    };
    el("div")
        .class("diff-line")
        .attr("data-kind", name)
        .child(number(row.old))
        .child(number(row.new))
        .child(el("span").class("diff-sign").text(sign))
        .child(pieces(&row.pieces))
}

/// The text of one line, with its changed words marked. Without its end.
pub(crate) fn pieces(pieces: &[Piece]) -> El {
    el("span")
        .class("diff-text")
        .children(pieces.iter().map(|piece| {
            let text = piece.text.trim_end_matches('\n');
            if piece.is_changed {
                View::from(el("mark").text(text))
            } else {
                View::from(text)
            }
        }))
}
