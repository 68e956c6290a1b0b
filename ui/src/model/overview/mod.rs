//! Pure logic of the screen Overview: what the page has seen of the cluster, where it is drawn, and
//! the words for it.

pub mod recent;
pub mod ribbon;
pub mod seen;
pub mod spark;
pub mod table;
pub mod words;
