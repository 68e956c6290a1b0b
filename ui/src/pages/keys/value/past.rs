//! The past of a key: who wrote what when, how two versions differ, and writing one back.

use std::sync::Arc;

use conclave_shared::{Envelope, KeyHistory, KeyVersion};
use leptos::prelude::{Get, GetUntracked, Memo, RwSignal, Set, With, WithUntracked};

use super::{action, desk::Work, write};
use crate::{
    api::values,
    dom::{El, View, button, effect, el, spawn, switch, when},
    model::text::{grouped, size},
    parts::{age_of, diff},
    route::Route,
};

/// Bytes of values that one page of history may have, about.
const PAGE_BYTES: usize = 1 << 20;

/// The versions that are loaded, newest first.
#[derive(Clone, Copy)]
struct Past {
    work: Work,
    history: RwSignal<Option<Result<Arc<KeyHistory>, String>>>,
    /// Revisions of the two versions that are compared.
    older: RwSignal<u64>,
    newer: RwSignal<u64>,
    /// First revision that is kept; 0 while that is not known.
    oldest: RwSignal<u64>,
}

/// Shows a switch, and behind it the past.
pub(super) fn past(work: Work) -> View {
    let route = Route::here();
    let asked = route.query("past");
    let is_open = move || asked.with(Option::is_some);
    let toggle = button("History")
        .class("value-past-toggle")
        .testid("value-history")
        .attr_of("aria-expanded", move || Some(is_open().to_string()))
        .on_click(move || {
            let wanted = route.current().get("past").is_none().then_some("open");
            route.replace(route.current().with("past", wanted));
        });
    el("div")
        .class("value-past")
        .child(toggle)
        .child(when(is_open, move || opened(work)))
        .into()
}

fn opened(work: Work) -> View {
    let past = Past {
        work,
        history: RwSignal::new(None),
        older: RwSignal::new(0),
        newer: RwSignal::new(0),
        oldest: RwSignal::new(0),
    };
    // Again with each new revision of the key.
    let seen = Memo::new(move |_| work.state.with(|state| state.seen()));
    effect(move || {
        // A memo that nobody reads is not computed.
        seen.get();
        past.load(None);
    });
    switch(
        move || {
            past.history.with(|history| {
                history.as_ref().map(|history| match history {
                    Ok(history) => (history.revision, history.versions.len()),
                    Err(_) => (0, 0),
                })
            })
        },
        move |_| past.show(),
    )
}

impl Past {
    fn load(self, before: Option<u64>) {
        let bytes = self
            .work
            .state
            .with_untracked(|state| state.opened().map_or(0, |record| record.bytes.len()));
        let limit = (PAGE_BYTES / bytes.max(1)).clamp(4, 50);
        spawn(async move {
            let key = self.work.key();
            let read = values::history(&key, before, limit).await;
            let is_cut = match &read {
                Ok(history) => !history.more && !history.complete,
                Err(why) => why.status() == 404,
            };
            if is_cut {
                self.oldest.set(values::oldest(&key).await.unwrap_or(0));
            }
            let read = match (read, before, self.history.get_untracked()) {
                (Ok(more), Some(_), Some(Ok(shown))) => {
                    let mut all = KeyHistory::clone(&shown);
                    all.versions.extend(more.versions);
                    (all.more, all.complete) = (more.more, more.complete);
                    Ok(Arc::new(all))
                }
                (Err(why), ..) if why.status() == 404 => Err(self.nothing()),
                (read, ..) => read.map(Arc::new).map_err(|why| why.sentence()),
            };
            if let Ok(history) = &read {
                self.choose(history);
            }
            self.history.set(Some(read));
        });
    }

    /// Compares the two newest, unless the reader has chosen two that are still there.
    fn choose(self, history: &KeyHistory) {
        let revisions: Vec<u64> = history
            .versions
            .iter()
            .map(|version| version.revision)
            .collect();
        let is_there = |chosen: RwSignal<u64>| revisions.contains(&chosen.get_untracked());
        let was_newest = self.history.with_untracked(|shown| match shown {
            Some(Ok(shown)) => {
                let newest = shown.versions.first().map(|version| version.revision);
                newest == Some(self.newer.get_untracked())
            }
            _ => true,
        });
        if was_newest || !is_there(self.older) || !is_there(self.newer) {
            let at = |place: usize| revisions.get(place).copied().unwrap_or(0);
            self.newer.set(at(0));
            self.older.set(at(1));
        }
    }

    /// Where the history begins, when something before was dropped.
    fn start(self) -> String {
        match self.oldest.get_untracked() {
            0 => "Older versions are not kept.".to_owned(),
            oldest => format!("History starts at revision {}.", grouped(oldest)),
        }
    }

    /// That there is nothing to show, and since when there would be.
    fn nothing(self) -> String {
        format!("No version of it is kept. {}", self.start())
    }

