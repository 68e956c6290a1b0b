//! Everything that talks to a node. The rest of the crate sees signals and typed answers.

pub(crate) mod claims;
pub(crate) mod feed;
pub(crate) mod http;
pub(crate) mod keys;
pub(crate) mod live;
pub(crate) mod members;
mod observed;
pub(crate) mod replicas;
mod stream;
pub(crate) mod values;
pub(crate) mod write;

pub(crate) use claims::Claims;
pub(crate) use feed::Feed;
pub(crate) use live::Live;
pub(crate) use observed::Observed;
