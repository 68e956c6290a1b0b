//! One row of the list of keys.

/// One row of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Place in the whole list, from 0.
    pub at: usize,
    /// The whole key, or the folder's prefix; of a row that stands for what is not there, its level's.
    pub name: String,
    /// What is written: the first piece may be cut at its end.
    pub label: (String, String),
    /// Folders above it.
    pub depth: usize,
    /// Place within its folder, from 1.
    pub place: usize,
    /// Entries of its folder, when they are known.
    pub of: Option<usize>,
    pub kind: Kind,
    pub mark: Mark,
}

/// What the screen adds to a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mark {
    /// The row that the keyboard is at.
    pub is_active: bool,
    /// The key that the pane shows.
    pub is_selected: bool,
    /// Number of the last change that the row shows for a moment; 0: none.
    pub flash: u64,
}

/// What a row stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Key {
        revision: u64,
        bytes: u64,
    },
    Folder {
        count: u64,
        is_capped: bool,
        is_open: bool,
    },
    /// The rest of a level.
    More {
        loaded: u64,
        of: Option<u64>,
        failure: Option<String>,
        /// It is loaded when somebody asks for it.
        is_held: bool,
    },
}

impl Row {
    /// Returns what names this row among all.
    #[must_use]
    pub fn id(&self) -> String {
        let kind = match self.kind {
            Kind::Key { .. } => 'k',
            Kind::Folder { .. } => 'f',
            Kind::More { .. } => 'm',
        };
        format!("{kind}{}", self.name)
    }
}
