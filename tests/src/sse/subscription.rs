//! What a watcher asks for.

use crate::http::Request;

/// The parameters of `GET /api/events`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subscription {
    /// Names begin with one of these; with none, all match.
    pub prefixes: Vec<String>,
    /// With none, all kinds match.
    pub types: Vec<String>,
    /// Without the records before and after.
    pub names_only: bool,
    /// Instead of 410, the state.
    pub snapshot: bool,
}

impl Subscription {
    /// Asks for everything.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Adds a prefix.
    #[must_use]
    pub fn prefix(mut self, prefix: &str) -> Self {
        self.prefixes.push(prefix.to_owned());
        self
    }

    /// Adds kinds of changes.
    #[must_use]
    pub fn types(mut self, types: &[&str]) -> Self {
        self.types.extend(types.iter().map(|&kind| kind.to_owned()));
        self
    }

    /// Leaves the records out.
    #[must_use]
    pub const fn names_only(mut self) -> Self {
        self.names_only = true;
        self
    }

    /// Asks for the state where the history is no longer kept.
    #[must_use]
    pub const fn or_snapshot(mut self) -> Self {
        self.snapshot = true;
        self
    }

    /// Returns whether a change of that kind and name is asked for. Members have no name.
    #[must_use]
    pub fn matches(&self, kind: &str, name: &str) -> bool {
        let of_kind = self.types.is_empty() || self.types.iter().any(|one| one == kind);
        let named =
            self.prefixes.is_empty() || self.prefixes.iter().any(|p| name.starts_with(p.as_str()));
        of_kind && (named || kind == "member")
    }

    /// Returns the request that begins with the next change.
    #[must_use]
    pub fn request(&self) -> Request {
        self.with("")
    }

    /// Returns the request that begins after a revision.
    #[must_use]
    pub fn since(&self, revision: u64) -> Request {
        self.with(&format!("since={revision}"))
    }

    /// Returns the request of a client that resumes after an event's id.
    #[must_use]
    pub fn after(&self, id: &str) -> Request {
        self.request().header("Last-Event-ID", id)
    }

    fn with(&self, more: &str) -> Request {
        let mut query: Vec<String> = Vec::new();
        // Prefixes of tests need no encoding.
        query.extend(
            self.prefixes
                .iter()
                .map(|prefix| format!("prefix={prefix}")),
        );
        if !self.types.is_empty() {
            query.push(format!("types={}", self.types.join(",")));
        }
        if self.names_only {
            query.push("values=false".to_owned());
        }
        if self.snapshot {
            query.push("on_compacted=snapshot".to_owned());
        }
        if !more.is_empty() {
            query.push(more.to_owned());
        }
        let query = query.join("&");
        let mark = if query.is_empty() { "" } else { "?" };
        Request::get(&format!("/api/events{mark}{query}")).header("Accept", "text/event-stream")
    }
}
