//! The value pane: one key, what it holds, its past, and editing it.
//!
//! `desk` keeps what is unsaved, `write` changes the key, and the rest shows both: `facts`, `bars` for
//! what happened meanwhile, `editor`, `compare` for conflicts, and `past`.

mod bars;
mod compare;
mod desk;
mod editor;
mod facts;
mod past;
mod write;

use leptos::prelude::{Get, GetUntracked, RwSignal, Set, With, WithUntracked};
use wasm_bindgen::JsCast;
use web_sys::KeyboardEvent;

use crate::{
    api::Live,
    dom::{El, View, button, el, switch},
    model::{
        text::{grouped, size},
        value::{
            editing::{Found, Saving},
            json,
            record::Guess,
        },
    },
    parts::dialog,
};
use desk::Work;

/// What the pane asks before it goes on.
const ASK_DELETE: &str = "delete";
const ASK_JSON: &str = "json";

/// The pane: its key, and what it asks at this moment.
#[derive(Clone, Copy)]
struct Pane {
    work: Work,
    question: RwSignal<Option<String>>,
    /// That a text is no JSON any more is asked about once.
    is_json_given_up: RwSignal<bool>,
}

/// Shows the pane of a key.
pub(super) fn pane(key: String) -> View {
    let pane = Pane {
        work: desk::open(key),
        question: RwSignal::new(None),
        is_json_given_up: RwSignal::new(false),
    };
    let work = pane.work;
    el("section")
        .class("value")
        .testid("value-pane")
        .attr("aria-labelledby", "value-key")
        .attr_of("data-state", move || {
            Some(work.state.with(|state| word(&state.found)).to_owned())
        })
        .flag_of("data-unsaved", move || {
            work.state.with(|state| state.draft.is_some())
        })
        .on("keydown", move |event| {
            let Some(event) = event.dyn_ref::<KeyboardEvent>() else {
                return;
            };
            let is_save =
                (event.ctrl_key() || event.meta_key()) && event.key().eq_ignore_ascii_case("s");
            if is_save && !event.alt_key() && !event.shift_key() {
                event.prevent_default();
                pane.save();
            }
        })
        .child(
            el("h2")
                .class("value-key mono")
                .attr("id", "value-key")
                .child(el("bdi").text(&work.key())),
        )
        .child(bars::bars(work))
        .child(switch(
            move || work.state.with(|state| Part::of(&state.found)),
            move |part| content(pane, part),
        ))
        .child(dialog("Please confirm", pane.question, move |what| {
            pane.ask(&what)
        }))
        .into()
}

/// What the pane shows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Loading,
    Failed,
    Here,
    Absent,
}

impl Part {
    const fn of(found: &Found) -> Self {
        match found {
            Found::Loading => Self::Loading,
            Found::Failed(_) => Self::Failed,
            Found::Here(_) => Self::Here,
            Found::Absent(_) => Self::Absent,
        }
    }
}

const fn word(found: &Found) -> &'static str {
    match found {
        Found::Loading => "loading",
        Found::Here(_) => "here",
        Found::Absent(_) => "absent",
        Found::Failed(_) => "failed",
    }
}

fn content(pane: Pane, part: Part) -> View {
    let work = pane.work;
    let body = || {
        switch(
            move || work.state.with(|state| state.compared.is_some()),
            move |is_compared| {
                if is_compared {
                    compare::compare(work)
                } else {
                    editor::editor(pane)
                }
            },
        )
    };
    match part {
        Part::Loading => el("p").class("quiet").text("Reading the value…").into(),
        Part::Failed => {
            let why = move || {
                work.state.with(|state| match &state.found {
                    Found::Failed(why) => format!("The value cannot be read. {why}"),
                    _ => String::new(),
                })
            };
            el("div")
                .class("value-bar")
                .attr("data-tone", "danger")
                .testid("value-failed")
                .child(el("p").text_of(why))
                .child(button("Read it again").on_click(move || work.read()))
                .into()
        }
        Part::Here => View::from(vec![facts::facts(work), body(), past::past(work)]),
        Part::Absent => {
            let said = move || {
                work.state.with(|state| match state.found {
                    Found::Absent(revision) => format!(
                        "There is no such key at revision {}. Write a value to create it.",
                        grouped(revision)
                    ),
                    _ => String::new(),
                })
            };
            let absent = el("p").class("quiet").testid("value-absent").text_of(said);
            View::from(vec![absent.into(), body(), past::past(work)])
        }
    }
}

