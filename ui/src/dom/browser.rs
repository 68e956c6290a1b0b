//! What the browser offers beside elements: clocks, timers, tasks, storage, the clipboard, files.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
};

use gloo_timers::{callback::Interval, future::TimeoutFuture};
use js_sys::futures::JsFuture;
use leptos::{
    prelude::{GetUntracked, RwSignal, Set, StoredValue, WithValue, document, on_cleanup, window},
    reactive::spawn_local_scoped_with_cancellation,
};
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use web_sys::{
    Blob, Element, Event, HtmlAnchorElement, HtmlElement, HtmlInputElement, HtmlTextAreaElement,
    KeyboardEvent, ResizeObserver, Url,
};

/// Milliseconds of a clock that never jumps, since the page was opened; 0 where there is none.
pub(crate) fn monotonic_ms() -> f64 {
    window().performance().map_or(0.0, |clock| clock.now())
}

/// This browser's wall clock, milliseconds since 1970.
pub(crate) fn now_ms() -> f64 {
    js_sys::Date::now()
}

/// Runs a task until it is done or the current part of the page ends.
pub(crate) fn spawn(task: impl Future<Output = ()> + 'static) {
    spawn_boxed(Box::pin(task));
}

fn spawn_boxed(task: Task) {
    spawn_local_scoped_with_cancellation(task);
}

/// Something that is to be done.
pub(crate) type Task = Pin<Box<dyn Future<Output = ()>>>;

