//! What clients do meanwhile, and the check that goes with each: one file for each kind of load.

pub mod counter;
pub mod counters;
pub mod judged;
pub mod repeats;
pub mod writers;

pub use writers::Writers;
