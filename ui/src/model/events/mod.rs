//! The tab's log of changes: its rows, the ring that keeps the newest of them, what a reader filters
//! out, and which part of it stands in the document.

pub mod filter;
pub mod ring;
pub mod row;
pub mod span;
pub mod window;