    fn show(self) -> View {
        match self.history.get_untracked() {
            None => el("p").class("quiet").text("Reading the history…").into(),
            Some(Err(why)) => el("p")
                .class("quiet")
                .testid("history-failed")
                .text(&why)
                .into(),
            Some(Ok(history)) => self.table(&history),
        }
    }

    fn table(self, history: &KeyHistory) -> View {
        let names = [
            "Older", "Newer", "Revision", "Change", "Size", "When", "By", "",
        ];
        let heads = names.map(|name| match name {
            "" => el("td"),
            name => el("th").attr("scope", "col").text(name),
        });
        let rows = history.versions.iter().map(|version| self.row(version));
        let table = el("table")
            .class("table value-versions")
            .attr("aria-label", "Versions")
            .child(el("thead").child(el("tr").children(heads)))
            .child(el("tbody").children(rows));
        let table = (!history.versions.is_empty()).then(|| el("div").class("scroll").child(table));
        let last = history
            .versions
            .last()
            .map_or(0, |version| version.revision);
        let end: View = if history.more {
            button("Load older versions")
                .testid("history-more")
                .on_click(move || self.load(Some(last)))
                .into()
        } else {
            let text = match (history.complete, history.versions.is_empty()) {
                (true, _) => "This is the key's whole past.".to_owned(),
                (false, true) => self.nothing(),
                (false, false) => self.start(),
            };
            el("p")
                .class("quiet")
                .testid("history-end")
                .text(&text)
                .into()
        };
        View::from(vec![
            View::from(table),
            end,
            switch(
                move || (self.older.get(), self.newer.get()),
                move |(older, newer)| self.difference(older, newer),
            ),
        ])
    }

    fn row(self, version: &KeyVersion) -> El {
        let (work, revision, wall_time_ms) = (self.work, version.revision, version.wall_time_ms);
        let pick = move |signal: RwSignal<u64>, name: &str| {
            let radio = el("input")
                .attr("type", "radio")
                .attr("name", &format!("history-{name}"))
                .attr(
                    "aria-label",
                    &format!("{} as the {name} one", grouped(revision)),
                )
                .prop_of("checked", move || (signal.get() == revision).into())
                .on("change", move |_| signal.set(revision));
            el("td").child(radio)
        };
        let size = version
            .record
            .as_ref()
            .map_or_else(String::new, |record| size(length(record)));
        let by = match version.client.as_deref() {
            Some(client) => format!("{} ({client})", version.origin),
            None => version.origin.clone(),
        };
        let current = move || {
            let is_current = work.state.with(|state| state.seen() == revision);
            is_current.then(|| "This is the value now.".to_owned())
        };
        let restore = version.record.is_some().then(|| {
            action(work, button("Restore"), current, move || {
                write::restore(work, revision)
            })
            .testid("history-restore")
            .attr("aria-label", &format!("Restore {}", grouped(revision)))
        });
        el("tr")
            .testid("history-row")
            .attr("data-revision", &revision.to_string())
            .child(pick(self.older, "older"))
            .child(pick(self.newer, "newer"))
            .child(
                el("th")
                    .attr("scope", "row")
                    .class("mono")
                    .text(&grouped(revision)),
            )
            .child(el("td").text(&version.change))
            .child(el("td").class("mono").text(&size))
            .child(el("td").child(age_of(move || Some(wall_time_ms))))
            .child(el("td").text(&by))
            .child(el("td").child(restore))
    }

    fn difference(self, older: u64, newer: u64) -> View {
        let Some(Ok(history)) = self.history.get_untracked() else {
            return View::none();
        };
        let find = |revision: u64| {
            history
                .versions
                .iter()
                .find(|version| version.revision == revision)
        };
        let (Some(old), Some(new)) = (find(older), find(newer)) else {
            return View::none();
        };
        let head = format!("From {} to {}", grouped(older), grouped(newer));
        let body = match (text(old), text(new)) {
            (Some(old), Some(new)) => diff(old, new),
            _ => {
                let of = |version: &KeyVersion| version.record.as_ref().map_or(0, length);
                let text = format!(
                    "One of them is no text: {} and {}.",
                    size(of(old)),
                    size(of(new))
                );
                el("p").class("quiet").text(&text).into()
            }
        };
        el("div")
            .class("value-difference")
            .testid("history-difference")
            .child(el("h3").text(&head))
            .child(body)
            .into()
    }
}

/// A version's text: empty where the key was gone, none where it is no text.
fn text(version: &KeyVersion) -> Option<&str> {
    match &version.record {
        None => Some(""),
        Some(record) => record.value.as_deref(),
    }
}

/// Bytes of a version's value.
fn length(record: &Envelope) -> u64 {
    match (&record.value, &record.value_base64) {
        (Some(text), _) => text.len() as u64,
        (None, Some(base64)) => {
            let digits = base64.trim_end_matches('=').len() as u64;
            digits * 3 / 4
        }
        (None, None) => 0,
    }
}
