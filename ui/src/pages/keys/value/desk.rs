//! The keys that somebody works on. What is unsaved, or on its way, outlives the pane that shows it:
//! it is there again when the reader comes back from another key or another screen.

use std::{cell::RefCell, collections::BTreeMap};

use leptos::prelude::{
    GetUntracked, GetValue, Owner, RwSignal, StoredValue, Update, With, WithUntracked, document,
    on_cleanup, window,
};
use wasm_bindgen::JsCast;
use web_sys::BeforeUnloadEvent;

use crate::{
    api::{Live, values},
    dom::{after, effect, listen, spawn},
    model::{
        news::{KeyEvent, News},
        value::editing::{Change, Editing, Found},
    },
    route::Route,
};

/// Before the title of a page with something unsaved.
const DOT: &str = "● ";

#[derive(Default)]
struct Desk {
    kept: BTreeMap<String, (Work, Owner)>,
    is_guarded: bool,
}

thread_local! {
    static DESK: RefCell<Desk> = RefCell::default();
}

/// One key on the desk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Work {
    key: StoredValue<String>,
    pub(super) state: RwSignal<Editing>,
    /// Who holds the lock of the key's name, and the token.
    pub(super) lock: RwSignal<Option<(String, u64)>>,
}

/// Takes a key onto the desk, until the current part of the page ends and nothing of it is needed.
pub(super) fn open(key: String) -> Work {
    guard();
    clear(&key);
    let known = DESK.with_borrow(|desk| desk.kept.get(&key).map(|(work, _)| *work));
    let work = known.unwrap_or_else(|| begin(&key));
    work.read();
    on_cleanup(move || leave(&key));
    work
}

fn begin(key: &str) -> Work {
    let owner = root().child();
    let work = owner.with(|| {
        let work = Work {
            key: StoredValue::new(key.to_owned()),
            state: RwSignal::new(Editing::default()),
            lock: RwSignal::new(None),
        };
        let live = Live::here();
        live.on_news(move |batch| work.news(batch));
        let route = Route::here();
        effect(move || {
            work.state.with(|state| state.draft.is_some());
            route.screen();
            // After the frame has named the tab by its screen.
            after(0, mark_title);
        });
        // What was read without a leader is read again when there is one.
        effect(move || {
            let is_led = live.writes_off.with(Option::is_none);
            let is_poor = work.state.with_untracked(|state| match &state.found {
                Found::Here(record) => record.copy_age_ms.is_some(),
                Found::Failed(_) => true,
                Found::Loading | Found::Absent(_) => false,
            });
            if is_led && is_poor {
                work.read();
            }
        });
        work
    });
    DESK.with_borrow_mut(|desk| desk.kept.insert(key.to_owned(), (work, owner)));
    work
}

/// The part of the page that never ends.
fn root() -> Owner {
    let mut owner = Owner::current().unwrap_or_default();
    while let Some(parent) = owner.parent() {
        owner = parent;
    }
    owner
}

/// Lets go of a key whose pane has ended, if nothing of it is needed.
fn leave(key: &str) {
    let is_needed = |(work, _): &(Work, Owner)| work.state.with_untracked(Editing::is_needed);
    let ended = DESK.with_borrow_mut(|desk| match desk.kept.get(key) {
        Some(kept) if !is_needed(kept) => desk.kept.remove(key),
        _ => None,
    });
    if let Some((_, owner)) = ended {
        owner.cleanup();
    }
}

/// Lets go of all keys but one that were kept and are not needed any more.
fn clear(but: &str) {
    let others = DESK.with_borrow(|desk| desk.kept.keys().cloned().collect::<Vec<_>>());
    for key in others.iter().filter(|key| *key != but) {
        leave(key);
    }
}

fn is_any(holds: impl Fn(&Editing) -> bool) -> bool {
    DESK.with_borrow(|desk| {
        let mut all = desk.kept.values();
        all.any(|(work, _)| work.state.with_untracked(&holds))
    })
}

fn mark_title() {
    let title = document().title();
    let bare = title.strip_prefix(DOT).unwrap_or(&title);
    let dot = if is_any(|state| state.draft.is_some()) {
        DOT
    } else {
        ""
    };
    let wanted = format!("{dot}{bare}");
    if wanted != title {
        document().set_title(&wanted);
    }
}

/// Asks before the tab is closed while something is unsaved or on its way.
fn guard() {
    if DESK.with_borrow_mut(|desk| std::mem::replace(&mut desk.is_guarded, true)) {
        return;
    }
    let ask = |event: web_sys::Event| {
        if is_any(|state| state.draft.is_some() || state.is_writing()) {
            event.prevent_default();
            if let Some(event) = event.dyn_ref::<BeforeUnloadEvent>() {
                event.set_return_value("unsaved");
            }
        }
    };
    root().with(|| listen(&window(), "beforeunload", Box::new(ask)));
}

impl Work {
    pub(super) fn key(self) -> String {
        self.key.get_value()
    }

    /// Changes the state, unless the key was let go meanwhile.
    pub(super) fn update(self, change: impl FnOnce(&mut Editing)) {
        self.state.try_update(change);
    }

    /// Starts a task that ends only when the key is let go: not while it is writing.
    pub(super) fn spawn(self, task: impl Future<Output = ()> + 'static) {
        let owner = DESK.with_borrow(|desk| {
            let kept = desk.kept.get(&self.key());
            kept.map(|(_, owner)| owner.clone())
        });
        if let Some(owner) = owner {
            owner.with(|| spawn(task));
        }
    }

    /// Reads the value and the lock's holder again.
    pub(super) fn read(self) {
        self.spawn(async move {
            match values::value(&self.key()).await {
                Ok(read) => self.update(|state| state.arrived(read)),
                Err(why) => self.update(|state| state.failed(why.sentence())),
            }
            self.read_lock().await;
        });
    }

    async fn read_lock(self) {
        let holder = values::lock_holder(&self.key()).await;
        if self.lock.get_untracked() != holder {
            self.lock.update(|lock| *lock = holder);
        }
    }

    fn news(self, batch: &[News]) {
        let key = self.key();
        let mut is_old = false;
        for news in batch {
            match news {
                News::Key(event, change) if change.key == key => {
                    let change = Change {
                        event: *event,
                        revision: change.revision,
                        origin: change.origin.clone(),
                        wall_time_ms: change.wall_time_ms,
                    };
                    let is_end = *event != KeyEvent::Put;
                    self.update(|state| {
                        if state.heard(change) {
                            is_old = true;
                        } else if is_end && state.is_absent() {
                            is_old = false;
                        }
                    });
                }
                News::Lock(change) if change.lock == key => {
                    self.spawn(self.read_lock());
                }
                News::Gap { .. } => is_old = true,
                News::Key(..) | News::Lock(_) | News::Member(_) | News::Leader(_) => {}
            }
        }
        if is_old {
            self.read();
        }
    }
}