impl Pane {
    /// Saves the draft, or asks first when it would end the value's being JSON.
    fn save(self) {
        if Live::here().writes_off.with_untracked(Option::is_some) {
            return;
        }
        let loses_json = self.work.state.with_untracked(|state| {
            let was_json = state
                .opened()
                .is_some_and(|record| record.guess() == Guess::Json);
            let is_json = state.text().is_none_or(|text| json::check(text).is_ok());
            was_json && !is_json && state.draft.is_some()
        });
        if loses_json && !self.is_json_given_up.get_untracked() {
            self.question.set(Some(ASK_JSON.to_owned()));
        } else {
            write::save(self.work);
        }
    }

    fn ask(self, what: &str) -> View {
        match what {
            ASK_DELETE => self.ask_delete(),
            _ => self.ask_json(),
        }
    }

    fn ask_delete(self) -> View {
        let record = self
            .work
            .state
            .with_untracked(|state| state.opened().cloned());
        let (revision, bytes) =
            record.map_or((0, 0), |record| (record.revision, record.bytes.len()));
        let rows = [
            ("Key", self.work.key()),
            ("Revision", grouped(revision)),
            ("Size", size(bytes as u64)),
        ];
        let rows = rows.map(|(name, value)| {
            el("div")
                .child(el("dt").text(name))
                .child(el("dd").class("mono").text(&value))
        });
        let confirm = self.action(
            "Delete the key",
            || None,
            move || {
                self.question.set(None);
                write::delete(self.work);
            },
        );
        View::from(vec![
            el("h2").text("Delete this key?"),
            el("dl").class("value-asked").children(rows),
            el("p").class("quiet").text(
                "It is deleted only as it is at this revision. You can undo it for 10 seconds.",
            ),
            self.answers(confirm.class("danger-button")),
        ])
    }

    fn ask_json(self) -> View {
        let confirm = self.action(
            "Save it as text",
            || None,
            move || {
                self.is_json_given_up.set(true);
                self.question.set(None);
                write::save(self.work);
            },
        );
        let fault = self
            .work
            .state
            .with_untracked(|state| state.text().map(json::check));
        let place = match fault {
            Some(Err(fault)) => editor::place(&fault),
            _ => String::new(),
        };
        View::from(vec![
            el("h2").text("This is no longer JSON"),
            el("p").text(&place),
            el("p")
                .class("quiet")
                .text("The value was JSON when you opened it. Whoever reads it may fail on it."),
            self.answers(confirm.class("primary")),
        ])
    }

    fn answers(self, confirm: El) -> El {
        el("div")
            .class("dialog-actions")
            .child(button("Cancel").on_click(move || self.question.set(None)))
            .child(confirm.testid("confirm"))
    }

    /// A button that writes: off, with the reason, while nothing can be written, while a write is on
    /// its way, and while `no` has a reason.
    fn action(
        self,
        text: &str,
        no: impl Fn() -> Option<String> + 'static,
        run: impl FnMut() + 'static,
    ) -> El {
        action(self.work, button(text), no, run)
    }
}

/// As [`Pane::action`], on any button.
fn action(
    work: Work,
    button: El,
    no: impl Fn() -> Option<String> + 'static,
    run: impl FnMut() + 'static,
) -> El {
    let off = Live::here().writes_off;
    let reason = std::rc::Rc::new(move || {
        let is_writing = work.state.with(|state| state.is_writing());
        let busy = is_writing.then(|| "A write is on its way.".to_owned());
        off.get().or(busy).or_else(&no)
    });
    let is_off = std::rc::Rc::clone(&reason);
    button
        .flag_of("disabled", move || is_off().is_some())
        .attr_of("title", move || reason())
        .on_click(run)
}

/// Whether the last write of this key failed or is unknown.
const fn is_told(saving: &Saving) -> bool {
    matches!(saving, Saving::Refused(_) | Saving::Unknown(_))
}
