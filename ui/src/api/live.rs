//! The live view of the serving node: its status, its cluster, and the news of its event stream.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, sync::Arc};

use conclave_shared::{ClusterStatus, NodeStatus, stream::LeaderChange};
use leptos::prelude::{
    GetUntracked, GetValue, LocalStorage, Memo, RwSignal, Set, StoredValue, With, WithUntracked,
    document, on_cleanup, provide_context, request_animation_frame, untrack, use_context, window,
};
use web_sys::{AbortController, Event};

use super::{http::Request, stream};
use crate::{
    dom::{every, listen, monotonic_ms, pause, spawn_apart},
    model::{
        connection::Connection,
        live::{
            resume::{Action, Brought, End, Resume},
            sse::Message,
            status::{as_told, writes_off},
        },
        news::{Interest, News},
    },
};

/// Time between two looks at the clock, milliseconds.
const TICK_MS: u32 = 250;
/// Silence below which nothing is said of it, milliseconds: a heartbeat is due every second.
const SILENT_FROM_MS: f64 = 2_000.0;

/// Difference from which on the node's clock was set, and its word did not only travel slowly.
const CLOCK_JUMP_MS: f64 = 1_000.0;

type Listener = Rc<dyn Fn(&[News])>;

/// What the page knows of its node. Cheap to copy: all parts are signals.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Live {
    /// The node's last word about itself; none before the first.
    pub(crate) status: RwSignal<Option<Arc<NodeStatus>>>,
    /// The node's last word about all members; none before the first.
    pub(crate) cluster: RwSignal<Option<Arc<ClusterStatus>>>,
    /// How the page hears its node.
    pub(crate) connection: RwSignal<Connection>,
    /// The node's wall clock, milliseconds since 1970; ticks once a second. Ages are counted from it.
    pub(crate) now: RwSignal<u64>,
    /// For how long the node was not heard, milliseconds; 0 while it is heard.
    pub(crate) silence: RwSignal<u64>,
    /// Status of the answer that was no event stream, when the last attempt got one.
    pub(crate) refused: RwSignal<Option<u16>>,
    /// Why nothing can be written at this moment, in a sentence; none when it can.
    pub(crate) writes_off: Memo<Option<String>>,
    /// Which news are told, and after which revision.
    pub(crate) told: RwSignal<(Interest, u64)>,
    inner: StoredValue<Rc<RefCell<Inner>>, LocalStorage>,
}

/// What is no signal: nobody follows it.
struct Inner {
    resume: Resume,
    connection: Option<AbortController>,
    /// News that wait for the next frame.
    queue: Vec<News>,
    /// The node's wall clock minus this browser's steady one, milliseconds.
    clock_ms: f64,
    next: u64,
    listeners: BTreeMap<u64, Listener>,
    interests: BTreeMap<u64, Interest>,
}

impl Live {
    /// Begins to listen to the serving node; to be called once, by the shell.
    pub(crate) fn start() -> Self {
        let status = RwSignal::new(None::<Arc<NodeStatus>>);
        let connection = RwSignal::new(Connection::Reconnecting(0));
        let inner = Inner {
            resume: Resume::new(monotonic_ms()),
            connection: None,
            queue: Vec::new(),
            clock_ms: 0.0,
            next: 0,
            listeners: BTreeMap::new(),
            interests: BTreeMap::new(),
        };
        let live = Self {
            status,
            cluster: RwSignal::new(None),
            connection,
            now: RwSignal::new(0),
            silence: RwSignal::new(0),
            refused: RwSignal::new(None),
            writes_off: Memo::new(move |_| {
                let connection = leptos::prelude::Get::get(&connection);
                status.with(|status| writes_off(status.as_deref(), connection))
            }),
            told: RwSignal::default(),
            inner: StoredValue::new_local(Rc::new(RefCell::new(inner))),
        };
        provide_context(live);
        live.follow_the_browser();
        // The first page says at once what it wants, so that one connection is enough.
        live.reconsider();
        every(TICK_MS, move || live.tick());
        spawn_apart(live.first_look());
        live
    }

