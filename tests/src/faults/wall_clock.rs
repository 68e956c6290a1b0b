//! Wall clocks of nodes that jump while they run, by libfaketime. The monotonic clock stays as it is,
//! as it does when an operator or a time server sets the time of a machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::cluster::Node;
use crate::wait::wait_for;

/// Longest time until a node shows the time that it was set to.
const SHOWN_WITHIN: Duration = Duration::from_secs(10);
/// How far the time that a node shows may be from the one it was set to.
const NEAR_MS: u64 = 60_000;

/// The clock of one node.
#[derive(Debug)]
pub struct WallClock {
    /// Holds the offset; libfaketime reads it at every look at the clock.
    file: PathBuf,
}

/// Returns libfaketime, when it is installed.
#[must_use]
pub fn library() -> Option<PathBuf> {
    let folders = ["/usr/lib", "/usr/lib64", "/usr/local/lib"].map(PathBuf::from);
    let below = |folder: &PathBuf| {
        let inside = fs::read_dir(folder).into_iter().flatten().flatten();
        inside.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let machines: Vec<_> = folders.iter().flat_map(below).collect();
    let mut places = folders.iter().chain(&machines);
    places.find_map(|folder| {
        let library = folder.join("faketime/libfaketime.so.1");
        library.is_file().then_some(library)
    })
}

impl WallClock {
    /// Puts a node that is started later under a clock that can be set.
    ///
    /// # Panics
    ///
    /// `folder` takes no file.
    #[must_use]
    pub fn of(node: &mut Node, library: &Path, folder: &Path) -> Self {
        let clock = Self {
            file: folder.join(format!("clock-of-{}", node.name())),
        };
        clock.write(0);
        node.set_env(&[
            ("LD_PRELOAD", &library.to_string_lossy()),
            ("FAKETIME_TIMESTAMP_FILE", &clock.file.to_string_lossy()),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("NO_FAKE_STAT", "1"),
        ]);
        clock
    }

    /// Sets the clock to the real time and so many seconds, and waits until the node shows it.
    ///
    /// # Panics
    ///
    /// It does not.
    pub async fn jump(&self, node: &Node, seconds: i64) {
        self.write(seconds);
        let what = format!("{} at {seconds:+} s", node.name());
        wait_for(&what, SHOWN_WITHIN, async || {
            let status = node.try_status().await?;
            let wanted = now_ms().saturating_add_signed(seconds * 1_000);
            match status["now_ms"].as_u64() {
                Some(shown) if shown.abs_diff(wanted) < NEAR_MS => Ok(()),
                shown => Err(format!("{shown:?}, not {wanted}")),
            }
        })
        .await;
    }

    fn write(&self, seconds: i64) {
        // Renamed, so that nobody reads half of it.
        let new = self.file.with_extension("new");
        let written = fs::write(&new, format!("{seconds:+}\n"));
        let written = written.and_then(|()| fs::rename(&new, &self.file));
        assert!(written.is_ok(), "{}: {written:?}", self.file.display());
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let ms = since.unwrap_or_default().as_millis();
    u64::try_from(ms).unwrap_or(u64::MAX)
}
