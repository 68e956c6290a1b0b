//! The view layer: elements of the document, and the parts of them that follow signals.
//!
//! leptos does what is hard here: signals, memos, effects, and owners that end what a part of the page
//! has started. Its typed views are left out on purpose. Each of them is a type of its own, compiled
//! for itself: seven screens written with them weighed half as much again as these do (600 of 400 kB,
//! brotli). Here an element is made at once, a dynamic part is one boxed closure in one effect, and a
//! page costs little more than its words.
//!
//! Rules. A closure passed to something `_of` is run again when a signal that it read changes; all
//! else runs once. What such a part starts ends with it: effects, timers, tasks of [`spawn`]. Nothing
//! sets `style` or `innerHTML` from text: the first is against the page's policy, the second would let
//! values of keys run as pages.

mod browser;
mod list;

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use leptos::{
    prelude::{Owner, RenderEffect, StoredValue, document, untrack},
    reactive::owner::WeakOwner,
};
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use web_sys::{Element, Event, HtmlElement, Node};

pub(crate) use browser::{
    Task, after, all, checked, chosen_file, copy, download, every, focus, key_of, listen_here,
    monotonic_ms, now_ms, pause, spawn, spawn_apart, store, stored, target_value, width_of,
};
pub(crate) use list::each;

const SVG: &str = "http://www.w3.org/2000/svg";

/// A piece of the page: an element, a text, or a part that changes. To be put into one place once.
#[derive(Debug, Clone)]
pub(crate) struct View(Node);

impl View {
    /// Nothing at all.
    pub(crate) fn none() -> Self {
        Self(document().create_document_fragment().into())
    }

    /// Puts this behind everything that `parent` has.
    pub(crate) fn mount(&self, parent: &Node) {
        append(parent, &self.0);
    }
}

impl From<El> for View {
    fn from(element: El) -> Self {
        Self(element.0.into())
    }
}

impl From<&str> for View {
    fn from(text: &str) -> Self {
        Self(document().create_text_node(text).into())
    }
}

impl From<String> for View {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl<V: Into<Self>> From<Option<V>> for View {
    fn from(view: Option<V>) -> Self {
        view.map_or_else(Self::none, Into::into)
    }
}

impl<V: Into<Self>> From<Vec<V>> for View {
    fn from(views: Vec<V>) -> Self {
        let all = Self::none();
        for view in views {
            view.into().mount(&all.0);
        }
        all
    }
}

/// An element that is being made.
#[derive(Debug, Clone)]
pub(crate) struct El(Element);

/// Makes an element of HTML.
///
/// # Panics
///
/// For a name that no element can have: a mistake in the program.
pub(crate) fn el(tag: &str) -> El {
    El(document().create_element(tag).expect("a valid tag"))
}

/// Makes an element of SVG.
///
/// # Panics
///
/// For a name that no element can have: a mistake in the program.
pub(crate) fn svg(tag: &str) -> El {
    El(document()
        .create_element_ns(Some(SVG), tag)
        .expect("a valid tag"))
}

/// A `button` of type `button`.
pub(crate) fn button(text: &str) -> El {
    el("button").attr("type", "button").text(text)
}

/// An icon of the sprite in `index.html`. The word stands beside it, so the picture is silent.
pub(crate) fn icon(name: &str) -> El {
    svg("svg")
        .class("icon")
        .attr("aria-hidden", "true")
        .child(svg("use").attr("href", &format!("#icon-{name}")))
}

impl El {
    pub(crate) fn attr(self, name: &str, value: &str) -> Self {
        set_attribute(&self.0, name, Some(value));
        self
    }

    pub(crate) fn class(self, names: &str) -> Self {
        self.attr("class", names)
    }

    pub(crate) fn testid(self, name: &str) -> Self {
        self.attr("data-testid", name)
    }

    /// Adds a text that stays.
    pub(crate) fn text(self, text: &str) -> Self {
        self.child(text)
    }

    pub(crate) fn child(self, view: impl Into<View>) -> Self {
        view.into().mount(&self.0);
        self
    }

    pub(crate) fn children<V: Into<View>>(self, views: impl IntoIterator<Item = V>) -> Self {
        for view in views {
            view.into().mount(&self.0);
        }
        self
    }

