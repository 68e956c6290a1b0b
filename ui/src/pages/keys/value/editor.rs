//! The value itself: as text that can be edited, or as bytes.

use leptos::prelude::{Get, Memo, RwSignal, Set, With, WithUntracked};
use wasm_bindgen::JsCast;
use web_sys::{Event, HtmlElement};

use super::{ASK_DELETE, Pane, desk::Work};
use crate::{
    dom::{El, View, button, chosen_file, download, el, spawn, switch, target_value, when},
    model::{
        text::{grouped, size},
        value::{
            editing::{Draft, Editing},
            hex,
            json::{self, Fault},
            record::{Guess, Record, beginning},
        },
    },
    parts::toast,
    route::Route,
};

/// A larger value is shown in part first, bytes.
const WHOLE_WITHIN: usize = 256 << 10;
/// That part, bytes.
const PART: usize = 64 << 10;
/// Most bytes read of a chosen file. The node refuses what is too large, and says its limit; this
/// keeps a film from being read into memory.
const FILE_BYTES: u32 = 4 << 20;

/// A way to look at a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Json,
    Text,
    Hex,
}

impl Look {
    const ALL: [Self; 3] = [Self::Json, Self::Text, Self::Hex];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Text => "text",
            Self::Hex => "hex",
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::Text => "Text",
            Self::Hex => "Hex",
        }
    }

    /// The reader's choice where the value allows it, else what fits the value.
    fn of(state: &Editing, chosen: Option<&str>) -> Self {
        let chosen = Self::ALL
            .into_iter()
            .find(|look| chosen == Some(look.as_str()));
        if state.text().is_none() {
            return Self::Hex;
        }
        let is_json = state
            .opened()
            .is_some_and(|record| record.guess() == Guess::Json);
        chosen.unwrap_or(if is_json { Self::Json } else { Self::Text })
    }
}

/// Shows the value and what can be done with it.
pub(super) fn editor(pane: Pane) -> View {
    let work = pane.work;
    let chosen = Route::here().query("view");
    let look = move || {
        work.state
            .with(|state| chosen.with(|chosen| Look::of(state, chosen.as_deref())))
    };
    let is_all = RwSignal::new(false);
    let is_part = move || !is_all.get() && work.state.with(|state| length(state) > WHOLE_WITHIN);
    let fault = Memo::new(move |_| {
        let is_json = look() == Look::Json;
        work.state.with(|state| match state.text() {
            Some(text) if is_json && !text.is_empty() => json::check(text).err(),
            _ => None,
        })
    });
    let body = switch(
        move || (look() == Look::Hex, is_part()),
        move |(is_hex, is_part)| {
            if is_hex {
                bytes(work, is_part)
            } else {
                area(work, is_part, fault)
            }
        },
    );
    let more = when(is_part, move || {
        let text = work.state.with_untracked(|state| {
            let length = length(state) as u64;
            format!("Load all ({})", size(length))
        });
        el("p")
            .class("value-part")
            .text("These are its first 64 KiB. To edit it, ")
            .child(
                button(&text)
                    .testid("load-all")
                    .on_click(move || is_all.set(true)),
            )
            .into()
    });
    el("div")
        .class("value-editor-frame")
        .child(looks(work, look))
        .child(file_chosen(work))
        .child(body)
        .child(more)
        .child(said(fault))
        .child(actions(pane, look))
        .into()
}

/// Says where a text stops being JSON, and why.
pub(super) fn place(fault: &Fault) -> String {
    format!(
        "Line {}, column {}: {}.",
        fault.line, fault.column, fault.what
    )
}

/// Bytes of what the editor holds.
fn length(state: &Editing) -> usize {
    match (&state.draft, state.opened()) {
        (Some(Draft::Text(text)), _) => text.len(),
        (Some(Draft::File { bytes, .. }), _) => bytes.len(),
        (None, Some(record)) => record.bytes.len(),
        (None, None) => 0,
    }
}

