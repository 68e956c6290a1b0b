//! Pages of a key listing.

use serde::{Deserialize, Serialize};

use crate::kv::Envelope;

/// `GET /api/keys`: one page, pinned at one revision.
///
/// Keys and folders are one sequence in byte order, shown in an array each; `limit` counts both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPage {
    /// State revision that this page and all that follow it were read at.
    pub revision: u64,
    /// With `keys=true` these carry no value.
    pub keys: Vec<Envelope>,
    pub folders: Vec<Folder>,
    /// All keys that start with the prefix, when `count=true` asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Cursor of the following page; null at the end.
    pub next: Option<String>,
}

/// The keys that share a prefix up to the delimiter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folder {
    /// The folder's whole prefix, delimiter included.
    pub prefix: String,
    /// Keys in it; when `capped`, there are more.
    pub count: u64,
    pub capped: bool,
}
