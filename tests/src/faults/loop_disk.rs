//! Disks of nodes whose power can be cut: an ext4 image on a loop device, mounted in the folder of the
//! test. It needs root. What a killed run left mounted is unmounted by the next one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::{Pid, geteuid, test_kill_process};
use tempfile::TempDir;

use crate::faults::native::{has_compiler, works};
use crate::wait::wait_for;

/// Longest time until the kernel lets go of a disk whose process is dead.
const FREE_WITHIN: Duration = Duration::from_secs(20);
/// Folders that disks are mounted on are named for the process that did it.
const PREFIX: &str = "disk-of-";
const MIB: u64 = 1 << 20;

/// A mounted image. It is unmounted and detached when it is dropped.
#[derive(Debug)]
pub struct LoopDisk {
    image: PathBuf,
    folder: PathBuf,
}

/// Returns what is missing for disks whose power can be cut.
#[must_use]
pub fn missing() -> Option<&'static str> {
    static MISSING: OnceLock<Option<&'static str>> = OnceLock::new();
    *MISSING.get_or_init(|| {
        if !geteuid().is_root() {
            return Some("root");
        }
        if !works(Command::new("mkfs.ext4").arg("-V")) {
            return Some("mkfs.ext4");
        }
        if !has_compiler() {
            return Some("a C compiler");
        }
        unmount_leftovers();
        let folder = TempDir::new().expect("a temporary folder");
        let disk = LoopDisk::prepare(folder.path(), 16);
        let mounted = disk.format().and_then(|()| disk.mount());
        mounted.err().map(|_| "loop devices and ext4")
    })
}

impl LoopDisk {
    /// Makes and mounts an empty disk below `folder`.
    ///
    /// # Panics
    ///
    /// It cannot be done; [`missing`] would have said so.
    #[must_use]
    pub fn create(folder: &Path, mib: u64) -> Self {
        let disk = Self::prepare(folder, mib);
        let mounted = disk.format().and_then(|()| disk.mount());
        mounted.unwrap_or_else(|error| panic!("{error}"));
        disk
    }

    fn prepare(folder: &Path, mib: u64) -> Self {
        let name = format!("{PREFIX}{}", std::process::id());
        let disk = Self {
            image: folder.join(format!("{name}.img")),
            folder: folder.join(name),
        };
        fs::create_dir_all(&disk.folder).expect("a folder to mount on");
        let image = File::create(&disk.image).and_then(|file| file.set_len(mib * MIB));
        image.expect("a sparse file");
        disk
    }

    /// Returns where it is mounted.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Unmounts it and mounts it again, which replays its journal after a cut.
    ///
    /// # Panics
    ///
    /// Some process holds it, or the kernel refuses.
    pub async fn remount(&self) {
        wait_for("a disk to unmount", FREE_WITHIN, async || {
            run(Command::new("umount").arg(&self.folder))
        })
        .await;
        self.mount().unwrap_or_else(|error| panic!("{error}"));
    }

    fn format(&self) -> Result<(), String> {
        run(Command::new("mkfs.ext4")
            .args(["-q", "-F", "-m", "0"])
            .arg(&self.image))
    }

    fn mount(&self) -> Result<(), String> {
        // The kernel detaches the device by itself when it is unmounted.
        run(Command::new("mount")
            .args(["-t", "ext4", "-o", "loop,nosuid,nodev"])
            .args([&self.image, &self.folder]))
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        // The second way never fails: what is still open keeps only itself alive.
        if run(Command::new("umount").arg(&self.folder)).is_err() {
            works(Command::new("umount").arg("--lazy").arg(&self.folder));
        }
    }
}

/// Unmounts the disks of processes that have died, and removes their images.
fn unmount_leftovers() {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for folder in mounts.lines().filter_map(|line| line.split(' ').nth(1)) {
        let folder = Path::new(folder);
        let name = folder.file_name().and_then(|name| name.to_str());
        let owner = name.and_then(|name| name.strip_prefix(PREFIX));
        let owner = owner.and_then(|pid| Pid::from_raw(pid.parse().ok()?));
        if owner.is_some_and(|pid| test_kill_process(pid).is_err()) {
            works(Command::new("umount").arg("--lazy").arg(folder));
            drop(fs::remove_file(folder.with_extension("img")));
        }
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("{command:?}: {}: {}", output.status, said.trim()))
    }
}
