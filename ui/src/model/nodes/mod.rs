//! Logic of the screen Nodes: two sources of evidence about each member, put side by side.
//!
//! The serving node says what it hears of the others; this browser asks each member itself. Neither
//! is taken for the truth: a row says what each of them saw, and in words where they differ.

pub mod change;
pub mod position;
pub mod probe;
pub mod row;
pub mod story;

pub use change::Action;
pub use position::Position;
pub use probe::{Probe, Word};
pub use row::{Evidence, Row, rows};
pub use story::{Change, Story};
