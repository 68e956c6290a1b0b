//! The list of keys as the screen Keys shows it: folders and keys in byte order, loaded page by page
//! and kept right by the news.
//!
//! [`level`] is one folder's entries, [`tree`] the folders that are open and the rows ([`row`]) they make,
//! [`window`] which rows are elements, [`name`] how a key is written. None of them asks anybody: the
//! screen fetches what [`tree::Tree::wanted`] names.

pub mod erase;
pub mod level;
pub mod name;
pub mod row;
pub mod tree;
pub mod window;

use conclave_shared::listing::Folder;
use serde::Deserialize;

use super::news::{KeyEvent, News};

/// One page of `GET /api/keys?keys=true`, as far as the list needs it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Page {
    /// State revision that it was read at.
    pub revision: u64,
    pub keys: Vec<KeyLine>,
    pub folders: Vec<Folder>,
    /// All keys that start with the prefix, when they were counted.
    pub count: Option<u64>,
    /// None at the end. Where the next page starts is told by the last entry instead, so that
    /// it can be read at any later revision.
    pub next: Option<String>,
}

/// A key of a page.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct KeyLine {
    pub key: String,
    pub mod_revision: u64,
    #[serde(default)]
    pub value_bytes: u64,
}

/// What the news say of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub key: String,
    pub revision: u64,
    /// Size of the value; none when the key is gone.
    pub bytes: Option<u64>,
    /// The key did not exist before.
    pub is_new: bool,
}

impl Change {
    /// Takes what the list needs of a piece of news; none for news of other things.
    #[must_use]
    pub fn of(news: &News) -> Option<Self> {
        let News::Key(event, change) = news else {
            return None;
        };
        let is_put = *event == KeyEvent::Put;
        Some(Self {
            key: change.key.clone(),
            revision: change.revision,
            bytes: is_put.then(|| change.bytes.unwrap_or_default()),
            is_new: is_put && change.previous_revision.is_none(),
        })
    }
}

#[cfg(test)]
mod tests;
