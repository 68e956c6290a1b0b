//! The right column: the last events, and how four figures went.

use std::sync::Arc;

use conclave_shared::metrics::{MetricsSeries, SeriesName};
use leptos::prelude::{Get, RwSignal, Set, Update, With, WithUntracked, document};

use super::Shared;
use crate::{
    api::{Feed, http::Request},
    dom::{El, each, el, pause, spawn},
    model::{
        address::{Address, Screen},
        overview::{
            recent::{SHOWN, line},
            words,
        },
        text::grouped,
    },
    parts::spark,
    route::link,
};

const SERIES: &str = "/api/metrics/series?range=5m&step=5s";
/// Long enough to find out since when the leader leads.
const LONG_SERIES: &str = "/api/metrics/series?range=15m&step=60s";
/// Between two looks at the metrics, milliseconds.
const PACE_MS: u32 = 5_000;

type Series = RwSignal<Option<Arc<MetricsSeries>>>;

/// The column.
pub(super) fn column(shared: Shared) -> El {
    el("aside")
        .class("ov-side")
        .attr("aria-label", "Recently")
        .child(recent())
        .child(figures(shared))
}

fn recent() -> El {
    let feed = Feed::here();
    let newest = move || {
        feed.version.get();
        feed.look(|ring| {
            let rows = ring.last(SHOWN);
            rows.map(|row| line(row.id, &row.news)).collect::<Vec<_>>()
        })
    };
    let lines = each(
        newest,
        |line| line.number.to_string(),
        |line| {
            let row =
                link(move || line.with(|line| line.to.clone()))
                    .child(el("span").class("ov-event-revision mono").text_of(move || {
                        line.with(|l| l.revision.map(grouped).unwrap_or_default())
                    }))
                    .child(
                        el("span")
                            .class("ov-event-kind")
                            .text_of(move || line.with(|line| line.kind.clone())),
                    )
                    .child(
                        el("span")
                            .class("ov-event-what mono")
                            .text_of(move || line.with(|line| line.what.clone())),
                    )
                    .child(
                        el("span")
                            .class("ov-event-more")
                            .text_of(move || line.with(|line| line.more.clone())),
                    );
            el("li").testid("recent-row").child(row)
        },
    );
    el("section")
        .class("ov-recent")
        .attr("aria-labelledby", "ov-recent")
        .child(
            el("div")
                .class("ov-side-head")
                .child(el("h2").attr("id", "ov-recent").text("Recent"))
                .child(link(|| Address::of(Screen::Events)).text("All events")),
        )
        .child(el("ol").child(lines))
        .child(
            el("p")
                .class("quiet")
                .shown_if(move || newest().is_empty())
                .text("Nothing has changed since this tab was opened. Each change appears here as it is applied."),
        )
}

/// Four figures of the serving node.
fn figures(shared: Shared) -> El {
    let series: Series = RwSignal::new(None);
    spawn(async move {
        learn(shared).await;
        loop {
            if !document().hidden()
                && let Ok(said) = Request::get(SERIES).json::<MetricsSeries>().await
            {
                series.set(Some(Arc::new(said)));
            }
            pause(PACE_MS).await;
        }
    });
    let figure = move |word, name, unit| figure(series, word, name, unit);
    let note = move || {
        let node = series.with(|series| series.as_ref().map(|series| series.node.clone()))?;
        let leads = shared
            .seen
            .with(|seen| seen.leader().is_some_and(|leader| leader.node == node));
        Some(if leads {
            format!("Measured on {node}, every 5 s.")
        } else {
            format!("Measured on {node}, every 5 s. Commit time and lag are measured by a leader.")
        })
    };
    el("section")
        .class("ov-figures")
        .attr("aria-labelledby", "ov-figures")
        .child(
            el("div")
                .class("ov-side-head")
                .child(el("h2").attr("id", "ov-figures").text("Last 5 minutes"))
                .child(link(|| Address::of(Screen::Metrics)).text("All metrics")),
        )
        .child(el("dl").children([
            figure("Writes applied", SeriesName::AppliedPerS, "/s"),
            figure("Commit p99", SeriesName::CommitP99Ms, " ms"),
            figure("Largest lag", SeriesName::ReplicationLagEntries, " entries"),
            figure("Watchers", SeriesName::Watchers, ""),
        ]))
        .child(
            el("p")
                .class("ov-side-note")
                .text_of(move || note().unwrap_or_default()),
        )
}

/// One figure: its last value, and how it went.
fn figure(series: Series, word: &str, name: SeriesName, unit: &'static str) -> El {
    let points = move || {
        series.with(|series| {
            let points = series.as_ref().and_then(|series| series.get(name));
            points.map(<[_]>::to_vec).unwrap_or_default()
        })
    };
    let last = move || points().iter().rev().find_map(|point| *point);
    el("div")
        .class("ov-figure")
        .testid("spark")
        .attr("data-series", name.as_str())
        .child(el("dt").text(word))
        .child(el("dd").class("ov-figure-now mono").text_of(move || {
            last().map_or_else(|| "–".to_owned(), |value| words::number(value) + unit)
        }))
        .child(
            el("dd")
                .class("ov-figure-line")
                .shown_if(move || last().is_some())
                .child(spark(points)),
        )
}

/// Finds out since when the leader leads.
async fn learn(shared: Shared) {
    // The table must know a leader before it can be told since when.
    while shared.seen.try_with_untracked(|seen| seen.heard == 0) == Some(true) {
        pause(100).await;
    }
    let Ok(said) = Request::get(LONG_SERIES).json::<MetricsSeries>().await else {
        return;
    };
    let terms = said.get(SeriesName::Term).unwrap_or_default();
    let oldest = terms
        .iter()
        .zip(&said.times)
        .find_map(|(term, time)| term.map(|_| *time));
    shared.seen.update(|seen| seen.learn(&said.marks, oldest));
}
