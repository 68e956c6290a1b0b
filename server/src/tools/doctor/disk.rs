//! Free space, and how long a synced write takes.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags, openat, statvfs};

use super::Finding;
use super::directory::Place;
use crate::clock;

/// Synced appends that are timed, the bytes of each, and the longest time for all of them.
const ROUNDS: usize = 200;
const RECORD: [u8; 512] = [0x5a; 512];
const LONGEST: Duration = Duration::from_secs(5);
/// Every write waits for a sync, and so does every answer to a heartbeat.
const SLOW: Duration = Duration::from_millis(10);
/// A leader waits 100 ms for the answer to a heartbeat: with every sync above that, followers are
/// behind for good.
const TOO_SLOW: Duration = Duration::from_millis(100);

const MIB: u64 = 1 << 20;
const LITTLE: u64 = 1 << 30;
const TOO_LITTLE: u64 = 128 * MIB;

pub(super) fn examine(place: &Place) -> Vec<Finding> {
    match &place.existing {
        Some(path) => vec![space(path), sync(path)],
        None => Vec::new(),
    }
}

fn space(path: &Path) -> Finding {
    const WHAT: &str = "free space";
    let shown = path.display();
    match statvfs(path) {
        Err(error) => Finding::fail(WHAT, format!("cannot ask for that of `{shown}`: {error}")),
        Ok(found) => {
            let free = found.f_bavail.saturating_mul(found.f_frsize);
            let text = format!("{} MiB at `{shown}`", free / MIB);
            match free {
                free if free < TOO_LITTLE => Finding::fail(
                    WHAT,
                    format!("{text}: a node takes no changes with so little left; make room"),
                ),
                free if free < LITTLE => Finding::warn(
                    WHAT,
                    format!("{text}: log, snapshots and history may need more; 1 GiB is little"),
                ),
                _ => Finding::ok(WHAT, text),
            }
        }
    }
}

fn sync(path: &Path) -> Finding {
    const WHAT: &str = "disk sync";
    let mut times = match measure(path) {
        Ok(times) => times,
        Err(error) => {
            let text = format!("cannot write to `{}`: {error}", path.display());
            return Finding::fail(WHAT, text);
        }
    };
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    let (p50, p99) = (at(50), at(99));
    let text = format!(
        "p50 {:.2} ms, p99 {:.2} ms over {} appends of {} bytes",
        p50.as_secs_f64() * 1e3,
        p99.as_secs_f64() * 1e3,
        times.len(),
        RECORD.len(),
    );
    if p50 > TOO_SLOW {
        Finding::fail(
            WHAT,
            format!("{text}: above the time between heartbeats; use another disk"),
        )
    } else if p99 > SLOW {
        Finding::warn(
            WHAT,
            format!(
                "{text}: every write waits that long; use a local SSD, or see what else writes"
            ),
        )
    } else {
        Finding::ok(WHAT, text)
    }
}

/// Times appends with a sync each.
fn measure(path: &Path) -> io::Result<Vec<Duration>> {
    let mut file = nameless(path)?;
    let began = clock::now();
    let mut times = Vec::with_capacity(ROUNDS);
    while times.is_empty() || (times.len() < ROUNDS && clock::since(began) < LONGEST) {
        let before = clock::now();
        file.write_all(&RECORD)?;
        file.sync_data()?;
        times.push(clock::since(before));
    }
    Ok(times)
}

/// Makes a file that nobody sees: a node that starts meanwhile would refuse a foreign one.
fn nameless(directory: &Path) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match openat(CWD, directory, flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => Ok(File::from(file)),
        // Not every file system can.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR) => {
            let path = directory.join(format!("doctor.{}.tmp", std::process::id()));
            let file = File::create_new(&path)?;
            std::fs::remove_file(path)?;
            Ok(file)
        }
        Err(error) => Err(error.into()),
    }
}
