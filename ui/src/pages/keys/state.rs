//! What the screen knows: the tree of keys, where the keyboard is, and what is to be brought into
//! sight. It fetches what the tree wants and tells it the news.

mod sight;

use std::{cell::RefCell, rc::Rc};

use leptos::prelude::{
    Get, GetUntracked, GetValue, LocalStorage, Memo, Owner, RwSignal, Set, StoredValue,
};
use web_sys::HtmlElement;

use crate::{
    api::{self, Live},
    dom::{after, effect, every, monotonic_ms, pause, spawn},
    model::{
        address::Address,
        keys::{
            Change,
            tree::{Tree, Wanted},
            window::Sight,
        },
        news::News,
    },
    route::Route,
};

/// Time until a page that could not be had is asked for again, milliseconds.
const RETRY_MS: u32 = 2_000;
/// How long a change is marked, milliseconds, and on how many rows at a time.
const FLASH_MS: f64 = 1_000.0;
const FLASHES: usize = 200;
/// Longest wait after a change before the node is asked for a folder's count, milliseconds.
const COUNT_MS: u32 = 500;

/// What is to come into sight once it is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Goal {
    /// The row with this id.
    Row(String),
    /// The end of the list.
    End,
}

/// A row that shows a change for a moment.
struct Flash {
    name: String,
    number: u64,
    heard_ms: f64,
}

struct Inner {
    tree: Tree,
    goal: Option<Goal>,
    /// Id of the row that the keyboard is at, and its last place.
    active: (String, usize),
    flashes: Vec<Flash>,
    flashed: u64,
    /// The row at the upper edge, and how much of it lies above, pixels.
    anchor: (String, f64),
    sight: Sight,
    list: Option<HtmlElement>,
    is_counting: bool,
}

impl Inner {
    /// Place of the row that the keyboard is at: that of its row, or where that last was.
    fn place(&self) -> usize {
        let place = self.tree.place(&self.active.0);
        place.unwrap_or(self.active.1.min(self.tree.len().saturating_sub(1)))
    }
}

/// The screen's state. Cheap to copy.
#[derive(Clone, Copy)]
pub(super) struct Keys {
    inner: StoredValue<Rc<RefCell<Inner>>, LocalStorage>,
    owner: StoredValue<Owner>,
    pub(super) route: Route,
    /// Rises whenever the rows may be others.
    changed: RwSignal<u64>,
    /// The key that the pane shows.
    pub(super) selected: Memo<Option<String>>,
    /// Name of the key that is to be made, while the dialog for it is open.
    pub(super) creating: RwSignal<Option<String>>,
    /// The prefix that is to be deleted, while the dialog for it is open.
    pub(super) erasing: RwSignal<Option<String>>,
}

/// What of the address makes another list: the prefix, and the delimiter or nothing for a flat list.
pub(super) fn scope(address: &Address) -> (String, String) {
    let prefix = address.get("prefix").unwrap_or_default().to_owned();
    let delimiter = if address.get("view") == Some("flat") {
        ""
    } else {
        address.get("delimiter").unwrap_or("/")
    };
    (prefix, delimiter.to_owned())
}

impl Keys {
    /// Begins to list what the address says.
    pub(super) fn start() -> Self {
        let (route, live) = (Route::here(), Live::here());
        let address = route.current();
        let open = address.get("open").unwrap_or_default();
        let open: Vec<String> = open.lines().map(str::to_owned).collect();
        let (prefix, delimiter) = scope(&address);
        let inner = Inner {
            tree: Tree::new(&prefix, &delimiter, &open, 0),
            goal: None,
            active: (String::new(), 0),
            flashes: Vec::new(),
            flashed: 0,
            anchor: (String::new(), 0.0),
            sight: Sight {
                top: 0.0,
                height: 800.0,
                row: 32.0,
            },
            list: None,
            is_counting: false,
        };
        let keys = Self {
            inner: StoredValue::new_local(Rc::new(RefCell::new(inner))),
            owner: StoredValue::new(Owner::current().unwrap_or_default()),
            route,
            changed: RwSignal::new(0),
            selected: route.query("key"),
            creating: RwSignal::new(None),
            erasing: RwSignal::new(None),
        };
        keys.change(|_| ());
        live.on_news(move |news| keys.hear(news));
        effect(move || keys.list_anew(&route.address()));
        effect(move || keys.reveal(keys.selected.get()));
        every(500, move || keys.fade());
        keys
    }

    /// None when the screen has ended.
    fn inner(self) -> Option<Rc<RefCell<Inner>>> {
        self.inner.try_get_value()
    }

    /// Looks at the tree, tracked: again whenever it changes.
    pub(super) fn look<R: Default>(self, look: impl FnOnce(&Tree) -> R) -> R {
        self.changed.get();
        self.inner()
            .map_or_else(R::default, |inner| look(&inner.borrow().tree))
    }

