//! Reads of bytes that may come over a peer connection: whatever they are, there is a message or an
//! error. For [`crate::fuzzing`].

use bytes::BytesMut;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::codec::Decoder as _;

use super::wire::{
    AppendReply, AppendRequest, CallFrame, ControlReply, ControlRequest, FormFrame, FormReply,
    Hello, HelloAck, Invite, InviteReply, JoinFrame, JoinReply, ReplyFrame, SnapshotFrame,
    SnapshotReply, codec, decode, encode,
};

/// Reads bytes as one frame of every kind, and as what a connection brings.
///
/// # Panics
///
/// There is a defect.
pub fn peer_frame(bytes: &[u8]) {
    every_message(bytes);
    let (mut frames, mut stream) = (codec().new_codec(), BytesMut::from(bytes));
    while let Ok(Some(frame)) = frames.decode(&mut stream) {
        every_message(&frame);
    }
}

fn every_message(frame: &[u8]) {
    same_again::<Hello>(frame);
    same_again::<HelloAck>(frame);
    same_again::<ControlRequest>(frame);
    same_again::<ControlReply>(frame);
    same_again::<AppendRequest>(frame);
    same_again::<AppendReply>(frame);
    same_again::<SnapshotFrame>(frame);
    same_again::<SnapshotReply>(frame);
    same_again::<CallFrame>(frame);
    same_again::<ReplyFrame>(frame);
    same_again::<Invite>(frame);
    same_again::<InviteReply>(frame);
    same_again::<JoinFrame>(frame);
    same_again::<JoinReply>(frame);
    same_again::<FormFrame>(frame);
    same_again::<FormReply>(frame);
}

