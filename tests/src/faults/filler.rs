//! Somebody else who fills the disk of a node, and makes room again.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::thread;

use crate::cluster::Node;

/// What is written at once, bytes.
const BLOCK: usize = 1 << 20;

/// A file that takes all there is left of a disk until this is dropped.
#[derive(Debug)]
pub struct Filler(PathBuf);

impl Filler {
    /// Fills the disks of some nodes at the same time, until nothing more can be written to them.
    ///
    /// # Panics
    ///
    /// A node has no disk of its own, or it fails otherwise than by being full.
    #[must_use]
    pub fn fill(nodes: &[&Node]) -> Vec<Self> {
        let paths = nodes.iter().map(|node| {
            let disk = node.disk().expect("a disk of its own");
            disk.folder().join("filler")
        });
        let threads: Vec<_> = paths
            .map(|path| thread::spawn(move || write_all(&path).map(|()| Self(path))))
            .collect();
        let filled = threads.into_iter().map(|thread| {
            let filled = thread.join().expect("it does not panic");
            filled.expect("a disk that does not fail")
        });
        filled.collect()
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        // The disk may be gone with its node.
        drop(fs::remove_file(&self.0));
    }
}

/// Writes blocks of all sizes down to a byte, until not even that fits.
fn write_all(path: &PathBuf) -> io::Result<()> {
    let mut file = File::create(path)?;
    let block = vec![0x5a; BLOCK];
    let mut length = BLOCK;
    while length > 0 {
        match file.write_all(&block[..length]) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::StorageFull => length /= 2,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
