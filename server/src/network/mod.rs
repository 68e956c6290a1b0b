//! The peer protocol on `-raddr`: TCP, length-delimited postcard frames.
//!
//! Every connection starts with a `Hello` that names both sides and its purpose, so that a
//! stale address can never reach another node or another cluster. Then, by purpose:
//!
//! - *append*: pipelined `AppendEntries`, one connection per replication session;
//! - *control*: heartbeats, votes and leader transfer, strictly one at a time, never behind a
//!   large append;
//! - *forward*: client requests and read indexes, multiplexed by number;
//! - *snapshot*: one file, streamed;
//! - *invite* and *join*: the two ways a new node is talked to before it has an id;
//! - *form*: one question between nodes that may become one cluster, in any state.

mod addresses;
mod calls;
mod connect;
mod form;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod join;
mod raft_client;
mod raft_sessions;
mod server;
mod sessions;
mod snapshot_transfer;
mod wire;

pub use addresses::Addresses;
pub use calls::Peers;
pub use form::{AnswerForming, ask_forming};
pub use join::{AskError, ask_to_join};
pub use raft_client::NetworkFactory;
pub use server::{Adopt, PeerServer, Running};
pub use wire::LocalNode;
