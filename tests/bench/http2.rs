//! One HTTP/2 connection with one call under way at a time (RFC 9113, RFC 7541).
//!
//! Written by hand because a whole HTTP/2 library costs about twice as much per call, and the
//! generator shares its cores with the servers. It does what calls of one small message need, and
//! anything else is an error: no padding, no continued header blocks, no table of headers (which
//! the settings forbid to the server).

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

/// In `SETTINGS` and `PING`: it is the answer to one.
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

const FRAME_HEAD: usize = 9;
/// Longest frame that either side sends.
const FRAME: usize = 16_384;
/// Longest answer taken; those of the bench are far shorter. Also each stream's window.
const ANSWER: u32 = 4 << 20;
/// What either side may send over a connection before it is given more.
const FIRST_WINDOW: i64 = 65_535;
/// What the server is given at first on top of that, and again when it has used half of it.
const MORE_WINDOW: u32 = 1 << 30;
/// Stream ids end here; a connection that has used them is of no more use.
const LAST_STREAM: u32 = (1 << 31) - 1;

/// `grpc-status` in HPACK's Huffman code.
const STATUS_HUFFMAN: [u8; 8] = [0x9a, 0xca, 0xc8, 0xb2, 0x12, 0x34, 0xda, 0x8f];

/// The connection.
#[derive(Debug)]
pub(crate) struct Http2 {
    stream: TcpStream,
    next_stream: u32,
    /// What is sent at once: answers to the server's own frames ride along with the next call.
    out: Vec<u8>,
    input: Vec<u8>,
    /// Bytes of messages that the server still takes.
    window: i64,
    /// Bytes of messages that the server was not yet given back.
    received: u32,
    answer: Vec<u8>,
}

/// A frame without its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Frame<'a> {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: &'a [u8],
}

impl Http2 {
    /// Begins a connection; the server's own beginning is read with the first answer.
    pub(crate) fn new(stream: TcpStream) -> Self {
        let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        // No table of headers, no pushes, and streams that never wait for their window.
        let settings = [(1_u16, 0_u32), (2, 0), (4, ANSWER)];
        let settings: Vec<_> = settings
            .iter()
            .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        put_frame(&mut out, SETTINGS, 0, 0, &settings);
        put_frame(&mut out, WINDOW_UPDATE, 0, 0, &MORE_WINDOW.to_be_bytes());
        Self {
            stream,
            next_stream: 1,
            out,
            input: Vec::with_capacity(FRAME),
            window: FIRST_WINDOW,
            received: 0,
            answer: Vec::with_capacity(4096),
        }
    }

    /// Sends a header block and a message, and returns the `grpc-status` of the answer.
    ///
    /// # Errors
    ///
    /// The message is longer than one frame, or the connection is of no more use.
    pub(crate) async fn call(&mut self, head: &[u8], message: &[u8]) -> io::Result<Vec<u8>> {
        if message.len() > FRAME || self.next_stream >= LAST_STREAM {
            return Err(bad("a message or a connection that is too long"));
        }
        let length = i64::try_from(message.len()).unwrap_or(i64::MAX);
        while self.window < length {
            self.read_more().await?;
            self.take_frames(0)?;
        }
        let stream = self.next_stream;
        self.next_stream += 2;
        self.window -= length;
        put_frame(&mut self.out, HEADERS, END_HEADERS, stream, head);
        put_frame(&mut self.out, DATA, END_STREAM, stream, message);
        self.stream.write_all(&self.out).await?;
        self.out.clear();
        self.answer.clear();
        loop {
            self.read_more().await?;
            if let Some(status) = self.take_frames(stream)? {
                return Ok(status);
            }
        }
    }

    /// Returns the message of the last answer.
    pub(crate) fn answer(&self) -> &[u8] {
        &self.answer
    }

    async fn read_more(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.input).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Takes the whole frames out of the input; returns the status once the stream has ended.
    fn take_frames(&mut self, stream: u32) -> io::Result<Option<Vec<u8>>> {
        let input = std::mem::take(&mut self.input);
        let mut rest = &input[..];
        let mut status = None;
        while let Some((frame, more)) = split_frame(rest)? {
            rest = more;
            if let Some(ended) = self.take_frame(frame, stream)? {
                status = Some(ended);
            }
        }
        let taken = input.len() - rest.len();
        self.input = input;
        self.input.drain(..taken);
        Ok(status)
    }

