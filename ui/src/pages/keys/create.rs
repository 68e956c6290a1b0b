//! Making a key: its name, which the node completes and checks while it is typed, and its first value.

use leptos::prelude::{Get, GetUntracked, RwSignal, Set, With};
use wasm_bindgen::JsCast;
use web_sys::HtmlElement;

use super::state::Keys;
use crate::{
    api::{
        self, Live,
        write::{Phase, Write},
    },
    dom::{El, View, after, button, each, el, spawn, target_value},
    model::{
        keys::name::{name_problem, ttl_seconds},
        text::grouped,
    },
    parts::{self, toast},
};

/// Rest after the last key press before the node is asked, milliseconds.
const TYPED_MS: u32 = 120;
/// Names that are offered.
const OFFERED: usize = 8;

/// The dialog; it is open while [`Keys::creating`] has a name.
pub(super) fn dialog(keys: Keys) -> View {
    parts::dialog("New key", keys.creating, move |name| body(keys, name))
}

/// What the reader has typed, and what is known of it.
#[derive(Clone, Copy)]
struct Form {
    keys: Keys,
    name: RwSignal<String>,
    value: RwSignal<String>,
    ttl: RwSignal<String>,
    /// Names that the node has and that start like this one.
    offered: RwSignal<Vec<String>>,
    /// Revision of the key that has this name; 0: there is none.
    exists: RwSignal<u64>,
    /// What goes on, or why it did not go.
    said: RwSignal<String>,
    is_busy: RwSignal<bool>,
}

fn body(keys: Keys, name: String) -> View {
    let form = Form {
        keys,
        name: RwSignal::new(name),
        value: RwSignal::new(String::new()),
        ttl: RwSignal::new(String::new()),
        offered: RwSignal::new(Vec::new()),
        exists: RwSignal::new(0),
        said: RwSignal::new(String::new()),
        is_busy: RwSignal::new(false),
    };
    form.look();
    el("form")
        .attr("novalidate", "")
        .on("submit", move |event| {
            event.prevent_default();
            form.create();
        })
        .child(el("h2").text("New key"))
        .child(form.name_field())
        .child(form.value_field())
        .child(form.ttl_field())
        .child(
            el("p")
                .attr("role", "status")
                .testid("create-said")
                .text_of(move || form.said.get()),
        )
        .child(
            el("div")
                .class("dialog-actions")
                .child(button("Cancel").on_click(move || keys.creating.set(None)))
                .child(form.create_button()),
        )
        .into()
}

impl Form {
    fn name_field(self) -> El {
        let input = el("input")
            .attr("type", "text")
            .attr("id", "key-name")
            .attr("autocomplete", "off")
            .attr("autocapitalize", "off")
            .attr("spellcheck", "false")
            .attr("aria-describedby", "key-name-said")
            .attr("autofocus", "")
            .class("mono")
            .testid("key-name")
            .value_of(move || self.name.get())
            .on("input", move |event| {
                self.name.set(target_value(&event));
                self.look();
            });
        let element: HtmlElement = input.element().unchecked_into();
        let offer = move |name: RwSignal<String>| {
            let element = element.clone();
            button("")
                .class("mono keys-offer")
                .testid("key-offer")
                .text_of(move || name.get())
                .on_click(move || {
                    self.name.set(name.get_untracked());
                    self.look();
                    // Fails for no element only.
                    drop(element.focus());
                })
        };
        el("div")
            .class("field")
            .child(el("label").attr("for", "key-name").text("Name"))
            .child(input)
            .child(
                el("p")
                    .attr("id", "key-name-said")
                    .class("hint")
                    .testid("key-name-said")
                    .text_of(move || self.name_said())
                    .child(
                        button("Open it")
                            .class("link-button")
                            .testid("key-open")
                            .shown_if(move || self.exists.get() > 0)
                            .on_click(move || self.open()),
                    ),
            )
            .child(
                el("div")
                    .class("keys-offers")
                    .attr("role", "group")
                    .attr("aria-label", "Names that start like this")
                    .child(each(move || self.offered.get(), Clone::clone, offer)),
            )
    }

    fn value_field(self) -> El {
        el("div")
            .class("field")
            .child(el("label").attr("for", "key-value").text("First value"))
            .child(
                el("textarea")
                    .attr("id", "key-value")
                    .attr("rows", "5")
                    .attr("spellcheck", "false")
                    .class("mono")
                    .testid("key-value")
                    .on("input", move |event| self.value.set(target_value(&event))),
            )
    }

