//! How the page hears its node.

/// State of the tab's event stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    Live,
    /// The stream broke, or nothing came for too long; the count is that of attempts since.
    Reconnecting(u32),
    /// The tab is hidden and asks nothing.
    Paused,
    /// The browser has no network, or the node has not answered for long.
    Offline,
}

impl Connection {
    /// Returns the word on `body[data-stream]`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Reconnecting(_) => "reconnecting",
            Self::Paused => "paused",
            Self::Offline => "offline",
        }
    }
}
