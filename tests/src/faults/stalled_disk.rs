//! A disk that stands still: syncs of one node do not end for as long as a test wants. What is
//! acknowledged meanwhile was acknowledged without them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::cluster::Node;
use crate::faults::native::STALLED_SYNC;

/// The disk of one node. It goes on when this is dropped.
#[derive(Debug)]
pub struct StalledDisk {
    /// While it is there, no sync ends.
    file: PathBuf,
}

impl StalledDisk {
    /// Gives a node that is started later a disk that can stand still; at first it does not.
    ///
    /// # Panics
    ///
    /// There is no C compiler.
    #[must_use]
    pub fn of(node: &mut Node, folder: &Path) -> Self {
        let library = STALLED_SYNC.compile(folder);
        let file = folder.join(format!("stall-{}", node.name()));
        node.set_env(&[
            ("LD_PRELOAD", &library.to_string_lossy()),
            ("STALLED_SYNC", &file.to_string_lossy()),
        ]);
        Self { file }
    }

    /// Lets it stand still.
    ///
    /// # Panics
    ///
    /// There is no room for an empty file.
    pub fn stop(&self) {
        File::create(&self.file).expect("room for an empty file");
    }

    /// Lets it go on; does nothing when it does.
    pub fn go_on(&self) {
        // It may never have stood still.
        drop(fs::remove_file(&self.file));
    }
}

impl Drop for StalledDisk {
    fn drop(&mut self) {
        self.go_on();
    }
}
