//! As much of protobuf and of gRPC's framing as the requests to etcd need, written by hand: a
//! generated client would cost more than the servers under load.

use std::io;

/// Before each message: a flag for compression, and the length in four bytes.
const PREFIX: usize = 5;
/// Bytes of the longest varint.
const VARINT: usize = 10;

/// A field of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Four or eight bytes, which nothing here looks at.
    Fixed,
}

/// Appends one message with its prefix.
pub(crate) fn frame(buffer: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; PREFIX]);
    write(buffer);
    let length = u32::try_from(buffer.len() - start - PREFIX).unwrap_or(u32::MAX);
    buffer[start + 1..start + PREFIX].copy_from_slice(&length.to_be_bytes());
}

/// Returns the one message of an answer.
///
/// # Errors
///
/// It is compressed, or not one whole message.
pub(crate) fn unframe(answer: &[u8]) -> io::Result<&[u8]> {
    let Some(([0, length @ ..], message)) = answer.split_first_chunk::<PREFIX>() else {
        return Err(bad("no plain gRPC message"));
    };
    if u32::from_be_bytes(*length) as usize != message.len() {
        return Err(bad("not one whole gRPC message"));
    }
    Ok(message)
}

/// Appends a field of bytes.
pub(crate) fn put_bytes(buffer: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    put_varint(buffer, u64::from(field) << 3 | 2);
    put_varint(buffer, bytes.len() as u64);
    buffer.extend_from_slice(bytes);
}

/// Appends a field that is a number or, as 0 or 1, a truth.
pub(crate) fn put_number(buffer: &mut Vec<u8>, field: u32, number: u64) {
    put_varint(buffer, u64::from(field) << 3);
    put_varint(buffer, number);
}

fn put_varint(buffer: &mut Vec<u8>, mut number: u64) {
    while let (low, 1..) = (number & 0x7f, number >> 7) {
        buffer.push(low.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    buffer.push(number.to_le_bytes()[0]);
}

/// Returns the last value of a field, which is the one that counts.
///
/// # Errors
///
/// The bytes are no message.
pub(crate) fn find(mut message: &[u8], wanted: u64) -> io::Result<Option<Value<'_>>> {
    let mut found = None;
    while !message.is_empty() {
        let tag = take_varint(&mut message)?;
        let value = match tag & 7 {
            0 => Value::Number(take_varint(&mut message)?),
            1 => take(&mut message, 8).map(|_| Value::Fixed)?,
            2 => {
                let length = take_varint(&mut message)?;
                Value::Bytes(take(&mut message, length)?)
            }
            5 => take(&mut message, 4).map(|_| Value::Fixed)?,
            _ => return Err(bad("a field of unknown kind")),
        };
        if tag >> 3 == wanted {
            found = Some(value);
        }
    }
    Ok(found)
}

/// Returns a field of bytes; none when it is not there.
///
/// # Errors
///
/// The bytes are no message.
pub(crate) fn find_bytes(message: &[u8], wanted: u64) -> io::Result<&[u8]> {
    match find(message, wanted)? {
        Some(Value::Bytes(bytes)) => Ok(bytes),
        _ => Ok(&[]),
    }
}

/// Returns a field that is a number; 0 when it is not there.
///
/// # Errors
///
/// The bytes are no message.
pub(crate) fn find_number(message: &[u8], wanted: u64) -> io::Result<u64> {
    match find(message, wanted)? {
        Some(Value::Number(number)) => Ok(number),
        _ => Ok(0),
    }
}

fn take<'a>(message: &mut &'a [u8], length: u64) -> io::Result<&'a [u8]> {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let (bytes, rest) = message
        .split_at_checked(length)
        .ok_or_else(|| bad("a field that is cut off"))?;
    *message = rest;
    Ok(bytes)
}

fn take_varint(message: &mut &[u8]) -> io::Result<u64> {
    let mut number = 0;
    for index in 0..VARINT {
        let byte = take(message, 1)?[0];
        number |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(bad("a number that does not end"))
}

fn bad(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut buffer = Vec::new();
        frame(&mut buffer, write);
        buffer
    }

    #[test]
    fn a_put_has_the_bytes_that_protoc_gives() {
        let put = framed(|message| {
            put_bytes(message, 1, b"key");
            put_bytes(message, 2, &[b'v'; 200]);
        });
        let head = b"\0\0\0\0\xd0\x0a\x03key\x12\xc8\x01vvv";
        assert_eq!(&put[..head.len()], head);
        assert_eq!(put.len(), 5 + 5 + 3 + 200);
    }

    #[test]
    fn a_truth_is_a_number() {
        let range = framed(|message| put_number(message, 7, 1));
        assert_eq!(&range[..], b"\0\0\0\0\x02\x38\x01");
    }

    #[test]
    fn a_framed_message_comes_back() {
        let sent = framed(|message| put_bytes(message, 2, b"value"));
        let message = unframe(&sent).unwrap();
        assert_eq!(find_bytes(message, 2).unwrap(), b"value");
        assert_eq!(find(message, 1).unwrap(), None);
    }

    #[test]
    fn an_answer_that_is_compressed_or_not_whole_is_refused() {
        for answer in [
            &b""[..],
            b"\0\0\0\0",
            b"\x01\0\0\0\x01a",
            b"\0\0\0\0\x02a",
            b"\0\0\0\0\x01ab",
        ] {
            assert!(unframe(answer).is_err(), "{answer:?}");
        }
        assert_eq!(unframe(b"\0\0\0\0\0").unwrap(), b"");
    }

    #[test]
    fn numbers_of_every_size_come_back() {
        for number in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut message = Vec::new();
            put_number(&mut message, 4, number);
            assert_eq!(find_number(&message, 4).unwrap(), number);
        }
    }

    #[test]
    fn other_fields_are_stepped_over_and_the_last_of_a_field_counts() {
        let message = b"\x09abcdefgh\x15abcd\x20\x05\x1a\x01x\x20\x06";
        assert_eq!(find_number(message, 4).unwrap(), 6);
        assert_eq!(find_bytes(message, 3).unwrap(), b"x");
        assert_eq!(find(message, 2).unwrap(), Some(Value::Fixed));
    }

    #[test]
    fn bytes_that_are_no_message_are_refused() {
        for message in [
            &b"\x0a\x05ab"[..],
            b"\x09abc",
            b"\x08\xff",
            b"\x0b",
            b"\x08",
        ] {
            assert!(find(message, 1).is_err(), "{message:?}");
        }
        assert!(find(&[0xff; 11], 1).is_err());
    }
}
