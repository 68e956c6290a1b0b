//! How a new node and a cluster find each other, before the node has an id.
//!
//! The new node asks any member to be added; the leader then dials the new node's own address,
//! sees that it is empty and waits, makes an id for it through the log, and hands it over. So a
//! node is added only where it can be reached, and only once. When the leader dies in between, the
//! next one finds the node invited, and adds it under the id that it has.

use std::io;
use std::time::Duration;

use super::connect::dial;
use super::wire::{
    HANDSHAKE, Hello, HelloAck, Invite, InviteReply, JoinFrame, JoinReply, LocalNode, Purpose,
    receive, send, within,
};
use crate::node::{JoinRequest, Joined, MakeInvitation, ServiceError};
use crate::raft::{ClusterId, Member, NodeId};

/// The invited node writes and syncs its identity and starts Raft in this time.
const ADOPT_WAIT: Duration = Duration::from_secs(10);

/// Runs on the leader; see [`crate::node::PeerClient::invite`].
pub(super) async fn invite(
    local: LocalNode,
    raft_address: String,
    make: MakeInvitation,
) -> Result<(Member, NodeId), ServiceError> {
    let not_waiting = |reason: String| ServiceError::NotWaiting {
        raft: raft_address.clone(),
        reason,
    };
    let hello = Hello::new(Purpose::Invite, &local, 0);
    let (mut connection, ack) = within(HANDSHAKE, dial(&raft_address, &hello))
        .await
        .map_err(|error| not_waiting(format!("cannot connect: {error}")))?;
    let (member, has) = match ack {
        HelloAck::Waiting(member) => (member, None),
        HelloAck::Invited(member, id) => (member, Some(id)),
        HelloAck::Refused(reason) | HelloAck::NotYet(reason) => return Err(not_waiting(reason)),
        HelloAck::Welcome => return Err(not_waiting("unexpected greeting".to_owned())),
    };
    let invitation = make(member.clone(), has).await?;
    let id = invitation.id;
    if has.is_some() {
        return Ok((member, id));
    }
    let adopt = async {
        send(&mut connection, &Invite(invitation)).await?;
        receive(&mut connection).await
    };
    match within(ADOPT_WAIT, adopt).await {
        Ok(InviteReply::Adopted) => Ok((member, id)),
        Ok(InviteReply::Refused(reason)) => Err(not_waiting(reason)),
        Err(error) => Err(not_waiting(format!(
            "it did not take the invitation: {error}"
        ))),
    }
}

/// What came of asking one address.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody answers there: ask another one, or again.
    #[error("{0}")]
    Unreachable(io::Error),
    /// A member answered and refused.
    #[error(transparent)]
    Refused(ServiceError),
}

/// Asks a member to be added, over the peer protocol. Runs on the new node.
///
/// # Errors
///
/// Nobody answers at the address, what answers is no Conclave node, or the cluster refuses.
pub async fn ask_to_join(
    address: &str,
    request: &JoinRequest,
    limit: Duration,
) -> Result<Joined, AskError> {
    let local = LocalNode {
        cluster: ClusterId([0; 16]),
        id: 0,
        name: request.name.clone(),
    };
    let ask = async {
        let (mut connection, ack) = dial(address, &Hello::new(Purpose::Join, &local, 0)).await?;
        match ack {
            HelloAck::Welcome => {}
            // Another version of the protocol: asking again would not help.
            HelloAck::Refused(reason) => return Ok(Err(ServiceError::InvalidArgument(reason))),
            HelloAck::NotYet(reason) => {
                return Err(io::Error::new(io::ErrorKind::ConnectionRefused, reason));
            }
            HelloAck::Waiting(other) | HelloAck::Invited(other, _) => {
                let reason = format!("`{}` there waits to be joined itself", other.name);
                return Err(io::Error::new(io::ErrorKind::ConnectionRefused, reason));
            }
        }
        send::<JoinFrame>(&mut connection, request).await?;
        receive::<JoinReply>(&mut connection).await
    };
    match within(limit, ask).await {
        Ok(Ok(joined)) => Ok(joined),
        Ok(Err(refusal)) => Err(AskError::Refused(refusal)),
        Err(error) => Err(AskError::Unreachable(error)),
    }
}
