//! etcd's side of the load: gRPC calls, one under way at a time.

use std::io;

use crate::http2::{self, Http2};
use crate::load::{Answer, Request, Session, connect};
use crate::protobuf::{find, frame, put_bytes, put_number, unframe};

const PUT_KEY: u32 = 1;
const PUT_VALUE: u32 = 2;
const RANGE_KEY: u32 = 1;
const RANGE_SERIALIZABLE: u32 = 7;
/// Of an answer: what a range found.
pub(crate) const RANGE_KVS: u64 = 2;

/// One connection.
#[derive(Debug)]
pub(crate) struct Grpc {
    connection: Http2,
    authority: String,
    /// The heads of the two calls, which are the same each time.
    put: Vec<u8>,
    range: Vec<u8>,
    message: Vec<u8>,
}

impl Session for Grpc {
    async fn open(address: &str) -> io::Result<Self> {
        Ok(Self {
            connection: Http2::new(connect(address).await?),
            authority: address.to_owned(),
            put: http2::head(address, "/etcdserverpb.KV/Put")?,
            range: http2::head(address, "/etcdserverpb.KV/Range")?,
            message: Vec::with_capacity(1024),
        })
    }

    async fn exchange(&mut self, request: Request<'_>) -> io::Result<Answer> {
        self.message.clear();
        frame(&mut self.message, |message| match request {
            Request::Put { key, value } => {
                put_bytes(message, PUT_KEY, key.as_bytes());
                put_bytes(message, PUT_VALUE, value);
            }
            Request::Get { key, level } => {
                put_bytes(message, RANGE_KEY, key.as_bytes());
                if level == "stale" {
                    put_number(message, RANGE_SERIALIZABLE, 1);
                }
            }
        });
        let head = match request {
            Request::Put { .. } => &self.put,
            Request::Get { .. } => &self.range,
        };
        let status = self.connection.call(head, &self.message).await?;
        if status != b"0" {
            return Ok(refused(&status));
        }
        let message = self.answer()?;
        if matches!(request, Request::Get { .. }) && find(message, RANGE_KVS)?.is_none() {
            return Ok(Answer::Refused("the key is not there".to_owned()));
        }
        Ok(Answer::Done)
    }
}

impl Grpc {
    /// Calls a method whose request is empty.
    ///
    /// # Errors
    ///
    /// The connection is of no more use, or the member refuses.
    pub(crate) async fn ask(&mut self, path: &str) -> io::Result<&[u8]> {
        let head = http2::head(&self.authority, path)?;
        self.message.clear();
        frame(&mut self.message, |_| ());
        let status = self.connection.call(&head, &self.message).await?;
        if status != b"0" {
            return Err(io::Error::other(format!("{:?}", refused(&status))));
        }
        self.answer()
    }

    /// Returns the message of the last answer.
    ///
    /// # Errors
    ///
    /// It is not one whole message.
    pub(crate) fn answer(&self) -> io::Result<&[u8]> {
        unframe(self.connection.answer())
    }
}

fn refused(status: &[u8]) -> Answer {
    let status = String::from_utf8_lossy(status);
    Answer::Refused(format!("gRPC status `{status}`"))
}
