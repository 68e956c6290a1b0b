//! What the event stream brings, as the pages take it.

use conclave_shared::stream::{KeyChange, LeaderChange, LockChange, MemberChange};

/// What became of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyEvent {
    Put,
    Delete,
    Expire,
}

impl KeyEvent {
    /// Returns the event's name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Delete => "delete",
            Self::Expire => "expire",
        }
    }
}

/// One piece of news. Each change of the cluster comes once and in the order of revisions, over any
/// number of connections, or a [`News::Gap`] says what is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    Key(KeyEvent, KeyChange),
    Lock(LockChange),
    Member(MemberChange),
    /// The serving node knows another leader, or none: an observation, no change.
    Leader(LeaderChange),
    /// Changes that nobody keeps any more: those after `after` and before `oldest`. What a page has
    /// loaded may be old and must be loaded again.
    Gap {
        after: u64,
        oldest: u64,
    },
}

impl News {
    /// Returns the revision of a change.
    #[must_use]
    pub const fn revision(&self) -> Option<u64> {
        match self {
            Self::Key(_, change) => Some(change.revision),
            Self::Lock(change) => Some(change.revision),
            Self::Member(change) => Some(change.revision),
            Self::Leader(_) | Self::Gap { .. } => None,
        }
    }
}

/// Which news a page wants; the node selects. Everything when empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interest {
    /// Prefixes of keys and locks, at most 32.
    pub prefixes: Vec<String>,
    /// Types of events as the API names them.
    pub types: Vec<String>,
}
