//! Results of actions, said once and politely, at the edge of the page.

use leptos::prelude::{Get, RwSignal, Update, provide_context, use_context};

use crate::dom::{View, after, button, each, el};

/// How long a result stays, milliseconds.
const SHOWN_MS: u32 = 6_000;
/// Results shown at a time.
const MOST: usize = 4;

/// One result.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Toast {
    number: u64,
    text: String,
}

/// The results that are shown now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Toasts(RwSignal<(u64, Vec<Toast>)>);

impl Toasts {
    /// Makes the place for them; to be called once, by the shell.
    pub(crate) fn start() -> View {
        let toasts = Self(RwSignal::new((0, Vec::new())));
        provide_context(toasts);
        let row = move |toast: RwSignal<Toast>| {
            let close = move || toasts.remove(toast.get().number);
            el("div")
                .class("toast")
                .testid("toast")
                .child(el("span").text_of(move || toast.get().text))
                .child(button("Close").class("quiet-button").on_click(close))
        };
        let items = move || toasts.0.get().1;
        el("div")
            .class("toasts")
            .attr("role", "status")
            .child(each(items, |toast| toast.number.to_string(), row))
            .into()
    }

    fn remove(self, number: u64) {
        self.0
            .update(|(_, all)| all.retain(|toast| toast.number != number));
    }
}

/// Says the result of an action.
pub(crate) fn toast(text: impl Into<String>) {
    let Some(toasts) = use_context::<Toasts>() else {
        return;
    };
    let mut given = 0;
    toasts.0.update(|(next, all)| {
        *next += 1;
        given = *next;
        all.push(Toast {
            number: given,
            text: text.into(),
        });
        let surplus = all.len().saturating_sub(MOST);
        all.drain(..surplus);
    });
    after(SHOWN_MS, move || toasts.remove(given));
}
