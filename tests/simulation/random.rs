//! Random choices of a run, all of them from its seed.

use conclave_server::runtime;

/// Returns a number below `bound`; 0 when there is none.
pub(crate) fn below(bound: u64) -> u64 {
    runtime::random().checked_rem(bound).unwrap_or(0)
}

/// Returns true once in `times` on average.
pub(crate) fn once_in(times: u64) -> bool {
    below(times) == 0
}

/// Returns one of the elements.
pub(crate) fn pick<T: Copy>(from: &[T]) -> T {
    from[usize::try_from(below(from.len() as u64)).unwrap_or(0)]
}