/// Does tasks side by side, until all are done.
pub(crate) async fn all(mut tasks: Vec<Task>) {
    poll_fn(move |context| {
        tasks.retain_mut(|task| task.as_mut().poll(context).is_pending());
        match tasks.is_empty() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
}

/// Runs a task that belongs to no part of the page, wherever it is started.
pub(crate) fn spawn_apart(task: impl Future<Output = ()> + 'static) {
    let task: Task = Box::pin(task);
    leptos::task::spawn_local(task);
}

/// Waits.
pub(crate) fn pause(ms: u32) -> TimeoutFuture {
    TimeoutFuture::new(ms)
}

/// Calls `run` once, unless the current part of the page ends before.
pub(crate) fn after(ms: u32, run: impl FnOnce() + 'static) {
    after_boxed(ms, Box::new(run));
}

fn after_boxed(ms: u32, run: Box<dyn FnOnce()>) {
    spawn(async move {
        pause(ms).await;
        run();
    });
}

/// Calls `run` again and again until the current part of the page ends.
pub(crate) fn every(ms: u32, run: impl FnMut() + 'static) {
    let run: Box<dyn FnMut()> = Box::new(run);
    StoredValue::new_local(Interval::new(ms, run));
}

/// Follows the width of an element, CSS pixels; 0 until it is drawn.
pub(crate) fn width_of(element: &Element) -> RwSignal<f64> {
    let width = RwSignal::new(0.0);
    let observed = element.clone();
    let changed: Box<dyn FnMut()> = Box::new(move || {
        let now = f64::from(observed.client_width());
        if width
            .try_get_untracked()
            .is_some_and(|last| (last - now).abs() > 0.5)
        {
            width.set(now);
        }
    });
    let changed = Closure::wrap(changed).into_js_value();
    if let Ok(observer) = ResizeObserver::new(changed.unchecked_ref()) {
        observer.observe(element);
        let observer = StoredValue::new_local(observer);
        on_cleanup(move || {
            observer.try_with_value(ResizeObserver::disconnect);
        });
    }
    width
}

/// Adds a listener that ends with the current part of the page, for objects that outlive it.
pub(crate) fn listen_here(
    target: &web_sys::EventTarget,
    event: &'static str,
    listener: Box<dyn FnMut(Event)>,
) {
    let closure = Closure::wrap(listener);
    // Fail for no listener only.
    drop(target.add_event_listener_with_callback(event, closure.as_ref().unchecked_ref()));
    let kept = StoredValue::new_local((target.clone(), closure));
    on_cleanup(move || {
        kept.try_with_value(|(target, closure)| {
            drop(
                target.remove_event_listener_with_callback(event, closure.as_ref().unchecked_ref()),
            );
        });
    });
}

/// Returns what the field of an `input` or `change` event has now.
pub(crate) fn target_value(event: &Event) -> String {
    let Some(target) = event.target() else {
        return String::new();
    };
    if let Some(input) = target.dyn_ref::<HtmlInputElement>() {
        return input.value();
    }
    if let Some(area) = target.dyn_ref::<HtmlTextAreaElement>() {
        return area.value();
    }
    let value = js_sys::Reflect::get(&target, &JsValue::from_str("value"));
    value
        .ok()
        .and_then(|value| value.as_string())
        .unwrap_or_default()
}

/// Returns whether the box of a `change` event is checked now.
pub(crate) fn checked(event: &Event) -> bool {
    let target = event
        .target()
        .and_then(|target| target.dyn_into::<HtmlInputElement>().ok());
    target.is_some_and(|input| input.checked())
}

/// Returns the name of the key of a keyboard event, such as `Enter`.
pub(crate) fn key_of(event: &Event) -> String {
    event
        .dyn_ref::<KeyboardEvent>()
        .map(KeyboardEvent::key)
        .unwrap_or_default()
}

/// Gives the focus to the first element that a selector finds. False when there is none.
pub(crate) fn focus(selector: &str) -> bool {
    let found = document().query_selector(selector).ok().flatten();
    let found = found.and_then(|found| found.dyn_into::<HtmlElement>().ok());
    found.is_some_and(|found| found.focus().is_ok())
}

/// Returns what this browser keeps for this node under a name.
pub(crate) fn stored(name: &str) -> Option<String> {
    window().local_storage().ok()??.get_item(name).ok()?
}

/// Keeps a value in this browser. A browser that keeps nothing is no failure.
pub(crate) fn store(name: &str, value: &str) {
    if let Ok(Some(storage)) = window().local_storage() {
        drop(storage.set_item(name, value));
    }
}

/// Puts a text into the clipboard, also on a page that came over plain HTTP, where browsers offer no
/// clipboard. Returns false when the browser refuses.
pub(crate) fn copy(text: &str) -> bool {
    let Ok(area) = document().create_element("textarea") else {
        return false;
    };
    let area: HtmlTextAreaElement = area.unchecked_into();
    area.set_value(text);
    area.set_class_name("off-screen");
    let focused = document().active_element();
    let Some(body) = document().body() else {
        return false;
    };
    drop(body.append_child(&area));
    area.select();
    let document: web_sys::HtmlDocument = document().unchecked_into();
    let is_copied = document.exec_command("copy").unwrap_or(false);
    area.remove();
    if let Some(focused) = focused.and_then(|element| element.dyn_into::<HtmlElement>().ok()) {
        drop(focused.focus());
    }
    is_copied
}

/// A file that the reader chose.
pub(crate) struct Chosen {
    pub(crate) name: String,
    pub(crate) content_type: String,
    pub(crate) bytes: Vec<u8>,
}

/// Reads the file of a `change` event of a file field, at most so many bytes of it.
pub(crate) async fn chosen_file(event: Event, most: u32) -> Option<Chosen> {
    let input: HtmlInputElement = event.target()?.dyn_into().ok()?;
    let file = input.files()?.get(0)?;
    let blob = file.slice_with_i32_and_i32(0, i32::try_from(most).unwrap_or(i32::MAX));
    let buffer = JsFuture::from(blob.ok()?.array_buffer()).await.ok()?;
    // The same file can be chosen again.
    input.set_value("");
    Some(Chosen {
        name: file.name(),
        content_type: file.type_(),
        bytes: js_sys::Uint8Array::new(&buffer).to_vec(),
    })
}

/// Lets the reader save bytes as a file.
pub(crate) fn download(name: &str, bytes: &[u8]) {
    let parts = js_sys::Array::of1(&js_sys::Uint8Array::from(bytes));
    let Ok(blob) = Blob::new_with_u8_array_sequence(&parts) else {
        return;
    };
    let Ok(url) = Url::create_object_url_with_blob(&blob) else {
        return;
    };
    if let Ok(link) = document().create_element("a") {
        let link: HtmlAnchorElement = link.unchecked_into();
        link.set_href(&url);
        link.set_download(name);
        link.click();
    }
    drop(Url::revoke_object_url(&url));
}
