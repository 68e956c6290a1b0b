//! When each write was sent and acknowledged: what the latency of a change stream is counted from.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use memchr::memmem::Finder;

/// Digits of a write's number in its value.
const DIGITS: usize = 12;

/// The moments of all writes of a run by their numbers. Shared by threads.
#[derive(Debug)]
pub(crate) struct Stamps {
    start: Instant,
    next: AtomicUsize,
    acknowledged: AtomicU64,
    /// Nanoseconds after `start`; 0: not yet.
    moments: Vec<[AtomicU64; 2]>,
}

impl Stamps {
    /// Makes room for so many writes.
    pub(crate) fn new(most: usize) -> Self {
        let mut moments = Vec::new();
        moments.resize_with(most, Default::default);
        Self {
            start: Instant::now(),
            next: AtomicUsize::new(0),
            acknowledged: AtomicU64::new(0),
            moments,
        }
    }

    /// Notes that a write is sent now, puts its number into the value and returns it; `None` when
    /// there is no more room.
    pub(crate) fn send(&self, value: &mut [u8]) -> Option<usize> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut rest = number;
        for digit in value[..DIGITS].iter_mut().rev() {
            *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
            rest /= 10;
        }
        self.moments.get(number)?[0].store(self.now(), Ordering::Relaxed);
        Some(number)
    }

    /// Notes that a write is acknowledged now.
    pub(crate) fn acknowledge(&self, number: usize) {
        self.moments[number][1].store(self.now(), Ordering::Relaxed);
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Returns the time since a write was sent, and the time since its acknowledgement arrived, at a
    /// moment: zero when it had not.
    pub(crate) fn since(&self, number: usize, now: Instant) -> Option<[Duration; 2]> {
        let now = self.nanoseconds(now);
        let [sent, acknowledged] = self.moments.get(number)?;
        let [sent, acknowledged] = [sent, acknowledged].map(|at| at.load(Ordering::Relaxed));
        let acknowledged = if acknowledged == 0 { now } else { acknowledged };
        Some([sent, acknowledged].map(|at| Duration::from_nanos(now.saturating_sub(at))))
    }

    fn now(&self) -> u64 {
        self.nanoseconds(Instant::now())
    }

    fn nanoseconds(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.start);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Returns the number of the write that a `put` tells of: that of its record, not of the one before.
pub(crate) fn number_in(data: &[u8]) -> Option<usize> {
    static BEGIN: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(br#""value":""#));
    let at = BEGIN.find(data)? + BEGIN.needle().len();
    std::str::from_utf8(data.get(at..at + DIGITS)?)
        .ok()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_known_by_its_value() {
        let stamps = Stamps::new(2);
        let mut value = [b'v'; 16];
        assert_eq!(stamps.send(&mut value), Some(0));
        assert_eq!(stamps.send(&mut value), Some(1));
        assert_eq!(stamps.send(&mut [b'v'; 16]), None, "no room");
        let value = std::str::from_utf8(&value).unwrap();
        let data = format!(r#"{{"record":{{"value":"{value}"}},"previous":{{"value":"000"}}}}"#);
        assert_eq!(number_in(data.as_bytes()), Some(1));
        let [sent, acknowledged] = stamps.since(1, Instant::now()).unwrap();
        assert!(sent > Duration::ZERO && acknowledged == Duration::ZERO);
        stamps.acknowledge(1);
        assert_eq!(stamps.acknowledged(), 1);
    }
}
