//! The draft beside what the cluster has now and what was opened, stretch by stretch.

use std::rc::Rc;

use leptos::prelude::{With, WithUntracked};

use super::{action, desk::Work, write};
use crate::{
    dom::{El, View, button, el},
    model::{
        text::{grouped, size},
        value::{
            diff::{lines, words},
            editing::{Compared, Draft, Editing},
            merge::{Chunk, Kind, Side},
        },
    },
    parts::pieces,
};

/// Stretches that are drawn; of more, only whole texts can be taken.
const MOST_CHUNKS: usize = 300;
/// Lines of one stretch that are drawn.
const MOST_LINES: usize = 300;
/// Lines of an equal stretch that are drawn at each of its ends.
const CONTEXT: usize = 2;

const SIDES: [Side; 3] = [Side::Opened, Side::Theirs, Side::Yours];

const fn of_side(side: Side) -> (&'static str, &'static str) {
    match side {
        Side::Opened => ("opened", "When you opened it"),
        Side::Theirs => ("theirs", "Now on the cluster"),
        Side::Yours => ("yours", "Yours"),
    }
}

/// Shows the comparison, and what can be made of it.
pub(super) fn compare(work: Work) -> View {
    // Made once for a comparison; the choices in it follow the state.
    let compared = work.state.with_untracked(|state| state.compared.clone());
    let Some(compared) = compared else {
        return View::none();
    };
    el("div")
        .class("value-compare")
        .testid("value-compare")
        .child(head(&compared))
        .child(if compared.chunks.is_empty() {
            sizes(work, &compared)
        } else {
            table(work, &compared)
        })
        .child(actions(work, &compared))
        .into()
}

fn head(compared: &Compared) -> El {
    let revision = grouped(compared.revision);
    let text = match (&compared.theirs, compared.origin.as_str()) {
        (Some(_), "") => format!("Revision {revision} was written while you edited."),
        (Some(_), origin) => format!("{origin} wrote revision {revision} while you edited."),
        (None, _) => format!("It was deleted at {revision}. Create it again?"),
    };
    el("h3").testid("compare-head").text(&text)
}

/// For what is no text: how large each is.
fn sizes(work: Work, compared: &Compared) -> El {
    let bytes = work.state.with_untracked(|state| {
        let opened = state.opened().map(|record| record.bytes.len());
        let theirs = compared.theirs.as_ref().map(|record| record.bytes.len());
        let yours = match &state.draft {
            Some(Draft::File { bytes, .. }) => Some(bytes.len()),
            Some(Draft::Text(text)) => Some(text.len()),
            None => None,
        };
        [opened, theirs, yours]
    });
    let rows = SIDES.into_iter().zip(bytes).map(|(side, bytes)| {
        let size = bytes.map_or_else(|| "none".to_owned(), |bytes| size(bytes as u64));
        el("div")
            .child(el("dt").text(of_side(side).1))
            .child(el("dd").class("mono").text(&size))
    });
    el("dl").class("value-asked").children(rows)
}

fn table(work: Work, compared: &Compared) -> El {
    let names = SIDES.map(|side| el("div").class("compare-name").text(of_side(side).1));
    let changes = compared
        .chunks
        .iter()
        .filter(|chunk| chunk.kind != Kind::Same)
        .count();
    let mut change = 0;
    let shown = compared.chunks.iter().enumerate().take(MOST_CHUNKS);
    let rows = shown.map(|(at, chunk)| {
        if chunk.kind == Kind::Same {
            let is_first = at == 0;
            return same(chunk, is_first, at + 1 == compared.chunks.len());
        }
        change += 1;
        stretch(
            work,
            at,
            chunk,
            &format!("Change {change} of {changes}: {}", deed(chunk.kind)),
        )
    });
    let rows: Vec<El> = rows.collect();
    let left_out = (compared.chunks.len() > MOST_CHUNKS).then(|| {
        el("p")
            .class("compare-same")
            .text("There are more changes than are shown. Take one of the texts as a whole.")
    });
    el("div")
        .class("compare-table")
        .child(
            el("div")
                .class("compare-names")
                .attr("aria-hidden", "true")
                .children(names),
        )
        .children(rows)
        .child(left_out)
}

const fn deed(kind: Kind) -> &'static str {
    match kind {
        Kind::Same => "nobody changed this",
        Kind::Theirs => "only they changed this",
        Kind::Yours => "only you changed this",
        Kind::Both => "both changed this alike",
        Kind::Conflict => "both changed this, decide",
    }
}

