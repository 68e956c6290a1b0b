//! JSON as text: where it is wrong, and how it looks well, without ever reading a number.
//!
//! A value goes through no parser that would round `9007199254740993`, turn `1.10` into `1.1`, or drop
//! the first of two equal names. Tokens stay as they are written; only the blanks between them change.

/// Deepest nesting that is re-indented; deeper, indentation alone would outgrow the value.
const DEEPEST: usize = 200;

/// Where a text stops being JSON (RFC 8259). Lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub line: usize,
    pub column: usize,
    pub what: &'static str,
}

/// Finds the first fault.
///
/// # Errors
///
/// The fault.
pub fn check(text: &str) -> Result<(), Fault> {
    read(text, |_, _| {})
}

/// Re-indents by two blanks, every token as it is. A line end at the end stays, and none is added.
///
/// # Errors
///
/// The first fault; nesting of more than 200 levels counts as one.
pub fn format(text: &str) -> Result<String, Fault> {
    check(text)?;
    let mut out = String::with_capacity(text.len() * 2);
    let mut depth = 0_usize;
    let mut is_fresh = false;
    let mut too_deep = None;
    read(text, |start, token| {
        if too_deep.is_some() {
            return;
        }
        let closes = matches!(token, "}" | "]");
        if closes {
            depth = depth.saturating_sub(1);
        }
        if closes != is_fresh {
            new_line(&mut out, depth);
        }
        is_fresh = matches!(token, "{" | "[");
        out.push_str(token);
        match token {
            "{" | "[" => depth += 1,
            "," => new_line(&mut out, depth),
            ":" => out.push(' '),
            _ => {}
        }
        if depth > DEEPEST {
            too_deep = Some(start);
        }
    })?;
    if let Some(start) = too_deep {
        return Err(fault(text, start, "nested too deep to be formatted"));
    }
    if text.ends_with('\n') {
        out.push('\n');
    }
    Ok(out)
}

fn new_line(out: &mut String, depth: usize) {
    out.push('\n');
    (0..depth).for_each(|_| out.push_str("  "));
}

/// Says whether a text is an object or an array, from begin to end.
#[must_use]
pub fn is_document(text: &str) -> bool {
    text.trim_start().starts_with(['{', '[']) && check(text).is_ok()
}

/// What may come next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Value,
    /// A value, or the end of an array that has none.
    ValueOrEnd,
    Name,
    /// A name, or the end of an object that has none.
    NameOrEnd,
    Colon,
    CommaOrEnd,
    Nothing,
}

/// Walks over the tokens; `take` gets where each begins. Nesting costs memory, not stack.
fn read(text: &str, mut take: impl FnMut(usize, &str)) -> Result<(), Fault> {
    let bytes = text.as_bytes();
    let mut open = Vec::new();
    let mut next = Next::Value;
    let mut at = 0;
    loop {
        while matches!(bytes.get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            at += 1;
        }
        let Some(&byte) = bytes.get(at) else {
            return match next {
                Next::Nothing => Ok(()),
                _ => Err(fault(text, at, expected(next, &open))),
            };
        };
        let end = token(text, at)?;
        let wrong = || Err(fault(text, at, expected(next, &open)));
        let is_value = !matches!(byte, b'}' | b']' | b',' | b':');
        let after = if open.is_empty() {
            Next::Nothing
        } else {
            Next::CommaOrEnd
        };
        next = match (next, byte) {
            (Next::Value | Next::ValueOrEnd, b'{' | b'[') => {
                open.push(byte);
                if byte == b'{' {
                    Next::NameOrEnd
                } else {
                    Next::ValueOrEnd
                }
            }
            (Next::Value | Next::ValueOrEnd, _) if is_value => after,
            (Next::Name | Next::NameOrEnd, b'"') => Next::Colon,
            (Next::Colon, b':') => Next::Value,
            (Next::CommaOrEnd, b',') if open.last() == Some(&b'{') => Next::Name,
            (Next::CommaOrEnd, b',') => Next::Value,
            (Next::CommaOrEnd | Next::NameOrEnd, b'}') if open.last() == Some(&b'{') => {
                closed(&mut open)
            }
            (Next::CommaOrEnd | Next::ValueOrEnd, b']') if open.last() == Some(&b'[') => {
                closed(&mut open)
            }
            _ => return wrong(),
        };
        take(at, &text[at..end]);
        at = end;
    }
}

fn closed(open: &mut Vec<u8>) -> Next {
    open.pop();
    if open.is_empty() {
        Next::Nothing
    } else {
        Next::CommaOrEnd
    }
}

const fn expected(next: Next, open: &[u8]) -> &'static str {
    match next {
        Next::Value => "a value is missing here",
        Next::ValueOrEnd => "a value or ] is missing here",
        Next::Name => "a name in quotes is missing here",
        Next::NameOrEnd => "a name in quotes or } is missing here",
        Next::Colon => "a colon is missing here",
        Next::CommaOrEnd => match open {
            [.., b'{'] => "a comma or } is missing here",
            _ => "a comma or ] is missing here",
        },
        Next::Nothing => "nothing may follow the value",
    }
}

/// Returns where the token that begins at `start` ends.
fn token(text: &str, start: usize) -> Result<usize, Fault> {
    let rest = &text[start..];
    match rest.as_bytes()[0] {
        b'{' | b'}' | b'[' | b']' | b',' | b':' => Ok(start + 1),
        b'"' => string(text, start),
        b'-' | b'0'..=b'9' => number(text, start),
        _ => {
            let words = ["true", "false", "null"];
            let word = words.into_iter().find(|word| rest.starts_with(word));
            let end = word.map(|word| start + word.len());
            end.filter(|end| !text[*end..].starts_with(|c: char| c.is_alphanumeric()))
                .ok_or_else(|| fault(text, start, "this is no value of JSON"))
        }
    }
}

