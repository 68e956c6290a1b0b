//! Pure logic of the pages.

pub mod freshness;
pub mod headline;
pub mod seats;
pub mod text;
