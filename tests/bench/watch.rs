//! Watchers that read, many on one thread: each counts what it gets and how late it is.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use conclave_tests::load::feed::{Feed, FeedEvent};
use tokio::task::{JoinHandle, LocalSet, spawn_local};

use crate::histogram::Histogram;
use crate::stamped::PREFIX;
use crate::stamps::{Stamps, number_in};

/// Longest time until all watchers have their `hello`.
const OPEN_WITHIN: Duration = Duration::from_secs(60);

/// What watchers got since the last look, all together.
#[derive(Debug, Default, Clone)]
pub(crate) struct Seen {
    pub(crate) deliveries: u64,
    /// The newest revision.
    pub(crate) revision: u64,
    /// From the moment that the write was sent to its arrival.
    pub(crate) since_sent: Histogram,
    /// From the moment that its acknowledgement came; zero where the change came before.
    pub(crate) since_acknowledged: Histogram,
    /// Revisions that came twice or in the wrong order, ends of streams, and anything else that must not be.
    pub(crate) wrong: u64,
    pub(crate) example: Option<String>,
}

impl Seen {
    fn wrong(&mut self, what: String) {
        self.wrong += 1;
        self.example.get_or_insert(what);
    }
}

/// Watchers of the bench's keys, all at one address. They end when this is dropped.
#[derive(Debug)]
pub(crate) struct Watchers {
    seen: Rc<RefCell<Seen>>,
    counts: Vec<Rc<Cell<u64>>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Watchers {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Watchers {
    /// Opens so many streams, and returns when each has begun. Within a [`LocalSet`].
    ///
    /// # Errors
    ///
    /// One does not begin.
    pub(crate) async fn open(
        address: &str,
        watchers: usize,
        stamps: &Arc<Stamps>,
    ) -> io::Result<Self> {
        let mut all = Self {
            seen: Rc::default(),
            counts: Vec::new(),
            tasks: Vec::new(),
        };
        for _ in 0..watchers {
            let count = Rc::new(Cell::new(0));
            let watcher = Watcher {
                feed: tokio::time::timeout(OPEN_WITHIN, begun(address)).await??,
                stamps: Arc::clone(stamps),
                seen: Rc::clone(&all.seen),
                count: Rc::clone(&count),
                last: 0,
            };
            all.counts.push(count);
            all.tasks.push(spawn_local(watcher.run()));
        }
        Ok(all)
    }

    /// Returns what came since the last call.
    pub(crate) fn take(&self) -> Seen {
        self.seen.take()
    }

    /// Waits until every watcher has `wanted` changes or `patience` is over, and returns how many are
    /// missing, all watchers together.
    pub(crate) async fn complete(&self, wanted: u64, patience: Duration) -> u64 {
        let until = Instant::now() + patience;
        loop {
            let missing = self
                .counts
                .iter()
                .map(|count| wanted.saturating_sub(count.get()));
            let missing: u64 = missing.sum();
            if missing == 0 || Instant::now() >= until {
                return missing;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Returns the target of a stream of the bench's keys.
pub(crate) fn target() -> String {
    format!("/api/events?prefix={PREFIX}&types=put")
}

/// Opens a stream and waits for its `hello`: changes from then on are told.
async fn begun(address: &str) -> io::Result<Feed> {
    let mut feed = Feed::open(address, &target()).await?;
    let mut has_begun = false;
    while !has_begun {
        feed.read(|event| has_begun |= event.name == b"hello")
            .await?;
    }
    Ok(feed)
}

struct Watcher {
    feed: Feed,
    stamps: Arc<Stamps>,
    seen: Rc<RefCell<Seen>>,
    count: Rc<Cell<u64>>,
    last: u64,
}

impl Watcher {
    async fn run(self) {
        let Self {
            mut feed,
            stamps,
            seen,
            count,
            mut last,
        } = self;
        let mut each = |event: FeedEvent<'_>| {
            let mut seen = seen.borrow_mut();
            if event.name != b"put" {
                if event.name != b"progress" {
                    seen.wrong(String::from_utf8_lossy(event.data).into_owned());
                }
                return;
            }
            let since = number_in(event.data).and_then(|number| stamps.since(number, event.at));
            let (Some([sent, acknowledged]), Some(id)) = (since, event.id) else {
                return seen.wrong(String::from_utf8_lossy(event.data).into_owned());
            };
            if id <= last {
                seen.wrong(format!("revision {id} after {last}"));
            }
            last = id;
            count.set(count.get() + 1);
            seen.deliveries += 1;
            seen.revision = seen.revision.max(id);
            seen.since_sent.record(sent);
            seen.since_acknowledged.record(acknowledged);
        };
        loop {
            let ended = match feed.read(&mut each).await {
                Ok(true) => continue,
                Ok(false) => "the stream has ended".to_owned(),
                Err(error) => error.to_string(),
            };
            return seen.borrow_mut().wrong(ended);
        }
    }
}

/// Runs what needs a [`LocalSet`] on the calling thread.
pub(crate) fn locally<T>(runtime: &tokio::runtime::Runtime, work: impl Future<Output = T>) -> T {
    runtime.block_on(LocalSet::new().run_until(work))
}
