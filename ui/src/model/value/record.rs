//! One value as it was read, and what it seems to be.

use super::json;

/// What the bytes of a value are, going by themselves and by the type they were written with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guess {
    Empty,
    Json,
    Text,
    /// Not to be edited as text; the word says what it looks like.
    Binary(&'static str),
}

impl Guess {
    /// Returns the word for the reader.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Json => "JSON",
            Self::Text => "text",
            Self::Binary(word) => word,
        }
    }
}

/// How the lines of a text end. A browser's text field knows `\n` only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    Lf,
    CrLf,
    /// Several ways in one text: an edited one is written with `\n`.
    Mixed,
}

/// A value with its stamps, as one read found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub bytes: Vec<u8>,
    pub content_type: String,
    /// Revision of the last write.
    pub revision: u64,
    /// Revision of the write that created the key.
    pub create_revision: u64,
    /// Writes since the key was created.
    pub version: u64,
    /// Time until the key expired, milliseconds, when it was read.
    pub ttl_ms: Option<u64>,
    /// When it was read, by the page's steady clock, milliseconds.
    pub read_at_ms: u64,
    /// How old it may have been, milliseconds, when it is a node's own copy and no leader confirmed it.
    pub copy_age_ms: Option<u64>,
    text: Option<String>,
    ends: Ends,
    guess: Guess,
}

/// The stamps of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamps {
    pub revision: u64,
    pub create_revision: u64,
    pub version: u64,
    pub ttl_ms: Option<u64>,
    pub read_at_ms: u64,
    pub copy_age_ms: Option<u64>,
}

impl Record {
    /// Makes a record and looks at its bytes, once.
    #[must_use]
    pub fn new(bytes: Vec<u8>, content_type: String, stamps: Stamps) -> Self {
        let raw = str::from_utf8(&bytes).ok();
        let raw = raw.filter(|text| !text.contains('\0'));
        let guess = match raw {
            None => Guess::Binary(look(&bytes)),
            Some("") => Guess::Empty,
            Some(text) => {
                let is_said = content_type.contains("json") && json::check(text).is_ok();
                if is_said || json::is_document(text) {
                    Guess::Json
                } else {
                    Guess::Text
                }
            }
        };
        let ends = raw.map_or(Ends::Lf, ends);
        let text = raw.map(shown);
        Self {
            content_type,
            revision: stamps.revision,
            create_revision: stamps.create_revision,
            version: stamps.version,
            ttl_ms: stamps.ttl_ms,
            read_at_ms: stamps.read_at_ms,
            copy_age_ms: stamps.copy_age_ms,
            text,
            ends,
            guess,
            bytes,
        }
    }

    /// Returns the value as a text field shows it; none for what is no text.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    #[must_use]
    pub const fn guess(&self) -> Guess {
        self.guess
    }

    #[must_use]
    pub const fn ends(&self) -> Ends {
        self.ends
    }

    /// Returns the time left until the key expires; 0 when it should have.
    #[must_use]
    pub fn ttl_left_ms(&self, now_ms: u64) -> Option<u64> {
        let since = now_ms.saturating_sub(self.read_at_ms);
        self.ttl_ms.map(|ttl| ttl.saturating_sub(since))
    }
}

fn ends(text: &str) -> Ends {
    let all = text.matches('\n').count();
    let with_return = text.matches("\r\n").count();
    let returns = text.matches('\r').count();
    match (returns, with_return) {
        (0, _) => Ends::Lf,
        (returns, pairs) if returns == pairs && pairs == all => Ends::CrLf,
        _ => Ends::Mixed,
    }
}

/// A text as a text field has it.
fn shown(text: &str) -> String {
    if text.contains('\r') {
        text.replace("\r\n", "\n").replace('\r', "\n")
    } else {
        text.to_owned()
    }
}

/// A text of a text field as it is to be written.
#[must_use]
pub fn written(text: &str, ends: Ends) -> String {
    match ends {
        Ends::CrLf => text.replace('\n', "\r\n"),
        Ends::Lf | Ends::Mixed => text.to_owned(),
    }
}

/// The beginning of a text, at most so many bytes, cut between characters.
#[must_use]
pub fn beginning(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// What bytes look like that are no text.
fn look(bytes: &[u8]) -> &'static str {
    const SIGNS: [(&[u8], &str); 9] = [
        (b"\x89PNG\r\n", "PNG image"),
        (b"\xff\xd8\xff", "JPEG image"),
        (b"GIF8", "GIF image"),
        (b"%PDF-", "PDF"),
        (b"PK\x03\x04", "ZIP archive"),
        (b"\x1f\x8b", "gzip"),
        (b"\x28\xb5\x2f\xfd", "Zstandard"),
        (b"\x7fELF", "ELF program"),
        (b"\0asm", "WebAssembly"),
    ];
    let sign = SIGNS.iter().find(|(sign, _)| bytes.starts_with(sign));
    sign.map_or("binary", |(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(bytes: &[u8], content_type: &str) -> Record {
        Record::new(bytes.to_vec(), content_type.to_owned(), Stamps::default())
    }

    #[test]
    fn a_value_is_what_its_bytes_say() {
        let guess = |bytes: &[u8], said: &str| record(bytes, said).guess();
        assert_eq!(guess(b"{\"a\": 1}", "text/plain"), Guess::Json);
        assert_eq!(guess(b"17", "application/json"), Guess::Json);
        assert_eq!(guess(b"17", "text/plain"), Guess::Text);
        assert_eq!(guess(b"{oops", "application/json"), Guess::Text);
        assert_eq!(guess(b"", "application/json"), Guess::Empty);
        assert_eq!(guess(b"a\0b", "text/plain"), Guess::Binary("binary"));
        assert_eq!(guess(b"\xff\xfe", "text/plain"), Guess::Binary("binary"));
        assert_eq!(
            guess(b"\x89PNG\r\n\x1a\n\0", "text/plain"),
            Guess::Binary("PNG image")
        );
        assert_eq!(record(b"\xff", "text/plain").text(), None);
    }

    #[test]
    fn line_ends_come_back_as_they_were() {
        for (bytes, expected) in [
            ("a\nb", Ends::Lf),
            ("a\r\nb\r\n", Ends::CrLf),
            ("a\r\nb\n", Ends::Mixed),
            ("a\rb", Ends::Mixed),
        ] {
            let record = record(bytes.as_bytes(), "text/plain");
            assert_eq!(record.ends(), expected, "{bytes:?}");
            assert!(!record.text().unwrap().contains('\r'));
            if expected != Ends::Mixed {
                assert_eq!(written(record.text().unwrap(), record.ends()), bytes);
            }
        }
    }

    #[test]
    fn time_left_runs_down_to_nothing() {
        let stamps = Stamps {
            ttl_ms: Some(5_000),
            read_at_ms: 100,
            ..Stamps::default()
        };
        let record = Record::new(Vec::new(), String::new(), stamps);
        assert_eq!(record.ttl_left_ms(1_100), Some(4_000));
        assert_eq!(record.ttl_left_ms(90_000), Some(0));
    }

    #[test]
    fn a_beginning_ends_between_characters() {
        assert_eq!(beginning("a\u{1f511}b", 3), "a");
        assert_eq!(beginning("ab", 9), "ab");
    }
}
