//! The receiving side of append and control connections.

use std::io;

use futures::{SinkExt, StreamExt};
use openraft::raft::AppendEntriesResponse;

use super::wire::{
    AppendRequest, Connection, ControlReply, ControlRequest, Heartbeat, decode, encode, receive,
    send,
};
use crate::clock;
use crate::node::Contact;
use crate::storage::Raft;

/// Feeds pipelined appends to Raft and answers them in order.
pub(super) async fn append_session(connection: Connection, raft: &Raft) -> io::Result<()> {
    let (mut sink, frames) = connection.split();
    // The first frame that cannot be read ends the session.
    let requests = frames
        .map(|frame| frame.and_then(|frame| decode::<AppendRequest>(&frame)).ok())
        .take_while(|request| std::future::ready(request.is_some()))
        .filter_map(std::future::ready);
    let mut replies = std::pin::pin!(raft.stream_append(requests));
    while let Some(reply) = replies.next().await {
        let reply = reply.map_err(|fatal| io::Error::other(fatal.to_string()))?;
        sink.send(encode(&reply)?).await?;
    }
    sink.close().await
}

/// Answers heartbeats, votes and transfers, one after the other.
pub(super) async fn control_session(
    mut connection: Connection,
    raft: &Raft,
    contact: &Contact,
) -> io::Result<()> {
    loop {
        let request = receive(&mut connection).await?;
        let reply = control(request, raft, contact).await;
        send(&mut connection, &reply).await?;
    }
}

async fn control(request: ControlRequest, raft: &Raft, contact: &Contact) -> ControlReply {
    let reply = match request {
        ControlRequest::Heartbeat(heartbeat) => return beat(heartbeat, raft, contact).await,
        ControlRequest::Vote(rpc) => raft.vote(rpc).await.map(ControlReply::Vote),
        ControlRequest::PreVote(rpc) => raft.pre_vote(rpc).await.map(ControlReply::Vote),
        ControlRequest::TransferLeader(rpc) => {
            return match raft.handle_transfer_leader(rpc).await {
                Ok(reply) => ControlReply::TransferLeader(reply),
                Err(fatal) => ControlReply::Stopped(fatal.to_string()),
            };
        }
    };
    reply.unwrap_or_else(|error| ControlReply::Stopped(error.to_string()))
}

async fn beat(heartbeat: Heartbeat, raft: &Raft, contact: &Contact) -> ControlReply {
    let commit_index = heartbeat.rpc.leader_commit.map_or(0, |id| id.index());
    // Waiting for Raft's answer must not make the state look younger.
    let arrived = clock::now();
    match raft.append_entries(heartbeat.rpc).await {
        Ok(reply) => {
            // A refused heartbeat comes from a leader of the past and proves nothing.
            if !matches!(reply, AppendEntriesResponse::HigherVote(_)) {
                contact.heard(arrived, heartbeat.quorum_age, commit_index);
            }
            ControlReply::Append(reply)
        }
        Err(error) => ControlReply::Stopped(error.to_string()),
    }
}
