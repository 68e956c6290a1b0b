//! The bytes of a body that has no end yet, out of the chunks that carry them (RFC 9112 §7.1).
//!
//! Gives every byte as soon as it is there, whole chunk or not: a browser does so too.

use anyhow::{Context, Result, ensure};

/// Longest line with the size of a chunk.
const SIZE_LINE: usize = 256;

/// What comes next.
#[derive(Debug, Default)]
enum Part {
    #[default]
    Size,
    Data(usize),
    /// The line break behind the data.
    Break,
    /// What follows the last chunk.
    Ended,
}

/// Takes the bytes of a connection and gives those of the body.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    part: Part,
    line: Vec<u8>,
}

impl Chunks {
    /// Returns whether the last chunk has come.
    pub(super) const fn ended(&self) -> bool {
        matches!(self.part, Part::Ended)
    }

    /// Takes the next bytes and returns those of the body among them.
    ///
    /// # Errors
    ///
    /// They are not chunks.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        while let Some((&first, rest)) = bytes.split_first() {
            match self.part {
                Part::Data(left) => {
                    let (now, rest) = bytes.split_at(left.min(bytes.len()));
                    body.extend_from_slice(now);
                    bytes = rest;
                    self.part = match left - now.len() {
                        0 => Part::Break,
                        left => Part::Data(left),
                    };
                    continue;
                }
                Part::Size | Part::Break => self.line.push(first),
                Part::Ended => {}
            }
            bytes = rest;
            if self.line.ends_with(b"\r\n") {
                self.end_line()?;
            }
            ensure!(self.line.len() < SIZE_LINE, "no end of the size of a chunk");
        }
        Ok(body)
    }

    fn end_line(&mut self) -> Result<()> {
        let line = std::mem::take(&mut self.line);
        if matches!(self.part, Part::Break) {
            ensure!(line == b"\r\n", "a chunk is longer than it says");
            self.part = Part::Size;
            return Ok(());
        }
        let text = std::str::from_utf8(&line)?.trim_end();
        let size = text.split(';').next().unwrap_or_default();
        let size =
            usize::from_str_radix(size, 16).with_context(|| format!("size of a chunk `{text}`"))?;
        self.part = match size {
            0 => Part::Ended,
            size => Part::Data(size),
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_split_of_the_bytes_gives_the_same_body() {
        let wire = b"3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n";
        for size in 1..wire.len() {
            let mut chunks = Chunks::default();
            let pieces = wire.chunks(size);
            let body: Vec<u8> = pieces
                .flat_map(|piece| chunks.push(piece).unwrap())
                .collect();
            assert_eq!(body, b"abc0123456789", "pieces of {size}");
            assert!(chunks.ended());
        }
    }

    #[test]
    fn a_part_of_a_chunk_is_given_at_once() {
        let mut chunks = Chunks::default();
        assert_eq!(chunks.push(b"10\r\nabc").unwrap(), b"abc");
        assert!(!chunks.ended());
    }

    #[test]
    fn what_is_no_chunk_is_an_error() {
        assert!(Chunks::default().push(b"xyz\r\n").is_err());
        assert!(Chunks::default().push(b"1\r\nabc\r\n").is_err());
    }
}
