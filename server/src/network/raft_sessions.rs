//! The receiving side of append and control connections.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use conclave_shared::cluster::DiskState;
use futures::{SinkExt, StreamExt};
use openraft::raft::AppendEntriesResponse;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::server::Running;
use super::wire::{
    AppendRequest, Connection, ControlReply, ControlRequest, Heartbeat, decode, encode, receive,
    send,
};
use crate::clock;
use crate::node::{BeatReceiver, Contact};
use crate::raft::{NodeId, Payload};
use crate::storage::{Admitted, DiskSpace, Raft, Writer, approximate_size};

/// Feeds pipelined appends to Raft and answers them in order.
pub(super) async fn append_session(
    connection: Connection,
    raft: &Raft,
    disk: &DiskSpace,
) -> io::Result<()> {
    let (mut sink, frames) = connection.split();
    // Raft reads in a task of its own, which holds the connection until it has no more requests.
    let ended = CancellationToken::new();
    let _ended = ended.clone().drop_guard();
    let under_way = Arc::new(UnderWay::default());
    let (disk, requested) = (disk.clone(), under_way.clone());
    // The first frame that cannot be read ends the session, and so do entries without room on the
    // disk: openraft pauses before it sends them again, up to a second.
    let requests = frames
        .take_until(ended.cancelled_owned())
        .map(|frame| frame.and_then(|frame| decode::<AppendRequest>(&frame)).ok())
        .map(move |request| request.filter(|request| requested.admit(&disk, request)))
        .take_while(|request| std::future::ready(request.is_some()))
        .filter_map(std::future::ready);
    let mut replies = std::pin::pin!(raft.stream_append(requests));
    while let Some(reply) = replies.next().await {
        under_way.answered();
        let reply = reply.map_err(|fatal| io::Error::other(fatal.to_string()))?;
        sink.send(encode(&reply)?).await?;
    }
    sink.close().await
}

/// What the requests of one session take of the disk until they are answered, in their order.
#[derive(Default)]
struct UnderWay(Mutex<VecDeque<Option<Admitted>>>);

impl UnderWay {
    /// Returns whether there is room for a request. For one without commands there always is: what a
    /// leader appends when it is elected lets it answer reads.
    fn admit(&self, disk: &DiskSpace, request: &AppendRequest) -> bool {
        let commands = request.entries.iter().map(|entry| &entry.payload);
        let commands = commands.filter(|payload| matches!(payload, Payload::Normal(_)));
        let (count, bytes) = commands.fold((0, 0), |(count, bytes), payload| {
            (count + 1, bytes + approximate_size(payload))
        });
        let admitted = match count {
            0 => Some(None),
            _ => disk.admit(count, bytes, Writer::Follower).map(Some),
        };
        let is_admitted = admitted.is_some();
        self.0.lock().extend(admitted);
        is_admitted
    }

    fn answered(&self) {
        drop(self.0.lock().pop_front());
    }
}

/// Answers heartbeats, votes and transfers of `from`, one after the other. Returns some time after
/// the connection has ended, if heartbeats came over it.
pub(super) async fn control_session(
    connection: Connection,
    from: NodeId,
    running: &Running,
) -> io::Result<()> {
    let mut beats = None;
    let ended = answer_control(connection, &mut beats, running).await;
    if beats.is_some() {
        running.handler.heartbeats_ended(from).await;
    }
    ended
}

/// `beats` is there from the first heartbeat on.
async fn answer_control(
    mut connection: Connection,
    beats: &mut Option<BeatReceiver>,
    running: &Running,
) -> io::Result<()> {
    let Running {
        raft,
        contact,
        disk,
        ..
    } = running;
    loop {
        let request = receive(&mut connection).await?;
        let reply = match request {
            ControlRequest::Heartbeat(heartbeat) => {
                let beats = beats.get_or_insert_default();
                match beat(heartbeat, beats, raft, contact).await {
                    ControlReply::Append(reply) => {
                        beats.replying();
                        match disk.state() {
                            DiskState::Ok => ControlReply::Append(reply),
                            DiskState::Low | DiskState::Full => {
                                ControlReply::AppendWithoutRoom(reply)
                            }
                        }
                    }
                    other => other,
                }
            }
            other => control(other, raft).await,
        };
        send(&mut connection, &reply).await?;
    }
}

async fn control(request: ControlRequest, raft: &Raft) -> ControlReply {
    let reply = match request {
        ControlRequest::Heartbeat(Heartbeat { rpc, .. }) => {
            raft.append_entries(rpc).await.map(ControlReply::Append)
        }
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

/// Answers a heartbeat and notes what its leader vouches for.
async fn beat(
    heartbeat: Heartbeat,
    beats: &BeatReceiver,
    raft: &Raft,
    contact: &Contact,
) -> ControlReply {
    let Heartbeat { rpc, beat } = heartbeat;
    let commit_index = rpc.leader_commit.map_or(0, |id| id.index());
    let arrived = clock::now();
    match raft.append_entries(rpc).await {
        Ok(reply) => {
            // A refused heartbeat comes from a leader of the past and proves nothing.
            if !matches!(reply, AppendEntriesResponse::HigherVote(_)) {
                contact.heard(arrived, commit_index);
                beats.received(beat, contact);
            }
            ControlReply::Append(reply)
        }
        Err(error) => ControlReply::Stopped(error.to_string()),
    }
}