    /// Adds a text that follows signals.
    pub(crate) fn text_of(self, text: impl Fn() -> String + 'static) -> Self {
        self.text_boxed(Box::new(text))
    }

    fn text_boxed(self, text: Box<dyn Fn() -> String>) -> Self {
        let node = document().create_text_node("");
        append(&self.0, &node);
        let last = RefCell::new(String::new());
        effect_boxed(Box::new(move || {
            let now = text();
            if *last.borrow() != now {
                node.set_data(&now);
                last.replace(now);
            }
        }));
        self
    }

    /// Keeps an attribute; without a value it is not there.
    pub(crate) fn attr_of(
        self,
        name: &'static str,
        value: impl Fn() -> Option<String> + 'static,
    ) -> Self {
        self.attr_boxed(name, Box::new(value))
    }

    fn attr_boxed(self, name: &'static str, value: Box<dyn Fn() -> Option<String>>) -> Self {
        let element = self.0.clone();
        let last = RefCell::new(None);
        effect_boxed(Box::new(move || {
            let now = value();
            if *last.borrow() != now {
                set_attribute(&element, name, now.as_deref());
                last.replace(now);
            }
        }));
        self
    }

    /// Keeps an attribute that is there or not, such as `hidden`, `disabled`, `open`.
    pub(crate) fn flag_of(self, name: &'static str, is_set: impl Fn() -> bool + 'static) -> Self {
        self.flag_boxed(name, Box::new(is_set))
    }

    fn flag_boxed(self, name: &'static str, is_set: Box<dyn Fn() -> bool>) -> Self {
        self.attr_of(name, move || is_set().then(String::new))
    }

    /// Shows the element while this is true.
    pub(crate) fn shown_if(self, is_shown: impl Fn() -> bool + 'static) -> Self {
        self.flag_of("hidden", move || !is_shown())
    }

    /// Keeps a property of the element, such as `value` of an input.
    pub(crate) fn prop_of(self, name: &'static str, value: impl Fn() -> JsValue + 'static) -> Self {
        self.prop_boxed(name, Box::new(value))
    }

    fn prop_boxed(self, name: &'static str, value: Box<dyn Fn() -> JsValue>) -> Self {
        let element = self.0.clone();
        effect_boxed(Box::new(move || {
            let value = value();
            let name = JsValue::from_str(name);
            if js_sys::Reflect::get(&element, &name).is_ok_and(|now| now != value) {
                // Fails for a frozen object only.
                drop(js_sys::Reflect::set(&element, &name, &value));
            }
        }));
        self
    }

    /// Keeps what a field shows. The field's own changes come by `on("input", …)`.
    pub(crate) fn value_of(self, value: impl Fn() -> String + 'static) -> Self {
        self.prop_of("value", move || JsValue::from_str(&value()))
    }

    /// Keeps a property of the element's style, such as `--share`.
    pub(crate) fn style_of(self, name: &'static str, value: impl Fn() -> String + 'static) -> Self {
        self.style_boxed(name, Box::new(value))
    }

    fn style_boxed(self, name: &'static str, value: Box<dyn Fn() -> String>) -> Self {
        let element = self.0.clone();
        effect_boxed(Box::new(move || {
            let style = element.unchecked_ref::<HtmlElement>().style();
            // Fails for a read-only style only.
            drop(style.set_property(name, &value()));
        }));
        self
    }

    /// Calls `listener` for each of these events, also when the element's part of the page has ended:
    /// signals may be gone by then.
    pub(crate) fn on(self, event: &str, listener: impl FnMut(Event) + 'static) -> Self {
        listen(&self.0, event, Box::new(listener));
        self
    }

    /// Calls `listener` for each click.
    pub(crate) fn on_click(self, mut listener: impl FnMut() + 'static) -> Self {
        self.on("click", move |_| listener())
    }

