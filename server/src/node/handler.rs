//! What this node answers to its peers.

use std::net::SocketAddr;

use futures::future::BoxFuture;

use super::{
    JoinRequest, Joined, Node, PeerHandler, PeerReply, PeerRequest, ServiceError, Stranger,
};
use crate::raft::NodeId;

impl PeerHandler for Node {
    fn handle(
        &self,
        from: NodeId,
        request: PeerRequest,
    ) -> BoxFuture<'_, Result<PeerReply, ServiceError>> {
        Box::pin(self.answer_peer(from, request))
    }

    fn join(
        &self,
        from: SocketAddr,
        request: JoinRequest,
    ) -> BoxFuture<'_, Result<Joined, ServiceError>> {
        tracing::info!(%from, node = %request.name, "`{}` asks to join", request.name);
        Box::pin(self.add_member(request))
    }

    fn heartbeats_ended(&self, leader: NodeId) -> BoxFuture<'_, ()> {
        Box::pin(self.succeed(leader))
    }

    fn waits_to_be_added(&self) -> bool {
        !self.is_added() && !self.is_removed()
    }

    fn refused(&self, stranger: Stranger) {
        self.0.foreign_peers.note(stranger);
    }
}

impl Node {
    async fn answer_peer(
        &self,
        from: NodeId,
        request: PeerRequest,
    ) -> Result<PeerReply, ServiceError> {
        match request {
            PeerRequest::Write(proposal) => self.propose(proposal).await.map(PeerReply::Written),
            PeerRequest::Get {
                key,
                min_revision,
                wait,
            } => self
                .get_for_peer(&key, min_revision, wait)
                .await
                .map(PeerReply::Got),
            PeerRequest::GetConsistent {
                key,
                min_revision,
                wait,
            } => self
                .get_consistent_for_peer(&key, min_revision, wait)
                .await
                .map(PeerReply::Got),
            PeerRequest::ReadIndex { level } => self
                .read_index_for_peer(level)
                .await
                .map(PeerReply::ReadIndex),
            PeerRequest::Status => serde_json::to_vec(&self.status())
                .map(PeerReply::Status)
                .map_err(|error| ServiceError::Internal(error.to_string())),
            PeerRequest::Join(request) => self.add_here(request).await.map(PeerReply::Joined),
            PeerRequest::TransferLeader { to } => self
                .transfer_here(to.as_deref())
                .await
                .map(PeerReply::Transferred),
            PeerRequest::UpdateMember { id, member } if id == from => self
                .update_here(id, member)
                .await
                .map(|()| PeerReply::Updated),
            PeerRequest::Change(request) => {
                let plan = self.change_here(&request).await?;
                serde_json::to_vec(&plan)
                    .map(PeerReply::Changed)
                    .map_err(|error| ServiceError::Internal(error.to_string()))
            }
            PeerRequest::Standing { id } => self
                .standing_for_peer(from, id)
                .await
                .map(PeerReply::Standing),
            PeerRequest::UpdateMember { id, .. } => Err(ServiceError::InvalidArgument(format!(
                "node {from} must not change the addresses of node {id}"
            ))),
        }
    }
}
