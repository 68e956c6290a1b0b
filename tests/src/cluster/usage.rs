//! What processes use: memory and processor time, as the kernel counts them.

use std::collections::HashSet;
use std::fs;
use std::ops::Add;
use std::time::Duration;

use rustix::param::clock_ticks_per_second;
use rustix::time::{ClockId, clock_gettime};

/// Returns the resident memory of a process; `None` when it is gone.
#[must_use]
pub fn resident_bytes(process: u32) -> Option<u64> {
    memory(process, "VmRSS:")
}

/// Returns the most resident memory that a process has had; `None` when it is gone.
#[must_use]
pub fn peak_resident_bytes(process: u32) -> Option<u64> {
    memory(process, "VmHWM:")
}

fn memory(process: u32, field: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kib * 1024)
}

/// Processor time, in steps of 10 ms.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    pub user: Duration,
    pub kernel: Duration,
}

impl Times {
    /// Returns both together.
    #[must_use]
    pub const fn total(self) -> Duration {
        self.user.saturating_add(self.kernel)
    }

    /// Returns what came after `before`.
    #[must_use]
    pub const fn since(self, before: Self) -> Self {
        Self {
            user: self.user.saturating_sub(before.user),
            kernel: self.kernel.saturating_sub(before.kernel),
        }
    }
}

impl Add for Times {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            user: self.user + other.user,
            kernel: self.kernel + other.kernel,
        }
    }
}

/// Returns the processor time that a process has used, in steps of 10 ms; `None` when it is gone.
#[must_use]
pub fn cpu_time(process: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    times(&stat).map(Times::total)
}

/// Returns the names of a process's threads with what each has used; none when it is gone.
#[must_use]
pub fn threads(process: u32) -> Vec<(String, Times)> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{process}/task")) else {
        return Vec::new();
    };
    let stat = |task: fs::DirEntry| fs::read_to_string(task.path().join("stat")).ok();
    let stats = tasks.flatten().filter_map(stat);
    stats
        .filter_map(|stat| Some((name(&stat)?.to_owned(), times(&stat)?)))
        .collect()
}

/// Returns the time in which the machine's processors had nothing to do, all together; `None` where the
/// kernel does not say.
#[must_use]
pub fn idle_time() -> Option<Duration> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let mut fields = stat.lines().next()?.split_whitespace();
    duration(fields.nth(4)?)
}

/// Returns the processor time that this process has used.
#[must_use]
pub fn own_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// Returns the ports of the clients whose connections to a port of this machine are open on the server's
/// side. A connection that the server has closed is not, whatever of it is still to be sent.
#[must_use]
pub fn open_connections(server: u16) -> HashSet<u16> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let tables = tables.map(|path| fs::read_to_string(path).unwrap_or_default());
    let rows = tables.iter().flat_map(|table| table.lines());
    rows.filter_map(|row| client_of(row, server)).collect()
}

/// Returns the client's port of a row with this local port and the state `ESTABLISHED`.
fn client_of(row: &str, server: u16) -> Option<u16> {
    let mut fields = row.split_whitespace().skip(1);
    let port = |address: &str| u16::from_str_radix(address.rsplit_once(':')?.1, 16).ok();
    let (local, remote) = (port(fields.next()?)?, port(fields.next()?)?);
    (local == server && fields.next()? == "01").then_some(remote)
}

/// Returns a thread's name; it may hold anything.
fn name(stat: &str) -> Option<&str> {
    let (begin, _) = stat.rsplit_once(") ")?;
    Some(begin.split_once('(')?.1)
}

/// Returns `utime` and `stime`, which follow the name.
fn times(stat: &str) -> Option<Times> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut times = fields.split(' ').skip(11);
    Some(Times {
        user: duration(times.next()?)?,
        kernel: duration(times.next()?)?,
    })
}

fn duration(ticks: &str) -> Option<Duration> {
    let ticks: u64 = ticks.parse().ok()?;
    let millis = ticks * 1_000 / clock_ticks_per_second().max(1);
    Some(Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_are_found_behind_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 9 8 7 6 120 34 5 4 20 0 1 0 99 1 2 3";
        let found = times(stat).unwrap();
        let tick = 1_000 / clock_ticks_per_second();
        assert_eq!(found.user, Duration::from_millis(120 * tick));
        assert_eq!(found.kernel, Duration::from_millis(34 * tick));
        assert_eq!(name(stat), Some("a) b (c"));
        assert_eq!(times("7 (a)"), None);
    }

    #[test]
    fn only_open_connections_to_the_port_count() {
        let row = |local, state| {
            format!("  12: 0100007F:{local} 0100007F:D431 {state} 00000000:00000000 00:00000000")
        };
        assert_eq!(client_of(&row("2AF8", "01"), 11_000), Some(0xD431));
        assert_eq!(client_of(&row("2AF9", "01"), 11_000), None);
        assert_eq!(client_of(&row("2AF8", "04"), 11_000), None, "closed here");
        assert_eq!(
            client_of("  sl  local_address rem_address   st", 11_000),
            None
        );
    }

    #[test]
    fn this_process_uses_memory_and_time() {
        assert!(resident_bytes(std::process::id()) > Some(100_000));
        assert!(cpu_time(std::process::id()).is_some());
        assert!(own_cpu_time() > Duration::ZERO);
        assert!(!threads(std::process::id()).is_empty());
        assert!(idle_time().is_some());
    }
}
