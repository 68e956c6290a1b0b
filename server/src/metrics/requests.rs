//! HTTP requests by route, method, level and status: one counter for each combination, made
//! beforehand, so that counting a request is one addition into an array.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use conclave_shared::ReadLevel;

use super::histogram::{Counts, Latencies};

macro_rules! labels {
    ($(#[$doc:meta])* $label:ident { $($(#[$variant_doc:meta])* $name:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $label {
            $($(#[$variant_doc])* $name,)*
        }

        impl $label {
            pub(super) const ALL: &[Self] = &[$(Self::$name,)*];

            /// Returns the label's text.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

labels! {
    /// A class of routes. Never a path: labels must stay few, whatever clients ask for.
    Route {
        /// `/api/keys` and below.
        Keys = "keys",
        /// raftdb's and keyval's `/key`.
        Raftdb = "raftdb",
        /// A path that is a key of consens.
        Consens = "consens",
        Txn = "txn",
        Events = "events",
        Locks = "locks",
        /// Outcomes of writes, `/api/requests/{id}`.
        Requests = "requests",
        /// Status, members and joining.
        Cluster = "cluster",
        /// Probes, metrics and their series.
        Probes = "probes",
        /// The dashboard's files and the index.
        Dashboard = "dashboard",
        /// Everything else, such as unknown routes.
        Other = "other",
    }
}

labels! {
    /// What a method does.
    Method {
        /// GET and HEAD.
        Read = "read",
        /// PUT, POST, PATCH and DELETE.
        Write = "write",
        Other = "other",
    }
}

labels! {
    /// The read level that an answer says it was given at.
    Level {
        /// The answer shows no state.
        None = "none",
        Stale = "stale",
        Default = "default",
        Consistent = "consistent",
    }
}

labels! {
    /// The first digit of a status.
    Status {
        Informational = "1xx",
        Success = "2xx",
        Redirection = "3xx",
        ClientError = "4xx",
        ServerError = "5xx",
    }
}

impl From<Option<ReadLevel>> for Level {
    fn from(level: Option<ReadLevel>) -> Self {
        match level {
            None => Self::None,
            Some(ReadLevel::Stale) => Self::Stale,
            Some(ReadLevel::Default) => Self::Default,
            Some(ReadLevel::Consistent) => Self::Consistent,
        }
    }
}

impl Status {
    /// Returns the class of a status code.
    #[must_use]
    pub const fn of(code: u16) -> Self {
        match code {
            ..200 => Self::Informational,
            200..300 => Self::Success,
            300..400 => Self::Redirection,
            400..500 => Self::ClientError,
            500.. => Self::ServerError,
        }
    }
}

/// The labels of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestLabels {
    pub route: Route,
    pub method: Method,
    pub level: Level,
    pub status: Status,
}

const LEVELS: usize = Level::ALL.len();
const STATUSES: usize = Status::ALL.len();
const METHODS: usize = Method::ALL.len();
const HISTOGRAMS: usize = Route::ALL.len() * METHODS;
const COUNTERS: usize = HISTOGRAMS * LEVELS * STATUSES;

/// All requests of a node.
#[derive(Debug)]
pub(super) struct RequestCounters {
    counters: Box<[AtomicU64]>,
    durations: Box<[Latencies]>,
}

impl Default for RequestCounters {
    fn default() -> Self {
        Self {
            counters: (0..COUNTERS).map(|_| AtomicU64::new(0)).collect(),
            durations: (0..HISTOGRAMS).map(|_| Latencies::default()).collect(),
        }
    }
}

const fn histogram(route: Route, method: Method) -> usize {
    route as usize * METHODS + method as usize
}

const fn counter(labels: RequestLabels) -> usize {
    let first = histogram(labels.route, labels.method) * LEVELS + labels.level as usize;
    first * STATUSES + labels.status as usize
}

impl RequestCounters {
    pub(super) fn record(&self, labels: RequestLabels, duration: Duration) {
        self.counters[counter(labels)].fetch_add(1, Ordering::Relaxed);
        self.durations[histogram(labels.route, labels.method)].record(duration);
    }

    /// Returns every combination that has occurred, with its count.
    pub(super) fn counted(&self) -> impl Iterator<Item = (RequestLabels, u64)> {
        all_labels().filter_map(|labels| {
            let count = self.counters[counter(labels)].load(Ordering::Relaxed);
            (count > 0).then_some((labels, count))
        })
    }

    pub(super) fn durations(&self, route: Route, method: Method) -> &Latencies {
        &self.durations[histogram(route, method)]
    }

    /// Returns the durations of all reads and writes.
    pub(super) fn all_durations(&self) -> Counts {
        let mut sum = Counts::default();
        for durations in &self.durations {
            sum = sum.and(&durations.counts());
        }
        sum
    }
}

fn all_labels() -> impl Iterator<Item = RequestLabels> {
    Route::ALL.iter().flat_map(|&route| {
        Method::ALL.iter().flat_map(move |&method| {
            Level::ALL.iter().flat_map(move |&level| {
                Status::ALL.iter().map(move |&status| RequestLabels {
                    route,
                    method,
                    level,
                    status,
                })
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_has_a_counter_of_its_own() {
        let requests = RequestCounters::default();
        for (number, labels) in (1..).zip(all_labels()) {
            for _ in 0..number % 7 + 1 {
                requests.record(labels, Duration::from_millis(1));
            }
        }
        let counted: Vec<_> = requests.counted().collect();
        assert_eq!(counted.len(), COUNTERS);
        for (number, (labels, count)) in (1..).zip(counted) {
            assert_eq!(count, number % 7 + 1, "{labels:?}");
        }
    }

    #[test]
    fn statuses_fall_into_their_class() {
        let classes = [101, 204, 307, 404, 429, 503, 999].map(|code| Status::of(code).as_str());
        assert_eq!(classes, ["1xx", "2xx", "3xx", "4xx", "4xx", "5xx", "5xx"]);
    }
}
