//! What this tab holds and waits for.

use leptos::prelude::{Get, RwSignal, With};

use crate::{
    api::Claims,
    dom::{El, View, button, each, el},
    model::{
        locks::{
            hold::{Hold, Standing},
            words,
        },
        text::{age, grouped},
    },
};

/// Shows this tab's claims, those that are lost left out: the bar above every screen says them.
pub(super) fn mine() -> View {
    let claims = Claims::here();
    let shown = move || {
        let mut all = claims.all.get();
        all.retain(|hold| !matches!(hold.standing, Standing::Lost(_)));
        all
    };
    el("section")
        .class("lk-mine")
        .attr("aria-label", "Claims of this tab")
        .child(each(
            shown,
            |hold| hold.number.to_string(),
            move |hold| claim(claims, hold),
        ))
        .into()
}

fn claim(claims: Claims, hold: RwSignal<Hold>) -> El {
    let (number, name) = hold.with(|hold| (hold.number, hold.name.clone()));
    let standing = move || hold.with(|hold| word(&hold.standing));
    let is = move |word: &'static str| move || standing() == word;
    let sentence = {
        let name = name.clone();
        move || hold.with(|hold| sentence(&name, hold))
    };
    let left = move || {
        let now = claims.now.get();
        hold.with(|hold| match hold.standing {
            Standing::Held { until, .. } => left(until, now),
            _ => 0,
        })
    };
    el("div")
        .class("lk-claim")
        .testid("claim")
        .attr("data-lock", &name)
        .attr_of("data-standing", move || Some(standing().to_owned()))
        .attr_of("data-token", move || {
            hold.with(|hold| hold.token().map(|token| token.to_string()))
        })
        .child(el("p").attr("role", "status").text_of(sentence))
        .child(
            el("p")
                .class("lk-left")
                .shown_if(is("held"))
                .child(
                    el("span")
                        .class("lk-bar")
                        .attr("aria-hidden", "true")
                        .child(el("span").style_of("--left", move || {
                            let whole = hold.with(|hold| hold.ttl_ms).max(1);
                            format!("{}%", left() * 100 / whole)
                        })),
                )
                .child(el("span").class("mono").text_of(move || age(left()))),
        )
        .child(
            button(&format!("Release {name}"))
                .class("cut")
                .testid("lock-release")
                .shown_if(is("held"))
                .on_click(move || claims.leave(number, "Released.")),
        )
        .child(
            button("Leave the line")
                .testid("lock-leave")
                .shown_if(move || matches!(standing(), "waiting" | "asking"))
                .on_click(move || claims.leave(number, "You left the line.")),
        )
        .child(
            button("Close")
                .class("quiet-button")
                .shown_if(is("over"))
                .on_click(move || claims.dismiss(number)),
        )
}

const fn word(standing: &Standing) -> &'static str {
    match standing {
        Standing::Asking => "asking",
        Standing::Waiting { .. } => "waiting",
        Standing::Held { .. } => "held",
        Standing::Lost(_) => "lost",
        Standing::Over(_) => "over",
    }
}

fn sentence(name: &str, hold: &Hold) -> String {
    match &hold.standing {
        Standing::Asking => format!("Asking for {name}…"),
        Standing::Waiting { place } => format!("{name}: you are {}.", words::place(*place)),
        Standing::Held {
            token, is_unsure, ..
        } => {
            let token = grouped(*token);
            if *is_unsure {
                format!("You hold {name} under token {token}, but its renewal got no answer.")
            } else {
                format!("You hold {name} under token {token}.")
            }
        }
        Standing::Lost(_) => String::new(),
        Standing::Over(words) => format!("{name}: {words}"),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "milliseconds since the tab was opened"
)]
const fn left(until: f64, now: u64) -> u64 {
    (until.max(0.0) as u64).saturating_sub(now)
}
