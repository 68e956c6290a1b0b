//! Deleting all keys below a prefix: first what that would be, then the prefix typed by hand, then how
//! far it is and what it came to.

use conclave_shared::{ErrorCode, lock::LockList};
use gloo_net::http::Method;
use leptos::prelude::{Get, GetUntracked, RwSignal, Set, Update, With, WithUntracked, untrack};
use serde::Deserialize;

use super::state::Keys;
use crate::{
    api::{
        self, Live,
        http::Request,
        write::{Phase, Write},
    },
    dom::{El, View, button, each, effect, el, icon, spawn, switch, target_value},
    model::{
        address::escape,
        failure::Failure,
        keys::{
            KeyLine,
            erase::{Progress, counted, is_one_request, parts, transaction},
        },
        text::grouped,
    },
    parts::{self, toast},
};

/// Keys that are named before they are deleted.
const NAMED: usize = 20;

/// What a deletion counted or did.
#[derive(Deserialize)]
struct Counted {
    #[serde(default)]
    count: u64,
}

/// One deletion, from the question to its result.
#[derive(Clone, Copy)]
struct Erase {
    keys: Keys,
    progress: RwSignal<Progress>,
}

/// The dialog; it is open while [`Keys::erasing`] has a prefix. Closing it stops the deletion.
pub(super) fn dialog(keys: Keys) -> View {
    let erase = Erase {
        keys,
        progress: RwSignal::new(Progress::default()),
    };
    effect(move || {
        if keys.erasing.with(Option::is_none) && untrack(|| erase.is_running()) {
            erase.stop();
        }
    });
    parts::dialog("Delete keys", keys.erasing, move |prefix| {
        if !erase.is_running() {
            erase.progress.set(Progress::default());
        }
        let has_begun = move || erase.progress.with(|progress| !progress.prefix.is_empty());
        switch(has_begun, move |has_begun| {
            if has_begun {
                erase.running()
            } else {
                erase.question(&prefix)
            }
        })
    })
}

/// What would be deleted, as far as it is known yet.
#[derive(Clone, Copy)]
struct Plan {
    /// None before the node has counted.
    count: RwSignal<Option<u64>>,
    named: RwSignal<Vec<String>>,
    locks: RwSignal<Vec<String>>,
    problem: RwSignal<String>,
}

impl Plan {
    /// Asks what would be deleted.
    async fn ask(self, prefix: String) {
        let count = Request::new(
            Method::DELETE,
            format!(
                "/api/keys?key={}&recursive=true&dry_run=true",
                escape(&prefix)
            ),
        )
        .json::<Counted>()
        .await;
        match count {
            Ok(counted) => self.count.set(Some(counted.count)),
            Err(why) => self.problem.set(why.sentence()),
        }
        if let Ok(page) = api::keys::first(&prefix, "", NAMED).await {
            self.named
                .set(page.keys.into_iter().map(|line| line.key).collect());
        }
        let locks = Request::get(format!("/api/locks?prefix={}", escape(&prefix)));
        if let Ok(list) = locks.json::<LockList>().await {
            let held = |lock: conclave_shared::lock::LockInfo| match lock.holder {
                Some(holder) => format!("{} is held by {}", lock.name, holder.owner),
                None => lock.name,
            };
            self.locks.set(list.locks.into_iter().map(held).collect());
        }
    }
}

impl Erase {
    fn is_running(self) -> bool {
        self.progress
            .with_untracked(|progress| !progress.prefix.is_empty() && !progress.is_over)
    }

    fn stop(self) {
        self.progress.update(|progress| progress.is_stopping = true);
    }

    /// What would be deleted, and the field in which the prefix is to be typed.
    fn question(self, prefix: &str) -> View {
        let plan = Plan {
            count: RwSignal::new(None),
            named: RwSignal::new(Vec::new()),
            locks: RwSignal::new(Vec::new()),
            problem: RwSignal::new(String::new()),
        };
        spawn(plan.ask(prefix.to_owned()));
        let typed = RwSignal::new(String::new());
        let wanted = prefix.to_owned();
        let is_confirmed = move || {
            let is_typed = typed.with(|typed| *typed == wanted);
            is_typed
                && plan
                    .count
                    .with(|count| count.is_some_and(|count| count > 0))
        };
        let (may, asked) = (is_confirmed.clone(), prefix.to_owned());
        el("form")
            .attr("novalidate", "")
            .on("submit", move |event| {
                event.prevent_default();
                if untrack(&may) {
                    self.begin(&asked, plan.count.get_untracked().unwrap_or_default());
                }
            })
            .child(
                el("h2")
                    .text("Delete all keys starting with ")
                    .child(el("bdi").class("mono keys-wrap").text(prefix)),
            )
            .child(
                el("p")
                    .testid("erase-count")
                    .text_of(move || match plan.count.get() {
                        Some(0) => "There are none now.".to_owned(),
                        Some(count) if is_one_request(count) => {
                            format!("{}, in one step.", counted(count))
                        }
                        Some(count) => format!(
                            "{}, in parts: others may see some of them gone and some not.",
                            counted(count)
                        ),
                        None => "Counting keys".to_owned(),
                    }),
            )
            .child(problem(plan.problem))
            .child(names("The first of them", "erase-key", plan.named))
            .child(names(
                "Locks with this prefix; they stay",
                "erase-lock",
                plan.locks,
            ))
            .child(typed_field(typed))
            .child(self.question_buttons(plan, is_confirmed))
            .into()
    }

