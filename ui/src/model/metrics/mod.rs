//! Charts of a node's own figures: which there are, what is drawn of them, and their newest seconds.

pub mod catalogue;
pub mod chart;
pub mod table;
pub mod unit;
pub mod window;
