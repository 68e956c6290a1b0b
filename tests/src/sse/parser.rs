//! The text of an event stream, cut into events (WHATWG HTML §9.2.5 and §9.2.6).
//!
//! Bytes come in pieces of any size. Stricter than a browser in one point: what is no event for a
//! browser, a block without data, is counted, because no server of ours may send one.

/// Longest line and most data of one event; a server that sends more is broken.
const EVENT_BYTES: usize = 64 << 20;
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// One event, as a browser would dispatch it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// `message` when the block does not say.
    pub name: String,
    pub data: String,
    /// The `id` field of this very block.
    pub id: Option<String>,
}

/// Takes bytes and gives events.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    /// The last byte was a carriage return: a line feed that follows it ends no second line.
    after_return: bool,
    /// Anything was read: a byte order mark would be no such mark any more.
    begun: bool,
    block: Block,
    last_id: String,
    without_data: usize,
}

/// The fields of a block so far.
#[derive(Debug, Default)]
struct Block {
    name: String,
    data: String,
    id: Option<String>,
    any: bool,
}

impl Parser {
    /// Returns the `id` of the newest finished block that had one; empty before.
    #[must_use]
    pub fn last_id(&self) -> &str {
        &self.last_id
    }

    /// Returns the number of blocks that had fields and no data.
    #[must_use]
    pub const fn without_data(&self) -> usize {
        self.without_data
    }

    /// Returns whether a block has begun and not ended.
    #[must_use]
    pub const fn is_inside(&self) -> bool {
        self.block.any || !self.line.is_empty()
    }

    /// Takes the next bytes and returns the events that they complete.
    ///
    /// # Panics
    ///
    /// An event has more than 64 MiB.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        for &byte in bytes {
            let ends_none = byte == b'\n' && self.after_return;
            self.after_return = byte == b'\r';
            match byte {
                _ if ends_none => {}
                b'\r' | b'\n' => events.extend(self.end_line()),
                _ => self.line.push(byte),
            }
        }
        let held = self.line.len() + self.block.data.len();
        assert!(held <= EVENT_BYTES, "an event of {held} bytes");
        events
    }

    fn end_line(&mut self) -> Option<Event> {
        let mut line = std::mem::take(&mut self.line);
        if !self.begun && line.starts_with(BYTE_ORDER_MARK) {
            line.drain(..BYTE_ORDER_MARK.len());
        }
        self.begun = true;
        let line = String::from_utf8_lossy(&line);
        if line.is_empty() {
            return self.end_block();
        }
        // A comment.
        if line.starts_with(':') {
            return None;
        }
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.block.name),
            "data" => {
                self.block.data.push_str(value);
                self.block.data.push('\n');
            }
            "id" if !value.contains('\0') => self.block.id = Some(value.to_owned()),
            // Others are ignored, the time before a new connection among them.
            _ => return None,
        }
        self.block.any = true;
        None
    }

    fn end_block(&mut self) -> Option<Event> {
        let block = std::mem::take(&mut self.block);
        if let Some(id) = &block.id {
            self.last_id.clone_from(id);
        }
        let Some(data) = block.data.strip_suffix('\n') else {
            self.without_data += usize::from(block.any);
            return None;
        };
        let name = match block.name.as_str() {
            "" => "message",
            name => name,
        };
        Some(Event {
            name: name.to_owned(),
            data: data.to_owned(),
            id: block.id,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, data: &str, id: Option<&str>) -> Event {
        Event {
            name: name.to_owned(),
            data: data.to_owned(),
            id: id.map(str::to_owned),
        }
    }

    #[test]
    fn fields_come_in_any_order_and_end_with_an_empty_line() {
        let mut parser = Parser::default();
        let events = parser.push(b"data: a\nid: 7\nevent: put\n\nevent:put\nid:8\ndata:b\n\n");
        let expected = [event("put", "a", Some("7")), event("put", "b", Some("8"))];
        assert_eq!(events, expected);
        assert_eq!(parser.last_id(), "8");
    }

    #[test]
    fn every_split_of_the_bytes_gives_the_same_events() {
        let text = "\u{feff}: hi\r\n\r\nevent: put\r\ndata: \u{20ac}\r\ndata:  two\r\nid: 1\r\n\r\n\
                    data: x\rid: 2\r\rdata\n\nretry: 10\nid: 3\ndata: y\n\n";
        let expected = [
            event("put", "\u{20ac}\n two", Some("1")),
            event("message", "x", Some("2")),
            event("message", "", None),
            event("message", "y", Some("3")),
        ];
        for size in 1..text.len() {
            let mut parser = Parser::default();
            let pieces = text.as_bytes().chunks(size);
            let events: Vec<_> = pieces.flat_map(|piece| parser.push(piece)).collect();
            assert_eq!(events, expected, "pieces of {size}");
            assert!(!parser.is_inside());
            assert_eq!(parser.without_data(), 0);
        }
    }

    #[test]
    fn a_block_without_data_is_no_event_but_moves_the_last_id_and_is_counted() {
        let mut parser = Parser::default();
        assert_eq!(
            parser.push(b"event: put\nid: 5\n\n: only a comment\n\n"),
            []
        );
        assert_eq!((parser.last_id(), parser.without_data()), ("5", 1));
    }

    #[test]
    fn a_block_that_has_not_ended_changes_nothing() {
        let mut parser = Parser::default();
        assert_eq!(parser.push(b"data: a\nid: 5\n"), []);
        assert_eq!(parser.last_id(), "");
        assert!(parser.is_inside());
        assert_eq!(parser.push(b"\n"), [event("message", "a", Some("5"))]);
    }

    #[test]
    fn an_id_with_a_nul_is_ignored_and_an_empty_one_clears() {
        let mut parser = Parser::default();
        parser.push(b"id: 5\ndata: a\n\nid: 6\0\ndata: b\n\n");
        assert_eq!(parser.last_id(), "5");
        parser.push(b"id\ndata: c\n\n");
        assert_eq!(parser.last_id(), "");
    }
}
