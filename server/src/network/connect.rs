//! Dialling a member: connect, and prove both identities.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpStream;

use super::wire::{Connection, Hello, HelloAck, LocalNode, Purpose, framed, receive, send, within};
use crate::raft::{Member, NodeId};

/// Dials members in this node's name; clones share what they remember.
#[derive(Debug, Clone)]
pub(super) struct Dialler {
    local: Arc<LocalNode>,
    /// The last refusal of each member: connecting is tried again all the time, and a person wants
    /// to read of a refusal once.
    refusals: Arc<Mutex<BTreeMap<NodeId, String>>>,
}

impl Dialler {
    pub(super) fn new(local: LocalNode) -> Self {
        Self {
            local: Arc::new(local),
            refusals: Arc::default(),
        }
    }

    pub(super) fn local(&self) -> &LocalNode {
        &self.local
    }

    /// Connects to a member for a purpose. Cancel safe: a dropped future closes the socket.
    pub(super) async fn connect(
        &self,
        member: &Member,
        to: NodeId,
        purpose: Purpose,
        limit: Duration,
    ) -> io::Result<Connection> {
        let hello = Hello::new(purpose, &self.local, to);
        let reason = match within(limit, dial(&member.raft, &hello)).await? {
            (connection, HelloAck::Welcome) => {
                self.refusals.lock().remove(&to);
                return Ok(connection);
            }
            (_, HelloAck::NotYet(reason)) => reason,
            (_, HelloAck::Waiting(_) | HelloAck::Invited(..)) => "it waits to be joined".to_owned(),
            (_, HelloAck::Refused(reason)) => {
                self.report(member, to, &reason);
                reason
            }
        };
        Err(io::Error::new(io::ErrorKind::ConnectionRefused, reason))
    }

    fn report(&self, member: &Member, to: NodeId, reason: &str) {
        let last = self.refusals.lock().insert(to, reason.to_owned());
        if last.as_deref() != Some(reason) {
            tracing::error!(
                peer = %member.name, address = %member.raft, %reason,
                "`{}` at {} refuses this node: {reason}", member.name, member.raft
            );
        }
    }
}

/// Connects to an address and exchanges the first frames.
pub(super) async fn dial(address: &str, hello: &Hello) -> io::Result<(Connection, HelloAck)> {
    let mut connection = framed(TcpStream::connect(address).await?)?;
    send(&mut connection, hello).await?;
    let ack = receive(&mut connection).await?;
    Ok((connection, ack))
}
