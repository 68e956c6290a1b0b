//! What stands above the list: the search, what it searches, and how it is shown; and what stands in
//! the list's place when there is nothing to list.

use leptos::prelude::{Get, GetUntracked, RwSignal, Set, With, untrack};
use web_sys::Element;

use super::state::{Keys, scope};
use crate::{
    api::Live,
    dom::{El, View, after, button, effect, el, icon, key_of, switch, target_value},
    model::{
        keys::{erase::counted, tree::Tree},
        text::grouped,
    },
    parts::{title, writing_button},
    route::Route,
};

/// Rest after the last key press before the node is asked, milliseconds.
const TYPED_MS: u32 = 120;

/// The title, how the list is shown, and the way to a new key.
pub(super) fn head(keys: Keys) -> View {
    el("div")
        .class("screen-head")
        .child(title("Keys"))
        .child(
            el("div").class("toolbar").child(views(keys.route)).child(
                writing_button("New key")
                    .class("primary")
                    .testid("key-new")
                    .on_click(move || {
                        let (prefix, _) = scope(&keys.route.current());
                        keys.creating.set(Some(prefix));
                    }),
            ),
        )
        .into()
}

/// The choice between folders and a flat list.
fn views(route: Route) -> El {
    let is_flat = move || scope(&route.address()).1.is_empty();
    let show = move |view: Option<&str>| {
        let address = route.current();
        let delimiter = address.get("delimiter").filter(|text| !text.is_empty());
        let address = address.clone().with("delimiter", delimiter);
        route.replace(address.with("view", view));
    };
    let folders = move || match scope(&route.address()).1.as_str() {
        "" | "/" => "Folders".to_owned(),
        other => format!("Folders by {other}"),
    };
    let pressed = |is_pressed: bool| Some(is_pressed.to_string());
    el("div")
        .class("segments")
        .attr("role", "group")
        .attr("aria-label", "Show as")
        .child(
            button("")
                .testid("view-tree")
                .attr_of("aria-pressed", move || pressed(!is_flat()))
                .text_of(folders)
                .on_click(move || show(None)),
        )
        .child(
            button("Flat")
                .testid("view-flat")
                .attr_of("aria-pressed", move || pressed(is_flat()))
                .on_click(move || show(Some("flat"))),
        )
}

/// The search field, and the sentence that says what is listed.
pub(super) fn search(keys: Keys) -> View {
    let route = keys.route;
    let prefix = route.query("prefix");
    let text = RwSignal::new(prefix.get_untracked().unwrap_or_default());
    effect(move || {
        let prefix = prefix.get().unwrap_or_default();
        // While the reader types, the address follows the field.
        if !is_focused("key-search") {
            text.set(prefix);
        }
    });
    let look = move |prefix: &str| {
        let prefix = Some(prefix).filter(|prefix| !prefix.is_empty());
        route.replace(route.current().with("prefix", prefix));
    };
    let field = el("input")
        .attr("type", "text")
        .attr("id", "key-search")
        .attr("aria-label", "Search keys by prefix")
        .attr("data-search", "")
        .attr("placeholder", "Search by prefix, such as app/")
        .attr("autocomplete", "off")
        .attr("autocapitalize", "off")
        .attr("spellcheck", "false")
        .attr("maxlength", "1024")
        .class("mono")
        .testid("key-search")
        .value_of(move || text.get())
        .on("input", move |event| {
            let typed = target_value(&event);
            text.set(typed.clone());
            keys.run(|| {
                after(TYPED_MS, move || {
                    if text.try_get_untracked().as_ref() == Some(&typed) {
                        look(&typed);
                    }
                });
            });
        })
        .on("keydown", move |event| match key_of(&event).as_str() {
            "Escape" if !text.get_untracked().is_empty() => {
                event.prevent_default();
                text.set(String::new());
                look("");
            }
            "ArrowDown" | "Enter" => {
                event.prevent_default();
                look(&text.get_untracked());
                keys.focus();
            }
            _ => {}
        });
    el("div")
        .class("keys-search")
        .child(
            el("div")
                .class("search")
                .child(icon("search"))
                .child(field)
                .child(clear_button(text, look)),
        )
        .child(sentence(keys))
        .into()
}

