//! Clocks of nodes that a test sets, by libfaketime: all of them held back, or the wall clock alone.
//!
//! Held back are the clocks of a suspended virtual machine, which `SIGSTOP` does not stop: see
//! [`hold_back`]. A wall clock alone jumps when an operator or a time server sets it, and the
//! monotonic one stays as it is: see [`WallClock`]. The library stands between a process and its
//! clocks, and reads a file for every look at one, which says by how much they differ.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::cluster::Node;
use crate::wait::wait_for;

/// Holds back all clocks; relative to the working directory that each node has for itself.
const FILE: &str = "clock";
/// The library is in one of them, or in a folder of it for each architecture.
const FOLDERS: [&str; 3] = ["/usr/lib", "/usr/lib64", "/usr/local/lib"];
/// Longest time until a node shows the time that it was set to.
const SHOWN_WITHIN: Duration = Duration::from_secs(10);
/// How far the time that a node shows may be from the one it was set to.
const NEAR_MS: u64 = 60_000;

/// Which of a node's clocks differ from those of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Faked {
    All,
    Wall,
}

/// Returns libfaketime in its build for these clocks; not every machine has it.
#[must_use]
pub fn library(faked: Faked) -> Option<PathBuf> {
    let file = match faked {
        Faked::All => "faketime/libfaketimeMT.so.1",
        Faked::Wall => "faketime/libfaketime.so.1",
    };
    let folders = FOLDERS.map(PathBuf::from);
    let below = |folder: &PathBuf| {
        let inside = fs::read_dir(folder).into_iter().flatten().flatten();
        inside.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let machines: Vec<_> = folders.iter().flat_map(below).collect();
    let mut paths = folders.iter().chain(&machines).map(|one| one.join(file));
    paths.find(|path| path.is_file())
}

/// Returns the environment of nodes all of whose clocks can be held back; they run as usual at first.
pub(crate) fn environment(library: &Path) -> Vec<(String, String)> {
    let library = library.to_string_lossy();
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    common(&library, FILE).map(owned).into()
}

fn common<'a>(library: &'a str, file: &'a str) -> [(&'static str, &'a str); 3] {
    [
        ("LD_PRELOAD", library),
        ("FAKETIME_TIMESTAMP_FILE", file),
        // The file is read again for every look at a clock.
        ("FAKETIME_NO_CACHE", "1"),
    ]
}

/// Sets all clocks of a node back by so much in all, compared with those of the machine.
///
/// # Panics
///
/// The file cannot be written.
pub fn hold_back(node: &Node, by: Duration) {
    let text = format!("-{:.3}\n", by.as_secs_f64());
    write(&node.working_dir().join(FILE), &text);
}

/// The wall clock of one node.
#[derive(Debug)]
pub struct WallClock {
    /// Holds the offset.
    file: PathBuf,
}

impl WallClock {
    /// Puts a node that is started later under a wall clock that can be set.
    ///
    /// # Panics
    ///
    /// `folder` takes no file.
    #[must_use]
    pub fn of(node: &mut Node, library: &Path, folder: &Path) -> Self {
        let file = folder.join(format!("clock-of-{}", node.name()));
        let clock = Self { file };
        clock.set(0);
        let library = library.to_string_lossy();
        let file = clock.file.to_string_lossy();
        let mut env = common(&library, &file).to_vec();
        env.extend([("FAKETIME_DONT_FAKE_MONOTONIC", "1"), ("NO_FAKE_STAT", "1")]);
        node.set_env(&env);
        clock
    }

    /// Sets the clock to the real time and so many seconds, and waits until the node shows it.
    ///
    /// # Panics
    ///
    /// It does not.
    pub async fn jump(&self, node: &Node, seconds: i64) {
        self.set(seconds);
        let what = format!("{} at {seconds:+} s", node.name());
        wait_for(&what, SHOWN_WITHIN, async || {
            let status = node.try_status().await?;
            match shows(&status, seconds) {
                true => Ok(()),
                false => Err(status["now_ms"].to_string()),
            }
        })
        .await;
    }

    /// Sets the clock to the real time and so many seconds, whether the node runs or not.
    ///
    /// # Panics
    ///
    /// The file cannot be written.
    pub fn set(&self, seconds: i64) {
        write(&self.file, &format!("{seconds:+}\n"));
    }
}

/// Returns whether a node's status has the real time and so many seconds.
pub(crate) fn shows(status: &Value, seconds: i64) -> bool {
    let wanted = now_ms().saturating_add_signed(seconds * 1_000);
    let shown = status["now_ms"].as_u64();
    shown.is_some_and(|shown| shown.abs_diff(wanted) < NEAR_MS)
}

/// Writes a file that the library reads; by a rename, so that it never reads half of it.
fn write(file: &Path, text: &str) {
    let new = file.with_extension("new");
    let written = fs::write(&new, text).and_then(|()| fs::rename(&new, file));
    assert!(written.is_ok(), "{}: {written:?}", file.display());
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let ms = since.unwrap_or_default().as_millis();
    u64::try_from(ms).unwrap_or(u64::MAX)
}
