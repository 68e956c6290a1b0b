//! Which changes a reader wants.

use crate::state::Change;

/// Kinds of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Put,
    Delete,
    Expire,
    Lock,
    Member,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 5] = [
        Self::Put,
        Self::Delete,
        Self::Expire,
        Self::Lock,
        Self::Member,
    ];

    /// Returns the kind of a change.
    #[must_use]
    pub const fn of(change: &Change) -> Self {
        match change {
            Change::Put { .. } => Self::Put,
            Change::Delete { .. } => Self::Delete,
            Change::Expire { .. } => Self::Expire,
            Change::Lock(_) => Self::Lock,
            Change::Members { .. } => Self::Member,
        }
    }

    /// Returns the word used on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Delete => "delete",
            Self::Expire => "expire",
            Self::Lock => "lock",
            Self::Member => "member",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// Kinds, and which keys and locks by the start of their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    kinds: u8,
    names: Names,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Names {
    /// Those that start with any of these; with none, all.
    Prefixes(Vec<String>),
    /// One key, and perhaps its immediate children below `key/`.
    Key { key: String, children: bool },
}

impl Filter {
    /// Wants some kinds of changes of the keys and locks whose names start with any of `prefixes`;
    /// without any prefix, of all. Changes of the membership have no name and always match.
    #[must_use]
    pub fn prefixes(kinds: impl IntoIterator<Item = Kind>, prefixes: Vec<String>) -> Self {
        Self {
            kinds: kinds.into_iter().fold(0, |all, kind| all | kind.bit()),
            names: Names::Prefixes(prefixes),
        }
    }

    /// Wants the changes of one key, and of what lies immediately below it if `children`.
    #[must_use]
    pub fn key(key: String, children: bool) -> Self {
        let kinds = [Kind::Put, Kind::Delete, Kind::Expire];
        Self {
            names: Names::Key { key, children },
            ..Self::prefixes(kinds, Vec::new())
        }
    }

    /// Returns whether a change is wanted.
    #[must_use]
    pub fn matches(&self, change: &Change) -> bool {
        self.has(Kind::of(change))
            && match change {
                Change::Put { key, .. }
                | Change::Delete { key, .. }
                | Change::Expire { key, .. } => self.names.contain(key),
                Change::Lock(change) => self.names.contain(&change.lock),
                Change::Members { .. } => true,
            }
    }

    /// Returns whether a kind is wanted at all.
    #[must_use]
    pub const fn has(&self, kind: Kind) -> bool {
        self.kinds & kind.bit() != 0
    }

    /// Returns whether a key or a lock of this name is wanted.
    #[must_use]
    pub fn has_name(&self, name: &str) -> bool {
        self.names.contain(name)
    }
}

impl Names {
    fn contain(&self, name: &str) -> bool {
        match self {
            Self::Prefixes(prefixes) => {
                prefixes.is_empty() || prefixes.iter().any(|prefix| name.starts_with(prefix))
            }
            Self::Key { key, children } => match name.strip_prefix(key.as_str()) {
                Some("") => true,
                Some(rest) if *children => rest
                    .strip_prefix('/')
                    .or_else(|| key.ends_with('/').then_some(rest))
                    .is_some_and(|child| !child.is_empty() && !child.contains('/')),
                _ => false,
            },
        }
    }
}