/// Empties the search field.
fn clear_button(text: RwSignal<String>, look: impl Fn(&str) + 'static) -> El {
    el("button")
        .attr("type", "button")
        .class("icon-button keys-clear")
        .testid("search-clear")
        .attr("aria-label", "Clear the search")
        .child(icon("close"))
        .shown_if(move || text.with(|text| !text.is_empty()))
        .on_click(move || {
            text.set(String::new());
            look("");
        })
}

fn is_focused(id: &str) -> bool {
    let focused: Option<Element> = leptos::prelude::document().active_element();
    focused.is_some_and(|element| element.id() == id)
}

/// Says what is listed and how much of it is loaded.
fn sentence(keys: Keys) -> El {
    let route = keys.route;
    let root = move || scope(&route.address()).0;
    let said =
        move |word: &'static str| move || if root().is_empty() { "" } else { word }.to_owned();
    el("p")
        .class("keys-scope")
        .testid("key-scope")
        .text_of(said("Searching keys starting with "))
        .child(el("bdi").class("mono").text_of(root))
        .text_of(said(": "))
        .text_of(move || keys.look(loaded))
        .text_of(said(". "))
        .child(
            writing_button("Delete these keys")
                .class("link-button keys-erase")
                .testid("prefix-delete")
                .shown_if(move || {
                    !root().is_empty()
                        && keys.look(|tree| tree.top().and_then(|top| top.count()).unwrap_or(0) > 0)
                })
                .on_click(move || keys.erasing.set(Some(untrack(root)))),
        )
}

/// How much is loaded of what is open.
fn loaded(tree: &Tree) -> String {
    let Some(count) = tree.top().and_then(|top| top.count()) else {
        return "reading keys".to_owned();
    };
    let Some(level) = tree.unfinished() else {
        return counted(count);
    };
    let Some(all) = level.count() else {
        return format!("{}; reading {}", counted(count), level.prefix());
    };
    let loaded = format!("{} of {} loaded", grouped(level.loaded()), grouped(all));
    if level.prefix() == tree.root() {
        loaded
    } else {
        format!("{}; of {} {loaded}", counted(count), level.prefix())
    }
}

/// What stands in the list's place when there is nothing to list: why, where was looked, and the next
/// step.
pub(super) fn nothing(keys: Keys) -> View {
    let (route, live) = (keys.route, Live::here());
    let case = move || keys.look(|tree| tree.is_empty().then(|| tree.root().to_owned()));
    let make = move |name: String| {
        writing_button("Create a key")
            .testid("empty-create")
            .on_click(move || keys.creating.set(Some(name.clone())))
    };
    let body = move |root: Option<String>| match root {
        None => View::none(),
        Some(root) if root.is_empty() => el("div")
            .class("empty")
            .testid("keys-empty")
            .child(icon("keys"))
            .child(el("h2").text("No keys yet"))
            .child(el("p").text("Keys appear here when somebody writes them."))
            .child(make(root))
            .into(),
        Some(root) => el("div")
            .class("empty")
            .testid("keys-empty")
            .child(icon("search"))
            .child(
                el("h2")
                    .text("No key starts with ")
                    .child(el("bdi").class("mono").text(&root)),
            )
            .child(el("p").text_of(move || {
                live.status.with(|status| {
                    status.as_ref().map_or_else(String::new, |status| {
                        format!(
                            "Looked through all of the {} that {} has at revision {}.",
                            counted(status.keys),
                            status.node,
                            grouped(status.revision)
                        )
                    })
                })
            }))
            .child(
                el("div")
                    .class("toolbar")
                    .child(button("Clear the search").on_click(move || {
                        route.replace(route.current().with("prefix", None));
                    }))
                    .child(make(root)),
            )
            .into(),
    };
    el("div")
        .attr("role", "status")
        .child(switch(case, body))
        .into()
}
