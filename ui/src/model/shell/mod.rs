//! Finding a command by a few of its letters.

pub mod fuzzy;
