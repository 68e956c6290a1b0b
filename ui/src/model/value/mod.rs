//! The value pane's logic: what a value is, how texts differ, and what editing one goes through.

pub mod diff;
pub mod editing;
pub mod hex;
pub mod json;
pub mod merge;
pub mod record;
