//! What the charts share: the figures, the crosshair, and asking for more once a second.

use conclave_shared::metrics::{MetricsSeries, RANGE_S};
use leptos::prelude::{
    Get, GetUntracked, GetValue, LocalStorage, Memo, RwSignal, Set, SetValue, StoredValue, Update,
    UpdateValue, With, WithValue, document, untrack,
};

use crate::{
    api::http::Request,
    dom::{monotonic_ms, pause},
    model::{
        address::Address,
        failure::Failure,
        metrics::{
            chart::{COLUMNS, share},
            window::{append, index_of},
        },
    },
    route::Route,
};

/// The shorter range, seconds; the longer one is all that a node keeps.
const SHORT_S: u64 = 5 * 60;
/// Seconds that an answer overlaps what is held: the newest one was still growing.
const OVERLAP_S: u64 = 2;

/// The screen's state. Cheap to copy.
#[derive(Debug, Clone, Copy)]
pub(super) struct State {
    data: StoredValue<Option<MetricsSeries>, LocalStorage>,
    /// When the newest figures came, by a clock that never jumps, milliseconds.
    heard_ms: StoredValue<f64, LocalStorage>,
    /// Counts the changes of the figures.
    pub(super) tick: RwSignal<u64>,
    /// The count at which the pictures were drawn last.
    pub(super) drawn: RwSignal<u64>,
    /// The point under the crosshair.
    pub(super) cursor: RwSignal<Option<u64>>,
    /// The moment at which the charts are held, milliseconds since 1970.
    pub(super) held: Memo<Option<String>>,
    /// The one line that is shown of a chart, as `commit:p99`.
    pub(super) only: Memo<Option<String>>,
    /// The charts that are shown as tables.
    pub(super) tables: Memo<Option<String>>,
    pub(super) failure: RwSignal<Option<Failure>>,
    range: Memo<Option<String>>,
    route: Route,
}

impl State {
    pub(super) fn new() -> Self {
        let route = Route::here();
        Self {
            data: StoredValue::new_local(None),
            heard_ms: StoredValue::new_local(0.0),
            tick: RwSignal::new(0),
            drawn: RwSignal::new(0),
            cursor: RwSignal::new(None),
            held: route.query("at"),
            only: route.query("only"),
            tables: route.query("table"),
            failure: RwSignal::new(None),
            range: route.query("range"),
            route,
        }
    }

    /// The range that the address names, seconds.
    pub(super) fn range_s(self) -> u64 {
        let is_long = self.range.with(|range| range.as_deref() == Some("15m"));
        if is_long { RANGE_S } else { SHORT_S }
    }

    /// Changes what the address says under a name.
    pub(super) fn say(self, name: &str, value: Option<&str>) {
        self.route.replace(self.route.current().with(name, value));
    }

    /// The screen's address with another value under a name.
    pub(super) fn address(self, name: &str, value: Option<&str>) -> Address {
        self.route.address().with(name, value)
    }

    /// Gives the figures to `read`; nothing before the first.
    pub(super) fn read<R>(self, read: impl FnOnce(&MetricsSeries) -> R) -> Option<R> {
        let both = |data: &Option<MetricsSeries>| data.as_ref().map(read);
        self.data.try_with_value(both).flatten()
    }

    /// Forgets all figures, because another range is wanted.
    pub(super) fn forget(self) {
        self.data.try_set_value(None);
        self.drawn.set(0);
        self.cursor.set(None);
    }