    /// Returns the page's one live view.
    ///
    /// # Panics
    ///
    /// Outside the page, which is a mistake in the program.
    pub(crate) fn here() -> Self {
        use_context().expect("the shell starts the live view")
    }

    /// Calls `listener` with news as they come, a batch at a time, until the current part of the page
    /// ends.
    pub(crate) fn on_news(self, listener: impl Fn(&[News]) + 'static) {
        let number = self.with_inner(|inner| {
            inner.next += 1;
            inner.listeners.insert(inner.next, Rc::new(listener));
            inner.next
        });
        on_cleanup(move || {
            self.with_inner(|inner| drop(inner.listeners.remove(&number)));
        });
    }

    /// Says which news the current page wants, until it ends. Without this it gets all. Leaders and
    /// members always come. Of several wishes the last one counts.
    pub(crate) fn want(self, interest: Interest) {
        let number = self.with_inner(|inner| {
            inner.next += 1;
            inner.interests.insert(inner.next, interest);
            inner.next
        });
        self.reconsider();
        on_cleanup(move || {
            self.with_inner(|inner| drop(inner.interests.remove(&number)));
            self.reconsider();
        });
    }

    /// Connects at once instead of waiting.
    pub(crate) fn retry(self) {
        self.with_inner(|inner| inner.resume.retry(monotonic_ms()));
        self.act();
    }

    /// Takes what a connection brought.
    pub(super) fn received(self, number: u64, messages: Vec<Message>) {
        let brought =
            self.with_inner(|inner| inner.resume.receive(monotonic_ms(), number, messages));
        self.take(brought);
        self.act();
    }

    /// Takes that a connection is over.
    pub(super) fn ended(self, number: u64, end: End) {
        let brought =
            self.with_inner(|inner| inner.resume.ended(monotonic_ms(), chance(), number, end));
        self.take(brought);
        self.act();
    }

    fn with_inner<T>(self, use_it: impl FnOnce(&mut Inner) -> T) -> T {
        use_it(&mut self.inner.get_value().borrow_mut())
    }

    /// Asks once for what the first heartbeat would say a little later.
    async fn first_look(self) {
        let status = Request::get("/api/status").json().await;
        if let Ok(status) = status
            && self.status.with_untracked(Option::is_none)
        {
            self.hear(status);
        }
    }

    fn follow_the_browser(self) {
        let seen = move |_: Event| {
            let is_hidden = document().hidden();
            self.with_inner(|inner| {
                if is_hidden {
                    inner.resume.hide(monotonic_ms());
                } else {
                    inner.resume.see(monotonic_ms());
                }
            });
            if is_hidden {
                // No frame will come.
                self.flush();
            }
            self.act();
        };
        let network = move |_: Event| {
            let is_online = window().navigator().on_line();
            self.with_inner(|inner| inner.resume.network(monotonic_ms(), is_online));
            self.act();
        };
        let leave = move |_: Event| {
            self.with_inner(|inner| inner.resume.leave(monotonic_ms()));
            self.act();
        };
        listen(&document(), "visibilitychange", Box::new(seen));
        listen(&window(), "pageshow", Box::new(seen));
        listen(&window(), "pagehide", Box::new(leave));
        listen(&window(), "online", Box::new(network));
        listen(&window(), "offline", Box::new(network));
        // A tab that is opened behind others listens when it is looked at: a browser has six
        // connections to a node for all its tabs.
        if document().hidden() {
            self.with_inner(|inner| inner.resume.leave(monotonic_ms()));
        }
    }

    fn tick(self) {
        let now = monotonic_ms();
        let (silent, clock) = self.with_inner(|inner| {
            inner.resume.tick(now, chance());
            (now - inner.resume.heard_ms(), now + inner.clock_ms)
        });
        let silence = if silent < SILENT_FROM_MS { 0.0 } else { silent };
        set_second(self.silence, silence);
        if self.status.with_untracked(Option::is_some) {
            set_second(self.now, clock);
        }
        self.act();
    }