    fn take_frame(&mut self, frame: Frame<'_>, stream: u32) -> io::Result<Option<Vec<u8>>> {
        let Frame {
            kind,
            flags,
            payload,
            ..
        } = frame;
        match kind {
            DATA | HEADERS if flags & PADDED != 0 => return Err(bad("a frame with padding")),
            HEADERS if flags & END_HEADERS == 0 => return Err(bad("a header block in parts")),
            HEADERS if frame.stream == stream && flags & END_STREAM != 0 => {
                return find_status(payload).map(Some);
            }
            DATA => self.take_data(frame, stream)?,
            SETTINGS if flags & ACK == 0 => {
                check_settings(payload)?;
                put_frame(&mut self.out, SETTINGS, ACK, 0, &[]);
            }
            PING if flags & ACK == 0 => put_frame(&mut self.out, PING, ACK, 0, payload),
            WINDOW_UPDATE if frame.stream == 0 => self.window += i64::from(number(payload)?),
            RST_STREAM | GOAWAY => return Err(bad("the server has ended the call")),
            _ => {}
        }
        Ok(None)
    }

    fn take_data(&mut self, frame: Frame<'_>, stream: u32) -> io::Result<()> {
        let length = u32::try_from(frame.payload.len()).unwrap_or(u32::MAX);
        self.received += length;
        if self.received > MORE_WINDOW / 2 {
            let given = self.received.to_be_bytes();
            put_frame(&mut self.out, WINDOW_UPDATE, 0, 0, &given);
            self.received = 0;
        }
        if frame.stream != stream || frame.flags & END_STREAM != 0 {
            return Err(bad("a message out of place"));
        }
        if self.answer.len() + frame.payload.len() > ANSWER as usize {
            return Err(bad("an answer that is too long"));
        }
        self.answer.extend_from_slice(frame.payload);
        Ok(())
    }
}

/// Returns the header block of a gRPC call.
///
/// # Errors
///
/// The path or the authority is too long for a length of one byte.
pub(crate) fn head(authority: &str, path: &str) -> io::Result<Vec<u8>> {
    // POST and http are in the static table, as are the names of the three after them.
    let mut block = vec![0x83, 0x86];
    let fields: [(&[u8], &str); 4] = [
        (&[0x04], path),
        (&[0x01], authority),
        (&[0x0f, 31 - 15], "application/grpc"),
        (b"\x00\x02te", "trailers"),
    ];
    for (name, value) in fields {
        let length = u8::try_from(value.len()).unwrap_or(u8::MAX);
        if length >= 0x7f {
            return Err(bad("a path or an authority that is too long"));
        }
        block.extend_from_slice(name);
        block.push(length);
        block.extend_from_slice(value.as_bytes());
    }
    Ok(block)
}

fn put_frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// Returns the first frame and what follows it; `None` when it is not yet whole.
fn split_frame(input: &[u8]) -> io::Result<Option<(Frame<'_>, &[u8])>> {
    let Some((&[a, b, c, kind, flags, s, t, u, v], rest)) = input.split_first_chunk::<FRAME_HEAD>()
    else {
        return Ok(None);
    };
    let length = u32::from_be_bytes([0, a, b, c]) as usize;
    if length > FRAME {
        return Err(bad("a frame that is too long"));
    }
    let Some((payload, rest)) = rest.split_at_checked(length) else {
        return Ok(None);
    };
    let frame = Frame {
        kind,
        flags,
        stream: u32::from_be_bytes([s, t, u, v]) & LAST_STREAM,
        payload,
    };
    Ok(Some((frame, rest)))
}

/// Refuses windows of streams into which one frame would not fit.
fn check_settings(payload: &[u8]) -> io::Result<()> {
    for setting in payload.chunks(6) {
        if let [0, 4, value @ ..] = setting
            && (number(value)? as usize) < FRAME
        {
            return Err(bad("a window that is too small"));
        }
    }
    Ok(())
}

fn number(payload: &[u8]) -> io::Result<u32> {
    let bytes = payload
        .try_into()
        .map_err(|_other_length| bad("a number of another length"))?;
    Ok(u32::from_be_bytes(bytes))
}

