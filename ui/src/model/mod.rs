//! Pure logic of the pages.

pub mod address;
pub mod connection;
pub mod events;
pub mod failure;
pub mod headline;
pub mod keys;
pub mod lab;
pub mod live;
pub mod locks;
pub mod metrics;
pub mod news;
pub mod nodes;
pub mod order;
pub mod overview;
pub mod seats;
pub mod shell;
pub mod text;
pub mod value;