/// An equal stretch, of which only the lines next to a change are of interest.
fn same(chunk: &Chunk, is_first: bool, is_last: bool) -> El {
    let all = lines(&chunk.opened);
    let head = if is_first { 0 } else { CONTEXT.min(all.len()) };
    let tail = if is_last {
        0
    } else {
        CONTEXT.min(all.len() - head)
    };
    let skipped = all.len() - head - tail;
    let line = |text: &&str| {
        el("div")
            .class("compare-line")
            .text(text.trim_end_matches('\n'))
    };
    let gap = (skipped > 0).then(|| {
        let lines = if skipped == 1 { "line" } else { "lines" };
        el("div")
            .class("compare-gap")
            .text(&format!("{skipped} equal {lines}"))
    });
    el("div")
        .class("compare-same mono")
        .children(all[..head].iter().map(line))
        .child(gap)
        .children(all[all.len() - tail..].iter().map(line))
}

fn stretch(work: Work, at: usize, chunk: &Chunk, legend: &str) -> El {
    let cells = SIDES.map(|side| {
        let (name, word) = of_side(side);
        let is_taken = move || {
            work.state.with(|state| {
                let compared = state.compared.as_ref();
                compared.and_then(|compared| compared.taken.get(at).copied().flatten())
                    == Some(side)
            })
        };
        let is_taken = Rc::new(is_taken);
        let checked = Rc::clone(&is_taken);
        let radio = el("input")
            .attr("type", "radio")
            .attr("name", &format!("take-{at}"))
            .testid(&format!("take-{name}"))
            .prop_of("checked", move || checked().into())
            .on("change", move |_| work.update(|state| state.take(at, side)));
        el("div")
            .class("compare-cell")
            .attr("data-side", name)
            .flag_of("data-taken", move || is_taken())
            .child(el("label").child(radio).child(el("span").text(word)))
            .child(text(chunk, side))
    });
    el("fieldset")
        .class("compare-stretch")
        .testid("compare-stretch")
        .attr(
            "data-kind",
            match chunk.kind {
                Kind::Conflict => "conflict",
                _ => "plain",
            },
        )
        .child(el("legend").text(legend))
        .children(cells)
}

fn text(chunk: &Chunk, side: Side) -> El {
    let (opened, shown) = (lines(&chunk.opened), lines(chunk.of(side)));
    if shown.is_empty() {
        return el("p").class("quiet").text("no lines");
    }
    let is_paired = side != Side::Opened && opened.len() == shown.len();
    let left_out = shown.len().saturating_sub(MOST_LINES);
    let line = |(at, text): (usize, &&str)| {
        let line = el("div").class("compare-line");
        if is_paired {
            line.child(pieces(&words(opened[at], text).1))
        } else {
            line.text(text.trim_end_matches('\n'))
        }
    };
    el("div")
        .class("compare-text mono")
        .children(shown.iter().enumerate().take(MOST_LINES).map(line))
        .child((left_out > 0).then(|| {
            el("p")
                .class("quiet")
                .text(&format!("{left_out} more lines"))
        }))
}

fn actions(work: Work, compared: &Compared) -> El {
    let revision = compared.revision;
    let (mine, theirs, over) = match compared.theirs {
        Some(_) => (
            format!("Save mine over {}", grouped(revision)),
            "Take theirs",
            revision,
        ),
        None => ("Create it again".to_owned(), "Leave it deleted", 0),
    };
    let save_mine = action(
        work,
        button(&mine),
        || None,
        move || write::save_over(work, over),
    );
    let undecided = move || {
        let is_open = work.state.with(|state| state.merged().is_none());
        is_open.then(|| "Decide each change that both sides made first.".to_owned())
    };
    let merged = (!compared.chunks.is_empty() && compared.theirs.is_some()).then(|| {
        let save = format!("Save the merge over {}", grouped(revision));
        let save = action(work, button(&save), undecided, move || {
            let merged = work.state.with_untracked(Editing::merged);
            if let Some(text) = merged {
                work.update(|state| state.edit(&text));
                write::save_over(work, over);
            }
        });
        save.testid("save-merge").class("primary")
    });
    let edit = (!compared.chunks.is_empty()).then(|| {
        let edit = move || {
            let merged = work.state.with_untracked(Editing::merged);
            if let Some(text) = merged {
                work.update(|state| state.edit(&text));
            }
        };
        button("Edit the merge")
            .testid("edit-merge")
            .flag_of("disabled", move || undecided().is_some())
            .attr_of("title", undecided)
            .on_click(edit)
    });
    el("div")
        .class("value-actions")
        .child(merged)
        .child(save_mine.testid("save-mine"))
        .child(edit)
        .child(
            button(theirs)
                .testid("take-theirs")
                .on_click(move || work.update(Editing::take_theirs)),
        )
        .child(
            button("Back to my text")
                .testid("compare-back")
                .on_click(move || work.update(|state| state.compared = None)),
        )
}