fn looks(work: Work, look: impl Fn() -> Look + Copy + 'static) -> El {
    let route = Route::here();
    let one = move |this: Look| {
        button(this.word())
            .testid(&format!("view-{}", this.as_str()))
            .attr_of("aria-pressed", move || Some((look() == this).to_string()))
            .flag_of("disabled", move || {
                this != Look::Hex && work.state.with(|state| state.text().is_none())
            })
            .on_click(move || route.replace(route.current().with("view", Some(this.as_str()))))
    };
    el("div")
        .class("segments")
        .attr("role", "group")
        .attr("aria-label", "View")
        .children(Look::ALL.map(one))
}

fn file_chosen(work: Work) -> View {
    switch(
        move || {
            work.state.with(|state| match &state.draft {
                Some(Draft::File { name, bytes, .. }) => Some((name.clone(), bytes.len() as u64)),
                _ => None,
            })
        },
        |file| {
            View::from(file.map(|(name, bytes)| {
                el("p")
                    .testid("value-file")
                    .child(el("bdi").class("mono").text(&name))
                    .text(&format!(
                        ", {}, replaces the value when you save.",
                        size(bytes)
                    ))
            }))
        },
    )
}

fn bytes(work: Work, is_part: bool) -> View {
    let dump = move || {
        work.state.with(|state| {
            let bytes = match (&state.draft, state.opened()) {
                (Some(Draft::Text(text)), _) => text.as_bytes(),
                (Some(Draft::File { bytes, .. }), _) => bytes,
                (None, Some(record)) => &record.bytes,
                (None, None) => &[],
            };
            hex::dump(if is_part {
                &bytes[..PART.min(bytes.len())]
            } else {
                bytes
            })
        })
    };
    el("pre")
        .class("value-hex mono")
        .testid("value-hex")
        .attr("tabindex", "0")
        .attr("role", "group")
        .attr("aria-label", "Bytes of the value")
        .text_of(dump)
        .into()
}

fn area(work: Work, is_part: bool, fault: Memo<Option<Fault>>) -> View {
    let text = move || {
        work.state.with(|state| {
            let text = state.text().unwrap_or_default();
            if is_part { beginning(text, PART) } else { text }.to_owned()
        })
    };
    let lines = move || {
        work.state.with(|state| {
            let text = state.text().unwrap_or_default();
            let text = if is_part { beginning(text, PART) } else { text };
            text.bytes().filter(|byte| *byte == b'\n').count() + 1
        })
    };
    let numbers = el("div")
        .class("value-numbers")
        .attr("aria-hidden", "true")
        .style_of("--fault", move || {
            fault.get().map_or(0, |fault| fault.line).to_string()
        })
        .flag_of("data-fault", move || fault.with(Option::is_some))
        .child(switch(lines, |lines| {
            let numbers =
                (1..=lines).fold(String::new(), |all, line| all + &line.to_string() + "\n");
            el("pre").text(&numbers).into()
        }));
    let gutter: HtmlElement = numbers.element().unchecked_into();
    let field = el("textarea")
        .class("value-field mono")
        .testid("value-editor")
        .attr("aria-label", &format!("Value of {}", work.key()))
        .attr("aria-describedby", "value-fault")
        .attr("spellcheck", "false")
        .attr("autocapitalize", "off")
        .attr("autocomplete", "off")
        .attr("wrap", "off")
        .attr_of("aria-invalid", move || {
            Some(fault.with(Option::is_some).to_string())
        })
        .value_of(text)
        .on("scroll", move |event| {
            let area = event
                .target()
                .and_then(|target| target.dyn_into::<HtmlElement>().ok());
            gutter.set_scroll_top(area.map_or(0, |area| area.scroll_top()));
        })
        .on("input", move |event| {
            if !is_part {
                let text = target_value(&event);
                work.update(|state| state.typed(&text));
            }
        });
    let field = if is_part {
        field.attr("readonly", "")
    } else {
        field
    };
    el("div")
        .class("value-text")
        .style_of("--lines", move || lines().to_string())
        .child(numbers)
        .child(field)
        .into()
}

