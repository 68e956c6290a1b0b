//! Rows that keep their identity while the list around them changes.

use std::{cell::RefCell, collections::HashMap, rc::Rc};

use leptos::prelude::{GetUntracked, Owner, RwSignal, Set, untrack};
use web_sys::Node;

use super::{El, View, effect, insert_before, place};

/// A row for each of `items`, in their order. A row belongs to a key: while the key is there its
/// element stays, is moved when its place changes, and its signal follows the item. Of two items with
/// one key the second is left out.
pub(crate) fn each<T>(
    items: impl Fn() -> Vec<T> + 'static,
    key: impl Fn(&T) -> String + 'static,
    row: impl Fn(RwSignal<T>) -> El + 'static,
) -> View
where
    T: Clone + PartialEq + Send + Sync + 'static,
{
    // Only this much is compiled anew for each type of items.
    let now: Rc<RefCell<Vec<T>>> = Rc::default();
    let listed = Rc::clone(&now);
    let keys = move || {
        let items = items();
        let keys = items.iter().map(&key).collect();
        listed.replace(items);
        keys
    };
    let make = move |place: usize| {
        let signal = RwSignal::new(now.borrow()[place].clone());
        let now = Rc::clone(&now);
        let update: Update = Box::new(move |place| {
            let items = now.borrow();
            if signal.try_get_untracked().as_ref() != Some(&items[place]) {
                let item = items[place].clone();
                drop(items);
                signal.set(item);
            }
        });
        (row(signal), update)
    };
    rows(Box::new(keys), Box::new(make))
}

/// Gives a row the item that is at this place now.
type Update = Box<dyn Fn(usize)>;
/// Makes the row of the item that is at this place now.
type Make = Box<dyn Fn(usize) -> (El, Update)>;

struct Row {
    node: Node,
    owner: Owner,
    update: Update,
}

impl Row {
    fn end(self) {
        self.owner.cleanup();
        if let Some(parent) = self.node.parent_node() {
            // It is a child of that parent.
            drop(parent.remove_child(&self.node));
        }
    }
}

fn rows(keys: Box<dyn Fn() -> Vec<String>>, make: Make) -> View {
    let (all, begin, end) = place();
    let parent = Owner::current().unwrap_or_default();
    let rows: RefCell<HashMap<String, Row>> = RefCell::default();
    effect(move || {
        let keys = keys();
        let mut old = rows.take();
        let mut kept = HashMap::with_capacity(keys.len());
        let mut order = Vec::with_capacity(keys.len());
        for (place, key) in keys.into_iter().enumerate() {
            if kept.contains_key(&key) {
                continue;
            }
            let row = if let Some(row) = old.remove(&key) {
                untrack(|| (row.update)(place));
                row
            } else {
                let owner = parent.child();
                let (element, update) = owner.with(|| untrack(|| make(place)));
                let node = element.element().into();
                Row {
                    node,
                    owner,
                    update,
                }
            };
            order.push(row.node.clone());
            kept.insert(key, row);
        }
        for row in old.into_values() {
            row.end();
        }
        arrange(&order, &begin, &end);
        rows.replace(kept);
    });
    View(all)
}

/// Puts nodes into their order with as few moves as one walk finds.
fn arrange(order: &[Node], begin: &Node, end: &Node) {
    let mut at = begin.next_sibling();
    for node in order {
        if at.as_ref() == Some(node) {
            at = node.next_sibling();
        } else {
            insert_before(node, at.as_ref().unwrap_or(end));
        }
    }
}
