//! What clients do to a cluster, and the check that goes with each: one file for each kind of load.
//!
//! A load that is judged by the checker of linearizability is a [`campaign`](crate::campaign).

pub mod feed;
pub mod increments;
pub mod lock_contenders;
pub mod marks;
pub mod repeats;
pub mod stale_reads;
pub mod stalled;
pub mod strict_reads;
pub mod ttl_keys;
pub mod watched_writes;
pub mod writers;

pub use writers::Writers;