    /// Asks once a second while the tab is seen and the charts are not held, until the task is dropped.
    pub(super) async fn follow(self, range_s: u64) {
        loop {
            let begun = monotonic_ms();
            let is_wanted = self.held.get_untracked().is_none() || self.read(|_| ()).is_none();
            if is_wanted && !document().hidden() {
                self.ask(range_s).await;
            }
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "at most a second"
            )]
            let rest = (1_000.0 - (monotonic_ms() - begun)).clamp(100.0, 1_000.0) as u32;
            pause(rest).await;
        }
    }

    /// Asks now, for the reader who pressed a button.
    pub(super) async fn ask_again(self) {
        self.ask(self.range_s()).await;
    }

    async fn ask(self, range_s: u64) {
        let newest = self.missing_s().filter(|newest| *newest < range_s);
        let target = |seconds| format!("/api/metrics/series?range={seconds}s&step=1s");
        let first = Request::get(target(newest.unwrap_or(range_s)));
        let answer = match first.json::<MetricsSeries>().await {
            // What does not fit to the rest, because the node was started anew, is asked for as a whole.
            Ok(newer) if newest.is_some() => {
                if self.append(newer, range_s) {
                    return;
                }
                Request::get(target(range_s)).json().await
            }
            other => other,
        };
        match answer {
            Ok(all) => self.take(all),
            Err(failure) => self.failure.set(Some(failure)),
        }
    }

    /// How many of the newest seconds are wanted; none when all are.
    fn missing_s(self) -> Option<u64> {
        self.read(|_| ())?;
        let since_ms = monotonic_ms() - self.heard_ms.try_get_value()?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a cast from a float stops at the ends"
        )]
        let since_s = (since_ms / 1_000.0).ceil() as u64;
        Some(since_s.saturating_add(OVERLAP_S))
    }

    /// Adds the newest seconds. False when they do not fit to the rest.
    fn append(self, newer: MetricsSeries, range_s: u64) -> bool {
        let keep = usize::try_from(range_s).unwrap_or(usize::MAX);
        let appended = self.data.try_update_value(|held| match held {
            Some(held) => append(held, newer, keep),
            None => false,
        });
        let is_appended = appended == Some(true);
        if is_appended {
            self.changed();
        }
        is_appended
    }

    fn take(self, all: MetricsSeries) {
        let held = self.held.get_untracked().and_then(|at| at.parse().ok());
        let at = held.and_then(|held| index_of(&all, held));
        self.data.try_set_value(Some(all));
        self.drawn.set(0);
        if held.is_some() && at.is_none() {
            // That moment is no longer kept.
            self.say("at", None);
        }
        if let Some(at) = at {
            self.cursor.set(Some(at as u64));
        }
        self.changed();
    }

    fn changed(self) {
        self.heard_ms.try_set_value(monotonic_ms());
        self.failure.update(|failure| *failure = None);
        self.tick.update(|tick| *tick += 1);
        let (tick, drawn) = (self.tick.get_untracked(), self.drawn.get_untracked());
        // Until the line has moved by a pixel there is nothing to draw.
        let seconds = self.read(|data| data.times.len()).unwrap_or_default();
        if drawn == 0 || tick >= drawn + (seconds / COLUMNS).max(1) as u64 {
            self.drawn.set(tick);
        }
    }

    /// The index of the crosshair's point, or of the newest one.
    pub(super) fn index(self) -> usize {
        let cursor = self.cursor.get().and_then(|at| usize::try_from(at).ok());
        let last = self.read(|data| data.times.len().saturating_sub(1));
        let last = last.unwrap_or_default();
        cursor.unwrap_or(last).min(last)
    }

    /// Where the crosshair stands, as a share of a chart's width in per cent.
    pub(super) fn cursor_share(self) -> String {
        let at = self.index();
        let share = self.read(|data| share(at, data.times.len()));
        format!("{}%", share.unwrap_or_default() * 100.0)
    }

    /// Holds the charts at the crosshair's moment; they change no more until they are let go.
    pub(super) fn hold(self) {
        let at = untrack(|| self.index());
        let Some(time) = self.read(|data| data.times.get(at).copied()).flatten() else {
            return;
        };
        self.cursor.set(Some(at as u64));
        self.say("at", Some(&time.to_string()));
    }

    /// Lets the charts go on.
    pub(super) fn let_go(self) {
        self.cursor.set(None);
        self.say("at", None);
    }
}