fn said(fault: Memo<Option<Fault>>) -> El {
    let text = move || fault.with(|fault| fault.as_ref().map_or_else(String::new, place));
    el("p")
        .class("value-fault")
        .attr("id", "value-fault")
        .testid("value-fault")
        .attr("role", "status")
        .text_of(text)
}

fn actions(pane: Pane, look: impl Fn() -> Look + Copy + 'static) -> El {
    let work = pane.work;
    let nothing = move || {
        let is_clean = work.state.with(|state| state.draft.is_none());
        is_clean.then(|| "Nothing is changed.".to_owned())
    };
    let name = move || {
        work.state.with(|state| match state.seen() {
            0 => "Create the key".to_owned(),
            seen => format!("Save over {}", grouped(seen)),
        })
    };
    let save = pane
        .action("", nothing, move || pane.save())
        .class("primary")
        .testid("key-save")
        .attr("aria-keyshortcuts", "Control+S Meta+S")
        .text_of(name);
    let discard = button("Discard the change")
        .testid("key-discard")
        .shown_if(move || work.state.with(|state| state.draft.is_some()))
        .on_click(move || work.update(Editing::discard));
    let format = button("Format")
        .testid("value-format")
        .shown_if(move || look() == Look::Json)
        .on_click(move || format(work));
    let here = move || work.state.with(|state| state.opened().is_some());
    let save_file = button("Download")
        .testid("value-download")
        .shown_if(here)
        .on_click(move || {
            if let Some(record) = work.state.with_untracked(|state| state.opened().cloned()) {
                download(&file_name(&work.key(), &record), &record.bytes);
            }
        });
    let delete = pane
        .action(
            "Delete…",
            || None,
            move || pane.question.set(Some(ASK_DELETE.to_owned())),
        )
        .class("danger-button")
        .testid("key-delete")
        .shown_if(here);
    el("div")
        .class("value-actions")
        .child(save)
        .child(discard)
        .child(format)
        .child(replace(work))
        .child(save_file)
        .child(delete)
}

fn replace(work: Work) -> El {
    let choose = move |event: Event| {
        spawn(async move {
            if let Some(file) = chosen_file(event, FILE_BYTES).await {
                let content_type = match file.content_type.as_str() {
                    "" => "application/octet-stream".to_owned(),
                    said => said.to_owned(),
                };
                let draft = Draft::File {
                    name: file.name,
                    bytes: file.bytes.into(),
                    content_type,
                };
                work.update(|state| state.chose(draft));
            }
        });
    };
    el("label")
        .class("button value-replace")
        .text("Replace from a file")
        .child(
            el("input")
                .attr("type", "file")
                .testid("value-replace")
                .on("change", choose),
        )
}

fn format(work: Work) {
    let text = work
        .state
        .with_untracked(|state| state.text().map(str::to_owned));
    match text.map(|text| json::format(&text)) {
        Some(Ok(text)) => work.update(|state| state.typed(&text)),
        Some(Err(fault)) => toast(format!("Not formatted. {}", place(&fault))),
        None => {}
    }
}

/// The last segment of the key, which a file system takes as a name.
fn file_name(key: &str, record: &Record) -> String {
    let last = key
        .rsplit('/')
        .find(|segment| !segment.is_empty())
        .unwrap_or("value");
    let name: String = last
        .chars()
        .map(|c| {
            if c.is_alphanumeric() || "-_.".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect();
    let is_named = name.contains('.');
    match record.guess() {
        Guess::Json if !is_named => name + ".json",
        Guess::Text if !is_named => name + ".txt",
        Guess::Binary(_) if !is_named => name + ".bin",
        Guess::Json | Guess::Text | Guess::Binary(_) | Guess::Empty => name,
    }
}
