//! Pure logic of what the page hears from its node and what it writes to it.

pub mod fate;
pub mod recovery;
pub mod resume;
pub mod sse;
pub mod status;
pub mod trouble;
