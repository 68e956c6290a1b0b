//! What a test does to a cluster: links cut, clocks set, disks without power, and all that at random.

pub mod clocks;
pub mod links;
pub mod loop_disk;
pub mod native;
pub mod power;
mod random_faults;

pub use random_faults::{Fault, Faults};