    fn question_buttons(self, plan: Plan, may: impl Fn() -> bool + 'static) -> El {
        let live = Live::here();
        el("div")
            .class("dialog-actions")
            .child(button("Cancel").on_click(move || self.keys.erasing.set(None)))
            .child(
                button("")
                    .attr("type", "submit")
                    .class("danger-button")
                    .testid("confirm")
                    .text_of(move || match plan.count.get() {
                        Some(count) => format!("Delete {}", counted(count)),
                        None => "Delete keys".to_owned(),
                    })
                    .flag_of("disabled", move || {
                        live.writes_off.with(Option::is_some) || !may()
                    })
                    .attr_of("title", move || live.writes_off.get()),
            )
    }

    /// How far it is, and in the end what it came to.
    fn running(self) -> View {
        let progress = self.progress;
        let failures = move || progress.with(|progress| progress.failures.clone());
        let failure = |(key, why): (String, String)| {
            el("li")
                .testid("erase-failure")
                .child(el("bdi").class("mono keys-wrap").text(&key))
                .text(&format!(": {why}"))
        };
        let is_over = move || progress.with(|progress| progress.is_over);
        let buttons = move |is_over: bool| -> View {
            if is_over {
                let close = button("Close").testid("erase-close");
                close.on_click(move || self.keys.erasing.set(None)).into()
            } else {
                let stop = button("Stop").testid("erase-stop");
                stop.flag_of("disabled", move || {
                    progress.with(|progress| progress.is_stopping)
                })
                .on_click(move || self.stop())
                .into()
            }
        };
        el("div")
            .class("keys-erasing")
            .child(
                el("h2").text("Deleting keys starting with ").child(
                    el("bdi")
                        .class("mono keys-wrap")
                        .text_of(move || progress.with(|progress| progress.prefix.clone())),
                ),
            )
            .child(
                el("progress")
                    .attr("aria-label", "Keys deleted")
                    .attr_of("max", move || {
                        Some(progress.with(|progress| progress.keys).to_string())
                    })
                    .attr_of("value", move || {
                        Some(
                            progress
                                .with(|progress| progress.deleted + progress.failed)
                                .to_string(),
                        )
                    }),
            )
            .child(
                el("p")
                    .attr("role", "status")
                    .testid("erase-said")
                    .text_of(move || progress.with(Progress::sentence)),
            )
            .child(switch(
                move || progress.with(|progress| progress.failures.len()),
                move |_| {
                    let failures = untrack(failures);
                    named()
                        .attr("aria-label", "Keys that were not deleted")
                        .children(failures.into_iter().map(failure))
                        .into()
                },
            ))
            .child(
                el("div")
                    .class("dialog-actions")
                    .child(switch(is_over, buttons)),
            )
            .into()
    }

    fn begin(self, prefix: &str, keys: u64) {
        self.progress.set(Progress::of(prefix, keys));
        let prefix = prefix.to_owned();
        self.keys.run(|| {
            spawn(async move {
                let is_done = is_one_request(keys) && self.at_once(&prefix).await;
                if !is_done {
                    self.in_parts(&prefix).await;
                }
                self.progress.update(|progress| progress.is_over = true);
                if self.keys.erasing.with_untracked(Option::is_none) {
                    toast(self.progress.with_untracked(Progress::sentence));
                }
            });
        });
    }