    fn ttl_field(self) -> El {
        el("div")
            .class("field")
            .child(
                el("label")
                    .attr("for", "key-ttl")
                    .text("Expires after (optional)"),
            )
            .child(
                el("input")
                    .attr("type", "text")
                    .attr("id", "key-ttl")
                    .attr("placeholder", "such as 90s, 10m, 2h or 1d")
                    .attr("autocomplete", "off")
                    .testid("key-ttl")
                    .on("input", move |event| self.ttl.set(target_value(&event))),
            )
    }

    fn create_button(self) -> El {
        let live = Live::here();
        button("Create key")
            .attr("type", "submit")
            .class("primary")
            .testid("key-create")
            .flag_of("disabled", move || {
                live.writes_off.with(Option::is_some)
                    || self.is_busy.get()
                    || self.exists.get() > 0
                    || self.name.with(|name| name_problem(name).is_some())
            })
            .attr_of("title", move || live.writes_off.get())
    }

    /// Says what is known of the name.
    fn name_said(self) -> String {
        match self.exists.get() {
            0 => self
                .name
                .with(|name| name_problem(name))
                .unwrap_or_else(|| "There is no such key yet.".to_owned()),
            revision => format!("Exists at revision {}. ", grouped(revision)),
        }
    }

    /// Asks the node for keys that start like the name, and for the key itself.
    fn look(self) {
        let name = self.name.get_untracked();
        self.exists.set(0);
        self.keys.run(|| {
            after(TYPED_MS, move || {
                if self.name.try_get_untracked().as_ref() == Some(&name) {
                    spawn(self.look_now(name));
                }
            });
        });
    }

    async fn look_now(self, name: String) {
        let Ok(page) = api::keys::first(&name, "/", OFFERED).await else {
            return;
        };
        if self.name.try_get_untracked().as_ref() != Some(&name) {
            return;
        }
        let own = page.keys.iter().find(|line| line.key == name);
        self.exists.set(own.map_or(0, |line| line.mod_revision));
        let keys = page.keys.into_iter().map(|line| line.key);
        let folders = page.folders.into_iter().map(|folder| folder.prefix);
        let mut names: Vec<String> = keys.chain(folders).filter(|other| *other != name).collect();
        names.sort_unstable();
        self.offered.set(names);
    }

    /// Leaves the dialog for the key that has this name.
    fn open(self) {
        let route = self.keys.route;
        route.go(route
            .current()
            .with("key", Some(&self.name.get_untracked())));
        self.keys.creating.set(None);
    }

    fn create(self) {
        let name = self.name.get_untracked();
        let ttl = self.ttl.get_untracked();
        if self.is_busy.get_untracked() {
            return;
        }
        let seconds = match ttl.trim() {
            "" => None,
            text => match ttl_seconds(text) {
                Ok(seconds) => Some(seconds),
                Err(why) => return self.said.set(why),
            },
        };
        let value = self.value.get_untracked();
        let is_json = value.starts_with(['{', '['])
            && serde_json::from_str::<serde::de::IgnoredAny>(&value).is_ok();
        let kind = if is_json {
            "application/json"
        } else {
            "text/plain"
        };
        let mut write = Write::put(&name)
            .cas(0)
            .content_type(kind)
            .body_text(&value);
        if let Some(seconds) = seconds {
            write = write.query("ttl", &format!("{seconds}s"));
        }
        self.is_busy.set(true);
        self.said.set(String::new());
        self.keys.run(|| {
            spawn(async move {
                let said = self.said;
                let phase = move |phase: Phase| {
                    if phase != Phase::Sent {
                        said.try_set(
                            "It is not known yet whether this was created. Asking.".to_owned(),
                        );
                    }
                };
                let result = write.send(phase).await;
                self.is_busy.try_set(false);
                match result {
                    Ok(answer) => {
                        let revision = answer.number("conclave-revision").unwrap_or_default();
                        toast(format!("Created {name} at revision {}", grouped(revision)));
                        let route = self.keys.route;
                        route.go(route.current().with("key", Some(&name)));
                        self.keys.creating.set(None);
                    }
                    Err(why) => {
                        if why.status() == 412 {
                            self.look();
                        }
                        self.said.try_set(why.sentence());
                    }
                }
            });
        });
    }
}
