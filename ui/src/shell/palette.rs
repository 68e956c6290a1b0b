//! The palette: one field that finds every place and action of the page by a few letters.

use std::rc::Rc;

use leptos::prelude::{Get, GetUntracked, Owner, RwSignal, Set, document};

use super::{
    commands::{Command, find},
    layers::Layers,
    shortcuts::hint,
};
use crate::{
    api::Live,
    dom::{El, View, after, button, el, icon, key_of, switch, target_value},
    parts::dialog,
};

/// Shows the palette while it is open.
pub(super) fn palette(layers: Layers) -> View {
    let owner = Owner::current().unwrap_or_default();
    dialog("Commands", layers.palette, move |text| {
        Palette {
            layers,
            live: Live::here(),
            query: RwSignal::new(text),
            chosen: RwSignal::new(0),
            owner: owner.clone(),
        }
        .show()
    })
}

/// The open palette.
#[derive(Clone)]
struct Palette {
    layers: Layers,
    live: Live,
    query: RwSignal<String>,
    /// The place of the chosen line.
    chosen: RwSignal<u64>,
    /// What commands run in: they outlive the palette.
    owner: Owner,
}

impl Palette {
    fn show(self) -> View {
        let this = Rc::new(self);
        let (lines, keys) = (Rc::clone(&this), Rc::clone(&this));
        let (query, chosen) = (this.query, this.chosen);
        let input = el("input")
            .class("palette-input")
            .testid("palette-input")
            .attr("type", "text")
            .attr("autofocus", "")
            .attr("autocomplete", "off")
            .attr("autocapitalize", "off")
            .attr("spellcheck", "false")
            .attr("placeholder", "Find a command, a node or a key")
            .attr("aria-label", "Find a command, a node or a key")
            .attr("role", "combobox")
            .attr("aria-expanded", "true")
            .attr("aria-controls", "palette-list")
            .attr("aria-autocomplete", "list")
            .attr_of("aria-activedescendant", move || {
                Some(format!("palette-{}", chosen.get()))
            })
            .value_of(move || query.get())
            .on("input", move |event| {
                chosen.set(0);
                query.set(target_value(&event));
            })
            .on("keydown", move |event| keys.press(&event));
        let layers = this.layers;
        let close = button("Close")
            .class("quiet-button")
            .attr("title", "Esc")
            .on_click(move || layers.palette.set(None));
        let list = switch(move || query.get(), move |query| lines.list(&query));
        el("div")
            .class("palette")
            .testid("palette")
            .child(
                el("div")
                    .class("palette-head")
                    .child(icon("search"))
                    .child(input)
                    .child(close),
            )
            .child(list)
            .into()
    }

    fn list(self: &Rc<Self>, query: &str) -> View {
        let found = find(query, self.live, self.layers);
        if found.is_empty() {
            let empty = el("p").class("palette-empty quiet");
            let hint = if query.is_empty() {
                "Type the name of a key."
            } else {
                "Nothing fits. Type the name of a key or a command."
            };
            return empty.text(hint).into();
        }
        let lines = found.into_iter().enumerate();
        el("ul")
            .class("palette-list")
            .attr("id", "palette-list")
            .attr("role", "listbox")
            .attr("aria-label", "Commands")
            .children(lines.map(|(place, command)| self.line(place as u64, command)))
            .into()
    }

    fn line(self: &Rc<Self>, place: u64, command: Command) -> El {
        let (chosen, this) = (self.chosen, Rc::clone(self));
        let line = el("li")
            .class("palette-line")
            .testid("command")
            .attr("id", &format!("palette-{place}"))
            .attr("role", "option")
            .attr_of("aria-selected", move || {
                Some((chosen.get() == place).to_string())
            })
            .child(icon(command.icon))
            .child(el("span").class("cut").text(&command.word));
        let line = if command.keys.is_empty() {
            line
        } else {
            line.child(hint(&command.keys))
        };
        line.on("click", move |_| this.run(command.clone()))
    }

    fn press(&self, event: &web_sys::Event) {
        let query = self.query.get_untracked();
        let found = leptos::prelude::untrack(|| find(&query, self.live, self.layers));
        let count = found.len() as u64;
        let now = self.chosen.get_untracked();
        let next = match key_of(event).as_str() {
            "ArrowDown" if count > 0 => (now + 1) % count,
            "ArrowUp" if count > 0 => (now + count - 1) % count,
            "PageDown" if count > 0 => (now + 8).min(count - 1),
            "PageUp" => now.saturating_sub(8),
            "Enter" => {
                event.prevent_default();
                let place = usize::try_from(now).unwrap_or(usize::MAX);
                if let Some(command) = found.into_iter().nth(place) {
                    self.run(command);
                }
                return;
            }
            _ => return,
        };
        event.prevent_default();
        self.chosen.set(next);
        bring_into_view(next);
    }

    /// Closes the palette and then does it, unless it asks for more.
    fn run(&self, command: Command) {
        if let Some(next) = command.next() {
            self.chosen.set(0);
            self.query.set(next);
            crate::dom::focus("[data-testid=palette-input]");
            return;
        }
        let layers = self.layers;
        layers.palette.set(None);
        // The dialog gives the focus back when it is closed, which it is after this turn.
        self.owner.with(|| {
            let owner = self.owner.clone();
            after(0, move || owner.with(|| command.run(layers)));
        });
    }
}

/// Scrolls the list as little as it takes to show a line.
fn bring_into_view(place: u64) {
    let line = document().get_element_by_id(&format!("palette-{place}"));
    let list = document().get_element_by_id("palette-list");
    if let (Some(line), Some(list)) = (line, list) {
        let (line_box, list_box) = (
            line.get_bounding_client_rect(),
            list.get_bounding_client_rect(),
        );
        if line_box.top() < list_box.top() {
            line.scroll_into_view_with_bool(true);
        } else if line_box.bottom() > list_box.bottom() {
            line.scroll_into_view_with_bool(false);
        }
    }
}
