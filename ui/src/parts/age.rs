//! Times as readers want them: how long ago, and the exact moment on hover.

use leptos::prelude::Get;

use crate::{
    api::Live,
    dom::{El, el},
    model::text::age,
};

/// How long ago a moment of the node's clock was, ticking: `14 s ago`. Nothing for no moment.
pub(crate) fn age_of(moment_ms: impl Fn() -> Option<u64> + Clone + 'static) -> El {
    let live = Live::here();
    let moment = moment_ms.clone();
    el("time")
        .class("age")
        .attr_of("title", move || moment().map(time_of))
        .text_of(move || match moment_ms() {
            Some(moment) => format!("{} ago", age(live.now.get().saturating_sub(moment))),
            None => String::new(),
        })
}

/// The exact moment, in the reader's own time zone and to the millisecond.
#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds since 1970 fit for 285,000 years"
)]
pub(crate) fn time_of(moment_ms: u64) -> String {
    let date = js_sys::Date::new(&wasm_bindgen::JsValue::from_f64(moment_ms as f64));
    let two = |number: u32| format!("{number:02}");
    format!(
        "{}-{}-{} {}:{}:{}.{:03}",
        date.get_full_year(),
        two(date.get_month() + 1),
        two(date.get_date()),
        two(date.get_hours()),
        two(date.get_minutes()),
        two(date.get_seconds()),
        date.get_milliseconds()
    )
}
