//! One question and its answer between nodes that may become one cluster. What they mean is
//! `formation`'s.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use super::connect::dial;
use super::wire::{
    Connection, FormFrame, FormReply, HANDSHAKE, Hello, HelloAck, LocalNode, Purpose, receive,
    send, within,
};
use crate::formation::{Question, Reply};
use crate::raft::ClusterId;

/// Answers the questions of other nodes, whatever this one is doing.
pub type AnswerForming = Arc<dyn Fn(Question) -> BoxFuture<'static, Reply> + Send + Sync>;

/// Asks the node at an address who it is and what it is doing.
///
/// # Errors
///
/// Nobody answers there, or what answers takes no part or speaks another version of the protocol.
pub async fn ask_forming(address: &str, question: &Question, limit: Duration) -> io::Result<Reply> {
    let local = LocalNode {
        cluster: ClusterId([0; 16]),
        id: 0,
        name: question.member.name.clone(),
    };
    let ask = async {
        let (mut connection, ack) = dial(address, &Hello::new(Purpose::Form, &local, 0)).await?;
        let refusal = match ack {
            HelloAck::Welcome => None,
            HelloAck::Refused(reason) | HelloAck::NotYet(reason) => Some(reason),
            HelloAck::Waiting(other) | HelloAck::Invited(other, _) => {
                Some(format!("`{}` there waits to be joined", other.name))
            }
        };
        if let Some(reason) = refusal {
            return Err(io::Error::new(io::ErrorKind::ConnectionRefused, reason));
        }
        send::<FormFrame>(&mut connection, question).await?;
        receive::<FormReply>(&mut connection).await
    };
    within(limit, ask).await
}

pub(super) async fn answer(mut connection: Connection, answer: &AnswerForming) -> io::Result<()> {
    send(&mut connection, &HelloAck::Welcome).await?;
    let question: FormFrame = within(HANDSHAKE, receive(&mut connection)).await?;
    let reply: FormReply = answer(question).await;
    send(&mut connection, &reply).await
}