/// Returns the value of `grpc-status` in a header block, as it is there: a status has no shorter
/// form in Huffman's code, so it is plain.
fn find_status(mut block: &[u8]) -> io::Result<Vec<u8>> {
    let mut status = Vec::new();
    while let Some(first) = block.first() {
        let prefix_bits = match first.leading_zeros() {
            0 => 7,
            1 => 6,
            2 => 5,
            _ => 4,
        };
        let index = take_integer(&mut block, prefix_bits)?;
        match prefix_bits {
            // The static table has no gRPC, and a table of our own we have not.
            7 if index <= 61 => {}
            5 if index == 0 => {}
            5 | 7 => return Err(bad("a header from a table that there is not")),
            _ => {
                let name = match index {
                    0 => take_string(&mut block)?,
                    _ => &[],
                };
                let value = take_string(&mut block)?;
                if name == b"grpc-status" || name == STATUS_HUFFMAN {
                    status = value.to_vec();
                }
            }
        }
    }
    Ok(status)
}

/// Takes an integer that begins in the low bits of a byte (RFC 7541 §5.1).
fn take_integer(block: &mut &[u8], prefix_bits: u32) -> io::Result<usize> {
    let most = (1 << prefix_bits) - 1;
    let mut integer = usize::from(take_byte(block)?) & most;
    if integer < most {
        return Ok(integer);
    }
    // No header of the bench is longer than what three bytes can say.
    for shift in [0, 7, 14] {
        let byte = take_byte(block)?;
        integer += usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(integer);
        }
    }
    Err(bad("a header that is too long"))
}

fn take_string<'a>(block: &mut &'a [u8]) -> io::Result<&'a [u8]> {
    let length = take_integer(block, 7)?;
    let (string, rest) = block
        .split_at_checked(length)
        .ok_or_else(|| bad("a header that is cut off"))?;
    *block = rest;
    Ok(string)
}

fn take_byte(block: &mut &[u8]) -> io::Result<u8> {
    let (byte, rest) = block
        .split_first()
        .ok_or_else(|| bad("a header that is cut off"))?;
    *block = rest;
    Ok(*byte)
}

fn bad(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_taken_when_it_is_whole() {
        let mut out = Vec::new();
        put_frame(&mut out, PING, ACK, 0, b"12345678");
        put_frame(&mut out, DATA, END_STREAM, 5, b"x");
        for cut in 0..FRAME_HEAD + 8 {
            assert_eq!(split_frame(&out[..cut]).unwrap(), None);
        }
        let (ping, rest) = split_frame(&out).unwrap().unwrap();
        assert_eq!((ping.kind, ping.payload), (PING, &b"12345678"[..]));
        let (data, rest) = split_frame(rest).unwrap().unwrap();
        assert_eq!((data.kind, data.flags, data.stream), (DATA, END_STREAM, 5));
        assert_eq!((data.payload, rest), (&b"x"[..], &b""[..]));
        assert!(split_frame(&[0xff; FRAME_HEAD]).is_err());
    }

    #[test]
    fn a_small_window_is_refused() {
        assert!(check_settings(b"\0\x03\0\0\0\x01\0\x04\0\0\xff\xff").is_ok());
        assert!(check_settings(b"\0\x03\0\0\0\x01\0\x04\0\0\0\xff").is_err());
        assert!(check_settings(b"\0\x04\0").is_err());
    }

    #[test]
    fn a_status_is_found_plain_and_coded() {
        let coded = [&[0x20, 0x88, 0x00, 0x88], &STATUS_HUFFMAN[..], b"\x010"].concat();
        assert_eq!(find_status(&coded).unwrap(), b"0");
        let plain = b"\x00\x0bgrpc-status\x0214\x10\x01a\x01b";
        assert_eq!(find_status(plain).unwrap(), b"14");
        assert_eq!(find_status(b"\x88").unwrap(), b"");
    }

    #[test]
    fn headers_from_a_table_or_cut_off_are_refused() {
        for block in [&b"\xbe"[..], b"\x3f\xe1\x1f", b"\x00\x05abc", b"\x00"] {
            assert!(find_status(block).is_err(), "{block:?}");
        }
    }

    #[test]
    fn long_integers_are_those_of_the_standard() {
        // RFC 7541, C.1.2.
        assert_eq!(take_integer(&mut &b"\x1f\x9a\x0a"[..], 5).unwrap(), 1337);
        assert!(take_integer(&mut &b"\x1f\xff\xff\xff\x01"[..], 5).is_err());
    }

    #[test]
    fn a_call_has_the_head_that_grpc_wants() {
        let block = head("h:1", "/s/m").unwrap();
        assert_eq!(
            block,
            b"\x83\x86\x04\x04/s/m\x01\x03h:1\x0f\x10\x10application/grpc\x00\x02te\x08trailers"
        );
        assert!(head("h:1", &"p".repeat(127)).is_err());
    }
}
