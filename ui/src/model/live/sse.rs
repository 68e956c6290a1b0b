//! Server-sent events out of a stream of bytes (WHATWG HTML §9.2.6), whatever the pieces are that the
//! bytes come in.

/// Longest line, bytes. A heartbeat of ten members has a few KiB.
pub const LINE_LIMIT: usize = 4 << 20;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// Its name; `message` when it has none.
    pub event: String,
    pub data: String,
    /// The id that this message itself carries; an event without one leaves the last one as it is.
    pub id: Option<String>,
}

/// A line is longer than [`LINE_LIMIT`]: what sends it is no node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong;

/// Reads one stream from its first byte.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    message: Message,
    has_data: bool,
    /// The last byte was a CR, so that a LF belongs to the line end before it.
    after_cr: bool,
    /// A line has ended: a byte order mark would be text now.
    has_begun: bool,
}

impl Parser {
    /// Reads a piece and returns the events that end in it.
    ///
    /// # Errors
    ///
    /// [`TooLong`]; the parser is of no use afterwards.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Message>, TooLong> {
        let mut messages = Vec::new();
        let mut rest = bytes;
        while let Some((&first, behind)) = rest.split_first() {
            if std::mem::take(&mut self.after_cr) && first == b'\n' {
                rest = behind;
                continue;
            }
            let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let text = &rest[..end.unwrap_or(rest.len())];
            if self.line.len() + text.len() > LINE_LIMIT {
                return Err(TooLong);
            }
            self.line.extend_from_slice(text);
            let Some(end) = end else { break };
            self.after_cr = rest[end] == b'\r';
            rest = &rest[end + 1..];
            messages.extend(self.end_line());
        }
        Ok(messages)
    }

    fn end_line(&mut self) -> Option<Message> {
        let mut bytes = std::mem::take(&mut self.line);
        if !std::mem::replace(&mut self.has_begun, true) && bytes.starts_with(b"\xEF\xBB\xBF") {
            bytes.drain(..3);
        }
        if bytes.is_empty() {
            return self.dispatch();
        }
        // A line is whole, so no character of it is split.
        let line = String::from_utf8_lossy(&bytes);
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.message.event),
            "data" => {
                if self.has_data {
                    self.message.data.push('\n');
                }
                self.message.data.push_str(value);
                self.has_data = true;
            }
            "id" if !value.contains('\0') => self.message.id = Some(value.to_owned()),
            // Comments, `retry` (this page has its own pace), and what nobody knows.
            _ => {}
        }
        None
    }

    /// An event without data is none.
    fn dispatch(&mut self) -> Option<Message> {
        let mut message = std::mem::take(&mut self.message);
        if !std::mem::take(&mut self.has_data) {
            return None;
        }
        if message.event.is_empty() {
            "message".clone_into(&mut message.event);
        }
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(event: &str, data: &str, id: Option<&str>) -> Message {
        Message {
            event: event.to_owned(),
            data: data.to_owned(),
            id: id.map(str::to_owned),
        }
    }

    const STREAM: &[u8] = b"\xEF\xBB\xBFretry: 1000\n\n: \n\nid: 7\nevent: put\ndata: {\"key\":\"gr\xC3\xBC\xC3\x9Fe \xF0\x9F\x97\x9D\"}\n\n\
        event:hb\r\ndata: a\r\ndata:  b\r\n\r\nevent: nothing\rid: 8\r\rdata\n\nid: a\0b\ndata: last\n\ndata: cut";

    fn events() -> Vec<Message> {
        vec![
            message("put", "{\"key\":\"gr\u{fc}\u{df}e \u{1f5dd}\"}", Some("7")),
            message("hb", "a\n b", None),
            message("message", "", None),
            message("message", "last", None),
        ]
    }

    #[test]
    fn a_stream_is_read_as_the_standard_says() {
        assert_eq!(Parser::default().push(STREAM), Ok(events()));
    }

    #[test]
    fn the_pieces_it_comes_in_make_no_difference() {
        for first in 0..STREAM.len() {
            for second in first..STREAM.len() {
                let mut parser = Parser::default();
                let mut seen = Vec::new();
                for piece in [&STREAM[..first], &STREAM[first..second], &STREAM[second..]] {
                    seen.extend(parser.push(piece).unwrap());
                }
                assert_eq!(seen, events(), "cut at {first} and {second}");
            }
        }
        let mut parser = Parser::default();
        let bytes = STREAM.iter();
        let seen: Vec<Message> = bytes
            .flat_map(|&byte| parser.push(&[byte]).unwrap())
            .collect();
        assert_eq!(seen, events());
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let mut parser = Parser::default();
        let piece = vec![b'x'; LINE_LIMIT / 2];
        assert_eq!(parser.push(&piece), Ok(Vec::new()));
        assert_eq!(parser.push(&piece), Ok(Vec::new()));
        assert_eq!(parser.push(&piece), Err(TooLong));
    }
}
