//! What processes use: memory and processor time, as the kernel counts them.

use std::fs;
use std::time::Duration;

use rustix::param::clock_ticks_per_second;
use rustix::time::{ClockId, clock_gettime};

/// Returns the resident memory of a process; `None` when it is gone.
#[must_use]
pub fn resident_bytes(process: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kib * 1024)
}

/// Returns the processor time that a process has used, in steps of 10 ms; `None` when it is gone.
#[must_use]
pub fn cpu_time(process: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let ticks = ticks(&stat)?;
    Some(Duration::from_millis(
        ticks * 1_000 / clock_ticks_per_second().max(1),
    ))
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

/// Returns `utime` + `stime`. The name before them is in parentheses and may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut times = fields.split(' ').skip(11);
    let user: u64 = times.next()?.parse().ok()?;
    let system: u64 = times.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_are_found_behind_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 9 8 7 6 120 34 5 4 20 0 1 0 99 1 2 3";
        assert_eq!(ticks(stat), Some(154));
        assert_eq!(ticks("7 (a)"), None);
    }

    #[test]
    fn this_process_uses_memory_and_time() {
        assert!(resident_bytes(std::process::id()) > Some(100_000));
        assert!(cpu_time(std::process::id()).is_some());
        assert!(own_cpu_time() > Duration::ZERO);
    }
}
