//! What the palette offers: ways to screens, nodes and keys, and actions of the page and of its screen.

use leptos::prelude::{With, document, window};
use wasm_bindgen::JsCast;
use web_sys::HtmlElement;

use super::{keyboard::letter, layers::Layers, theme::Theme};
use crate::{
    api::Live,
    dom::{copy, pause, spawn},
    model::{
        address::{Address, Screen},
        shell::fuzzy::rank,
    },
    parts::toast,
    route::Route,
};

/// With this in front, the palette's text is a key.
pub(super) const KEY: &str = "key:";
/// Buttons of a screen that the palette offers too.
const ACTIONS: &str = "main :is([data-palette], button.primary):not(:disabled)";
/// The lab's button that writes a value and reads it on all nodes, and the key that it writes by default.
const PROBE: &str = "[data-testid=lab-write]:not(:disabled)";
const PROBE_KEY: &str = "lab/probe";
/// How often the button is looked for, at this distance in milliseconds: the lab reads its key first.
const LOOKS: u32 = 30;
const LOOK_MS: u32 = 100;

/// One line of the palette.
#[derive(Debug, Clone)]
pub(super) struct Command {
    pub(super) word: String,
    pub(super) icon: &'static str,
    pub(super) keys: String,
    act: Act,
}

#[derive(Debug, Clone)]
enum Act {
    Go(Address),
    /// Lets the reader type the name of a key.
    AskKey,
    Theme(&'static str),
    CopyLink,
    Probe,
    Press(HtmlElement),
    Shortcuts,
    TurnKeys,
}

impl Command {
    fn new(word: impl Into<String>, icon: &'static str, act: Act) -> Self {
        Self {
            word: word.into(),
            icon,
            keys: String::new(),
            act,
        }
    }

    fn keys(mut self, keys: &str) -> Self {
        keys.clone_into(&mut self.keys);
        self
    }

    /// What stays in the palette when this is chosen; none when it closes.
    pub(super) fn next(&self) -> Option<String> {
        matches!(self.act, Act::AskKey).then(|| KEY.to_owned())
    }

    /// Does it. To be called once the palette is closed: what lies below it can have the focus again.
    pub(super) fn run(self, layers: Layers) {
        match self.act {
            Act::Go(address) => Route::here().go(address),
            Act::AskKey => (),
            Act::Theme(word) => Theme::here().choose(word),
            Act::CopyLink => {
                let link = window().location().href().unwrap_or_default();
                toast(if copy(&link) {
                    "Link copied."
                } else {
                    "The browser did not let the page copy the link."
                });
            }
            Act::Probe => spawn(write_probe(Route::here())),
            Act::Press(button) => button.click(),
            Act::Shortcuts => layers.open_shortcuts(),
            Act::TurnKeys => layers.turn_keys(),
        }
    }
}

/// Opens the lab, with the key that it has or its own, and presses its button.
async fn write_probe(route: Route) {
    let now = route.current();
    if now.screen != Screen::Lab || now.get("key").is_none() {
        route.go(Address::of(Screen::Lab).with("key", Some(PROBE_KEY)));
    }
    for _ in 0..LOOKS {
        pause(LOOK_MS).await;
        let found = document().query_selector(PROBE).ok().flatten();
        if let Some(button) = found.and_then(|found| found.dyn_into::<HtmlElement>().ok()) {
            return button.click();
        }
    }
}

/// Returns what fits a query, the best first.
pub(super) fn find(query: &str, live: Live, layers: Layers) -> Vec<Command> {
    if let Some(key) = query.strip_prefix(KEY) {
        return open_key(key.trim()).into_iter().collect();
    }
    let all = all(live, layers);
    let words: Vec<String> = all.iter().map(|command| command.word.clone()).collect();
    let ranked = rank(query, &words).into_iter();
    let mut found: Vec<Command> = ranked.map(|place| all[place].clone()).collect();
    found.extend(open_key(query.trim()));
    found
}

fn open_key(name: &str) -> Option<Command> {
    let address = Address::of(Screen::Keys).with("key", Some(name));
    let command = Command::new(format!("Open the key {name}"), "keys", Act::Go(address));
    (!name.is_empty()).then_some(command)
}

fn all(live: Live, layers: Layers) -> Vec<Command> {
    let mut all = actions();
    all.extend(Screen::ALL.map(|screen| {
        let word = format!("Go to {}", screen.word());
        Command::new(word, screen.as_str(), Act::Go(Address::of(screen)))
            .keys(&format!("g {}", letter(screen)))
    }));
    all.push(Command::new("Go to key…", "keys", Act::AskKey));
    let members = live.cluster.with(|cluster| {
        let members = cluster.iter().flat_map(|cluster| &cluster.members);
        let names = members.map(|member| member.address.node.clone());
        names.collect::<Vec<_>>()
    });
    all.extend(members.into_iter().map(|name| {
        let address = Address::of(Screen::Nodes).with("node", Some(&name));
        Command::new(format!("Show node {name}"), "nodes", Act::Go(address))
    }));
    all.push(Command::new("Write probe", "lab", Act::Probe));
    all.push(Command::new(
        "Copy a link to this view",
        "link",
        Act::CopyLink,
    ));
    all.extend(["system", "light", "dark"].map(|theme| {
        let (word, icon) = match theme {
            "light" => ("Use the light theme", "theme-light"),
            "dark" => ("Use the dark theme", "theme-dark"),
            _ => ("Use the system's theme", "theme-system"),
        };
        Command::new(word, icon, Act::Theme(theme))
    }));
    all.push(Command::new("List keyboard shortcuts", "keyboard", Act::Shortcuts).keys("?"));
    let turn = if layers.are_keys_on() {
        "Turn single-key shortcuts off"
    } else {
        "Turn single-key shortcuts on"
    };
    all.push(Command::new(turn, "keyboard", Act::TurnKeys));
    all
}

/// The screen's own actions: those it names for the palette, and its primary buttons.
fn actions() -> Vec<Command> {
    let Ok(buttons) = document().query_selector_all(ACTIONS) else {
        return Vec::new();
    };
    let action = |at| {
        let button: HtmlElement = buttons.item(at)?.dyn_into().ok()?;
        let named = button.get_attribute("data-palette");
        let word = named.filter(|word| !word.is_empty());
        let word = word.or_else(|| button.text_content())?;
        let is_seen = button.offset_width() > 0 && !word.is_empty();
        is_seen.then(|| Command::new(word, "chevron-right", Act::Press(button)))
    };
    (0..buttons.length()).filter_map(action).collect()
}
