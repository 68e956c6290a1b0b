//! Taking a lock for this tab.

use leptos::prelude::{Get, GetUntracked, RwSignal, Set, With, WithUntracked};

use super::Page;
use crate::{
    api::Claims,
    dom::{El, effect, el, store, stored, target_value},
    model::locks::hold::Hold,
    parts::writing_button,
};

/// Where the reader's name is kept in this browser.
const NAME: &str = "conclave-claimant";
/// TTLs to choose from, milliseconds and words. A hidden tab's clock ticks once a minute at worst.
const TTLS: [(u64, &str); 5] = [
    (5_000, "5 s"),
    (15_000, "15 s"),
    (60_000, "1 min"),
    (300_000, "5 min"),
    (3_600_000, "1 h"),
];
const LONGEST_NAME: usize = 256;

/// Shows the form.
pub(super) fn form(page: Page) -> El {
    let claims = Claims::here();
    let name = RwSignal::new(String::new());
    let who = RwSignal::new(stored(NAME).unwrap_or_default());
    let ttl = RwSignal::new("15000".to_owned());
    effect(move || {
        if let Some(selected) = page.selected.get() {
            name.set(selected);
        }
    });
    // Nothing is said of an empty name before somebody tries.
    let is_tried = RwSignal::new(false);
    let why_not = move || {
        let is_silent = name.with(String::is_empty) && !is_tried.get();
        let reason = claims.all.with(|all| reason(&name.get(), all));
        reason.filter(|_| !is_silent)
    };
    let take = move || {
        let lock = name.get_untracked();
        let reason = claims.all.with_untracked(|all| reason(&lock, all));
        is_tried.set(reason.is_some());
        if reason.is_some() {
            return;
        }
        let who = who.get_untracked();
        store(NAME, &who);
        let ttl_ms = ttl.get_untracked().parse().unwrap_or(15_000);
        claims.take(&lock, owner(&who), ttl_ms);
    };
    let button = writing_button("Take this lock")
        .class("primary")
        .attr("type", "submit")
        .testid("lock-take")
        .attr("aria-describedby", "lk-why-not");
    el("form")
        .class("lk-take")
        .attr("aria-label", "Take a lock")
        .on("submit", move |event| {
            event.prevent_default();
            take();
        })
        .child(field("Lock", "lock-name", "jobs/nightly", name).class("field lk-take-name"))
        .child(field("Your name", "lock-who", "shown to others", who))
        .child(ttl_field(ttl))
        .child(button)
        .child(
            el("p")
                .class("hint lk-why-not")
                .attr("id", "lk-why-not")
                .attr("role", "status")
                .text_of(move || why_not().unwrap_or_else(|| HINT.to_owned())),
        )
}

fn ttl_field(ttl: RwSignal<String>) -> El {
    let options = TTLS.map(|(ms, words)| {
        let option = el("option").attr("value", &ms.to_string()).text(words);
        if ms == 15_000 {
            option.attr("selected", "")
        } else {
            option
        }
    });
    el("label")
        .class("field")
        .child(el("span").class("label").text("TTL"))
        .child(
            el("select")
                .testid("lock-ttl")
                .on("change", move |event| ttl.set(target_value(&event)))
                .children(options),
        )
}

const HINT: &str = "The tab renews it at a third of its TTL and gives it back when it is closed. \
    Browsers slow hidden tabs down: choose at least 5 min to keep a lock behind other tabs.";

fn reason(name: &str, all: &[Hold]) -> Option<String> {
    if name.is_empty() {
        return Some("A lock needs a name.".to_owned());
    }
    if name.len() > LONGEST_NAME {
        return Some(format!(
            "The name has {} bytes, and {LONGEST_NAME} is the most.",
            name.len()
        ));
    }
    let mut own = all.iter().filter(|hold| hold.is_open());
    own.any(|hold| hold.name == name)
        .then(|| "This tab holds this lock or waits for it already.".to_owned())
}

/// What others see as the owner; at most 256 bytes.
fn owner(who: &str) -> String {
    let who = who.trim();
    if who.is_empty() {
        return "dashboard".to_owned();
    }
    let mut owner = format!("dashboard - {who}");
    while owner.len() > LONGEST_NAME {
        owner.pop();
    }
    owner
}

fn field(label: &str, testid: &str, hint: &str, text: RwSignal<String>) -> El {
    el("label")
        .class("field")
        .child(el("span").class("label").text(label))
        .child(
            el("input")
                .attr("autocomplete", "off")
                .attr("spellcheck", "false")
                .attr("placeholder", hint)
                .testid(testid)
                .value_of(move || text.get())
                .on("input", move |event| text.set(target_value(&event))),
        )
}