    /// Deletes all in one request. Returns false when there are too many by now.
    async fn at_once(self, prefix: &str) -> bool {
        let write = Write::delete(prefix).query("recursive", "true");
        match write.send(|_: Phase| ()).await {
            Ok(answer) => {
                // An answer that was lost and had again has no count: what was counted before is near.
                let count = answer.json::<Counted>().map_or(0, |counted| counted.count);
                self.progress.update(|progress| {
                    progress.deleted = if count > 0 { count } else { progress.keys };
                });
                true
            }
            Err(why) if why.code() == Some(ErrorCode::TooLarge) => false,
            Err(why) => {
                self.progress
                    .update(|progress| progress.fail(prefix, &why.sentence()));
                true
            }
        }
    }

    /// Deletes page by page, each key only if it is as it was listed, until all are gone or somebody
    /// says stop.
    async fn in_parts(self, prefix: &str) {
        let mut start = String::new();
        loop {
            let page = match api::keys::from(prefix, &start).await {
                Ok(page) => page,
                Err(why) => {
                    return self
                        .progress
                        .update(|progress| progress.fail(prefix, &why.sentence()));
                }
            };
            for part in parts(&page.keys) {
                if self
                    .progress
                    .with_untracked(|progress| progress.is_stopping)
                {
                    return;
                }
                if !self.part(part).await {
                    return;
                }
            }
            match page.keys.last() {
                Some(last) if page.next.is_some() => start = format!("{}\0", last.key),
                _ => return,
            }
        }
    }

    /// Deletes some keys together. Returns false when there is no sense in going on.
    async fn part(self, keys: &[KeyLine]) -> bool {
        let write = Write::of(Method::POST, "/api/txn")
            .content_type("application/json")
            .body_text(&transaction(keys));
        match write.send(|_: Phase| ()).await {
            Ok(_) => {
                self.progress
                    .update(|progress| progress.deleted += keys.len() as u64);
                true
            }
            Err(why) if why.code() == Some(ErrorCode::ConditionFailed) => {
                self.one_by_one(keys).await
            }
            Err(why) => {
                let sentence = why.sentence();
                self.progress.update(|progress| {
                    for line in keys {
                        progress.fail(&line.key, &sentence);
                    }
                });
                false
            }
        }
    }

    /// Deletes keys of which some were changed since they were listed: these stay.
    async fn one_by_one(self, keys: &[KeyLine]) -> bool {
        for line in keys {
            let write = Write::delete(&line.key).cas(line.mod_revision);
            let result = write.send(|_: Phase| ()).await;
            let failure = match result {
                Ok(_) => None,
                // Somebody else deleted it.
                Err(why) if why.status() == 404 => None,
                Err(why) if why.status() == 412 => Some(changed(&why)),
                Err(why) => Some(why.sentence()),
            };
            self.progress.update(|progress| match &failure {
                None => progress.deleted += 1,
                Some(why) => progress.fail(&line.key, why),
            });
        }
        true
    }
}

/// Says that a key was changed while others were deleted.
fn changed(why: &Failure) -> String {
    let Failure::Refused {
        problem: Some(problem),
        ..
    } = why
    else {
        return why.sentence();
    };
    match &problem.current {
        Some(current) => format!(
            "{} changed it meanwhile, at revision {}.",
            current.origin,
            grouped(current.mod_revision)
        ),
        None => why.sentence(),
    }
}

fn typed_field(typed: RwSignal<String>) -> El {
    el("div")
        .class("field")
        .child(
            el("label")
                .attr("for", "erase-typed")
                .text("Type the prefix to confirm"),
        )
        .child(
            el("input")
                .attr("type", "text")
                .attr("id", "erase-typed")
                .attr("autocomplete", "off")
                .attr("autocapitalize", "off")
                .attr("spellcheck", "false")
                .attr("autofocus", "")
                .class("mono")
                .testid("confirm-name")
                .on("input", move |event| typed.set(target_value(&event))),
        )
}

/// A list of names, while there are some.
fn names(label: &'static str, testid: &'static str, names: RwSignal<Vec<String>>) -> El {
    el("div")
        .class("keys-section")
        .shown_if(move || names.with(|names| !names.is_empty()))
        .child(el("h3").text(label))
        .child(named().attr("aria-label", label).child(each(
            move || names.get(),
            Clone::clone,
            move |name: RwSignal<String>| {
                let item = el("li").class("mono keys-wrap").testid(testid);
                item.child(el("bdi").text_of(move || name.get()))
            },
        )))
}

/// A list that scrolls when it is long, by the keyboard too.
fn named() -> El {
    el("ul").class("keys-named").attr("tabindex", "0")
}

fn problem(text: RwSignal<String>) -> El {
    el("div")
        .class("problem")
        .attr("role", "alert")
        .shown_if(move || text.with(|text| !text.is_empty()))
        .child(icon("warn"))
        .child(el("span").class("problem-text").text_of(move || text.get()))
}
