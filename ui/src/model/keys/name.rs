//! How names of keys are written: what may be left out, and what would not be seen.

use conclave_shared::limits::KEY_BYTES;

use crate::model::text::grouped;

/// Labels up to so many characters are written in one piece.
const SHORT: usize = 28;
/// Most characters of a last segment that are always kept.
const TAIL: usize = 24;

/// A label in two pieces: when there is no room, the end of the first is left out. A list without
/// folders has no delimiter; its names mostly have segments nevertheless.
#[must_use]
pub fn split(label: &str, delimiter: &str) -> (String, String) {
    if label.chars().count() <= SHORT {
        return (visible(label), String::new());
    }
    let delimiter = if delimiter.is_empty() { "/" } else { delimiter };
    let body = label.strip_suffix(delimiter).unwrap_or(label);
    let segment = body.rfind(delimiter).unwrap_or_default();
    let long = label.char_indices().rev().nth(TAIL - 1);
    let long = long.map_or(0, |(at, _)| at);
    let (head, tail) = label.split_at(segment.max(long));
    (visible(head), visible(tail))
}

/// Writes control characters as their pictures: a key may have any.
fn visible(text: &str) -> String {
    let picture = |character: char| match character {
        '\u{7f}' => '\u{2421}',
        '\0'..='\x1f' => char::from_u32(0x2400 + character as u32).unwrap_or(character),
        other => other,
    };
    text.chars().map(picture).collect()
}

/// From where on a name is written below a prefix: after the prefix's last delimiter.
#[must_use]
pub fn label_from(prefix: &str, delimiter: &str) -> usize {
    if delimiter.is_empty() {
        return 0;
    }
    prefix.rfind(delimiter).map_or(0, |at| at + delimiter.len())
}

/// Says why a text can be no key; none when it can.
#[must_use]
pub fn name_problem(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("A name of 1 to 1,024 bytes. A / makes folders.".to_owned());
    }
    if name.starts_with('/') {
        return Some("A name cannot start with /.".to_owned());
    }
    let bytes = name.len();
    (bytes > KEY_BYTES).then(|| format!("{} bytes: at most 1,024.", grouped(bytes as u64)))
}

/// Reads a time to live such as `90`, `90s`, `10m`, `2h` or `1d`; seconds from 1 to a year.
///
/// # Errors
///
/// A sentence that says what it may be.
pub fn ttl_seconds(text: &str) -> Result<u64, String> {
    const YEAR: u64 = 365 * 86_400;
    let text = text.trim();
    let digits = text.trim_end_matches(|last: char| !last.is_ascii_digit());
    let unit = match text[digits.len()..].trim() {
        "" | "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3_600),
        "d" => Some(86_400),
        _ => None,
    };
    let number: Option<u64> = digits.parse().ok();
    let seconds = unit.and_then(|unit| number?.checked_mul(unit));
    seconds
        .filter(|seconds| (1..=YEAR).contains(seconds))
        .ok_or_else(|| "A time from 1 s to 365 d, such as 90s, 10m, 2h or 1d.".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_keeps_its_last_segment() {
        let (head, tail) = split("services/billing/eu-north/instances/a-17", "/");
        assert_eq!(
            (head.as_str(), tail.as_str()),
            ("services/billing/eu-north/instances", "/a-17")
        );
        let (head, tail) = split("some/very/long/path/to/a/folder/", "/");
        assert_eq!(
            (head.as_str(), tail.as_str()),
            ("some/very/long/path/to/a", "/folder/")
        );
    }

    #[test]
    fn a_long_segment_keeps_its_end() {
        let name = format!("{}end", "x".repeat(200));
        for delimiter in ["/", ""] {
            let (head, tail) = split(&name, delimiter);
            assert_eq!(tail.chars().count(), TAIL);
            assert!(tail.ends_with("xend"));
            assert_eq!(format!("{head}{tail}"), name);
        }
        let keys = "🗝".repeat(60);
        let (head, tail) = split(&keys, "/");
        assert_eq!(format!("{head}{tail}"), keys);
    }

    #[test]
    fn a_short_name_is_one_piece_and_hides_nothing() {
        assert_eq!(split("a\nb\0", "/"), ("a␊b␀".to_owned(), String::new()));
        assert_eq!(split("", "/"), (String::new(), String::new()));
    }

    #[test]
    fn a_label_starts_after_the_last_delimiter_of_what_is_listed() {
        assert_eq!(label_from("", "/"), 0);
        assert_eq!(label_from("app/", "/"), 4);
        assert_eq!(label_from("app/fo", "/"), 4);
        assert_eq!(label_from("app/fo", ""), 0);
        assert_eq!(label_from("a::b", "::"), 3);
    }

    #[test]
    fn a_name_that_no_key_can_have_is_refused_before_it_is_sent() {
        for good in ["a", "a/../b", "🗝", &"x".repeat(1_024)] {
            assert_eq!(name_problem(good), None);
        }
        for bad in ["", "/a", &"ü".repeat(513)] {
            assert!(name_problem(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn a_time_to_live_has_a_unit_or_is_seconds() {
        assert_eq!(ttl_seconds("90"), Ok(90));
        assert_eq!(ttl_seconds(" 10 m "), Ok(600));
        assert_eq!(ttl_seconds("1d"), Ok(86_400));
        for wrong in ["", "0", "x", "5y", "-1", "400d", "99999999999999999999"] {
            assert!(ttl_seconds(wrong).is_err(), "{wrong}");
        }
    }
}
