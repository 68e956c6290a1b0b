//! What a test does to a cluster: links cut, clocks set, disks that stand still or lose their power.
//!
//! Kills and pauses are methods of a [`Node`](crate::Node). [`Faults`] makes short faults at random and
//! knows what it did when; a [`campaign`](crate::campaign) has faults of its own, kills among them.

pub mod bridge;
pub mod clocks;
pub mod far_host;
pub mod filler;
pub mod links;
pub mod loop_disk;
pub mod native;
pub mod power;
mod random_faults;
pub mod stalled_disk;

pub use random_faults::{Fault, Faults};