fn string(text: &str, start: usize) -> Result<usize, Fault> {
    let bytes = text.as_bytes();
    let mut at = start + 1;
    loop {
        match bytes.get(at) {
            None => return Err(fault(text, start, "this text in quotes does not end")),
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') => {
                let hex = |from: usize| {
                    bytes
                        .get(from..from + 4)
                        .is_some_and(|four| four.iter().all(u8::is_ascii_hexdigit))
                };
                at += match bytes.get(at + 1) {
                    Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
                    Some(b'u') if hex(at + 2) => 6,
                    _ => return Err(fault(text, at, "this escape is not JSON's")),
                };
            }
            Some(0..=0x1f) => {
                return Err(fault(
                    text,
                    at,
                    "a line end or control sign in quotes must be escaped",
                ));
            }
            Some(_) => at += 1,
        }
    }
}

fn number(text: &str, start: usize) -> Result<usize, Fault> {
    let bytes = text.as_bytes();
    let digits = |from: usize| {
        from + bytes[from.min(bytes.len())..]
            .iter()
            .take_while(|b| b.is_ascii_digit())
            .count()
    };
    let wrong = |at| Err(fault(text, at, "this is no number of JSON"));
    let first = start + usize::from(bytes[start] == b'-');
    let mut at = digits(first);
    if at == first || (bytes[first] == b'0' && at > first + 1) {
        return wrong(start);
    }
    if bytes.get(at) == Some(&b'.') {
        let end = digits(at + 1);
        if end == at + 1 {
            return wrong(start);
        }
        at = end;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        let from = at + 1 + usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        let end = digits(from);
        if end == from {
            return wrong(start);
        }
        at = end;
    }
    match bytes.get(at) {
        Some(byte) if byte.is_ascii_alphanumeric() || *byte == b'.' => wrong(start),
        _ => Ok(at),
    }
}

fn fault(text: &str, at: usize, what: &'static str) -> Fault {
    let before = text.get(..at).unwrap_or(text);
    let last = before.rfind('\n').map_or(0, |end| end + 1);
    Fault {
        line: before.matches('\n').count() + 1,
        column: before[last..].chars().count() + 1,
        what,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::diff::tests::Random, *};

    #[test]
    fn formatting_changes_blanks_only() {
        let text = r#"{"big":9007199254740993,"price":1.10,"z":[],"a":{},"e":1E+02,"a":"twice \u00e9 /\/","n":[1,[2,{"k":null}]]}"#;
        let formatted = format(text).unwrap();
        for kept in [
            "9007199254740993",
            "1.10",
            "1E+02",
            r#""twice \u00e9 /\/""#,
            "\"z\": []",
            "\"a\": {}",
        ] {
            assert!(formatted.contains(kept), "{kept}: {formatted}");
        }
        let bare = |text: &str| text.replace(['\n', ' '], "");
        assert_eq!(bare(&formatted), bare(text));
        assert_eq!(format(&formatted).unwrap(), formatted);
        assert_eq!(format(" [1,\n2] ").unwrap(), "[\n  1,\n  2\n]");
        assert_eq!(format("[ ]").unwrap(), "[]");
        assert_eq!(
            format("{\"a\":{\"b\":[{}]}}").unwrap(),
            "{\n  \"a\": {\n    \"b\": [\n      {}\n    ]\n  }\n}"
        );
    }

    #[test]
    fn a_fault_has_its_place() {
        let place = |text| {
            let fault = check(text).unwrap_err();
            (fault.line, fault.column)
        };
        assert_eq!(place("{\n  \"a\": 1,\n}"), (3, 1));
        assert_eq!(place("{\"\u{1f511}\": x}"), (1, 7));
        assert_eq!(place("[1 2]"), (1, 4));
        assert_eq!(place("[1,"), (1, 4));
        assert_eq!(place(""), (1, 1));
        assert_eq!(place("{} {}"), (1, 4));
        assert_eq!(place("\"a\nb\""), (1, 3));
        assert_eq!(place("[\"open"), (1, 2));
    }

    #[test]
    fn it_agrees_with_a_parser_on_what_is_json() {
        let parts = [
            "{", "}", "[", "]", ",", ":", "\"a\"", "1", "-0.5e3", "01", "true", "nul", " ", "\n",
            "\"\\x\"", "1.", "-",
        ];
        for seed in 1..60_000 {
            let mut random = Random(seed);
            let text: String = (0..random.below(8))
                .map(|_| parts[random.below(parts.len())])
                .collect();
            let parsed = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
            assert_eq!(check(&text).is_ok(), parsed, "{text:?}");
            if parsed {
                let formatted = format(&text).unwrap();
                let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
                assert_eq!(read(&formatted), read(&text), "{text:?}");
            }
        }
    }

    #[test]
    fn hostile_nesting_neither_overflows_nor_grows() {
        let deep = "[".repeat(400_000) + &"]".repeat(400_000);
        assert!(check(&deep).is_ok());
        assert_eq!(
            format(&deep).unwrap_err().what,
            "nested too deep to be formatted"
        );
        assert!(check(&"[".repeat(1_000_000)).is_err());
    }
}
