//! Nodes whose clocks a test can hold back, as that of a suspended virtual machine is.
//!
//! `SIGSTOP` stops a process and not its clock. Here libfaketime stands between the process and all
//! its clocks, and takes from them what a file in its working directory says.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cluster::Node;

/// The file, relative to the working directory that each node has for itself.
const FILE: &str = "clock";
/// Holds a folder per architecture in which the library is.
const LIBRARIES: &str = "/usr/lib";

/// Returns libfaketime, which not every machine has.
#[must_use]
pub fn library() -> Option<PathBuf> {
    let below = fs::read_dir(LIBRARIES).ok()?.flatten();
    let mut folders: Vec<_> = below.map(|entry| entry.path()).collect();
    folders.push(LIBRARIES.into());
    let paths = folders
        .iter()
        .map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
    paths.into_iter().find(|path| path.is_file())
}

/// Returns the environment of nodes with such clocks, which run as usual at first.
pub(crate) fn environment(library: &Path) -> Vec<(String, String)> {
    let preload = library.to_string_lossy().into_owned();
    [
        ("LD_PRELOAD", preload.as_str()),
        ("FAKETIME_TIMESTAMP_FILE", FILE),
        // The file is read again for every look at a clock.
        ("FAKETIME_NO_CACHE", "1"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// Sets the clocks of a node back by so much in all, compared with those of the machine.
///
/// # Panics
///
/// The file cannot be written.
pub fn hold_back(node: &Node, by: Duration) {
    let folder = node.working_dir();
    let new = folder.join("clock.new");
    let text = format!("-{:.3}\n", by.as_secs_f64());
    let written = fs::write(&new, text).and_then(|()| fs::rename(&new, folder.join(FILE)));
    assert!(written.is_ok(), "clock of {}: {written:?}", node.name());
}
