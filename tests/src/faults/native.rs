//! Small C programs of the tests, for what Rust without `unsafe` cannot say. They are compiled when a
//! test runs, into the folder of that test.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A program or library and how it is compiled.
#[derive(Debug)]
pub struct Native {
    name: &'static str,
    source: &'static str,
    flags: &'static [&'static str],
}

/// Cuts the power of mounted file systems.
pub(crate) const CUT_POWER: Native = Native {
    name: "cut_power",
    source: include_str!("native/cut_power.c"),
    flags: &[],
};

/// Makes `fsync` and its kin do nothing in a process that loads it (`LD_PRELOAD`).
pub const NO_SYNC: Native = Native {
    name: "no_sync.so",
    source: include_str!("native/no_sync.c"),
    flags: &["-shared", "-fPIC"],
};

/// Makes `fsync` and `fdatasync` return before they have done their work.
pub const LATE_SYNC: Native = Native {
    name: "late_sync.so",
    source: include_str!("native/late_sync.c"),
    flags: &["-shared", "-fPIC", "-pthread"],
};

/// Lets no `fsync` and no `fdatasync` end while the file that `STALLED_SYNC` names exists.
pub(crate) const STALLED_SYNC: Native = Native {
    name: "stalled_sync.so",
    source: include_str!("native/stalled_sync.c"),
    flags: &["-shared", "-fPIC"],
};

/// Makes writes or syncs of log files fail in a process that loads it, while a file in the folder
/// [`FAILING_DISK`] says so.
pub const FAILING_LOG: Native = Native {
    name: "failing_disk.so",
    source: include_str!("native/failing_disk.c"),
    flags: &["-shared", "-fPIC"],
};

/// The variable that names that folder.
pub const FAILING_DISK: &str = "FAILING_DISK";

impl Native {
    /// Compiles into `folder` and returns the path.
    ///
    /// # Panics
    ///
    /// The compiler refuses; whether there is one says [`has_compiler`].
    #[must_use]
    pub fn compile(&self, folder: &Path) -> PathBuf {
        let source = folder.join(format!("{}.c", self.name));
        let output = folder.join(self.name);
        std::fs::write(&source, self.source).expect("room for a source file");
        let made = Command::new("cc")
            .args(["-O1", "-Wall", "-o"])
            .arg(&output)
            .args(self.flags)
            .arg(&source)
            .arg("-ldl")
            .output()
            .expect("a C compiler");
        let said = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "cc {}: {said}", source.display());
        output
    }
}

/// Returns whether there is a C compiler.
#[must_use]
pub fn has_compiler() -> bool {
    works(Command::new("cc").arg("--version"))
}

/// Returns whether a program starts and ends well.
pub(crate) fn works(command: &mut Command) -> bool {
    let quiet = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}