    /// Does what the machine decided, and shows its state.
    fn act(self) {
        let (action, connection, refused) = self.with_inner(|inner| {
            let resume = &mut inner.resume;
            (resume.take_action(), resume.connection(), resume.refused())
        });
        if let Some(action) = action {
            let last = self.with_inner(|inner| inner.connection.take());
            if let Some(last) = last {
                last.abort();
            }
            if let Action::Open { number, target } = action
                && let Ok(controller) = AbortController::new()
            {
                spawn_apart(stream::listen(self, number, target, controller.signal()));
                self.with_inner(|inner| inner.connection = Some(controller));
            }
        }
        if self.connection.get_untracked() != connection {
            self.connection.set(connection);
        }
        if self.refused.get_untracked() != refused {
            self.refused.set(refused);
        }
    }

    fn reconsider(self) {
        // Of a page that ends and one that begins, only the second counts.
        spawn_apart(async move {
            pause(0).await;
            let told = self.with_inner(|inner| {
                let interest = inner.interests.values().next_back().cloned();
                let interest = interest.unwrap_or_default();
                inner.resume.want(monotonic_ms(), interest.clone());
                (interest, inner.resume.told().unwrap_or(0))
            });
            self.told.set(told);
            self.act();
        });
    }

    fn take(self, brought: Brought) {
        if let Some(heartbeat) = brought.heartbeat {
            self.cluster.set(Some(Arc::new(heartbeat.cluster)));
            self.hear(heartbeat.status);
        }
        if brought.news.is_empty() {
            return;
        }
        let is_first = self.with_inner(|inner| {
            let is_first = inner.queue.is_empty();
            inner.queue.extend(brought.news);
            is_first
        });
        if document().hidden() {
            self.flush();
        } else if is_first {
            request_animation_frame(move || self.flush());
        }
    }

    fn hear(self, status: NodeStatus) {
        let clock = as_f64(status.now_ms);
        let offset = clock - monotonic_ms();
        self.with_inner(|inner| {
            // What arrived late makes the node's clock look late: the earliest word is the best.
            let is_same = (offset - inner.clock_ms).abs() < CLOCK_JUMP_MS;
            inner.clock_ms = if is_same {
                offset.max(inner.clock_ms)
            } else {
                offset
            };
        });
        set_second(self.now, clock);
        set_second(self.silence, 0.0);
        self.status.set(Some(Arc::new(status)));
    }

    /// Tells the pages what came since the last frame.
    fn flush(self) {
        let (news, listeners) = self.with_inner(|inner| {
            let listeners: Vec<Listener> = inner.listeners.values().cloned().collect();
            (std::mem::take(&mut inner.queue), listeners)
        });
        if news.is_empty() {
            return;
        }
        let leader = news.iter().rev().find_map(|news| match news {
            News::Leader(change) => Some(change),
            _ => None,
        });
        if let Some(change) = leader {
            self.lead(change);
        }
        untrack(|| {
            for listener in listeners {
                listener(&news);
            }
        });
    }

    /// Shows another leader at once: the next heartbeat is up to a second away.
    fn lead(self, change: &LeaderChange) {
        let status = self.status.get_untracked();
        if let Some(status) = status.and_then(|status| as_told(&status, change)) {
            self.status.set(Some(Arc::new(status)));
        }
    }
}

/// Sets a time when its second is another one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "milliseconds since 1970"
)]
fn set_second(signal: RwSignal<u64>, ms: f64) {
    let ms = ms.max(0.0) as u64;
    if signal.get_untracked() / 1_000 != ms / 1_000 {
        signal.set(ms);
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds since 1970 fit for 285,000 years"
)]
const fn as_f64(ms: u64) -> f64 {
    ms as f64
}

fn chance() -> f64 {
    js_sys::Math::random()
}