    /// Runs something that ends with the screen, not with what asked for it.
    pub(super) fn run(self, start: impl FnOnce()) {
        if let Some(owner) = self.owner.try_get_value() {
            owner.with(start);
        }
    }

    /// Changes what is known, fetches what is wanted then, and has the rows shown.
    fn change(self, change: impl FnOnce(&mut Inner)) {
        let Some(inner) = self.inner() else { return };
        change(&mut inner.borrow_mut());
        let wanted = inner.borrow_mut().tree.wanted();
        for one in wanted {
            self.run(|| spawn(self.fetch(one)));
        }
        self.touch();
    }

    fn touch(self) {
        if let Some(count) = self.changed.try_get_untracked() {
            self.changed.set(count + 1);
        }
    }

    async fn fetch(self, wanted: Wanted) {
        let Some(inner) = self.inner() else { return };
        let delimiter = inner.borrow().tree.delimiter().to_owned();
        match api::keys::page(&wanted, &delimiter).await {
            Ok(page) => {
                self.change(|inner| inner.tree.put_page(&wanted.level, wanted.number, page));
            }
            Err(why) => {
                let why = why.sentence();
                self.change(|inner| inner.tree.fail(&wanted.level, wanted.number, why));
                pause(RETRY_MS).await;
                self.change(|inner| inner.tree.retry());
            }
        }
    }

    /// Starts another list when the address asks for one. Folders stay open.
    fn list_anew(self, address: &Address) {
        let (prefix, delimiter) = scope(address);
        let Some(inner) = self.inner() else { return };
        let is_same = {
            let tree = &inner.borrow().tree;
            tree.root() == prefix && tree.delimiter() == delimiter
        };
        if is_same {
            return;
        }
        self.change(|inner| {
            let (open, numbers) = (inner.tree.open_folders(), inner.tree.numbers());
            inner.tree = Tree::new(&prefix, &delimiter, &open, numbers);
            inner.active = (String::new(), 0);
            inner.anchor = (String::new(), 0.0);
            inner.scroll(0.0);
        });
        self.reveal(self.selected.get_untracked());
    }

    /// Opens what is above a key and brings it into sight once it is loaded.
    fn reveal(self, key: Option<String>) {
        let Some(key) = key else { return };
        self.change(|inner| {
            if key.starts_with(inner.tree.root()) {
                inner.tree.reveal(&key);
                inner.goal = Some(Goal::Row(format!("k{key}")));
            }
        });
    }

    /// Takes the news. The focus stays in the list when its row is gone.
    fn hear(self, news: &[News]) {
        let changes: Vec<Change> = news.iter().filter_map(Change::of).collect();
        let is_gap = news.iter().any(|one| matches!(one, News::Gap { .. }));
        if changes.is_empty() && !is_gap {
            return;
        }
        let had_focus = self.has_focus();
        self.change(|inner| {
            let names = inner.tree.apply(&changes);
            let heard_ms = monotonic_ms();
            inner.flashed += 1;
            let number = inner.flashed;
            for name in names.into_iter().take(FLASHES) {
                inner.flashes.retain(|flash| flash.name != name);
                inner.flashes.push(Flash {
                    name,
                    number,
                    heard_ms,
                });
            }
            let surplus = inner.flashes.len().saturating_sub(FLASHES);
            inner.flashes.drain(..surplus);
            if is_gap {
                inner.tree.refresh();
            }
        });
        self.count();
        if had_focus {
            self.run(|| {
                after(0, move || {
                    if !self.has_focus() {
                        self.focus();
                    }
                });
            });
        }
    }

    /// Has folders counted by the node whose counts cannot be kept by the news, one after the other.
    fn count(self) {
        let Some(inner) = self.inner() else { return };
        {
            let mut inner = inner.borrow_mut();
            if inner.is_counting || inner.tree.doubt().is_none() {
                return;
            }
            inner.is_counting = true;
        }
        self.run(|| {
            spawn(async move {
                loop {
                    pause(COUNT_MS).await;
                    let folder = inner.borrow().tree.doubt();
                    let Some(folder) = folder else { break };
                    if let Ok(page) = api::keys::first(&folder, "", 1).await {
                        let count = page.count.unwrap_or_default();
                        self.change(|inner| inner.tree.put_count(&folder, count, page.revision));
                    }
                }
                inner.borrow_mut().is_counting = false;
            });
        });
    }

    /// Forgets changes that were shown long enough.
    fn fade(self) {
        let Some(inner) = self.inner() else { return };
        let now = monotonic_ms();
        let is_less = {
            let flashes = &mut inner.borrow_mut().flashes;
            let before = flashes.len();
            flashes.retain(|flash| now - flash.heard_ms < FLASH_MS);
            flashes.len() < before
        };
        if is_less {
            self.touch();
        }
    }
}
