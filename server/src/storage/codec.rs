//! Versioned encodings of everything this node writes to disk.
//!
//! A record is `[format u8][postcard bytes]`. Postcard is positional, so any change of a stored
//! type that is not a variant appended at the end takes the next format number and a decoder for
//! the old one. The golden bytes below fail first.

use std::io::{self, Read, Write};

use raft_log::codeq;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::encoding;

/// Format of all records written by this version.
pub(super) const FORMAT: u8 = 3;
/// What most records need, so that their buffer does not grow.
const USUAL_BYTES: usize = 512;

/// Encodes a record.
///
/// # Errors
///
/// The type has no encoding, which is a bug.
pub(super) fn encode<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    let mut record = Vec::with_capacity(USUAL_BYTES);
    record.push(FORMAT);
    encoding::append(value, &mut record)?;
    Ok(record)
}

/// Decodes a record.
///
/// # Errors
///
/// `InvalidData` when the bytes are damaged or of a format that this version does not know.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    match bytes.split_first() {
        Some((&FORMAT, body)) => {
            postcard::from_bytes(body).map_err(|error| invalid(format!("damaged record: {error}")))
        }
        Some((format, _)) => Err(invalid(format!("record has format {format}, not {FORMAT}"))),
        None => Err(invalid("empty record".to_owned())),
    }
}

/// Makes an error for damaged or foreign bytes.
pub(super) fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// Any stored type as a field of a raft-log record: length, crc32 of the length, record.
///
/// raft-log checksums whole records, but takes one that runs past the end of the file for a torn
/// tail and cuts it off. The length's own checksum keeps a damaged length from looking like that:
/// without it one flipped bit silently drops synced entries.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Field<T>(pub T);

impl<T: Serialize> codeq::Encode for Field<T> {
    fn encode<W: Write>(&self, mut w: W) -> io::Result<usize> {
        let body = encode(&self.0)?;
        let length = u32::try_from(body.len())
            .map_err(io::Error::other)?
            .to_be_bytes();
        w.write_all(&length)?;
        w.write_all(&crc32fast::hash(&length).to_be_bytes())?;
        w.write_all(&body)?;
        Ok(8 + body.len())
    }
}

impl<T: DeserializeOwned> codeq::Decode for Field<T> {
    fn decode<R: Read>(mut r: R) -> io::Result<Self> {
        let (mut length, mut checksum) = ([0; 4], [0; 4]);
        r.read_exact(&mut length)?;
        r.read_exact(&mut checksum)?;
        if crc32fast::hash(&length).to_be_bytes() != checksum {
            return Err(invalid("damaged field length".to_owned()));
        }
        let length = u32::from_be_bytes(length);
        let mut body = Vec::new();
        r.take(u64::from(length)).read_to_end(&mut body)?;
        if body.len() as u64 != u64::from(length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // raft-log checks the record's checksum after this: the body may still be damaged.
        decode(&body).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use codeq::{Decode, Encode};

    use super::*;
    use crate::raft::Payload;
    use crate::state::{
        Command, Condition, Key, LockName, Op, Put, Release, RequestId, SessionId, Transaction,
        TxnCondition, TxnOp,
    };

    fn command(op: Op) -> Command {
        Command {
            log_time_ms: 1,
            wall_time_ms: 300,
            request_id: RequestId::new("id").unwrap(),
            taken_at: 8,
            origin: "n1".into(),
            client: Some("c".into()),
            guard: None,
            op,
        }
    }

    fn put(key: &str) -> Put {
        Put {
            key: Key::try_from(key).unwrap(),
            value: Bytes::from_static(b"v"),
            content_type: "t".into(),
            ttl_ms: None,
        }
    }

    fn lock() -> LockName {
        LockName::try_from("l").unwrap()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A change here means that logs written before can no longer be read: add a format instead.
    #[test]
    fn the_log_format_has_these_bytes() {
        let key = Key::try_from("k").unwrap();
        let golden = [
            (
                Op::Put {
                    put: put("k"),
                    condition: Condition {
                        mod_revision: Some(7),
                        ..Condition::default()
                    },
                    return_previous: true,
                },
                "030101ac02 02696408 026e31010163 00 00 016b 0176 0174 00 00 0107 00 01",
            ),
            (
                Op::PutMany {
                    puts: vec![put("k")],
                },
                "030101ac02 02696408 026e31010163 00 01 01 016b 0176 0174 00",
            ),
            (
                Op::Delete {
                    key,
                    condition: Condition::default(),
                    return_previous: false,
                },
                "030101ac02 02696408 026e31010163 00 02 016b 00 00 00 00",
            ),
            (
                Op::DeletePrefix {
                    prefix: "p/".to_owned(),
                },
                "030101ac02 02696408 026e31010163 00 03 02702f",
            ),
            (
                Op::AllocateNode { name: "n2".into() },
                "030101ac02 02696408 026e31010163 00 04 026e32",
            ),
            (
                Op::SettleRequest {
                    id: RequestId::new("r").unwrap(),
                },
                "030101ac02 02696408 026e31010163 00 05 0172",
            ),
        ];
        check(golden);
    }

    #[test]
    fn the_log_format_of_locks_and_transactions_has_these_bytes() {
        let golden = [
            (
                Op::Transaction(Transaction {
                    conditions: vec![TxnCondition::Lock {
                        lock: lock(),
                        token: 7,
                    }],
                    then: vec![TxnOp::Put {
                        put: Put {
                            ttl_ms: Some(1_000),
                            ..put("k")
                        },
                        return_previous: false,
                    }],
                    or_else: Some(Vec::new()),
                }),
                "030101ac02 02696408 026e31010163 00 06 01 01016c07 01 01016b0176017401e80700 0100",
            ),
            (
                Op::AcquireLock {
                    lock: lock(),
                    owner: "o".into(),
                    ttl_ms: 500,
                    session: Some(SessionId(9)),
                    queue: true,
                },
                "030101ac02 02696408 026e31010163 00 07 016c 016f f403 0109 01",
            ),
            (
                Op::RenewLock {
                    lock: lock(),
                    session: SessionId(9),
                },
                "030101ac02 02696408 026e31010163 00 08 016c 09",
            ),
            (
                Op::KeepClaims {
                    claims: vec![(lock(), SessionId(9))],
                },
                "030101ac02 02696408 026e31010163 00 09 01 016c 09",
            ),
            (
                Op::ReleaseLock {
                    lock: lock(),
                    by: Release::Break,
                },
                "030101ac02 02696408 026e31010163 00 0a 016c 01",
            ),
            (Op::Tick, "030101ac02 02696408 026e31010163 00 0b"),
        ];
        check(golden);
    }

    fn check<const N: usize>(golden: [(Op, &str); N]) {
        for (op, bytes) in golden {
            let payload = Payload::Normal(command(op).into());
            let encoded = encode(&payload).unwrap();
            assert_eq!(hex(&encoded), bytes.replace(' ', ""), "{payload:?}");
            assert_eq!(decode::<Payload>(&encoded).unwrap(), payload);
        }
    }

    #[test]
    fn a_damaged_length_is_an_error_and_no_torn_tail() {
        let mut bytes = Vec::new();
        Field(String::from("abc")).encode(&mut bytes).unwrap();
        assert_eq!(Field::<String>::decode(&bytes[..]).unwrap().0, "abc");
        for bit in 0..32 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let error = Field::<String>::decode(&damaged[..]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "bit {bit}");
        }
    }

    #[test]
    fn another_format_is_named() {
        let error = decode::<u8>(&[9, 1]).unwrap_err();
        assert!(error.to_string().contains("format 9"), "{error}");
    }
}
