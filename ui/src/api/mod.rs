//! Everything that talks to a node. The rest of the crate sees signals.

mod http;
mod live;

pub(crate) use live::{Live, start};