    /// Hands out the element itself, for what this layer does not do.
    pub(crate) fn element(&self) -> Element {
        self.0.clone()
    }
}

/// Lets a listener act as the part of the page that it belongs to: what it starts ends with that part.
pub(crate) fn within(mut run: impl FnMut() + 'static) -> impl FnMut() + 'static {
    let owner = Owner::current().unwrap_or_default();
    move || owner.with(&mut run)
}

/// Adds a listener that lives as long as the object it listens to. It runs in the part of the page that
/// it was made in: contexts are found, and tasks that it spawns end with that part.
pub(crate) fn listen(
    target: &web_sys::EventTarget,
    event: &str,
    mut listener: Box<dyn FnMut(Event)>,
) {
    let owner = Owner::current().map(|owner| owner.downgrade());
    let owned: Box<dyn FnMut(Event)> =
        Box::new(
            move |event| match owner.as_ref().and_then(WeakOwner::upgrade) {
                Some(owner) => owner.with(|| listener(event)),
                None => listener(event),
            },
        );
    let listener = Closure::wrap(owned).into_js_value();
    // Fails for no listener only.
    drop(target.add_event_listener_with_callback(event, listener.unchecked_ref()));
}

/// Runs `run` now, and again whenever a signal that it read has changed, until the current part of the
/// page ends.
pub(crate) fn effect(run: impl FnMut() + 'static) {
    effect_boxed(Box::new(run));
}

fn effect_boxed(mut run: Box<dyn FnMut()>) {
    // Kept by the current owner.
    StoredValue::new_local(RenderEffect::new(move |_| run()));
}

/// A part that is made anew whenever `key` is another one. `body` follows no signal itself.
pub(crate) fn switch<K: PartialEq + Clone + 'static>(
    key: impl Fn() -> K + 'static,
    body: impl Fn(K) -> View + 'static,
) -> View {
    let last = Rc::new(RefCell::new(None));
    let shown = Rc::clone(&last);
    let changed = move || {
        let now = Some(key());
        let is_other = *last.borrow() != now;
        if is_other {
            last.replace(now);
        }
        is_other
    };
    let body = move || {
        let key = shown.borrow().clone();
        key.map_or_else(View::none, &body)
    };
    switch_boxed(Box::new(changed), Box::new(body))
}

/// A part that is there while `condition` holds.
pub(crate) fn when(
    condition: impl Fn() -> bool + 'static,
    body: impl Fn() -> View + 'static,
) -> View {
    when_boxed(Box::new(condition), Box::new(body))
}

fn when_boxed(condition: Box<dyn Fn() -> bool>, body: Box<dyn Fn() -> View>) -> View {
    switch(
        condition,
        move |holds| if holds { body() } else { View::none() },
    )
}

fn switch_boxed(changed: Box<dyn Fn() -> bool>, body: Box<dyn Fn() -> View>) -> View {
    let (all, begin, end) = place();
    // What a body starts must outlive the effect's next run, unless the body is made anew.
    let parent = Owner::current().unwrap_or_default();
    let shown = Cell::new(None::<Owner>);
    effect_boxed(Box::new(move || {
        if !changed() {
            return;
        }
        if let Some(last) = shown.take() {
            last.cleanup();
        }
        let owner = parent.child();
        let view = owner.with(|| untrack(&body));
        shown.set(Some(owner));
        clear(&begin, &end);
        insert_before(&view.0, &end);
    }));
    View(all)
}

/// Makes a place between two marks, in which things come and go.
fn place() -> (Node, Node, Node) {
    let all: Node = document().create_document_fragment().into();
    let begin: Node = document().create_comment("").into();
    let end: Node = document().create_comment("").into();
    append(&all, &begin);
    append(&all, &end);
    (all, begin, end)
}

fn clear(begin: &Node, end: &Node) {
    while let Some(next) = begin.next_sibling()
        && next != *end
    {
        if let Some(parent) = next.parent_node() {
            // It is a child of that parent.
            drop(parent.remove_child(&next));
        }
    }
}

fn insert_before(node: &Node, next: &Node) {
    if let Some(parent) = next.parent_node() {
        // Fails for a node that contains its new parent only.
        drop(parent.insert_before(node, Some(next)));
    }
}

fn append(parent: &Node, node: &Node) {
    // Fails for a node that contains its new parent only.
    drop(parent.append_child(node));
}

fn set_attribute(element: &Element, name: &str, value: Option<&str>) {
    // Fail for an invalid name only.
    drop(match value {
        Some(value) => element.set_attribute(name, value),
        None => element.remove_attribute(name),
    });
}
