//! Whose the data directory is, and whether a node can use it.

use std::path::{Path, PathBuf};

use super::Finding;
use crate::config::Config;
use crate::raft::Member;
use crate::storage::{DataDirectory, DirectoryError, Identity, last_known_members};

/// What the other checks need of it.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// The directory, or the nearest one above it that is there; `None` in memory.
    pub(super) existing: Option<PathBuf>,
    pub(super) identity: Option<Identity>,
    /// A process holds its lock.
    pub(super) is_in_use: bool,
    /// Members as the last snapshot has them.
    pub(super) members: Vec<Member>,
}

pub(super) fn examine(config: &Config) -> (Place, Vec<Finding>) {
    const WHAT: &str = "directory";
    let Some(path) = &config.data_dir else {
        let text = "none: -inmem writes nothing, and every start is a new member";
        return (Place::default(), vec![Finding::ok(WHAT, text)]);
    };
    let shown = path.display();
    let mut place = Place {
        existing: nearest(path),
        ..Place::default()
    };
    if !path.exists() {
        let text = format!("`{shown}` is not there yet: a start makes it");
        return (place, vec![Finding::ok(WHAT, text)]);
    }
    let locked = match DataDirectory::open_stopped(path) {
        Ok(_unlocked_again) => Ok(false),
        Err(DirectoryError::Locked(_)) => Ok(true),
        Err(error) => Err(error),
    };
    let name = config.name_given.then_some(config.name.as_str());
    let found = locked.and_then(|is_in_use| {
        place.is_in_use = is_in_use;
        let directory = DataDirectory::look_at(path)?;
        directory.identity(name)
    });
    let use_of_it = if place.is_in_use {
        "; a process runs on it"
    } else {
        ""
    };
    let finding = match found {
        Err(error) => Finding::fail(WHAT, error.to_string()),
        Ok(None) => Finding::ok(WHAT, format!("`{shown}` belongs to nobody yet{use_of_it}")),
        Ok(Some(identity)) => {
            let Identity {
                cluster, id, name, ..
            } = &identity;
            let text =
                format!("`{shown}` is node `{name}` (id {id}) of cluster {cluster}{use_of_it}");
            place.members = last_known_members(path).unwrap_or_default();
            place.identity = Some(identity);
            Finding::ok(WHAT, text)
        }
    };
    (place, vec![finding])
}

fn nearest(path: &Path) -> Option<PathBuf> {
    let absolute = std::path::absolute(path).ok()?;
    let there = absolute.ancestors().find(|part| part.is_dir());
    there.map(Path::to_owned)
}
