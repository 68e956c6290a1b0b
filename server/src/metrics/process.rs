//! What the kernel says of this process. `None` where it says nothing.

use std::fs;

/// Returns the resident memory, bytes.
pub(super) fn resident_bytes() -> Option<u64> {
    let pages = fs::read_to_string("/proc/self/statm").ok()?;
    let resident: u64 = pages.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(resident * rustix::param::page_size() as u64)
}

/// Returns the open file descriptors, the one that counts them not included.
pub(super) fn open_fds() -> Option<u64> {
    let open = fs::read_dir("/proc/self/fd").ok()?.count() as u64;
    Some(open.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn the_kernel_says_something_likely() {
        let resident = resident_bytes().unwrap();
        assert!((100_000..100_000_000_000).contains(&resident), "{resident}");
        // The runner's other threads open and close files meanwhile.
        let files: Vec<_> = (0..500)
            .map(|_| fs::File::open("/proc/self/statm").unwrap())
            .collect();
        assert!(open_fds().unwrap() > 500);
        drop(files);
    }
}
