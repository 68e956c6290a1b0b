//! The theme: the system's, light, or dark. It is one attribute of the root element; the inline script
//! of `index.html` sets it before the first paint, and this module when the reader chooses another.

use leptos::prelude::{Get, GetUntracked, RwSignal, Set, document, provide_context, use_context};

use crate::dom::{effect, store, stored};

/// Under which name this browser keeps the choice; the script in `index.html` reads it too.
const KEPT: &str = "conclave.theme";
/// The choices, in the order in which one button goes round them.
const ALL: [&str; 3] = ["system", "light", "dark"];

/// The reader's choice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Theme(RwSignal<String>);

impl Theme {
    /// Takes up what this browser has kept; to be called once, by the shell.
    pub(super) fn start() -> Self {
        let kept = stored(KEPT).filter(|kept| ALL.contains(&kept.as_str()));
        let theme = Self(RwSignal::new(kept.unwrap_or_else(|| ALL[0].to_owned())));
        effect(move || apply(&theme.word()));
        provide_context(theme);
        theme
    }

    /// Returns the page's one theme.
    ///
    /// # Panics
    ///
    /// Outside the page, which is a mistake in the program.
    pub(crate) fn here() -> Self {
        use_context().expect("the shell starts the theme")
    }

    /// The choice in a word, tracked.
    pub(crate) fn word(self) -> String {
        self.0.get()
    }

    /// Chooses one of `system`, `light` and `dark`, now and for later visits.
    pub(crate) fn choose(self, word: &str) {
        store(KEPT, word);
        self.0.set(word.to_owned());
    }

    /// Chooses the next one.
    pub(crate) fn turn(self) {
        let now = self.0.get_untracked();
        let at = ALL.iter().position(|word| *word == now).unwrap_or(0);
        self.choose(ALL[(at + 1) % ALL.len()]);
    }
}

fn apply(word: &str) {
    let Some(root) = document().document_element() else {
        return;
    };
    // Fail for an invalid name only.
    drop(if word == ALL[0] {
        root.remove_attribute("data-theme")
    } else {
        root.set_attribute("data-theme", word)
    });
}
