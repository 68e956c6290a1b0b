//! What happened meanwhile: others' changes, the fate of one's own writes, what can be had back.

use leptos::prelude::{Get, With};

use super::{action, desk::Work, facts::copy_age, is_told, write};
use crate::{
    api::Live,
    dom::{El, View, button, el, switch},
    model::{
        news::KeyEvent,
        text::{age, grouped},
        value::editing::{Editing, Saving},
    },
};

/// Shows them all, the gravest first.
pub(super) fn bars(work: Work) -> View {
    let part = move |say: fn(&Editing) -> bool, body: fn(Work) -> View| {
        switch(
            move || work.state.with(say),
            move |holds| if holds { body(work) } else { View::none() },
        )
    };
    el("div")
        .class("value-bars")
        .child(
            el("div")
                .attr("role", "status")
                .child(part(|state| state.is_writing(), writing))
                .child(part(
                    |state| state.change.is_some() && state.draft.is_some(),
                    changed,
                ))
                .child(part(
                    |state| {
                        state.change.is_some() && state.draft.is_none() && state.deleted.is_none()
                    },
                    refreshed,
                ))
                .child(part(|state| copy_age(state).is_some(), copied))
                .child(part(|state| state.deleted.is_some(), deleted))
                .child(part(
                    |state| state.dropped.is_some() && state.draft.is_none(),
                    dropped,
                )),
        )
        .child(
            el("div")
                .attr("role", "alert")
                .child(part(|state| is_told(&state.saving), told)),
        )
        .into()
}

fn bar(tone: &str, testid: &str, text: impl Fn() -> String + 'static) -> El {
    long_bar(tone, testid, text, None)
}

fn long_bar(tone: &str, testid: &str, text: impl Fn() -> String + 'static, more: Option<El>) -> El {
    el("div")
        .class("value-bar")
        .attr("data-tone", tone)
        .testid(testid)
        .child(el("p").text_of(text).child(more))
}

fn writing(work: Work) -> View {
    let text = move || {
        work.state
            .with(|state| match state.saving {
                Saving::Asking => "We don't know yet whether this was saved - asking.",
                Saving::Retrying => {
                    "Not done yet: the cluster has no leader at this moment. Trying again."
                }
                _ => "Writing…",
            })
            .to_owned()
    };
    bar("plain", "value-writing", text).into()
}

fn told(work: Work) -> View {
    let text = move || {
        work.state.with(|state| match &state.saving {
            Saving::Refused(why) | Saving::Unknown(why) => why.clone(),
            _ => String::new(),
        })
    };
    let look = switch(
        move || {
            work.state
                .with(|state| matches!(state.saving, Saving::Unknown(_)))
        },
        move |is_unknown| {
            let look = || button("Look at the key").on_click(move || write::look(work));
            View::from(is_unknown.then(look))
        },
    );
    bar("danger", "value-refused", text).child(look).into()
}

/// Who changed the key, without when: `n3 wrote revision 48,219`.
fn who(work: Work) -> String {
    work.state.with(|state| {
        let Some(change) = &state.change else {
            return String::new();
        };
        let (origin, revision) = (&change.origin, grouped(change.revision));
        match (change.event, origin.as_str()) {
            (KeyEvent::Put, "") => {
                format!("It was written since you opened it, at revision {revision}")
            }
            (KeyEvent::Put, _) => format!("{origin} wrote revision {revision}"),
            (KeyEvent::Delete, "") => {
                format!("It was deleted since you opened it, at revision {revision} or before")
            }
            (KeyEvent::Delete, _) => format!("{origin} deleted it at revision {revision}"),
            (KeyEvent::Expire, _) => format!("It expired at revision {revision}"),
        }
    })
}

/// When that was, and how the sentence ends. It ticks, so it is not read out again and again.
fn when(work: Work, end: &'static str) -> El {
    let live = Live::here();
    let text = move || {
        let moment = work.state.with(|state| {
            state
                .change
                .as_ref()
                .map_or(0, |change| change.wall_time_ms)
        });
        match moment {
            0 => format!(".{end}"),
            moment => format!(" {} ago.{end}", age(live.now.get().saturating_sub(moment))),
        }
    };
    el("span").attr("aria-live", "off").text_of(text)
}

fn changed(work: Work) -> View {
    let show = move || work.spawn(write::compare(work));
    let is_gone = move |state: &Editing| {
        let change = state.change.as_ref();
        change.is_some_and(|change| change.event != KeyEvent::Put)
    };
    let choice = switch(
        move || work.state.with(is_gone),
        move |is_gone| {
            if is_gone {
                let again = action(
                    work,
                    button("Create it again"),
                    || None,
                    move || {
                        write::save_over(work, 0);
                    },
                );
                View::from(again.testid("create-again"))
            } else {
                View::from(
                    button("Show difference")
                        .testid("show-difference")
                        .on_click(show),
                )
            }
        },
    );
    let when = when(work, "");
    long_bar("warn", "value-changed", move || who(work), Some(when))
        .child(choice)
        .into()
}

fn refreshed(work: Work) -> View {
    let close = button("Close")
        .class("quiet-button")
        .on_click(move || work.update(|state| state.change = None));
    let when = when(work, " This is the value now.");
    long_bar("plain", "value-refreshed", move || who(work), Some(when))
        .child(close)
        .into()
}

fn copied(work: Work) -> View {
    let text = move || work.state.with(|state| copy_age(state).unwrap_or_default());
    bar("warn", "value-copy", text).into()
}

fn deleted(work: Work) -> View {
    let live = Live::here();
    let left = move || {
        live.now.get();
        let until = work.state.with(|state| {
            let deleted = state.deleted.as_ref();
            deleted.map_or(0, |deleted| deleted.until_ms)
        });
        let left = until.saturating_sub(write::clock()).div_ceil(1_000);
        format!("{left} s more.")
    };
    let left = el("span").attr("aria-live", "off").text_of(left);
    let text = || "The key is deleted. It can be had back for ".to_owned();
    let undo = action(work, button("Undo"), || None, move || write::undo(work));
    long_bar("warn", "value-deleted", text, Some(left))
        .child(undo.testid("undo-delete"))
        .into()
}

fn dropped(work: Work) -> View {
    let text = || "Your text was put aside, not lost.".to_owned();
    let back = button("Have it back")
        .testid("fetch-back")
        .on_click(move || work.update(Editing::fetch_back));
    let forget = button("Forget it")
        .class("quiet-button")
        .on_click(move || work.update(|state| state.dropped = None));
    bar("plain", "value-dropped", text)
        .child(back)
        .child(forget)
        .into()
}