/// Not every message can be compared, and a number can be written in several ways: what counts is that
/// nothing changes once it was read.
fn same_again<T: Serialize + DeserializeOwned>(frame: &[u8]) {
    let Ok(message) = decode::<T>(&BytesMut::from(frame)) else {
        return;
    };
    let sent = encode(&message).expect("what was received can be sent");
    let received: T = decode(&BytesMut::from(&*sent)).expect("what was sent can be received");
    let again = encode(&received).expect("what was received can be sent");
    assert_eq!(again, sent, "{}", std::any::type_name::<T>());
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Duration;

    use bytes::Bytes;
    use conclave_shared::ReadLevel;
    use openraft::entry::RaftEntry as _;
    use openraft::raft::{AppendEntriesRequest, VoteRequest};

    use super::*;
    use crate::formation::{DirectoryId, Group, Question};
    use crate::network::LocalNode;
    use crate::network::wire::{Heartbeat, Purpose};
    use crate::node::{
        Answer, AnswerMeta, BeatSender, JoinRequest, PeerReply, PeerRequest, Proposal, Timing,
        Vouch,
    };
    use crate::raft::{
        ClusterId, Entry, LogId, Member, Membership, Payload, SnapshotMeta, TypeConfig, Vote,
    };
    use crate::state::{
        Command, Condition, Key, LockName, Op, Outcome, Put, RequestId, SessionId, Stamps,
    };

    type Seed = (&'static str, Vec<u8>);

    fn id(index: u64) -> LogId {
        LogId::new_term_index(2, index)
    }

    fn member() -> Member {
        Member {
            name: "node1".to_owned(),
            http: "localhost:11002".to_owned(),
            raft: "localhost:11003".to_owned(),
        }
    }

    fn put() -> Op {
        Op::Put {
            put: Put {
                key: Key::try_from("a/1").unwrap(),
                value: Bytes::from_static(b"value"),
                content_type: "text/plain".into(),
                ttl_ms: Some(60_000),
            },
            condition: Condition::default(),
            return_previous: true,
        }
    }

    fn command() -> Command {
        Command {
            log_time_ms: 1_000,
            wall_time_ms: 1_700_000_000_000,
            request_id: RequestId::new("request-1").unwrap(),
            taken_at: 6,
            origin: "node0".into(),
            client: Some("client".into()),
            guard: None,
            op: put(),
        }
    }

    fn append(entries: Vec<Entry>) -> AppendEntriesRequest<TypeConfig> {
        AppendEntriesRequest {
            vote: Vote::new_committed(2, 1),
            prev_log_id: Some(id(7)),
            entries,
            leader_commit: Some(id(6)),
        }
    }

    fn meta() -> SnapshotMeta {
        let voters = vec![BTreeSet::from([1, 2])];
        let members = BTreeMap::from([(1, Member::default()), (2, member())]);
        let members = openraft::Membership::new(voters, members).unwrap();
        SnapshotMeta {
            last_log_id: Some(id(9)),
            last_membership: Membership::new(Some(id(3)), members),
        }
    }

    fn answer(value: Outcome) -> PeerReply {
        PeerReply::Written(Answer {
            value,
            meta: AnswerMeta {
                revision: 8,
                level: ReadLevel::Consistent,
                term: 2,
                applied_index: 9,
                log_time_ms: 1_000,
                served_by: "node0".into(),
                leader: Some("node0".into()),
                last_contact: Some(Duration::from_millis(3)),
                forwarded: false,
                request_id: RequestId::new("request-1"),
                replayed: false,
                timing: Timing::default(),
            },
        })
    }

    fn stamps() -> Stamps {
        Stamps {
            create_revision: 8,
            mod_revision: 8,
            version: 1,
        }
    }

    /// The seeds of Raft's own messages.
    fn raft_seeds() -> Vec<Seed> {
        let vouch = Vouch {
            quorum_age: Duration::from_millis(40),
            covers: 6,
        };
        let heartbeat = ControlRequest::Heartbeat(Heartbeat {
            rpc: append(Vec::new()),
            beat: BeatSender::default().next(|| Some(vouch)),
        });
        let entries = [Payload::Blank, Payload::Normal(command().into())];
        let entries = entries.into_iter().zip(8..);
        let entries = entries.map(|(payload, index)| Entry::new(id(index), payload));
        let vote = ControlRequest::Vote(VoteRequest::new(Vote::new(3, 2), Some(id(9))));
        let begin = SnapshotFrame::Begin {
            vote: Vote::new_committed(2, 1),
            meta: meta(),
            bytes: 12,
        };
        vec![
            ("heartbeat", encode(&heartbeat).unwrap().to_vec()),
            ("vote", encode(&vote).unwrap().to_vec()),
            (
                "append",
                encode(&append(entries.collect())).unwrap().to_vec(),
            ),
            ("snapshot_begin", encode(&begin).unwrap().to_vec()),
        ]
    }

    pub(crate) fn seeds() -> Vec<Seed> {
        let local = LocalNode {
            cluster: ClusterId([7; 16]),
            id: 1,
            name: "node0".to_owned(),
        };
        let call = CallFrame {
            number: 5,
            request: PeerRequest::Write(Proposal {
                request_id: RequestId::new("request-1").unwrap(),
                taken_at: 6,
                origin: "node1".into(),
                client: None,
                guard: None,
                op: Op::KeepClaims {
                    claims: vec![(LockName::try_from("lock").unwrap(), SessionId(4))],
                },
            }),
        };
        let replayed = Outcome::Replayed(Box::new(Outcome::Put {
            stamps: stamps(),
            previous: None,
        }));
        let reply = ReplyFrame {
            number: 5,
            result: Ok(answer(replayed)),
        };
        let join = JoinRequest {
            name: "node1".to_owned(),
            http: "localhost:11002".to_owned(),
            raft: "localhost:11003".to_owned(),
            replace: false,
        };
        let question = Question {
            from: DirectoryId([3; 16]),
            member: member(),
            group: Some(Group::List(vec!["localhost:11000".to_owned()])),
            pledge: Some((DirectoryId([3; 16]), 1)),
        };
        let mut stream = Vec::new();
        let hello = encode(&Hello::new(Purpose::Forward, &local, 2)).unwrap();
        for frame in [&hello, &encode(&call).unwrap()] {
            let length = u32::try_from(frame.len()).unwrap();
            stream.extend(length.to_be_bytes());
            stream.extend_from_slice(frame);
        }
        let mut seeds = raft_seeds();
        seeds.extend([
            ("stream", stream),
            ("reply", encode(&reply).unwrap().to_vec()),
            ("join", encode(&join).unwrap().to_vec()),
            ("question", encode(&question).unwrap().to_vec()),
        ]);
        seeds
    }

    #[test]
    fn the_seeds_are_messages() {
        fn is<T: DeserializeOwned>(frame: &[u8]) -> bool {
            decode::<T>(&BytesMut::from(frame)).is_ok()
        }
        for (name, bytes) in seeds() {
            let understood = match name {
                "heartbeat" | "vote" => is::<ControlRequest>(&bytes),
                "append" => is::<AppendRequest>(&bytes),
                "snapshot_begin" => is::<SnapshotFrame>(&bytes),
                "reply" => is::<ReplyFrame>(&bytes),
                "join" => is::<JoinFrame>(&bytes),
                "question" => is::<FormFrame>(&bytes),
                _ => is::<Hello>(&bytes[4..]),
            };
            assert!(understood, "{name}");
        }
    }

    /// An outcome in an outcome, and so on for a megabyte, must not use up the stack of its reader.
    #[test]
    fn a_reply_that_is_nested_without_end_is_refused() {
        let reply = |outcome| ReplyFrame {
            number: 0,
            result: Ok(answer(outcome)),
        };
        let plain = encode(&reply(Outcome::Nothing)).unwrap();
        let nested = encode(&reply(Outcome::Replayed(Box::new(Outcome::Nothing)))).unwrap();
        let at = (0..plain.len())
            .find(|at| plain[*at] != nested[*at])
            .unwrap();
        let deep = [&nested[..at], &vec![nested[at]; 1 << 20], &plain[at..]].concat();
        assert!(decode::<ReplyFrame>(&BytesMut::from(&*deep)).is_err());
        assert!(decode::<ReplyFrame>(&BytesMut::from(&*nested)).is_ok());
    }
}
